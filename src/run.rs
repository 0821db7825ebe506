//! `sluice run`: starts the parts of the process, and ends them in order.
//!
//! Never here: policy about roles or sessions; this file only wires parts together.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_routing::decide::Fallback;
use sluice_routing::topology::{Instance, InstanceId, Topology};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::level_filters::LevelFilter;

use crate::admin::{self, AdminState, ConnectionCount, Connections, Face};
use crate::backend::Dialer;
use crate::config::{Config, LogFormat};
use crate::control_login::ControlLogin;
use crate::controller::api::{self, ControllerHandle, Status};
use crate::examine::examiner;
use crate::feed::gate::Closed;
use crate::feed::{self, Feed, Publisher, registry};
use crate::lifecycle::{Lifecycle, Phases};
use crate::reload::Reloader;
use crate::session::SessionContext;
use crate::session::login::LoginContext;
use crate::workers;

/// How long clients are still accepted after the process was asked to end, while it says *not ready*, so that
/// load balancers can turn away first.
const NOT_READY_GRACE: Duration = Duration::from_secs(2);
/// How long sessions have for their open transactions when the process ends.
const DRAIN: Duration = Duration::from_secs(10);
/// What the workers need beyond that to close what is left.
const CLOSE_MARGIN: Duration = Duration::from_secs(2);
/// How often the metrics recorder drops what it no longer needs.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Runs until told to end. The exit code is 0 after an orderly end.
pub fn run(config: Config, path: &Path) -> ExitCode {
    start_log(config.log_format);
    raise_file_limit();
    let ended = start(config, path);
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
    #[error(transparent)]
    Clients(#[from] workers::BindError),
    #[error("can't install the metrics recorder: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("can't start a thread or its runtime: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Ca(#[from] crate::backend::CaError),
    #[error(transparent)]
    Keys(#[from] crate::session::login::KeyError),
    #[error(transparent)]
    Store(#[from] crate::controller::store::StoreError),
    #[error("the control thread ended by a panic; this is a bug")]
    Panicked,
}

/// What the control thread works with.
struct Control {
    config: Arc<Config>,
    publisher: Publisher,
    metrics: PrometheusHandle,
    phases: Arc<Phases>,
    pulse: Arc<workers::Pulse>,
    connections: Connections,
    reloader: Arc<Reloader>,
}

fn start(config: Config, path: &Path) -> Result<(), StartError> {
    // As it was when the file was read, whatever the working directory becomes.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let config = Arc::new(config);
    let sockets = workers::bind(&config.listen)?;
    let (publisher, feed) = feed::channel(config.listen.workers, first_topology(&config));
    // Until the controller knows the primary, writes wait.
    feed.gate().close(Closed::NoPrimary);
    let dialer = Arc::new(Dialer::new(&config)?);
    let context = session_context(&config, &feed, Arc::clone(&dialer))?;
    let connections = counted(&context);
    let reloader = Arc::new(Reloader::new(path, Config::clone(&config), Arc::clone(&context), dialer));
    let phases = Arc::new(Phases::default());
    let workers = workers::start(sockets, &context, &phases.watch(), DRAIN).map_err(StartError::Thread)?;
    let pulse = workers.pulse();
    let control =
        Control { config, publisher, metrics, phases: Arc::clone(&phases), pulse, connections, reloader };
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let ended = runtime.map_err(StartError::Thread)?.block_on(control.run());
            // However the control thread ends, the workers do not outlive it.
            phases.enter(Lifecycle::Draining);
            ended
        })
        .map_err(StartError::Thread)?;
    workers.join();
    thread.join().map_err(|_| StartError::Panicked)?
}

/// Counts backend connections for those who ask.
fn counted(context: &Arc<SessionContext>) -> Connections {
    let context = Arc::clone(context);
    Arc::new(move |instance| {
        let pools = context.pools();
        let idle = pools.idle(instance);
        ConnectionCount { lent: pools.places().used(instance).saturating_sub(idle), idle }
    })
}

fn first_topology(config: &Config) -> Topology {
    let instances: Vec<Instance> = config
        .instances
        .iter()
        .zip(0..)
        .map(|(instance, id)| Instance::unchecked(InstanceId(id), &*instance.name, &*instance.address))
        .collect();
    Topology::unknown(instances)
}

fn session_context(
    config: &Config,
    feed: &Arc<Feed>,
    dialer: Arc<Dialer>,
) -> Result<Arc<SessionContext>, StartError> {
    let login = LoginContext::new(config, dialer, Arc::clone(feed))?;
    feed.registry().set_slot(
        config
            .listen
            .slot
            .unwrap_or_else(|| registry::slot_of_host(&rustix::system::uname().nodename().to_string_lossy())),
    );
    let fallback = if config.sessions.replica_fallback { Fallback::ToPrimary } else { Fallback::Refuse };
    let hold = config.switchover.hold;
    let mut context = SessionContext::new(Arc::clone(feed), login, hold, fallback);
    context.pooling = config.sessions.pooling;
    context.apply(&config.sessions);
    Ok(Arc::new(context))
}

impl Control {
    /// Runs controller and admin API until the process is asked to end, then walks it down: not ready, then
    /// draining; the controller goes on until the sessions are gone, since they may still wait for it.
    async fn run(self) -> Result<(), StartError> {
        let Self { config, publisher, metrics, phases, pulse, connections, reloader } = self;
        let feed = Arc::clone(publisher.feed());
        let initial = Status { cluster: config.cluster.name.clone(), ..Status::default() };
        let (controller, seat) = api::channel(initial);
        let reload = reload_by(&reloader, &controller);
        let state = AdminState {
            controller,
            feed: Arc::clone(&feed),
            phase: phases.watch(),
            live: Arc::new(move || pulse.is_alive()),
            connections,
            metrics: metrics.clone(),
            history: config.cluster.store.join("history.jsonl"),
            token: config.admin_token.clone(),
            reload: Arc::clone(&reload),
            harmless_functions: {
                let reloader = Arc::clone(&reloader);
                Arc::new(move || reloader.config().sessions.harmless_functions)
            },
            examine: {
                let reloader = Arc::clone(&reloader);
                examiner(move || reloader.config())
            },
        };
        let mut parts = serve_admin(&config, &state, &phases).await?;
        parts.spawn(upkeep(metrics, phases.watch()));
        parts.spawn(serve_when_known(Arc::clone(&feed), Arc::clone(&phases)));
        let (stop, stopped) = watch::channel(false);
        let servers = Arc::new(ControlLogin::new(&config));
        let controlling = crate::controller::run_over(servers, Arc::clone(&config), publisher, seat, stopped);
        let ending = async {
            asked_to_end(&reload).await.map_err(StartError::Thread)?;
            phases.enter(Lifecycle::NotReady);
            sleep(NOT_READY_GRACE).await;
            phases.enter(Lifecycle::Draining);
            feed.registry().emptied_or(DRAIN + CLOSE_MARGIN).await;
            // The controller may have ended by itself; then nobody listens.
            let _ = stop.send(true);
            Ok::<(), StartError>(())
        };
        tokio::pin!(ending);
        let controlled = async {
            tokio::pin!(controlling);
            tokio::select! {
                ended = &mut controlling => ended.map_err(StartError::from),
                asked = &mut ending => {
                    asked?;
                    controlling.await.map_err(StartError::from)
                }
            }
        }
        .await;
        phases.enter(Lifecycle::Closed);
        while parts.join_next().await.is_some() {}
        controlled
    }
}

async fn serve_admin(
    config: &Config,
    state: &AdminState,
    phases: &Phases,
) -> Result<tokio::task::JoinSet<()>, StartError> {
    let mut parts = tokio::task::JoinSet::new();
    let admin = listen("admin", config.listen.admin).await?;
    tracing::info!(address = %config.listen.admin, "admin API");
    parts.spawn(admin::serve(admin, state.clone(), Face::Operations, closed(phases.watch())));
    if let Some(address) = config.listen.health {
        let health = listen("health", address).await?;
        parts.spawn(admin::serve(health, state.clone(), Face::Health, closed(phases.watch())));
    }
    Ok(parts)
}

/// Enters *serving* once a primary has been known. Later losses of the primary change nothing: clients are
/// held, and a load balancer must not take this endpoint away then.
async fn serve_when_known(feed: Arc<Feed>, phases: Arc<Phases>) {
    let mut shape = feed.shape_changes();
    let mut phase = phases.watch();
    loop {
        if feed.topology().primary.is_some() {
            phases.enter(Lifecycle::Serving);
            return;
        }
        tokio::select! {
            changed = shape.changed() => if changed.is_err() { return },
            _ = phase.wait_for(|phase| *phase > Lifecycle::Serving) => return,
        }
    }
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

/// Reloads beside the threads that serve.
fn reload_by(reloader: &Arc<Reloader>, controller: &ControllerHandle) -> admin::Reload {
    let (reloader, controller) = (Arc::clone(reloader), controller.clone());
    Arc::new(move || {
        let (reloader, controller) = (Arc::clone(&reloader), controller.clone());
        tokio::task::spawn_blocking(move || {
            let regroup = |config: &Arc<Config>| {
                let asked = controller.regroup(Arc::clone(config));
                tokio::runtime::Handle::current().block_on(asked).map_err(|refusal| refusal.to_string())
            };
            reloader.reload(&regroup)
        })
    })
}

/// Ends at the first SIGTERM or SIGINT; SIGHUP reloads the configuration.
async fn asked_to_end(reload: &admin::Reload) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                // What came of it is in the log.
                drop(reload().await);
            }
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
