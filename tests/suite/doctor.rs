//! `sluice doctor` on real servers: what a stock cluster lacks, nothing that a cared-for one has, and what was broken.
//!
//! Never here: a setting that the test itself mends before it is found.

use std::collections::BTreeSet;
use std::process::Output;

use sluice::controller::doctor::{Finding, Remedy, Report};
use sluice_cluster::{Boot, Cluster, Durability, Node, SluiceProcess, wait_until};

use crate::process::{SLUICE, accounts, run, settled, verb};

/// How long anything may take on a busy machine.
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

fn report(output: &Output) -> Report {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn found<'a>(report: &'a Report, instance: &str) -> BTreeSet<&'a str> {
    let of_instance = report.findings.iter().filter(|finding| finding.instance == instance);
    of_instance.map(|finding| finding.check.as_str()).collect()
}

fn one<'a>(report: &'a Report, instance: &str, check: &str) -> &'a Finding {
    let is_it = |finding: &&Finding| finding.instance == instance && finding.check == check;
    report.findings.iter().find(is_it).unwrap_or_else(|| panic!("no {check} of {instance}: {report:#?}"))
}

/// A cluster whose servers have nothing that MySQL does not have by itself, or that an unlucky my.cnf sets.
async fn stock() -> Cluster {
    let mut plan = Cluster::builder().boot(Boot::Stock).durability(Durability::Relaxed);
    for line in [
        "plugin_load =",
        "gtid_mode = OFF",
        "enforce_gtid_consistency = OFF",
        "log_replica_updates = OFF",
        "binlog_format = MIXED",
        "relay_log_recovery = ON",
        "replica_preserve_commit_order = OFF",
        "max_connections = 151",
    ] {
        plan = plan.option(line);
    }
    let cluster = plan.start().await.unwrap();
    for node in cluster.nodes() {
        for statement in &accounts().statements {
            node.exec(statement).await.unwrap();
        }
    }
    for node in &cluster.nodes()[1..] {
        let port = cluster.node(0).port();
        let point = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='repl', \
             SOURCE_PASSWORD='replication-password', GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1"
        );
        node.exec(&point).await.unwrap();
        node.exec("START REPLICA IO_THREAD").await.unwrap();
        let connected = || async {
            let sql = "SELECT COUNT(*) FROM performance_schema.replication_connection_status \
                       WHERE service_state='ON' AND source_uuid<>''";
            node.value::<u8>(sql).await.unwrap() == 1
        };
        wait_until("the receiver", SOON, connected).await.unwrap();
    }
    cluster
}

