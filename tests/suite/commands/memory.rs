//! The memory that clients may take together: what only announces takes none, what has begun and does not go on gives way,
//! and newcomers are told.
//!
//! Never here: a look at the process's own memory; the budget is what is held to its word.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_cluster::wait_until;
use sluice_protocol::{Answer, Capabilities};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::raw::Raw;
use crate::data_path::{DataPath, three_nodes};

const SOON: Duration = Duration::from_secs(30);
/// The smallest budget there may be, in MiB, and how many clients fit into it.
const BUDGET: usize = 64;
const CLIENTS: usize = BUDGET * 8;
const FRAME: usize = 0xff_ffff;

/// The head of a command of 48 MiB in three frames and a bit, and `sent` bytes of it.
async fn begin_large(client: &mut Raw, sent: usize) {
    let frame = [&[0xff, 0xff, 0xff, 0x00, 0x03][..], &vec![b' '; FRAME - 1]].concat();
    let mut left = sent;
    for number in 0u8.. {
        let mut part = frame.clone();
        part[3] = number;
        part.truncate(left.min(part.len()));
        left -= part.len();
        client.io.write_all(&part).await.unwrap();
        if left == 0 {
            break;
        }
    }
    client.io.flush().await.unwrap();
}

fn select_of(mib: usize) -> String {
    format!("SELECT LENGTH('{}')", "x".repeat(mib << 20))
}

#[tokio::test]
async fn large_commands_share_a_budget_and_newcomers_over_it_get_1041() {
    let cluster = three_nodes().await;
    let path = DataPath::start_with(&cluster, SOON, &format!("memory = '{BUDGET}MiB'"));
    let split = path.split_address();
    let none = Capabilities::empty();
    let mut worker = Raw::connect(split, none).await;

    // A hundred that announce 16 MiB and send next to nothing are in nobody's way.
    let mut announcers = Vec::new();
    for _ in 0..100 {
        let mut client = Raw::connect(split, none).await;
        begin_large(&mut client, 1000).await;
        announcers.push(client);
    }
    assert_eq!(worker.value(&select_of(8)).await, Some((8 << 20).to_string()));
    drop(announcers);
    wait_until("they are gone", SOON, || async { path.memory.used() < 1 << 20 }).await.unwrap();

    // One that holds most of it and does not go on gives it back when another one needs it.
    let mut holder = Raw::connect(split, none).await;
    begin_large(&mut holder, 45 << 20).await;
    // What is on its way in the kernel's buffers is not held.
    wait_until("it is read", SOON, || async { path.memory.used() >= 45 << 20 }).await.unwrap();
    let mut beginner = Raw::connect(split, none).await;
    let begun = Instant::now();
    let answer = timeout(SOON, beginner.value(&select_of(15))).await.expect("it gets its turn");
    assert_eq!(answer, Some((15 << 20).to_string()));
    println!("a command of 15 MiB waited {:?} for one that had stopped", begun.elapsed());
    let Answer::Error(error) = holder.answer().await else { panic!("no error") };
    assert_eq!(error.code, 1041);

    // What can never fit is refused, and its session ends.
    let mut giant = Raw::connect(split, none).await;
    let sending = async {
        let frame = [&[0xff, 0xff, 0xff, 0x00, 0x03][..], &vec![b' '; FRAME - 1]].concat();
        let mut sent = 0u8;
        // Nothing is read while it waits for memory, and then it is cut off.
        while giant.io.write_all(&frame).await.is_ok() {
            sent += 1;
        }
        sent
    };
    let sent = timeout(SOON, sending).await.expect("it is cut off");
    // Four for the budget; the rest is what kernels with large buffers (`tcp_rmem` of 32 MiB) take by themselves. Without
    // a budget it would be the 64 of the largest command.
    assert!(sent <= 8, "{sent} frames of 16 MiB were taken");

    shut_and_open_again(split, &mut worker).await;
}

/// The door is shut when all is taken, and opens again.
async fn shut_and_open_again(split: SocketAddr, worker: &mut Raw) {
    let mut crowd = Vec::new();
    let told = loop {
        let mut tcp = TcpStream::connect(split).await.unwrap();
        let mut head = [0; 7];
        tcp.read_exact(&mut head).await.unwrap();
        if head[4] == 0xff {
            let mut text = Vec::new();
            tcp.read_to_end(&mut text).await.unwrap();
            break (u16::from_le_bytes([head[5], head[6]]), String::from_utf8(text).unwrap());
        }
        crowd.push(tcp);
        assert!(crowd.len() <= CLIENTS, "{} clients in {BUDGET} MiB", crowd.len());
    };
    assert_eq!(told.0, 1041);
    assert!(told.1.starts_with("Out of memory; check if mysqld or some other process"), "{}", told.1);
    assert!(crowd.len() > CLIENTS - 100, "{} clients in {BUDGET} MiB", crowd.len());
    assert_eq!(worker.value("SELECT 7").await.as_deref(), Some("7"), "who is in works on");
    for mut tcp in crowd.drain(..) {
        // Each may have been given up already.
        let _ = tcp.shutdown().await;
    }
    let open = || async {
        let mut tcp = TcpStream::connect(split).await.unwrap();
        let mut head = [0; 5];
        tcp.read_exact(&mut head).await.is_ok() && head[4] == 0x0a
    };
    wait_until("room for a newcomer", SOON, open).await.unwrap();
}

#[tokio::test]
async fn texts_of_prepared_statements_count() {
    let cluster = three_nodes().await;
    let path = DataPath::start_with(&cluster, SOON, &format!("memory = '{BUDGET}MiB'"));
    let mut client = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    let text = format!("SELECT 1 /* {} */", "x".repeat(4 << 20));
    let mut prepared = 0;
    let refused = loop {
        client.send(&[&[0x16][..], text.as_bytes()].concat()).await;
        let first = client.packet().await;
        if first[0] == 0xff {
            break u16::from_le_bytes([first[1], first[2]]);
        }
        prepared += 1;
        // A column definition of the result.
        client.packet().await;
        assert!(prepared <= BUDGET / 4, "{prepared} texts of 4 MiB in {BUDGET} MiB");
    };
    assert_eq!(refused, 1041);
    assert!(prepared >= 10, "{prepared}");
}
