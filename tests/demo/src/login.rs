//! Where a client logs in, and as whom.
//!
//! Never here: a pool. Every connection of the load is one a client opened itself.

use mysql_async::{Opts, OptsBuilder, SslOpts};

/// One address with one account.
#[derive(Clone, Debug)]
pub struct Login {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account name.
    pub user: String,
    /// Password; may be empty.
    pub password: String,
    /// Schema of the session.
    pub database: Option<String>,
    /// Whether the connection is encrypted.
    pub tls: Tls,
}

/// Encryption of a client's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Plain TCP; the password goes by scramble or RSA.
    #[default]
    Off,
    /// TLS with any certificate: servers and Sluice make their own.
    Unverified,
}

impl Login {
    /// An account on 127.0.0.1 without a schema and without TLS.
    pub fn local(port: u16, user: &str, password: &str) -> Self {
        Self {
            host: "127.0.0.1".into(),
            port,
            user: user.into(),
            password: password.into(),
            database: None,
            tls: Tls::Off,
        }
    }

    /// The same account in a schema.
    #[must_use]
    pub fn in_database(mut self, database: &str) -> Self {
        self.database = Some(database.into());
        self
    }

    /// The same account on another port.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Options for the driver. The Unix socket shortcut is off: it would go around whatever is listening here.
    pub fn opts(&self) -> Opts {
        let ssl = match self.tls {
            Tls::Off => None,
            Tls::Unverified => Some(
                SslOpts::default()
                    .with_danger_accept_invalid_certs(true)
                    .with_danger_skip_domain_validation(true),
            ),
        };
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(Some(self.password.clone()))
            .db_name(self.database.clone())
            .prefer_socket(false)
            .ssl_opts(ssl)
            .into()
    }
}
