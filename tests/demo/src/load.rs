//! A load of independent clients, bounded in number and time.
//!
//! It runs on a thread of its own, so that the caller's work doesn't show up in the measured waits. Handles that
//! are dropped stop their load.
//!
//! Never here: sharing a connection between clients, or going on after the longest duration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::login::Login;

mod client;
mod failure;
mod ledger;
mod timing;
mod work;

pub use client::{Live, Style};
pub use failure::Failure;
pub use ledger::{Ledger, Outcome, Totals};
pub use timing::{Gap, Kind, Sample, Timing, Window};
pub use work::Role;

use client::{Client, Journal};

/// No load runs longer, whatever was asked: sample times are kept in 32 bit.
const LONGEST_LOAD: Duration = Duration::from_secs(3_600);

/// What to run.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Where every client logs in; the database holds the tables of [`crate::tables`].
    pub login: Login,
    /// One client per entry.
    pub clients: Vec<Role>,
    /// A client begins a unit of work this often at most; zero: as fast as it can.
    pub pace: Duration,
    /// The load ends by itself after this time.
    pub longest: Duration,
}

impl LoadConfig {
    /// `clients` clients of all roles in turn, each beginning a unit every 10 ms, for five minutes at most.
    pub fn mixed(login: Login, clients: usize) -> Self {
        Self {
            login,
            clients: Role::ALL.into_iter().cycle().take(clients).collect(),
            pace: Duration::from_millis(10),
            longest: Duration::from_secs(300),
        }
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    report: oneshot::Receiver<Report>,
    live: Arc<Live>,
}

/// What a load saw.
#[derive(Debug)]
pub struct Report {
    /// What every write was told.
    pub ledger: Ledger,
    /// The errors that clients saw, in the order of time (the first 500 of each client).
    pub errors: Vec<Failure>,
    /// All errors, also those not kept.
    pub error_count: u64,
    /// Answers that can't be right: a wrong sum, an own write that was not found.
    pub anomalies: Vec<String>,
    /// Times of all statements.
    pub timing: Timing,
    /// From the first client's start to the last one's end.
    pub lasted: Duration,
}

/// The load could not be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No thread or no runtime could be had.
    #[error("the load can't be started: {0}")]
    Start(#[from] std::io::Error),
    /// The thread of the load ended without a report, that is: it panicked.
    #[error("the load ended without a report")]
    Lost,
}

impl Load {
    /// Starts all clients.
    pub fn start(config: LoadConfig) -> Result<Load, LoadError> {
        let (stop, stopping) = watch::channel(false);
        let (reporter, report) = oneshot::channel();
        let live = Arc::new(Live::default());
        let seen = Arc::clone(&live);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("load".into()).spawn(move || {
            // Nobody waits for a report any more when this fails.
            let _ = reporter.send(runtime.block_on(run(config, stopping, seen)));
        })?;
        Ok(Load { stop, report, live })
    }

    /// Numbers to watch.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Lets every client finish its unit of work and collects what they saw.
    pub async fn stop(self) -> Result<Report, LoadError> {
        // The load may have ended by itself already.
        let _ = self.stop.send(true);
        self.report.await.map_err(|_| LoadError::Lost)
    }
}

async fn run(config: LoadConfig, stopping: watch::Receiver<bool>, live: Arc<Live>) -> Report {
    let origin = Instant::now();
    let mut clients = JoinSet::new();
    let end = tokio::time::Instant::now() + config.longest.min(LONGEST_LOAD);
    for (id, role) in (0_u16..).zip(config.clients.iter().copied()) {
        let client = Client::new(id, config.login.opts(), origin, Arc::clone(&live));
        let (stopping, pace) = (stopping.clone(), config.pace);
        clients.spawn(async move { (u32::from(id), repeat(role, pace, client, stopping, end).await) });
    }
    let mut report = Report {
        ledger: Ledger::default(),
        errors: Vec::new(),
        error_count: 0,
        anomalies: Vec::new(),
        timing: Timing::new(origin),
        lasted: Duration::ZERO,
    };
    while let Some(joined) = clients.join_next().await {
        match joined {
            Ok((id, journal)) => report.take(id, journal),
            Err(panic) => report.anomalies.push(format!("a client of the load panicked: {panic}")),
        }
    }
    report.errors.sort_by_key(|failure| failure.at);
    report.error_count = live.errors();
    report.lasted = origin.elapsed();
    report
}

async fn repeat(
    role: Role,
    pace: Duration,
    mut client: Client,
    mut stopping: watch::Receiver<bool>,
    end: tokio::time::Instant,
) -> Journal {
    let mut ticks = (!pace.is_zero()).then(|| {
        let mut ticks = tokio::time::interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    while !*stopping.borrow_and_update()
        && stopping.has_changed().is_ok()
        && tokio::time::Instant::now() < end
    {
        role.once(&mut client).await;
        if let Some(ticks) = ticks.as_mut() {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopping.changed() => {}
            }
        }
    }
    client.finish().await
}

impl Report {
    fn take(&mut self, id: u32, journal: Journal) {
        self.timing.merge(journal.timing);
        self.errors.extend(journal.errors);
        self.anomalies.extend(journal.anomalies);
        self.ledger.add(id, journal.outcomes);
    }
}
