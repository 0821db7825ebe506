//! One client program run twice, and what it saw differently.
//!
//! Never here: which clients there are, and which differences are as they should be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sluice_cluster::{ClusterError, Mysqld};
use sluice_demo::stage::Stage;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::list::{Client, KNOWN, Kind};

/// Fewer checks than this ran: something is wrong with the client, not with Sluice.
const FEWEST_CHECKS: usize = 20;
/// Must give rows; else nothing can be compared, however equal it looks.
const FIRST_CHECK: &str = "scalars";
/// One run of all checks, which takes seconds, on a busy machine: a client that hangs must not hang the others' runs.
const RUN_DEADLINE: Duration = Duration::from_secs(240);
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
    /// Names of the checks that differ and are in the list of differences with a reason.
    pub(super) explained: Vec<String>,
    /// One text per other check that differs.
    pub(super) differences: Vec<String>,
    /// Both runs.
    pub(super) took: Duration,
}

impl Comparison {
    /// How many checks gave the same, nothing forgiven.
    pub(super) fn equal(&self) -> usize {
        self.checks - self.explained.len() - self.differences.len()
    }
}

/// One run of a client.
#[derive(Default)]
struct Run {
    version: String,
    checks: BTreeMap<String, Vec<String>>,
    last: String,
}

/// Why nothing was compared.
pub(super) enum NotCompared {
    /// The client can't be had on this machine.
    Unavailable(String),
    /// It was not installed, did not run to its end, or saw nothing that could be compared.
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> NotCompared {
    NotCompared::Failed(error.to_string())
}

/// Makes sure that the client is there.
pub(super) fn install(client: &Client) -> Result<(), NotCompared> {
    let Some(part) = client.part else { return Ok(()) };
    let mut command = Command::new(clients_folder().join("install"));
    let installed = command.arg(part).stdin(Stdio::null()).output().map_err(failed)?;
    let said = String::from_utf8_lossy(&installed.stderr).trim().to_owned();
    if installed.status.code() == Some(UNAVAILABLE) {
        return Err(NotCompared::Unavailable(said.lines().last().unwrap_or("no reason given").to_owned()));
    }
    if !installed.status.success() {
        return Err(failed(said));
    }
    Ok(())
}

/// Runs the checks against the primary itself and through the split port, both times from freshly made schemas.
pub(super) async fn compare(client: &Client, stage: &Stage) -> Result<Comparison, NotCompared> {
    let began = Instant::now();
    let mysqld = stage.cluster.mysqld();
    fresh_schemas(stage).await.map_err(failed)?;
    let direct = run(client, mysqld, stage.cluster.node(0).port()).await;
    let direct =
        direct.and_then(|run| well(client, run)).map_err(|text| failed(format!("directly: {text}")))?;
    fresh_schemas(stage).await.map_err(failed)?;
    let through = run(client, mysqld, stage.sluice.ports().split).await;
    let through = through.map_err(|text| failed(format!("through Sluice: {text}")))?;
    let steps = direct.checks.values().flatten();
    let (explained, differences) = differences(client.name, &direct.checks, &through.checks);
    Ok(Comparison {
        version: direct.version,
        checks: direct.checks.len(),
        unsupported: steps.filter(|result| result.as_str() == UNSUPPORTED).count(),
        explained,
        differences,
        took: began.elapsed(),
    })
}

/// What is equal because it fails both times says nothing.
fn well(client: &Client, direct: Run) -> Result<Run, String> {
    let first = direct.checks.get(FIRST_CHECK).map(|results| results.join(", ")).unwrap_or_default();
    let bad = match client.kind {
        Kind::Driver if first.contains("rows") || first.contains("stdout") => None,
        Kind::Driver => Some(format!("it can't even connect: {first}")),
        Kind::Framework => direct
            .checks
            .iter()
            .find(|(_, steps)| steps.iter().any(|step| step.contains("{\"error\"")))
            .map(|error| format!("an error where none should be: {error:?}")),
    };
    match bad {
        Some(bad) => Err(bad),
        None if direct.checks.len() < FEWEST_CHECKS => Err(format!("only {} checks", direct.checks.len())),
        None => Ok(direct),
    }
}

/// Makes the schemas of the checks anew, everywhere.
pub(super) async fn fresh_schemas(stage: &Stage) -> Result<(), ClusterError> {
    for statement in SCHEMAS {
        stage.cluster.node(0).exec(statement).await?;
    }
    stage.cluster.wait_caught_up(0).await
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

/// Runs a client's program against a port, to its end or its deadline.
async fn run(client: &Client, mysqld: &Mysqld, port: u16) -> Result<Run, String> {
    let mut command = tokio::process::Command::from(command(client, mysqld, port));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{command:?} can't be run: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut run, mut said) = (Run::default(), Vec::new());
    let talk = async {
        let mut lines = BufReader::new(stdout.ok_or("no output")?).lines();
        let mut errors = stderr.ok_or("no error output")?;
        let results = async {
            while let Some(line) = lines.next_line().await.map_err(|error| error.to_string())? {
                run.read(&line)?;
            }
            Ok(())
        };
        let (results, _) = tokio::join!(results, errors.read_to_end(&mut said));
        results.and(child.wait().await.map_err(|error| error.to_string()))
    };
    let ended: Result<Result<_, String>, _> = tokio::time::timeout(RUN_DEADLINE, talk).await;
    let (last, said) = (&run.last, String::from_utf8_lossy(&said));
    match ended {
        Ok(Ok(status)) if status.success() => Ok(run),
        Ok(Ok(status)) => Err(format!("it ended with {status} after check {last:?}: {said}")),
        Ok(Err(error)) => Err(format!("after check {last:?}: {error} {said}")),
        Err(_) => Err(format!("it hangs after check {last:?} ({RUN_DEADLINE:?}) {said}")),
    }
}

impl Run {
    /// `{"version": TEXT}` once, `{"check": NAME, "result": [one per step]}` for each check.
    fn read(&mut self, line: &str) -> Result<(), String> {
        let value: serde_json::Value =
            serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        if let Some(version) = value["version"].as_str() {
            version.clone_into(&mut self.version);
            return Ok(());
        }
        let name = value["check"].as_str().ok_or_else(|| format!("no name of a check: {line}"))?;
        let steps = value["result"].as_array().ok_or_else(|| format!("no results of a check: {line}"))?;
        self.checks.insert(name.to_owned(), steps.iter().map(ToString::to_string).collect());
        name.clone_into(&mut self.last);
        Ok(())
    }
}

/// The checks that differ and are explained, and one text for each other one, with the first step that does.
fn differences(
    client: &str,
    direct: &BTreeMap<String, Vec<String>>,
    through: &BTreeMap<String, Vec<String>>,
) -> (Vec<String>, Vec<String>) {
    let (mut explained, mut texts) = (Vec::new(), Vec::new());
    for (check, expected) in direct {
        let seen = through.get(check).map_or(&[][..], Vec::as_slice);
        if seen == expected {
            continue;
        }
        if KNOWN.iter().any(|(who, what, _)| *who == client && what == check) {
            explained.push(check.clone());
            continue;
        }
        let step = expected.iter().zip(seen).position(|(one, other)| one != other).unwrap_or(seen.len());
        texts.push(format!(
            "{check}, step {step}\n  directly: {}\n  Sluice:   {}",
            from_difference(expected.get(step), seen.get(step)),
            from_difference(seen.get(step), expected.get(step))
        ));
    }
    (explained, texts)
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
