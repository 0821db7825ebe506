//! Adoption, the safeguards of the record, and a primary that goes and comes back, on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

use sluice::controller::api::{RefusalCode, Request, Status, SwitchoverRequest};
use sluice_cluster::{Cluster, wait_until};

use crate::control::{Control, SOON, cluster, config, writable};

/// Everything that shows whether a server was changed.
async fn fingerprint(cluster: &Cluster) -> Vec<(String, u8, String)> {
    cluster.wait_caught_up(0).await.unwrap();
    let mut all = Vec::new();
    for node in cluster.nodes() {
        all.push((
            node.gtid_executed().await.unwrap(),
            node.value("SELECT @@global.super_read_only").await.unwrap(),
            node.value("SELECT GROUP_CONCAT(host, port) FROM performance_schema.replication_connection_configuration")
                .await
                .map(|hosts: Option<String>| hosts.unwrap_or_default())
                .unwrap(),
        ));
    }
    all
}

/// The primary does not answer, and all views together tell why.
fn is_lost(status: &Status, why: &str) -> bool {
    matches!(status.verdict.as_str(), "primary_dead" | "primary_frozen" | "primary_lost")
        && status.evidence.contains(why)
}

/// Nothing is promoted by itself.
const BY_HAND: &str = "[failover]\nautomatic = false\n";

#[tokio::test]
async fn an_unambiguous_cluster_is_adopted_and_a_restart_goes_on() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    let status = control.settled("db1").await;
    assert_eq!((status.epoch, status.wait_count), (1, 1));
    assert_eq!(status.ackers, ["db2", "db3"]);
    assert_eq!(control.primary().as_deref(), Some("db1"));
    cluster.wait_caught_up(0).await.unwrap();
    let row: (u64, String) =
        cluster.node(2).value("SELECT epoch, primary_uuid FROM sluice.epoch").await.unwrap();
    assert_eq!(row, (1, cluster.node(0).uuid().to_string()));
    control.stop().unwrap();

    let before = fingerprint(&cluster).await;
    let again = Control::start(&cluster, store.path());
    assert_eq!(again.settled("db1").await.epoch, 1);
    assert_eq!(fingerprint(&cluster).await, before, "a restart changes nothing");
}

#[tokio::test]
async fn a_deleted_store_changes_nothing_until_somebody_says_adopt() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    control.settled("db1").await;
    control.stop().unwrap();

    let before = fingerprint(&cluster).await;
    let empty = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, empty.path());
    // An instance at a time is seen: the first may be another one than that of the primary.
    let type_it = "sluice adopt --primary db1";
    let names_it = |status: &Status| status.hint.as_ref().is_some_and(|hint| hint.contains(type_it));
    let all_seen = |status: &Status| status.instances.iter().all(|instance| instance.reachable);
    let stale = |status: &Status| status.verdict == "stale_record" && names_it(status) && all_seen(status);
    control.until("stale", stale).await;
    assert_eq!(control.primary(), None);
    assert_eq!(control.handle.status().gate.state, "closed (no primary)");
    let refused = control.switchover(SwitchoverRequest::default()).await;
    assert!(refused.outcome.unwrap().contains("not adopted"));
    assert_eq!(fingerprint(&cluster).await, before);

    let adopt = |primary: &str| control.ask(Request::Adopt { primary: primary.into(), who: "test".into() });
    let hint = adopt("db2").await.unwrap_err().hint;
    assert!(hint.is_some_and(|hint| hint.starts_with(&format!("{type_it} would be accepted"))));
    adopt("db1").await.unwrap();
    assert_eq!(control.settled("db1").await.epoch, 2);
}

#[tokio::test]
async fn an_old_copy_of_the_store_is_stale() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    control.settled("db1").await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(store.path().join("record.json"), copy.path().join("record.json")).unwrap();
    let done = control
        .switchover(SwitchoverRequest { to: Some("db2".into()), ..SwitchoverRequest::default() })
        .await;
    assert_eq!(done.outcome.as_deref(), Some("the primary is db2"));
    control.settled("db2").await;
    control.stop().unwrap();

    let before = fingerprint(&cluster).await;
    let control = Control::start(&cluster, copy.path());
    let names_it = "epoch 2 with primary db2";
    let named = control.until("stale", |status| status.evidence.contains(names_it)).await;
    assert_eq!(named.verdict, "stale_record");
    assert_eq!(control.primary(), None);
    assert_eq!(fingerprint(&cluster).await, before);
}

