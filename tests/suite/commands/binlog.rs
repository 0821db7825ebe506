//! COM_REGISTER_REPLICA and COM_BINLOG_DUMP: a program that captures changes works through the primary and the replica
//! listener, and hinders no switchover.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sluice_cluster::{Cluster, Login, wait_until};
use sluice_demo::stage::Stage;
use sluice_protocol::{Answer, Capabilities, WireAppend};

use super::raw::{Raw, error, value_of};
use crate::data_path::{DataPath, three_nodes, topology};

const SOON: Duration = Duration::from_secs(20);
const GRANT: &str = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO";

/// `mysqlbinlog --read-from-remote-server --stop-never` with what it has printed so far.
struct Capture {
    child: std::process::Child,
    file: tempfile::NamedTempFile,
}

impl Capture {
    fn start(cluster: &Cluster, port: u16, log: &str) -> Self {
        let fetched = cluster.mysqld().path().with_file_name("mysqlbinlog");
        let program = if fetched.exists() { fetched } else { PathBuf::from("mysqlbinlog") };
        let file = tempfile::NamedTempFile::new().unwrap();
        let Login { user, password, .. } = Login::app();
        let child = Command::new(program)
            .args(["--no-defaults", "--read-from-remote-server", "--stop-never", "--verbose"])
            .args(["--host=127.0.0.1", "--protocol=tcp", "--get-server-public-key"])
            .args([format!("--port={port}"), format!("--user={user}"), log.to_owned()])
            .env("MYSQL_PWD", password)
            .stdin(Stdio::null())
            .stdout(file.reopen().unwrap())
            .stderr(file.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, file }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.file.path()).unwrap()).into_owned()
    }

    async fn sees(&self, what: &str) {
        let seen = wait_until(what, SOON, || async { self.text().contains(what) }).await;
        assert!(seen.is_ok(), "{what} is not in:\n{}", self.text());
    }

    async fn ended(&mut self) {
        let deadline = tokio::time::Instant::now() + SOON;
        while self.child.try_wait().unwrap().is_none() {
            assert!(tokio::time::Instant::now() < deadline, "it goes on:\n{}", self.text());
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn grant(cluster: &Cluster) {
    let name = Login::app().user;
    cluster.node(0).exec(&format!("{GRANT} '{name}'@'%'")).await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
}

#[tokio::test]
async fn com_binlog_dump_streams_through_the_primary_and_replica_listeners() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, Duration::from_secs(10));
    grant(&cluster).await;
    cluster.node(0).exec("CREATE TABLE app.seen (word VARCHAR(40))").await.unwrap();
    let log_of = async |node: usize| {
        let row: (String, u64, String, String, String) =
            cluster.node(node).rows("SHOW BINARY LOG STATUS").await.unwrap().remove(0);
        row.0
    };
    let mut of_primary = Capture::start(&cluster, path.primary_address().port(), &log_of(0).await);
    let of_replica = Capture::start(&cluster, path.replica_address().port(), &log_of(1).await);
    cluster.node(0).exec("INSERT INTO app.seen VALUES ('first-word')").await.unwrap();
    of_primary.sees("first-word").await;
    of_replica.sees("first-word").await;
    // Nobody waits for a stream, and a change of the primary ends the one of the former.
    let gate = path.feed.gate();
    assert_eq!((gate.open_units(), gate.pinned_sessions()), (0, 0));
    let streaming = path.feed.registry().all();
    assert!(streaming.iter().all(|entry| entry.activity().as_str() == "streaming"), "{streaming:?}");
    path.publisher.publish(topology(&cluster, 2, 1));
    of_primary.ended().await;
    cluster.node(0).exec("INSERT INTO app.seen VALUES ('second-word')").await.unwrap();
    of_replica.sees("second-word").await;
    drop(of_replica);
    wait_until("the session ends with its client", SOON, || async { path.feed.registry().is_empty() })
        .await
        .unwrap();
}

