//! Servers that refuse, stop, or answer late: what a session within a transaction, or about to begin one, gets to hear.
//!
//! Never here: the controller's part in it.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn};
use sluice::feed::registry::Activity;
use sluice_cluster::{Cluster, wait_until};
use sluice_protocol::{Answer, Capabilities};
use sluice_routing::topology::{InstanceId, Topology};
use tokio::time::Instant;

use super::{SOON, code};
use crate::commands::raw::{Raw, error};
use crate::data_path::{DataPath, three_nodes, topology};

const HOLD: Duration = Duration::from_secs(10);

async fn ground(sessions: &str) -> (Cluster, DataPath) {
    let cluster = three_nodes().await;
    cluster.node(0).exec("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    let path = DataPath::start_with(&cluster, HOLD, sessions);
    (cluster, path)
}

async fn ok(client: &mut Raw, sql: &str) {
    let answer = client.query(sql).await;
    assert!(matches!(answer, Answer::Ok(_)), "{sql}: {answer:?}");
}

/// How many BEGINs the server has executed.
async fn begins(cluster: &Cluster) -> u64 {
    let rows: Vec<(String, u64)> = cluster.node(0).rows("SHOW GLOBAL STATUS LIKE 'Com_begin'").await.unwrap();
    rows[0].1
}

async fn count(cluster: &Cluster, node: usize) -> u64 {
    cluster.node(node).value("SELECT COUNT(*) FROM app.t").await.unwrap()
}

/// Ends the application's connections to the primary by KILL.
async fn kill_connections(cluster: &Cluster) {
    let sql = "SELECT processlist_id FROM performance_schema.threads WHERE processlist_user = 'app'";
    for id in cluster.node(0).rows::<u64>(sql).await.unwrap() {
        // It may have ended by itself.
        let _ = cluster.node(0).exec(&format!("KILL {id}")).await;
    }
    let gone = || async { cluster.node(0).rows::<u64>(sql).await.unwrap().is_empty() };
    wait_until("killed connections end", SOON, gone).await.unwrap();
}

#[tokio::test]
async fn a_begin_that_waits_survives_the_death_of_its_connection() {
    let (cluster, path) = ground("").await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    ok(&mut client, "INSERT INTO t VALUES (1)").await;
    for round in 0..3 {
        ok(&mut client, "BEGIN").await;
        kill_connections(&cluster).await;
        let before = begins(&cluster).await;
        ok(&mut client, &format!("INSERT INTO t VALUES (1{round})")).await;
        assert_eq!(begins(&cluster).await, before + 1);
        ok(&mut client, "ROLLBACK").await;
    }
    assert_eq!(count(&cluster, 0).await, 1);
    // Within the transaction it is rolled back, and the client told so.
    ok(&mut client, "BEGIN").await;
    ok(&mut client, "INSERT INTO t VALUES (2)").await;
    kill_connections(&cluster).await;
    assert_eq!(error(client.query("INSERT INTO t VALUES (3)").await).0, 1213);
    ok(&mut client, "ROLLBACK").await;
    assert_eq!(count(&cluster, 0).await, 1);
}

/// In offline mode nobody gets in until it is over: who has begun waits, as anybody does.
#[tokio::test]
async fn a_begin_waits_until_the_server_lets_in_again() {
    let (cluster, path) = ground("").await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    ok(&mut client, "BEGIN").await;
    cluster.node(0).exec("SET GLOBAL offline_mode = ON").await.unwrap();
    let inserted = tokio::spawn(async move {
        ok(&mut client, "INSERT INTO t VALUES (1)").await;
        client
    });
    let held = || async {
        let all = path.feed.registry().all();
        all.iter().any(|entry| entry.activity() == Activity::Held)
    };
    wait_until("it is held", SOON, held).await.unwrap();
    cluster.node(0).exec("SET GLOBAL offline_mode = OFF").await.unwrap();
    let mut client = inserted.await.unwrap();
    assert_eq!(count(&cluster, 0).await, 0, "not committed");
    ok(&mut client, "COMMIT").await;
    assert_eq!(count(&cluster, 0).await, 1);
}

/// The BEGIN is refused, and the statement in the same write has run without it: nobody may be told that it was in a
/// transaction, or that it was not executed.
#[tokio::test]
async fn a_begin_that_is_refused_leaves_the_outcome_of_its_statement_unknown() {
    let (cluster, path) = ground("").await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    ok(&mut client, "INSERT INTO t VALUES (9)").await;
    cluster.node(0).exec("SET GLOBAL read_only = ON").await.unwrap();
    ok(&mut client, "START TRANSACTION READ WRITE").await;
    assert_eq!(error(client.query("INSERT INTO t VALUES (1)").await).0, 1180);
    cluster.node(0).exec("SET GLOBAL read_only = OFF").await.unwrap();
    let mut other = Raw::connect(path.split_address(), Capabilities::empty()).await;
    ok(&mut other, "BEGIN").await;
    ok(&mut other, "INSERT INTO t VALUES (2)").await;
    ok(&mut other, "COMMIT").await;
    assert_eq!(count(&cluster, 0).await, 2);
}

#[tokio::test]
async fn a_begin_goes_at_once_to_connections_of_ones_own_and_to_replicas() {
    let (cluster, path) = ground("pooling = \"session\"").await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let before = begins(&cluster).await;
    ok(&mut client, "BEGIN").await;
    assert_eq!((begins(&cluster).await, path.feed.gate().open_units()), (before + 1, 1));
    ok(&mut client, "INSERT INTO t VALUES (1)").await;
    ok(&mut client, "ROLLBACK").await;
    assert_eq!((count(&cluster, 0).await, path.feed.gate().open_units()), (0, 0));
    let (cluster, path) = ground("").await;
    let mut client = Raw::connect(path.replica_address(), Capabilities::empty()).await;
    let before = begins(&cluster).await;
    ok(&mut client, "BEGIN").await;
    let server = client.value("SELECT @@server_id").await;
    assert_ne!(server.as_deref(), Some("1"));
    assert_eq!(error(client.query("INSERT INTO t VALUES (1)").await).0, 1290);
    assert_eq!(client.value("SELECT @@server_id").await, server);
    ok(&mut client, "COMMIT").await;
    assert_eq!((begins(&cluster).await, path.feed.gate().open_units()), (before, 0));
}

/// A server that stops answers 1053 within a transaction, and 3100 to its COMMIT: rolled back, and the sessions go on.
#[tokio::test]
async fn transactions_of_a_stopping_server_are_rolled_back() {
    let (cluster, path) = ground("").await;
    let mut writes = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let mut commits = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let mut commits_late = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let mut rolls_back = Raw::connect(path.split_address(), Capabilities::empty()).await;
    for (client, id) in [(&mut writes, 1), (&mut commits, 2), (&mut commits_late, 5), (&mut rolls_back, 3)] {
        ok(client, "BEGIN").await;
        ok(client, &format!("INSERT INTO t VALUES ({id})")).await;
    }
    cluster.node(0).begin_stop().unwrap();
    let address = cluster.node(0).address();
    let stopping = || async { tokio::net::TcpStream::connect(address).await.is_err() };
    wait_until("the server stops", SOON, stopping).await.unwrap();
    assert_eq!(error(writes.query("INSERT INTO t VALUES (4)").await).0, 1213);
    assert_eq!(error(commits.query("COMMIT").await).0, 1213);
    let nobody = Topology { primary: None, ..topology(&cluster, 1, 0) };
    path.publisher.publish(nobody);
    assert_eq!(error(commits_late.query("COMMIT").await).0, 1213);
    path.publisher.publish(topology(&cluster, 2, 1));
    for sql in ["STOP REPLICA", "SET GLOBAL rpl_semi_sync_source_enabled=0", "SET GLOBAL read_only=OFF"] {
        cluster.node(1).exec(sql).await.unwrap();
    }
    ok(&mut rolls_back, "ROLLBACK").await;
    for (client, id) in [(&mut writes, 11), (&mut commits, 12), (&mut rolls_back, 13)] {
        ok(client, "BEGIN").await;
        ok(client, &format!("INSERT INTO t VALUES ({id})")).await;
        ok(client, "COMMIT").await;
    }
    let ids: Vec<u64> = cluster.node(1).rows("SELECT id FROM app.t ORDER BY id").await.unwrap();
    assert_eq!(ids, [11, 12, 13]);
}

/// A PING's answer that comes after we stopped waiting for it is nobody's.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_taken_for_the_next_one() {
    let (cluster, path) = ground("max_backend = 3").await;
    let mut client = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    ok(&mut client, "SET @mine = 7").await;
    assert_eq!(client.value("SELECT @mine + 0").await.as_deref(), Some("7"));
    cluster.node(0).freeze().await.unwrap();
    assert!(
        matches!(client.ask(&[0x0e]).await, Answer::Ok(_)),
        "the session lives, whatever its server does"
    );
    cluster.node(0).thaw().await.unwrap();
    for number in 1..20 {
        let text = format!("SELECT {number} + @mine");
        assert_eq!(client.value(&text).await, Some((number + 7).to_string()));
        assert!(matches!(client.ask(&[0x0e]).await, Answer::Ok(_)));
    }
}

