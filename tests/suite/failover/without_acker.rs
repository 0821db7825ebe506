//! `[durability] without_acker = "continue"`: writes go on for a time though every acker is gone, everybody can see it, and
//! nobody is promoted by itself meanwhile.
//!
//! Never here: writes that wait, which is the rule without it.

use std::time::Instant;

use serde_json::json;
use sluice_demo::tables;

use super::*;

const REPLICAS: [usize; 2] = [1, 2];

/// For so long nothing gets through when writes wait.
const LONG: Duration = Duration::from_secs(3);

async fn allowed_for(time: &str) -> Stage {
    let toml = "[durability]\nwithout_acker = 'continue'\ncontinue_after = '2s'\n";
    stage(&format!("{toml}continue_for = '{time}'\n")).await
}

/// Every acker is killed, and writes go on.
async fn begun(stage: &Stage, load: &Load) -> Value {
    acknowledged(stage, load, WARM).await;
    for replica in REPLICAS {
        stage.cluster.node(replica).kill().await.unwrap();
    }
    let status = open(stage).await;
    acknowledged(stage, load, AFTER).await;
    status
}

async fn open(stage: &Stage) -> Value {
    until(stage, "writes go on", |status| word(status, "verdict") == "unguarded").await
}

async fn start(stage: &Stage, nodes: &[usize]) {
    for node in nodes {
        stage.cluster.node(*node).start().await.unwrap();
    }
}

fn has_alarm(status: &Value, words: &str) -> bool {
    let alarms = status.get("alarms").and_then(Value::as_array);
    alarms.is_some_and(|all| all.iter().any(|one| one.as_str().is_some_and(|text| text.contains(words))))
}

/// The history's lines on windows.
fn told(stage: &Stage) -> Vec<String> {
    let lines = audited(stage.sluice.store(), "without acker");
    lines.iter().map(|line| word(line, "outcome").to_owned()).collect()
}

/// Ends the load, and holds all servers against what it was told.
async fn nothing_is_lost(stage: &Stage, load: Load) {
    let report = load.stop().await.unwrap();
    judge_errors(stage, &report);
    serving(stage).await;
    judge_data(stage, &report, &[0, 1, 2]).await;
}

async fn serving(stage: &Stage) {
    until(stage, "all to serve", |status| {
        healthy(status) && (0..3).all(|number| word(instance(status, number), "reads") == "serving")
    })
    .await;
}

#[tokio::test]
async fn w1_writes_go_on_and_nobody_is_promoted_by_itself() {
    let stage = allowed_for("10m").await;
    let load = load(&stage);
    let status = begun(&stage, &load).await;
    assert!(word(&status, "guarantee").starts_with("none since "), "{status:#}");
    assert!(has_alarm(&status, "without an acker"), "{status:#}");
    assert_eq!(status.pointer("/failover/state").and_then(Value::as_str), Some("off"));
    let why = status.pointer("/failover/sentence").and_then(Value::as_str).unwrap_or_default();
    assert!(why.contains("without an acker"), "{why}");
    assert!(stage.admin().get_text("/metrics").await.unwrap().contains("sluice_unguarded 1"));
    assert!(told(&stage).first().is_some_and(|line| line.contains("may be lost")), "{:?}", told(&stage));
    stage.cluster.node(0).kill().await.unwrap();
    start(&stage, &REPLICAS).await;
    until(&stage, "nothing promoted", |status| {
        word(status, "verdict").starts_with("primary_") && word(status, "hint").contains("without an acker")
    })
    .await;
    let refused = stage.admin().operate("/failover", json!({}), SOON).await.unwrap();
    assert!(refused.outcome.as_deref().unwrap_or_default().contains("--accept-loss"), "{refused:?}");
    start(&stage, &[0]).await;
    settled(&stage, 1).await;
    acknowledged(&stage, &load, AFTER).await;
    nothing_is_lost(&stage, load).await;
}

#[tokio::test]
async fn w2_an_acker_that_comes_back_closes_it() {
    let stage = allowed_for("10m").await;
    let load = load(&stage);
    begun(&stage, &load).await;
    start(&stage, &[1]).await;
    let well = until(&stage, "acknowledged again", healthy).await;
    assert!(well.get("unguarded").is_none_or(Value::is_null), "{well:#}");
    assert!(
        told(&stage).last().is_some_and(|line| line.contains("acknowledged again")),
        "{:?}",
        told(&stage)
    );
    start(&stage, &[2]).await;
    settled(&stage, 1).await;
    acknowledged(&stage, &load, AFTER).await;
    stage.cluster.node(0).kill().await.unwrap();
    until(&stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(2)
    })
    .await;
    acknowledged(&stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    judge_errors(&stage, &report);
    judge_data(&stage, &report, &OTHERS).await;
}

#[tokio::test]
async fn w3_when_its_time_is_over_writes_wait_again() {
    let stage = allowed_for("10s").await;
    let load = load(&stage);
    begun(&stage, &load).await;
    let over = until(&stage, "its time to be over", |status| {
        word(status, "verdict") == "semi_sync_starved" && word(status, "evidence").contains("is over since")
    })
    .await;
    assert!(word(&over, "hint").contains("continue_for"), "{over:#}");
    let mut seen = (load.live().acknowledged(), Instant::now());
    let quiet = || {
        let now = load.live().acknowledged();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        std::future::ready(seen.1.elapsed() > LONG)
    };
    wait_until("everybody to wait", SOON, quiet).await.unwrap();
    let now = status(&stage).await;
    assert_eq!(word(&now, "verdict"), "semi_sync_starved", "it does not begin again by itself: {now:#}");
    // Somebody decides otherwise.
    let text = std::fs::read_to_string(stage.sluice.config()).unwrap();
    let longer = text.replace("continue_for = \"10s\"", "continue_for = \"20m\"");
    std::fs::write(stage.sluice.config(), longer).unwrap();
    let reloaded = stage.sluice.post("/reload", "{}").await.unwrap();
    assert!(reloaded.body.contains("continue_for"), "{reloaded:?}");
    open(&stage).await;
    acknowledged(&stage, &load, AFTER).await;
    start(&stage, &REPLICAS).await;
    settled(&stage, 1).await;
    nothing_is_lost(&stage, load).await;
}

#[tokio::test]
async fn w4_a_sluice_killed_meanwhile_goes_on_with_the_same_window() {
    let stage = allowed_for("10m").await;
    let load = load(&stage);
    let before = begun(&stage, &load).await;
    stage.sluice.kill().await.unwrap();
    let report = load.stop().await.unwrap();
    stage.sluice.start().await.unwrap();
    let after = open(&stage).await;
    assert_eq!(word(&after, "unguarded"), word(&before, "unguarded"));
    judge_data(&stage, &report, &[0]).await;
    // The replicas get them later.
    tables::create(&stage.split(), SCHEMA).await.unwrap();
    let load = self::load(&stage);
    acknowledged(&stage, &load, AFTER).await;
    start(&stage, &REPLICAS).await;
    settled(&stage, 1).await;
    nothing_is_lost(&stage, load).await;
}
