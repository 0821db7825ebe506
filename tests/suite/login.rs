//! Logins through Sluice, held against what the server itself says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

pub(crate) mod front;
mod memory;
mod passwords;
mod relayed;
mod remembered;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice::backend::{BackendLogin, DialError, Dialer, Phase, Secret, Target};
use sluice::config::{ClientTlsMode, InstanceTlsMode, Retention};
use sluice::control_login::ControlLogin;
use sluice::controller::{Servers, SqlError};
use sluice::session::login::LoginEnd;
use sluice_cluster::Cluster;
use sluice_protocol::auth::Password;
use sluice_protocol::command::build;
use sluice_protocol::{Answer, AnswerLimits, AnswerReader, Capabilities};
use sluice_routing::topology::InstanceId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use uuid::Uuid;

use front::{CLIENT, Front, Place, attempt, configuration};

/// What a full login over RSA looks like: asked for the password, given the key, OK.
const FULL: [u16; 3] = [0x0104, 0x012d, 0x0000];
/// What a remembered login looks like.
const FAST: [u16; 2] = [0x0103, 0x0000];

async fn one_node() -> Cluster {
    let cluster = Cluster::builder().nodes(1).max_connections(30).start().await.unwrap();
    for sql in [
        "CREATE DATABASE app",
        "CREATE USER app@'%' IDENTIFIED BY 'right'",
        "GRANT ALL ON app.* TO app@'%'",
        "CREATE USER expired@'%' IDENTIFIED BY 'right' PASSWORD EXPIRE",
        "CREATE USER locked@'%' IDENTIFIED BY 'right' ACCOUNT LOCK",
        "CREATE USER nobody@'%' IDENTIFIED BY ''",
        "CREATE USER root@'%' IDENTIFIED BY 'right'",
        "CREATE USER sluice@'%' IDENTIFIED BY 'right'",
    ] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    cluster
}

