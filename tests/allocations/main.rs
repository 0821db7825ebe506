//! A point select allocates nothing, as text and prepared: Sluice runs in this process, over real servers, and everything
//! that is allocated anywhere in it is counted.
//!
//! What is not counted: TLS, which the library under it allocates for, and the controller, which looks at the servers
//! whether there are statements or not; neither is started here.
//!
//! A binary of its own, for its allocator and for nothing else to run beside it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

mod client;
#[allow(dead_code, reason = "the suite uses the rest of it")]
#[path = "../suite/data_path.rs"]
mod data_path;

use std::alloc::System;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use sluice_cluster::{Accounts, Cluster, Durability};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use client::{Client, Types};
use data_path::{DataPath, caught_up_topology};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOLD: Duration = Duration::from_secs(10);
const ROWS: u32 = 100;
/// Statements before anything is counted: buffers find their sizes, connections their pools.
const WARM_UP: usize = 100;
/// Statements that are counted, of each kind.
const COUNTED: usize = 1000;
/// What may be allocated during them, however many they are: a busy machine can let a client pause for so long that what
/// runs its commands is given back and allocated again. One allocation per statement is a hundred times as much.
const ACCEPTED: usize = COUNTED / 100;

/// What is allocated while every one of these commands is sent and answered, again and again.
fn allocations(client: &mut Client, commands: &[Vec<u8>]) -> usize {
    let mut run = |statements| {
        for command in commands.iter().cycle().take(statements) {
            client.exchange(command);
        }
    };
    run(WARM_UP);
    let region = Region::new(ALLOCATOR);
    run(COUNTED);
    let change = region.change();
    change.allocations + change.reallocations
}

async fn servers() -> Cluster {
    let cluster = Cluster::builder().nodes(2).durability(Durability::Relaxed).start().await.unwrap();
    cluster.setup_replication(0, &Accounts::replication_only()).await.unwrap();
    cluster
}

#[tokio::test]
async fn a_point_select_allocates_nothing() {
    let cluster = servers().await;
    let path = DataPath::start_at(
        &cluster,
        &cluster.nodes().iter().map(|node| node.address().into()).collect::<Vec<_>>(),
        HOLD,
        "[tls.instance]\nmode = 'disabled'\n[durability]\nwithout_acker = 'stall'\n",
    );
    let mut writer = path.primary().await;
    writer.query_drop("CREATE TABLE t (id INT PRIMARY KEY, c CHAR(120))").await.unwrap();
    let rows: Vec<_> = (0..ROWS).map(|id| format!("({id}, REPEAT('x', 120))")).collect();
    writer.query_drop(format!("INSERT INTO t VALUES {}", rows.join(","))).await.unwrap();
    writer.disconnect().await.unwrap();
    // From now on reads of the split listener go to the replica.
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);

    for (listener, address) in [("split", path.split_address()), ("primary", path.primary_address())] {
        let mut client = Client::connect(address);
        let texts: Vec<_> =
            (0..ROWS).map(|id| client::query(&format!("SELECT c FROM t WHERE id = {id}"))).collect();
        let statement = client.prepare("SELECT c FROM t WHERE id = ?");
        let executions =
            |types| (0..ROWS).map(|id| client::execute(statement, types, id)).collect::<Vec<_>>();
        let (typed, untyped) = (executions(Types::Sent), executions(Types::Remembered));
        for (kind, commands) in
            [("text", texts), ("prepared", typed), ("prepared, types told before", untyped)]
        {
            let counted = allocations(&mut client, &commands);
            assert!(
                counted <= ACCEPTED,
                "{listener} listener, {kind}: {counted} allocations during {COUNTED} point selects"
            );
        }
    }
}
