//! The texts of CLONE and of what is read and set around it.
//!
//! Never here: sending a statement, deciding when.

use super::quoted;

/// What decides whether one server's data fit another server, in one row: the state of the plugin, page size, the
/// system tablespace's files, case of table names, largest packet, platform, what was purged, size of the data, and how
/// many tables are neither the server's own nor Sluice's.
pub const FACTS: &str = "SELECT (SELECT plugin_status FROM information_schema.plugins WHERE plugin_name='clone'), \
     @@innodb_page_size, @@innodb_data_file_path, @@lower_case_table_names, @@max_allowed_packet, \
     CONCAT(@@version_compile_os, ' ', @@version_compile_machine), @@gtid_purged, \
     (SELECT COALESCE(SUM(file_size), 0) FROM information_schema.innodb_tablespaces), \
     (SELECT COUNT(*) FROM information_schema.innodb_tablespaces WHERE space_type='Single' \
      AND name NOT LIKE 'mysql/%' AND name NOT LIKE 'sys/%' AND name NOT LIKE 'sluice/%')";

/// The latest copy into this server, also one that ended before its last start. No row: there was none.
pub const STATUS: &str = "SELECT state, begin_time, error_no, error_message, source \
     FROM performance_schema.clone_status";

/// Its stages, in their order.
pub const PROGRESS: &str = "SELECT stage, state, COALESCE(estimate, 0), COALESCE(data, 0), COALESCE(data_speed, 0) \
     FROM performance_schema.clone_progress";

/// Connections of clients that are at work there, or in a transaction.
pub const WORKING: &str = "SELECT COUNT(*) FROM performance_schema.processlist p \
     WHERE p.user NOT IN ('system user','event_scheduler') AND p.user<>SUBSTRING_INDEX(USER(), '@', 1) \
     AND p.command NOT LIKE 'Binlog Dump%' AND p.command<>'Daemon' AND (p.command<>'Sleep' \
     OR p.id IN (SELECT t.trx_mysql_thread_id FROM information_schema.innodb_trx t))";

/// Nobody but accounts with CONNECTION_ADMIN gets in, and all others are cut off.
pub const CLOSE: &str = "SET GLOBAL offline_mode=ON";
/// Takes [`CLOSE`] back.
pub const OPEN: &str = "SET GLOBAL offline_mode=OFF";

/// Whom the server may copy from.
pub fn allow_donor(host: &str, port: u16) -> String {
    format!("SET GLOBAL clone_valid_donor_list={}", quoted(&format!("{host}:{port}")))
}

/// How many MiB per second the next copies into the server may take at most.
pub fn limit_speed(mib: usize) -> String {
    format!("SET GLOBAL clone_max_data_bandwidth={mib}, GLOBAL clone_max_network_bandwidth={mib}")
}

/// Whether the data come over an encrypted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// If both servers can.
    Preferred,
    /// Or not at all.
    Required,
}

/// Replaces everything in the server by the donor's data. It holds a password: never to be logged.
pub fn clone_from(host: &str, port: u16, user: &str, password: &str, encryption: Encryption) -> String {
    let require = match encryption {
        Encryption::Preferred => "",
        Encryption::Required => " REQUIRE SSL",
    };
    format!(
        "CLONE INSTANCE FROM {}@{}:{port} IDENTIFIED BY {}{require}",
        quoted(user),
        quoted(host),
        quoted(password)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_a_9_7_understands() {
        assert_eq!(allow_donor("10.0.0.2", 3306), "SET GLOBAL clone_valid_donor_list='10.0.0.2:3306'");
        assert_eq!(
            clone_from("h", 3307, "sluice", "it's", Encryption::Required),
            "CLONE INSTANCE FROM 'sluice'@'h':3307 IDENTIFIED BY 'it''s' REQUIRE SSL"
        );
        assert!(clone_from("h", 1, "u", "p", Encryption::Preferred).ends_with("IDENTIFIED BY 'p'"));
    }
}
