//! What a member does when it starts by itself: nothing that Sluice did not tell it.
//!
//! Never here: a server whose defaults file carries the settings already.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use sluice_cluster::{Cluster, Node};

use crate::control::{Control, accounts, config};

/// As `sluice grants` has it, on servers straight from the package.
async fn stock(options: &[&str]) -> Cluster {
    let mut builder = Cluster::builder().nodes(3);
    for option in options {
        builder = builder.option(option);
    }
    let cluster = builder.start().await.unwrap();
    cluster.setup_replication(0, &accounts()).await.unwrap();
    cluster
}

/// `super_read_only`, the waiting and the acknowledging side of semi-sync.
async fn switches(node: &Node) -> (u8, u8, u8) {
    node.value(
        "SELECT @@global.super_read_only, @@global.rpl_semi_sync_source_enabled, \
         @@global.rpl_semi_sync_replica_enabled",
    )
    .await
    .unwrap()
}

/// Threads that run, receivers and appliers.
async fn threads(node: &Node) -> u64 {
    node.value(
        "SELECT (SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE service_state='ON') \
         + (SELECT COUNT(*) FROM performance_schema.replication_applier_status WHERE service_state='ON')",
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn members_start_fenced_silent_and_with_their_relay_logs() {
    let cluster = stock(&[]).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    control.settled("db1").await;
    control.until("ready", |status| status.failover.state == "ready").await;
    control.stop().unwrap();

    assert_eq!(switches(cluster.node(0)).await.0, 0, "what is persisted is for the next start");
    for node in cluster.nodes() {
        node.restart().await.unwrap();
        assert_eq!(switches(node).await, (1, 0, 0), "{}", node.name());
        assert_eq!(threads(node).await, 0, "{}", node.name());
        assert_eq!(node.value::<u8>("SELECT @@global.relay_log_recovery").await.unwrap(), 0);
    }
    let again = Control::start(&cluster, store.path());
    let status = again.settled("db1").await;
    assert_eq!(status.epoch, 1, "all of them at once, and nobody else was promoted");
}

#[tokio::test]
async fn a_member_that_reads_nothing_persisted_turns_automatic_failover_off() {
    let cluster = stock(&["persisted_globals_load = OFF"]).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start_with(config(&cluster, store.path(), ""));
    let status = control.settled("db1").await;
    assert_eq!(status.failover.state, "off", "{:?}", status.failover);
    assert!(status.failover.sentence.contains("persisted_globals_load=OFF"), "{:?}", status.failover);
}
