//! Sessions on real servers: commands, routing, and moves to another primary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

mod attached;
mod refused;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use sluice::feed::gate::Closed;
use sluice_cluster::Cluster;
use sluice_cluster::wait_until;
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;

use crate::data_path::{DataPath, caught_up_topology, three_nodes, topology};

const SOON: Duration = Duration::from_secs(10);
const HOLD: Duration = Duration::from_secs(10);

async fn server_of(conn: &mut Conn) -> String {
    conn.query_first("SELECT @@server_uuid").await.unwrap().unwrap()
}

fn code(error: &Error) -> u16 {
    let Error::Server(error) = error else { panic!("no server error: {error}") };
    error.code
}

/// Moves the primary by hand, with the gate closed around it as the controller does.
async fn switch(cluster: &Cluster, path: &DataPath, epoch: u64, from: usize, to: u16) {
    let gate = path.feed.gate();
    gate.close(Closed::Switchover);
    assert!(gate.drained(Instant::now() + SOON).await, "not drained");
    cluster.node(from).exec("SET GLOBAL super_read_only=ON").await.unwrap();
    cluster.wait_caught_up(from).await.unwrap();
    let target = cluster.node(usize::from(to));
    for sql in ["STOP REPLICA", "SET GLOBAL rpl_semi_sync_source_enabled=0", "SET GLOBAL read_only=OFF"] {
        target.exec(sql).await.unwrap();
    }
    path.publisher.publish(topology(cluster, epoch, to));
    gate.open().await;
}

#[tokio::test]
async fn statements_of_every_kind_work_and_writes_are_read_back() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.split().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40))").await.unwrap();
    conn.query_drop("INSERT INTO t (v) VALUES ('one'),('two')").await.unwrap();
    assert_eq!(conn.last_insert_id(), Some(1));
    // Read your own writes: no replica is known to have them yet.
    let values: Vec<String> = conn.query("SELECT v FROM t ORDER BY id").await.unwrap();
    assert_eq!(values, ["one", "two"]);
    conn.exec_drop("INSERT INTO t (v) VALUES (?)", ("three",)).await.unwrap();
    let statement = conn.prep("SELECT v FROM t WHERE id = ?").await.unwrap();
    for (id, expected) in [(1, "one"), (3, "three")] {
        let value: Option<String> = conn.exec_first(&statement, (id,)).await.unwrap();
        assert_eq!(value.as_deref(), Some(expected));
    }
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    // Now covered: the same statement is prepared again on a replica and typed there.
    let value: Option<String> = conn.exec_first(&statement, (2,)).await.unwrap();
    assert_eq!(value.as_deref(), Some("two"));
    let big = "x".repeat(17 << 20);
    let length: Option<usize> = conn.exec_first("SELECT LENGTH(?)", (&big,)).await.unwrap();
    assert_eq!(length, Some(big.len()));
    let echoed: Option<String> = conn.query_first(format!("SELECT '{big}'")).await.unwrap();
    assert_eq!(echoed.map(|text| text.len()), Some(big.len()));
    let mut results = conn.query_iter("SELECT 1; SELECT 2, 3").await.unwrap();
    let first: Vec<Row> = results.collect().await.unwrap();
    let second: Vec<Row> = results.collect().await.unwrap();
    assert_eq!((first.len(), second.len()), (1, 1));
    drop(results);
    let error = conn.query_drop("SELECT * FROM no_such_table").await.unwrap_err();
    assert_eq!(code(&error), 1146);
    conn.ping().await.unwrap();
    conn.reset().await.unwrap();
    assert_eq!(conn.query_first::<u8, _>("SELECT 1").await.unwrap(), Some(1));
}

#[tokio::test]
async fn listeners_send_statements_where_they_say() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let primary = cluster.node(0).uuid().to_string();
    let (mut split, mut writer, mut reader) =
        (path.split().await, path.primary().await, path.replica().await);
    assert_eq!(server_of(&mut writer).await, primary);
    assert_ne!(server_of(&mut reader).await, primary);
    // A system variable differs between servers, so the split listener asks the primary.
    assert_eq!(server_of(&mut split).await, primary);
    let refused = reader.query_drop("CREATE TABLE x (id INT)").await.unwrap_err();
    assert_eq!(code(&refused), 1290);
    // What was read on the primary has to be on a replica before that may serve.
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let before: u64 = replica_selects(&cluster).await;
    for _ in 0..5 {
        split.query_drop("SELECT 1 + 1").await.unwrap();
    }
    assert!(replica_selects(&cluster).await >= before + 5, "reads went to the primary");
}

