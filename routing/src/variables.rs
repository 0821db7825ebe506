//! System variables a session may change, by what must happen so that the change survives a move.
//!
//! This file must never list a variable whose value the server's tracker doesn't report truthfully.

/// Session variables that Sluice asks every server to report (`session_track_system_variables`), so that
/// their values can be carried to another connection. A variable outside this list pins when it is set.
///
/// A server ignores a name that it doesn't know with a warning; all of these were seen on 9.7.4.
/// `timestamp` is missing on purpose: its reported value is wrong after `SET timestamp = DEFAULT`.
pub const TRACKED: &[&str] = &[
    "auto_increment_increment",
    "auto_increment_offset",
    "autocommit",
    "big_tables",
    "bulk_insert_buffer_size",
    "character_set_client",
    "character_set_connection",
    "character_set_database",
    "character_set_filesystem",
    "character_set_results",
    "collation_connection",
    "collation_database",
    "completion_type",
    "cte_max_recursion_depth",
    "default_storage_engine",
    "default_tmp_storage_engine",
    "default_week_format",
    "div_precision_increment",
    "end_markers_in_json",
    "explicit_defaults_for_timestamp",
    "foreign_key_checks",
    "group_concat_max_len",
    "information_schema_stats_expiry",
    "innodb_lock_wait_timeout",
    "innodb_strict_mode",
    "interactive_timeout",
    "internal_tmp_mem_storage_engine",
    "join_buffer_size",
    "lc_messages",
    "lc_time_names",
    "lock_wait_timeout",
    "low_priority_updates",
    "max_error_count",
    "max_execution_time",
    "max_heap_table_size",
    "max_join_size",
    "max_length_for_sort_data",
    "max_points_in_geometry",
    "max_seeks_for_key",
    "max_sort_length",
    "max_sp_recursion_depth",
    "min_examined_row_limit",
    "myisam_sort_buffer_size",
    "net_read_timeout",
    "net_retry_count",
    "net_write_timeout",
    "old_alter_table",
    "optimizer_prune_level",
    "optimizer_search_depth",
    "optimizer_switch",
    "query_alloc_block_size",
    "query_prealloc_size",
    "range_alloc_block_size",
    "range_optimizer_max_mem_size",
    "read_buffer_size",
    "read_rnd_buffer_size",
    "show_create_table_verbosity",
    "sort_buffer_size",
    "sql_auto_is_null",
    "sql_big_selects",
    "sql_buffer_result",
    "sql_mode",
    "sql_notes",
    "sql_quote_show_create",
    "sql_safe_updates",
    "sql_select_limit",
    "sql_warnings",
    "time_zone",
    "tmp_table_size",
    "transaction_alloc_block_size",
    "transaction_isolation",
    "transaction_prealloc_size",
    "transaction_read_only",
    "unique_checks",
    "updatable_views_with_limit",
    "wait_timeout",
    "windowing_use_high_precision",
];

/// What setting a session variable means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// Its value is reported and can be carried over.
    Tracked,
    /// `autocommit`: as above; turning it on commits.
    Autocommit,
    /// `character_set_*`, `collation_*` and `sql_mode`: as tracked, and later text may read differently.
    Reading,
    /// `session_track_*`: the proxy needs its own values there.
    Tracker,
    /// `last_insert_id`, `identity`. Not `insert_id`, which waits for the next INSERT on its connection, whosever it is.
    InsertId,
    /// Anything else.
    Untracked,
}

/// What setting the session variable `name` means; any case.
pub(crate) fn variable(name: &[u8]) -> Variable {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let starts = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    if is("autocommit") {
        Variable::Autocommit
    } else if starts("session_track_") {
        Variable::Tracker
    } else if is("last_insert_id") || is("identity") {
        Variable::InsertId
    } else if TRACKED.iter().any(|tracked| is(tracked)) {
        let reading = starts("character_set_") || starts("collation_") || is("sql_mode");
        if reading { Variable::Reading } else { Variable::Tracked }
    } else {
        Variable::Untracked
    }
}

/// A schema whose tables tell about one server rather than about data.
pub(crate) fn is_server_schema(name: &[u8]) -> bool {
    [&b"mysql"[..], b"sys", b"performance_schema", b"information_schema"]
        .iter()
        .any(|schema| name.eq_ignore_ascii_case(schema))
}

/// Tables of `information_schema` that tell about one server.
pub(crate) fn is_server_table(name: &[u8]) -> bool {
    let starts =
        |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let names: [&[u8]; 6] =
        [b"processlist", b"optimizer_trace", b"profiling", b"events", b"files", b"plugins"];
    starts(b"innodb_") || names.iter().any(|table| name.eq_ignore_ascii_case(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_apart() {
        assert_eq!(variable(b"SQL_MODE"), Variable::Reading);
        assert_eq!(variable(b"time_zone"), Variable::Tracked);
        assert_eq!(variable(b"Autocommit"), Variable::Autocommit);
        assert_eq!(variable(b"session_track_gtids"), Variable::Tracker);
        assert_eq!(variable(b"timestamp"), Variable::Untracked);
        assert_eq!(variable(b"sql_log_bin"), Variable::Untracked);
        assert!(TRACKED.is_sorted());
    }
}