fn as_app(password: &str) -> BackendLogin {
    BackendLogin {
        user: (*b"app").into(),
        secret: Some(Secret::new(Password::new(password.as_bytes().to_vec()))),
        identity: None,
        database: Some((*b"app").into()),
        collation: 45,
        client_capabilities: CLIENT,
        attributes: Box::default(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[tokio::test]
async fn cold_warm_and_wrong_logins_look_like_the_servers() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let server: SocketAddr = cluster.node(0).address().into();
    let front = Front::start(&configuration(&places, store.path()), &places).await;
    let sluice = front.address;

    let cold = attempt(sluice, "app", "right", Some("app"), CLIENT).await;
    assert!(cold.result.is_ok(), "{cold:?}");
    assert_eq!(cold.steps, FULL);
    let warm = attempt(sluice, "app", "right", Some("app"), CLIENT).await;
    assert!(warm.result.is_ok(), "{warm:?}");
    assert_eq!(warm.steps, FAST);

    let can_expire = CLIENT | Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS;
    for (user, password, database, code) in [
        ("app", "wrong", None, 1045),
        ("app", "", None, 1045),
        ("app", "right", Some("nowhere"), 1044),
        ("nobody", "", Some("nowhere"), 1044),
        ("nobody", "x", None, 1045),
        ("stranger", "right", None, 1045),
        ("locked", "right", None, 3118),
        ("expired", "right", None, 1862),
        ("expired", "wrong", None, 1045),
    ] {
        let direct = attempt(server, user, password, database, CLIENT).await.error();
        let through = attempt(sluice, user, password, database, CLIENT).await.error();
        assert_eq!(through, direct, "{user} {password} {database:?}");
        assert_eq!(through.0, code, "{user} {password} {database:?}");
    }
    // The wrong passwords have not pushed the right one out.
    assert_eq!(attempt(sluice, "app", "right", None, CLIENT).await.steps, FAST);
    assert!(attempt(sluice, "nobody", "", None, CLIENT).await.result.is_ok());

    let mut sandboxed = attempt(sluice, "expired", "right", None, can_expire).await.result.unwrap();
    assert!(matches!(ask(&mut sandboxed, "SELECT 1").await, Answer::Error(error) if error.code == 1820));
    let changed = ask(&mut sandboxed, "ALTER USER USER() IDENTIFIED BY 'new'").await;
    assert!(matches!(changed, Answer::Ok(_)), "{changed:?}");
    assert!(attempt(sluice, "expired", "new", None, CLIENT).await.result.is_ok());
}

async fn ask(io: &mut sluice::backend::PacketStream, sql: &str) -> Answer {
    io.set_sequence(0);
    io.write_packet(&build::query(sql.as_bytes(), CLIENT)).await.unwrap();
    answer(io).await
}

async fn answer(io: &mut sluice::backend::PacketStream) -> Answer {
    let mut reader = AnswerReader::new(AnswerLimits::default());
    loop {
        let (used, answer) = reader.advance(io.buffer()).unwrap();
        io.consume(used);
        if let Some(answer) = answer {
            return answer;
        }
        assert_ne!(io.fill().await.unwrap(), 0, "closed");
    }
}

#[tokio::test]
async fn an_old_password_dies_with_its_change() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut config = configuration(&places, store.path());
    config.login.max_age = Duration::from_secs(2);
    let front = Front::start(&config, &places).await;
    assert!(attempt(front.address, "app", "right", None, CLIENT).await.result.is_ok());
    cluster.node(0).exec("ALTER USER app@'%' IDENTIFIED BY 'newer'").await.unwrap();
    let changed = Instant::now();
    loop {
        let begun = Instant::now();
        match attempt(front.address, "app", "right", None, CLIENT).await.result {
            Ok(_) => assert!(begun - changed <= config.login.max_age, "{:?}", begun - changed),
            Err(error) => break assert_eq!(error.code, 1045),
        }
    }
    let new = attempt(front.address, "app", "newer", None, CLIENT).await;
    assert_eq!((new.steps, new.result.is_ok()), (FULL.to_vec(), true));
    let old = attempt(front.address, "app", "right", None, CLIENT).await;
    assert_eq!((old.steps.clone(), old.error().0), (FULL[..2].to_vec(), 1045));
    assert_eq!(attempt(front.address, "app", "newer", None, CLIENT).await.steps, FAST);
}

#[tokio::test]
async fn denied_accounts_never_reach_the_server() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut front = Front::start(&configuration(&places, store.path()), &places).await;
    let before: (String, u64) = cluster.node(0).value("SHOW GLOBAL STATUS LIKE 'Connections'").await.unwrap();
    for user in ["root", "'root'", "sluice", "repl"] {
        let (code, state, text) = attempt(front.address, user, "right", None, CLIENT).await.error();
        assert_eq!((code, &*state), (1045, "28000"), "{user}");
        assert_eq!(text, format!("Access denied for user '{user}'@'127.0.0.1' (using password: YES)"));
        assert_eq!(front.end().await, LoginEnd::Denied);
    }
    let after: (String, u64) = cluster.node(0).value("SHOW GLOBAL STATUS LIKE 'Connections'").await.unwrap();
    assert_eq!(after.1, before.1 + 1, "only the question itself connects");
}

#[tokio::test]
async fn clients_that_talk_nonsense_are_told_so_and_cost_the_server_nothing() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut front = Front::start(&configuration(&places, store.path()), &places).await;
    let before: (String, u64) = cluster.node(0).value("SHOW GLOBAL STATUS LIKE 'Connections'").await.unwrap();
    for (nonsense, end) in [
        (&b""[..], LoginEnd::Closed),
        (b"GET / HTTP/1.1\r\n\r\n", LoginEnd::BadHandshake),
        (b"\x05\0\0\x01hello", LoginEnd::BadHandshake),
        (b"\xff\xff\xff\x01", LoginEnd::BadHandshake),
        (b"\x20\0\0\x01", LoginEnd::Network),
    ] {
        let mut tcp = TcpStream::connect(front.address).await.unwrap();
        tcp.write_all(nonsense).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut seen = Vec::new();
        // A reset after the last bytes is as good an end as any.
        let _ = tcp.read_to_end(&mut seen).await;
        assert_eq!(front.end().await, end, "{nonsense:?}");
        let told = String::from_utf8_lossy(&seen).contains("#08S01Bad handshake");
        assert_eq!(told, end == LoginEnd::BadHandshake, "{nonsense:?} {seen:?}");
    }
    let after: (String, u64) = cluster.node(0).value("SHOW GLOBAL STATUS LIKE 'Connections'").await.unwrap();
    assert_eq!(after.1, before.1 + 1);
}

