//! What is left of a password in the memory of the process.
//!
//! Never here: a look at memory other than through /proc, as anybody on the machine with the right could.

use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sluice::backend::{PacketStream, ReadError};
use sluice_cluster::{Cluster, SluiceProcess, wait_until};
use sluice_protocol::Answer;

use super::front::{CLIENT, attempt};
use super::{ask, change};
use crate::process::{SLUICE, accounts};

/// Passwords that nothing else in the process looks like.
const FIRST: &str = "b4-Wnq7-first-Xr2e-Lk9z-Vt5m";
const SECOND: &str = "h8-Zpd3-second-Qa6y-Jw1c-Rf7u";
const WRONG: &str = "k2-Mxs9-wrong-Ge4v-Ub8n-Yi3o";

/// How often `needle` stands in the writable memory of a process.
fn count(pid: i32, needle: &str) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = 0;
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut bytes = Vec::new();
        memory.seek(SeekFrom::Start(from)).unwrap();
        // A region may have gone since; what can be read is looked at.
        let _ = memory.by_ref().take(to - from).read_to_end(&mut bytes);
        found += bytes.windows(needle.len()).filter(|window| *window == needle.as_bytes()).count();
    }
    found
}

async fn one_node_and_sluice(settings: &str) -> (Cluster, SluiceProcess) {
    let accounts = accounts();
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    for (user, password) in [("app1", FIRST), ("app2", SECOND)] {
        let sql = format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'");
        cluster.node(0).exec(&sql).await.unwrap();
        cluster.node(0).exec(&format!("GRANT ALL ON app.* TO {user}@'%'")).await.unwrap();
    }
    let builder = SluiceProcess::builder(Path::new(SLUICE)).accounts(&accounts).toml(settings);
    let sluice = builder.start(&cluster).await.unwrap();
    (cluster, sluice)
}

async fn gone(sluice: &SluiceProcess) {
    let empty = || async { sluice.get("/sessions").await.is_ok_and(|answer| answer.body.trim() == "[]") };
    wait_until("the sessions to be over", Duration::from_secs(10), empty).await.unwrap();
}

/// Logs in without TLS, works, changes the user, works, and leaves. `look` sees the process while the first
/// password is in use.
async fn visit(sluice: &SluiceProcess, look: impl FnOnce()) {
    let address: SocketAddr = ([127, 0, 0, 1], sluice.ports().primary).into();
    assert_eq!(attempt(address, "app1", WRONG, None, CLIENT).await.error().0, 1045);
    let mut io = attempt(address, "app1", FIRST, Some("app"), CLIENT).await.result.unwrap();
    assert!(matches!(ask(&mut io, "SELECT 1").await, Answer::Rows { .. }));
    look();
    assert_eq!(change(&mut io, "app2", SECOND).await, None);
    assert!(matches!(ask(&mut io, "SELECT 1").await, Answer::Rows { .. }));
    io.set_sequence(0);
    io.write_packet(&[0x01]).await.unwrap();
    assert!(matches!(end(&mut io).await, Err(ReadError::Closed)));
    gone(sluice).await;
}

async fn end(io: &mut PacketStream) -> Result<(), ReadError> {
    io.read_packet(1 << 16).await.map(drop)
}

#[tokio::test]
async fn after_logout_no_copy_of_a_password_is_left() {
    let settings = "[login]\nretention = 'session'\n[tls.instance]\nmode = 'disabled'";
    let (_cluster, sluice) = one_node_and_sluice(settings).await;
    let pid = sluice.pid().unwrap();
    let mut while_in_use = 0;
    for _ in 0..5 {
        visit(&sluice, || while_in_use = count(pid, FIRST)).await;
    }
    assert!(while_in_use > 0, "the scan finds what is there");
    let left = [FIRST, SECOND, WRONG].map(|password| count(pid, password));
    assert_eq!(left, [0; 3], "copies left of both passwords and of a wrong one");
}

#[tokio::test]
async fn what_the_tls_library_leaves_of_a_password_is_as_documented() {
    let settings = "[login]\nretention = 'session'\n[tls.instance]\nmode = 'required'";
    let (cluster, sluice) = one_node_and_sluice(settings).await;
    let pid = sluice.pid().unwrap();
    for _ in 0..5 {
        visit(&sluice, || {}).await;
    }
    let left = [FIRST, SECOND, WRONG].map(|password| count(pid, password));
    println!("left after passwords went to an instance over TLS: {left:?}");
    assert_eq!(left, [0; 3], "the README says that nothing is left on the instance's side");

    // A client that tells its password over TLS.
    let program = cluster.mysqld().path().with_file_name("mysql");
    let port = format!("--port={}", sluice.ports().primary);
    for _ in 0..5 {
        let mut command = std::process::Command::new(&program);
        command.args(["--no-defaults", "--host=127.0.0.1", "--user=app1", "--ssl-mode=REQUIRED", &port]);
        command.env("MYSQL_PWD", FIRST).args(["--execute=SELECT 1"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    gone(&sluice).await;
    let left = count(pid, FIRST);
    println!("left after a client told its password over TLS: {left}");
    assert_eq!(left, 0, "the README says that nothing is left on the client's side");
}
