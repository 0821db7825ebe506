//! The compressed protocol with the `mysql` program, and what only other programs do.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use sluice_cluster::{Accounts, Cluster, Login};
use sluice_protocol::compression::Algorithm;
use sluice_protocol::packet::MAX_FRAME_PAYLOAD;
use sluice_protocol::{Capabilities, frame_payload};

use super::raw::{Raw, first};
use crate::data_path::{DataPath, caught_up_topology};

/// 100 MiB: a table of 1600 rows of 64 KiB.
const ROWS: usize = 1600;

/// Runs the `mysql` program with statements on its standard input.
async fn mysql(cluster: &Cluster, port: u16, options: &[&str], statements: String) -> Output {
    let fetched = cluster.mysqld().path().with_file_name("mysql");
    let program = if fetched.exists() { fetched } else { PathBuf::from("mysql") };
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let run = move || {
        let Login { user, password, .. } = Login::app();
        let mut child = Command::new(program)
            .args(["--no-defaults", "--host=127.0.0.1", "--protocol=tcp", "--batch", "--skip-column-names"])
            .args(["--max-allowed-packet=256M", "--get-server-public-key"])
            .arg(format!("--port={port}"))
            .arg(format!("--user={user}"))
            .args(options)
            .arg("app")
            .env("MYSQL_PWD", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, statements.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        output
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn text(cluster: &Cluster, port: u16, options: &[&str], statements: &str) -> String {
    let output = mysql(cluster, port, options, statements.to_owned()).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn the_mysql_program_compresses_with_zlib_and_zstd() {
    let plan = Cluster::builder().option("max_allowed_packet=256M");
    let cluster = plan.start().await.unwrap();
    cluster.setup_replication(0, &Accounts::replication_only()).await.unwrap();
    // Nobody looks at the primary here, so a read after one of its variables (each client's first words) would
    // wait for a look that never comes.
    let path = DataPath::start_with(&cluster, Duration::from_secs(10), "freshness = \"off\"");
    let node = cluster.node(0);
    node.exec("CREATE TABLE app.big (id INT PRIMARY KEY AUTO_INCREMENT, v MEDIUMTEXT)").await.unwrap();
    node.exec("SET SESSION cte_max_recursion_depth = 10000").await.unwrap();
    let rows = "INSERT INTO app.big (v) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 800) \
         SELECT REPEAT(CONCAT(i, '-', RAND()), 4000) FROM n";
    for _ in 0..ROWS / 800 {
        node.exec(rows).await.unwrap();
    }
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let port = path.split_address().port();
    let sum = "SELECT SUM(CRC32(v)) + SUM(LENGTH(v)) FROM big";
    let expected = text(&cluster, port, &[], sum).await;
    for algorithm in ["zlib", "zstd", "zstd,zlib", "zlib,uncompressed"] {
        let chosen = format!("--compression-algorithms={algorithm}");
        for more in [&[][..], &["--zstd-compression-level=19"], &["--ssl-mode=DISABLED"]] {
            let options = [&[chosen.as_str()][..], more].concat();
            assert_eq!(text(&cluster, port, &options, "SELECT 1 + 1").await, "2", "{options:?}");
            assert_eq!(text(&cluster, port, &options, sum).await, expected, "{options:?}");
        }
        let options = [chosen.as_str()];
        let whole = mysql(&cluster, port, &options, "SELECT v FROM big".to_owned()).await;
        assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
        let lines = whole.stdout.split(|&byte| byte == b'\n').count() - 1;
        assert_eq!(lines, ROWS, "{algorithm}");
        assert!(whole.stdout.len() > 100 << 20, "{algorithm}: {}", whole.stdout.len());
        // A packet of 17 MiB each way, of bytes that pack badly and of bytes that pack well.
        let long: String =
            (0..(17u32 << 20) / 8).map(|at| format!("{:08x}", at.wrapping_mul(0x9e37_79b9))).collect();
        let echoed = text(&cluster, port, &options, &format!("SELECT '{long}'")).await;
        assert!(echoed == long, "{algorithm}: {} of {} bytes came back", echoed.len(), long.len());
        let long = "x".repeat(17 << 20);
        let echoed = text(&cluster, port, &options, &format!("SELECT '{long}'")).await;
        assert!(echoed == long, "{algorithm}");
        let many: String = (0..2000).map(|number| format!("SELECT {number};\n")).collect();
        assert_eq!(text(&cluster, port, &options, &many).await.lines().count(), 2000);
    }
}

/// As MariaDB's client library writes commands of 16 MiB and more.
#[tokio::test]
async fn frames_within_packed_ones_may_have_any_number() {
    let cluster = Cluster::builder().option("max_allowed_packet=64M").start().await.unwrap();
    cluster.setup_replication(0, &Accounts::replication_only()).await.unwrap();
    let path = DataPath::start(&cluster, Duration::from_secs(10));
    path.publisher.publish(caught_up_topology(&cluster, 1, 0).await);
    let mut client = Raw::connect(path.split_address(), Capabilities::COMPRESS).await;
    client.io = client.io.compressed(Algorithm::Zlib).unwrap();
    for extra in [0, 1, 2 * MAX_FRAME_PAYLOAD] {
        let begin = "\x03SELECT LENGTH('";
        let long = "x".repeat(MAX_FRAME_PAYLOAD - begin.len() - 2 + extra);
        let command = format!("{begin}{long}')");
        client.io.set_sequence(0);
        let mut frames = BytesMut::new();
        frame_payload(&mut frames, &mut 0, command.as_bytes());
        for at in (0..frames.len()).step_by(MAX_FRAME_PAYLOAD + 4) {
            frames[at + 3] = 0;
        }
        client.io.write_all(&frames).await.unwrap();
        client.io.flush().await.unwrap();
        assert_eq!(first(client.answer().await), Some(long.len().to_string()));
    }
}
