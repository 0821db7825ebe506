//! The same client program directly and through Sluice must see the same.
//!
//! Each client runs `tests/clients/checks.json` twice on one cluster: against the primary itself and through the
//! split port, both times from freshly made schemas. Every line of output is compared. To add a client: a program
//! in `tests/clients` that prints the same lines, one entry in [`CLIENTS`], one test.
//!
//! Never here: forgiving a difference without naming it in [`KNOWN`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sluice_cluster::{Cluster, Mysqld};
use sluice_demo::stage::Stage;

/// Fewer checks than this ran: something is wrong with the client, not with Sluice.
const FEWEST_CHECKS: usize = 30;
/// Longest piece of one result in a message.
const EXCERPT: usize = 700;
/// Largest packet in the checks is below this, on servers and clients alike.
const PACKET: &str = "max_allowed_packet=64M";
/// The accounts of the checks, and what they may do.
const ACCOUNTS: [&str; 5] = [
    "CREATE USER clients@'%' IDENTIFIED BY 'clients-password'",
    "CREATE USER clients2@'%' IDENTIFIED BY 'clients-password'",
    "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, REFERENCES, CREATE TEMPORARY TABLES, \
     LOCK TABLES, CREATE ROUTINE, ALTER ROUTINE, EXECUTE ON clients.* TO clients@'%'",
    "GRANT SELECT ON clients_other.* TO clients@'%', clients2@'%'",
    "GRANT SELECT ON clients.t_allowed TO clients2@'%'",
];
/// What every run begins with.
const SCHEMAS: [&str; 8] = [
    "DROP DATABASE IF EXISTS clients",
    "DROP DATABASE IF EXISTS clients_other",
    "CREATE DATABASE clients",
    "CREATE DATABASE clients_other",
    "CREATE TABLE clients.t_allowed (a INT)",
    "CREATE TABLE clients.t_not_allowed (a INT)",
    "CREATE TABLE clients_other.t_only_here (a INT)",
    "INSERT INTO clients_other.t_only_here VALUES (7)",
];

/// How a client program is started.
struct Client {
    /// For people, and for [`KNOWN`].
    name: &'static str,
    /// Which part of `tests/clients/install` it needs.
    part: Option<&'static str>,
    /// The program, relative to the checkout if it has a `/`.
    program: &'static str,
    /// Its script in `tests/clients`.
    script: &'static str,
}

static CLIENTS: [Client; 4] = [
    Client { name: "mysql", part: None, program: "python3", script: "mysql_client.py" },
    Client {
        name: "PyMySQL",
        part: Some("python"),
        program: ".tools/python/bin/python",
        script: "pymysql_client.py",
    },
    Client {
        name: "mysql-connector-python",
        part: Some("python"),
        program: ".tools/python/bin/python",
        script: "connector_client.py",
    },
    Client { name: "mysql2", part: Some("node"), program: "node", script: "mysql2_client.js" },
];

/// Differences that are as they should be: client, check, why.
const KNOWN: [(&str, &str, &str); 0] = [];

#[tokio::test]
async fn the_mysql_program_sees_the_same() {
    compare("mysql").await;
}

#[tokio::test]
async fn pymysql_sees_the_same() {
    compare("PyMySQL").await;
}

#[tokio::test]
async fn mysql_connector_python_sees_the_same() {
    compare("mysql-connector-python").await;
}

#[tokio::test]
async fn mysql2_sees_the_same() {
    compare("mysql2").await;
}

