//! A primary that is in trouble and alive: nobody is promoted, and it goes on when the trouble ends.
//!
//! Never here: a primary that is gone.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use sluice_cluster::Login;

use super::*;

#[tokio::test]
async fn d4_a_moment_of_frost_changes_nothing() {
    let stage = members(3).await;
    let load = busy(&stage).await;
    stage.cluster.node(0).freeze().await.unwrap();
    until(&stage, "suspected", |status| word(status, "verdict") == "primary_suspected").await;
    stage.cluster.node(0).thaw().await.unwrap();
    let report = goes_on(&stage, load, &[0, 1, 2]).await;
    assert!(report.errors.is_empty(), "nobody was told anything: {:?}", report.errors.first());
}

#[tokio::test]
async fn d5_a_primary_without_free_connections_is_saturated_and_stays_the_primary() {
    let stage = prepared(Cluster::builder().max_connections(60), "").await;
    let load = busy(&stage).await;
    let node = stage.cluster.node(0);
    let mut taken: Vec<Conn> = Vec::new();
    let refused = loop {
        match node.conn(&Login::app(), SCHEMA).await {
            Ok(conn) => taken.push(conn),
            Err(refused) => break refused.to_string(),
        }
    };
    assert!(refused.contains("1040"), "{refused}");
    // The one more that an administrator may have.
    taken.extend(node.root_conn().await);
    println!("{} connections taken", taken.len());
    let full = until(&stage, "an alarm of the full server", |status| {
        status.get("alarms").is_some_and(|alarms| alarms.to_string().contains("1040"))
    })
    .await;
    assert_eq!((epoch(&full), word(&full, "primary")), (1, "db1"), "{full:#}");
    acknowledged(&stage, &load, AFTER).await;
    drop(taken);
    goes_on(&stage, load, &[0, 1, 2]).await;
}

#[tokio::test]
async fn d6_a_primary_that_somebody_has_locked_stays_the_primary() {
    let stage = members(3).await;
    let load = busy(&stage).await;
    let mut owner = stage.cluster.node(0).root_conn().await.unwrap();
    read_lock(&mut owner).await;
    stalled(&load).await;
    let (holder,): (u64,) = owner.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let locked =
        until(&stage, "seen to be locked", |status| word(status, "verdict") == "primary_locked").await;
    println!("{}", word(&locked, "evidence"));
    assert!(word(&locked, "evidence").contains(&format!("connection {holder} of root@")), "{locked:#}");
    assert_eq!((epoch(&locked), word(&locked, "primary")), (1, "db1"), "{locked:#}");
    owner.query_drop("UNLOCK TABLES").await.unwrap();
    goes_on(&stage, load, &[0, 1, 2]).await;
}

/// Takes the global read lock. A client that holds a row and queues its next statement behind the lock is waited for
/// by the lock itself, over the client that waits for the row: a circle that no server sees. So the lock gives up
/// after a second and lets everybody by, as often as it takes; otherwise a client would be told 1205 after 50 s.
async fn read_lock(owner: &mut Conn) {
    owner.query_drop("SET lock_wait_timeout = 1").await.unwrap();
    let until = std::time::Instant::now() + SOON;
    while let Err(refused) = owner.query_drop("FLUSH LOCAL TABLES WITH READ LOCK").await {
        assert!(refused.to_string().contains("1205") && std::time::Instant::now() < until, "{refused}");
    }
}

#[tokio::test]
async fn d14_without_any_replica_writes_wait_and_nobody_is_promoted() {
    let stage = members(3).await;
    let load = busy(&stage).await;
    for replica in OTHERS {
        stage.cluster.node(replica).kill().await.unwrap();
    }
    stalled(&load).await;
    let starved = until(&stage, "starved", |status| word(status, "verdict") == "semi_sync_starved").await;
    assert_eq!((epoch(&starved), word(&starved, "primary")), (1, "db1"));
    for replica in OTHERS {
        stage.cluster.node(replica).start().await.unwrap();
    }
    goes_on(&stage, load, &[0, 1, 2]).await;
}
