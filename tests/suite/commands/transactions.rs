//! A BEGIN that waits for the transaction's first statement: nobody can tell, but for the connection that it spares.

use std::time::Duration;

use sluice_cluster::{Cluster, wait_until};
use sluice_protocol::{Answer, Capabilities, StatusFlags};

use super::raw::{Raw, error};
use crate::data_path::{DataPath, caught_up_topology, three_nodes, topology};
use crate::login::front::CLIENT;

const HOLD: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(10);

/// The status flags of the OK that answers `sql`.
async fn status(client: &mut Raw, sql: &str) -> StatusFlags {
    match client.query(sql).await {
        Answer::Ok(ok) => ok.status,
        Answer::Error(error) => panic!("{sql}: {} {}", error.code, String::from_utf8_lossy(&error.message)),
        other @ Answer::Rows { .. } => panic!("{sql}: {other:?}"),
    }
}

/// How many BEGINs the server has executed.
async fn begins(cluster: &Cluster, node: usize) -> u64 {
    let rows: Vec<(String, u64)> =
        cluster.node(node).rows("SHOW GLOBAL STATUS LIKE 'Com_begin'").await.unwrap();
    rows[0].1
}

async fn prepared() -> (Cluster, DataPath) {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    cluster.node(0).exec("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    (cluster, path)
}

#[tokio::test]
async fn a_begin_goes_to_the_server_with_the_first_statement() {
    let (cluster, path) = prepared().await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let mut other = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let before = begins(&cluster, 0).await;
    let told = StatusFlags::AUTOCOMMIT | StatusFlags::IN_TRANS;
    assert_eq!(status(&mut client, "BEGIN").await, told | StatusFlags::SESSION_STATE_CHANGED);
    assert!(matches!(client.ask(&[0x0e]).await, Answer::Ok(ok) if ok.status == told), "ping");
    assert_eq!((begins(&cluster, 0).await, path.feed.gate().open_units()), (before, 0));
    // Nobody waits for it, and it waits for nobody.
    path.feed.gate().close(sluice::feed::gate::Closed::Switchover);
    status(&mut other, "START TRANSACTION READ WRITE").await;
    assert!(path.feed.gate().drained(tokio::time::Instant::now()).await);
    path.feed.gate().open().await;

    assert_eq!(status(&mut client, "INSERT INTO t VALUES (1)").await, told);
    assert_eq!(
        status(&mut other, "ROLLBACK").await,
        StatusFlags::AUTOCOMMIT | StatusFlags::SESSION_STATE_CHANGED
    );
    assert_eq!((begins(&cluster, 0).await, path.feed.gate().open_units()), (before + 2, 1));
    assert_eq!(other.value("SELECT COUNT(*) FROM t").await.as_deref(), Some("0"), "not committed");
    status(&mut client, "ROLLBACK").await;
    for (end, rows) in [("ROLLBACK", "0"), ("COMMIT", "1")] {
        status(&mut client, "BEGIN").await;
        // A read, a command on a prepared statement and a failure are in it as well.
        assert_eq!(client.value("SELECT COUNT(*) FROM t").await.as_deref(), Some("0"));
        assert_eq!(path.feed.gate().open_units(), 1, "a read begins it on the primary");
        status(&mut client, "INSERT INTO t VALUES (2)").await;
        status(&mut client, end).await;
        assert_eq!(client.value("SELECT COUNT(*) FROM t").await.as_deref(), Some(rows), "{end}");
    }
    status(&mut client, "BEGIN").await;
    assert_eq!(error(client.query("INSERT INTO t VALUES (2)").await).0, 1062);
    status(&mut client, "INSERT INTO t VALUES (3)").await;
    status(&mut client, "ROLLBACK").await;
    assert_eq!(client.value("SELECT COUNT(*) FROM t").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn answers_are_those_of_a_server_that_is_asked_directly() {
    let (cluster, path) = prepared().await;
    for without in [Capabilities::empty(), Capabilities::SESSION_TRACK] {
        let mut seen = Vec::new();
        for address in [cluster.node(0).address().into(), path.split_address()] {
            let mut client = Raw::connect_as(address, CLIENT - without).await;
            let mut answers = Vec::new();
            for sql in [
                "BEGIN",
                "COMMIT",
                "BEGIN",
                "ROLLBACK",
                "BEGIN",
                "COMMIT AND CHAIN",
                "ROLLBACK",
                "BEGIN",
                "START TRANSACTION READ WRITE",
                "INSERT INTO t VALUES (1)",
                "BEGIN",
                "DELETE FROM t",
                "ROLLBACK AND CHAIN",
                "DELETE FROM t",
                "COMMIT",
                "BEGIN",
                "SET @a = 1",
                "COMMIT",
                "SET autocommit = 0",
                "BEGIN",
                "DELETE FROM t",
                "COMMIT",
                "BEGIN",
                "SET autocommit = 1",
            ] {
                client.send(&[b"\x03", sql.as_bytes()].concat()).await;
                answers.push((sql, client.packet().await));
            }
            seen.push(answers);
        }
        assert_eq!(seen[0], seen[1]);
    }
}

#[tokio::test]
async fn what_asks_about_a_begin_or_ends_it_finds_it_done() {
    let (cluster, path) = prepared().await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    // Its diagnostics replace those of the statement before.
    assert!(matches!(client.query("SELECT 1/0").await, Answer::Rows { .. }));
    status(&mut client, "BEGIN").await;
    assert_eq!(client.value("SELECT @@warning_count").await.as_deref(), Some("0"));
    status(&mut client, "ROLLBACK").await;
    status(&mut client, "INSERT INTO t VALUES (1), (2)").await;
    status(&mut client, "BEGIN").await;
    assert_eq!(client.value("SELECT ROW_COUNT()").await.as_deref(), Some("0"));
    assert_eq!(error(client.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await).0, 1568);
    status(&mut client, "ROLLBACK").await;
    // A reset ends it.
    status(&mut client, "BEGIN").await;
    let Answer::Ok(ok) = client.ask(&[0x1f]).await else { panic!("no OK") };
    assert_eq!(ok.status, StatusFlags::AUTOCOMMIT);
    assert_eq!(status(&mut client, "INSERT INTO t VALUES (3)").await, StatusFlags::AUTOCOMMIT);
    // One that could not wait: it gives back locks, takes a snapshot, or is for a replica.
    status(&mut client, "LOCK TABLES t WRITE").await;
    let before = begins(&cluster, 0).await;
    status(&mut client, "BEGIN").await;
    assert_eq!(begins(&cluster, 0).await, before + 1);
    cluster.node(0).exec("INSERT INTO app.t VALUES (4)").await.unwrap();
    status(&mut client, "COMMIT").await;
    status(&mut client, "START TRANSACTION WITH CONSISTENT SNAPSHOT").await;
    cluster.node(0).exec("INSERT INTO app.t VALUES (5)").await.unwrap();
    assert_eq!(client.value("SELECT COUNT(*) FROM t").await.as_deref(), Some("4"));
    status(&mut client, "COMMIT").await;
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let told = status(&mut client, "START TRANSACTION READ ONLY").await;
    assert!(told.contains(StatusFlags::IN_TRANS_READONLY));
    assert_eq!(path.feed.gate().open_units(), 0, "on a replica");
    status(&mut client, "COMMIT").await;
}

#[tokio::test]
async fn a_begin_before_a_switchover_is_a_transaction_after_it() {
    let (cluster, path) = prepared().await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    status(&mut client, "INSERT INTO t VALUES (1)").await;
    let told = status(&mut client, "BEGIN").await - StatusFlags::SESSION_STATE_CHANGED;
    cluster.wait_caught_up(0).await.unwrap();
    for sql in ["STOP REPLICA", "SET GLOBAL rpl_semi_sync_source_enabled=0", "SET GLOBAL read_only=OFF"] {
        cluster.node(1).exec(sql).await.unwrap();
    }
    path.publisher.publish(topology(&cluster, 2, 1));
    cluster.node(0).kill().await.unwrap();
    let before = begins(&cluster, 1).await;
    assert_eq!(status(&mut client, "INSERT INTO t VALUES (2)").await, told);
    assert_eq!(begins(&cluster, 1).await, before + 1);
    status(&mut client, "ROLLBACK").await;
    let all = || async { path.feed.gate().open_units() == 0 };
    wait_until("the transaction to end", SOON, all).await.unwrap();
    assert_eq!(client.value("SELECT COUNT(*) FROM t").await.as_deref(), Some("1"));
}