async fn compare(name: &str) {
    let client = CLIENTS.iter().find(|client| client.name == name).unwrap();
    install(client);
    let plan = Cluster::builder().option(PACKET).option("local_infile=ON");
    let stage = Stage::start(Path::new(env!("CARGO_BIN_EXE_sluice")), plan, "").await.unwrap();
    let primary = stage.cluster.node(0);
    fresh_schemas(&stage).await;
    for statement in ACCOUNTS {
        primary.exec(statement).await.unwrap();
    }
    stage.cluster.wait_caught_up(0).await.unwrap();
    let mysqld = stage.cluster.mysqld();
    let direct = run(client, mysqld.clone(), primary.port()).await;
    assert!(direct.len() >= FEWEST_CHECKS, "{name} ran only {} checks", direct.len());
    fresh_schemas(&stage).await;
    stage.cluster.wait_caught_up(0).await.unwrap();
    let through = run(client, mysqld.clone(), stage.sluice.ports().split).await;
    let differences = differences(name, &direct, &through);
    if !differences.is_empty() {
        stage.cluster.keep_logs();
    }
    assert!(
        differences.is_empty(),
        "{name}: {} of {} checks differ through Sluice\n{}",
        differences.len(),
        direct.len(),
        differences.join("\n")
    );
}

async fn fresh_schemas(stage: &Stage) {
    for statement in SCHEMAS {
        stage.cluster.node(0).exec(statement).await.unwrap();
    }
}

fn install(client: &Client) {
    let Some(part) = client.part else { return };
    let installed =
        Command::new(clients_folder().join("install")).arg(part).stdin(Stdio::null()).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
}

/// Runs a client's script against a port; the results by check.
async fn run(client: &'static Client, mysqld: Mysqld, port: u16) -> BTreeMap<String, Vec<String>> {
    tokio::task::spawn_blocking(move || run_script(client, &mysqld, port)).await.unwrap()
}

fn run_script(client: &Client, mysqld: &Mysqld, port: u16) -> BTreeMap<String, Vec<String>> {
    let program = match client.program.contains('/') {
        true => checkout().join(client.program),
        false => client.program.into(),
    };
    let fetched = mysqld.path().with_file_name("mysql");
    let mysql = if fetched.exists() { fetched } else { "mysql".into() };
    let output = Command::new(&program)
        .arg(clients_folder().join(client.script))
        .args(["--port", &port.to_string(), "--password", "clients-password"])
        .env("MYSQL_CLIENT", mysql)
        .env("NODE_PATH", checkout().join(".tools/node/node_modules"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{} can't be run: {error}", program.display()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} on port {port} ended with {}: {stderr}", client.name, output.status);
    let text = String::from_utf8(output.stdout).expect("results are UTF-8");
    text.lines().map(parse).collect()
}

/// `{"check": NAME, "result": [one per step]}`
fn parse(line: &str) -> (String, Vec<String>) {
    let value: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let name = value["check"].as_str().expect("a check has a name").to_owned();
    let steps = value["result"].as_array().expect("a check has results");
    (name, steps.iter().map(ToString::to_string).collect())
}

/// One text for each check that differs, with the first step that does.
fn differences(
    client: &str,
    direct: &BTreeMap<String, Vec<String>>,
    through: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let mut texts = Vec::new();
    for (check, expected) in direct {
        let seen = through.get(check).map_or(&[][..], Vec::as_slice);
        let known = KNOWN.iter().any(|(who, what, _)| *who == client && what == check);
        if known || seen == expected {
            continue;
        }
        let step = expected.iter().zip(seen).position(|(one, other)| one != other).unwrap_or(seen.len());
        texts.push(format!(
            "{check}, step {step}\n  directly: {}\n  Sluice:   {}",
            from_difference(expected.get(step), seen.get(step)),
            from_difference(seen.get(step), expected.get(step))
        ));
    }
    texts
}

/// The part of a result around the first character that differs from the other one.
fn from_difference(result: Option<&String>, other: Option<&String>) -> String {
    let Some(result) = result else { return "nothing".into() };
    let same = other
        .map_or(0, |other| result.chars().zip(other.chars()).take_while(|(one, two)| one == two).count());
    result.chars().skip(same.saturating_sub(EXCERPT / 2)).take(EXCERPT).collect()
}

fn clients_folder() -> PathBuf {
    checkout().join("tests/clients")
}

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
