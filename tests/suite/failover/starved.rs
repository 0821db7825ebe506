//! A primary that commits while no acker answers, and then says OK all the same: nobody may be told.
//!
//! Never here: a failover whose ackers were well.

use std::time::Instant;

use serde_json::json;

use super::*;

const REPLICAS: [usize; 2] = [1, 2];

/// Longer than a commit may wait before its OK has to be proved.
const LONG: Duration = Duration::from_secs(1);

/// Both ackers are gone, and every writer has waited for them for a long time. (Frozen ones would still get what is
/// on its way to them.)
async fn starve(stage: &Stage, load: &Load) {
    acknowledged(stage, load, WARM).await;
    for replica in REPLICAS {
        stage.cluster.node(replica).kill().await.unwrap();
    }
    let mut seen = (load.live().acknowledged(), Instant::now());
    let quiet = || {
        let now = load.live().acknowledged();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        std::future::ready(seen.1.elapsed() > LONG)
    };
    wait_until("everybody to wait", SOON, quiet).await.unwrap();
}

/// One of the ackers is the primary and has all that was acknowledged.
async fn judge(stage: &Stage, load: Load) -> Value {
    until(stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(2)
    })
    .await;
    let operation = latest(stage).await;
    show(&operation);
    acknowledged(stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    judge_errors(stage, &report);
    judge_data(stage, &report, &OTHERS).await;
    let unknown = report.errors.iter().filter(|error| error.code == Some(1180)).count();
    println!("{unknown} told that the outcome is unknown");
    assert!(unknown > 0, "somebody's commit was answered by the old primary alone");
    operation
}

async fn start_ackers(stage: &Stage) {
    for replica in REPLICAS {
        stage.cluster.node(replica).start().await.unwrap();
    }
}

/// mysqld answers OK to all commits that wait when it is told to stop.
#[tokio::test]
async fn sigterm_of_a_starved_primary_tells_nobody_ok() {
    let stage = stage("").await;
    let load = load(&stage);
    starve(&stage, &load).await;
    let old = stage.cluster.node(0);
    old.stop().await.unwrap();
    start_ackers(&stage).await;
    judge(&stage, load).await;
}

/// Somebody switches semi-sync off to get a hanging primary going, and then it dies (Vitess 16050).
#[tokio::test]
async fn semi_sync_switched_off_on_a_starved_primary_tells_nobody_ok() {
    let stage = stage("").await;
    let load = load(&stage);
    starve(&stage, &load).await;
    let old = stage.cluster.node(0);
    let before = old.gtid_executed().await.unwrap();
    old.exec("SET GLOBAL rpl_semi_sync_source_enabled = OFF").await.unwrap();
    wait_until("them to commit", SOON, || async { old.gtid_executed().await.unwrap() != before })
        .await
        .unwrap();
    until(&stage, "broken", |status| word(status, "guarantee").starts_with("broken")).await;
    old.kill().await.unwrap();
    start_ackers(&stage).await;
    // Others than Sluice's clients may have been told OK: that is for a human to weigh.
    let says = |status: &Value| word(status, "hint").contains("committed without waiting");
    until(&stage, "nothing promoted", |status| {
        word(status, "verdict").starts_with("primary_") && says(status)
    })
    .await;
    let refused = stage.admin().operate("/failover", json!({}), SOON).await.unwrap();
    assert!(refused.outcome.as_deref().unwrap_or_default().contains("--accept-loss"), "{refused:?}");
    let accepted = json!({ "to": "db3", "accept_loss": true });
    let done = stage.admin().operate("/failover", accepted, SOON).await.unwrap();
    assert_eq!(done.state, "done", "{done:?}");
    let operation = judge(&stage, load).await;
    assert_eq!(word(&operation, "target"), "db3");
    assert!(word(&operation, "outcome").contains("lost: "), "{operation:#}");
}