#[tokio::test]
async fn a_second_sluice_names_the_first_and_does_nothing() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let first = Control::start(&cluster, store.path());
    first.settled("db1").await;
    let before = fingerprint(&cluster).await;

    let same = Control::start(&cluster, store.path());
    assert!(same.stop().unwrap_err().contains("in use"), "one folder is for one process");

    let other = tempfile::tempdir().unwrap();
    let second = Control::start(&cluster, other.path());
    let names_it = |evidence: &str| evidence.contains("db1: connection") && evidence.contains("sluice@");
    second
        .until("refusing", |status| status.verdict == "lock_held_elsewhere" && names_it(&status.evidence))
        .await;
    assert_eq!(second.primary(), None);
    let adopt = second.ask(Request::Adopt { primary: "db1".into(), who: "test".into() }).await;
    assert_eq!(adopt.unwrap_err().code, RefusalCode::NotNow);
    assert_eq!(fingerprint(&cluster).await, before);
    assert_eq!(first.handle.status().verdict, "healthy");

    first.stop().unwrap();
    // Now the lock is free, and the second sees that its store is empty while the servers are not.
    second.until("stale", |status| status.verdict == "stale_record").await;
}

#[tokio::test]
async fn an_ambiguous_cluster_is_refused_with_the_reason() {
    let cluster = cluster(3).await;
    cluster.node(1).exec("SET GLOBAL read_only=OFF").await.unwrap();
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    let why = "db1 and db2 are all writable";
    control.until("refused", |status| status.verdict == "unadopted" && status.evidence.contains(why)).await;
    assert!(writable(cluster.node(1)).await, "nothing is changed without a record");
    let adopt = Request::Adopt { primary: "db1".into(), who: "test".into() };
    assert!(control.ask(adopt.clone()).await.unwrap_err().reason.contains("db2 is writable"));
    cluster.node(1).exec("SET GLOBAL super_read_only=ON").await.unwrap();
    // Nothing is in doubt any more.
    control.settled("db1").await;
}

#[tokio::test]
async fn a_second_writable_server_is_fenced_and_never_a_target() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    control.settled("db1").await;
    cluster.node(2).exec("SET GLOBAL read_only=OFF").await.unwrap();
    wait_until("db3 to be fenced", SOON, || async {
        cluster.node(2).value::<u8>("SELECT @@global.super_read_only").await.unwrap() == 1
    })
    .await
    .unwrap();
    assert_eq!(control.primary().as_deref(), Some("db1"));
    control.settled("db1").await;
}

#[tokio::test]
async fn a_frozen_primary_is_held_at_the_gate_and_opened_again() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start_with(config(&cluster, store.path(), BY_HAND));
    control.settled("db1").await;
    cluster.node(0).freeze().await.unwrap();
    let lost = control.until("lost", |status| is_lost(status, "db1 is frozen")).await;
    assert_eq!((control.primary(), lost.epoch), (None, 1));
    assert!(control.feed.gate().closed().is_some());
    cluster.node(0).thaw().await.unwrap();
    let back = control.settled("db1").await;
    assert_eq!(back.epoch, 1);
}

#[tokio::test]
async fn a_restarted_primary_is_checked_and_made_writable() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start_with(config(&cluster, store.path(), BY_HAND));
    control.settled("db1").await;
    cluster.node(0).kill().await.unwrap();
    control.until("lost", |status| is_lost(status, "db1 is dead")).await;
    if cluster.node(0).pid().is_none() {
        cluster.node(0).start().await.unwrap();
    }
    control.settled("db1").await;
    assert!(writable(cluster.node(0)).await);
    // Semi-sync was gone with the restart.
    assert_eq!(cluster.node(0).value::<u8>("SELECT @@global.rpl_semi_sync_source_enabled").await.unwrap(), 1);
}
