//! Logins per second: connect, log in, say goodbye.
//!
//! Never here: statements.

use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::connection::{Account, Connection, ConnectionError};
use crate::plan::{Plan, order};
use crate::process::Usage;
use crate::target::{Site, Target};

/// One turn of one target.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LoginTurn {
    /// Logins per second.
    pub rate: f64,
    /// CPU of the proxy's process per login, µs.
    pub cpu: Option<f64>,
}

/// All turns of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logins {
    /// Which target.
    pub target: Target,
    /// In the order of the rounds.
    pub turns: Vec<LoginTurn>,
}

/// Measures logins in rounds, as cells are.
///
/// # Errors
/// The first login that fails.
pub fn measure(
    plan: &Plan,
    sites: &[Site],
    account: &Account,
) -> Result<Vec<Logins>, (Target, ConnectionError)> {
    let mut all: Vec<_> =
        sites.iter().map(|site| Logins { target: site.target, turns: Vec::new() }).collect();
    for round in 0..plan.rounds {
        for index in order(sites.len(), round) {
            let (Some(site), Some(logins)) = (sites.get(index), all.get_mut(index)) else { continue };
            logins.turns.push(turn(plan, site, account).map_err(|error| (site.target, error))?);
        }
    }
    Ok(all)
}

#[allow(clippy::cast_precision_loss)] // logins of a second
fn turn(plan: &Plan, site: &Site, account: &Account) -> Result<LoginTurn, ConnectionError> {
    let before = site.pid.map(Usage::of).transpose()?;
    let start = Instant::now();
    let logins = thread::scope(|scope| {
        let client = || -> Result<u64, ConnectionError> {
            let mut logins = 0;
            while start.elapsed() < plan.slice {
                Connection::open(site, account)?.quit()?;
                logins += 1;
            }
            Ok(logins)
        };
        let clients: Vec<_> = (0..plan.login_clients).map(|_| scope.spawn(client)).collect();
        let died = || Err(std::io::Error::other("a client died").into());
        clients.into_iter().map(|client| client.join().unwrap_or_else(|_| died())).sum::<Result<u64, _>>()
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    let after = site.pid.map(Usage::of).transpose()?;
    let used = before.zip(after).map(|(before, after)| after.since(before).cpu.as_secs_f64());
    let logins = (logins as f64).max(1.0);
    Ok(LoginTurn { rate: logins / elapsed, cpu: used.map(|used| used * 1e6 / logins) })
}
