//! One client program run twice, and what it saw differently.
//!
//! Never here: which clients there are, and which differences are as they should be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sluice_cluster::Mysqld;
use sluice_demo::stage::Stage;

use super::list::{Client, EVERY_CLIENT, KNOWN, Kind};

/// Fewer checks than this ran: something is wrong with the client, not with Sluice.
const FEWEST_CHECKS: usize = 20;
/// Must give rows; else nothing can be compared, however equal it looks.
const FIRST_CHECK: &str = "scalars";
/// Longest piece of one result in a message.
const EXCERPT: usize = 700;
/// `tests/clients/install` ends with it when something can't be had on this machine.
const UNAVAILABLE: i32 = 3;
/// What a client shows of a step that its driver has no call for.
const UNSUPPORTED: &str = "\"unsupported\"";
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

/// What one client saw directly and through Sluice.
pub(super) struct Comparison {
    /// The version of the driver, as it says itself.
    pub(super) version: String,
    /// How many checks ran.
    pub(super) checks: usize,
    /// How many of their steps the driver has no call for.
    pub(super) unsupported: usize,
    /// One text per check that differs.
    pub(super) differences: Vec<String>,
    /// Both runs.
    pub(super) took: Duration,
}

/// One run of a client.
struct Run {
    version: String,
    checks: BTreeMap<String, Vec<String>>,
}

/// Why a client was not run: it can't be had here.
pub(super) struct Skipped(pub(super) String);

/// Makes sure that the client is there.
pub(super) fn install(client: &Client) -> Result<(), Skipped> {
    let Some(part) = client.part else { return Ok(()) };
    let installed =
        Command::new(clients_folder().join("install")).arg(part).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&installed.stderr).trim().to_owned();
    if installed.status.code() == Some(UNAVAILABLE) {
        return Err(Skipped(said.lines().last().unwrap_or("no reason given").to_owned()));
    }
    assert!(installed.status.success(), "{}: {said}", client.name);
    Ok(())
}

/// Runs the checks against the primary itself and through the split port, both times from freshly made schemas.
pub(super) async fn compare(client: &'static Client, stage: &Stage) -> Comparison {
    let began = Instant::now();
    let mysqld = stage.cluster.mysqld();
    fresh_schemas(stage).await;
    let direct = run(client, mysqld.clone(), stage.cluster.node(0).port()).await;
    assert!(direct.checks.len() >= FEWEST_CHECKS, "{} ran only {} checks", client.name, direct.checks.len());
    assert_well(client, &direct);
    fresh_schemas(stage).await;
    let through = run(client, mysqld.clone(), stage.sluice.ports().split).await;
    let steps = direct.checks.values().flatten();
    Comparison {
        version: direct.version,
        checks: direct.checks.len(),
        unsupported: steps.filter(|result| result.as_str() == UNSUPPORTED).count(),
        differences: differences(client.name, &direct.checks, &through.checks),
        took: began.elapsed(),
    }
}

/// What is equal because it fails both times says nothing.
fn assert_well(client: &Client, direct: &Run) {
    let name = client.name;
    match client.kind {
        Kind::Driver => {
            let first = direct.checks.get(FIRST_CHECK).map(|results| results.join(", ")).unwrap_or_default();
            let connected = first.contains("rows") || first.contains("stdout");
            assert!(connected, "{name} can't even connect: {first}");
        }
        Kind::Framework => {
            let failed =
                direct.checks.iter().find(|(_, steps)| steps.iter().any(|step| step.contains("{\"error\"")));
            assert!(failed.is_none(), "{name} fails directly: {failed:?}");
        }
    }
}

/// Makes the schemas of the checks anew, everywhere.
pub(super) async fn fresh_schemas(stage: &Stage) {
    for statement in SCHEMAS {
        stage.cluster.node(0).exec(statement).await.unwrap();
    }
    stage.cluster.wait_caught_up(0).await.unwrap();
}

/// Runs a client's program against a port.
async fn run(client: &'static Client, mysqld: Mysqld, port: u16) -> Run {
    tokio::task::spawn_blocking(move || run_program(client, &mysqld, port)).await.unwrap()
}

/// The program of a client, to be run against a port.
pub(super) fn command(client: &Client, mysqld: &Mysqld, port: u16) -> Command {
    let program = match client.program.contains('/') {
        true => checkout().join(client.program),
        false => client.program.into(),
    };
    let fetched = mysqld.path().with_file_name("mysql");
    let mysql = if fetched.exists() { fetched } else { "mysql".into() };
    let mut command = Command::new(program);
    command
        .args(client.arguments)
        .args(["--port", &port.to_string(), "--password", "clients-password"])
        .current_dir(clients_folder())
        .env("MYSQL_CLIENT", mysql)
        .env("CHECKS_JSON", clients_folder().join("checks.json"))
        .env("NODE_PATH", checkout().join(".tools/node/node_modules"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

fn run_program(client: &Client, mysqld: &Mysqld, port: u16) -> Run {
    let mut command = command(client, mysqld, port);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} on port {port} ended with {}: {stderr}", client.name, output.status);
    let text = String::from_utf8(output.stdout).expect("results are UTF-8");
    let mut run = Run { version: String::new(), checks: BTreeMap::new() };
    text.lines().for_each(|line| run.read(line));
    run
}

impl Run {
    /// `{"version": TEXT}` once, `{"check": NAME, "result": [one per step]}` for each check.
    fn read(&mut self, line: &str) {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(version) = value["version"].as_str() {
            version.clone_into(&mut self.version);
            return;
        }
        let name = value["check"].as_str().expect("a check has a name").to_owned();
        let steps = value["result"].as_array().expect("a check has results");
        self.checks.insert(name, steps.iter().map(ToString::to_string).collect());
    }
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
        let known =
            KNOWN.iter().any(|(who, what, _)| (*who == client || *who == EVERY_CLIENT) && what == check);
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
