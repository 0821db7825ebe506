//! Acknowledgements that fail to come: semi-sync made to give up, and a switchover to a target whose acker is away.
//!
//! Never here: a primary that is gone.

use serde_json::json;

use super::*;

/// Lets commits wait for a moment only, and commits.
const GIVES_UP: &str =
    "SET GLOBAL rpl_semi_sync_source_timeout = 1; CREATE TABLE app.unacknowledged (id INT)";

/// C2: somebody lets commits wait for a moment only, and then nobody acknowledges.
#[tokio::test]
async fn c2_commits_that_stopped_waiting_are_seen_and_wait_again_afterwards() {
    let stage = members(3).await;
    let primary = stage.cluster.node(0);
    for replica in OTHERS {
        stage.cluster.node(replica).kill().await.unwrap();
    }
    // In one go, as Sluice lets commits wait for ever again as soon as it sees this; and before anybody else commits, as
    // commits wait behind one that waits for ever.
    primary.exec(GIVES_UP).await.unwrap();
    let broken = until(&stage, "broken", |status| word(status, "guarantee").starts_with("broken")).await;
    assert_eq!((epoch(&broken), word(&broken, "primary")), (1, "db1"), "{broken:#}");
    let off = broken.pointer("/failover/sentence").and_then(Value::as_str).unwrap_or_default();
    assert!(off.contains("committed without waiting"), "{broken:#}");
    for replica in OTHERS {
        stage.cluster.node(replica).start().await.unwrap();
    }
    let load = busy(&stage).await;
    settled(&stage, 1).await;
    let waits = "SELECT @@global.rpl_semi_sync_source_timeout";
    assert_eq!(primary.value::<u64>(waits).await.unwrap(), u64::from(u32::MAX));
    judged(&stage, load, &[0, 1, 2]).await;
}

/// P11: the member that would acknowledge for the target is away, so the old primary has to.
#[tokio::test]
async fn p11_a_switchover_without_the_third_member_makes_the_old_primary_the_acker() {
    let stage = members(3).await;
    let load = busy(&stage).await;
    stage.cluster.node(2).kill().await.unwrap();
    until(&stage, "db3 gone", |status| word(instance(status, 2), "reads") == "unreachable").await;
    let wanted = json!({ "to": "db2" });
    let done = stage.admin().operate("/switchover", wanted, SOON).await.unwrap();
    assert_eq!(done.state, "done", "{done:?}");
    let status = until(&stage, "healthy", |status| healthy(status) && epoch(status) == 2).await;
    let ackers = status.get("ackers").and_then(Value::as_array).cloned().unwrap_or_default();
    // The third follows db1 as far as anybody knows, but nobody could tell it not to acknowledge.
    assert_eq!((word(&status, "primary"), ackers), ("db2", vec![json!("db1"), json!("db3")]), "{status:#}");
    acknowledged(&stage, &load, AFTER).await;
    stage.cluster.node(2).start().await.unwrap();
    until(&stage, "db3 follows", |status| word(instance(status, 2), "replication") == "receiving+applying")
        .await;
    let report = judged(&stage, load, &[0, 1, 2]).await;
    assert!(report.errors.is_empty(), "{:?}", report.errors.first());
    // Without the load: a busy machine's replica may need all its time for what is written meanwhile.
    settled(&stage, 2).await;
}
