//! Gathers the facts: one session of each of Sluice's accounts at each member, all members at once.
//!
//! Never here: a statement that changes anything, an opinion.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::facts::{Channel, Facts, Member, Server, Variables, Wanted};
use crate::config::{Config, Instance};
use crate::controller::control_session::{Rows, Servers, Session, SqlError};
use crate::controller::statements::{self as texts, doctor as questions};

/// Everything that is asked of one member, logins included: half of what the CLI waits for its answer.
const LIMIT: Duration = Duration::from_secs(15);
/// One login.
const LOGIN: Duration = Duration::from_secs(5);
/// One question. The lists of tables read the dictionary of all schemas.
const QUESTION: Duration = Duration::from_secs(8);

/// Logins of Sluice's accounts.
#[derive(Clone, Debug)]
pub struct Logins {
    /// The control account.
    pub control: Arc<dyn Servers>,
    /// The replication account.
    pub replication: Arc<dyn Servers>,
    /// The account for CLONE, if it has one of its own.
    pub clone: Option<Arc<dyn Servers>>,
}

/// Asks every member of the configuration.
pub async fn ask(config: &Config, logins: &Logins) -> Facts {
    let mut asking = JoinSet::new();
    for (place, instance) in config.members().enumerate() {
        let (instance, logins) = (instance.clone(), logins.clone());
        asking.spawn(async move { (place, member(&instance, &logins).await) });
    }
    let mut members = Vec::with_capacity(config.members().count());
    while let Some(asked) = asking.join_next().await {
        // One that panicked is missing in the report, and with it from what was examined.
        members.extend(asked.ok());
    }
    members.sort_by_key(|(place, _)| *place);
    Facts {
        members: members.into_iter().map(|(_, member)| member).collect(),
        wanted: Wanted {
            wait_count: config.durability.wait_count(config.members().count()),
            without_acker: config.durability.without_acker,
            max_backend: config.sessions.max_backend,
            control: config.accounts.control.user.clone(),
            replication: config.accounts.replication.user.clone(),
            clone: config.accounts.clone.as_ref().map(|account| account.user.clone()),
        },
    }
}

async fn member(instance: &Instance, logins: &Logins) -> Member {
    let address = &instance.address;
    let admin = async {
        let admin = instance.admin.as_ref()?;
        Some(log_in(&logins.control, admin).await.map(drop).map_err(|error| error.to_string()))
    };
    let clone = async {
        let clone = logins.clone.as_ref()?;
        Some(grants(clone, address).await)
    };
    let (server, admin, replication, clone) =
        tokio::join!(server(&logins.control, address), admin, grants(&logins.replication, address), clone);
    Member {
        name: instance.name.to_string(),
        address: address.to_string(),
        acker: instance.acker,
        admin,
        server: server.map_err(|error| error.to_string()),
        replication,
        clone,
    }
}

async fn log_in(servers: &Arc<dyn Servers>, address: &str) -> Result<Box<dyn Session>, SqlError> {
    timeout(LOGIN, servers.log_in(address)).await.map_err(|_| SqlError::Timeout(LOGIN))?
}

async fn rows(session: &mut Box<dyn Session>, sql: &str) -> Result<Rows, SqlError> {
    timeout(QUESTION, session.query(sql)).await.map_err(|_| SqlError::Timeout(QUESTION))?
}