async fn replica_selects(cluster: &Cluster) -> u64 {
    let mut sum = 0;
    for node in cluster.nodes().iter().skip(1) {
        let counted: Vec<(String, u64)> = node.rows("SHOW GLOBAL STATUS LIKE 'Com_select'").await.unwrap();
        sum += counted.iter().map(|(_, count)| count).sum::<u64>();
    }
    sum
}

#[tokio::test]
async fn a_session_moves_with_everything_it_has() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.split().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)").await.unwrap();
    conn.query_drop("SET sql_mode='ANSI_QUOTES', @answer=42").await.unwrap();
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
    conn.query_drop("INSERT INTO t (v) VALUES (7)").await.unwrap();
    let insert = conn.prep("INSERT INTO t (v) VALUES (?)").await.unwrap();
    conn.exec_drop(&insert, (8,)).await.unwrap();
    switch(&cluster, &path, 2, 0, 1).await;
    conn.exec_drop(&insert, (9,)).await.unwrap();
    assert_eq!(server_of(&mut conn).await, cluster.node(1).uuid().to_string());
    let state: (String, String, i64) =
        conn.query_first("SELECT @@sql_mode, @@transaction_isolation, @answer").await.unwrap().unwrap();
    assert_eq!(state, ("ANSI_QUOTES".into(), "READ-COMMITTED".into(), 42));
    let id: u64 = conn.query_first("SELECT LAST_INSERT_ID()").await.unwrap().unwrap();
    assert_eq!(id, 3);
    let rows: u64 = conn.query_first("SELECT COUNT(*) FROM t").await.unwrap().unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn writes_wait_at_the_gate_and_open_transactions_end_first() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let (mut within, mut fresh, mut reading) = (path.split().await, path.split().await, path.split().await);
    within.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    within.query_drop("BEGIN").await.unwrap();
    within.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    let gate = path.feed.gate();
    assert_eq!(gate.open_units(), 1);
    gate.close(Closed::Switchover);
    let held = tokio::spawn(async move { fresh.query_drop("INSERT INTO t VALUES (2)").await });
    wait_until("one statement is held", SOON, || async { gate.held() == 1 }).await.unwrap();
    reading.query_drop("SELECT 1").await.unwrap();
    within.query_drop("INSERT INTO t VALUES (3)").await.unwrap();
    assert!(!gate.drained(Instant::now()).await);
    within.query_drop("COMMIT").await.unwrap();
    assert!(gate.drained(Instant::now() + SOON).await);
    gate.open().await;
    held.await.unwrap().unwrap();
    let rows: u64 = within.query_first("SELECT COUNT(*) FROM t").await.unwrap().unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn a_primary_that_dies_is_answered_as_the_contract_says() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, Duration::from_secs(2));
    let (mut idle, mut within, mut pinned) = (path.split().await, path.split().await, path.split().await);
    idle.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    within.query_drop("BEGIN").await.unwrap();
    within.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    pinned.query_drop("CREATE TEMPORARY TABLE mine (id INT)").await.unwrap();
    // Reads of own writes go to replicas once these are known to have them.
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    cluster.node(0).kill().await.unwrap();
    let rolled_back = within.query_drop("INSERT INTO t VALUES (2)").await.unwrap_err();
    assert_eq!(code(&rolled_back), 1213);
    let lost = pinned.query_drop("INSERT INTO mine VALUES (1)").await.unwrap_err();
    assert_eq!(code(&lost), 1053);
    // A read goes on; a write is held, then certainly not executed.
    idle.query_drop("SELECT 1").await.unwrap();
    let not_executed = idle.query_drop("INSERT INTO t VALUES (3)").await.unwrap_err();
    assert_eq!(code(&not_executed), 1053);
}

#[tokio::test]
async fn sessions_warm_up_and_kill_works_by_the_id_the_client_knows() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let (mut sleeper, mut killer) = (path.split().await, path.split().await);
    let mut warm = topology(&cluster, 1, 0);
    warm.warm = Some(InstanceId(1));
    path.publisher.publish(warm);
    assert_eq!(path.feed.registry().warmed(2, Instant::now() + SOON).await, 0);
    let id = sleeper.id();
    let own: u32 = sleeper.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    assert_eq!(own, id);
    for _ in 0..2 {
        let prepared: u32 = sleeper.exec_first("SELECT CONNECTION_ID()", ()).await.unwrap().unwrap();
        assert_eq!(prepared, id);
    }
    let sleeping = tokio::spawn(async move {
        let woken: Option<u8> = sleeper.query_first("SELECT SLEEP(60)").await.unwrap();
        (woken, sleeper)
    });
    let busy = || async {
        let sql = "SELECT COUNT(*) FROM performance_schema.processlist WHERE info LIKE 'SELECT SLEEP(60)'";
        let mut found = 0;
        for node in cluster.nodes() {
            found += node.value::<u64>(sql).await.unwrap();
        }
        found > 0
    };
    wait_until("the sleep has begun", SOON, busy).await.unwrap();
    killer.query_drop(format!("KILL QUERY {id}")).await.unwrap();
    let (woken, mut sleeper) = sleeping.await.unwrap();
    assert_eq!(woken, Some(1));
    killer.query_drop(format!("KILL {id}")).await.unwrap();
    assert!(sleeper.query_drop("SELECT 1").await.is_err());
    let unknown = killer.query_drop("KILL 1099999999").await.unwrap_err();
    assert_eq!(code(&unknown), 1094);
}

