//! What clients cost that do nothing: memory of the proxy, and its CPU.
//!
//! Never here: more than one number of clients at a time.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::connection::{Account, Connection, ConnectionError};
use crate::process::{Usage, resident};
use crate::target::{Site, Target};

/// What so many idle clients cost.
#[derive(Debug, Clone, Copy, Serialize)]
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

/// Logs in so many clients, each of which runs one statement, and looks at the process when they have been idle for a
/// while. `None` for a target without a process.
///
/// # Errors
/// If a client can't log in, or the process is gone.
#[allow(clippy::cast_precision_loss)] // bytes of a process
pub fn measure(
    site: &Site,
    account: &Account,
    clients: usize,
    idle_for: Duration,
) -> Result<Option<Idle>, ConnectionError> {
    let Some(pid) = site.pid else { return Ok(None) };
    client(site, account)?.quit()?;
    let before = resident(pid)?;
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(client(site, account)?);
    }
    let (since, used) = (Instant::now(), Usage::of(pid)?);
    while let Some(left) = idle_for.checked_sub(since.elapsed()) {
        thread::park_timeout(left);
    }
    let cpu = Usage::of(pid)?.since(used).cpu.as_secs_f64() / since.elapsed().as_secs_f64();
    let bytes = resident(pid)?.saturating_sub(before) as f64;
    for connection in connections {
        connection.quit()?;
    }
    let kibibytes = bytes / 1024.0 / (clients.max(1) as f64);
    Ok(Some(Idle {
        target: site.target,
        clients,
        kibibytes,
        without: before as f64 / f64::from(1 << 20),
        cpu,
    }))
}

fn client(site: &Site, account: &Account) -> Result<Connection, ConnectionError> {
    let mut connection = Connection::open(site.address, account)?;
    connection.query("SELECT c FROM bench WHERE id = 1")?;
    Ok(connection)
}
