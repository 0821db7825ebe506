//! Read-only transactions and sessions: on one replica from beginning to end.

use std::time::{Duration, Instant};

use mysql_async::Error;
use mysql_async::prelude::Queryable;
use sluice_cluster::Login;

use super::{read, stage, until_read_on_a_replica, write};
use crate::process::{client, settled, verb};

/// Longest wait for what happens soon.
const SOON: Duration = Duration::from_secs(20);

fn code(error: &Error) -> u16 {
    let Error::Server(error) = error else { panic!("no server error: {error}") };
    error.code
}

#[tokio::test]
async fn a_read_only_transaction_stays_on_its_replica_and_in_nobodys_way() {
    let (cluster, sluice) = stage("").await;
    let mut conn = client(sluice.ports().split).await;
    conn.query_drop("CREATE TABLE ids (id INT PRIMARY KEY AUTO_INCREMENT)").await.unwrap();
    conn.query_drop("INSERT INTO ids VALUES (), ()").await.unwrap();
    write(&mut conn, 1, 10).await;
    cluster.wait_caught_up(0).await.unwrap();
    until_read_on_a_replica(&mut conn).await;
    conn.query_drop("START TRANSACTION READ ONLY").await.unwrap();
    let (value, replica) = read(&mut conn, 1).await;
    assert_eq!(value, Some(10));
    assert_ne!(replica, 1);
    let mut elsewhere = cluster.node(0).conn(&Login::app(), "app").await.unwrap();
    write(&mut elsewhere, 1, 11).await;
    cluster.wait_caught_up(0).await.unwrap();
    assert_eq!(read(&mut conn, 1).await, (Some(10), replica), "its snapshot");
    let id: u64 = conn.query_first("SELECT LAST_INSERT_ID()").await.unwrap().unwrap();
    assert_eq!(id, 1);
    let refused = conn.query_drop("REPLACE INTO t VALUES (1, 0)").await.unwrap_err();
    assert_eq!(code(&refused), 1792);
    assert_eq!(read(&mut conn, 1).await, (Some(10), replica), "the error has not ended it");
    // It is in no switchover's way, and survives one.
    let target = if replica == 2 { "db3" } else { "db2" };
    let switched = verb(&sluice, &["switchover", "--to", target]);
    assert!(switched.status.success(), "{}", String::from_utf8_lossy(&switched.stderr));
    assert_eq!(read(&mut conn, 1).await, (Some(10), replica));
    conn.query_drop("COMMIT").await.unwrap();
    settled(&sluice).await;
    assert_eq!(read(&mut conn, 1).await.0, Some(11));
    write(&mut conn, 1, 12).await;
    assert_eq!(read(&mut conn, 1).await.0, Some(12));
}

#[tokio::test]
async fn a_read_only_session_runs_its_transactions_on_replicas() {
    let (cluster, sluice) = stage("").await;
    let mut conn = client(sluice.ports().split).await;
    write(&mut conn, 1, 10).await;
    cluster.wait_caught_up(0).await.unwrap();
    until_read_on_a_replica(&mut conn).await;
    // As Connector/J does it: setReadOnly(true), then transactions with and without autocommit.
    conn.query_drop("SET SESSION TRANSACTION READ ONLY").await.unwrap();
    assert_ne!(read(&mut conn, 1).await.1, 1);
    conn.query_drop("BEGIN").await.unwrap();
    let (value, replica) = read(&mut conn, 1).await;
    assert_eq!(value, Some(10));
    assert_ne!(replica, 1);
    conn.query_drop("COMMIT").await.unwrap();
    conn.query_drop("SET autocommit = 0").await.unwrap();
    let (value, replica) = read(&mut conn, 1).await;
    assert_eq!(value, Some(10));
    assert_ne!(replica, 1);
    assert_eq!(read(&mut conn, 1).await.1, replica);
    conn.query_drop("COMMIT").await.unwrap();
    conn.query_drop("SET autocommit = 1").await.unwrap();
    let refused = conn.query_drop("REPLACE INTO t VALUES (1, 0)").await.unwrap_err();
    assert_eq!(code(&refused), 1792);
    conn.query_drop("START TRANSACTION READ WRITE").await.unwrap();
    write(&mut conn, 1, 11).await;
    assert_eq!(read(&mut conn, 1).await, (Some(11), 1));
    conn.query_drop("COMMIT").await.unwrap();
    assert_eq!(read(&mut conn, 1).await.0, Some(11));
    conn.query_drop("SET SESSION TRANSACTION READ WRITE").await.unwrap();
    write(&mut conn, 1, 12).await;
    conn.query_drop("BEGIN").await.unwrap();
    assert_eq!(read(&mut conn, 1).await, (Some(12), 1));
    conn.query_drop("COMMIT").await.unwrap();
}

