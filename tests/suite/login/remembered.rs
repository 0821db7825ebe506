//! Logins that need no server, because one has said yes to the same a short while ago: what they show must be
//! what a server shows, and what was changed meanwhile must be noticed within `max_age`.
//!
//! Never here: a wait for time to pass; only for what has to happen within it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sluice_cluster::{Cluster, SluiceProcess, wait_until};
use sluice_protocol::{Answer, Capabilities};

use super::front::{CLIENT, Front, attempt};
use super::passwords::{connections, setting};
use super::{FAST, ask, change, one_node};
use crate::process::{SLUICE, accounts};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_known_login_asks_no_server_and_looks_like_the_servers() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (config, places) = setting(&cluster, store.path(), |_| {});
    let front = Front::start(&config, &places).await;
    let server: SocketAddr = cluster.node(0).address().into();
    let plain = Capabilities::CONNECT_ATTRS | Capabilities::DEPRECATE_EOF;
    for capabilities in [CLIENT, plain, CLIENT | Capabilities::MULTI_STATEMENTS] {
        for database in [None, Some("app")] {
            let direct = attempt(server, "app", "right", database, capabilities).await;
            let cold = attempt(front.address, "app", "right", database, capabilities).await;
            assert!(cold.result.is_ok(), "{cold:?}");
            let before = connections(cluster.node(0)).await;
            let mut warm = Vec::new();
            for _ in 0..20 {
                warm.push(attempt(front.address, "app", "right", database, capabilities).await);
            }
            let asked = connections(cluster.node(0)).await - before - 1;
            assert_eq!(asked, 0, "{capabilities:?} {database:?}");
            assert!(warm.iter().all(|seen| seen.steps == FAST), "{warm:?}");
            for seen in warm.iter().chain([&cold]) {
                assert_eq!(seen.welcome, direct.welcome, "{capabilities:?} {database:?}");
            }
            let Some(Ok(mut io)) = warm.pop().map(|seen| seen.result) else { panic!("not let in") };
            let Answer::Rows { rows, .. } = ask(&mut io, "SELECT DATABASE()").await else {
                panic!("no rows")
            };
            assert_eq!(rows[0][0].as_deref(), database.map(str::as_bytes));
        }
    }
    for database in ["nowhere", "mysql"] {
        let direct = attempt(server, "app", "right", Some(database), CLIENT).await.error();
        let through = attempt(front.address, "app", "right", Some(database), CLIENT).await.error();
        assert_eq!(through, direct, "an unknown schema is a server's matter");
    }
}

#[tokio::test]
async fn what_was_changed_behind_its_back_is_noticed_within_max_age() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (config, places) =
        setting(&cluster, store.path(), |config| config.login.max_age = Duration::from_secs(2));
    let front = Front::start(&config, &places).await;
    let server: SocketAddr = cluster.node(0).address().into();
    let login = |address: SocketAddr, database: Option<&'static str>| {
        attempt(address, "app", "right", database, CLIENT)
    };
    for (change, undo, database) in [
        ("DROP DATABASE app", "CREATE DATABASE app", Some("app")),
        ("REVOKE ALL ON app.* FROM app@'%'", "GRANT ALL ON app.* TO app@'%'", Some("app")),
        ("ALTER USER app@'%' ACCOUNT LOCK", "ALTER USER app@'%' ACCOUNT UNLOCK", None),
        ("ALTER USER app@'%' PASSWORD EXPIRE", "ALTER USER app@'%' IDENTIFIED BY 'right'", None),
    ] {
        assert!(login(front.address, database).await.result.is_ok(), "before {change}");
        cluster.node(0).exec(change).await.unwrap();
        let direct = login(server, database).await.error();
        let noticed = || async { login(front.address, database).await.result.is_err() };
        wait_until(change, config.login.max_age, noticed).await.unwrap();
        assert_eq!(login(front.address, database).await.error(), direct, "{change}");
        cluster.node(0).exec(undo).await.unwrap();
        assert!(login(front.address, database).await.result.is_ok(), "after {undo}");
    }
}

async fn one_node_and_sluice(settings: &str) -> (Cluster, SluiceProcess, SocketAddr) {
    let accounts = accounts();
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    for sql in [
        "CREATE USER chief@'%' IDENTIFIED BY 'chief'",
        "GRANT ALL ON *.* TO chief@'%' WITH GRANT OPTION",
        "CREATE USER worker@'%' IDENTIFIED BY 'right'",
        "GRANT ALL ON app.* TO worker@'%'",
    ] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    let builder = SluiceProcess::builder(Path::new(SLUICE)).accounts(&accounts).toml(settings);
    let sluice = builder.start(&cluster).await.unwrap();
    let address = ([127, 0, 0, 1], sluice.ports().split).into();
    (cluster, sluice, address)
}

