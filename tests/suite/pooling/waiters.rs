//! Who waits: in the queue for a connection, at the closed gate. A client that has gone waits no more and gets nothing.
//!
//! Never here: how the queue works inside.

use std::future::ready;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use sluice::feed::gate::Closed;
use sluice::feed::registry::Activity;
use sluice_cluster::{Cluster, wait_until};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{SOON, all, one_node};
use crate::data_path::DataPath;

/// Longer than any test here waits for anything: nobody leaves by himself.
const HOLD: Duration = Duration::from_mins(1);
/// A client that has gone is noticed at once, not at some interval.
const AT_ONCE: Duration = Duration::from_secs(2);
const TABLE: &str = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT UNIQUE, done INT)";

/// Sessions that wait for a place or at the gate.
fn held(path: &DataPath) -> usize {
    let all = path.feed.registry().all();
    all.iter().filter(|entry| entry.activity() == Activity::Held).count()
}

async fn wait_held(path: &DataPath, count: usize) {
    wait_until("sessions wait", SOON, || async { held(path) == count }).await.unwrap();
}

/// Sessions that have nothing to wait for yet: the driver asks for variables when it connects.
async fn connected(path: &DataPath, count: usize) -> Vec<Conn> {
    let mut conns = Vec::new();
    for _ in 0..count {
        conns.push(path.primary().await);
    }
    conns
}

/// Inserts this number, and then says that it was answered.
fn inserts(mut conn: Conn, number: u32) -> JoinHandle<()> {
    tokio::spawn(async move {
        conn.query_drop(format!("INSERT INTO t (n) VALUES ({number})")).await.unwrap();
        conn.query_drop(format!("UPDATE t SET done = 1 WHERE n = {number}")).await.unwrap();
    })
}

async fn rows(cluster: &Cluster) -> Vec<u32> {
    cluster.node(0).rows("SELECT n FROM app.t ORDER BY id").await.unwrap()
}

#[tokio::test]
async fn a_client_that_has_gone_leaves_the_queue_and_gets_no_connection() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
    let mut holder = path.primary().await;
    let conns = connected(&path, 6).await;
    all(&mut holder, &[TABLE, "BEGIN", "INSERT INTO t (n) VALUES (0)"]).await;
    let mut waiting = Vec::new();
    for (number, conn) in (1..).zip(conns) {
        waiting.push(inserts(conn, number));
        wait_held(&path, waiting.len()).await;
    }
    let sessions = path.feed.registry().len();
    let left_at = Instant::now();
    // The first, one in the middle, the last.
    for gone in [0, 2, 5] {
        waiting[gone].abort();
    }
    let fewer = || async { path.feed.registry().len() == sessions - 3 };
    wait_until("those who have gone are forgotten", SOON, fewer).await.unwrap();
    assert!(left_at.elapsed() < AT_ONCE, "{:?}", left_at.elapsed());
    assert_eq!(held(&path), 3);
    holder.query_drop("COMMIT").await.unwrap();
    for (number, task) in (1..).zip(waiting) {
        let ended = timeout(SOON, task).await.expect("the queue does not move");
        assert_eq!(ended.is_err(), [1, 3, 6].contains(&number), "{number}");
    }
    assert_eq!(rows(&cluster).await, [0, 2, 4, 5], "in the order of the queue, and nothing of who has gone");
    assert_eq!(held(&path), 0);
}

#[tokio::test]
async fn a_queue_of_hundreds_moves_and_ends() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
    let mut holder = path.primary().await;
    let conns = connected(&path, 200).await;
    all(&mut holder, &[TABLE, "BEGIN", "INSERT INTO t (n) VALUES (0)"]).await;
    let waiting: Vec<_> = (1..).zip(conns).map(|(number, conn)| inserts(conn, number)).collect();
    wait_held(&path, 200).await;
    for gone in waiting.iter().step_by(2) {
        gone.abort();
    }
    wait_held(&path, 100).await;
    holder.query_drop("COMMIT").await.unwrap();
    for (number, task) in (1..=200).zip(waiting) {
        let ended = timeout(Duration::from_secs(30), task).await.expect("the queue does not move");
        assert_eq!(ended.is_err(), number % 2 == 1, "{number}");
    }
    let done: u64 = cluster.node(0).value("SELECT COUNT(done) FROM app.t").await.unwrap();
    assert_eq!(done, 100);
}

#[tokio::test]
async fn a_client_that_has_gone_waits_no_longer_at_the_gate() {
    let cluster = one_node().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conns = connected(&path, 2).await;
    all(&mut conns[0], &[TABLE]).await;
    path.feed.gate().close(Closed::Switchover);
    let (stays, gone) = (inserts(conns.remove(1), 2), inserts(conns.remove(0), 1));
    wait_until("both are held", SOON, || async { path.feed.gate().held() == 2 }).await.unwrap();
    let left_at = Instant::now();
    gone.abort();
    wait_until("it is held no more", SOON, || async { path.feed.gate().held() == 1 }).await.unwrap();
    assert!(left_at.elapsed() < AT_ONCE, "{:?}", left_at.elapsed());
    path.feed.gate().open().await;
    timeout(SOON, stays).await.expect("it is held for ever").unwrap();
    assert_eq!(rows(&cluster).await, [2]);
}

#[tokio::test]
async fn who_has_begun_a_transaction_is_shown_in_it_before_its_first_statement() {
    let cluster = one_node().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.primary().await;
    all(&mut conn, &[TABLE]).await;
    let entry = path.feed.registry().all().remove(0);
    // The client has its answer a moment before the session shows what it left.
    let shown = async |begun, open, why: &str| {
        let look =
            || ready((entry.begun_since().is_some(), entry.transaction_since().is_some()) == (begun, open));
        wait_until(why, SOON, look).await.unwrap();
    };
    shown(false, false, "nothing begun").await;
    conn.query_drop("BEGIN").await.unwrap();
    shown(true, false, "no server has heard of it").await;
    assert_eq!(path.feed.gate().open_units(), 0, "and no switchover waits for it");
    conn.query_drop("INSERT INTO t (n) VALUES (1)").await.unwrap();
    shown(true, true, "on the server").await;
    for sql in ["COMMIT", "BEGIN", "ROLLBACK"] {
        conn.query_drop(sql).await.unwrap();
    }
    shown(false, false, "rolled back").await;
    conn.query_drop("BEGIN").await.unwrap();
    conn.reset().await.unwrap();
    shown(false, false, "a reset ends what has not begun").await;
}
