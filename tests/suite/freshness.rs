//! Fresh reads: what an account has written is read back, wherever it is read.
//!
//! Never here: a wait that makes a replica catch up before the read that is being judged.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step fails the test; shares are figures"
)]

mod read_only;
mod scopes;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use sluice_cluster::{Cluster, Login, Node, SluiceProcess, wait_until};
use tokio::task::JoinSet;

use crate::process::{SLUICE, accounts, client, settled};

/// Clients that write and read back at the same time.
const CLIENTS: u64 = 16;
/// Reads in a run of the suite. `SLUICE_FRESH_READS=100000` is the full run.
const READS: u64 = 10_000;
/// A read may wait for the machine; it must not wait for a replica that can't come.
const NOT_LONG: Duration = Duration::from_millis(1500);

/// What a run of readers came to.
#[derive(Debug)]
struct Shares {
    reads: u64,
    stale: u64,
    /// Percent of the reads that replicas served, as the rows themselves say.
    on_replicas: f64,
    /// The same by Sluice's own metric.
    by_metric: f64,
    metric: Vec<(String, u64)>,
}

/// Counts of one run.
#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    done: AtomicU64,
    stale: AtomicU64,
    on_replicas: AtomicU64,
}

/// `sluice_reads_total` by its labels.
async fn reads(sluice: &SluiceProcess) -> Vec<(String, u64)> {
    let text = sluice.get("/metrics").await.unwrap().body;
    let lines = text.lines().filter_map(|line| line.strip_prefix("sluice_reads_total"));
    let parsed = lines.filter_map(|line| {
        let (labels, value) = line.rsplit_once(' ')?;
        Some((labels.to_owned(), value.parse().ok()?))
    });
    let mut parsed: Vec<_> = parsed.collect();
    parsed.sort();
    parsed
}

async fn reads_since(sluice: &SluiceProcess, before: &[(String, u64)]) -> Vec<(String, u64)> {
    let now = reads(sluice).await.into_iter().map(|(labels, count)| {
        let earlier = before.iter().find(|(known, _)| *known == labels).map_or(0, |(_, count)| *count);
        (labels, count - earlier)
    });
    now.filter(|(_, count)| *count > 0).collect()
}

fn served_by(to: &str, counts: &[(String, u64)]) -> u64 {
    let to = format!("to=\"{to}\"");
    counts.iter().filter(|(labels, _)| labels.contains(&to)).map(|(_, count)| count).sum()
}

/// A table that says on every server which one it is; it is in no binary log.
async fn signposts(cluster: &Cluster) {
    for node in cluster.nodes() {
        let switch = |on: u8| format!("SET GLOBAL super_read_only = {on}");
        let replica = node.value::<u8>("SELECT @@super_read_only").await.unwrap() == 1;
        let create = "SET sql_log_bin = 0; CREATE TABLE app.here AS SELECT @@server_id AS id";
        node.exec(&switch(0)).await.unwrap();
        node.exec(create).await.unwrap();
        if replica {
            node.exec(&switch(1)).await.unwrap();
        }
    }
    let table = "CREATE TABLE app.t (id INT PRIMARY KEY, v BIGINT)";
    cluster.node(0).exec(table).await.unwrap();
}

/// Three nodes with signposts and a Sluice in front of them, everything attached.
async fn stage(more: &str) -> (Cluster, SluiceProcess) {
    let accounts = accounts();
    let cluster = Cluster::three_nodes(&accounts).await.unwrap();
    signposts(&cluster).await;
    let sluice = SluiceProcess::builder(Path::new(SLUICE)).accounts(&accounts).toml(more);
    let sluice = sluice.start(&cluster).await.unwrap();
    settled(&sluice).await;
    (cluster, sluice)
}

/// The value of a row, and the server it was read on.
async fn read(conn: &mut Conn, id: u64) -> (Option<u64>, u32) {
    let sql = format!("SELECT here.id, t.v FROM here LEFT JOIN t ON t.id = {id}");
    let (server, value): (u32, Option<u64>) = conn.query_first(sql).await.unwrap().unwrap();
    (value, server)
}

/// Until Sluice knows, too, that a replica has what this session has written.
async fn until_read_on_a_replica(conn: &mut Conn) {
    let conn = tokio::sync::Mutex::new(conn);
    let replica_answers = || async { read(&mut **conn.lock().await, 1).await.1 != 1 };
    wait_until("a replica answers", Duration::from_secs(20), replica_answers).await.unwrap();
}

async fn write(conn: &mut Conn, id: u64, value: u64) {
    conn.query_drop(format!("REPLACE INTO t VALUES ({id}, {value})")).await.unwrap();
}