#[tokio::test]
async fn what_is_changed_through_sluice_holds_for_the_next_login() {
    let (_cluster, _sluice, address) = one_node_and_sluice("").await;
    let chief = attempt(address, "chief", "chief", None, CLIENT).await;
    let mut chief = chief.result.unwrap();
    for sql in ["CREATE DATABASE IF NOT EXISTS app", "CREATE DATABASE extra"] {
        assert!(matches!(ask(&mut chief, sql).await, Answer::Ok(_)), "{sql}");
    }
    let login = |password: &'static str, schema: &'static str| {
        attempt(address, "worker", password, Some(schema), CLIENT)
    };
    assert!(login("right", "app").await.result.is_ok());
    for (sql, code) in [
        ("REVOKE ALL ON app.* FROM worker@'%'", Some(1044)),
        ("GRANT ALL ON app.* TO worker@'%'", None),
        ("DROP SCHEMA app", Some(1049)),
        ("CREATE SCHEMA app", None),
        ("ALTER USER worker@'%' IDENTIFIED BY 'newer'", Some(1045)),
    ] {
        assert!(!matches!(ask(&mut chief, sql).await, Answer::Error(_)), "{sql}");
        let error = login("right", "app").await.result.err().map(|error| error.code);
        assert_eq!(error, code, "{sql}");
    }
    assert!(login("newer", "app").await.result.is_ok());
    // What a new session begins with is the server's of now, too.
    assert!(matches!(ask(&mut chief, "SET GLOBAL sql_mode = 'ANSI_QUOTES'").await, Answer::Ok(_)));
    let mut fresh = login("newer", "app").await.result.unwrap();
    let Answer::Rows { rows, .. } = ask(&mut fresh, "SELECT @@sql_mode").await else { panic!("no rows") };
    assert_eq!(rows[0][0].as_deref(), Some(&b"ANSI_QUOTES"[..]));
}

#[tokio::test]
async fn more_clients_are_let_in_than_there_may_be_connections() {
    let (cluster, _sluice, address) = one_node_and_sluice("[sessions]\nmax_backend = 2").await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(attempt(address, "worker", "right", Some("app"), CLIENT).await.result.unwrap());
    }
    let open = "SELECT COUNT(*) FROM performance_schema.processlist WHERE user = 'worker'";
    let few = || async { cluster.node(0).value::<u64>(open).await.unwrap() <= 2 };
    wait_until("connections within the limit", SOON, few).await.unwrap();
    for client in &mut clients {
        let Answer::Rows { rows, .. } = ask(client, "SELECT DATABASE(), USER()").await else {
            panic!("no rows")
        };
        assert_eq!(rows[0][0].as_deref(), Some(&b"app"[..]));
        // Back to the same user, without a server.
        assert_eq!(change(client, "worker", "right").await, None);
    }
}

/// Clients that log in at once, and for how long each way is measured at a time.
const CLIENTS: usize = 8;
const WINDOW: Duration = Duration::from_secs(3);

/// Logins per second of [`CLIENTS`] clients that say `then` and leave.
async fn rate(address: SocketAddr, then: Option<&'static str>) -> f64 {
    let begun = tokio::time::Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let mut logins = 0u32;
            while begun.elapsed() < WINDOW {
                let mut io = attempt(address, "worker", "right", Some("app"), CLIENT).await.result.unwrap();
                if let Some(sql) = then {
                    assert!(matches!(ask(&mut io, sql).await, Answer::Rows { .. }));
                }
                io.set_sequence(0);
                io.write_packet(&[0x01]).await.unwrap();
                logins += 1;
            }
            logins
        });
    }
    let logins: u32 = clients.join_all().await.into_iter().sum();
    f64::from(logins) / begun.elapsed().as_secs_f64()
}

/// `SLUICE_BINARIES=a:b` measures these, in turn with a server itself.
#[tokio::test]
#[ignore = "a measurement"]
async fn logins_per_second() {
    let accounts = accounts();
    let cluster = Cluster::builder().nodes(1).max_connections(400).start().await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    for sql in ["CREATE USER worker@'%' IDENTIFIED BY 'right'", "GRANT ALL ON app.* TO worker@'%'"] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    // One Sluice at a time has the cluster, and each finds the record of the one before.
    let store = tempfile::tempdir().unwrap();
    let binaries = std::env::var("SLUICE_BINARIES").unwrap_or_else(|_| SLUICE.to_owned());
    let mut ways = vec![("direct".to_owned(), SocketAddr::from(cluster.node(0).address()), None)];
    for binary in binaries.split(':') {
        let builder = SluiceProcess::builder(Path::new(binary)).accounts(&accounts).store(store.path());
        ways.push((binary.to_owned(), SocketAddr::from(([127, 0, 0, 1], 0)), Some(builder)));
    }
    for round in 1..=3 {
        for (name, address, builder) in &ways {
            let sluice = match builder {
                Some(builder) => Some(builder.clone().start(&cluster).await.unwrap()),
                None => None,
            };
            let address =
                sluice.as_ref().map_or(*address, |sluice| ([127, 0, 0, 1], sluice.ports().split).into());
            for then in [None, Some("SELECT 1")] {
                let rate = rate(address, then).await;
                println!("round {round}: {rate:8.0} logins/s {name} {}", then.unwrap_or_default());
            }
        }
    }
}