/// A dump command from `position` of `log`, without waiting at the end.
fn dump(log: &str, position: u32, flags: u16) -> Vec<u8> {
    let mut out = vec![0x12];
    out.push_u32(position);
    out.push_u16(flags);
    out.push_u32(4711);
    out.push_bytes(log.as_bytes());
    out
}

#[tokio::test]
async fn com_binlog_dump_has_its_limits() {
    let cluster = three_nodes().await;
    let path = DataPath::start(&cluster, Duration::from_secs(10));
    grant(&cluster).await;
    let mut split = Raw::connect(path.split_address(), Capabilities::empty()).await;
    for command in [dump("binlog.000001", 4, 0), vec![0x15, 1, 0, 0, 0], vec![0x1e, 0]] {
        let (code, text) = error(split.ask(&command).await);
        assert!(code == 1047 && text.contains("primary or replica port"), "{code} {text}");
    }
    assert_eq!(split.value("SELECT 1 + 1").await.as_deref(), Some("2"));
    let mut client = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    client.query("SET @rpl_semi_sync_replica = 1").await;
    let (code, text) = error(client.ask(&dump("binlog.000001", 4, 0)).await);
    assert!(code == 1047 && text.contains("semi-sync"), "{code} {text}");
    client.query("SET @rpl_semi_sync_replica = 0, @source_binlog_checksum = 'NONE'").await;
    assert_eq!(error(client.ask(&dump("no-such-log", 4, 0)).await).0, 1236);
    // A server closes the connection behind the end of a stream, and so do we.
    assert_eq!(client.io.fill().await.unwrap(), 0);
    let mut client = Raw::connect(path.primary_address(), Capabilities::empty()).await;
    client.query("SET @source_binlog_checksum = 'NONE'").await;
    let Answer::Rows { rows, .. } = client.query("SHOW BINARY LOG STATUS").await else { panic!("no rows") };
    let log = value_of(&rows, 0);
    client.send(&dump(&log, 4, 1)).await;
    let mut events = 0;
    let last = loop {
        let packet = client.packet().await;
        if packet[0] != 0 {
            break packet;
        }
        events += 1;
    };
    assert!(events > 2 && last[0] == 0xfe, "{events} events, then {}", last.escape_ascii());
    assert_eq!(client.io.fill().await.unwrap(), 0);
}

#[tokio::test]
async fn a_switchover_does_not_wait_for_a_stream() {
    let stage = Stage::start(Path::new(env!("CARGO_BIN_EXE_sluice")), Cluster::builder(), "").await.unwrap();
    grant(&stage.cluster).await;
    stage.cluster.node(0).exec("CREATE TABLE app.seen (word VARCHAR(40))").await.unwrap();
    let primary = SocketAddr::from(([127, 0, 0, 1], stage.sluice.ports().primary));
    let mut client = Raw::connect(primary, Capabilities::empty()).await;
    // What capturing programs ask first: the answer pins the session to its connection.
    client.query("SET @source_binlog_checksum = @@global.binlog_checksum").await;
    let Answer::Rows { rows, .. } = client.query("SHOW BINARY LOG STATUS").await else { panic!("no rows") };
    client.send(&dump(&value_of(&rows, 0), 4, 0)).await;
    assert_eq!(client.packet().await[0], 0, "an event");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let operation = stage.admin().switchover(None, Duration::from_secs(60)).await.unwrap();
        // Right after its start the cluster is still being set up.
        let early = operation.state == "refused" && format!("{:?}", operation.outcome).contains("ask again");
        if !early || tokio::time::Instant::now() > deadline {
            assert_eq!(operation.state, "done", "{:?}", operation.outcome);
            break;
        }
    }
    // The end of the stream comes behind its events.
    let last = loop {
        let packet = client.packet().await;
        if packet[0] == 0xff {
            break packet;
        }
    };
    assert_eq!(u16::from_le_bytes([last[1], last[2]]), 1053);
}
