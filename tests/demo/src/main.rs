//! `make demo`: three MySQL servers, Sluice in front of them, a load, and switchovers that the load must not
//! notice.
//!
//! Never here: looking away. Any client error, any missing row and any difference between the servers makes the
//! exit code 1.

mod keep;
mod report;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sluice_cluster::Cluster;
use sluice_demo::load::{Load, LoadConfig, Window};
use sluice_demo::stage::{SCHEMA, Stage};
use sluice_demo::verify;
use tokio::time::interval;

use report::{Round, Selects};
use show::Show;

/// A client begins a unit of work this often: enough to notice a switchover, not enough to saturate two cores that
/// also run three servers, so that waits show the switchover and not the scheduler.
const PACE: Duration = Duration::from_millis(25);
/// How often the display is renewed.
const REFRESH: Duration = Duration::from_millis(200);
/// A switchover that is not over by then is reported as it stands.
const SWITCHOVER_DEADLINE: Duration = Duration::from_secs(60);

/// Shows a MySQL cluster changing its primary under load without one client noticing.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Options {
    /// Leave servers and Sluice running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// How many switchovers.
    #[arg(long, default_value_t = 5)]
    switchovers: u32,
    /// How many clients.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Seconds of load before, between and after switchovers.
    #[arg(long, default_value_t = 4)]
    pause: u64,
    /// The sluice binary [default: beside this program].
    #[arg(long)]
    sluice: Option<PathBuf>,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = Options::parse();
    let show = Show::new();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return show.failed(&error),
    };
    runtime.block_on(async {
        tokio::select! {
            done = play(&options, &show) => match done {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => show.failed(error.as_ref()),
            },
            // Dropping the play ends Sluice and the servers and removes their folder.
            _ = tokio::signal::ctrl_c() => {
                show.line("stopped by Ctrl-C; nothing is left behind");
                ExitCode::from(130)
            }
        }
    })
}

async fn play(options: &Options, show: &Show) -> Result<bool, Failure> {
    let binary = match &options.sluice {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("sluice"),
    };
    show.line(
        "starting three MySQL servers (the first time they are downloaded) and Sluice in front of them",
    );
    let began = Instant::now();
    let stage = Stage::start(&binary, Cluster::builder(), "").await?;
    for node in stage.cluster.nodes() {
        show.line(&format!(
            "  {} is MySQL {} on {}",
            node.name(),
            stage.cluster.mysqld().version(),
            node.address()
        ));
    }
    let split = stage.sluice.ports().split;
    show.line(&format!(
        "  Sluice takes clients on 127.0.0.1:{split} ({:.1?} for all of it)",
        began.elapsed()
    ));
    let fine = perform(options, show, &stage).await?;
    if options.keep {
        keep::until_ctrl_c(show, &stage, &binary).await?;
    }
    drop(stage);
    Ok(fine)
}

/// The load with its switchovers; returns whether every promise was kept.
async fn perform(options: &Options, show: &Show, stage: &Stage) -> Result<bool, Failure> {
    stage.fresh_tables().await?;
    let selects = Selects::read(stage).await?;
    let mut config = LoadConfig::mixed(stage.split(), options.clients);
    config.pace = PACE;
    let load = Load::start(config)?;
    show.line(&format!(
        "{} clients read and write through it: text and prepared statements, autocommit and transactions",
        options.clients
    ));
    let pause = Duration::from_secs(options.pause);
    watch(show, &load, pause, "load").await;
    let mut rounds = Vec::new();
    for number in 1..=options.switchovers {
        let from = Instant::now();
        show.status(&format!("switchover {number} is under way"));
        let operation = stage.admin().switchover(None, SWITCHOVER_DEADLINE).await?;
        let round = Round { operation, window: Window { from, to: Instant::now() } };
        show.line(&round.headline(number));
        rounds.push(round);
        watch(show, &load, pause, &format!("after switchover {number}")).await;
    }
    show.status("the load ends");
    let seen = load.stop().await?;
    let selects = Selects::read(stage).await?.since(&selects);
    show.status("comparing the ledger with all servers");
    let verdict = verify::verify(&seen.ledger, SCHEMA, &stage.servers()).await?;
    show.clear();
    Ok(report::print(show, &seen, &rounds, &selects, &verdict))
}

/// Shows the load at work for a while.
async fn watch(show: &Show, load: &Load, time: Duration, phase: &str) {
    let end = Instant::now() + time;
    let mut ticks = interval(REFRESH);
    while Instant::now() < end {
        ticks.tick().await;
        show.load(phase, load.live());
    }
}
