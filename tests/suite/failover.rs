//! Failovers on real servers, under a load that keeps a ledger: nothing acknowledged is lost, no definite error
//! left a row, and every error is one of the contract.
//!
//! Never here: a server that the harness did not start, an error that is waved through.

#![allow(clippy::print_stdout, reason = "the figures are what a failover is measured by")]

mod by_hand;
mod events;
pub(crate) mod faults;
mod figures;
mod hooks;
mod lost_tail;
mod marks;
mod starved;
mod without_acker;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use sluice_cluster::{Boot, Cluster, ClusterBuilder, wait_until};
use sluice_demo::load::{Kind, Load, LoadConfig, Report, Role, Style};
use sluice_demo::stage::{SCHEMA, Stage};
use sluice_demo::verify;

use crate::audit::audited;

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// Clients of the load.
const WRITERS: usize = 24;
/// How often one client begins a unit of work: what all of them write must be less than what replicas can apply on a
/// busy machine, or a member that was away never catches up.
const PACE: Duration = Duration::from_millis(100);
/// So much is acknowledged before the fault, so that every client is at work.
const WARM: u64 = 200;
/// So much after it: the new primary takes writes from all.
const AFTER: u64 = 200;

/// What is done to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Terminate,
    Freeze,
}

impl Fault {
    async fn strike(self, stage: &Stage, node: usize) {
        let node = stage.cluster.node(node);
        match self {
            Self::Kill => node.kill().await.unwrap(),
            Self::Terminate => node.begin_stop().unwrap(),
            Self::Freeze => node.freeze().await.unwrap(),
        }
    }
}

async fn stage(toml: &str) -> Stage {
    let stage = stage_with(toml, healthy).await;
    settled(&stage, 1).await;
    stage
}

async fn status(stage: &Stage) -> Value {
    stage.admin().get("/status").await.unwrap_or(Value::Null)
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Waits until the status is as wanted; says what it was instead.
async fn until(stage: &Stage, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let seen = Mutex::new(Value::Null);
    let waited = wait_until(what, SOON, || async {
        let now = status(stage).await;
        let good = wanted(&now);
        *seen.lock().unwrap() = now;
        good
    })
    .await;
    let seen = seen.into_inner().unwrap();
    if waited.is_err() {
        stage.cluster.keep_logs();
        panic!("never {what}: {seen:#}");
    }
    seen
}

fn healthy(status: &Value) -> bool {
    word(status, "verdict") == "healthy"
        && word(status, "guarantee").starts_with("every OK")
        && status.pointer("/gate/state").and_then(Value::as_str) == Some("open")
        && status.get("operation").is_none_or(Value::is_null)
}

/// Waits until the cluster is well, of this epoch, and automatic failover is ready.
async fn settled(stage: &Stage, epoch: u64) -> Value {
    until(stage, &format!("settled in epoch {epoch}"), |status| {
        let acking = |one: &Value| word(one, "role") != "replica" || word(one, "semi_sync") == "acking";
        healthy(status)
            && status.get("epoch").and_then(Value::as_u64) == Some(epoch)
            && status.pointer("/failover/state").and_then(Value::as_str) == Some("ready")
            && status.get("instances").and_then(Value::as_array).is_some_and(|all| all.iter().all(acking))
    })
    .await
}

/// The node that is the primary.
fn primary(stage: &Stage, status: &Value) -> usize {
    let name = word(status, "primary");
    stage.cluster.nodes().iter().position(|node| node.name() == name).expect("a primary")
}

fn load(stage: &Stage) -> Load {
    load_of(stage, WRITERS, PACE)
}

fn load_of(stage: &Stage, clients: usize, pace: Duration) -> Load {
    let mixed = LoadConfig::mixed(stage.split(), 0);
    Load::start(LoadConfig { clients: roles(clients), pace, ..mixed }).unwrap()
}

fn load_for(stage: &Stage, longest: Duration) -> Load {
    let clients = roles(WRITERS);
    Load::start(LoadConfig { login: stage.split(), clients, pace: PACE, longest }).unwrap()
}

fn roles(clients: usize) -> Vec<Role> {
    let roles = [
        Role::Writer(Style::Text),
        Role::Writer(Style::Prepared),
        Role::Transfer(Style::Text),
        Role::Writer(Style::Text),
        Role::Transfer(Style::Prepared),
        Role::Reader(Style::Text),
    ];
    roles.into_iter().cycle().take(clients).collect()
}

/// Waits until the load has got so many more acknowledgements.
async fn acknowledged(stage: &Stage, load: &Load, more: u64) {
    let wanted = load.live().acknowledged() + more;
    let waited =
        wait_until("writes to be acknowledged", SOON, || async { load.live().acknowledged() >= wanted })
            .await;
    if waited.is_err() {
        stage.cluster.keep_logs();
        panic!("{} of {wanted} acknowledged: {:#}", load.live().acknowledged(), status(stage).await);
    }
}

/// The latest failover, as Sluice shows it.
async fn latest(stage: &Stage) -> Value {
    let all = stage.admin().get("/operations").await.unwrap();
    let all = all.as_array().cloned().unwrap_or_default();
    all.into_iter().rev().find(|one| word(one, "kind") == "failover").expect("a failover")
}

fn show(operation: &Value) {
    println!(
        "failover to {}: {} ({} ms from the last answer to the release)",
        word(operation, "target"),
        word(operation, "outcome"),
        operation.get("stall_us").and_then(Value::as_u64).unwrap_or_default() / 1000
    );
    for step in operation.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let micros = |key| step.get(key).and_then(Value::as_u64).unwrap_or_default();
        println!(
            "  {:>8.1} ms  {:>8.1} ms  {:<30} {} [{}]",
            micros("at_us") as f64 / 1e3,
            micros("took_us") as f64 / 1e3,
            word(step, "name"),
            word(step, "detail").chars().take(150).collect::<String>(),
            word(step, "result")
        );
    }
}

