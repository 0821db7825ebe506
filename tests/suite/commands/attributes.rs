//! Query attributes: relayed, and obeyed where they are ours.

use std::time::Duration;

use sluice_protocol::Capabilities;
use sluice_protocol::{Answer, WireAppend};
use tokio::time::Instant;

use super::raw::{Raw, error, first};
use crate::data_path::{DataPath, caught_up_topology, three_nodes};
use sluice::feed::gate::Closed;

const NAMED: Capabilities = Capabilities::QUERY_ATTRIBUTES;
const SERVER: &str = "SELECT @@server_uuid";

/// A COM_QUERY with string attributes.
fn query(sql: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![3];
    out.push_lenenc_int(attributes.len() as u64);
    out.push_u8(1);
    push_attributes(&mut out, 0, attributes);
    out.push_bytes(sql.as_bytes());
    out
}

/// Null bitmap, types and values of `placeholders` NULLs and of attributes.
fn push_attributes(out: &mut Vec<u8>, placeholders: usize, attributes: &[(&str, &str)]) {
    let count = placeholders + attributes.len();
    if count == 0 {
        return;
    }
    let nulls = (1u64 << placeholders) - 1;
    out.push_bytes(&nulls.to_le_bytes()[..count.div_ceil(8)]);
    out.push_u8(1);
    for _ in 0..placeholders {
        out.push_u16(6);
        out.push_lenenc_bytes(b"");
    }
    for (name, _) in attributes {
        out.push_u16(254);
        out.push_lenenc_bytes(name.as_bytes());
    }
    for (_, value) in attributes {
        out.push_lenenc_bytes(value.as_bytes());
    }
}

/// A COM_STMT_EXECUTE of a statement whose parameters are all NULL.
fn execute(id: u32, placeholders: usize, attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0x17];
    out.push_u32(id);
    out.push_u8(8);
    out.push_u32(1);
    out.push_lenenc_int((placeholders + attributes.len()) as u64);
    push_attributes(&mut out, placeholders, attributes);
    out
}

#[tokio::test]
async fn com_query_with_attributes_is_relayed_and_own_ones_are_obeyed() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, Duration::from_secs(10));
    cluster.node(0).exec("INSTALL COMPONENT 'file://component_query_attributes'").await.unwrap();
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let primary = cluster.node(0).uuid().to_string();
    let mut client = Raw::connect(path.split_address(), NAMED).await;
    assert_eq!(client.value("SELECT 1 + 1").await.as_deref(), Some("2"));
    let shown = "SELECT mysql_query_attribute_string('trace')";
    let sent = query(shown, &[("trace", "00-7"), ("sluice.route", "primary")]);
    assert_eq!(first(client.ask(&sent).await).as_deref(), Some("00-7"));
    let hidden = "SELECT mysql_query_attribute_string('sluice.route')";
    let sent = query(hidden, &[("trace", "00-7"), ("sluice.route", "primary")]);
    assert_eq!(first(client.ask(&sent).await), None, "ours are taken out");
    for (wish, on_primary) in
        [("primary", true), ("replica", false), ("last", false), ("any", true), ("x", true)]
    {
        let seen = first(client.ask(&query(SERVER, &[("Sluice.Route", wish)])).await).unwrap();
        assert_eq!(seen == primary, on_primary, "{wish}: {seen}");
    }
    // A wish never weakens what is not harmless.
    client.query("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let insert = query("INSERT INTO t VALUES (1)", &[("sluice.route", "replica")]);
    assert!(matches!(client.ask(&insert).await, Answer::Ok(_)));
    client.query("BEGIN").await;
    let within = first(client.ask(&query(SERVER, &[("sluice.route", "replica")])).await).unwrap();
    assert_eq!(within, primary);
    client.query("COMMIT").await;
}

#[tokio::test]
async fn com_stmt_execute_with_attributes_is_relayed_and_own_ones_are_obeyed() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, Duration::from_secs(10));
    cluster.node(0).exec("INSTALL COMPONENT 'file://component_query_attributes'").await.unwrap();
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let primary = cluster.node(0).uuid().to_string();
    let mut client = Raw::connect(path.split_address(), NAMED).await;
    let mut prepare = async |sql: &str| {
        client.send(&[b"\x16", sql.as_bytes()].concat()).await;
        let ok = client.packet().await;
        let (columns, parameters) = (u16::from_le_bytes([ok[5], ok[6]]), u16::from_le_bytes([ok[7], ok[8]]));
        for _ in 0..columns + parameters {
            client.packet().await;
        }
        u32::from_le_bytes([ok[1], ok[2], ok[3], ok[4]])
    };
    let server = prepare("SELECT @@server_uuid, ?").await;
    let trace = prepare("SELECT mysql_query_attribute_string('trace'), ?").await;
    for (wish, on_primary) in [("primary", true), ("replica", false), ("last", false), ("any", true)] {
        let sent = execute(server, 1, &[("sluice.route", wish), ("other", "x")]);
        assert_eq!(client.first_text(&sent).await == primary, on_primary, "{wish}");
    }
    let sent = execute(trace, 1, &[("sluice.route", "primary"), ("trace", "00-9")]);
    assert_eq!(client.first_text(&sent).await, "00-9");
    let cut = &sent[..sent.len() - 3];
    assert_eq!(error(client.ask(cut).await).0, 1835);
}

#[tokio::test]
async fn a_statement_waits_no_longer_than_its_attribute_says() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, Duration::from_secs(60));
    let mut client = Raw::connect(path.split_address(), NAMED).await;
    client.query("CREATE TABLE t (id INT PRIMARY KEY)").await;
    path.feed.gate().close(Closed::Switchover);
    let began = Instant::now();
    let sent = query("INSERT INTO t VALUES (1)", &[("sluice.timeout_ms", "200")]);
    assert_eq!(error(client.ask(&sent).await).0, 1053);
    assert!(began.elapsed() < Duration::from_secs(20));
    path.feed.gate().open().await;
}

#[tokio::test]
async fn a_read_goes_where_its_gtid_is() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, Duration::from_secs(10));
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let primary = cluster.node(0).uuid().to_string();
    let mut client = Raw::connect(path.split_address(), NAMED).await;
    let here = cluster.node(0).gtid_executed().await.unwrap();
    let nowhere = format!("{primary}:1-999999");
    for (token, on_primary) in [(here.to_string(), false), (nowhere, true)] {
        let hints = [("sluice.route", "replica"), ("sluice.wait_gtid", token.as_str())];
        let seen = first(client.ask(&query(SERVER, &hints)).await).unwrap();
        assert_eq!(seen == primary, on_primary, "{token}");
    }
}
