//! A network that loses three of ten packets on every way to a server, whether Sluice's or another server's.
//!
//! Imitated where applications see it, in the streams: what TCP has to repeat comes late, after 200 ms, or 600, or 1.4 s,
//! and everything behind it waits; connecting takes seconds. Really lost packets need a kernel and tools that a bare machine
//! does not have. Where they were to be had (a filter on `lo` in a network namespace of its own), a question and its answer
//! took 570 ms on average, and 2.7 s one time in twenty; through these doors 300 ms and 1.4 s. Of four runs there three kept
//! their primary and one changed it once; nothing was lost in three of them, and the fourth was not judged, as a client
//! could not log in.
//!
//! Never here: a way that is shut.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use sluice_demo::stage::accounts;

use super::door::{Door, Way};
use super::network::connected;
use super::*;

/// Three members, each reached by everybody through its door.
async fn behind_doors() -> (Stage, Vec<Door>) {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let cluster = Cluster::builder().boot(Boot::Fenced).start().await.unwrap();
    let accounts = accounts(binary, cluster.folder()).await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    let mut doors = Vec::new();
    for node in cluster.nodes() {
        doors.push(Door::to(node.address().into(), Ipv4Addr::LOCALHOST).await);
    }
    let names: Vec<String> = cluster.nodes().iter().map(|node| node.name().to_owned()).collect();
    let lines = |node: &sluice_cluster::Node| {
        let place = names.iter().position(|name| name == node.name()).unwrap();
        format!("address = '{}'", doors[place].address)
    };
    let port = doors[0].address.port();
    let stage = connected(cluster, &accounts, port, lines).await;
    (stage, doors)
}

fn set(doors: &[Door], way: Way) {
    doors.iter().for_each(|door| door.set(way));
}

/// Nothing is really gone, so at most one change of the primary is forgiven, and no loss.
async fn lossy_for(time: Duration) {
    let (stage, doors) = behind_doors().await;
    let load = load_for(&stage, time + SOON * 3);
    acknowledged(&stage, &load, WARM).await;
    let before = load.live().acknowledged();
    set(&doors, Way::Lossy);
    let began = Instant::now();
    let seen = Mutex::new(BTreeMap::<String, u32>::new());
    let over = || async {
        let now = status(&stage).await;
        let verdict = format!("{} in epoch {}", word(&now, "verdict"), epoch(&now));
        *seen.lock().unwrap().entry(verdict).or_default() += 1;
        began.elapsed() >= time
    };
    wait_until("the time to be over", time + SOON, over).await.unwrap();
    let during = load.live().acknowledged() - before;
    println!("{during} acknowledged in {} s of loss; looks: {seen:?}", time.as_secs());
    set(&doors, Way::Open);
    let well = until(&stage, "healthy, and all to serve", |status| {
        let serves = |number: usize| word(instance(status, number), "reads") == "serving";
        healthy(status) && (0..3).all(serves) && status.get("rebuild").is_none_or(Value::is_null)
    })
    .await;
    if epoch(&well) > 1 {
        show(&latest(&stage).await);
    }
    let report = judged(&stage, load, &[0, 1, 2]).await;
    println!("{} errors, epoch {}: {:?}", report.error_count, epoch(&well), report.errors.first());
    assert!(epoch(&well) <= 2, "{well:#}");
}

#[tokio::test]
async fn f2_of_ten_packets_three_are_lost() {
    lossy_for(Duration::from_secs(15)).await;
}

#[tokio::test]
#[ignore = "make test-faults"]
async fn f2_for_five_minutes() {
    lossy_for(Duration::from_secs(300)).await;
}
