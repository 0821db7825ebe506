//! Ways between living servers that are shut: to Sluice, to the replicas, and in one direction.
//!
//! Never here: a server that is stopped.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use mysql_async::prelude::Queryable as _;
use sluice_cluster::{Accounts, NameResolution, Node, SluiceProcess};
use sluice_demo::stage::accounts;
use tokio::net::TcpStream;

use super::door::{Door, SURE, Way};
use super::*;
use crate::process::client;

/// What stands between whom.
struct Doors {
    /// Sluice and the primary, for Sluice's own sessions and those of clients.
    sluice: Door,
    /// The replicas and the primary.
    replicas: Door,
}

/// Three members, db1 behind doors.
async fn behind_doors(plan: ClusterBuilder, from: Ipv4Addr) -> (Stage, Doors) {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let cluster = plan.boot(Boot::Fenced).start().await.unwrap();
    let accounts = accounts(binary, cluster.folder()).await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    let primary = cluster.node(0).address().into();
    let doors = Doors { sluice: Door::to(primary, from).await, replicas: Door::to(primary, from).await };
    let port = doors.replicas.address.port();
    let db1 =
        format!("address = '{}'\nreplication_address = '{}'", doors.sluice.address, doors.replicas.address);
    let lines = |node: &Node| match node.name() {
        "db1" => db1.clone(),
        _ => format!("address = '{}'", node.address()),
    };
    (connected(cluster, &accounts, port, lines).await, doors)
}

/// A stage whose replicas reach db1 at this port, and Sluice each node by these lines.
pub(super) async fn connected(
    cluster: Cluster,
    accounts: &Accounts,
    port: u16,
    lines: impl Fn(&Node) -> String,
) -> Stage {
    for replica in OTHERS {
        for statement in [
            "STOP REPLICA IO_THREAD".to_owned(),
            format!("CHANGE REPLICATION SOURCE TO SOURCE_PORT={port}"),
            "START REPLICA IO_THREAD".to_owned(),
        ] {
            cluster.node(replica).exec(&statement).await.unwrap();
        }
    }
    let mut toml = String::new();
    for node in cluster.nodes() {
        let _ = writeln!(toml, "[[instance]]\nname = '{}'\n{}", node.name(), lines(node));
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let sluice = SluiceProcess::builder(binary).accounts(accounts).toml(&toml).start(&cluster).await.unwrap();
    let stage = Stage { sluice, cluster };
    stage.fresh_tables().await.unwrap();
    settled(&stage, 1).await;
    stage
}

/// Sluice alone has lost the primary; the replicas receive from it still.
async fn lost_to_sluice_alone(way: Way) {
    let (stage, doors) = behind_doors(Cluster::builder(), Ipv4Addr::LOCALHOST).await;
    let load = busy(&stage).await;
    doors.sluice.set(way);
    if way == Way::Shut {
        doors.sluice.cut();
    }
    let lost = until(&stage, "surely lost to Sluice", |status| {
        let age = status.get("verdict_age_s").and_then(Value::as_u64).unwrap_or_default();
        word(status, "verdict").starts_with("primary_") && age >= SURE.as_secs()
    })
    .await;
    println!("{}: {}", word(&lost, "verdict"), word(&lost, "evidence"));
    assert_eq!(epoch(&lost), 1, "its replicas see it: {lost:#}");
    let sql = "SELECT @@global.read_only";
    for replica in OTHERS {
        assert_eq!(stage.cluster.node(replica).value::<u8>(sql).await.unwrap(), 1);
    }
    doors.sluice.set(Way::Open);
    goes_on(&stage, load, &[0, 1, 2]).await;
}

#[tokio::test]
async fn d8_a_primary_that_refuses_sluice_alone_stays_the_primary() {
    lost_to_sluice_alone(Way::Shut).await;
}

#[tokio::test]
async fn d11_a_primary_whose_words_to_sluice_vanish_stays_the_primary() {
    lost_to_sluice_alone(Way::Silent).await;
}

#[tokio::test]
async fn d9_a_primary_without_a_way_to_its_replicas_acknowledges_nothing() {
    let (stage, doors) = behind_doors(Cluster::builder(), Ipv4Addr::LOCALHOST).await;
    let load = busy(&stage).await;
    doors.replicas.set(Way::Silent);
    stalled(&load).await;
    let starved = until(&stage, "starved", |status| word(status, "verdict") == "semi_sync_starved").await;
    assert_eq!((epoch(&starved), word(&starved, "primary")), (1, "db1"), "{starved:#}");
    doors.replicas.cut();
    doors.replicas.set(Way::Open);
    goes_on(&stage, load, &[0, 1, 2]).await;
}

/// The replicas have the transactions and said so, and nobody heard it: what waits has to be freed without a failover.
#[tokio::test]
async fn c3_commits_whose_acknowledgements_were_lost_are_freed() {
    let (stage, doors) = behind_doors(Cluster::builder(), Ipv4Addr::LOCALHOST).await;
    let load = busy(&stage).await;
    doors.replicas.set(Way::Mute);
    stalled(&load).await;
    doors.replicas.cut();
    doors.replicas.set(Way::Open);
    goes_on(&stage, load, &[0, 1, 2]).await;
}

/// Somebody at Sluice's address opens and drops connections until the server blocks the address.
#[tokio::test]
async fn d12_a_blocked_address_is_healed() {
    let plan = Cluster::builder().name_resolution(NameResolution::On).option("max_connect_errors = 5");
    // 127.0.0.1 itself is never blocked.
    let (stage, doors) = behind_doors(plan, Ipv4Addr::new(127, 0, 0, 2)).await;
    let load = busy(&stage).await;
    for _ in 0..20 {
        drop(TcpStream::connect(doors.sluice.address).await.unwrap());
    }
    let errors = "SELECT COALESCE(SUM(sum_connect_errors), 0) FROM performance_schema.host_cache";
    let healed = || async {
        let there: u64 = stage.cluster.node(0).value(errors).await.unwrap();
        let mut conn = client(stage.sluice.ports().primary).await;
        there < 5 && conn.query_drop("DO 1").await.is_ok()
    };
    wait_until("the address to be free", SOON, healed).await.unwrap();
    goes_on(&stage, load, &[0, 1, 2]).await;
}