#[tokio::test]
async fn a_stock_cluster_lacks_all_of_it_in_one_run() {
    let cluster = stock().await;
    let sluice = SluiceProcess::builder(SLUICE).accounts(&accounts()).prepare(&cluster).unwrap();
    let config = sluice.config().to_str().unwrap();
    let output = run(&["doctor", "--config", config, "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    assert_eq!(report.examined, ["db1", "db2", "db3"]);
    for member in ["db1", "db2", "db3"] {
        let found = found(&report, member);
        for check in [
            "gtid_mode",
            "enforce_gtid_consistency",
            "log_replica_updates",
            "binlog_format",
            "sync_binlog",
            "innodb_flush_log_at_trx_commit",
            "innodb_doublewrite",
            "sync_relay_log",
            "rpl_semi_sync_source",
            "rpl_semi_sync_replica",
            "clone",
            "boot super_read_only",
            "boot skip_replica_start",
            "boot relay_log_recovery",
            "boot rpl_semi_sync_source_enabled",
            "boot rpl_semi_sync_replica_enabled",
            "max_connections",
        ] {
            assert!(found.contains(check), "{member} {check}: {found:?}");
        }
        if member != "db1" {
            for check in
                ["auto_position", "super_read_only", "relay_log_recovery", "applier", "replica_net_timeout"]
            {
                assert!(found.contains(check), "{member} {check}: {found:?}");
            }
        }
    }
    let text = run(&["doctor", "--config", config]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("db1  REQUIRED: sync_binlog is 0, not 1"), "{text}");
    assert!(text.contains("SET PERSIST sync_binlog=1;"), "{text}");

    // A fenced replica refuses INSTALL PLUGIN (1290).
    let db2 = cluster.node(1);
    db2.exec("SET GLOBAL super_read_only=ON").await.unwrap();
    let report = self::report(&run(&["doctor", "--config", config, "-o", "json"]));
    for check in ["clone", "rpl_semi_sync_source", "rpl_semi_sync_replica"] {
        mend(db2, one(&report, "db2", check)).await;
    }
    let report = self::report(&run(&["doctor", "--config", config, "-o", "json"]));
    let found = found(&report, "db2");
    assert!(!found.contains("clone") && !found.contains("rpl_semi_sync_source"), "{found:?}");
    assert!(!found.contains("super_read_only"), "{found:?}");
}

/// Runs the statements that a finding names.
async fn mend(node: &Node, finding: &Finding) {
    for remedy in &finding.remedies {
        match remedy {
            Remedy::Statement(statement) => node.exec(statement).await.unwrap(),
            Remedy::MyCnf(_) | Remedy::Restart | Remedy::Do(_) => {}
        }
    }
}

/// What is broken by a statement on a node, and the finding of it.
const BREAKS: [(usize, &str, &str); 9] = [
    (0, "SET GLOBAL sync_binlog=100", "sync_binlog"),
    (2, "SET GLOBAL innodb_flush_log_at_trx_commit=2", "innodb_flush_log_at_trx_commit"),
    (1, "SET GLOBAL replica_preserve_commit_order=OFF", "replica_preserve_commit_order"),
    (1, "SET GLOBAL replica_parallel_workers=1", "replica_parallel_workers"),
    (0, "SET GLOBAL binlog_format=STATEMENT", "binlog_format"),
    (0, "SET GLOBAL binlog_expire_logs_seconds=3600", "binlog_expire_logs_seconds"),
    (0, "SET GLOBAL max_connections=100", "max_connections"),
    (2, "SET GLOBAL max_user_connections=7", "max_user_connections"),
    (0, "REVOKE XA_RECOVER_ADMIN ON *.* FROM 'sluice'@'%'", "privilege XA_RECOVER_ADMIN"),
];

#[tokio::test]
async fn a_cluster_in_care_is_well_and_each_break_is_found_and_mended_as_it_says() {
    let accounts = accounts();
    let cluster = Cluster::builder().boot(Boot::Fenced).option("sync_relay_log = 1").start().await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    let builder = SluiceProcess::builder(SLUICE).accounts(&accounts);
    let sluice = builder.start(&cluster).await.unwrap();
    settled(&sluice).await;
    let well = || async { verb(&sluice, &["doctor"]).status.success() };
    wait_until("well", SOON, well).await.unwrap();
    assert_eq!(report(&verb(&sluice, &["doctor", "-o", "json"])).findings, []);

    for (node, statement, check) in BREAKS {
        if check.starts_with("replica_") {
            cluster.node(node).exec("STOP REPLICA SQL_THREAD").await.unwrap();
        }
        cluster.node(node).exec(statement).await.unwrap();
        let instance = cluster.node(node).name();
        let report = report(&verb(&sluice, &["doctor", "-o", "json"]));
        let finding = one(&report, instance, check).clone();
        mend(cluster.node(node), &finding).await;
        let mended = || async {
            let output = verb(&sluice, &["doctor", "-o", "json"]);
            self::report(&output).findings.is_empty()
        };
        if wait_until("mended", SOON, mended).await.is_err() {
            panic!("{check}: {:#?}", self::report(&verb(&sluice, &["doctor", "-o", "json"])));
        }
    }
    for statement in
        ["CREATE TABLE app.keyless (a INT)", "CREATE TABLE app.plain (a INT PRIMARY KEY) ENGINE=MyISAM"]
    {
        cluster.node(0).exec(statement).await.unwrap();
    }
    cluster.node(0).exec("INSERT INTO app.plain VALUES (1)").await.unwrap();
    cluster.node(2).kill().await.unwrap();
    let output = verb(&sluice, &["doctor", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    assert!(one(&report, "db1", "primary_key").what.contains("app.keyless"), "{report:#?}");
    assert!(one(&report, "db1", "engine").what.contains("app.plain"), "{report:#?}");
    assert!(one(&report, "db3", "reachable").what.contains("refused"), "{report:#?}");
}
