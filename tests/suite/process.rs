//! The whole process in front of a real cluster, as a user starts it.
//!
//! Never here: anything but the public face: the binary, its ports, its command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use sluice_cluster::{Accounts, Cluster, Login, SluiceProcess, wait_until};

/// How long anything may take that has to happen soon, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// The accounts that `sluice grants` prints, for the names that the harness gives them.
pub(crate) fn accounts() -> Accounts {
    let control = Login::new("sluice", "control-password");
    let replication = Login::new("repl", "replication-password");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    let text = format!(
        "[cluster]\nname = \"test\"\nstore = \"file://{}/store\"\n\
         [[instance]]\nname = \"db1\"\naddress = \"127.0.0.1:3306\"\n\
         [accounts.control]\nuser = \"{}\"\npassword = \"{}\"\n\
         [accounts.replication]\nuser = \"{}\"\npassword = \"{}\"\n\
         [listen]\nsplit = \"127.0.0.1:3309\"\n",
        folder.path().display(),
        control.user,
        control.password,
        replication.user,
        replication.password,
    );
    std::fs::write(&config, text).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&config, private).unwrap();
    let printed = run(&["grants", "--config", config.to_str().unwrap()]);
    assert!(printed.status.success(), "{printed:?}");
    let statements = String::from_utf8(printed.stdout).unwrap();
    let statements = statements
        .lines()
        .filter(|line| !line.starts_with("--") && !line.trim().is_empty())
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect();
    Accounts::new(control, replication, statements)
}

/// Runs the program with these arguments.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(SLUICE).args(arguments).env_remove("SLUICE_ADMIN").output().unwrap()
}

/// Runs a verb against a running Sluice.
pub(crate) fn verb(sluice: &SluiceProcess, arguments: &[&str]) -> Output {
    let admin = format!("http://127.0.0.1:{}", sluice.ports().admin);
    Command::new(SLUICE).args(arguments).env("SLUICE_ADMIN", admin).output().unwrap()
}

/// Three nodes that replicate, with Sluice's accounts, and a Sluice in front of them.
pub(crate) async fn three_nodes_and_sluice() -> (Cluster, SluiceProcess) {
    let accounts = accounts();
    let cluster = Cluster::three_nodes(&accounts).await.unwrap();
    let sluice = SluiceProcess::builder(Path::new(SLUICE)).accounts(&accounts).start(&cluster).await.unwrap();
    (cluster, sluice)
}

/// Waits until every replica replicates and serves reads.
pub(crate) async fn settled(sluice: &SluiceProcess) {
    let all_serve = || async {
        let Ok(response) = sluice.get("/status").await else { return false };
        let status: serde_json::Value = serde_json::from_str(&response.body).unwrap_or_default();
        let instances = status["instances"].as_array().cloned().unwrap_or_default();
        status["guarantee"].as_str().is_some_and(|guarantee| !guarantee.starts_with("none"))
            && instances.iter().all(|instance| {
                instance["role"] == "primary" || (instance["reads"] == "serving" && instance["acker"] == true)
            })
    };
    wait_until("all replicas serve", SOON, all_serve).await.unwrap();
}

/// A client of the application's account.
pub(crate) async fn client(port: u16) -> Conn {
    let app = Login::app();
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(app.user))
        .pass(Some(app.password))
        .db_name(Some("app"))
        .prefer_socket(false);
    Conn::new(options).await.unwrap()
}

