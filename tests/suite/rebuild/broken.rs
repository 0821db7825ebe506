//! Copies that break off, and servers and controllers that end in the middle.

use sluice_cluster::Respawn;

use super::*;

/// So slow that there is a middle, also where the server makes little of the limit: MiB per second of about 70, and
/// seconds before the first byte.
const SLOW: &str = "SET GLOBAL clone_max_data_bandwidth = 12, GLOBAL clone_max_network_bandwidth = 12, \
                    GLOBAL clone_delay_after_data_drop = 4";

/// Waits until the copy is under way: the member's data are dropped.
async fn in_the_middle(control: &Control) {
    let copying = |view: &OperationView| view.copy.is_some();
    control.until("in the middle of the copy", |status| status.rebuild.as_ref().is_some_and(copying)).await;
}

#[tokio::test]
async fn a_donor_that_dies_is_replaced_by_another_one() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    cluster.node(2).exec(SLOW).await.unwrap();
    let id = control.ask(wanted("db3")).await.unwrap();
    in_the_middle(&control).await;
    cluster.node(1).kill().await.unwrap();
    cluster.node(1).start().await.unwrap();
    let ended = done(&control, &id).await;
    let copies = steps(&ended, "copy");
    assert!(copies.len() >= 2 && copies[0].starts_with("from db2 [failed"), "{copies:?}");
    assert!(copies.last().unwrap().starts_with("from db1 [ok"), "{copies:?}");
    whole(&cluster, &control, 0, cluster.node(2)).await;
}

#[tokio::test]
async fn a_controller_that_ends_in_the_middle_goes_on_with_the_copy_under_way() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    cluster.node(2).exec(SLOW).await.unwrap();
    let lives = cluster.node(2).lives();
    let id = control.ask(wanted("db3")).await.unwrap();
    in_the_middle(&control).await;
    control.crash();
    let again = Control::start(&cluster, store.path());
    again.until("adopted", |status| status.rebuild.as_ref().is_some_and(|view| view.id == id)).await;
    assert_eq!(again.ask(wanted("db3")).await.unwrap(), id);
    let ended = done(&again, &id).await;
    let copies = steps(&ended, "copy");
    assert_eq!(copies, ["the copy from db2 that was under way is complete [ok]"]);
    assert_eq!(cluster.node(2).lives(), lives + 1, "there was one copy");
    whole(&cluster, &again, 0, cluster.node(2)).await;
}

#[tokio::test]
async fn a_member_that_dies_in_the_middle_is_filled_again() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let member = cluster.node(2);
    member.exec(SLOW).await.unwrap();
    let id = control.ask(wanted("db3")).await.unwrap();
    in_the_middle(&control).await;
    member.kill().await.unwrap();
    member.start().await.unwrap();
    let ended = done(&control, &id).await;
    let copies = steps(&ended, "copy");
    assert!(copies.len() == 2 && copies[0].contains("broke off"), "{copies:?}");
    whole(&cluster, &control, 0, member).await;
}

#[tokio::test]
async fn r9_what_the_primary_purged_meanwhile_is_seen_before_the_member_follows() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let member = cluster.node(2);
    member.exec(SLOW).await.unwrap();
    let id = control.ask(wanted("db3")).await.unwrap();
    in_the_middle(&control).await;
    // The copy has what the donor has when it ends: the donor lags from here on, until the first copy is complete.
    let donor = cluster.node(1);
    donor.exec("STOP REPLICA SQL_THREAD").await.unwrap();
    let source = cluster.node(0);
    source.exec("INSERT INTO app.t VALUES (100)").await.unwrap();
    source.exec("FLUSH BINARY LOGS").await.unwrap();
    source.exec("INSERT INTO app.t VALUES (101)").await.unwrap();
    let log: (String, String, String, String, String) =
        source.rows("SHOW BINARY LOG STATUS").await.unwrap().remove(0);
    source.exec(&format!("PURGE BINARY LOGS TO '{}'", log.0)).await.unwrap();
    let ended = done(&control, &id).await;
    println!("{:?} {:?}", steps(&ended, "fence and check"), steps(&ended, "copy"));
    whole(&cluster, &control, 0, member).await;
}

#[tokio::test]
async fn a_server_that_nobody_starts_again_is_waited_for() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let member = cluster.node(2);
    member.set_respawn(Respawn::Never);
    member.restart().await.unwrap();
    control.settled("db1").await;
    let id = control.ask(wanted("db3")).await.unwrap();
    let asks =
        |view: &OperationView| view.hint.as_deref() == Some("start the server of db3: nobody else does");
    control.until("asked for a start", |status| status.rebuild.as_ref().is_some_and(asks)).await;
    wait_until("its end", SOON, || async { member.pid().is_none() }).await.unwrap();
    member.start().await.unwrap();
    let ended = done(&control, &id).await;
    assert!(ended.outcome.unwrap().contains("give it a supervisor"));
    whole(&cluster, &control, 0, member).await;
}

#[tokio::test]
async fn a_primary_that_dies_in_the_middle_is_replaced_once_somebody_can_acknowledge_again() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    // A moment is enough here: the primary dies at once.
    cluster.node(2).exec("SET GLOBAL clone_delay_after_data_drop = 2").await.unwrap();
    let id = control.ask(wanted("db3")).await.unwrap();
    in_the_middle(&control).await;
    let status = control.handle.status();
    assert_eq!(status.ackers, ["db2"], "the one that is filled is nobody's evidence");
    cluster.node(0).kill().await.unwrap();
    control.until("a new primary", |status| status.epoch == 2 && status.verdict == "healthy").await;
    let ended = done(&control, &id).await;
    assert_eq!(steps(&ended, "copy"), ["from db2 [ok]"]);
    cluster.node(0).start().await.unwrap();
    control.settled("db2").await;
    whole(&cluster, &control, 1, cluster.node(2)).await;
}
