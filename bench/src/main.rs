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
use sluice_bench::machine::{Machine, UNKNOWN, load_average, version};
use sluice_bench::peer::Peer;
use sluice_bench::plan::{Part, Plan, SystemCalls};
use sluice_bench::play::{self, Cast};
use sluice_bench::report::{Piece, Results};
use sluice_bench::target::{Site, Target};
use sluice_bench::wire::Channel;
use sluice_bench::{first_logins, switchovers, workload};
use sluice_cluster::{Cluster, Durability, Exit, Login};
use sluice_demo::stage::{SCHEMA, Stage};

/// Clients of the largest measurement, and some.
const MAX_CONNECTIONS: u32 = 12_000;
/// Descriptors that are not clients' connections: those to servers, and files.
const OTHER_DESCRIPTORS: u64 = 600;

/// What Sluice is told beside the harness's defaults: two members have to choose, TLS is up to the clients, and no limit is
/// in the way.
const SETTINGS: &str = "[durability]\nwithout_acker = 'stall'\n[tls.client]\nmode = 'preferred'\n\
    [tls.instance]\nmode = 'disabled'\n[sessions]\nmax_connections = 12000\n";

/// Measures Sluice beside a direct connection and other proxies.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Options {
    /// Below three minutes.
    #[arg(long)]
    quick: bool,
    /// Only these parts; may be given several times.
    #[arg(long)]
    part: Vec<Part>,
    /// Only the cells whose title holds this, such as "prepared, 16".
    #[arg(long)]
    load: Option<String>,
    /// Add to what the file of --json holds, which this run's figures replace where both have them.
    #[arg(long, requires = "json")]
    add: bool,
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
    /// sysbench; left out if not said.
    #[arg(long)]
    sysbench: Option<PathBuf>,
    /// Where the tables go, as Markdown, and beside it the plot.
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
    /// Accounts for first logins.
    firsts: Vec<Account>,
}

async fn run(options: &Options) -> Result<(), Failure> {
    let mut plan = planned(options);
    let descriptors = raise_descriptors();
    let (began, load) = (Instant::now(), load_average());
    say("starting a primary, a replica, Sluice and its peers");
    let app = Login::app();
    let account = Account { user: app.user, password: app.password, schema: SCHEMA.to_owned() };
    let scene = set(options, &account).await?;
    let mut results = Results::new(Machine::here(scene.programs.clone()));
    let slices = |part| match part {
        Part::Sysbench => (plan.sysbench.0, plan.sysbench.1.as_secs_f64()),
        Part::Idle => (1, plan.idle_for.as_secs_f64()),
        Part::Statements | Part::Logins => (plan.rounds, plan.slice.as_secs_f64()),
        Part::Switchovers => (plan.switchovers, 0.0),
    };
    results.pieces = plan.parts.iter().map(|&part| Piece { part, rounds: slices(part), load }).collect();
    let mut sites = sites(&scene);
    if let Some(part) = &options.target {
        sites.retain(|site| site.target == Target::HaProxy || site.target.name().contains(part));
    }
    let switchovers = plan.parts.contains(&Part::Switchovers).then_some(plan.switchovers);
    plan.parts.retain(|part| *part != Part::Switchovers);
    let (sysbench, firsts) = (options.sysbench.clone(), scene.firsts.clone());
    // Off this thread, which takes Ctrl-C.
    results = tokio::task::spawn_blocking(move || {
        let cast = Cast {
            sites: &sites,
            account: &account,
            firsts: &firsts,
            sysbench: sysbench.as_deref(),
            descriptors,
        };
        play::play(&plan, &cast, results, &say)
    })
    .await??;
    if let Some(count) = switchovers {
        say("switchovers");
        results.switchovers = switchovers::measure(&scene.stage, count).await?;
    }
    let _ = write!(std::io::stdout(), "\n{}", results.tables());
    write_files(options, results)?;
    // An end in order: a binary that counts what it runs writes it down then (deploy/binary/build).
    let exit = scene.stage.sluice.stop().await?;
    if exit != Exit::Code(0) {
        return Err(format!("sluice ended with {exit}").into());
    }
    drop(scene);
    say(&format!("done after {} s", began.elapsed().as_secs()));
    Ok(())
}

fn write_files(options: &Options, mut results: Results) -> Result<(), Failure> {
    if let Some(path) = &options.json {
        if options.add && path.exists() {
            let mut former: Results = serde_json::from_str(&std::fs::read_to_string(path)?)?;
            former.add(results);
            results = former;
        }
        write_file(path, &serde_json::to_string_pretty(&results)?)?;
    }
    if let Some(path) = &options.markdown {
        let plot = path.with_extension("svg");
        let name = plot.file_name().unwrap_or_default().to_string_lossy();
        write_file(path, &results.markdown(&name))?;
        write_file(&plot, &results.plot())?;
    }
    Ok(())
}

/// The plan as the options change it.
fn planned(options: &Options) -> Plan {
    let mut plan = if options.quick { Plan::quick() } else { Plan::full() };
    if let Some(part) = &options.load {
        plan = plan.only(part);
    }
    if !options.part.is_empty() {
        plan.parts.retain(|part| options.part.contains(part));
    }
    if options.sysbench.is_none() && plan.parts.contains(&Part::Sysbench) {
        say("without sysbench: it can't be had here");
        plan.parts.retain(|part| *part != Part::Sysbench);
    }
    plan.rounds = options.rounds.unwrap_or(plan.rounds);
    plan.sysbench.0 = options.rounds.unwrap_or(plan.sysbench.0);
    if let Some(seconds) = options.slice {
        plan.slice = Duration::from_secs_f64(seconds.clamp(0.01, 600.0));
        plan.sysbench.1 = Duration::from_secs_f64(seconds.clamp(1.0, 600.0)); // it knows whole seconds only
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

/// As many descriptors as there may be, for all processes that are started here. How many are left for clients.
fn raise_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // else as many as there are
    getrlimit(Resource::Nofile).current.map_or(u64::MAX, |limit| limit.saturating_sub(OTHER_DESCRIPTORS))
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
    let firsts = first_logins::accounts(Target::ALL.len(), SCHEMA);
    for statement in first_logins::statements(&firsts) {
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
    let byte_relay = std::env::current_exe()?.with_file_name("byte-relay");
    if byte_relay.exists() {
        peers.push(Peer::byte_relay(&byte_relay, folder, server)?);
    } else {
        say("without the byte relay: it is not built beside this program");
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
    Ok(Scene { peers, stage, programs, firsts })
}

fn sites(scene: &Scene) -> Vec<Site> {
    let sluice = &scene.stage.sluice;
    let local = |port| std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
    let site = |target, port, pid| Site { target, address: local(port), channel: Channel::Plain, pid };
    let mut sites = vec![site(Target::Direct, scene.stage.cluster.node(0).port(), None)];
    sites.extend(scene.peers.iter().map(Peer::site));
    sites.push(site(Target::SluicePrimary, sluice.ports().primary, sluice.pid()));
    let split = site(Target::SluiceSplit, sluice.ports().split, sluice.pid());
    sites.push(split);
    sites.push(Site { target: Target::SluiceSplitTls, channel: Channel::Tls, ..split });
    sites
}