#[tokio::test]
async fn limits_on_either_side_are_1040() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut config = configuration(&places, store.path());
    config.sessions.max_connections = 2;
    let mut front = Front::start(&config, &places).await;
    let first = attempt(front.address, "app", "right", None, CLIENT).await.result.unwrap();
    let second = attempt(front.address, "app", "right", None, CLIENT).await.result.unwrap();
    let third = attempt(front.address, "app", "right", None, CLIENT).await;
    assert_eq!(third.error(), (1040, String::new(), "Too many connections".to_owned()));
    assert_eq!(front.end().await, LoginEnd::TooManyConnections);
    drop(first);
    let freed = || async { attempt(front.address, "app", "right", None, CLIENT).await.result.is_ok() };
    sluice_cluster::wait_until("the place to be free", Duration::from_secs(5), freed).await.unwrap();
    drop(second);

    cluster.node(0).exec("SET GLOBAL max_connections = 1").await.unwrap();
    config.sessions.max_connections = 50;
    config.login.retention = Retention::None;
    let front = Front::start(&config, &places).await;
    let mut held = Vec::new();
    let error = loop {
        let seen = attempt(front.address, "app", "right", None, CLIENT).await;
        match seen.result {
            Ok(client) => held.push(client),
            Err(error) => break error,
        }
        assert!(held.len() < 40);
    };
    assert_eq!((error.code, error.sql_state), (1040, Some(*b"08004")));
}

#[tokio::test]
async fn tls_works_and_may_be_demanded() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut config = configuration(&places, store.path());
    config.tls_client.mode = ClientTlsMode::Required;
    config.tls_instance.mode = InstanceTlsMode::Required;
    let mut front = Front::start(&config, &places).await;
    let (code, _, text) = attempt(front.address, "app", "right", None, CLIENT).await.error();
    assert_eq!(code, 3159, "{text}");
    assert_eq!(front.end().await, LoginEnd::TlsRequired);

    // Sluice's own dialer is a client like any other.
    let mut facing = configuration(&places, store.path());
    facing.instances[0].address = front.address.to_string().into();
    facing.tls_instance.mode = InstanceTlsMode::Required;
    let dialer = Dialer::new(&facing).unwrap();
    let target = Target { instance: InstanceId(0), expected_uuid: Some(cluster.node(0).uuid()) };
    for _ in ["cold", "warm"] {
        let mut connection = dialer.connect(target, &as_app("right"), soon()).await.unwrap();
        assert!(connection.io.stream().is_tls());
        assert!(connection.version.ends_with("-sluice"), "{}", connection.version);
        assert_eq!(&*connection.account, b"app");
        let Answer::Rows { rows, .. } = ask(&mut connection.io, "SHOW STATUS LIKE 'Ssl_cipher'").await else {
            panic!("no rows");
        };
        assert_ne!(rows[0][1].as_deref(), Some(&b""[..]), "the instance's side has TLS too");
    }
    let wrong = dialer.connect(target, &as_app("wrong"), soon()).await.unwrap_err();
    assert!(matches!(wrong, DialError::Server(error) if error.code == 1045));
}

#[tokio::test]
async fn the_mysql_program_logs_in_over_tls_and_over_rsa() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut front = Front::start(&configuration(&places, store.path()), &places).await;
    let program = cluster.mysqld().path().with_file_name("mysql");
    let run = |options: &'static [&'static str]| {
        let mut command = std::process::Command::new(&program);
        command.args([
            "--no-defaults",
            "--host=127.0.0.1",
            "--user=app",
            "--password=right",
            "--batch",
            "-N",
        ]);
        command.arg(format!("--port={}", front.address.port())).args(options);
        command.args(["--execute=SELECT 7; SHOW STATUS LIKE 'Ssl_version'", "app"]);
        tokio::task::spawn_blocking(move || command.output())
    };
    // Without TLS and without the server's key the program gives up, as it does with a cold server.
    let refused = run(&["--ssl-mode=DISABLED"]).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("2061"), "{text}");
    for options in [
        &["--ssl-mode=DISABLED", "--get-server-public-key"][..],
        &["--ssl-mode=DISABLED"],
        &["--ssl-mode=REQUIRED", "--tls-version=TLSv1.2"],
        &["--ssl-mode=REQUIRED", "--tls-version=TLSv1.3"],
    ] {
        let output = run(options).await.unwrap().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.starts_with("7\n"), "{options:?}: {out} {err}");
    }
    assert_eq!(front.end().await, LoginEnd::Closed);
    let aborted: (String, u64) =
        cluster.node(0).value("SHOW GLOBAL STATUS LIKE 'Aborted_clients'").await.unwrap();
    assert_eq!(aborted.1, 0, "every connection has said goodbye");
}

