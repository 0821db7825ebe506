//! Servers reached by MySQL's own protocol. Password and certificates are read at each dial.
//!
//! Never here: a deadline, a statement's text.

use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, IoError, Opts, OptsBuilder, Row, SslOpts, Value};

use super::{Pending, Rows, Servers, Session, SqlError, host_and_port};
use crate::config::{Account, Config, InstanceTls, InstanceTlsMode};

/// Largest answer the controller expects; a gtid_executed of thousands of intervals fits easily.
const MAX_PACKET: usize = 64 << 20;

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

/// The account and its transport.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Mysql {
    account: Account,
    tls: InstanceTls,
}

impl Mysql {
    /// The control account.
    pub(in crate::controller) fn control(config: &Config) -> Self {
        Self { account: config.accounts.control.clone(), tls: config.tls_instance.clone() }
    }

    /// How to connect, and how without TLS, for servers that don't offer it.
    fn options(&self, address: &str) -> (Opts, Option<Opts>) {
        let (host, port) = host_and_port(address);
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

    async fn dial(&self, address: &str) -> Result<Conn, SqlError> {
        let (first, plain) = self.options(address);
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

impl Servers for Mysql {
    fn log_in<'a>(&'a self, address: &'a str) -> Pending<'a, Box<dyn Session>> {
        Box::pin(async move { Ok(Box::new(Login(self.dial(address).await?)) as Box<dyn Session>) })
    }
}

#[derive(Debug)]
struct Login(Conn);

impl Session for Login {
    fn query<'a>(&'a mut self, sql: &'a str) -> Pending<'a, Rows> {
        Box::pin(async move {
            let rows = self.0.query::<Row, _>(sql).await?;
            Ok(rows.into_iter().map(cells).collect())
        })
    }

    fn close(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move { Ok(self.0.disconnect().await?) })
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
