//! The worker threads of the data path: listeners, accept loops, sessions.
//!
//! Each worker is a thread with a current-thread runtime and its own socket on every listener's address
//! (SO_REUSEPORT); a session stays on the worker that accepted it.
//!
//! Never here: what a session does, a lock between workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_routing::decide::Listener;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Listen;
use crate::feed::registry::Order;
use crate::lifecycle::Lifecycle;
use crate::session::login::keep_verified;
use crate::session::{self, SessionContext};

/// Connections the kernel completes ahead of accept; it cuts this at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Pause after an accept that failed for want of descriptors or memory: the connection stays in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a worker says that it turns over.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// A worker that has not turned over for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// Longest wait for sessions to take an order to close after the drain; then their tasks are dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// A listener can't be opened.
#[derive(Debug, Error)]
#[error("[listen] {name} = \"{address}\" can't be opened: {source}")]
pub struct BindError {
    /// Key in `[listen]`.
    pub name: &'static str,
    /// The configured address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    pulse: Arc<Pulse>,
}

/// When each worker turned over last, milliseconds since the start.
#[derive(Debug)]
pub struct Pulse {
    started: std::time::Instant,
    beats: Vec<AtomicU64>,
}

impl Pulse {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn beat(&self, worker: usize) {
        if let Some(beat) = self.beats.get(worker) {
            beat.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether every worker has turned over lately.
    pub fn is_alive(&self) -> bool {
        let stuck = u64::try_from(STUCK_AFTER.as_millis()).unwrap_or(u64::MAX);
        let now = self.now();
        self.beats.iter().all(|beat| now.saturating_sub(beat.load(Ordering::Relaxed)) < stuck)
    }
}

/// The sockets of all listeners, one per worker: opened before any thread starts, so that a port in use is
/// an error at start.
#[derive(Debug)]
pub struct Sockets(Vec<Vec<(Listener, std::net::TcpListener)>>);

/// Opens the client listeners for every worker.
pub fn bind(listen: &Listen) -> Result<Sockets, BindError> {
    let listeners = [
        (Listener::Split, "split", listen.split),
        (Listener::Primary, "primary", listen.primary),
        (Listener::Replica, "replica", listen.replica),
    ];
    let mut sockets: Vec<Vec<_>> = (0..listen.workers).map(|_| Vec::new()).collect();
    for (listener, name, address) in listeners {
        let Some(address) = address else { continue };
        let failed = |source| BindError { name, address, source };
        // SO_REUSEPORT would let a second process share the port unseen; this one tells.
        drop(open(address, Share::No).map_err(failed)?);
        for worker in &mut sockets {
            worker.push((listener, open(address, Share::AmongWorkers).map_err(failed)?));
        }
    }
    Ok(Sockets(sockets))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    No,
    AmongWorkers,
}

fn open(address: SocketAddr, share: Share) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share == Share::AmongWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if share == Share::AmongWorkers {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// Starts a thread per worker. They end when `phase` is [`Lifecycle::Draining`] and the sessions are gone, at
/// the latest `drain` later.
pub fn start(
    sockets: Sockets,
    context: &Arc<SessionContext>,
    phase: &watch::Receiver<Lifecycle>,
    drain: Duration,
) -> io::Result<Workers> {
    let beats = sockets.0.iter().map(|_| AtomicU64::new(0)).collect();
    let pulse = Arc::new(Pulse { started: std::time::Instant::now(), beats });
    let mut threads = Vec::new();
    for (worker, sockets) in sockets.0.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (context, phase, pulse) = (Arc::clone(context), phase.clone(), Arc::clone(&pulse));
        let thread = std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
            runtime.block_on(run_worker(worker, sockets, context, phase, pulse, drain));
            // Sessions that did not take the order to close end with the runtime.
            runtime.shutdown_background();
        })?;
        threads.push(thread);
    }
    Ok(Workers { threads, pulse })
}

impl Workers {
    /// Whether the workers turn over.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Waits until all workers have ended.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

async fn run_worker(
    worker: usize,
    sockets: Vec<(Listener, std::net::TcpListener)>,
    context: Arc<SessionContext>,
    mut phase: watch::Receiver<Lifecycle>,
    pulse: Arc<Pulse>,
    drain: Duration,
) {
    let heart = tokio::spawn(async move {
        loop {
            pulse.beat(worker);
            sleep(HEARTBEAT).await;
        }
    });
    let verifying = (worker == 0).then(|| {
        let context = Arc::clone(&context);
        tokio::spawn(async move { keep_verified(&context.login).await })
    });
    let keeper = tokio::spawn(session::keep_pool(worker, Arc::clone(&context)));
    let mut accepting = tokio::task::JoinSet::new();
    for (listener, socket) in sockets {
        let context = Arc::clone(&context);
        accepting.spawn(async move {
            match TcpListener::from_std(socket) {
                Ok(socket) => accept_loop(worker, listener, socket, context).await,
                Err(error) => tracing::error!(%error, ?listener, "listener lost"),
            }
        });
    }
    // Nobody enters a phase any more once the sender is gone: then it is over, too.
    let _ = phase.wait_for(|phase| *phase >= Lifecycle::Draining).await;
    accepting.shutdown().await;
    close_sessions(&context, drain).await;
    keeper.abort();
    heart.abort();
    if let Some(verifying) = verifying {
        verifying.abort();
    }
}

async fn accept_loop(worker: usize, listener: Listener, socket: TcpListener, context: Arc<SessionContext>) {
    loop {
        match socket.accept().await {
            Ok((tcp, peer)) => {
                let context = Arc::clone(&context);
                tokio::spawn(session::serve(tcp, peer, listener, worker, context));
            }
            Err(error) => {
                // EMFILE and the like pass when sessions end; ECONNABORTED is one client's affair.
                tracing::warn!(%error, ?listener, "accept failed; going on");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends all sessions of the process: at their transaction boundaries, then, `drain` later, at once.
async fn close_sessions(context: &SessionContext, drain: Duration) {
    let registry = context.feed.registry();
    for (order, patience) in [(Order::CloseAtBoundary, drain), (Order::Close, CLOSE_GRACE)] {
        for entry in registry.all() {
            entry.order(order);
        }
        let deadline = Instant::now() + patience;
        if timeout(deadline - Instant::now(), registry.emptied()).await.is_ok() {
            return;
        }
    }
}