#[tokio::test]
async fn a_certificate_is_checked_as_the_mode_says() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let target = Target { instance: InstanceId(0), expected_uuid: None };
    let mut config = configuration(&places, store.path());
    let datadir = cluster.node(0).datadir();
    for (mode, ca, verdict) in [
        (InstanceTlsMode::VerifyCa, "ca.pem", None),
        (InstanceTlsMode::VerifyCa, "server-cert.pem", None),
        (InstanceTlsMode::VerifyCa, "client-cert.pem", Some("not signed by")),
        (InstanceTlsMode::VerifyIdentity, "ca.pem", Some("verify-ca")),
    ] {
        config.tls_instance.mode = mode;
        config.tls_instance.ca = Some(datadir.join(ca));
        let result = Dialer::new(&config).unwrap().connect(target, &as_app("right"), soon()).await;
        match (result, verdict) {
            (Ok(_), None) => {}
            (Err(DialError::Tls(text)), Some(part)) => assert!(text.contains(part), "{text}"),
            (result, verdict) => panic!("{mode:?} {ca}: {result:?}, not {verdict:?}"),
        }
        // The controller's sessions are held to the same; its password is wrong here, which is heard behind TLS.
        let control = ControlLogin::new(&config);
        match (control.log_in(&config.instances[0].address).await.map(drop), verdict) {
            (Err(SqlError::Server { code: 1045, .. }), None) => {}
            (Err(SqlError::Lost(text)), Some(part)) => assert!(text.contains(part), "{text}"),
            (result, verdict) => panic!("control, {mode:?} {ca}: {result:?}, not {verdict:?}"),
        }
    }
    config.tls_instance.ca = Some(datadir.join("server-key.pem"));
    assert!(Dialer::new(&config).unwrap_err().to_string().contains("no certificate"));
}

#[tokio::test]
async fn another_user_may_take_over_the_connection() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut front = Front::start(&configuration(&places, store.path()), &places).await;
    for (user, password, code) in
        [("app", "right", None), ("app", "wrong", Some(1045)), ("root", "right", Some(1045))]
    {
        let mut io = attempt(front.address, "nobody", "", None, CLIENT).await.result.unwrap();
        let error = change(&mut io, user, password).await;
        assert_eq!(error, code, "{user} {password}");
        if error.is_none() {
            let Answer::Rows { rows, .. } = ask(&mut io, "SELECT CURRENT_USER(), DATABASE()").await else {
                panic!("no rows");
            };
            assert_eq!(rows[0], [Some(b"app@%".to_vec()), Some(b"app".to_vec())]);
        } else {
            assert_eq!(io.fill().await.unwrap(), 0, "the session ends");
            front.end().await;
        }
    }
}

