//! What people say by hand, and what a failover makes of it: pause, maintenance, quarantine.
//!
//! Never here: a mark that Sluice sets by itself.

use std::process::Output;

use super::*;
use crate::process::verb;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// Types a command that has to succeed.
fn typed(stage: &Stage, arguments: &[&str]) -> String {
    let output = verb(&stage.sluice, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    said(&output)
}

fn ackers(status: &Value) -> Vec<&str> {
    status.get("ackers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn f3_a_member_in_maintenance_leaves_reads_and_ackers_and_is_not_promoted() {
    let stage = stage("").await;
    let load = load(&stage);
    acknowledged(&stage, &load, WARM).await;
    let text = typed(&stage, &["maintenance", "db3", "--reason", "disk"]);
    assert!(text.contains("it leaves the ackers now"), "{text}");
    typed(&stage, &["maintenance", "db3", "--reason", "disk", "--for", "1h"]);
    let away = |status: &Value| {
        ackers(status) == ["db2"]
            && word(instance(status, 2), "reads") == "maintenance"
            && word(instance(status, 2), "semi_sync") == "off"
            && healthy(status)
    };
    let status = until(&stage, "db3 out of everything", away).await;
    assert!(word(instance(&status, 2), "mark").starts_with("maintenance: disk, by "), "{status:#}");
    // Its replication is its owner's, and a Sluice that starts again knows it.
    stage.cluster.node(2).exec("STOP REPLICA").await.unwrap();
    stage.sluice.kill().await.unwrap();
    stage.sluice.start().await.unwrap();
    until(&stage, "db3 out of everything after a restart", away).await;
    acknowledged(&stage, &load, WARM).await;
    let stopped =
        "SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE service_state='OFF'";
    assert_eq!(stage.cluster.node(2).value::<u8>(stopped).await.unwrap(), 1);
    stage.cluster.node(2).exec("START REPLICA").await.unwrap();
    let refused = said(&verb(&stage.sluice, &["maintenance", "db1"]));
    assert!(refused.contains("db1 is the primary"), "{refused}");
    let refused = said(&verb(&stage.sluice, &["switchover", "--to", "db3"]));
    assert!(refused.contains("it is in maintenance"), "{refused}");

    stage.cluster.node(0).kill().await.unwrap();
    let status = until(&stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(2)
    })
    .await;
    assert_eq!(word(&status, "primary"), "db2");
    assert_eq!(ackers(&status), ["db3"], "there is nobody else who could acknowledge");
    acknowledged(&stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    judge_data(&stage, &report, &OTHERS).await;

    typed(&stage, &["clear", "db3"]);
    typed(&stage, &["clear", "db3"]);
    until(&stage, "db3 serves again", |status| word(instance(status, 2), "reads") == "serving").await;
}

#[tokio::test]
async fn while_paused_nobody_is_promoted_and_afterwards_somebody_is() {
    let stage = stage("").await;
    let load = load(&stage);
    acknowledged(&stage, &load, WARM).await;
    typed(&stage, &["pause", "--reason", "network work", "--for", "1h"]);
    let text = typed(&stage, &["pause", "--reason", "network work", "--for", "2h"]);
    assert!(text.contains("paused: network work, by ") && text.contains("until "), "{text}");
    assert!(typed(&stage, &["explain", "failover"]).starts_with("off: paused: network work"));
    assert!(typed(&stage, &["status"]).contains("ALARM: automatic failover is paused"));
    stage.sluice.kill().await.unwrap();
    stage.sluice.start().await.unwrap();
    acknowledged(&stage, &load, WARM).await;
    stage.cluster.node(0).kill().await.unwrap();
    let lost = until(&stage, "dead", |status| word(status, "verdict") == "primary_dead").await;
    assert!(word(&lost, "hint").contains("paused: network work"), "{lost:#}");
    assert_eq!(lost.get("epoch").and_then(Value::as_u64), Some(1));
    // The primary comes back in place, as whoever paused it may have wanted.
    stage.cluster.node(0).start().await.unwrap();
    until(&stage, "healthy in place", healthy).await;
    acknowledged(&stage, &load, AFTER).await;

    stage.cluster.node(0).kill().await.unwrap();
    until(&stage, "dead again", |status| word(status, "verdict") == "primary_dead").await;
    // A short one in its place ends by itself.
    typed(&stage, &["pause", "--for", "2s"]);
    until(&stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(2)
    })
    .await;
    acknowledged(&stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    judge_data(&stage, &report, &OTHERS).await;
    typed(&stage, &["resume"]);
    let status = status(&stage).await;
    assert!(status.get("paused").is_none_or(Value::is_null), "{status:#}");
}
