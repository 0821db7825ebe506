//! Commands around and beyond the size of one frame, and long data that does not fit its statement.
//!
//! Never here: a server's own limit of packets.

use std::time::Duration;

use sluice_protocol::{Answer, Capabilities, WireAppend};

use super::raw::{Raw, error};
use crate::data_path::{DataPath, three_nodes};

const HOLD: Duration = Duration::from_secs(20);
/// Bytes of a full frame.
const FRAME: usize = 0xff_ffff;

#[tokio::test]
async fn com_query_of_a_frame_and_more_passes_the_split_listener() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let around = "\x03SELECT LENGTH('')".len();
    for size in [FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 2 * FRAME + 9] {
        let text = format!("SELECT LENGTH('{}')", "x".repeat(size - around));
        assert_eq!(client.value(&text).await, Some((size - around).to_string()), "{size}");
    }
    assert_eq!(client.value("SELECT 1 + 1").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn com_stmt_send_long_data_that_fails_is_told_at_the_execution() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    client.send(b"\x16SELECT LENGTH(?)").await;
    let prepared = client.packet().await;
    assert_eq!(prepared[0], 0, "{}", prepared.escape_ascii());
    let id = u32::from_le_bytes([prepared[1], prepared[2], prepared[3], prepared[4]]);
    for _ in 0..2 {
        client.packet().await;
    }
    let long_data = |id: u32, parameter: u16| {
        let mut out = vec![0x18];
        out.push_u32(id);
        out.push_bytes(&parameter.to_le_bytes());
        out.push_bytes(b"some");
        out
    };
    // Of a statement that is not there: nobody answers, and nothing follows.
    client.send(&long_data(id + 77, 0)).await;
    assert_eq!(client.value("SELECT 1 + 1").await.as_deref(), Some("2"));
    // Of a parameter that is not there: the execution fails, and a reset mends it.
    let mut execute = vec![0x17];
    execute.push_u32(id);
    execute.push_bytes(&[0, 1, 0, 0, 0, 0, 1, 0xfe, 0x00, 2, b'a', b'b']);
    client.send(&long_data(id, 9)).await;
    assert_eq!(error(client.ask(&execute).await).0, 1210);
    let mut reset = vec![0x1a];
    reset.push_u32(id);
    assert!(matches!(client.ask(&reset).await, Answer::Ok(_)));
    client.send(&execute).await;
    let columns = client.packet().await;
    assert_eq!(columns[0], 1, "{}", columns.escape_ascii());
}
