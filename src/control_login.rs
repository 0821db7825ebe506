//! The controller's way to the servers: logins of the control account, over the same handshake and TLS as those of
//! clients. Password and certificates are read at each dial.
//!
//! Never here: a deadline over a statement, a statement's text.

use std::io::Write;
use std::time::Duration;

use sluice_protocol::auth::Password;
use sluice_protocol::handshake::attributes;
use sluice_protocol::{Answer, AnswerLimits, Capabilities, GtidSet};
use tokio::time::Instant;

use crate::backend::direct::DirectConnection;
use crate::backend::{BackendLogin, DialError, Secret};
use crate::config::{Account, Config, InstanceTls};
use crate::controller::{Pending, Rows, Servers, Session, SqlError};

/// Longest time for TCP, shared by all addresses of a name. Whoever dials has a shorter deadline over all of it.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer the controller expects; a gtid_executed of thousands of intervals fits easily.
const LIMITS: AnswerLimits = AnswerLimits { columns: 1024, rows: 1 << 20, bytes: 64 << 20 };
/// `utf8mb4_general_ci`, which all versions have; the controller's statements are ASCII.
const COLLATION: u8 = 45;
/// MySQL's port, for addresses without one.
const PORT: u16 = 3306;

/// The control account, or another of Sluice's own, and its transport.
#[derive(Clone, Debug)]
pub struct ControlLogin {
    account: Account,
    /// Reads binary logs.
    replication: Account,
    tls: InstanceTls,
}

impl ControlLogin {
    /// As the configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::of(&config.accounts.control, config)
    }

    /// Another of Sluice's accounts, in the same way.
    #[must_use]
    pub fn of(account: &Account, config: &Config) -> Self {
        Self {
            account: account.clone(),
            replication: config.accounts.replication.clone(),
            tls: config.tls_instance.clone(),
        }
    }

    async fn dial(&self, address: &str, account: &Account) -> Result<DirectConnection, SqlError> {
        let password = Password::new(account.password.read().as_bytes().to_vec());
        let login = BackendLogin {
            user: account.user.as_bytes().into(),
            secret: Some(Secret::new(password)),
            identity: None,
            database: None,
            collation: COLLATION,
            client_capabilities: Capabilities::empty(),
            attributes: attributes::encode(&[(b"program_name", b"sluice")]).into(),
        };
        let address = with_port(address);
        let dialled = DirectConnection::log_in(&address, &login, &self.tls, Instant::now() + CONNECT).await;
        dialled.map_err(failed)
    }
}

impl Servers for ControlLogin {
    fn log_in<'a>(&'a self, address: &'a str) -> Pending<'a, Box<dyn Session>> {
        Box::pin(
            async move { Ok(Box::new(Login(self.dial(address, &self.account).await?)) as Box<dyn Session>) },
        )
    }

    fn copy_transactions<'a>(
        &'a self,
        address: &'a str,
        skip: &'a GtidSet,
        file: &'a mut (dyn Write + Send),
    ) -> Pending<'a, u64> {
        Box::pin(async move {
            let mut connection = self.dial(address, &self.replication).await?;
            connection.copy_transactions(skip, file).await.map_err(failed)
        })
    }
}

#[derive(Debug)]
struct Login(DirectConnection);

impl Session for Login {
    fn query<'a>(&'a mut self, sql: &'a str) -> Pending<'a, Rows> {
        Box::pin(async move {
            match self.0.query(sql, LIMITS).await.map_err(failed)? {
                Answer::Ok(_) => Ok(Rows::new()),
                Answer::Error(error) => Err(said(error.code, &error.message)),
                Answer::Rows { rows, .. } => Ok(rows.into_iter().map(cells).collect()),
            }
        })
    }

    fn close(self: Box<Self>) -> Pending<'static, ()> {
        // The goodbye is said when it is dropped.
        Box::pin(async move { Ok(()) })
    }
}

fn cells(row: Vec<Option<Vec<u8>>>) -> Vec<Option<String>> {
    let text = |cell: Option<Vec<u8>>| cell.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    row.into_iter().map(text).collect()
}

fn said(code: u16, message: &[u8]) -> SqlError {
    SqlError::Server { code, message: String::from_utf8_lossy(message).into_owned() }
}

fn failed(error: DialError) -> SqlError {
    match error {
        DialError::Server(error) => said(error.code, &error.message),
        DialError::Refused => SqlError::Refused,
        DialError::Busy
        | DialError::Resolve(_)
        | DialError::Network { .. }
        | DialError::Deadline { .. }
        | DialError::Tls(_)
        | DialError::WrongServer { .. }
        | DialError::Protocol(_)
        | DialError::AsksClient(_)
        | DialError::NoSecret
        | DialError::UnknownInstance => SqlError::Lost(error.to_string()),
    }
}

/// `host:port`; addresses were checked when the configuration was read.
fn with_port(address: &str) -> String {
    match address.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => address.to_owned(),
        Some(Err(_)) | None => format!("{address}:{PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_port() {
        for (address, full) in
            [("10.0.0.1:3307", "10.0.0.1:3307"), ("[::1]:3307", "[::1]:3307"), ("db1", "db1:3306")]
        {
            assert_eq!(with_port(address), full);
        }
    }
}