#[tokio::test]
async fn what_would_tie_a_session_to_a_replica_runs_on_the_primary() {
    let (cluster, sluice) = stage("").await;
    let mut conn = client(sluice.ports().split).await;
    write(&mut conn, 1, 10).await;
    conn.query_drop("CREATE PROCEDURE p() SET @p = 5").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    // Nothing was read yet: the transaction goes along.
    for tie in ["SELECT GET_LOCK('a', 0)", "SET @x = CONCAT('a', 'b')", "CALL p()"] {
        conn.query_drop("START TRANSACTION READ ONLY").await.unwrap();
        conn.query_drop(tie).await.unwrap();
        assert_eq!(read(&mut conn, 1).await, (Some(10), 1), "{tie}");
        let refused = conn.query_drop("REPLACE INTO t VALUES (1, 0)").await.unwrap_err();
        assert_eq!(code(&refused), 1792, "{tie}");
        conn.query_drop("COMMIT").await.unwrap();
        write(&mut conn, 1, 10).await;
    }
    assert_eq!(taken(&cluster, "a").await, Some(true), "where it keeps others out");
    conn.reset().await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    // It has read: it is rolled back, once.
    begin_on_replica(&mut conn).await;
    for due in [Some(1213), None] {
        let locked = conn.query_drop("SELECT GET_LOCK('b', 0)").await;
        assert_eq!(locked.err().as_ref().map(code), due);
        conn.query_drop("ROLLBACK").await.unwrap();
        conn.query_drop("START TRANSACTION READ ONLY").await.unwrap();
        assert_eq!(read(&mut conn, 1).await.1, 1);
    }
    conn.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(taken(&cluster, "b").await, Some(true));
    write(&mut conn, 1, 11).await;
}

/// Begins a read-only transaction until one has begun, and read, on a replica: on a busy machine Sluice may not know in
/// time that one is fresh enough.
async fn begin_on_replica(conn: &mut mysql_async::Conn) {
    let until = Instant::now() + SOON;
    loop {
        conn.query_drop("START TRANSACTION READ ONLY").await.unwrap();
        if read(conn, 1).await.1 != 1 {
            return;
        }
        conn.query_drop("COMMIT").await.unwrap();
        assert!(Instant::now() < until, "no replica takes it");
    }
}

/// Whether this lock is taken on the primary.
async fn taken(cluster: &sluice_cluster::Cluster, lock: &str) -> Option<bool> {
    let sql = format!("SELECT IS_USED_LOCK('{lock}') IS NOT NULL");
    cluster.node(0).value::<bool>(&sql).await.ok()
}

#[tokio::test]
async fn what_ends_a_read_only_transaction_leaves_its_replica() {
    let (cluster, sluice) = stage("").await;
    let mut conn = client(sluice.ports().split).await;
    write(&mut conn, 1, 10).await;
    cluster.wait_caught_up(0).await.unwrap();
    for (ends, reads_only) in [
        ("ALTER TABLE t COMMENT 'a'", false),
        ("START TRANSACTION READ WRITE", false),
        // As servers have it.
        ("BEGIN", true),
    ] {
        begin_on_replica(&mut conn).await;
        conn.query_drop(ends).await.unwrap();
        let written = conn.query_drop("REPLACE INTO t VALUES (1, 12)").await;
        assert_eq!(written.err().as_ref().map(code), reads_only.then_some(1792), "{ends}");
        conn.query_drop("COMMIT").await.unwrap();
        assert_eq!(read(&mut conn, 1).await.0, Some(12));
        cluster.wait_caught_up(0).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_a_procedure_tied_to_a_replica_ends_where_it_has_to_write() {
    let (cluster, sluice) = stage("").await;
    let mut conn = client(sluice.ports().split).await;
    write(&mut conn, 1, 10).await;
    conn.query_drop("CREATE PROCEDURE p() SET @p = 5").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    begin_on_replica(&mut conn).await;
    conn.query_drop("CALL p()").await.unwrap();
    conn.query_drop("COMMIT").await.unwrap();
    let kept: u64 = conn.query_first("SELECT @p").await.unwrap().unwrap();
    assert_eq!(kept, 5);
    let refused = conn.query_drop("REPLACE INTO t VALUES (1, 11)").await.unwrap_err();
    assert_eq!(code(&refused), 1053);
    assert!(conn.query_drop("SELECT 1").await.is_err(), "it is closed");
}
