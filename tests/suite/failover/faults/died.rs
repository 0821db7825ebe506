//! Primaries that die, alone and with others.
//!
//! Never here: a primary that answers anybody after the fault.

use rand::RngExt as _;
use sluice_cluster::Respawn;

use super::*;
use crate::process::{client, verb};
use mysql_async::prelude::Queryable as _;

/// Either it comes back in time and goes on in place, or another one takes over: never both.
#[tokio::test]
async fn d2_a_primary_killed_and_started_again_at_once_is_one_primary_after() {
    let stage = prepared(Cluster::builder().respawn(Respawn::Always), "").await;
    let load = busy(&stage).await;
    let life = stage.cluster.node(0).lives();
    stage.cluster.node(0).kill().await.unwrap();
    if stage.cluster.node(0).pid().is_none() {
        // kill() is what the harness asked for, so its supervisor does not count it as a crash.
        stage.cluster.node(0).start().await.unwrap();
    }
    let status = until(&stage, "one primary again", |status| {
        let settled =
            |number: usize| matches!(word(instance(status, number), "reads"), "serving" | "quarantined");
        healthy(status) && settled(0) && settled(1) && settled(2)
    })
    .await;
    assert!(stage.cluster.node(0).lives() > life);
    println!("epoch {}, primary {}", epoch(&status), word(&status, "primary"));
    assert!(epoch(&status) <= 2, "{status:#}");
    let apart = word(instance(&status, 0), "reads") == "quarantined";
    let nodes: &[usize] = if apart { &OTHERS } else { &[0, 1, 2] };
    judged(&stage, load, nodes).await;
}

#[tokio::test]
async fn d13_an_idle_primary_is_missed_as_soon_as_a_busy_one() {
    let stage = members(3).await;
    stage.cluster.node(0).kill().await.unwrap();
    replaced(&stage, 2).await;
    let operation = latest(&stage).await;
    let micros = operation.get("stall_us").and_then(Value::as_u64).unwrap();
    println!("{} ms", micros / 1000);
    assert!(micros < 10_000_000, "{operation:#}");
}

#[tokio::test]
async fn d16_of_five_the_primary_and_a_replica_may_die() {
    let stage = members(5).await;
    let load = busy(&stage).await;
    stage.cluster.node(4).kill().await.unwrap();
    stage.cluster.node(0).kill().await.unwrap();
    replaced(&stage, 2).await;
    judged(&stage, load, &[1, 2, 3]).await;
}

#[tokio::test]
async fn d17_of_five_the_primary_and_two_replicas_are_too_many_until_one_returns() {
    let stage = members(5).await;
    let load = busy(&stage).await;
    for node in [3, 4, 0] {
        stage.cluster.node(node).kill().await.unwrap();
    }
    let lost = until(&stage, "lost quorum", |status| word(status, "verdict") == "lost_quorum").await;
    assert!(word(&lost, "evidence").contains("missing: db4, db5"), "{lost:#}");
    assert_eq!(epoch(&lost), 1);
    stage.cluster.node(3).start().await.unwrap();
    replaced(&stage, 2).await;
    judged(&stage, load, &[1, 2, 3]).await;
}

#[tokio::test]
async fn f1_of_five_two_primaries_in_a_row_may_die_and_the_third_is_waited_for() {
    let stage = members(5).await;
    let load = busy(&stage).await;
    let mut alive: Vec<usize> = (0..5).collect();
    let mut at = 0;
    for wanted in [2, 3] {
        stage.cluster.node(at).kill().await.unwrap();
        alive.retain(|node| *node != at);
        at = replaced(&stage, wanted).await;
        acknowledged(&stage, &load, AFTER).await;
        until(&stage, "ready for the next", |status| healthy(status) && epoch(status) == wanted).await;
    }
    stage.cluster.node(at).kill().await.unwrap();
    let lost = until(&stage, "nobody can be promoted", |status| {
        let state = status.pointer("/failover/state").and_then(Value::as_str).unwrap_or_default();
        word(status, "verdict") == "primary_dead" && state == "not_possible"
    })
    .await;
    assert_eq!(epoch(&lost), 3, "a commit needs two ackers, and one would be left: {lost:#}");
    stage.cluster.node(at).start().await.unwrap();
    until(&stage, "healthy again", |status| healthy(status) && matches!(epoch(status), 3 | 4)).await;
    judged(&stage, load, &alive).await;
}

/// A switchover that fails must not keep a failover from happening.
#[tokio::test]
async fn f4_switchovers_that_fail_are_not_in_the_way_of_a_failover() {
    let stage = members(3).await;
    let load = busy(&stage).await;
    let mut holder = client(stage.sluice.ports().split).await;
    for statement in [
        "CREATE TABLE IF NOT EXISTS app.held (a INT PRIMARY KEY)",
        "BEGIN",
        "INSERT INTO app.held VALUES (1)",
    ] {
        holder.query_drop(statement).await.unwrap();
    }
    for _ in 0..5 {
        let output = verb(&stage.sluice, &["switchover", "--drain", "50ms"]);
        assert!(!output.status.success(), "{output:?}");
        until(&stage, "undone", healthy).await;
    }
    stage.cluster.node(0).kill().await.unwrap();
    replaced(&stage, 2).await;
    judged(&stage, load, &OTHERS).await;
}

/// A replica dies and returns, and the primary dies at some moment of it.
async fn c1(stage: &Stage) {
    let load = busy(stage).await;
    let (replica, until_start, until_kill) = {
        let mut random = rand::rng();
        (random.random_range(1..5), random.random_range(0..300), random.random_range(0..200))
    };
    println!("db{} away for {until_start} writes, then {until_kill} to the kill", replica + 1);
    stage.cluster.node(replica).kill().await.unwrap();
    acknowledged(stage, &load, until_start).await;
    stage.cluster.node(replica).launch().unwrap();
    acknowledged(stage, &load, until_kill).await;
    stage.cluster.node(0).kill().await.unwrap();
    replaced(stage, 2).await;
    stage.cluster.node(replica).wait_ready().await.unwrap();
    let apart = until(stage, "the replica's return", |status| {
        matches!(word(instance(status, replica), "reads"), "serving" | "quarantined")
    })
    .await;
    assert_eq!(word(instance(&apart, replica), "reads"), "serving", "{apart:#}");
    judged(stage, load, &[1, 2, 3, 4]).await;
}

#[tokio::test]
async fn c1_a_replica_comes_and_goes_before_the_primary_dies() {
    c1(&members(5).await).await;
}

/// How often the long forms repeat: `SLUICE_FAULT_RUNS`.
fn runs(otherwise: usize) -> usize {
    std::env::var("SLUICE_FAULT_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test]
#[ignore = "make test-faults"]
async fn c1_many_times() {
    for run in 0..runs(20) {
        println!("run {run}");
        c1(&members(5).await).await;
    }
}

/// Kills, stops and freezes at random moments.
#[tokio::test]
#[ignore = "make test-faults"]
async fn random_deaths_many_times() {
    for run in 0..runs(20) {
        let (fault, moment) = {
            let mut random = rand::rng();
            let faults = [Fault::Kill, Fault::Terminate, Fault::Freeze];
            (faults[random.random_range(0..faults.len())], random.random_range(0..400))
        };
        println!("run {run}: {fault:?} after {moment} more writes");
        let stage = members(3).await;
        let load = busy(&stage).await;
        acknowledged(&stage, &load, moment).await;
        fault.strike(&stage, 0).await;
        replaced(&stage, 2).await;
        judged(&stage, load, &OTHERS).await;
    }
}
