//! The first login of an account: nobody has seen its password yet, neither a server nor a proxy.
//!
//! Never here: an account that has logged in before.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::connection::{Account, Connection, ConnectionError};
use crate::target::{Site, Target};

/// First logins through each target.
pub const OF_EACH: usize = 20;

/// The accounts that are used up by `targets` targets, as they log in.
#[must_use]
pub fn accounts(targets: usize, schema: &str) -> Vec<Account> {
    let account = |number| Account {
        user: format!("first{number}"),
        password: format!("the first word {number}"),
        schema: schema.to_owned(),
    };
    (0..targets * OF_EACH).map(account).collect()
}

/// What makes them, as root.
#[must_use]
pub fn statements(accounts: &[Account]) -> Vec<String> {
    let create = |it: &Account| format!("CREATE USER '{}'@'%' IDENTIFIED BY '{}'", it.user, it.password);
    let grant = |it: &Account| format!("GRANT SELECT ON `{}`.* TO '{}'@'%'", it.schema, it.user);
    accounts.iter().flat_map(|account| [create(account), grant(account)]).collect()
}

/// First logins through one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FirstLogins {
    /// Which target.
    pub target: Target,
    /// Each one's time from connecting to the OK, ms.
    pub times: Vec<f64>,
    /// How many were refused: MySQL Router can't share connections of an account that its server has not seen yet, unless
    /// there is TLS.
    pub refused: usize,
}

/// Logs each account in once, the targets in turn.
///
/// # Errors
/// The first login that fails and is not refused.
pub fn measure(sites: &[Site], accounts: &[Account]) -> Result<Vec<FirstLogins>, (Target, ConnectionError)> {
    let begin = |site: &Site| FirstLogins { target: site.target, times: Vec::new(), refused: 0 };
    let mut all: Vec<_> = sites.iter().map(begin).collect();
    let turns = accounts.chunks_exact(sites.len().max(1));
    for accounts in turns.take(OF_EACH) {
        for ((site, logins), account) in sites.iter().zip(&mut all).zip(accounts) {
            let start = Instant::now();
            let connection = match Connection::open(site, account) {
                Ok(connection) => connection,
                Err(ConnectionError::Refused(_)) => {
                    logins.refused += 1;
                    continue;
                }
                Err(error) => return Err((site.target, error)),
            };
            logins.times.push(start.elapsed().as_secs_f64() * 1e3);
            connection.quit().map_err(|error| (site.target, error))?;
        }
    }
    Ok(all)
}
