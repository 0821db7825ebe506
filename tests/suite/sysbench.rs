//! sysbench through the split port while the primary changes.
//!
//! sysbench stops at the first error that is not a deadlock or lock wait timeout, so that it ends well is the
//! point. Its own figures can't tell waits of single statements; our load runs beside it and does.
//!
//! Never here: `--mysql-ignore-errors`, or a server that the harness did not start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]
#![allow(clippy::print_stdout, reason = "the table of switchovers is what a soak is run for")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sluice_cluster::Cluster;
use sluice_demo::admin::Operation;
use sluice_demo::load::{Load, LoadConfig, Report, Window};
use sluice_demo::login::Login;
use sluice_demo::stage::{SCHEMA, Stage};
use sluice_demo::verify;

/// A switchover takes well under a second; on a busy machine its preparations may take some.
const SWITCHOVER_DEADLINE: Duration = Duration::from_secs(60);
/// sysbench ends this long after its time at the latest, or it hangs.
const FORCED_SHUTDOWN: &str = "--forced-shutdown=30"; // it ends itself then, also if this test is long gone
const SYSBENCH_GRACE: Duration = Duration::from_secs(60);
/// Held statements are answered after Sluice calls the operation done.
const AFTERMATH: Duration = Duration::from_millis(500);
/// Clients of our own load beside sysbench.
const WITNESSES: usize = 8;
/// Fewer switchovers in a whole soak mean that they took too long to get ready.
const SWITCHOVERS: usize = 10;
/// The bounds of the closed gate over a whole soak.
const MEDIAN_STALL: Duration = Duration::from_millis(50);
const LONGEST_STALL: Duration = Duration::from_millis(150);

/// sysbench's `--db-ps-mode`.
#[derive(Clone, Copy, Debug)]
enum Prepared {
    Auto,
    Disable,
}

impl Prepared {
    fn value(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Disable => "disable",
        }
    }
}

/// One run of sysbench.
#[derive(Clone, Copy, Debug)]
struct Run {
    prepared: Prepared,
    threads: u32,
    time: Duration,
    /// Time between switchovers; `None`: none.
    every: Option<Duration>,
}

/// What a run came to.
struct Seen {
    transactions: u64,
    ignored: u64,
    rounds: Vec<(Operation, Window)>,
    report: Report,
}

#[tokio::test]
async fn sysbench_does_not_notice_switchovers() {
    let stage = stage().await;
    for prepared in [Prepared::Auto, Prepared::Disable] {
        let every = Some(Duration::from_secs(4));
        let run = Run { prepared, threads: 12, time: Duration::from_secs(13), every };
        let seen = soak(&stage, run).await;
        print(run, &seen);
        judge(&stage, &seen).await;
    }
}

/// The long form; it takes six minutes and wants a quiet machine: `make soak`.
#[tokio::test]
#[ignore = "takes six minutes and measures: run by make soak"]
async fn ten_switchovers_under_64_sysbench_threads() {
    let stage = stage().await;
    let mut stalls = Vec::new();
    let (mut with, mut without) = (Deadlocks::default(), Deadlocks::default());
    for prepared in [Prepared::Auto, Prepared::Disable] {
        let control = Run { prepared, threads: 64, time: Duration::from_secs(60), every: None };
        let undisturbed = soak(&stage, control).await;
        print(control, &undisturbed);
        without.add(&undisturbed);
        let run = Run { every: Some(Duration::from_secs(10)), ..control };
        let seen = soak(&stage, run).await;
        print(run, &seen);
        judge(&stage, &seen).await;
        with.add(&seen);
        stalls.extend(seen.rounds.iter().filter_map(|(operation, _)| operation.stall_us));
    }
    println!("ignored errors a transaction: {with} with switchovers, {without} without");
    stalls.sort_unstable();
    let median = Duration::from_micros(stalls[stalls.len() / 2]);
    let longest = Duration::from_micros(stalls[stalls.len() - 1]);
    println!("gate closed: median {median:.1?}, longest {longest:.1?}, of {}", stalls.len());
    assert!(stalls.len() >= SWITCHOVERS, "only {} switchovers were done in time", stalls.len());
    assert!(!with.are_more_than(&without), "{with} with switchovers, {without} without");
    assert!(median <= MEDIAN_STALL && longest <= LONGEST_STALL, "median {median:?}, longest {longest:?}");
}

async fn stage() -> Stage {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let stage = Stage::start(binary, Cluster::builder(), "").await.unwrap();
    let prepare = command(&stage.split(), Prepared::Auto, 8).arg("prepare").output().unwrap();
    let said =
        [&prepare.stdout, &prepare.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    // It also ends well when one of its threads has failed.
    assert!(prepare.status.success() && !said.contains("FATAL"), "{said}");
    stage
}

async fn soak(stage: &Stage, run: Run) -> Seen {
    stage.fresh_tables().await.unwrap();
    let load = Load::start(LoadConfig::mixed(stage.split(), WITNESSES)).unwrap();
    let seconds = run.time.as_secs().to_string();
    let mut sysbench = command(&stage.split(), run.prepared, run.threads);
    sysbench.args([&format!("--time={seconds}"), FORCED_SHUTDOWN, "run"]);
    let end = Instant::now() + run.time;
    let ended = tokio::task::spawn_blocking(move || sysbench.output().unwrap());
    let rounds = match run.every {
        Some(every) => switch_over(stage, every, end).await,
        None => Vec::new(),
    };
    let output =
        tokio::time::timeout(run.time + SYSBENCH_GRACE, ended).await.expect("sysbench hangs").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "sysbench stopped: {text}{}", String::from_utf8_lossy(&output.stderr));
    let report = load.stop().await.unwrap();
    Seen {
        transactions: figure(&text, "transactions:"),
        ignored: figure(&text, "ignored errors:"),
        rounds,
        report,
    }
}

