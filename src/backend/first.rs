//! The first statements on a new backend connection: trackers on, then who the server is.
//!
//! Both are sent in one write; the server answers them one after the other.
//!
//! Never here: a judgement about the server's role.

use bytes::BytesMut;
use sluice_protocol::command::build;
use sluice_protocol::{Answer, AnswerLimits, AnswerReader, Capabilities, frame_payload};
use uuid::Uuid;

use super::dial::{DialError, Phase};
use super::stream::PacketStream;

/// Told by a server to an account whose password has expired: nothing works but changing it.
const MUST_CHANGE_PASSWORD: u16 = 1820;

/// Switches the trackers on. A name that a server does not know costs a warning (1231) and nothing else, so
/// one list serves all versions. Named are the variables that a session may set and that change what its
/// statements do or return. Not named: `timestamp`, `insert_id`, `last_insert_id`, `rand_seed1` (reported
/// wrongly or not at all), and what only replication's applier sets. Never `*`, which adds a counter to
/// every OK.
const TRACKERS: &str = "SET SESSION session_track_gtids='OWN_GTID',\
    session_track_transaction_info='CHARACTERISTICS',\
    session_track_state_change=ON,\
    session_track_schema=ON,\
    session_track_system_variables='\
    auto_increment_increment,auto_increment_offset,autocommit,big_tables,binlog_format,binlog_row_image,\
    block_encryption_mode,bulk_insert_buffer_size,character_set_client,character_set_connection,\
    character_set_database,character_set_filesystem,character_set_results,character_set_server,\
    collation_connection,collation_database,collation_server,completion_type,cte_max_recursion_depth,\
    default_collation_for_utf8mb4,default_storage_engine,default_table_encryption,\
    default_tmp_storage_engine,default_week_format,div_precision_increment,enable_cascade_triggers,\
    end_markers_in_json,eq_range_index_dive_limit,explain_format,explain_json_format_version,\
    explicit_defaults_for_timestamp,foreign_key_checks,generated_random_password_length,\
    group_concat_max_len,group_replication_consistency,information_schema_stats_expiry,\
    innodb_ddl_buffer_size,innodb_ddl_threads,innodb_ft_enable_stopword,innodb_ft_user_stopword_table,\
    innodb_lock_wait_timeout,innodb_parallel_read_threads,innodb_strict_mode,innodb_table_locks,\
    innodb_tmpdir,interactive_timeout,internal_tmp_mem_storage_engine,join_buffer_size,\
    keep_files_on_create,lc_messages,lc_time_names,lock_wait_timeout,long_query_time,\
    low_priority_updates,max_error_count,max_execution_time,max_heap_table_size,max_join_size,\
    max_length_for_sort_data,max_points_in_geometry,max_seeks_for_key,max_sort_length,\
    max_sp_recursion_depth,min_examined_row_limit,myisam_sort_buffer_size,myisam_stats_method,\
    net_buffer_length,net_read_timeout,net_retry_count,net_write_timeout,new,old_alter_table,\
    optimizer_max_subgraph_pairs,optimizer_prune_level,optimizer_search_depth,optimizer_switch,\
    optimizer_trace,optimizer_trace_features,optimizer_trace_limit,optimizer_trace_max_mem_size,\
    optimizer_trace_offset,parser_max_mem_size,print_identified_with_as_hex,profiling,\
    profiling_history_size,query_alloc_block_size,query_prealloc_size,range_alloc_block_size,\
    range_optimizer_max_mem_size,read_buffer_size,read_rnd_buffer_size,\
    restrict_fk_on_non_standard_key,secondary_engine_cost_threshold,select_into_disk_sync,\
    session_track_gtids,set_operations_buffer_size,show_create_table_skip_secondary_engine,\
    show_create_table_verbosity,show_gipk_in_create_table_and_information_schema,sort_buffer_size,\
    sql_auto_is_null,sql_big_selects,sql_buffer_result,sql_generate_invisible_primary_key,sql_log_bin,\
    sql_log_off,sql_mode,sql_notes,sql_quote_show_create,sql_require_primary_key,sql_safe_updates,\
    sql_select_limit,sql_warnings,terminology_use_previous,time_zone,tmp_table_size,\
    transaction_alloc_block_size,transaction_isolation,transaction_prealloc_size,\
    transaction_read_only,unique_checks,updatable_views_with_limit,use_secondary_engine,wait_timeout,\
    windowing_use_high_precision,xa_detach_on_prepare'";

/// Who answers, and whether it takes writes.
const IDENTITY: &[u8] = b"SELECT @@server_uuid, @@read_only, CURRENT_USER()";

/// What the server said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `None` in the sandbox of an expired password.
    pub(super) server_uuid: Option<Uuid>,
    pub(super) read_only: bool,
    /// Without the host; empty in the sandbox.
    pub(super) account: Box<[u8]>,
}

/// Sends the first statements and reads their answers.
pub(super) async fn run(io: &mut PacketStream, caps: Capabilities) -> Result<Identity, DialError> {
    let mut out = BytesMut::with_capacity(TRACKERS.len() + 128);
    for text in [TRACKERS.as_bytes(), IDENTITY] {
        frame_payload(&mut out, &mut 0, &build::query(text, caps));
    }
    io.write_all(&out).await.map_err(lost)?;
    io.flush().await.map_err(lost)?;
    match answer(io).await? {
        Answer::Ok(_) => {}
        Answer::Rows { .. } => return Err(DialError::Protocol("rows in answer to SET".to_owned())),
        Answer::Error(error) => return Err(DialError::Server(Box::new(error))),
    }
    let identity = match answer(io).await? {
        Answer::Rows { rows, .. } => match rows.first().map(Vec::as_slice) {
            Some([Some(uuid), Some(read_only), Some(account)]) => Identity {
                server_uuid: Some(
                    Uuid::try_parse_ascii(uuid)
                        .map_err(|error| DialError::Protocol(format!("@@server_uuid is no UUID: {error}")))?,
                ),
                read_only: read_only != b"0",
                account: name_of(account).into(),
            },
            _ => return Err(DialError::Protocol("an odd row for @@server_uuid".to_owned())),
        },
        Answer::Ok(_) => return Err(DialError::Protocol("no rows for @@server_uuid".to_owned())),
        Answer::Error(error) if error.code == MUST_CHANGE_PASSWORD => {
            Identity { server_uuid: None, read_only: false, account: Box::default() }
        }
        Answer::Error(error) => return Err(DialError::Server(Box::new(error))),
    };
    if io.buffer().is_empty() {
        Ok(identity)
    } else {
        Err(DialError::Protocol("one answer too many".to_owned()))
    }
}

/// `name` of `name@host`; the name may itself hold an `@`.
fn name_of(account: &[u8]) -> &[u8] {
    let at = account.iter().rposition(|byte| *byte == b'@').unwrap_or(account.len());
    account.get(..at).unwrap_or(account)
}

async fn answer(io: &mut PacketStream) -> Result<Answer, DialError> {
    let mut reader = AnswerReader::new(AnswerLimits::default());
    loop {
        let (used, answer) =
            reader.advance(io.buffer()).map_err(|error| DialError::Protocol(error.to_string()))?;
        io.consume(used);
        if let Some(answer) = answer {
            return Ok(answer);
        }
        if io.fill().await.map_err(lost)? == 0 {
            return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn lost(source: std::io::Error) -> DialError {
    DialError::Network { phase: Phase::FirstStatement, source }
}
