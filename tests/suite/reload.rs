//! A changed configuration file, taken into the running process.
//!
//! Never here: a restart of the process under test.

mod members;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
use rustix::process::{Pid, Signal, kill_process};
use sluice::backend::{BackendLogin, Dialer, Secret, Target};
use sluice::config::InstanceTlsMode;
use sluice_cluster::{Cluster, Login, SluiceProcess, wait_until};

use sluice_protocol::auth::Password;
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;
use uuid::Uuid;

use crate::login::front::{CLIENT, Place, configuration};
use crate::process::{SLUICE, accounts, client, verb};

const SOON: Duration = Duration::from_secs(10);

async fn one_node_and_sluice() -> (Cluster, SluiceProcess) {
    let accounts = accounts();
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    let builder = SluiceProcess::builder(SLUICE).accounts(&accounts);
    let sluice = builder.toml("[sessions]\nmax_connections = 100").start(&cluster).await.unwrap();
    (cluster, sluice)
}

fn change(sluice: &SluiceProcess, from: &str, to: &str) {
    let text = std::fs::read_to_string(sluice.config()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(sluice.config(), text.replacen(from, to, 1)).unwrap();
}

/// What `sluice reload` says, and whether it was done.
fn reload(sluice: &SluiceProcess) -> (String, bool) {
    let output = verb(sluice, &["reload"]);
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.success())
}

fn as_app(sluice: &SluiceProcess, ssl: Option<SslOpts>) -> Opts {
    let app = Login::app();
    let port = sluice.ports().split;
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).prefer_socket(false);
    options.user(Some(app.user)).pass(Some(app.password)).ssl_opts(ssl).into()
}

fn as_app_login() -> BackendLogin {
    let app = Login::app();
    BackendLogin {
        user: app.user.into_bytes().into(),
        secret: Some(Secret::new(Password::new(app.password.into_bytes()))),
        identity: None,
        database: None,
        collation: 45,
        client_capabilities: CLIENT,
        attributes: Box::default(),
    }
}

async fn refused(sluice: &SluiceProcess) -> u16 {
    match Conn::new(as_app(sluice, None)).await {
        Err(mysql_async::Error::Server(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn settings_take_effect_for_newcomers_and_drop_nobody() {
    let (_cluster, sluice) = one_node_and_sluice().await;
    let mut before = client(sluice.ports().split).await;
    assert_eq!(
        reload(&sluice),
        ("nothing has changed; certificates and secrets were read again\n".into(), true)
    );

    let app = Login::app();
    change(&sluice, "[sessions]", &format!("[login]\ndeny_users = ['root', '{}']\n[sessions]", app.user));
    let (said, done) = reload(&sluice);
    assert!(done && said.contains("[login] deny_users") && said.contains("(in effect)"), "{said}");
    assert_eq!(refused(&sluice).await, 1045);
    assert_eq!(before.query_first("SELECT 7").await.unwrap(), Some(7), "nobody is dropped");

    change(&sluice, "deny_users = ", "allow = [{ user = 'other', from = ['192.0.2.0/24'] }]\ndeny_users = ");
    change(&sluice, &format!(", '{}'", app.user), "");
    change(&sluice, "max_connections = 100", "max_connections = 1");
    assert!(reload(&sluice).1);
    assert_eq!(refused(&sluice).await, 1040, "the one place is taken");
    assert_eq!(before.query_first("SELECT 8").await.unwrap(), Some(8));
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_a_restart_is_named() {
    let (_cluster, sluice) = one_node_and_sluice().await;
    let good = std::fs::read_to_string(sluice.config()).unwrap();
    change(&sluice, "[sessions]", "[login]\ndeny_users = ['app']\nmax_age = 'soon'\nfoo = 1\n[sessions]");
    let (said, done) = reload(&sluice);
    assert!(!done && said.contains("max_age") && said.contains("foo"), "every mistake: {said}");
    drop(client(sluice.ports().split).await);

    std::fs::write(sluice.config(), &good).unwrap();
    change(&sluice, "[sessions]", "[tls.client]\ncert = '/dev/null'\nkey = '/dev/null'\n[sessions]");
    let (said, done) = reload(&sluice);
    assert!(!done && said.contains("holds no certificate"), "{said}");

    std::fs::write(sluice.config(), &good).unwrap();
    change(&sluice, "[sessions]", "[switchover]\nhold = '7s'\n[sessions]");
    for _ in 0..2 {
        let (said, done) = reload(&sluice);
        assert!(done && said.contains("[switchover] hold: 10s -> 7s (NEEDS A RESTART)"), "{said}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_newcomers_after_sighup() {
    let (cluster, sluice) = one_node_and_sluice().await;
    let datadir = cluster.node(0).datadir();
    let store = tempfile::tempdir().unwrap();
    let address = ([127, 0, 0, 1], sluice.ports().split).into();
    let mut facing = configuration(&[Place { address, uuid: Uuid::nil() }], store.path());
    facing.tls_instance.mode = InstanceTlsMode::VerifyCa;
    facing.tls_instance.ca = Some(datadir.join("ca.pem"));
    // Sluice's own dialer is a client that knows the CA.
    let dialer = Dialer::new(&facing).unwrap();
    let connect = || async {
        let target = Target { instance: InstanceId(0), expected_uuid: None };
        dialer.connect(target, &as_app_login(), Instant::now() + SOON).await.map(drop)
    };
    let stranger = connect().await.unwrap_err().to_string();
    assert!(stranger.contains("not signed by"), "its self-made one is of another CA: {stranger}");
    let mut before =
        Conn::new(as_app(&sluice, Some(SslOpts::default().with_danger_accept_invalid_certs(true))))
            .await
            .unwrap();
    let (cert, key) = (datadir.join("server-cert.pem"), datadir.join("server-key.pem"));
    let tls = format!("[tls.client]\ncert = '{}'\nkey = '{}'\n[sessions]", cert.display(), key.display());
    change(&sluice, "[sessions]", &tls);
    let pid = Pid::from_raw(sluice.pid().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let shown = || async { connect().await.is_ok() };
    wait_until("the new certificate", SOON, shown).await.unwrap();
    assert_eq!(before.query_first("SELECT 7").await.unwrap(), Some(7), "who is there stays");
    let log = std::fs::read_to_string(sluice.log()).unwrap();
    assert!(log.contains("certificate for clients"), "{log}");
}

#[tokio::test]
async fn a_control_password_can_be_changed_while_running() {
    let (cluster, sluice) = one_node_and_sluice().await;
    let rotate = "ALTER USER sluice@'%' IDENTIFIED BY 'another-password' RETAIN CURRENT PASSWORD";
    cluster.node(0).exec(rotate).await.unwrap();
    change(&sluice, "control-password", "another-password");
    let (said, done) = reload(&sluice);
    assert!(done && said.contains("[accounts.control] password") && !said.contains("another"), "{said}");
    cluster.node(0).exec("ALTER USER sluice@'%' DISCARD OLD PASSWORD").await.unwrap();
    // The controller logs in anew after its sessions were ended.
    let ids: Vec<u64> = cluster
        .node(0)
        .rows("SELECT id FROM performance_schema.processlist WHERE user = 'sluice'")
        .await
        .unwrap();
    for id in ids {
        let _ = cluster.node(0).exec(&format!("KILL {id}")).await;
    }
    let reachable = || async {
        let logins: u64 = cluster
            .node(0)
            .value("SELECT COUNT(*) FROM performance_schema.processlist WHERE user = 'sluice'")
            .await
            .unwrap();
        logins > 0
    };
    wait_until("the controller is back", SOON, reachable).await.unwrap();
}
