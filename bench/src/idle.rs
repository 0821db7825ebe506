//! What clients cost that do nothing: memory of the proxy, and its CPU.
//!
//! Memory is that beyond what the process had before any client of the run: what a larger number of clients has left
//! behind would else make the next ones look cheap.
//!
//! Never here: more than one number of clients at a time.

use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::connection::{Account, Connection, ConnectionError};
use crate::process::{Usage, descriptors, resident};
use crate::target::{Site, Target};

/// Threads that log clients in.
const THREADS: usize = 8;
/// Descriptors beyond those of before that a proxy may keep when its clients have left: connections to servers.
const KEPT: usize = 500;
/// Longest wait for a proxy to notice that its clients have left.
const GONE: Duration = Duration::from_secs(60);
/// Between two looks whether they have.
const PAUSE: Duration = Duration::from_millis(50);

/// What so many idle clients cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Idle {
    /// Whom.
    pub target: Target,
    /// How many clients.
    pub clients: usize,
    /// Resident memory per client, KiB, beyond that without clients.
    pub kibibytes: f64,
    /// Resident memory without clients, MiB.
    pub without: f64,
    /// Share of one core while they are idle.
    pub cpu: f64,
}

/// A proxy before its first clients.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    pid: i32,
    bytes: u64,
    descriptors: usize,
}

impl Before {
    /// `None` for a target without a process.
    ///
    /// # Errors
    /// If a client can't log in, or the process is gone.
    pub fn of(site: &Site, account: &Account) -> Result<Option<Self>, ConnectionError> {
        let Some(pid) = site.pid else { return Ok(None) };
        client(site, account)?.quit()?;
        Ok(Some(Self { pid, bytes: resident(pid)?, descriptors: descriptors(pid)? }))
    }
}

/// Logs in so many clients, each of which runs one statement, and looks at the process when they have been idle for a
/// while.
///
/// # Errors
/// If a client can't log in, or the process is gone.
#[allow(clippy::cast_precision_loss)] // bytes of a process
pub fn measure(
    site: &Site,
    before: Before,
    account: &Account,
    clients: usize,
    idle_for: Duration,
) -> Result<Idle, ConnectionError> {
    let pid = before.pid;
    let connections = log_in(site, account, clients)?;
    let (since, used) = (Instant::now(), Usage::of(pid)?);
    while let Some(left) = idle_for.checked_sub(since.elapsed()) {
        thread::park_timeout(left);
    }
    let cpu = Usage::of(pid)?.since(used).cpu.as_secs_f64() / since.elapsed().as_secs_f64();
    let bytes = resident(pid)?.saturating_sub(before.bytes) as f64;
    for connection in connections {
        connection.quit()?;
    }
    let end = Instant::now() + GONE;
    while descriptors(pid)? > before.descriptors + KEPT && Instant::now() < end {
        thread::park_timeout(PAUSE);
    }
    let kibibytes = bytes / 1024.0 / (clients.max(1) as f64);
    let without = before.bytes as f64 / f64::from(1 << 20);
    Ok(Idle { target: site.target, clients, kibibytes, without, cpu })
}

/// Logs in on some threads: a login is mostly waiting.
fn log_in(site: &Site, account: &Account, clients: usize) -> Result<Vec<Connection>, ConnectionError> {
    let some = |share: usize| (0..share).map(|_| client(site, account)).collect::<Result<Vec<_>, _>>();
    let shares = (0..THREADS).map(|thread| (clients + thread) / THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || some(share))).collect();
        let mut connections = Vec::with_capacity(clients);
        for thread in threads {
            let died = || Err(std::io::Error::other("a thread died").into());
            connections.extend(thread.join().unwrap_or_else(|_| died())?);
        }
        Ok(connections)
    })
}

fn client(site: &Site, account: &Account) -> Result<Connection, ConnectionError> {
    let mut connection = Connection::open(site, account)?;
    connection.query("SELECT c FROM bench WHERE id = 1")?;
    Ok(connection)
}