/// Every error a client saw has to be one of the contract's. Whoever waited longer than the hold limit was not
/// executed, whatever it was, and nor is what comes after it.
fn judge_errors(stage: &Stage, report: &Report) {
    let allowed = |kind: Kind, code: Option<u16>| {
        matches!(
            (kind, code),
            (Kind::Write | Kind::Commit, Some(1180))
                | (Kind::Begin | Kind::Inside | Kind::Commit | Kind::Read, Some(1213))
                | (_, Some(1053))
        )
    };
    let wrong: Vec<String> = report
        .errors
        .iter()
        .filter(|error| !allowed(error.kind, error.code))
        .take(10)
        .map(ToString::to_string)
        .collect();
    if !wrong.is_empty() || !report.anomalies.is_empty() {
        stage.cluster.keep_logs();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(report.anomalies.is_empty(), "{:?}", report.anomalies);
}

/// Holds the ledger against these nodes, and sees that one of them takes writes.
async fn judge_data(stage: &Stage, report: &Report, nodes: &[usize]) {
    let all = stage.servers();
    let servers: Vec<_> = nodes.iter().map(|node| all[*node].clone()).collect();
    let verdict = verify::verify(&report.ledger, SCHEMA, &servers).await.unwrap();
    if !verdict.findings.is_empty() {
        stage.cluster.keep_logs();
    }
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    let mut writable = 0;
    for node in nodes {
        let sql = "SELECT @@global.read_only = 0";
        writable += stage.cluster.node(*node).value::<u32>(sql).await.unwrap();
    }
    assert_eq!(writable, 1, "one server takes writes");
    // The first epoch has the first writer, and each later one at most one more.
    let epoch = status(stage).await.get("epoch").and_then(Value::as_u64).unwrap();
    let turns = u64::try_from(verdict.turns.len()).unwrap();
    assert!(
        turns <= epoch,
        "two writers at a time: {:?} took rows in turn, and the epoch is {epoch}",
        verdict.turns
    );
    let totals = report.ledger.totals();
    println!("{totals:?}, {} errors, {} unknown are there", report.error_count, verdict.unknown_present);
}

/// One failover under load; returns how long it took from the old primary's last answer to the release of held
/// statements, and what the load saw.
async fn fail_over(stage: &Stage, fault: Fault) -> (Duration, Report) {
    fail_over_under(stage, fault, load(stage)).await
}

async fn fail_over_under(stage: &Stage, fault: Fault, load: Load) -> (Duration, Report) {
    let before = status(stage).await;
    let old = primary(stage, &before);
    let epoch = before.get("epoch").and_then(Value::as_u64).unwrap();
    acknowledged(stage, &load, WARM).await;
    fault.strike(stage, old).await;
    until(stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(epoch + 1)
    })
    .await;
    acknowledged(stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    let operation = latest(stage).await;
    show(&operation);
    judge_errors(stage, &report);
    let micros = operation.get("stall_us").and_then(Value::as_u64).unwrap_or_default();
    let whole = Duration::from_micros(micros);
    println!("{fault:?}: {} ms from the last answer to the release", whole.as_millis());
    (whole, report)
}

/// Takes an instance from Sluice's status.
fn instance(status: &Value, number: usize) -> &Value {
    status.pointer(&format!("/instances/{number}")).unwrap_or(&Value::Null)
}

const OTHERS: [usize; 2] = [1, 2];

#[tokio::test]
async fn a_killed_primary_is_replaced_and_nothing_is_lost() {
    let stage = stage("").await;
    let (_, report) = fail_over(&stage, Fault::Kill).await;
    judge_data(&stage, &report, &OTHERS).await;
    returns(&stage, &report).await;
    let failovers = audited(stage.sluice.store(), "failover");
    assert!(failovers.iter().any(|one| one.get("stall_us").is_some_and(Value::is_u64)), "{failovers:#?}");
    audited(stage.sluice.store(), "rebuild");
}

#[tokio::test]
async fn a_stopping_primary_is_replaced_and_nothing_is_lost() {
    let stage = stage("").await;
    let (_, report) = fail_over(&stage, Fault::Terminate).await;
    judge_data(&stage, &report, &OTHERS).await;
}

#[tokio::test]
async fn a_frozen_primary_is_replaced_and_fenced_when_it_thaws() {
    let stage = stage("").await;
    let (_, report) = fail_over(&stage, Fault::Freeze).await;
    judge_data(&stage, &report, &OTHERS).await;
    stage.cluster.node(0).thaw().await.unwrap();
    returned(&stage, &report).await;
}

/// The old primary is started again.
async fn returns(stage: &Stage, report: &Report) {
    if stage.cluster.node(0).pid().is_none() {
        stage.cluster.node(0).start().await.unwrap();
    }
    returned(stage, report).await;
}

/// The old primary is there again: it follows. What nobody was told OK for is kept in the store, and its data are
/// replaced by another member's.
async fn returned(stage: &Stage, report: &Report) {
    let status = until(stage, "the old primary to serve as a replica", |status| {
        let db1 = instance(status, 0);
        word(db1, "reads") == "serving" && status.get("rebuild").is_none_or(Value::is_null)
    })
    .await;
    let all = stage.admin().get("/operations").await.unwrap();
    let rebuilt = all.as_array().into_iter().flatten().find(|one| word(one, "kind") == "rebuild");
    println!("db1 is back: {}", rebuilt.map_or("it had nothing of its own", |one| word(one, "outcome")));
    let tails = std::fs::read_dir(stage.sluice.store().join("tails")).map_or(0, Iterator::count);
    assert_eq!(tails, usize::from(rebuilt.is_some()), "{status:#}");
    judge_data(stage, report, &[0, 1, 2]).await;
    stage.fresh_tables().await.unwrap();
    let load = load(stage);
    acknowledged(stage, &load, WARM).await;
    let after = load.stop().await.unwrap();
    assert!(after.errors.is_empty() && after.anomalies.is_empty(), "{:?}", after.errors.first());
}

#[tokio::test]
async fn without_the_quorum_it_says_who_is_missing_and_goes_on_when_they_return() {
    let stage = stage("").await;
    let load = load(&stage);
    acknowledged(&stage, &load, WARM).await;
    stage.cluster.node(2).kill().await.unwrap();
    stage.cluster.node(0).kill().await.unwrap();
    let names_it = |status: &Value| {
        word(status, "evidence").contains("missing: db3") && word(status, "hint").contains("start db3")
    };
    let lost =
        until(&stage, "lost quorum", |status| word(status, "verdict") == "lost_quorum" && names_it(status))
            .await;
    assert_eq!(lost.get("epoch").and_then(Value::as_u64), Some(1));
    let sql = "SELECT @@global.read_only";
    assert_eq!(stage.cluster.node(1).value::<u8>(sql).await.unwrap(), 1, "nobody is promoted");
    stage.cluster.node(2).start().await.unwrap();
    until(&stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(2)
    })
    .await;
    show(&latest(&stage).await);
    acknowledged(&stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    judge_errors(&stage, &report);
    judge_data(&stage, &report, &OTHERS).await;
}

#[tokio::test]
async fn automatic_off_only_shows_what_happened() {
    let stage = stage_with("[failover]\nautomatic = false\n", healthy).await;
    let old = stage.cluster.node(0);
    old.kill().await.unwrap();
    let lost = until(&stage, "dead", |status| word(status, "verdict") == "primary_dead").await;
    assert!(word(&lost, "hint").contains("automatic = false"), "{lost:#}");
    old.start().await.unwrap();
    until(&stage, "healthy again", healthy).await;
    assert_eq!(status(&stage).await.get("epoch").and_then(Value::as_u64), Some(1));
}

/// A Sluice that is killed at some moment of the failover and started again.
#[tokio::test]
async fn a_sluice_killed_in_the_middle_finishes_it_at_the_next_start() {
    for phase in ["stop receivers", "attach ackers to the winner", "change the epoch"] {
        let stage = stage("").await;
        let load = load(&stage);
        acknowledged(&stage, &load, WARM).await;
        stage.cluster.node(0).kill().await.unwrap();
        let log = stage.sluice.log().to_owned();
        wait_until("the failover's phase", SOON, || async {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.contains(&format!("step=\"{phase}\"")) || text.contains(&format!("step={phase}"))
        })
        .await
        .unwrap();
        stage.sluice.kill().await.unwrap();
        let report = load.stop().await.unwrap();
        stage.sluice.launch().unwrap();
        until(&stage, "failed over", |status| {
            healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(2)
        })
        .await;
        println!("killed at {phase}");
        judge_data(&stage, &report, &OTHERS).await;
    }
}

async fn stage_with(toml: &str, ready: impl Fn(&Value) -> bool) -> Stage {
    stage_of(Cluster::builder(), toml, ready).await
}

async fn stage_of(plan: ClusterBuilder, toml: &str, ready: impl Fn(&Value) -> bool) -> Stage {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let stage = Stage::start(binary, plan.boot(Boot::Fenced), toml).await.unwrap();
    stage.fresh_tables().await.unwrap();
    until(&stage, "ready", ready).await;
    stage
}
