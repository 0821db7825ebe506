#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::patients::{healthy, spoil};
use super::*;

fn checks(spoiled: impl FnOnce(&mut Facts)) -> Vec<(String, String)> {
    let mut facts = healthy();
    spoiled(&mut facts);
    let report = examine(&facts);
    for finding in &report.findings {
        assert!(!finding.remedies.is_empty() && !finding.why.is_empty(), "{finding:?}");
    }
    report.findings.into_iter().map(|finding| (finding.instance, finding.check)).collect()
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    let report = examine(&healthy());
    assert_eq!(report.findings, []);
    assert!(report.is_well());
    assert_eq!(report.examined, ["db1", "db2", "db3"]);
}

/// One setting of one member, and the one finding of it.
#[test]
fn one_wrong_setting_one_finding() {
    let cases = [
        (1, "log_bin", "OFF"),
        (2, "log_replica_updates", "OFF"),
        (3, "gtid_mode", "OFF"),
        (1, "enforce_gtid_consistency", "WARN"),
        (1, "binlog_format", "STATEMENT"),
        (1, "sync_binlog", "0"),
        (2, "innodb_flush_log_at_trx_commit", "2"),
        (2, "innodb_doublewrite", "OFF"),
        (3, "sync_relay_log", "10000"),
        (1, "persisted_globals_load", "OFF"),
        (1, "offline_mode", "ON"),
        (1, "max_connections", "151"),
        (1, "max_user_connections", "10"),
        (1, "binlog_expire_logs_seconds", "3600"),
        (1, "skip_name_resolve", "OFF"),
        (2, "relay_log_recovery", "ON"),
        (2, "replica_preserve_commit_order", "OFF"),
        (2, "replica_parallel_workers", "1"),
        (2, "replica_net_timeout", "60"),
        (2, "super_read_only", "OFF"),
        (1, "rpl_semi_sync_source_enabled", "OFF"),
        (2, "rpl_semi_sync_source_enabled", "ON"),
        (2, "rpl_semi_sync_replica_enabled", "OFF"),
        (1, "rpl_semi_sync_source_timeout", "10000"),
        (1, "rpl_semi_sync_source_wait_point", "AFTER_COMMIT"),
        (1, "rpl_semi_sync_source_wait_no_replica", "OFF"),
        (1, "rpl_semi_sync_source_wait_for_replica_count", "2"),
        (2, "server_id", "0"),
    ];
    for (number, name, value) in cases {
        let found = checks(|facts| spoil(facts, number, |server| server.variables.note(name, value)));
        assert_eq!(found, [(format!("db{number}"), name.to_owned())], "{name}={value}");
    }
}

#[test]
fn what_the_ackers_do_not_need_the_primary_is_not_asked_for() {
    let found = checks(|facts| {
        spoil(facts, 1, |server| {
            server.variables.note("relay_log_recovery", "ON");
            server.variables.note("replica_parallel_workers", "1");
        });
        spoil(facts, 2, |server| server.variables.note("rpl_semi_sync_source_timeout", "10000"));
    });
    assert_eq!(found, []);
}

fn found(instance: &str, check: &str) -> (String, String) {
    (instance.to_owned(), check.to_owned())
}

#[test]
fn members_are_compared() {
    let twin = checks(|facts| spoil(facts, 3, |server| server.variables.note("server_id", "2")));
    assert_eq!(twin, [found("db3", "server_id")]);
    let older = checks(|facts| spoil(facts, 2, |server| server.variables.note("version", "8.4.5")));
    assert_eq!(older, [found("db2", "versions")]);
    let other = checks(|facts| {
        for number in 1..=3 {
            spoil(facts, number, |s| s.variables.note("sql_mode", if number == 2 { "ANSI" } else { "" }));
        }
    });
    assert_eq!(other, [found("cluster", "sql_mode")]);
    let late = checks(|facts| spoil(facts, 2, |server| server.skew_ms = -5000));
    assert_eq!(late, [found("db2", "clock")]);
}

#[test]
fn states_are_found() {
    let silent = checks(|facts| facts.members[1].server = Err("connection refused".into()));
    assert_eq!(silent, [found("db2", "reachable")]);
    let stopped = checks(|facts| spoil(facts, 2, |server| server.channels[0].receiver = "OFF".into()));
    assert_eq!(stopped, [found("db2", "receiver")]);
    let chained = checks(|facts| spoil(facts, 3, |server| server.channels[0].source = "uuid-2".into()));
    assert_eq!(chained, [found("db3", "source")]);
    let alone = checks(|facts| spoil(facts, 3, |server| server.channels.clear()));
    assert_eq!(alone, [found("db3", "replication")]);
    let filtered =
        checks(|facts| spoil(facts, 2, |server| server.filters = vec!["REPLICATE_DO_DB a".into()]));
    assert_eq!(filtered, [found("db2", "replication_filters")]);
}

#[test]
fn accounts_are_held_against_the_grants() {
    let weak =
        checks(|facts| spoil(facts, 2, |server| server.grants.retain(|line| !line.contains("RELOAD"))));
    assert_eq!(weak, [found("db2", "privilege RELOAD")]);
    let locked_out = checks(|facts| facts.members[0].replication = Err("error 1045: Access denied".into()));
    assert_eq!(locked_out, [found("db1", "account_replication")]);
    let none =
        checks(|facts| facts.members[0].replication = Ok(vec!["GRANT USAGE ON *.* TO `repl`@`%`".into()]));
    assert_eq!(none, [found("db1", "privilege REPLICATION SLAVE")]);
}

#[test]
fn missing_plugins_hide_no_other_finding() {
    let found = checks(|facts| {
        spoil(facts, 2, |server| {
            let mut without = Variables::default();
            for name in ["version", "server_uuid", "server_id", "gtid_mode"] {
                without.note(name, server.variables.get(name).unwrap());
            }
            without.note("replica_net_timeout", "4");
            without.note("super_read_only", "ON");
            server.variables = without;
            server.persisted = Variables::default();
        });
    });
    let checks: Vec<&str> = found.iter().map(|(_, check)| check.as_str()).collect();
    assert_eq!(
        checks,
        [
            "rpl_semi_sync_source",
            "rpl_semi_sync_replica",
            "boot super_read_only",
            "boot skip_replica_start",
            "boot relay_log_recovery",
            "boot rpl_semi_sync_source_enabled",
            "boot rpl_semi_sync_replica_enabled",
            "clone",
            "skip_name_resolve",
            "replica_parallel_workers",
        ]
    );
}

#[test]
fn only_what_is_required_makes_it_ill() {
    let mut facts = healthy();
    spoil(&mut facts, 1, |server| server.keyless = (0..12).map(|n| format!("app/t{n}")).collect());
    let report = examine(&facts);
    assert!(report.is_well() && report.findings.len() == 1);
    assert!(report.findings[0].what.ends_with("app.t9 and 2 more"), "{}", report.findings[0].what);
    spoil(&mut facts, 2, |server| server.variables.note("sync_binlog", "0"));
    let report = examine(&facts);
    assert!(!report.is_well());
    assert_eq!(report.findings[0].check, "sync_binlog", "the most pressing first");
}
