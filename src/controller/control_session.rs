//! One session of the controller: a full login and statements, every one with a deadline.
//!
//! A session on which a deadline has passed is never used again: its answer could still come. How servers are
//! reached is behind [`Servers`]: by MySQL's protocol, or, in the simulation, not at all.
//!
//! Never here: client traffic, a statement's text, a retry.

use std::fmt::Debug;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::GtidSet;
use tokio::time::{Instant, timeout};

use super::{clock, statements};
use crate::config::Instance;

/// A session idle for longer is replaced; the server ends it at the `wait_timeout` of its setup, 20 s.
const IDLE: Duration = Duration::from_secs(12);

/// Text cells of a result; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Why a dial or a statement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// Nobody listens at the address.
    #[error("connection refused")]
    Refused,
    /// The deadline passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server's own error.
    #[error("error {code}: {message}")]
    Server {
        /// MySQL error number.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The connection ended or could not be made.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The answer does not have the expected form.
    #[error("unexpected answer: {0}")]
    Answer(&'static str),
}

impl SqlError {
    /// The MySQL error number, if the server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            Self::Refused | Self::Timeout(_) | Self::Lost(_) | Self::Answer(_) => None,
        }
    }
}

/// What a server does for the controller, when it is done. Dropping it gives up waiting; the server may do it yet.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, SqlError>> + Send + 'a>>;

/// The way to the servers.
pub trait Servers: Debug + Send + Sync {
    /// A full login of the control account at `host:port`.
    fn log_in<'a>(&'a self, address: &'a str) -> Pending<'a, Box<dyn Session>>;

    /// Writes every transaction in the binary log of the server at `host:port` that is not in `skip` to `file`, as
    /// `mysqlbinlog` reads them; returns how many. With the replication account.
    fn copy_transactions<'a>(
        &'a self,
        _address: &'a str,
        _skip: &'a GtidSet,
        _file: &'a mut (dyn Write + Send),
    ) -> Pending<'a, u64> {
        Box::pin(async { Err(SqlError::Answer("there is no way to read its binary log")) })
    }
}

/// One login at one server. Dropping it closes the connection.
pub trait Session: Debug + Send {
    /// Runs one statement and reads its rows. Dropping this before its end leaves the session unusable.
    fn query<'a>(&'a mut self, sql: &'a str) -> Pending<'a, Rows>;

    /// Says goodbye properly, so that the server counts no aborted connection.
    fn close(self: Box<Self>) -> Pending<'static, ()>;
}

/// Where to log in.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: Arc<str>,
    servers: Arc<dyn Servers>,
}

impl Target {
    /// The control account at an instance.
    pub(super) fn control(servers: &Arc<dyn Servers>, instance: &Instance) -> Self {
        Self { address: Arc::clone(&instance.address), servers: Arc::clone(servers) }
    }

    /// The control account at the instance's admin port, if one is configured.
    pub(super) fn control_admin(servers: &Arc<dyn Servers>, instance: &Instance) -> Option<Self> {
        Some(Self { address: Arc::clone(instance.admin.as_ref()?), servers: Arc::clone(servers) })
    }
}

impl Target {
    /// See [`Servers::copy_transactions`].
    pub(super) async fn copy_transactions(
        &self,
        skip: &GtidSet,
        file: &mut (dyn Write + Send),
        deadline: Duration,
    ) -> Result<u64, SqlError> {
        let copying = self.servers.copy_transactions(&self.address, skip, file);
        timeout(deadline, copying).await.map_err(|_| SqlError::Timeout(deadline))?
    }
}

/// `host:port`; the port of MySQL if there is none. Addresses were checked when the configuration was read.
pub(super) fn host_and_port(address: &str) -> (String, u16) {
    match address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host.trim_matches(['[', ']']).to_owned(), port),
        None => (address.to_owned(), 3306),
    }
}

/// A logged-in session.
#[derive(Debug)]
pub(super) struct ControlSession {
    /// `None` after a deadline or a loss: dropping the connection closes the socket.
    session: Option<Box<dyn Session>>,
    opened: std::time::Instant,
    used: Instant,
}

impl ControlSession {
    /// Logs in and prepares the session, all within one deadline over name, connect, greeting, TLS, login
    /// and the first statement.
    pub(super) async fn open(target: &Target, deadline: Duration) -> Result<Self, SqlError> {
        let opening = async {
            let mut session = target.servers.log_in(&target.address).await?;
            session.query(statements::SESSION_SETUP).await?;
            Ok(Self { session: Some(session), opened: clock::now(), used: Instant::now() })
        };
        timeout(deadline, opening).await.map_err(|_| SqlError::Timeout(deadline))?
    }

    /// Since when it has been open: its server is still in the life in which it was then.
    pub(super) fn opened(&self) -> std::time::Instant {
        self.opened
    }

    /// Whether it can still be used: it is not broken, and the server has surely not ended it as idle.
    pub(super) fn is_usable(&self) -> bool {
        self.session.is_some() && self.used.elapsed() < IDLE
    }

    /// Runs a statement and reads its rows.
    pub(super) async fn rows(&mut self, sql: &str, deadline: Duration) -> Result<Rows, SqlError> {
        self.used = Instant::now();
        let Some(session) = self.session.as_mut() else {
            return Err(SqlError::Lost("closed before".into()));
        };
        let outcome = match timeout(deadline, session.query(sql)).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => error,
            Err(_) => SqlError::Timeout(deadline),
        };
        if !matches!(outcome, SqlError::Server { .. }) {
            self.session = None;
        }
        Err(outcome)
    }

    /// Runs a statement that returns no rows.
    pub(super) async fn run(&mut self, sql: &str, deadline: Duration) -> Result<(), SqlError> {
        self.rows(sql, deadline).await.map(drop)
    }

    /// Says goodbye properly, so that the server counts no aborted connection.
    pub(super) async fn close(mut self, deadline: Duration) {
        if let Some(session) = self.session.take() {
            let _ = timeout(deadline, session.close()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        assert_eq!(host_and_port("10.0.0.1:3307"), ("10.0.0.1".into(), 3307));
        assert_eq!(host_and_port("[::1]:3307"), ("::1".into(), 3307));
        assert_eq!(host_and_port("db1"), ("db1".into(), 3306));
    }
}
