//! The same client program directly and through Sluice must see the same.
//!
//! Each client runs `tests/clients/checks.json` twice on one cluster: against the primary itself and through the
//! split port, both times from freshly made schemas. Every line of output is compared. The four clients that install
//! in seconds have a test of their own; `make test-clients` runs all of them and prints a table. To add a client: a
//! program in `tests/clients` that prints the same lines, and one entry in `clients/list.rs`.
//!
//! Never here: forgiving a difference (`clients/list.rs` does, with the reason), or counting a client that can't be had
//! on this machine as one that passed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

mod compare;
mod list;
mod under_work;

use std::path::Path;

use sluice_cluster::Cluster;
use sluice_demo::stage::Stage;

use compare::{Comparison, NotCompared, compare, fresh_schemas, install};
use list::{CLIENTS, Client};
use under_work::works_through_switchovers;

/// Largest packet in the checks is below this, on servers and clients alike.
const PACKET: &str = "max_allowed_packet=64M";
/// Names of the clients to run, separated by `;`; all if it is not set or empty.
const WHICH: &str = "SLUICE_CLIENTS";
/// Set to anything: a client that can't be had here does not fail the run. It is still named.
const MAY_SKIP: &str = "SLUICE_CLIENTS_MAY_SKIP";
/// The accounts of the checks, and what they may do.
const ACCOUNTS: [&str; 5] = [
    "CREATE USER clients@'%' IDENTIFIED BY 'clients-password'",
    "CREATE USER clients2@'%' IDENTIFIED BY 'clients-password'",
    "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, REFERENCES, CREATE TEMPORARY TABLES, \
     LOCK TABLES, CREATE ROUTINE, ALTER ROUTINE, EXECUTE ON clients.* TO clients@'%'",
    "GRANT SELECT ON clients_other.* TO clients@'%', clients2@'%'",
    "GRANT SELECT ON clients.t_allowed TO clients2@'%'",
];

#[tokio::test]
async fn the_mysql_program_sees_the_same() {
    sees_the_same("mysql").await;
}

#[tokio::test]
async fn pymysql_sees_the_same() {
    sees_the_same("PyMySQL").await;
}

#[tokio::test]
async fn mysql_connector_python_sees_the_same() {
    sees_the_same("mysql-connector-python").await;
}

#[tokio::test]
async fn mysql2_sees_the_same() {
    sees_the_same("mysql2").await;
}

#[tokio::test]
async fn sqlalchemy_and_alembic_see_the_same() {
    sees_the_same("SQLAlchemy").await;
}

#[tokio::test]
async fn sequelize_sees_the_same() {
    sees_the_same("Sequelize").await;
}

#[tokio::test]
async fn sqlalchemy_works_through_switchovers() {
    works("SQLAlchemy").await;
}

#[tokio::test]
async fn sequelize_works_through_switchovers() {
    works("Sequelize").await;
}

async fn works(name: &str) {
    let client = installed(name);
    let stage = stage().await;
    works_through_switchovers(client, &stage).await;
}

fn installed(name: &str) -> &'static Client {
    let client = named(name);
    match install(client) {
        Ok(()) => client,
        Err(NotCompared::Unavailable(reason)) => panic!("{name} can't be had: {reason}"),
        Err(NotCompared::Failed(reason)) => panic!("{name} can't be installed: {reason}"),
    }
}

async fn sees_the_same(name: &str) {
    let client = installed(name);
    let stage = stage().await;
    let seen = match compare(client, &stage).await {
        Ok(seen) => seen,
        Err(NotCompared::Unavailable(reason) | NotCompared::Failed(reason)) => panic!("{name}: {reason}"),
    };
    if !seen.differences.is_empty() {
        stage.cluster.keep_logs();
    }
    assert!(
        seen.differences.is_empty(),
        "{name}: {} of {} checks differ through Sluice\n{}",
        seen.differences.len(),
        seen.checks,
        seen.differences.join("\n")
    );
}

