//! The harness held to its word, on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use sluice_cluster::{
    Accounts, Boot, Cluster, ClusterError, Durability, Login, Respawn, SluiceProcess, wait_until,
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn three_nodes_replicate_what_the_application_writes() {
    let begun = Instant::now();
    let cluster = Cluster::builder().start().await.unwrap();
    let started = begun.elapsed();
    cluster.setup_replication(0, &Accounts::replication_only()).await.unwrap();
    eprintln!("three nodes: started {started:?}, replicating {:?}", begun.elapsed());

    let mut app = cluster.node(0).conn(&Login::app(), "app").await.unwrap();
    app.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    app.query_drop("INSERT INTO t VALUES (7)").await.unwrap();
    app.disconnect().await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    for replica in cluster.nodes().iter().skip(1) {
        assert_eq!(replica.value::<u32>("SELECT id FROM app.t").await.unwrap(), 7);
        assert_eq!(replica.value::<(u8, u8)>("SELECT @@read_only, @@super_read_only").await.unwrap(), (1, 1));
        let acks = "SELECT @@rpl_semi_sync_replica_enabled, @@rpl_semi_sync_source_enabled";
        assert_eq!(replica.value::<(u8, u8)>(acks).await.unwrap(), (1, 0));
    }
    let status = "SELECT VARIABLE_VALUE FROM performance_schema.global_status \
                  WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_status'";
    assert_eq!(cluster.node(0).value::<String>(status).await.unwrap(), "ON");
    let seen = cluster.node(1).value::<String>("SELECT @@server_uuid").await.unwrap();
    assert_eq!(seen, cluster.node(1).uuid().to_string());
}

#[tokio::test]
async fn a_node_is_killed_stopped_restarted_frozen_and_thawed() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let node = cluster.node(0);
    node.exec("SET PERSIST max_connections = 123").await.unwrap();
    let (port, first) = (node.port(), node.pid().unwrap());

    node.kill().await.unwrap();
    assert_eq!(node.pid(), None, "nobody starts it again");
    assert!(node.kill().await.is_err());
    node.start().await.unwrap();
    assert_ne!(node.pid().unwrap(), first);
    assert_eq!(node.value::<u16>("SELECT @@port").await.unwrap(), port);
    assert_eq!(node.value::<u32>("SELECT @@max_connections").await.unwrap(), 123, "SET PERSIST is read");

    node.restart().await.unwrap();
    node.freeze().await.unwrap();
    let look = tokio::time::timeout(Duration::from_millis(200), node.value::<u8>("SELECT 1"));
    assert!(look.await.is_err(), "a frozen server does not answer");
    node.thaw().await.unwrap();
    assert_eq!(node.value::<u8>("SELECT 1").await.unwrap(), 1);

    node.set_respawn(Respawn::Always);
    let life = node.lives();
    node.kill().await.unwrap();
    wait_until("the supervisor to start it again", SOON, || async { node.lives() > life }).await.unwrap();
    node.wait_ready().await.unwrap();
    node.stop().await.unwrap();
    assert_eq!(node.pid(), None, "a stop is a stop");
}

#[tokio::test]
async fn restart_and_clone_come_back_by_themselves() {
    let builder = Cluster::builder().nodes(2).boot(Boot::Fenced).durability(Durability::Relaxed);
    let cluster = builder.start().await.unwrap();
    let (donor, recipient) = (cluster.node(0), cluster.node(1));
    assert_eq!(donor.value::<(u8, u8)>("SELECT @@super_read_only, @@read_only").await.unwrap(), (1, 1));

    let life = donor.lives();
    donor.exec("RESTART").await.unwrap();
    donor.wait_ended(life, SOON).await.unwrap();
    donor.wait_ready().await.unwrap();
    donor.exec("SET GLOBAL super_read_only = OFF").await.unwrap();
    donor.exec("SET GLOBAL read_only = OFF").await.unwrap();
    donor.exec("CREATE DATABASE cloned").await.unwrap();
    donor.exec("CREATE USER c@'%' IDENTIFIED BY 'c'").await.unwrap();
    donor.exec("GRANT BACKUP_ADMIN ON *.* TO c@'%'").await.unwrap();

    let life = recipient.lives();
    let source = donor.address().to_string();
    recipient.exec(&format!("SET GLOBAL clone_valid_donor_list = '{source}'")).await.unwrap();
    recipient.exec("SET GLOBAL super_read_only = OFF").await.unwrap();
    recipient.exec("SET GLOBAL read_only = OFF").await.unwrap();
    let (host, port) = source.split_once(':').unwrap();
    recipient.exec(&format!("CLONE INSTANCE FROM c@'{host}':{port} IDENTIFIED BY 'c'")).await.unwrap();
    recipient.wait_ended(life, SOON).await.unwrap();
    recipient.wait_ready().await.unwrap();
    assert_eq!(recipient.value::<String>("SHOW DATABASES LIKE 'cloned'").await.unwrap(), "cloned");
    assert_eq!(recipient.gtid_executed().await.unwrap(), donor.gtid_executed().await.unwrap());
    let uuid: String = recipient.value("SELECT @@server_uuid").await.unwrap();
    assert_eq!(uuid, recipient.uuid().to_string(), "a clone keeps its own identity");
}

