//! `sluice run`: starts the parts of the process, and ends them in order.
//!
//! Never here: policy about roles or sessions; this file only wires parts together.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_routing::topology::{Instance, InstanceId, Topology};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;

use crate::admin::{self, AdminState, Face};
use crate::config::{Config, LogFormat};
use crate::controller::api::{self, Status};
use crate::feed;
use crate::lifecycle::{Lifecycle, Phases};

/// How often the metrics recorder drops what it no longer needs.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Runs until told to end. The exit code is 0 after an orderly end.
pub fn run(config: Config) -> ExitCode {
    start_log(config.log_format);
    raise_file_limit();
    let ended = start(config);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What keeps the process from running.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("can't listen on {address} ([listen] {listener}): {error}")]
    Listen { listener: &'static str, address: std::net::SocketAddr, error: std::io::Error },
    #[error("can't install the metrics recorder: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("can't start a thread or its runtime: {0}")]
    Thread(std::io::Error),
    #[error("the control thread ended by a panic; this is a bug")]
    Panicked,
}

fn start(config: Config) -> Result<(), StartError> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let control = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(StartError::Thread)?.block_on(control(config, metrics))
        })
        .map_err(StartError::Thread)?;
    control.join().map_err(|_| StartError::Panicked)?
}

async fn control(config: Config, metrics: PrometheusHandle) -> Result<(), StartError> {
    let phases = Arc::new(Phases::default());
    let instances: Vec<Instance> = config
        .instances
        .iter()
        .zip(0..)
        .map(|(instance, id)| Instance::unchecked(InstanceId(id), &*instance.name, &*instance.address))
        .collect();
    let (_publisher, feed) = feed::channel(config.listen.workers, Topology::unknown(instances));
    let initial = Status { cluster: config.cluster.name.clone(), ..Status::default() };
    let (controller, _seat) = api::channel(initial);
    let state = AdminState {
        controller,
        feed,
        phase: phases.watch(),
        live: Arc::new(|| true),
        metrics: metrics.clone(),
        history: config.cluster.store.join("history.jsonl"),
        token: config.admin_token.clone(),
    };
    let admin = listen("admin", config.listen.admin).await?;
    tracing::info!(address = %config.listen.admin, "admin API");
    let mut parts = tokio::task::JoinSet::new();
    parts.spawn(admin::serve(admin, state.clone(), Face::Operations, closed(phases.watch())));
    if let Some(address) = config.listen.health {
        let health = listen("health", address).await?;
        parts.spawn(admin::serve(health, state, Face::Health, closed(phases.watch())));
    }
    parts.spawn(upkeep(metrics, phases.watch()));
    asked_to_end().await.map_err(StartError::Thread)?;
    phases.enter(Lifecycle::NotReady);
    phases.enter(Lifecycle::Draining);
    phases.enter(Lifecycle::Closed);
    while parts.join_next().await.is_some() {}
    Ok(())
}

async fn listen(listener: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| StartError::Listen { listener, address, error })
}

/// Ends when the process is closed.
async fn closed(mut phase: watch::Receiver<Lifecycle>) {
    // An error means that the phases are gone, and with them the process.
    let _ = phase.wait_for(|phase| *phase == Lifecycle::Closed).await;
}

async fn upkeep(metrics: PrometheusHandle, phase: watch::Receiver<Lifecycle>) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    let closed = closed(phase);
    tokio::pin!(closed);
    loop {
        tokio::select! {
            () = &mut closed => return,
            _ = ticks.tick() => metrics.run_upkeep(),
        }
    }
}

/// Ends at the first SIGTERM or SIGINT. SIGHUP, which would end the process by default, is only noted: this
/// version reads its configuration once.
async fn asked_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => tracing::warn!("SIGHUP: reloading is not supported yet in this version"),
        }
    }
}

fn start_log(format: LogFormat) {
    // `SLUICE_LOG=debug` is for finding a fault; anything unreadable means the default.
    let level = std::env::var("SLUICE_LOG").ok().and_then(|level| level.parse().ok());
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_max_level(level.unwrap_or(LevelFilter::INFO));
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Every client costs up to three file descriptors; the soft limit of a service is often only 1024.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(from = current, to = maximum, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "can't raise the limit of open files"),
    }
}
