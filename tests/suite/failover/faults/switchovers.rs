//! Switchovers that something is in the way of: they are refused or given up, and no client notices.
//!
//! Never here: a primary that dies.

use mysql_async::prelude::Queryable;
use serde_json::json;

use super::*;

/// Longer than clients may be held by a switchover that does not come about.
const STALL: Duration = Duration::from_secs(1);

/// A table that a statement is to wait for.
async fn held_table(stage: &Stage) {
    let primary = stage.cluster.node(0);
    primary.exec("CREATE TABLE app.held (id INT PRIMARY KEY)").await.unwrap();
    stage.cluster.wait_caught_up(0).await.unwrap();
}

/// Nothing has happened to anybody, and the same switchover is done once nothing is in its way.
async fn done_afterwards(stage: &Stage, load: Load) {
    let status = until(stage, "healthy", healthy).await;
    assert_eq!((epoch(&status), word(&status, "primary")), (1, "db1"), "{status:#}");
    acknowledged(stage, &load, AFTER).await;
    let done = stage.admin().operate("/switchover", json!({ "to": "db2" }), SOON).await.unwrap();
    assert_eq!(done.state, "done", "{done:?}");
    let report = judged(stage, load, &[0, 1, 2]).await;
    assert!(report.errors.is_empty(), "{:?}", report.errors.first());
}

/// P4: nobody can make a server read-only while an ALTER TABLE is under way. (It waits for a lock here, which is the same
/// to everybody else.)
#[tokio::test]
async fn p4_a_switchover_is_refused_while_a_table_is_altered() {
    let stage = members(3).await;
    held_table(&stage).await;
    let load = busy(&stage).await;
    let primary = stage.cluster.node(0);
    let mut reader = primary.root_conn().await.unwrap();
    reader.query_drop("BEGIN").await.unwrap();
    reader.query_drop("SELECT * FROM app.held").await.unwrap();
    let mut alters = primary.root_conn().await.unwrap();
    let altered =
        tokio::spawn(async move { alters.query_drop("ALTER TABLE app.held ADD COLUMN b INT").await });
    let waits = "SELECT COUNT(*) FROM performance_schema.processlist WHERE info LIKE 'ALTER TABLE app.held%' AND time >= 3";
    let waiting = || async { primary.value::<u32>(waits).await.is_ok_and(|count| count == 1) };
    wait_until("the ALTER TABLE to be old", SOON, waiting).await.unwrap();

    let wanted = json!({ "to": "db2", "drain_ms": 1000 });
    let refused = stage.admin().operate("/switchover", wanted, SOON).await.unwrap();
    assert_eq!(refused.state, "refused", "{refused:?}");
    let why = refused.outcome.clone().unwrap_or_default();
    assert!(why.contains("ALTER TABLE app.held") && why.contains("root@"), "{why}");
    assert_eq!(refused.stall_us, None, "{refused:?}");
    reader.query_drop("COMMIT").await.unwrap();
    altered.await.unwrap().unwrap();
    done_afterwards(&stage, load).await;
}

/// P5: a target that does not come near is given up before clients are held.
#[tokio::test]
async fn p5_a_switchover_to_a_member_that_applies_nothing_is_given_up() {
    let stage = members(3).await;
    let load = busy(&stage).await;
    let mut owner = stage.cluster.node(1).root_conn().await.unwrap();
    owner.query_drop("FLUSH TABLES WITH READ LOCK").await.unwrap();
    acknowledged(&stage, &load, AFTER).await;
    let given_up = stage.admin().operate("/switchover", json!({ "to": "db2" }), SOON).await.unwrap();
    assert!(matches!(given_up.state.as_str(), "refused" | "undone"), "{given_up:?}");
    assert!(given_up.stall_us.is_none_or(|stall| u128::from(stall) < STALL.as_micros()), "{given_up:?}");
    println!("{given_up:?}");
    owner.query_drop("UNLOCK TABLES").await.unwrap();
    done_afterwards(&stage, load).await;
}