#[tokio::test]
async fn a_server_that_can_not_start_says_why() {
    let error = Cluster::builder().nodes(1).option("no_such_setting=1").start().await.unwrap_err();
    assert!(matches!(error, ClusterError::Died { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_sluice_that_ends_at_once_says_why_and_one_left_running_ends_with_its_cluster() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let accounts = Accounts::new(Login::new("sluice", "p"), Login::new("repl", "p"), Vec::new());
    let binary = |name: &str, text: &str| script(&cluster.folder().join(name), text);

    let refusing = binary("refusing", "#!/bin/sh\necho \"stale record: $*\" >&2\nexit 1\n");
    let sluice = SluiceProcess::builder(refusing).accounts(&accounts).prepare(&cluster).unwrap();
    let error = sluice.start().await.unwrap_err();
    assert!(error.to_string().contains("stale record: run --config="), "{error}");
    let config = fs::read_to_string(sluice.config()).unwrap();
    assert!(config.contains(&cluster.node(0).admin_address().to_string()), "{config}");

    let lasting = binary("lasting", "#!/bin/sh\nmkfifo \"$0.fifo\"\nread -r never <\"$0.fifo\"\n");
    let sluice = SluiceProcess::builder(lasting).accounts(&accounts).prepare(&cluster).unwrap();
    sluice.launch().unwrap();
    let process = format!("/proc/{}", sluice.pid().unwrap());
    let folder = cluster.folder().to_owned();
    wait_until("the script to run", SOON, || async { folder.join("lasting.fifo").exists() }).await.unwrap();
    drop(cluster);
    wait_until("sluice to be gone", SOON, || async { !Path::new(&process).exists() }).await.unwrap();
    assert!(!folder.exists());
}

#[test]
fn fetch_refuses_mariadb_and_old_servers_by_name() {
    let place = tempfile::tempdir().unwrap();
    let fetch = fs::canonicalize("../../deploy/mysql/fetch").unwrap();
    let says = |banner: &str| {
        let mysqld = script(&place.path().join("mysqld"), &format!("#!/bin/sh\necho '{banner}'\n"));
        let output = Command::new(&fetch).env("SLUICE_MYSQLD", &mysqld).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), words)
    };
    for (banner, why) in [
        ("mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu", "is MariaDB"),
        ("mysqld  Ver 8.0.16 for Linux on x86_64 (MySQL Community Server - GPL)", "older than 8.0.17"),
        ("hello", "not a MySQL server"),
    ] {
        let (code, path, words) = says(banner);
        assert_eq!((code, path.as_str()), (Some(1), ""), "{words}");
        assert!(words.contains(why), "{words}");
    }
    let (code, path, words) = says("mysqld  Ver 8.0.17 for Linux on x86_64 (MySQL Community Server - GPL)");
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(Path::new(path.trim_end()), place.path().join("mysqld"));
}

/// On PATH a MariaDB is passed over, and what an earlier run downloaded is used.
#[test]
fn fetch_passes_over_a_mariadb_on_path() {
    let place = tempfile::tempdir().unwrap();
    let [fetch, fetched, stamp] =
        ["deploy/mysql/fetch", ".mysql/bin/mysqld", ".mysql/stamp"].map(|name| place.path().join(name));
    for file in [&fetch, &fetched] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    fs::copy("../../deploy/mysql/fetch", &fetch).unwrap();
    script(&fetched, "#!/bin/sh\n");
    fs::write(stamp, "9.7.4\n").unwrap();
    script(&place.path().join("mysqld"), "#!/bin/sh\necho mysqld Ver 11.4.2-MariaDB\n");
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(&fetch).env("PATH", path).env_remove("SLUICE_MYSQLD").output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("not used") && words.contains("MariaDB"), "{words}");
    assert_eq!(Path::new(String::from_utf8_lossy(&output.stdout).trim_end()), fetched);
}

/// Writes an executable script. `cp` sets it in place, so that no other thread's fork holds it open for writing.
fn script(path: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Command::new("cp").arg(&draft).arg(path).status().unwrap().success());
    path.to_owned()
}

/// Not a test by itself: what the next one starts and kills.
#[tokio::test]
#[ignore = "run by a_killed_owner_leaves_nothing_behind"]
async fn owner_to_be_killed() {
    let cluster = Cluster::builder().nodes(2).start().await.unwrap();
    cluster.node(1).freeze().await.unwrap();
    println!("cluster {}", cluster.folder().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing_behind() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "owner_to_be_killed"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let folder =
        lines.filter_map(|line| line.split_once("cluster ").map(|(_, path)| PathBuf::from(path))).next();
    let folder = folder.expect("the owner names its folder");
    assert!(folder.exists());
    assert_eq!(servers_of(&folder), 2);
    owner.kill().unwrap(); // SIGKILL
    owner.wait().unwrap();
    wait_until("processes and folder to be gone", SOON, || async {
        servers_of(&folder) == 0 && !folder.exists()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_dropped_cluster_is_gone_at_once_and_a_kept_one_when_its_script_ran() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let folder = cluster.folder().to_owned();
    drop(cluster);
    assert!(!folder.exists());
    assert_eq!(servers_of(&folder), 0);

    let kept = Cluster::builder().nodes(1).start().await.unwrap().keep().unwrap();
    assert_eq!(servers_of(&kept.folder), 1);
    assert!(Command::new(&kept.stop).status().unwrap().success());
    assert!(!kept.folder.exists());
    assert_eq!(servers_of(&kept.folder), 0);
}

/// Running processes whose defaults file is inside `folder`.
fn servers_of(folder: &Path) -> usize {
    let wanted = format!("--defaults-file={}/", folder.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let command_line = |process: fs::DirEntry| fs::read(process.path().join("cmdline")).unwrap_or_default();
    processes
        .filter(|_| true)
        .map(command_line)
        .filter(|line| String::from_utf8_lossy(line).contains(&wanted))
        .count()
}