/// As PHP's PDO asks, which prepares everything.
#[tokio::test]
async fn found_rows_is_prepared_and_executed_where_the_rows_were_found() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.split().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    conn.query_drop("INSERT INTO t VALUES (1), (2), (3)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    for (sql, found) in [("SELECT id FROM t", 3), ("SELECT id FROM t LIMIT 2", 2), ("SELECT id FROM t", 3)] {
        let ids: Vec<u32> = conn.exec(sql, ()).await.unwrap();
        assert_eq!(ids.len(), found);
        let told: usize = conn.exec_first("SELECT FOUND_ROWS()", ()).await.unwrap().unwrap();
        assert_eq!(told, found, "{sql}");
    }
}

#[tokio::test]
async fn a_transaction_begun_at_the_closed_gate_by_a_pinned_session_is_waited_for() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.split().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    // It pins until the next transaction has begun.
    conn.query_drop("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    let gate = path.feed.gate();
    gate.close(Closed::Switchover);
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    assert!(!gate.drained(Instant::now()).await);
    conn.query_drop("COMMIT").await.unwrap();
    assert!(gate.drained(Instant::now() + SOON).await);
    gate.open().await;
}

#[tokio::test]
async fn replicas_that_refuse_the_account_leave_reads_to_the_primary() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.split().await;
    for node in cluster.nodes().iter().skip(1) {
        let name = sluice_cluster::Login::app().user;
        let lock = format!("SET sql_log_bin=0; ALTER USER '{name}'@'%' ACCOUNT LOCK");
        for sql in ["SET GLOBAL read_only=OFF", &lock] {
            node.exec(sql).await.unwrap();
        }
    }
    let read = tokio::time::timeout(SOON, conn.query_first::<u8, _>("SELECT 1 + 1")).await;
    assert_eq!(read.expect("the read hangs").unwrap(), Some(2));
}

#[tokio::test]
async fn a_reset_session_reads_in_its_schema_everywhere() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let name = sluice_cluster::Login::app().user;
    for sql in [
        "CREATE DATABASE other".to_owned(),
        format!("GRANT ALL ON other.* TO '{name}'@'%'"),
        "CREATE TABLE app.t AS SELECT 'app' AS v".to_owned(),
        "CREATE TABLE other.t AS SELECT 'other' AS v".to_owned(),
    ] {
        cluster.node(0).exec(&sql).await.unwrap();
    }
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let mut conn = path.split().await;
    let value: Option<String> = conn.query_first("SELECT v FROM t").await.unwrap();
    assert_eq!(value.as_deref(), Some("app"));
    conn.query_drop("USE other").await.unwrap();
    conn.reset().await.unwrap();
    let value: Option<String> = conn.query_first("SELECT v FROM t").await.unwrap();
    assert_eq!(value.as_deref(), Some("other"));
}

#[tokio::test]
async fn a_rollback_of_what_died_with_its_server_succeeds() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.split().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    cluster.node(0).kill().await.unwrap();
    path.publisher.publish(topology(&cluster, 2, 1));
    conn.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(server_of(&mut conn).await, cluster.node(1).uuid().to_string());
}

/// What a driver asks first: a read, but of the server itself. Nothing of it can have been committed.
#[tokio::test]
async fn a_read_of_the_primary_itself_is_repeated_on_the_next_one() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.split().await;
    let asked: tokio::task::JoinHandle<Option<(String, u8)>> = tokio::spawn(async move {
        conn.query_first("SELECT @@server_uuid, IF(@@server_id = 1, SLEEP(60), 7)").await.unwrap()
    });
    let runs = || async {
        let sql = "SELECT COUNT(*) FROM performance_schema.processlist WHERE state = 'User sleep'";
        cluster.node(0).value::<u64>(sql).await.is_ok_and(|count| count == 1)
    };
    wait_until("the read to run on the primary", SOON, runs).await.unwrap();
    cluster.node(0).kill().await.unwrap();
    path.publisher.publish(topology(&cluster, 2, 1));
    assert_eq!(asked.await.unwrap(), Some((cluster.node(1).uuid().to_string(), 7)));
}