/// One client: writes a number and reads it back at once, every other client on a new connection each time.
async fn client_of_run(port: u16, number: u64, wanted: u64, counts: Arc<Counts>) {
    let mut writer = client(port).await;
    let mut value = 0;
    while counts.begun.fetch_add(1, Ordering::Relaxed) < wanted {
        value += 1;
        write(&mut writer, number, value).await;
        let (seen, server) = if number.is_multiple_of(2) {
            read(&mut writer, number).await
        } else {
            let mut reader = client(port).await;
            let read = read(&mut reader, number).await;
            reader.disconnect().await.unwrap();
            read
        };
        counts.done.fetch_add(1, Ordering::Relaxed);
        if seen != Some(value) {
            counts.stale.fetch_add(1, Ordering::Relaxed);
        }
        if server != 1 {
            counts.on_replicas.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn write_and_read_back(sluice: &SluiceProcess, wanted: u64) -> Shares {
    let (port, before, began) = (sluice.ports().split, reads(sluice).await, Instant::now());
    let counts = Arc::new(Counts::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client_of_run(port, number, wanted, Arc::clone(&counts)));
    }
    clients.join_all().await;
    let metric = reads_since(sluice, &before).await;
    let total = served_by("replica", &metric) + served_by("primary", &metric);
    let reads = counts.done.load(Ordering::Relaxed);
    let shares = Shares {
        reads,
        stale: counts.stale.load(Ordering::Relaxed),
        on_replicas: counts.on_replicas.load(Ordering::Relaxed) as f64 * 100.0 / reads as f64,
        by_metric: served_by("replica", &metric) as f64 * 100.0 / total as f64,
        metric,
    };
    println!(
        "{} reads in {:?}, {} stale, {:.1} % on replicas: {:?}",
        shares.reads,
        began.elapsed(),
        shares.stale,
        shares.on_replicas,
        shares.metric
    );
    shares
}

/// How many reads, and what percentage of them replicas have to serve without a delay. In a run of the suite
/// other tests may use up the machine; what it costs in staleness is nothing.
fn wanted() -> (u64, f64) {
    match std::env::var("SLUICE_FRESH_READS").ok().and_then(|reads| reads.parse().ok()) {
        Some(reads) => (reads, 90.0),
        None => (READS, 60.0),
    }
}

/// Makes a replica apply everything this many seconds late.
async fn delay(node: &Node, seconds: u32) {
    let change = format!("CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}");
    for sql in ["STOP REPLICA SQL_THREAD", &change, "START REPLICA SQL_THREAD"] {
        node.exec(sql).await.unwrap();
    }
}

#[tokio::test]
async fn writes_are_read_back_at_once_also_on_other_connections() {
    let (cluster, sluice) = stage("").await;
    let (wanted, share) = wanted();
    let even = write_and_read_back(&sluice, wanted).await;
    assert_eq!(even.stale, 0, "{even:?}");
    delay(cluster.node(2), 1).await;
    settled(&sluice).await;
    let delayed = write_and_read_back(&sluice, wanted).await;
    assert_eq!(delayed.stale, 0, "{delayed:?}");
    assert!(delayed.on_replicas > 50.0 && delayed.by_metric > 50.0, "{delayed:?}");
    assert!(even.on_replicas >= share && even.by_metric >= share, "{even:?}");
}

#[tokio::test]
async fn a_session_never_reads_backwards() {
    let (cluster, sluice) = stage("").await;
    delay(cluster.node(2), 1).await;
    settled(&sluice).await;
    let port = sluice.ports().split;
    // Another account would do as well: what counts is that the readers don't know of the writes.
    let mut writer = cluster.node(0).conn(&Login::app(), "app").await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push((client(port).await, 0));
    }
    write(&mut writer, 1, 0).await;
    for value in 1..200 {
        write(&mut writer, 1, value).await;
        for (number, (reader, highest)) in readers.iter_mut().enumerate() {
            // Some also read on the primary, in transactions that write nothing.
            let through_primary = number % 4 == 0 && value % 5 == 0;
            if through_primary {
                reader.query_drop("BEGIN").await.unwrap();
            }
            let (seen, server) = read(reader, 1).await;
            if through_primary {
                reader.query_drop("COMMIT").await.unwrap();
                assert_eq!(server, 1);
            }
            let seen = seen.unwrap_or_default();
            assert!(seen >= *highest, "reader {number} saw {seen} on {server} after {highest}");
            *highest = seen;
        }
    }
    let counts = reads(&sluice).await;
    println!("{counts:?}");
    assert!(served_by("replica", &counts) > served_by("primary", &counts), "{counts:?}");
}

/// Reads back a hundred writes; returns the longest read.
async fn longest_read_back(sluice: &SluiceProcess, from: u64) -> Duration {
    let mut conn = client(sluice.ports().split).await;
    let mut longest = Duration::ZERO;
    for value in from..from + 100 {
        write(&mut conn, 7, value).await;
        let began = Instant::now();
        assert_eq!(read(&mut conn, 7).await.0, Some(value));
        longest = longest.max(began.elapsed());
    }
    longest
}

#[tokio::test]
async fn replicas_that_stop_or_freeze_are_neither_trusted_nor_waited_for() {
    let (cluster, sluice) = stage("").await;
    assert!(longest_read_back(&sluice, 0).await < NOT_LONG);
    // Appliers stopped: nothing new can get there, and the first notice must not be a slow read.
    for node in cluster.nodes().iter().skip(1) {
        node.exec("STOP REPLICA SQL_THREAD").await.unwrap();
    }
    assert!(longest_read_back(&sluice, 100).await < NOT_LONG);
    settled(&sluice).await;
    // One restarted: what was known of it does not count any more.
    cluster.node(1).restart().await.unwrap();
    assert!(longest_read_back(&sluice, 200).await < NOT_LONG);
    settled(&sluice).await;
    // One frozen: a read that is already there is taken away from it, later ones don't go there.
    cluster.node(2).freeze().await.unwrap();
    let mut conn = client(sluice.ports().split).await;
    write(&mut conn, 7, 1000).await;
    let began = Instant::now();
    assert_eq!(read(&mut conn, 7).await.0, Some(1000));
    println!("first read with a frozen replica: {:?}", began.elapsed());
    assert!(longest_read_back(&sluice, 300).await < NOT_LONG);
    cluster.node(2).thaw().await.unwrap();
}
