//! Members that are filled without anybody asking: new ones, and a former primary with commits that nobody was told
//! OK for.

use mysql_async::prelude::Queryable;

use super::*;
use crate::control::{accounts, config};

/// Makes the accounts that `sluice grants` prints, as on any new server.
async fn grant(node: &Node) {
    let mut conn = node.root_conn().await.unwrap();
    conn.query_drop("SET sql_log_bin = 0").await.unwrap();
    for statement in accounts().statements {
        conn.query_drop(statement).await.unwrap();
    }
    conn.disconnect().await.unwrap();
}

/// The automatic rebuild of db3, at its end.
async fn filled(control: &Control, member: &str) -> OperationView {
    let ended = |view: &&OperationView| {
        view.kind == "rebuild"
            && view.target.as_deref() == Some(member)
            && view.state != OperationState::Running
    };
    let mut operations = control.handle.operations();
    let all =
        tokio::time::timeout(SOON, operations.wait_for(|all| all.iter().any(|view| ended(&view)))).await;
    let all = all.expect("a rebuild that ends").unwrap().clone();
    all.iter().find(ended).unwrap().clone()
}

#[tokio::test]
async fn a_member_whose_data_directory_was_emptied_is_filled_and_takes_its_place() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let new = cluster.node(2);
    let uuid = new.wipe().await.unwrap();
    grant(new).await;
    let ended = filled(&control, "db3").await;
    assert_eq!(ended.state, OperationState::Done, "{ended:#?}");
    assert_eq!(ended.who, "automatic");
    let status = control.settled("db1").await;
    assert_eq!(new.value::<String>("SELECT @@server_uuid").await.unwrap(), uuid.to_string());
    assert_eq!(status.ackers.len(), 2, "the former db3 is forgotten: {:?}", status.ackers);
    assert_eq!(status.failover.state, "ready", "{:?}", status.failover);
    whole(&cluster, &control, 0, new).await;
}

#[tokio::test]
async fn a_server_without_transactions_but_with_tables_is_left_to_a_person() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let new = cluster.node(2);
    new.wipe().await.unwrap();
    let mut conn = new.root_conn().await.unwrap();
    conn.query_drop("SET sql_log_bin = 0").await.unwrap();
    conn.query_drop("CREATE DATABASE somebodys").await.unwrap();
    conn.query_drop("CREATE TABLE somebodys.work (id INT)").await.unwrap();
    conn.disconnect().await.unwrap();
    grant(new).await;
    let ended = filled(&control, "db3").await;
    assert_eq!(ended.state, OperationState::Refused, "{ended:#?}");
    assert!(ended.outcome.unwrap().contains("has 1 tables"));
    assert_eq!(new.value::<u32>("SELECT COUNT(*) FROM somebodys.work").await.unwrap(), 0);
}

#[tokio::test]
async fn automatic_off_only_says_that_a_member_is_empty() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start_with(config(&cluster, store.path(), "[rebuild]\nautomatic = false\n"));
    control.settled("db1").await;
    cluster.node(2).wipe().await.unwrap();
    grant(cluster.node(2)).await;
    let says = |alarm: &String| alarm.contains("db3: it is empty; sluice rebuild db3 fills it");
    control.until("said", |status| status.alarms.iter().any(says)).await;
    assert!(control.handle.operations().borrow().iter().all(|view| view.kind != "rebuild"));
    let id = control.ask(wanted("db3")).await.unwrap();
    done(&control, &id).await;
    control.settled("db1").await;
}

/// R2 of the test plan: commits that no replica ever got, and the primary dies with them.
#[tokio::test]
async fn a_former_primary_with_a_tail_that_nobody_was_told_ok_for_is_filled() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let old = cluster.node(0);
    for replica in [1, 2] {
        cluster.node(replica).kill().await.unwrap();
    }
    let mut client = old.root_conn().await.unwrap();
    let waiting = tokio::spawn(async move { client.query_drop("INSERT INTO app.t VALUES (4712)").await });
    let stuck = "SELECT COUNT(*) FROM performance_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%' \
                 AND info LIKE '%4712%'";
    wait_until("the commit to wait", SOON, || async { old.value::<u32>(stuck).await.unwrap() == 1 })
        .await
        .unwrap();
    old.kill().await.unwrap();
    assert!(waiting.await.unwrap().is_err(), "nobody is told OK");
    for replica in [1, 2] {
        cluster.node(replica).start().await.unwrap();
    }
    let status =
        control.until("failed over", |status| status.epoch == 2 && status.verdict == "healthy").await;
    let winner = if status.primary.as_deref() == Some("db2") { 1 } else { 2 };
    old.start().await.unwrap();
    let ended = filled(&control, "db1").await;
    assert_eq!(ended.state, OperationState::Done, "{ended:#?}");
    assert!(ended.outcome.unwrap().contains("its own transactions"));
    whole(&cluster, &control, winner, old).await;
    let own = "SELECT COUNT(*) FROM app.t WHERE id = 4712";
    assert_eq!(old.value::<u32>(own).await.unwrap(), 0);
    assert_eq!(std::fs::read_dir(store.path().join("tails")).unwrap().count(), 1);
}