/// A switchover at every tick that leaves time for its end.
async fn switch_over(stage: &Stage, every: Duration, end: Instant) -> Vec<(Operation, Window)> {
    let mut rounds = Vec::new();
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await; // the first one is at once
    while Instant::now() + every + every / 4 < end {
        ticks.tick().await;
        let from = Instant::now();
        let operation = stage.admin().switchover(None, SWITCHOVER_DEADLINE).await.unwrap();
        rounds.push((operation, Window { from, to: Instant::now() + AFTERMATH }));
    }
    rounds
}

async fn judge(stage: &Stage, seen: &Seen) {
    if seen.report.error_count > 0 {
        stage.cluster.keep_logs();
    }
    for (operation, _) in &seen.rounds {
        assert_eq!(operation.state, "done", "{:?} {:?}", operation.outcome, operation.steps);
    }
    assert!(seen.rounds.len() >= 2, "only {} switchovers", seen.rounds.len());
    let errors: Vec<String> = seen.report.errors.iter().take(10).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{} errors: {errors:#?}", seen.report.error_count);
    assert!(seen.report.anomalies.is_empty(), "{:?}", seen.report.anomalies);
    let metrics = stage.admin().get_text("/metrics").await.unwrap();
    for code in ["1213", "1053", "1180"] {
        assert_eq!(sent_by_sluice(&metrics, code), 0.0, "Sluice sent {code}:\n{metrics}");
    }
    let verdict = verify::verify(&seen.report.ledger, SCHEMA, &stage.servers()).await.unwrap();
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
}

/// `sluice_errors_sent_total{code="1213"} 0`
fn sent_by_sluice(metrics: &str, code: &str) -> f64 {
    let label = format!("code=\"{code}\"");
    let line =
        metrics.lines().find(|line| line.starts_with("sluice_errors_sent_total") && line.contains(&label));
    let line = line.unwrap_or_else(|| panic!("no counter of {code} in:\n{metrics}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a counter has a value")
}

fn ratio(seen: &Seen) -> f64 {
    count(seen.ignored) / count(seen.transactions)
}

/// InnoDB's own deadlocks over several runs: what sysbench ignores and begins anew.
#[derive(Clone, Copy, Debug, Default)]
struct Deadlocks {
    ignored: u64,
    transactions: u64,
}

impl Deadlocks {
    fn add(&mut self, seen: &Seen) {
        self.ignored += seen.ignored;
        self.transactions += seen.transactions;
    }

    /// A handful come at random, so the two rates are compared as two counts: three standard deviations of
    /// their difference, if both came from the same rate, are chance.
    fn are_more_than(&self, other: &Self) -> bool {
        let (own, others) = (count(self.transactions), count(other.transactions));
        let rate = count(self.ignored + other.ignored) / (own + others);
        let deviation = (rate * (1.0 / own + 1.0 / others)).sqrt();
        count(self.ignored) / own - count(other.ignored) / others > 3.0 * deviation
    }
}

impl std::fmt::Display for Deadlocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.ignored, self.transactions)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a minute")]
fn count(number: u64) -> f64 {
    number as f64
}

fn print(run: Run, seen: &Seen) {
    println!(
        "\nsysbench oltp_read_write, {} threads, {:?}, --db-ps-mode={}: {} transactions, {} ignored errors ({:.5} each)",
        run.threads,
        run.time,
        run.prepared.value(),
        seen.transactions,
        seen.ignored,
        ratio(seen)
    );
    println!("  to    gate closed   longest wait   no write came back   steps (ms)");
    for (operation, window) in &seen.rounds {
        let timing = &seen.report.timing;
        let wait = timing.longest_wait(*window).map(|sample| sample.took()).unwrap_or_default();
        let gap = timing.write_gap(*window).map(|gap| gap.length()).unwrap_or_default();
        let steps: Vec<String> = operation
            .steps
            .iter()
            .map(|step| format!("{} {:.1}", step.name, milliseconds(step.took_us.unwrap_or_default())))
            .collect();
        println!(
            "  {:<5} {:>8.1} ms {:>11.1} ms {:>17.1} ms   {}",
            operation.target.as_deref().unwrap_or("?"),
            milliseconds(operation.stall_us.unwrap_or_default()),
            wait.as_secs_f64() * 1e3,
            gap.as_secs_f64() * 1e3,
            steps.join(", ")
        );
    }
}

fn milliseconds(micros: u64) -> f64 {
    count(micros) / 1e3
}

/// The number behind a label of sysbench's report.
fn figure(text: &str, label: &str) -> u64 {
    let rest = text.split_once(label).unwrap_or_else(|| panic!("no {label} in {text}")).1;
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number follows")
}

fn command(login: &Login, prepared: Prepared, threads: u32) -> Command {
    let mut command = Command::new(sysbench());
    command.args(["oltp_read_write", "--db-driver=mysql", "--tables=8", "--table-size=5000"]).args([
        format!("--mysql-host={}", login.host),
        format!("--mysql-port={}", login.port),
        format!("--mysql-user={}", login.user),
        format!("--mysql-password={}", login.password),
        format!("--mysql-db={SCHEMA}"),
        format!("--threads={threads}"),
        format!("--db-ps-mode={}", prepared.value()),
    ]);
    command.stdin(Stdio::null());
    command
}

/// `$SLUICE_SYSBENCH`, or what `tests/clients/install` put into the checkout.
fn sysbench() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_SYSBENCH") {
        return path.into();
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = Command::new(checkout.join("tests/clients/install")).arg("sysbench").output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    checkout.join(".tools/sysbench/bin/sysbench")
}