#[tokio::test]
async fn everything_works_with_the_certificates_that_servers_make_for_themselves() {
    let accounts = accounts();
    let cluster = Cluster::three_nodes(&accounts).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let of_nodes =
        cluster.nodes().iter().map(|node| std::fs::read_to_string(node.datadir().join("ca.pem")).unwrap());
    std::fs::write(&ca, of_nodes.collect::<String>()).unwrap();
    let tls = format!("[tls.instance]\nmode = 'verify-ca'\nca = '{}'", ca.display());
    let builder = SluiceProcess::builder(Path::new(SLUICE)).accounts(&accounts).toml(&tls);
    let sluice = builder.start(&cluster).await.unwrap();
    settled(&sluice).await;
    let mut conn = client(sluice.ports().split).await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    for user in ["sluice", "app"] {
        let plain = format!(
            "SELECT CONCAT(SUM(s.variable_value <> ''), ' ', SUM(s.variable_value = '')) FROM \
             performance_schema.status_by_thread s JOIN performance_schema.threads t USING (thread_id) \
             WHERE s.variable_name = 'Ssl_version' AND t.processlist_user = '{user}'"
        );
        let counts: String = cluster.node(0).value(&plain).await.unwrap();
        assert!(!counts.starts_with('0') && counts.ends_with(" 0"), "{user}: encrypted and not: {counts}");
    }
    let idle = r#"sluice_backend_connections{instance="db1",state="idle"} 0"#;
    assert!(!sluice.get("/metrics").await.unwrap().body.contains(idle), "the client's waits for it");
    let switched = verb(&sluice, &["switchover", "--to", "db2"]);
    assert!(switched.status.success(), "{switched:?}");
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    drop(conn);
}

#[tokio::test]
async fn a_switchover_is_not_noticed_by_a_client() {
    let (cluster, sluice) = three_nodes_and_sluice().await;
    let mut conn = client(sluice.ports().split).await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    for (round, target) in ["db2", "db3", "db1"].into_iter().enumerate() {
        conn.query_drop(format!("INSERT INTO t VALUES ({round})")).await.unwrap();
        settled(&sluice).await;
        let switched = verb(&sluice, &["switchover", "--to", target]);
        let said = String::from_utf8_lossy(&switched.stdout).into_owned();
        println!("{said}");
        assert!(switched.status.success(), "{said}{}", String::from_utf8_lossy(&switched.stderr));
    }
    let rows: u64 = conn.query_first("SELECT COUNT(*) FROM t FOR UPDATE").await.unwrap().unwrap();
    assert_eq!(rows, 3);
    let status = verb(&sluice, &["status"]);
    println!("{}", String::from_utf8_lossy(&status.stdout));
    drop(conn);
    let exit = sluice.stop().await.unwrap();
    assert_eq!(exit, sluice_cluster::Exit::Code(0));
    drop(cluster);
}

#[tokio::test]
async fn asked_to_end_it_lets_transactions_finish_first() {
    let (cluster, sluice) = three_nodes_and_sluice().await;
    settled(&sluice).await;
    let (mut within, mut idle) = (client(sluice.ports().split).await, client(sluice.ports().split).await);
    within.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    within.query_drop("BEGIN").await.unwrap();
    within.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(sluice.get("/ready").await.unwrap().status, 200);
    sluice.begin_stop().unwrap();
    let not_ready = || async { sluice.get("/ready").await.is_ok_and(|answer| answer.status == 503) };
    wait_until("it says not ready", SOON, not_ready).await.unwrap();
    // The idle session is closed once the drain begins; the transaction goes on to its end.
    let closed = || async { sessions_left(&sluice).await == 1 };
    wait_until("only the transaction is left", SOON, closed).await.unwrap();
    assert!(idle.query_drop("SELECT 1").await.is_err());
    within.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
    within.query_drop("COMMIT").await.unwrap();
    let exit = sluice.wait_exit(SOON).await.unwrap();
    assert_eq!(exit, sluice_cluster::Exit::Code(0));
    assert_eq!(cluster.node(0).value::<u64>("SELECT COUNT(*) FROM app.t").await.unwrap(), 2);
}

async fn sessions_left(sluice: &SluiceProcess) -> usize {
    let answer = sluice.get("/sessions").await.unwrap();
    let sessions: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    sessions.as_array().map_or(0, Vec::len)
}
