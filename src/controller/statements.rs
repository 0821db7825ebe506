//! The texts of the statements the controller sends: one table, by server grammar.
//!
//! Only 9.7 was measured; the texts for other versions are held by golden tests.
//!
//! Never here: sending a statement, deciding when.

pub mod cloning;
pub mod doctor;
pub mod events;

use std::borrow::Cow;

/// Which words a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// 8.0 up to 8.0.25: MASTER and SLAVE.
    Master,
    /// 8.0.26 and newer, 8.4, 9.x: SOURCE and REPLICA.
    Source,
}

/// First version that knows the semi-sync plugins by their new names, the last of the renamed words.
const RENAMED_SINCE: (u16, u16, u16) = (8, 0, 26);

impl Grammar {
    /// The grammar of a server by its `@@version`. Unreadable versions get the current grammar.
    pub fn of_version(version: &str) -> Self {
        match version_number(version) {
            Some(number) if number < RENAMED_SINCE => Self::Master,
            Some(_) | None => Self::Source,
        }
    }
}

/// `8.0.36-0ubuntu0.22.04.1` → (8, 0, 36).
pub(super) fn version_number(version: &str) -> Option<(u16, u16, u16)> {
    let mut parts = version.split(['.', '-', '+']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// A string literal. Backslashes are doubled: the control session sets its own sql_mode.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// First statement of every control session. Nothing it does is written to the binary log unless said; a
/// session whose Sluice vanished without a word gives its lock back after `wait_timeout` seconds; what waits
/// for a metadata lock gives up after one second.
pub const SESSION_SETUP: &str = "SET SESSION sql_log_bin=0, wait_timeout=20, lock_wait_timeout=1, \
     innodb_lock_wait_timeout=5, autocommit=1, sql_mode='', time_zone='+00:00', session_track_gtids=OFF";

/// The server's clock, as [`received_since`] takes it.
pub const NOW: &str = "SELECT NOW(6)";

/// Whether the receiver has got an event or a heartbeat after a moment of the server's clock.
pub fn received_since(moment: &str) -> String {
    format!(
        "SELECT last_heartbeat_timestamp > '{moment}' OR last_queued_transaction_start_queue_timestamp > '{moment}' \
         OR queueing_transaction_start_queue_timestamp > '{moment}' \
         FROM performance_schema.replication_connection_status WHERE channel_name=''"
    )
}

/// Who the server is, what it has and what it is committing: the cheap part of an observation.
pub const PULSE: &str = "SELECT @@server_uuid, @@version, @@read_only, @@super_read_only, @@gtid_executed, \
     CONNECTION_ID(), @@global.gtid_owned";

/// How far the server is. What is being committed is read before what is committed, so that nothing is missed
/// that moves from one to the other in between.
pub const PROGRESS: &str = "SELECT @@server_uuid, @@read_only, @@global.gtid_owned, @@global.gtid_executed";

/// What the server has, executed or only received.
pub const RECEIVED: &str = "SELECT @@server_uuid, @@global.gtid_executed, \
     (SELECT received_transaction_set FROM performance_schema.replication_connection_status WHERE channel_name='')";

/// Whether commits wait for acknowledgements, and how many were answered without one.
pub const VOUCH: &str = "SELECT v.variable_value, s.variable_value \
     FROM performance_schema.global_variables v JOIN performance_schema.global_status s \
     WHERE v.variable_name IN ('rpl_semi_sync_source_enabled','rpl_semi_sync_master_enabled') \
     AND s.variable_name IN ('Rpl_semi_sync_source_no_tx','Rpl_semi_sync_master_no_tx')";

/// The replication channels, with what the receiver has got and how far the applier is behind it.
pub const CHANNELS: &str = "SELECT c.channel_name, c.host, c.port, c.user, c.heartbeat_interval, \
     s.source_uuid, s.service_state, s.received_transaction_set, s.last_error_number, s.last_error_message, \
     a.service_state, \
     (SELECT CONCAT(w.last_error_number, ' ', w.last_error_message) \
        FROM performance_schema.replication_applier_status_by_worker w \
        WHERE w.channel_name=c.channel_name AND w.last_error_number<>0 LIMIT 1), \
     CAST(GREATEST(0, COALESCE(TIMESTAMPDIFF(MICROSECOND, \
       (SELECT MAX(w.last_applied_transaction_original_commit_timestamp) \
          FROM performance_schema.replication_applier_status_by_worker w WHERE w.channel_name=c.channel_name), \
       s.last_queued_transaction_original_commit_timestamp), 0)) DIV 1000 AS CHAR), c.auto_position \
     FROM performance_schema.replication_connection_configuration c \
     JOIN performance_schema.replication_connection_status s ON s.channel_name=c.channel_name \
     JOIN performance_schema.replication_applier_status a ON a.channel_name=c.channel_name \
     WHERE c.channel_name NOT LIKE 'group\\_replication%'";

/// Semi-sync state and the settings that matter, whatever the plugin is called.
pub const SETTINGS: &str = "SELECT LOWER(variable_name), variable_value \
     FROM performance_schema.global_status WHERE variable_name LIKE 'Rpl\\_semi\\_sync\\_%' OR variable_name='Uptime' \
     UNION ALL SELECT LOWER(variable_name), variable_value FROM performance_schema.global_variables \
     WHERE variable_name LIKE 'rpl\\_semi\\_sync\\_%' OR variable_name IN \
     ('gtid_mode','replica_net_timeout','slave_net_timeout','max_connections','log_bin','log_replica_updates',\
     'log_slave_updates','persisted_globals_load','offline_mode') \
     UNION ALL SELECT 'sluice filters', COUNT(*) FROM performance_schema.replication_applier_filters \
     WHERE filter_rule<>'' \
     UNION ALL SELECT 'sluice at work', COUNT(*) FROM performance_schema.processlist \
     WHERE command IN ('Query','Execute') AND time>=1 AND user NOT IN ('system user','event_scheduler') \
     AND user<>SUBSTRING_INDEX(USER(), '@', 1) \
     UNION ALL SELECT 'sluice delay', MAX(desired_delay) FROM performance_schema.replication_applier_configuration \
     UNION ALL SELECT CONCAT('boot ', LOWER(variable_name)), variable_value FROM performance_schema.persisted_variables \
     WHERE variable_name IN ('super_read_only','skip_replica_start','skip_slave_start','relay_log_recovery') \
     OR variable_name LIKE 'rpl\\_semi\\_sync\\_%\\_enabled'";

/// The highest epoch that the server carries.
pub const EPOCH_ROW: &str =
    "SELECT epoch, primary_uuid, ackers, wait_count, who FROM sluice.epoch ORDER BY epoch DESC LIMIT 1";

/// Both read-only switches. While a `SET super_read_only` is pending they read 0, 1.
pub const READ_ONLY_FLAGS: &str = "SELECT @@read_only, @@super_read_only";
/// One switch down takes both down.
pub const SET_WRITABLE: &str = "SET GLOBAL read_only=OFF";
/// One switch up takes both up. The only proof of success is its own OK or both switches up.
pub const SET_READ_ONLY: &str = "SET GLOBAL super_read_only=ON";

/// What the epoch rows live in; both are logged.
pub const CREATE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS sluice";
/// See [`CREATE_SCHEMA`].
pub const CREATE_EPOCH_TABLE: &str = "CREATE TABLE IF NOT EXISTS sluice.epoch (\
     epoch BIGINT UNSIGNED NOT NULL PRIMARY KEY, primary_uuid CHAR(36) NOT NULL, ackers TEXT NOT NULL, \
     wait_count SMALLINT UNSIGNED NOT NULL, who VARCHAR(255) NOT NULL, \
     at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)) ENGINE=InnoDB";
/// What the write probe writes to, logged; see [`WRITE_PROBE`].
pub const CREATE_PROBE_TABLE: &str = "CREATE TABLE IF NOT EXISTS sluice.probe (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, \
     at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)) ENGINE=InnoDB";
/// A write that goes the whole way of a client's. Few rows, and none that a probe of before is likely to hold.
pub const WRITE_PROBE: &str = "REPLACE INTO sluice.probe (id) VALUES (CONNECTION_ID() MOD 64)";
/// The id of this session.
pub const OWN_CONNECTION: &str = "SELECT CONNECTION_ID()";
/// Who holds a lock on the whole server: id, account, seconds, statement, state. FLUSH TABLES WITH READ LOCK is shared.
pub const SERVER_LOCKS: &str = "SELECT t.processlist_id, CONCAT(t.processlist_user, '@', t.processlist_host), \
     COALESCE(t.processlist_time, 0), COALESCE(LEFT(t.processlist_info, 80), ''), COALESCE(t.processlist_state, '') \
     FROM performance_schema.metadata_locks m JOIN performance_schema.threads t ON t.thread_id=m.owner_thread_id \
     WHERE m.object_type IN ('GLOBAL','COMMIT') AND m.lock_status='GRANTED' AND m.lock_type='SHARED' \
     AND t.processlist_id IS NOT NULL LIMIT 1";

/// The state of a session, and how many wait for acknowledgements.
pub fn waiting_for(connection: u64) -> String {
    format!(
        "SELECT COALESCE(p.state, ''), (SELECT COUNT(*) FROM performance_schema.processlist w \
         WHERE w.state LIKE 'Waiting for semi-sync ACK%') FROM performance_schema.processlist p WHERE p.id={connection}"
    )
}

/// Makes the session's statements part of the history, for the epoch row and the write probe.
pub const LOG_ON: &str = "SET SESSION sql_log_bin=1";
/// The state a control session is always in otherwise.
pub const LOG_OFF: &str = "SET SESSION sql_log_bin=0";

/// Transactions that write, of sessions that are neither ours nor the server's: id, account, seconds, statement.
pub const OPEN_WRITES: &str = "SELECT p.id, CONCAT(p.user, '@', p.host), \
     TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), COALESCE(LEFT(p.info, 80), ''), '' \
     FROM information_schema.innodb_trx t JOIN performance_schema.processlist p ON p.id=t.trx_mysql_thread_id \
     WHERE t.trx_rows_modified>0 AND p.user NOT IN ('system user','event_scheduler') AND p.id<>CONNECTION_ID()";

/// Statements that hold up `SET GLOBAL super_read_only`, such as ALTER TABLE, whether they work or wait: id, account,
/// seconds, statement, state.
pub const READ_ONLY_BLOCKERS: &str = "SELECT t.processlist_id, \
     CONCAT(t.processlist_user, '@', t.processlist_host), COALESCE(t.processlist_time, 0), \
     COALESCE(LEFT(t.processlist_info, 80), ''), COALESCE(t.processlist_state, '') \
     FROM performance_schema.metadata_locks m JOIN performance_schema.threads t ON t.thread_id=m.owner_thread_id \
     WHERE m.object_type IN ('GLOBAL','COMMIT') AND m.lock_status='GRANTED' \
     AND m.lock_type='INTENTION_EXCLUSIVE' AND t.processlist_id IS NOT NULL AND t.processlist_id<>CONNECTION_ID()";

/// Connections of clients: neither ours, nor replicas', nor the server's own.
pub const CLIENTS: &str = "SELECT id FROM performance_schema.processlist \
     WHERE user NOT IN ('system user','event_scheduler') AND user<>SUBSTRING_INDEX(USER(), '@', 1) \
     AND command NOT LIKE 'Binlog Dump%' AND command<>'Daemon'";

/// Connections whose `SET GLOBAL super_read_only` is still pending.
pub const PENDING_READ_ONLY: &str = "SELECT id FROM performance_schema.processlist \
     WHERE info LIKE 'SET GLOBAL super\\_read\\_only%' AND id<>CONNECTION_ID()";

/// Takes back the block of error 1129; not logged.
pub const UNBLOCK_HOSTS: &str = "TRUNCATE TABLE performance_schema.host_cache";

/// Prepared XA transactions: they pass through super_read_only.
pub const XA_RECOVER: &str = "XA RECOVER";

/// Filters that would make a replica hold less than its primary.
pub const FILTERS: &str = "SELECT filter_name, filter_rule FROM performance_schema.replication_applier_filters WHERE filter_rule<>''";

/// Takes the lock of a cluster without waiting: 1 if it is ours now.
pub fn get_lock(lock: &str) -> String {
    format!("SELECT GET_LOCK({}, 0)", quoted(lock))
}

/// Gives the lock back.
pub fn release_lock(lock: &str) -> String {
    format!("DO RELEASE_LOCK({})", quoted(lock))
}

/// The connection that holds the lock and its account, if any does.
pub fn lock_holder(lock: &str) -> String {
    format!(
        "SELECT h.id, (SELECT CONCAT(p.user, '@', p.host) FROM performance_schema.processlist p WHERE p.id=h.id) \
         FROM (SELECT IS_USED_LOCK({}) AS id) h WHERE h.id IS NOT NULL",
        quoted(lock)
    )
}

/// Waits until the set is executed: 0 when it is, 1 when the time (seconds) is over.
pub fn wait_executed(set: &str, seconds: f64) -> String {
    format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({}, {seconds:.3})", quoted(set))
}

/// Ends a connection.
pub fn kill(connection: u64) -> String {
    format!("KILL {connection}")
}

/// Whether a connection is still there.
pub fn connection_exists(connection: u64) -> String {
    format!("SELECT COUNT(*) FROM performance_schema.processlist WHERE id={connection}")
}

/// Writes the row of an epoch; the barrier of that epoch.
pub fn epoch_row(row: &super::record::EpochRow) -> String {
    format!(
        "REPLACE INTO sluice.epoch (epoch, primary_uuid, ackers, wait_count, who) VALUES ({}, {}, {}, {}, {})",
        row.epoch,
        quoted(&row.primary.to_string()),
        quoted(&row.ackers_text()),
        row.wait_count,
        quoted(&row.who)
    )
}

/// Towards GTIDs on a server that has none, online: each on all members before the next.
pub const GTID_MODE_ON: [&str; 3] = [
    "SET PERSIST gtid_mode=OFF_PERMISSIVE",
    "SET PERSIST gtid_mode=ON_PERMISSIVE",
    "SET PERSIST gtid_mode=ON",
];

/// Where a replica gets its transactions from.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Host name or address.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Replication account.
    pub user: &'a str,
    /// Its password.
    pub password: Cow<'a, str>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// Whether a replica never had a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// It has none.
    Yes,
    /// It has one, with auto-position.
    No,
}

/// Heartbeat of every replication connection, seconds; [`NET_TIMEOUT`] is two of them.
pub const HEARTBEAT: f64 = 2.0;
/// Seconds without a byte after which a replica takes its source for gone.
pub const NET_TIMEOUT: u32 = 4;
/// How long a commit waits for its acknowledgement, milliseconds: the plugin knows no "for ever", this is the
/// most it takes (49 days).
pub const ACK_TIMEOUT_MS: u64 = u32::MAX as u64;

impl Grammar {
    /// Points a replica at a source. With both replication threads stopped this deletes relay logs.
    ///
    /// A replica that has a source already keeps its auto-position: naming it is refused (3081) while the
    /// applier runs.
    pub fn follow(self, source: &Source<'_>, first: First) -> String {
        let (head, word, public_key) = match self {
            Self::Source => ("CHANGE REPLICATION SOURCE TO", "SOURCE", "GET_SOURCE_PUBLIC_KEY"),
            Self::Master => ("CHANGE MASTER TO", "MASTER", "GET_MASTER_PUBLIC_KEY"),
        };
        format!(
            "{head} {word}_HOST={}, {word}_PORT={}, {word}_USER={}, {word}_PASSWORD={}, {word}_SSL={}, \
             {public_key}=1, {word}_CONNECT_RETRY=1, {word}_RETRY_COUNT=86400, \
             {word}_HEARTBEAT_PERIOD={HEARTBEAT}{}",
            quoted(source.host),
            source.port,
            quoted(source.user),
            quoted(&source.password),
            u8::from(source.tls),
            match first {
                First::Yes => format!(", {word}_AUTO_POSITION=1"),
                First::No => String::new(),
            }
        )
    }

    /// Changes nothing but the heartbeat.
    pub fn heartbeat(self) -> String {
        match self {
            Self::Source => format!("CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD={HEARTBEAT}"),
            Self::Master => format!("CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD={HEARTBEAT}"),
        }
    }

    fn replica(self) -> &'static str {
        match self {
            Self::Source => "REPLICA",
            Self::Master => "SLAVE",
        }
    }

    fn semi_sync(self) -> (&'static str, &'static str) {
        match self {
            Self::Source => ("source", "replica"),
            Self::Master => ("master", "slave"),
        }
    }

    /// Starts the receiver.
    pub fn start_receiver(self) -> String {
        format!("START {} IO_THREAD", self.replica())
    }

    /// Stops the receiver, never both: a plain STOP stops the applier first and can hang while the receiver
    /// goes on acknowledging.
    pub fn stop_receiver(self) -> String {
        format!("STOP {} IO_THREAD", self.replica())
    }

    /// Starts the applier.
    pub fn start_applier(self) -> String {
        format!("START {} SQL_THREAD", self.replica())
    }

    /// Stops the applier.
    pub fn stop_applier(self) -> String {
        format!("STOP {} SQL_THREAD", self.replica())
    }

    /// Forgets the source and deletes relay logs.
    pub fn reset_replica_all(self) -> String {
        format!("RESET {} ALL", self.replica())
    }

    /// Sets the time after which a silent source counts as gone.
    pub fn net_timeout(self) -> String {
        match self {
            Self::Source => format!("SET GLOBAL replica_net_timeout={NET_TIMEOUT}"),
            Self::Master => format!("SET GLOBAL slave_net_timeout={NET_TIMEOUT}"),
        }
    }

    /// Settings for the next start: read-only, not replicating, neither waiting nor acknowledging, relay logs kept.
    /// A server that starts must do nothing that it was not told; its relay logs may be the only copy.
    pub fn persist_boot(self) -> String {
        let (source, replica) = self.semi_sync();
        let start = match self {
            Self::Source => "skip_replica_start",
            Self::Master => "skip_slave_start",
        };
        format!(
            "SET PERSIST_ONLY super_read_only=ON, PERSIST_ONLY {start}=ON, PERSIST_ONLY relay_log_recovery=OFF, \
             PERSIST_ONLY rpl_semi_sync_{source}_enabled=OFF, PERSIST_ONLY rpl_semi_sync_{replica}_enabled=OFF"
        )
    }

    /// Switches the acknowledging side.
    pub fn set_acking(self, on: bool) -> String {
        format!("SET GLOBAL rpl_semi_sync_{}_enabled={}", self.semi_sync().1, u8::from(on))
    }

    /// Switches the waiting side off. Costs up to a second while replicas are attached.
    pub fn set_waiting_off(self) -> String {
        format!("SET GLOBAL rpl_semi_sync_{}_enabled=0", self.semi_sync().0)
    }

    /// Switches the waiting side on, for `count` acknowledgements. Without `strict` a commit waits only while
    /// enough replicas are attached.
    pub fn set_waiting_on(self, count: u16, strict: bool) -> String {
        let (source, replica) = self.semi_sync();
        let count_name = match self {
            Self::Source => "wait_for_replica_count",
            Self::Master => "wait_for_slave_count",
        };
        let prefix = format!("rpl_semi_sync_{source}");
        format!(
            "SET GLOBAL {prefix}_timeout={ACK_TIMEOUT_MS}, GLOBAL {prefix}_wait_point=AFTER_SYNC, \
             GLOBAL {prefix}_{count_name}={count}, GLOBAL {prefix}_wait_no_{replica}={}, GLOBAL {prefix}_enabled=1",
            u8::from(strict)
        )
    }

    /// Whether the waiting side is on. No row: there is no such plugin.
    pub fn is_waiting(self) -> String {
        let source = self.semi_sync().0;
        format!(
            "SELECT variable_value FROM performance_schema.global_variables \
             WHERE variable_name='rpl_semi_sync_{source}_enabled'"
        )
    }

    /// Whether the waiting side works, and how many replicas are attached.
    pub fn waiting_state(self) -> String {
        let source = self.semi_sync().0;
        format!(
            "SELECT (SELECT variable_value FROM performance_schema.global_status \
             WHERE variable_name='Rpl_semi_sync_{source}_status'), \
             (SELECT variable_value FROM performance_schema.global_status \
             WHERE variable_name='Rpl_semi_sync_{source}_clients')"
        )
    }
}

#[cfg(test)]
mod tests;