/// Everything in `clients/list.rs`, one after the other through one Sluice, with a table at the end.
#[tokio::test]
#[ignore = "downloads about 250 MB the first time; make test-clients runs it"]
async fn every_client_sees_the_same() {
    let which = std::env::var(WHICH).unwrap_or_default();
    let chosen: Vec<&Client> = match which
        .split(';')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(named)
        .collect::<Vec<_>>()
    {
        all if all.is_empty() => CLIENTS.iter().collect(),
        some => some,
    };
    let stage = stage().await;
    let mut outcomes = Vec::new();
    for client in chosen {
        let outcome = match install(client) {
            Ok(()) => compare(client, &stage).await,
            Err(reason) => Err(reason),
        };
        report(client, &outcome);
        outcomes.push((client, outcome));
    }
    print_table(&outcomes);
    let failed = names(&outcomes, |outcome| match outcome {
        Ok(seen) => !seen.differences.is_empty(),
        Err(NotCompared::Failed(_)) => true,
        Err(NotCompared::Unavailable(_)) => false,
    });
    let skipped = names(&outcomes, |outcome| matches!(outcome, Err(NotCompared::Unavailable(_))));
    if !failed.is_empty() {
        stage.cluster.keep_logs();
    }
    assert!(failed.is_empty(), "of {} clients failed: {failed:?}; skipped: {skipped:?}", outcomes.len());
    assert!(
        skipped.is_empty() || std::env::var_os(MAY_SKIP).is_some(),
        "SKIPPED, so nothing is known about them: {skipped:?} (set {MAY_SKIP} to accept that)"
    );
}

/// What came of one client.
type Outcome = Result<Comparison, NotCompared>;

fn names(outcomes: &[(&Client, Outcome)], which: impl Fn(&Outcome) -> bool) -> Vec<&'static str> {
    outcomes.iter().filter(|(_, outcome)| which(outcome)).map(|(client, _)| client.name).collect()
}

/// What is worth saying while the rest still runs.
fn report(client: &Client, outcome: &Outcome) {
    match outcome {
        Ok(seen) => {
            let equal = seen.equal();
            eprintln!("{}: {equal} of {} checks equal, {:.0?}", client.name, seen.checks, seen.took);
            seen.explained
                .iter()
                .for_each(|check| eprintln!("{}: {check} differs as explained", client.name));
            seen.differences.iter().for_each(|text| eprintln!("{}: {text}", client.name));
        }
        Err(NotCompared::Unavailable(reason)) => eprintln!("!!! {} SKIPPED: {reason}", client.name),
        Err(NotCompared::Failed(reason)) => eprintln!("!!! {} FAILED: {reason}", client.name),
    }
}

fn print_table(outcomes: &[(&Client, Outcome)]) {
    eprintln!(
        "\n{:<26} {:>6} {:>6} {:>9} {:>11} {:>7}  version",
        "client", "checks", "equal", "explained", "no call for", "seconds"
    );
    for (client, outcome) in outcomes {
        let name = client.name;
        match outcome {
            Ok(seen) => {
                let (checks, equal, explained) = (seen.checks, seen.equal(), seen.explained.len());
                let (unsupported, seconds, version) = (seen.unsupported, seen.took.as_secs(), &seen.version);
                eprintln!(
                    "{name:<26} {checks:>6} {equal:>6} {explained:>9} {unsupported:>11} {seconds:>7}  {version}"
                );
            }
            Err(NotCompared::Unavailable(reason)) => eprintln!("{name:<26} SKIPPED: {reason}"),
            Err(NotCompared::Failed(reason)) => eprintln!("{name:<26} FAILED: {reason}"),
        }
    }
}

/// Servers, accounts and Sluice, to try a client by hand.
#[tokio::test]
#[ignore = "stays until its standard input ends; make clients-stage runs it"]
async fn a_stage_to_try_clients_on() {
    let stage = stage().await;
    let ports = stage.sluice.ports();
    eprintln!(
        "a server: {}, Sluice: split {}, primary {}",
        stage.cluster.node(0).port(),
        ports.split,
        ports.primary
    );
    eprintln!("user clients, password clients-password, schema clients; the end of standard input ends it");
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await
        .unwrap()
        .unwrap();
}

async fn stage() -> Stage {
    let plan = Cluster::builder().option(PACKET).option("local_infile=ON");
    let stage = Stage::start(Path::new(env!("CARGO_BIN_EXE_sluice")), plan, "").await.unwrap();
    fresh_schemas(&stage).await.unwrap();
    for statement in ACCOUNTS {
        stage.cluster.node(0).exec(statement).await.unwrap();
    }
    stage
}

fn named(name: &str) -> &'static Client {
    CLIENTS.iter().find(|client| client.name == name).unwrap_or_else(|| panic!("no client is called {name}"))
}