/// First cells.
async fn list(session: &mut Box<dyn Session>, sql: &str) -> Result<Vec<String>, SqlError> {
    Ok(rows(session, sql).await?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

async fn grants(servers: &Arc<dyn Servers>, address: &str) -> Result<Vec<String>, String> {
    let asked = async {
        let mut session = log_in(servers, address).await?;
        let lines = list(&mut session, questions::GRANTS).await?;
        session.close().await?;
        Ok::<_, SqlError>(lines)
    };
    match timeout(LIMIT, asked).await {
        Ok(lines) => lines.map_err(|error| error.to_string()),
        Err(_) => Err(SqlError::Timeout(LIMIT).to_string()),
    }
}

async fn server(servers: &Arc<dyn Servers>, address: &str) -> Result<Server, SqlError> {
    timeout(LIMIT, questioned(servers, address)).await.map_err(|_| SqlError::Timeout(LIMIT))?
}

async fn questioned(servers: &Arc<dyn Servers>, address: &str) -> Result<Server, SqlError> {
    let mut session = log_in(servers, address).await?;
    // Before the setup, which needs some of them.
    let grants = list(&mut session, questions::GRANTS).await?;
    rows(&mut session, texts::SESSION_SETUP).await?;
    let mut server = Server {
        grants,
        skew_ms: skew(&mut session).await?,
        variables: variables(&rows(&mut session, questions::VARIABLES).await?),
        persisted: variables(&rows(&mut session, questions::PERSISTED).await?),
        channels: rows(&mut session, questions::CHANNELS).await?.iter().map(|row| channel(row)).collect(),
        ..Server::default()
    };
    let filters = rows(&mut session, texts::FILTERS).await?;
    server.filters = filters.iter().map(|row| format!("{} {}", cell(row, 0), cell(row, 1))).collect();
    if server.source().is_none() {
        server.keyless = list(&mut session, questions::KEYLESS).await?;
        server.foreign = tables(&list(&mut session, questions::FOREIGN).await?);
        server.resting = list(&mut session, questions::RESTING_EVENTS).await?;
    }
    session.close().await?;
    Ok(server)
}

fn cell(row: &[Option<String>], column: usize) -> &str {
    row.get(column).and_then(Option::as_deref).unwrap_or_default()
}

fn variables(rows: &Rows) -> Variables {
    let mut variables = Variables::default();
    rows.iter().for_each(|row| variables.note(cell(row, 0), cell(row, 1)));
    variables
}

fn channel(row: &[Option<String>]) -> Channel {
    let error = |number: &str, message: &str| {
        if matches!(number, "" | "0") { String::new() } else { format!("error {number}: {message}") }
    };
    Channel {
        name: cell(row, 0).to_owned(),
        source: cell(row, 1).to_owned(),
        receiver: cell(row, 2).to_owned(),
        receiver_error: error(cell(row, 3), cell(row, 4)),
        applier: cell(row, 5).to_owned(),
        applier_error: cell(row, 6).to_owned(),
        auto_position: matches!(cell(row, 7), "1" | "YES"),
        heartbeat: cell(row, 8).parse().unwrap_or_default(),
        delay: cell(row, 9).parse().unwrap_or_default(),
    }
}

/// The server's clock less ours, less what the round trip may account for.
async fn skew(session: &mut Box<dyn Session>) -> Result<i64, SqlError> {
    let ours = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let (asked, began) = (ours(), Instant::now());
    let answer = rows(session, questions::CLOCK).await?;
    let trip = began.elapsed().as_secs_f64();
    let theirs: f64 = answer.first().and_then(|row| cell(row, 0).parse().ok()).unwrap_or(asked);
    let off = theirs - (asked + trip / 2.0);
    let sure = (off.abs() - trip / 2.0).max(0.0) * off.signum();
    #[allow(clippy::cast_possible_truncation, reason = "saturates, and no clock is off by 292 million years")]
    Ok((sure * 1000.0) as i64)
}

/// From `schema/table` and from paths of files: names, once each.
fn tables(found: &[String]) -> Vec<String> {
    let mut names: Vec<String> = found
        .iter()
        .filter_map(|path| {
            let mut parts = path.rsplit('/');
            let (table, schema) = (parts.next()?, parts.next()?);
            Some(format!("{schema}/{}", table.split('.').next()?))
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_once_each() {
        let found = ["/var/lib/mysql/shop/log.MYD", "shop/log", "shop/old"].map(str::to_owned).to_vec();
        assert_eq!(tables(&found), ["shop/log", "shop/old"]);
    }
}
