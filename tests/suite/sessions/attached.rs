//! Cursors and long data over shared connections and a switchover: what is attached to a connection keeps it, and nothing
//! more.
//!
//! Never here: what a driver makes of an answer.

use std::time::Duration;

use sluice::feed::gate::Closed;
use sluice_cluster::{Cluster, wait_until};
use sluice_protocol::{Answer, Capabilities, WireAppend as _};
use tokio::time::Instant;

use super::{SOON, switch};
use crate::commands::raw::{Raw, error};
use crate::data_path::{DataPath, three_nodes};

const HOLD: Duration = Duration::from_secs(10);
/// Flag of an execution: a cursor that only reads.
const READ_ONLY_CURSOR: u8 = 1;

/// Prepares a text with so many parameters and columns.
async fn prepare(client: &mut Raw, sql: &str) -> u32 {
    client.send(&[b"\x16", sql.as_bytes()].concat()).await;
    let prepared = client.packet().await;
    assert_eq!(prepared[0], 0, "{}", prepared.escape_ascii());
    let word = |at: usize| u16::from_le_bytes([prepared[at], prepared[at + 1]]);
    for _ in 0..word(5) + word(7) {
        client.packet().await;
    }
    u32::from_le_bytes([prepared[1], prepared[2], prepared[3], prepared[4]])
}

fn with_id(command: u8, id: u32, rest: &[u8]) -> Vec<u8> {
    let mut payload = vec![command];
    payload.push_u32(id);
    payload.push_bytes(rest);
    payload
}

/// Opens a cursor over one column.
async fn open_cursor(client: &mut Raw, id: u32) {
    client.send(&with_id(0x17, id, &[READ_ONLY_CURSOR, 1, 0, 0, 0])).await;
    let columns = client.packet().await;
    assert_eq!(columns[0], 1, "{}", columns.escape_ascii());
    client.packet().await;
    let end = client.packet().await;
    assert_eq!(end[0], 0xfe, "a cursor and no rows: {}", end.escape_ascii());
}

/// The next so many numbers, and whether there are no more.
async fn fetch(client: &mut Raw, id: u32, count: u32) -> (Vec<u8>, bool) {
    client.send(&with_id(0x1c, id, &count.to_le_bytes())).await;
    let mut numbers = Vec::new();
    loop {
        let packet = client.packet().await;
        match packet[0] {
            0 => numbers.push(packet[2]),
            // An OK in an EOF's place: no rows touched, no id, the flags. 0x80: that was the last row.
            0xfe => return (numbers, packet[3] & 0x80 != 0),
            _ => panic!("{}", packet.escape_ascii()),
        }
    }
}

async fn long_data(client: &mut Raw, id: u32, data: &[u8]) {
    client.send(&with_id(0x18, id, &[&[0, 0], data].concat())).await;
}

/// An execution with one text, whose value came as long data.
async fn length(client: &mut Raw, id: u32) -> String {
    client.first_text(&with_id(0x17, id, &[0, 1, 0, 0, 0, 0, 1, 0xfc, 0])).await
}

const LENGTH: &str = "SELECT CONCAT(LENGTH(?), ' at ', @@server_id)";

