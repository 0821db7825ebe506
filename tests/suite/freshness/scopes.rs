//! What each scope promises, and what becomes of promises that nobody can keep. The replicas' state is in the
//! test's own hand: no controller, no observers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use sluice_cluster::Cluster;
use sluice_routing::topology::Topology;

use super::{NOT_LONG, read, signposts, write};
use crate::data_path::{DataPath, caught_up_topology, three_nodes, topology};

const HOLD: Duration = Duration::from_secs(10);

/// The server that a read on this connection comes from.
async fn server_of(conn: &mut Conn) -> u32 {
    read(conn, 1).await.1
}

#[tokio::test]
async fn a_scope_says_whose_writes_have_to_be_seen() {
    let cluster = three_nodes().await;
    signposts(&cluster).await;
    // A row written again as it is would be no write at all.
    let scopes = ["off", "session", "user", "strong"];
    for (value, scope) in (1..).zip(scopes) {
        let path = DataPath::start_with(&cluster, HOLD, &format!("freshness = \"{scope}\"\n"));
        let (mut writer, mut other) = (path.split().await, path.split().await);
        // A driver asks the primary for some variables at login: what that showed has to be on a replica, too.
        path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
        let before = server_of(&mut other).await;
        write(&mut writer, 1, value).await;
        // No replica is known to have it now.
        let (own, others) = (server_of(&mut writer).await, server_of(&mut other).await);
        let primary = [before == 1, own == 1, others == 1];
        let expected = match scope {
            "off" => [false, false, false],
            "session" => [false, true, false],
            "user" => [false, true, true],
            _ => [true, true, true],
        };
        assert_eq!(primary, expected, "{scope}");
        path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
        assert_eq!(server_of(&mut writer).await == 1, scope == "strong", "{scope}");
    }
}

/// With what nodes 1 and 2 have executed; node 0 is gone.
async fn without_the_first(cluster: &Cluster) -> Topology {
    let mut next = topology(cluster, 2, 1);
    let mut instances = next.instances.to_vec();
    for (instance, node) in instances.iter_mut().zip(cluster.nodes()).skip(1) {
        instance.executed = Arc::new(node.gtid_executed().await.unwrap().parse().unwrap());
    }
    next.instances = instances.into();
    next
}

#[tokio::test]
async fn what_was_lost_with_a_primary_is_waited_for_by_nobody() {
    let cluster = three_nodes().await;
    signposts(&cluster).await;
    let path = DataPath::start(&cluster, HOLD);
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    cluster.node(0).exec("SET GLOBAL rpl_semi_sync_source_enabled = OFF").await.unwrap();
    for node in cluster.nodes().iter().skip(1) {
        node.exec("STOP REPLICA").await.unwrap();
    }
    let (mut writer, mut other) = (path.split().await, path.split().await);
    for value in 1..5 {
        write(&mut writer, 1, value).await;
    }
    assert_eq!(read(&mut other, 1).await, (Some(4), 1));
    cluster.node(0).kill().await.unwrap();
    cluster.node(1).exec("SET GLOBAL read_only = OFF").await.unwrap();
    path.publisher.publish(without_the_first(&cluster).await);
    for conn in [&mut writer, &mut other] {
        let began = Instant::now();
        assert_eq!(read(conn, 1).await.0, None);
        assert!(began.elapsed() < NOT_LONG, "{:?}", began.elapsed());
    }
    // The next look at the new primary shows that these writes do not exist.
    path.publisher.publish(without_the_first(&cluster).await);
    for conn in [&mut writer, &mut other] {
        let began = Instant::now();
        let (value, server) = read(conn, 1).await;
        assert_eq!((value, server), (None, 3), "a replica serves again");
        assert!(began.elapsed() < NOT_LONG, "{:?}", began.elapsed());
    }
}