/// A connection that is being opened ahead of a switchover logs in as who the client was: it is not used for who he is.
#[tokio::test]
async fn com_change_user_while_a_connection_is_opened_ahead() {
    let (cluster, path) = ground("pooling = \"session\"").await;
    for sql in ["CREATE USER other@'%' IDENTIFIED BY 'other-password'", "GRANT ALL ON app.* TO other@'%'"] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    cluster.wait_caught_up(0).await.unwrap();
    let mut conn: Conn = path.split().await;
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    // Its greeting does not come.
    cluster.node(1).freeze().await.unwrap();
    let mut warm = topology(&cluster, 1, 0);
    warm.warm = Some(InstanceId(1));
    path.publisher.publish(warm);
    assert_eq!(path.feed.registry().warmed(2, Instant::now()).await, 1, "under way");
    let opts = ChangeUserOpts::default()
        .with_user(Some("other".to_owned()))
        .with_pass(Some("other-password".to_owned()))
        .with_db_name(Some("app".to_owned()));
    conn.change_user(opts).await.unwrap();
    assert_eq!(path.feed.registry().warmed(2, Instant::now() + SOON).await, 0);
    cluster.node(1).thaw().await.unwrap();
    super::switch(&cluster, &path, 2, 0, 1).await;
    let (user, server): (String, u32) = conn
        .query_first("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1), @@server_id")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((user.as_str(), server), ("other", 2));
    conn.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
    let refused = conn.query_drop("INSERT INTO t VALUES (2)").await.unwrap_err();
    assert_eq!(code(&refused), 1062);
}
