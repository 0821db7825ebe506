//! The remaining rows of the command table, each by its name.

use std::time::Duration;

use sluice_cluster::wait_until;
use sluice_protocol::{Answer, Capabilities, WireAppend};

use super::raw::{Raw, error};
use crate::data_path::{DataPath, three_nodes};

const HOLD: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(10);

fn with_id(command: u8, id: u32) -> Vec<u8> {
    let mut out = vec![command];
    out.push_u32(id);
    out
}

#[tokio::test]
async fn commands_that_are_gone_or_never_served_get_1047_and_the_session_lives() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    // Sleep, create and drop database, refresh, shutdown, connect, time, delayed insert, table dump, connect out,
    // daemon, clone, group replication, MariaDB's bulk execution, and numbers that nobody has given out.
    for command in
        [0x00, 0x05, 0x06, 0x07, 0x08, 0x0b, 0x0f, 0x10, 0x13, 0x14, 0x1d, 0x20, 0x21, 0xfa, 0xfe, 0x55]
    {
        let (code, text) = error(client.ask(&[command, 1, 2, 3, 4, 5]).await);
        assert!(code == 1047 && text.contains("Unknown command"), "{command:#x}: {code} {text}");
    }
    assert_eq!(client.value("SELECT 1 + 1").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn com_statistics_com_debug_com_ping_com_init_db_and_com_set_option() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    client.send(&[0x09]).await;
    let statistics = String::from_utf8(client.packet().await).unwrap();
    assert!(statistics.starts_with("Uptime:"), "{statistics}");
    assert!(matches!(client.ask(&[0x0e]).await, Answer::Ok(_)), "ping");
    assert_eq!(error(client.ask(b"\x02no_such_schema").await).0, 1044);
    assert!(matches!(client.ask(b"\x02app").await, Answer::Ok(_)), "init db");
    assert_eq!(client.value("SELECT DATABASE()").await.as_deref(), Some("app"));
    client.send(&[0x1b, 0, 0]).await;
    assert!(matches!(client.packet().await[0], 0 | 0xfe), "multi-statements on");
    assert_eq!(error(client.ask(&[0x1b, 9, 9]).await).0, 1047);
    // COM_DEBUG needs a privilege; whatever the server says is the answer.
    client.send(&[0x0d]).await;
    client.packet().await;
    assert_eq!(client.value("SELECT 1 + 1").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn exec_id_0xffffffff_is_the_statement_prepared_last() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let mut execute = with_id(0x17, u32::MAX);
    execute.push_bytes(&[0, 1, 0, 0, 0]);
    assert_eq!(error(client.ask(&execute).await).0, 1243);
    for text in ["SELECT 'first'", "SELECT 'second'"] {
        client.send(&[b"\x16", text.as_bytes()].concat()).await;
        for _ in 0..2 {
            client.packet().await;
        }
    }
    assert_eq!(client.first_text(&execute).await, "second");
    assert!(matches!(client.ask(&with_id(0x1a, u32::MAX)).await, Answer::Ok(_)), "reset");
    client.send(&with_id(0x19, u32::MAX)).await;
    assert_eq!(error(client.ask(&execute).await).0, 1243, "it is closed");
}

/// Waits until a session that was told to end has ended.
async fn ended(path: &DataPath, id: u32) {
    let gone = || async { path.feed.registry().get(id).is_none() };
    wait_until("the session ends", SOON, gone).await.unwrap();
}

async fn own_id(client: &mut Raw) -> u32 {
    client.value("SELECT CONNECTION_ID()").await.unwrap().parse().unwrap()
}

#[tokio::test]
async fn kill_takes_ids_as_numbers_expressions_and_commands() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, HOLD);
    path.feed.registry().set_slot(3);
    let mut killer = Raw::connect(path.split_address(), Capabilities::empty()).await;
    let own = own_id(&mut killer).await;
    assert_eq!(own >> 22 & 0xff, 3, "{own:#x}");
    let victim = async || {
        let mut client = Raw::connect(path.split_address(), Capabilities::empty()).await;
        (own_id(&mut client).await, client)
    };
    let (id, _one) = victim().await;
    assert!(matches!(killer.query(&format!("KILL {id:#x}")).await, Answer::Ok(_)));
    ended(&path, id).await;
    let (id, _two) = victim().await;
    killer.query(&format!("SET @victim = {id}")).await;
    assert!(matches!(killer.query("KILL CONNECTION @victim + 0").await, Answer::Ok(_)));
    ended(&path, id).await;
    let (id, _three) = victim().await;
    assert!(matches!(killer.ask(&with_id(0x0c, id)).await, Answer::Ok(_)), "COM_PROCESS_KILL");
    ended(&path, id).await;
    let (id, _four) = victim().await;
    killer.send(format!("\x16KILL {id}").as_bytes()).await;
    let prepared = killer.packet().await;
    assert_eq!(prepared[0], 0, "{}", prepared.escape_ascii());
    let statement = u32::from_le_bytes([prepared[1], prepared[2], prepared[3], prepared[4]]);
    let mut execute = with_id(0x17, statement);
    execute.push_bytes(&[0, 1, 0, 0, 0]);
    assert!(matches!(killer.ask(&execute).await, Answer::Ok(_)), "a prepared KILL");
    ended(&path, id).await;
    // Of another Sluice, of nobody, and what no id can come from.
    let other = 0x4000_0000 | 9 << 22 | 77;
    let (code, text) = error(killer.query(&format!("KILL {other}")).await);
    assert!(code == 1094 && text.contains("slot 9") && text.contains("slot 3"), "{code} {text}");
    let nobody = 0x4000_0000 | 3 << 22 | 0x3f_ffff;
    let (code, text) = error(killer.query(&format!("KILL QUERY {nobody}")).await);
    assert_eq!((code, text), (1094, format!("Unknown thread id: {nobody}")));
    assert_eq!(error(killer.query("KILL 1 + CONNECTION_ID()").await).0, 1047);
    assert_eq!(error(killer.query("KILL no_such_column").await).0, 1054);
    killer.send(b"\x03KILL CONNECTION_ID()").await;
    ended(&path, own).await;
}
