//! `make bench`: MySQL, Sluice and its peers side by side.
//!
//! Never here: a target that is left out without a word.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use sluice_bench::connection::Account;
use sluice_bench::load::Pace;
use sluice_bench::machine::{Machine, UNKNOWN, version};
use sluice_bench::peer::Peer;
use sluice_bench::plan::{Plan, SystemCalls};
use sluice_bench::report::Results;
use sluice_bench::target::{Site, Target};
use sluice_bench::{idle, logins, measure, workload};
use sluice_cluster::{Cluster, Durability, Login};
use sluice_demo::stage::{SCHEMA, Stage};

/// Clients of the largest measurement, and some.
const MAX_CONNECTIONS: u32 = 12_000;
/// Descriptors that are not clients' connections.
const OTHER_DESCRIPTORS: u64 = 2_000;

/// What Sluice is told beside the harness's defaults: two members have to choose, TLS is off as it is with HAProxy, and
/// no limit is in the way.
const SETTINGS: &str = "[durability]\nwithout_acker = 'stall'\n[tls.client]\nmode = 'disabled'\n\
    [tls.instance]\nmode = 'disabled'\n[sessions]\nmax_connections = 12000\n";

/// Measures Sluice beside a direct connection and other proxies.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Options {
    /// Below three minutes.
    #[arg(long)]
    quick: bool,
    /// Only the cells whose title holds this, such as "prepared, 16".
    #[arg(long)]
    load: Option<String>,
    /// Only the targets whose name holds this, such as "Sluice"; HAProxy stays, for the ratios.
    #[arg(long)]
    target: Option<String>,
    /// How many rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one turn.
    #[arg(long)]
    slice: Option<f64>,
    /// Count system calls too; strace has to be there.
    #[arg(long)]
    system_calls: bool,
    /// The sluice binary [default: beside this program].
    #[arg(long)]
    sluice: Option<PathBuf>,
    /// HAProxy; left out if not said.
    #[arg(long)]
    haproxy: Option<PathBuf>,
    /// MySQL Router as tests/clients/install unpacks it; left out if not said.
    #[arg(long)]
    router: Option<PathBuf>,
    /// Where the tables go, as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Where every figure goes.
    #[arg(long)]
    json: Option<PathBuf>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    runtime.block_on(async {
        tokio::select! {
            done = run(&options) => match done {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(error.as_ref()),
            },
            // Dropping the run ends its processes, whereupon the load ends as well.
            _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        }
    })
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    say(&format!("failed: {error}"));
    ExitCode::FAILURE
}

/// Progress goes to stderr, tables to stdout.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

/// Everything that has to run.
struct Scene {
    peers: Vec<Peer>,
    stage: Stage,
    programs: Vec<(String, String)>,
}

async fn run(options: &Options) -> Result<(), Failure> {
    let mut plan = planned(options);
    limit_clients(&mut plan);
    let began = Instant::now();
    say("starting a primary, a replica, Sluice and its peers");
    let app = Login::app();
    let account = Account { user: app.user, password: app.password, schema: SCHEMA.to_owned() };
    let scene = set(options, &account).await?;
    let machine = Machine::here(scene.programs.clone());
    let mut sites = sites(&scene);
    if let Some(part) = &options.target {
        sites.retain(|site| site.target == Target::HaProxy || site.target.name().contains(part));
    }
    // Off this thread, which takes Ctrl-C.
    let results = tokio::task::spawn_blocking(move || play(&plan, &sites, &account, machine)).await??;
    drop(scene);
    let _ = write!(std::io::stdout(), "\n{}", results.markdown());
    if let Some(path) = &options.markdown {
        write_file(path, &results.markdown())?;
    }
    if let Some(path) = &options.json {
        write_file(path, &serde_json::to_string_pretty(&results)?)?;
    }
    say(&format!("done after {} s", began.elapsed().as_secs()));
    Ok(())
}

/// The plan as the options change it.
fn planned(options: &Options) -> Plan {
    let mut plan = if options.quick { Plan::quick() } else { Plan::full() };
    if let Some(part) = &options.load {
        plan = plan.only(part);
    }
    plan.rounds = options.rounds.unwrap_or(plan.rounds);
    if let Some(seconds) = options.slice {
        plan.slice = Duration::from_secs_f64(seconds.clamp(0.01, 600.0));
    }
    if options.system_calls {
        plan.system_calls = SystemCalls::Counted;
    }
    if plan.system_calls == SystemCalls::Counted && version("strace".as_ref(), "--version") == UNKNOWN {
        say("system calls are not counted: strace is not there");
        plan.system_calls = SystemCalls::Left;
    }
    plan
}

fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}

/// A proxy needs two descriptors per client; all of ours inherit the limit that is set here.
fn limit_clients(plan: &mut Plan) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // else as many as there may be
    let Some(descriptors) = getrlimit(Resource::Nofile).current else { return };
    let most = usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).unwrap_or(usize::MAX);
    for clients in &mut plan.idle {
        if *clients > most {
            say(&format!(
                "{most} idle clients instead of {clients}: {descriptors} descriptors are the limit here"
            ));
            *clients = most;
        }
    }
}

async fn set(options: &Options, account: &Account) -> Result<Scene, Failure> {
    let sluice = match &options.sluice {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("sluice"),
    };
    let plan = Cluster::builder().nodes(2).max_connections(MAX_CONNECTIONS).durability(Durability::Relaxed);
    let stage = Stage::start(&sluice, plan, SETTINGS).await?;
    let primary = stage.cluster.node(0);
    for statement in workload::table() {
        primary.exec(&statement).await?;
    }
    stage.cluster.wait_caught_up(0).await?;
    let mysqld = stage.cluster.mysqld().version().to_string();
    let mut programs =
        vec![("MySQL".to_owned(), mysqld), ("Sluice".to_owned(), version(&sluice, "--version"))];
    let (folder, server) = (stage.cluster.folder(), primary.address().into());
    let mut peers = Vec::new();
    match &options.haproxy {
        Some(program) => {
            programs.push(("HAProxy".to_owned(), version(program, "-v")));
            peers.push(Peer::haproxy(program, folder, server)?);
        }
        None => say("without HAProxy: it can't be had here"),
    }
    match &options.router {
        Some(program) => {
            programs.push(("MySQL Router".to_owned(), version(program, "--version")));
            for target in [Target::Router, Target::RouterSharing] {
                peers.push(Peer::router(target, program, folder, server, &primary.datadir())?);
            }
        }
        None => say("without MySQL Router: it can't be had here"),
    }
    for peer in &peers {
        peer.ready(account).await?;
    }
    Ok(Scene { peers, stage, programs })
}

fn sites(scene: &Scene) -> Vec<Site> {
    let sluice = &scene.stage.sluice;
    let local = |port| std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
    let site = |target, port, pid| Site { target, address: local(port), pid };
    let mut sites = vec![site(Target::Direct, scene.stage.cluster.node(0).port(), None)];
    sites.extend(scene.peers.iter().map(Peer::site));
    sites.push(site(Target::SluicePrimary, sluice.ports().primary, sluice.pid()));
    sites.push(site(Target::SluiceSplit, sluice.ports().split, sluice.pid()));
    sites
}

/// All measurements of a plan. Memory comes first, while no load has left anything behind.
fn play(plan: &Plan, sites: &[Site], account: &Account, machine: Machine) -> Result<Results, Failure> {
    let mut results = Results {
        machine,
        rounds: (plan.rounds, plan.slice.as_secs_f64()),
        cells: Vec::new(),
        logins: Vec::new(),
        idle: Vec::new(),
    };
    for &clients in &plan.idle {
        say(&format!("{clients} idle clients"));
        // Both listeners of Sluice are one process.
        for site in sites.iter().filter(|site| site.target != Target::SluicePrimary) {
            results
                .idle
                .extend(idle::measure(site, account, clients, plan.idle_for).map_err(blame(site.target))?);
        }
    }
    for &cell in &plan.cells {
        say(&cell.title());
        let measured = measure::cell(plan, cell, Pace::Closed, sites, account);
        results.cells.push(measured.map_err(|(target, error)| blame(target)(error))?);
    }
    for &cell in &plan.half_load {
        let reached =
            results.cells.iter().find(|done| done.workload == cell.workload && done.clients == cell.clients);
        let slowest = reached.into_iter().flat_map(|done| &done.targets);
        let rate = slowest.filter_map(|turns| turns.median(|turn| Some(turn.rate))).min_by(f64::total_cmp);
        let Some(rate) = rate else { continue };
        say(&format!("{}, at half load", cell.title()));
        let measured = measure::cell(plan, cell, Pace::Rate(rate / 2.0), sites, account);
        results.cells.push(measured.map_err(|(target, error)| blame(target)(error))?);
    }
    if plan.login_clients == 0 {
        return Ok(results);
    }
    say("logins");
    results.logins = logins::measure(plan, sites, account).map_err(|(target, error)| blame(target)(error))?;
    Ok(results)
}

fn blame<E: std::fmt::Display>(target: Target) -> impl Fn(E) -> Failure {
    move |error| format!("{}: {error}", target.name()).into()
}
