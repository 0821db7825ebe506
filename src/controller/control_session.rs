//! One MySQL session of the controller: a full login and statements, every one with a deadline.
//!
//! A session on which a deadline has passed is never used again: its answer could still come.
//!
//! Never here: client traffic, a statement's text, a retry.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, IoError, Opts, OptsBuilder, Row, SslOpts, Value};
use tokio::time::{Instant, timeout};

use super::statements;
use crate::config::{Account, Config, Instance, InstanceTls, InstanceTlsMode};

/// Largest answer the controller expects; a gtid_executed of thousands of intervals fits easily.
const MAX_PACKET: usize = 64 << 20;

/// A session idle for longer is replaced; the server ends it at the `wait_timeout` of its setup, 20 s.
const IDLE: Duration = Duration::from_secs(12);

/// Text cells of a result; `None` is NULL.
pub(super) type Rows = Vec<Vec<Option<String>>>;

/// Why a dial or a statement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SqlError {
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
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            Self::Refused | Self::Timeout(_) | Self::Lost(_) | Self::Answer(_) => None,
        }
    }
}

impl From<mysql_async::Error> for SqlError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(server) => Self::Server { code: server.code, message: server.message },
            mysql_async::Error::Io(IoError::Io(io)) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                Self::Refused
            }
            mysql_async::Error::Io(_)
            | mysql_async::Error::Driver(_)
            | mysql_async::Error::Other(_)
            | mysql_async::Error::Url(_) => Self::Lost(error.to_string()),
        }
    }
}

/// How to reach one instance with one account. Password and certificates are read at each dial.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: Arc<str>,
    account: Account,
    tls: InstanceTls,
}

impl Target {
    /// The control account at an instance.
    pub(super) fn control(config: &Config, instance: &Instance) -> Self {
        Self::new(&instance.address, config)
    }

    /// The control account at the instance's admin port, if one is configured.
    pub(super) fn control_admin(config: &Config, instance: &Instance) -> Option<Self> {
        Some(Self::new(instance.admin.as_ref()?, config))
    }

    fn new(address: &Arc<str>, config: &Config) -> Self {
        let (account, tls) = (config.accounts.control.clone(), config.tls_instance.clone());
        Self { address: Arc::clone(address), account, tls }
    }

    /// How to connect, and how without TLS, for servers that don't offer it.
    fn options(&self) -> (Opts, Option<Opts>) {
        let (host, port) = host_and_port(&self.address);
        let base = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(self.account.user.clone()))
            .pass(Some(self.account.password.read().as_str()))
            .prefer_socket(Some(false))
            .tcp_nodelay(true)
            .stmt_cache_size(Some(0))
            // Both known beforehand spares a query at login.
            .max_allowed_packet(Some(MAX_PACKET))
            .wait_timeout(Some(28_800));
        let plain = Opts::from(base.clone());
        let identity = self.tls.files.clone().map(|(cert, key)| ClientIdentity::new(cert.into(), key.into()));
        let ca = self.tls.ca.as_ref().map(|path| vec![path.clone().into()]).unwrap_or_default();
        let ssl = SslOpts::default().with_client_identity(identity).with_root_certs(ca);
        let encrypted = |ssl: SslOpts| Opts::from(base.clone().ssl_opts(Some(ssl)));
        match self.tls.mode {
            InstanceTlsMode::Disabled => (plain, None),
            InstanceTlsMode::Preferred => {
                (encrypted(ssl.with_danger_accept_invalid_certs(true)), Some(plain))
            }
            InstanceTlsMode::Required => (encrypted(ssl.with_danger_accept_invalid_certs(true)), None),
            InstanceTlsMode::VerifyCa => (encrypted(ssl.with_danger_skip_domain_validation(true)), None),
            InstanceTlsMode::VerifyIdentity => (encrypted(ssl), None),
        }
    }

    async fn dial(&self) -> Result<Conn, SqlError> {
        let (first, plain) = self.options();
        match (Conn::new(first).await, plain) {
            (Ok(conn), _) => Ok(conn),
            (
                Err(mysql_async::Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer)),
                Some(plain),
            ) => Ok(Conn::new(plain).await?),
            (Err(error), _) => Err(error.into()),
        }
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
    conn: Option<Conn>,
    used: Instant,
}

impl ControlSession {
    /// Logs in and prepares the session, all within one deadline over name, connect, greeting, TLS, login
    /// and the first statement.
    pub(super) async fn open(target: &Target, deadline: Duration) -> Result<Self, SqlError> {
        let opening = async {
            let mut conn = target.dial().await?;
            conn.query_drop(statements::SESSION_SETUP).await?;
            Ok(Self { conn: Some(conn), used: Instant::now() })
        };
        // Boxed: the driver's login future is large and lives only here.
        timeout(deadline, Box::pin(opening)).await.map_err(|_| SqlError::Timeout(deadline))?
    }

    /// Whether it can still be used: it is not broken, and the server has surely not ended it as idle.
    pub(super) fn is_usable(&self) -> bool {
        self.conn.is_some() && self.used.elapsed() < IDLE
    }

    /// Runs a statement and reads its rows.
    pub(super) async fn rows(&mut self, sql: &str, deadline: Duration) -> Result<Rows, SqlError> {
        self.used = Instant::now();
        let Some(conn) = self.conn.as_mut() else { return Err(SqlError::Lost("closed before".into())) };
        let outcome = match timeout(deadline, conn.query::<Row, _>(sql)).await {
            Ok(Ok(rows)) => return Ok(rows.into_iter().map(cells).collect()),
            Ok(Err(error)) => SqlError::from(error),
            Err(_) => SqlError::Timeout(deadline),
        };
        if !matches!(outcome, SqlError::Server { .. }) {
            self.conn = None;
        }
        Err(outcome)
    }

    /// Runs a statement that returns no rows.
    pub(super) async fn run(&mut self, sql: &str, deadline: Duration) -> Result<(), SqlError> {
        self.rows(sql, deadline).await.map(drop)
    }

    /// Says goodbye properly, so that the server counts no aborted connection.
    pub(super) async fn close(mut self, deadline: Duration) {
        if let Some(conn) = self.conn.take() {
            let _ = timeout(deadline, conn.disconnect()).await;
        }
    }
}

fn cells(row: Row) -> Vec<Option<String>> {
    row.unwrap_raw()
        .into_iter()
        .map(|value| match value {
            Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            None | Some(Value::NULL) => None,
            Some(other) => Some(other.as_sql(true)),
        })
        .collect()
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