/// COM_CHANGE_USER as a client does it; the error's number if there is one.
async fn change(io: &mut sluice::backend::PacketStream, user: &str, password: &str) -> Option<u16> {
    use sluice_protocol::auth::{ChannelSecurity, ClientStep, Nonce};
    use sluice_protocol::handshake::{Greeting, LoginRequest, client::change_user};
    let password = Password::new(password.as_bytes().to_vec());
    let request = LoginRequest {
        user: user.as_bytes(),
        credential: &password.into(),
        database: Some(b"app"),
        capabilities: CLIENT,
        collation: 45,
        max_packet: 1 << 24,
        attributes: &[],
    };
    let greeting = Greeting::new("9", 1, Nonce::from_random([1; 20]), CLIENT, 45);
    let agreed = Greeting::REQUIRED | CLIENT;
    let (payload, mut auth) = change_user(&request, &greeting, agreed, ChannelSecurity::Plain);
    io.set_sequence(0);
    io.write_packet(&payload).await.unwrap();
    loop {
        let packet = io.read_packet(1 << 16).await.unwrap();
        match auth.on(&packet.payload).unwrap() {
            ClientStep::Send { payload, next } => {
                io.write_packet(&payload).await.unwrap();
                auth = next;
            }
            ClientStep::Wait(next) => auth = next,
            ClientStep::Done(_) => return None,
            ClientStep::Refused(error) => return Some(error.code),
        }
    }
}

/// An address that accepts and never says a word.
async fn black_hole() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

#[tokio::test]
async fn a_silent_primary_is_given_up_and_a_replica_asked() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (silent, _listener) = black_hole().await;
    let places = [Place { address: silent, uuid: Uuid::nil() }, Place::of(cluster.node(0))];
    let config = configuration(&places, store.path());
    let dialer = Arc::new(Dialer::new(&config).unwrap());
    let target = Target { instance: InstanceId(0), expected_uuid: None };
    let deadline = Instant::now() + Duration::from_millis(200);
    let error = dialer.connect(target, &as_app("right"), deadline).await.unwrap_err();
    assert!(matches!(error, DialError::Deadline { phase: Phase::Greeting }), "{error}");

    let front = Front::start(&config, &places).await;
    let begun = Instant::now();
    assert!(attempt(front.address, "app", "right", None, CLIENT).await.result.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn without_any_instance_a_login_fails_unless_it_is_fresh_in_memory() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut front = Front::start(&configuration(&places, store.path()), &places).await;
    assert!(attempt(front.address, "app", "right", None, CLIENT).await.result.is_ok());
    cluster.node(0).kill().await.unwrap();
    assert!(attempt(front.address, "app", "right", None, CLIENT).await.result.is_ok(), "remembered");
    let (code, state, _) = attempt(front.address, "app", "other", None, CLIENT).await.error();
    assert_eq!((code, &*state), (1053, "08S01"));
    assert_eq!(front.end().await, LoginEnd::NoInstance);
}

#[tokio::test]
async fn another_server_at_the_address_gets_no_client() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place { uuid: Uuid::from_u128(1), ..Place::of(cluster.node(0)) }];
    let config = configuration(&places, store.path());
    let target = Target { instance: InstanceId(0), expected_uuid: Some(Uuid::from_u128(1)) };
    let error = Dialer::new(&config).unwrap().connect(target, &as_app("right"), soon()).await.unwrap_err();
    assert!(matches!(error, DialError::WrongServer { found, .. } if found == cluster.node(0).uuid()));
    let front = Front::start(&config, &places).await;
    assert_eq!(attempt(front.address, "app", "right", None, CLIENT).await.error().0, 1053);
}

#[tokio::test]
async fn permits_bound_the_connections_to_an_instance() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let mut config = configuration(&places, store.path());
    config.sessions.max_backend = 1;
    let dialer = Dialer::new(&config).unwrap();
    let target = Target { instance: InstanceId(0), expected_uuid: None };
    let mut held = dialer.connect(target, &as_app("right"), soon()).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = dialer.connect(target, &as_app("right"), deadline).await.unwrap_err();
    assert!(matches!(error, DialError::Busy), "{error}");

    let Answer::Ok(ok) = ask(&mut held.io, "SET time_zone='+01:00', sql_mode=''").await else { panic!() };
    assert_eq!(ok.changes.system_variables.len(), 2, "{ok:?}");
    assert_eq!(held.io.idle(), sluice::backend::Idle::Quiet);
    cluster.node(0).exec(&format!("KILL {}", held.thread_id)).await.unwrap();
    let ended = || std::future::ready(held.io.idle() == sluice::backend::Idle::Closed);
    sluice_cluster::wait_until("the end to be seen", Duration::from_secs(5), ended).await.unwrap();
    drop(held);
    dialer.connect(target, &as_app("right"), soon()).await.unwrap();
}
