//! `sluice rebuild` as a user types it, under a load whose clients must not notice.

#![allow(clippy::print_stdout, reason = "the figures are what the long form is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use sluice_cluster::{Boot, ClusterBuilder, Durability, Storage};
use sluice_demo::load::{Kind, Load, LoadConfig};
use sluice_demo::stage::{SCHEMA, Stage};
use sluice_demo::verify;

use super::*;
use crate::process::{SLUICE, verb};

/// Rows that one statement adds at most.
const ROWS_AT_ONCE: u32 = 64 * 1024;

/// Rows of 1 KiB that make the data directories larger; as statements, so that binary logs stay small.
async fn fatten(cluster: &Cluster, mib: u32) {
    let mut conn = cluster.node(0).root_conn().await.unwrap();
    for statement in [
        "SET SESSION binlog_format = STATEMENT",
        "CREATE TABLE app.fat (id INT PRIMARY KEY, filler VARCHAR(1024)) CHARSET latin1",
        "INSERT INTO app.fat VALUES (0, REPEAT('x', 1000))",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let mut rows = 1;
    while rows < mib * 1024 {
        // Replicas apply it in one go.
        let more = rows.min(ROWS_AT_ONCE);
        let copies = format!("INSERT INTO app.fat SELECT id + {rows}, filler FROM app.fat WHERE id < {more}");
        conn.query_drop(copies).await.unwrap();
        rows += more;
        if more == ROWS_AT_ONCE {
            cluster.wait_caught_up(0).await.unwrap();
        }
    }
    conn.disconnect().await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
}

async fn rebuild_under_load(plan: ClusterBuilder, mib: u32) {
    let stage = Stage::start(Path::new(SLUICE), plan.boot(Boot::Fenced), "").await.unwrap();
    stage.fresh_tables().await.unwrap();
    crate::process::settled(&stage.sluice).await;
    fatten(&stage.cluster, mib).await;
    crate::process::settled(&stage.sluice).await;
    let load = Load::start(LoadConfig {
        pace: Duration::from_millis(20),
        longest: Duration::from_secs(900),
        ..LoadConfig::mixed(stage.split(), 16)
    })
    .unwrap();
    let warm = || async { load.live().acknowledged() > 200 };
    wait_until("clients at work", SOON, warm).await.unwrap();

    let (before, began) = (load.live().acknowledged(), Instant::now());
    let sluice = &stage.sluice;
    // The load has a thread of its own.
    let typed = verb(sluice, &["rebuild", "db3"]);
    let took = began.elapsed();
    let written = load.live().acknowledged() - before;
    let shown = String::from_utf8_lossy(&typed.stdout).into_owned();
    println!("{shown}");
    assert!(typed.status.success(), "{shown}{}", String::from_utf8_lossy(&typed.stderr));
    assert!(shown.contains("] file copy, "), "progress is shown");
    let report = load.stop().await.unwrap();
    assert!(report.errors.is_empty() && report.anomalies.is_empty(), "{:?}", report.errors.first());
    assert!(written > 100, "clients went on: {written} commits in {took:?}");
    let verdict = verify::verify(&report.ledger, SCHEMA, &stage.servers()).await.unwrap();
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    println!(
        "{mib} MiB in {:.1} s, {written} commits meanwhile, no error; writes p50 {:?} p99 {:?} longest {:?}",
        took.as_secs_f64(),
        report.timing.quantile(Kind::Write, 0.5),
        report.timing.quantile(Kind::Write, 0.99),
        report.timing.quantile(Kind::Write, 1.0),
    );
}

#[tokio::test]
async fn clients_do_not_notice_a_rebuild() {
    rebuild_under_load(Cluster::builder(), 128).await;
}

/// The long form: 2 GiB.
#[tokio::test]
#[ignore = "takes minutes and 10 GiB of disk"]
async fn two_gibibytes_in_figures() {
    let plan = Cluster::builder().storage(Storage::Disk).durability(Durability::Relaxed);
    rebuild_under_load(plan.option("innodb_redo_log_capacity = 512M"), 2048).await;
}
