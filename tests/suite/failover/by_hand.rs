//! What people say and Sluice has to keep: promotion rules set at run time, and what is known to be acknowledged after both
//! Sluice and the primary were killed.
//!
//! Never here: a rule of the configuration.

use serde_json::json;

use super::*;
use crate::process::verb;

fn said(stage: &Stage, arguments: &[&str]) -> (String, bool) {
    let output = verb(&stage.sluice, arguments);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (text, output.status.success())
}

#[tokio::test]
async fn a_promotion_rule_set_at_run_time_is_kept_and_decides() {
    let stage = stage("").await;
    let (text, done) =
        said(&stage, &["promotion", "db2", "must-not", "--reason", "slow disk", "--for", "1h"]);
    assert!(done && text.contains("promotion of db2 is must-not: slow disk, by "), "{text}");
    for name in ["db1", "db3"] {
        let last = said(&stage, &["promotion", name, "must-not"]);
        assert_eq!(last.1, name == "db1", "{}", last.0);
        assert!(name == "db1" || last.0.contains("none could be the primary"), "{}", last.0);
    }
    assert!(said(&stage, &["promotion", "db1", "configured"]).1);
    stage.sluice.kill().await.unwrap();
    stage.sluice.start().await.unwrap();
    settled(&stage, 1).await;
    assert!(
        said(&stage, &["status"]).0.contains("[promotion must-not: slow disk"),
        "{:?}",
        said(&stage, &["status"])
    );
    let (explained, _) = said(&stage, &["explain", "failover"]);
    assert!(
        explained.contains("db3") && explained.contains("promotion must-not: slow disk, by "),
        "{explained}"
    );
    let (refused, done) = said(&stage, &["switchover", "--to", "db2"]);
    assert!(!done && refused.contains("promotion must-not: slow disk"), "{refused}");
    let budget =
        |status: &Value, key: &str| status.pointer(&format!("/budgets/0/{key}")).and_then(Value::as_u64);
    assert_eq!(budget(&status(&stage).await, "left"), Some(2));

    stage.cluster.node(0).kill().await.unwrap();
    let after = until(&stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(2)
    })
    .await;
    assert_eq!(word(&after, "primary"), "db3");
    assert_eq!(budget(&after, "left"), Some(1));
    let (text, _) = said(&stage, &["status"]);
    assert!(text.contains("by itself: 1 of 2 failovers left, one more in "), "{text}");
}

/// Both members have forgotten what they had acknowledged, as after a loss of power without syncs.
#[tokio::test]
async fn what_was_acknowledged_is_known_after_sluice_was_killed_with_the_primary() {
    let stage = stage_with("[failover]\nautomatic = false\n", healthy).await;
    let [db1, db2, db3] = [0, 1, 2].map(|node| stage.cluster.node(node));
    let load = load(&stage);
    acknowledged(&stage, &load, WARM).await;
    load.stop().await.unwrap();
    let all = db1.gtid_executed().await.unwrap();
    for node in [db2, db3] {
        wait_until("everything to be there", SOON, || async { node.gtid_executed().await.unwrap() == all })
            .await
            .unwrap();
    }
    // Looks at everybody afresh.
    let (text, done) = said(&stage, &["switchover", "--dry-run", "--wait", "30s"]);
    assert!(done, "{text}");
    db1.kill().await.unwrap();
    until(&stage, "dead", |status| word(status, "verdict") == "primary_dead").await;
    stage.sluice.kill().await.unwrap();
    // The last look at the primary, which was before it died.
    let floor = std::fs::read_to_string(stage.sluice.store().join("floor.json")).unwrap();
    assert!(floor.contains(&all), "{floor} has not {all}");
    let less = "SELECT GTID_SUBTRACT(@@gtid_executed, CONCAT(SUBSTRING_INDEX(@@gtid_executed, ':', 1), ':50-1000000'))";
    for node in [db2, db3] {
        let before: String = node.value(less).await.unwrap();
        for statement in [
            "STOP REPLICA",
            "RESET REPLICA",
            "RESET BINARY LOGS AND GTIDS",
            &format!("SET GLOBAL gtid_purged = '{before}'"),
            "START REPLICA",
        ] {
            node.exec(statement).await.unwrap();
        }
    }
    stage.sluice.launch().unwrap();
    // It never saw the primary alive.
    until(&stage, "lost", |status| matches!(word(status, "verdict"), "primary_lost" | "primary_dead")).await;
    let refused = stage.admin().operate("/failover", json!({ "to": "db2" }), SOON).await.unwrap();
    let why = refused.outcome.clone().unwrap_or_default();
    assert!(
        why.contains("the primary had committed") && why.contains("none of db2, db3 has it"),
        "{refused:?}"
    );
    assert!(why.contains("--accept-loss"), "{why}");
    let still = status(&stage).await;
    assert_eq!(still.get("epoch").and_then(Value::as_u64), Some(1), "{still:#}");
    let accepted = json!({ "to": "db2", "accept_loss": true });
    let done = stage.admin().operate("/failover", accepted, SOON).await.unwrap();
    assert_eq!(done.state, "done", "{done:?}");
    let operation = latest(&stage).await;
    show(&operation);
    assert!(word(&operation, "outcome").contains("lost: "), "{operation:#}");
}