async fn ground(sessions: &str) -> (Cluster, DataPath) {
    let cluster = three_nodes().await;
    cluster.node(0).exec("CREATE TABLE app.t (n TINYINT UNSIGNED PRIMARY KEY)").await.unwrap();
    cluster.node(0).exec("INSERT INTO app.t VALUES (1), (2), (3), (4), (5), (6)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    let path = DataPath::start_with(&cluster, HOLD, sessions);
    (cluster, path)
}

#[tokio::test]
async fn com_stmt_fetch_and_long_data_over_shared_connections() {
    let (_cluster, path) = ground("max_backend = 2").await;
    let mut one = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    let mut two = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    let mut third = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    for round in 0..3 {
        let cursor = prepare(&mut one, "SELECT n FROM t ORDER BY n").await;
        let text = prepare(&mut third, LENGTH).await;
        open_cursor(&mut one, cursor).await;
        assert_eq!(fetch(&mut one, cursor, 2).await, (vec![1, 2], false));
        // All others have one connection left, and each finds its own.
        for _ in 0..3 {
            assert!(matches!(two.query("UPDATE t SET n = n").await, Answer::Ok(_)));
            long_data(&mut third, text, b"some").await;
            long_data(&mut third, text, b" more").await;
            assert!(length(&mut third, text).await.starts_with("9 at "), "{round}");
        }
        assert_eq!(fetch(&mut one, cursor, 3).await, (vec![3, 4, 5], false));
        assert_eq!(fetch(&mut one, cursor, 9).await, (vec![6], true));
        // It is free again: two others can be tied at once.
        for client in [&mut two, &mut third] {
            assert!(matches!(client.query("BEGIN").await, Answer::Ok(_)));
            assert!(matches!(client.query("SELECT n FROM t LIMIT 1 FOR SHARE").await, Answer::Rows { .. }));
        }
        for client in [&mut two, &mut third] {
            assert!(matches!(client.query("COMMIT").await, Answer::Ok(_)));
        }
        assert!(matches!(third.ask(&[0x1f]).await, Answer::Ok(_)));
    }
}

#[tokio::test]
async fn a_switchover_waits_for_a_cursor_and_for_long_data() {
    let (cluster, path) = ground("max_backend = 9").await;
    let gate = path.feed.gate();
    let mut reader = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    let mut sender = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    let cursor = prepare(&mut reader, "SELECT n FROM t ORDER BY n").await;
    let text = prepare(&mut sender, LENGTH).await;
    open_cursor(&mut reader, cursor).await;
    assert_eq!(fetch(&mut reader, cursor, 1).await, (vec![1], false));
    long_data(&mut sender, text, b"some").await;
    // No answer comes to long data: what is asked behind it shows that it has arrived.
    assert!(matches!(sender.ask(&[0x0e]).await, Answer::Ok(_)));
    assert_eq!(gate.pinned_sessions(), 2);
    gate.close(Closed::Switchover);
    assert!(!gate.drained(Instant::now()).await);
    assert_eq!(fetch(&mut reader, cursor, 4).await, (vec![2, 3, 4, 5], false));
    long_data(&mut sender, text, b" more").await;
    assert!(!gate.drained(Instant::now()).await);
    assert_eq!(fetch(&mut reader, cursor, 4).await, (vec![6], true));
    assert!(!gate.drained(Instant::now()).await);
    assert_eq!(length(&mut sender, text).await, "9 at 1");
    assert!(gate.drained(Instant::now() + SOON).await);
    gate.open().await;
    switch(&cluster, &path, 2, 0, 1).await;
    // The same statements on the new primary.
    open_cursor(&mut reader, cursor).await;
    assert_eq!(fetch(&mut reader, cursor, 9).await, (vec![1, 2, 3, 4, 5, 6], true));
    long_data(&mut sender, text, b"again").await;
    assert_eq!(length(&mut sender, text).await, "5 at 2");
    // It is counted after the answer.
    wait_until("nobody to be pinned", SOON, || async { gate.pinned_sessions() == 0 }).await.unwrap();
}

#[tokio::test]
async fn a_cursor_and_long_data_that_died_with_their_server_are_not_executed() {
    let (cluster, path) = ground("max_backend = 9").await;
    let mut reader = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    let mut sender = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    let cursor = prepare(&mut reader, "SELECT n FROM t ORDER BY n").await;
    let text = prepare(&mut sender, LENGTH).await;
    open_cursor(&mut reader, cursor).await;
    long_data(&mut sender, text, b"some").await;
    assert!(matches!(sender.ask(&[0x0e]).await, Answer::Ok(_)));
    cluster.node(0).kill().await.unwrap();
    path.publisher.publish(crate::data_path::topology(&cluster, 2, 1));
    let fetched = reader.ask(&with_id(0x1c, cursor, &[1, 0, 0, 0])).await;
    assert_eq!(error(fetched).0, 1053);
    let executed = sender.ask(&with_id(0x17, text, &[0, 1, 0, 0, 0, 0, 1, 0xfc, 0])).await;
    assert_eq!(error(executed).0, 1053);
}
