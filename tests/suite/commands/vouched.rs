//! Stored functions that the owner vouches for, and what servers make of what authors declare.
//!
//! Never here: a function without its schema in the list.

use std::time::Duration;

use sluice_cluster::{Cluster, wait_until};
use sluice_protocol::{Answer, Capabilities};

use super::raw::{Raw, error};
use crate::data_path::{DataPath, caught_up_topology, three_nodes};

const HOLD: Duration = Duration::from_secs(10);
/// What happens right after an answer.
const SOON: Duration = Duration::from_secs(5);
const LIST: &str = "harmless_functions = ['app.whereami', 'app.liar']";

async fn ground(sessions: &str) -> (Cluster, DataPath) {
    let cluster = three_nodes().await;
    for sql in [
        "CREATE DATABASE other",
        "GRANT ALL ON other.* TO app@'%'",
        "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "CREATE FUNCTION app.whereami() RETURNS VARCHAR(9) DETERMINISTIC NO SQL RETURN @@server_id",
        "CREATE FUNCTION other.whereami() RETURNS VARCHAR(9) DETERMINISTIC NO SQL RETURN @@server_id",
        // Servers take the word of its author, although functions that write are refused here (1418).
        "CREATE FUNCTION app.liar() RETURNS VARCHAR(9) DETERMINISTIC NO SQL \
         BEGIN INSERT INTO app.t (v) VALUES (7); RETURN 'done'; END",
    ] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    let path = DataPath::start_with(&cluster, HOLD, sessions);
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    (cluster, path)
}

/// The value of a text prepared and executed.
async fn prepared(client: &mut Raw, sql: &str) -> String {
    client.send(&[b"\x16", sql.as_bytes()].concat()).await;
    let prepared = client.packet().await;
    assert_eq!(prepared[0], 0, "{}", prepared.escape_ascii());
    client.packet().await;
    let mut execute = vec![0x17];
    execute.extend_from_slice(&prepared[1..5]);
    execute.extend_from_slice(&[0, 1, 0, 0, 0]);
    client.first_text(&execute).await
}

#[tokio::test]
async fn a_function_that_is_vouched_for_is_called_on_a_replica() {
    let (cluster, path) = ground(LIST).await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    for sql in ["SELECT whereami()", "SELECT app.whereami()", "SELECT CONCAT(`app` . WhereAmI())"] {
        assert_ne!(client.value(sql).await.as_deref(), Some("1"), "{sql}");
        assert_ne!(prepared(&mut client, sql).await, "1", "{sql}");
    }
    assert!(matches!(client.query("USE other").await, Answer::Ok(_)));
    assert_ne!(client.value("SELECT app.whereami()").await.as_deref(), Some("1"));
    // Another function of that name.
    for sql in ["SELECT whereami()", "SELECT other.whereami()"] {
        assert_eq!(client.value(sql).await.as_deref(), Some("1"), "{sql}");
    }
    // What was seen on the primary has to be known of a replica.
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    assert_eq!(error(client.query("SELECT app.no_such_function()").await).0, 1305);
    // One that writes all the same: the replica refuses, and the primary runs it, once.
    assert_eq!(client.value("SELECT app.liar()").await.as_deref(), Some("done"));
    let rows: u64 = cluster.node(0).value("SELECT COUNT(*) FROM app.t").await.unwrap();
    assert_eq!(rows, 1);
    // In a write it leaves nothing that would have to be reset or kept: from its own schema, as a server that loads a function
    // of another one says that state has changed (it goes there and back), and that could be a trigger's.
    assert!(matches!(client.query("USE app").await, Answer::Ok(_)));
    assert!(matches!(client.query("UPDATE app.t SET v = app.whereami()").await, Answer::Ok(_)));
    // It is counted after the answer.
    let gate = path.feed.gate();
    wait_until("nobody to be pinned", SOON, || async { gate.pinned_sessions() == 0 }).await.unwrap();
}

#[tokio::test]
async fn what_its_author_declares_makes_no_function_harmless() {
    let (cluster, path) = ground("").await;
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    assert_eq!(client.value("SELECT whereami()").await.as_deref(), Some("1"));
    assert_eq!(client.value("SELECT liar()").await.as_deref(), Some("done"));
    let rows: u64 = cluster.node(0).value("SELECT COUNT(*) FROM app.t").await.unwrap();
    assert_eq!(rows, 1, "declared DETERMINISTIC NO SQL, and it has written");
}
