//! Login of a client: greeting, TLS, authentication, and the first backend connection.
//!
//! Nobody keeps a user list here: a server decides, by letting us log in with the client's password. A
//! remembered verifier only spares the client the full exchange; the server is still asked at each login.
//! Nothing is opened to an instance before the client's handshake response has arrived.
//!
//! Never here: a command after login, a decision about routing, a password in a log.

use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::backend::{BackendConnection, BackendLogin, Dialer, PacketStream};
use crate::config::Config;
use crate::feed::Feed;
use crate::feed::registry::Entry;

/// What logins share: one per process.
#[derive(Debug)]
pub struct LoginContext {}

/// A client that has been let in. Its final OK has been sent; the next thing it sends is a command.
#[derive(Debug)]
pub struct LoggedIn {
    /// The client, at sequence 0.
    pub client: PacketStream,
    /// Who it is: user, secret, schema, collation, *its* capabilities and attributes. Use it (with another
    /// schema if that has changed) for every further backend connection.
    pub login: BackendLogin,
    /// The connection that verified the login. `None` if a remembered verifier let the client in while no
    /// instance could be reached. It leads to the primary unless that could not be reached, or unless the
    /// client came through the replica listener: look at its `instance`.
    pub first_backend: Option<BackendConnection>,
    /// The client's place under `[sessions] max_connections`, given back when dropped.
    pub place: OwnedSemaphorePermit,
}

/// A change of user (COM_CHANGE_USER) that succeeded; the OK has been sent.
#[derive(Debug)]
pub struct ChangedUser {
    /// Replaces the session's former login.
    pub login: BackendLogin,
    /// Replaces *all* of the session's backend connections: as for [`LoggedIn::first_backend`].
    pub first_backend: Option<BackendConnection>,
}

/// Why a client was not let in. It has been told already, as far as it could be; the caller only drops the
/// connection (and must not log it again).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum LoginEnd {
    /// `[sessions] max_connections`: told 1040 instead of the greeting.
    #[error("too many connections")]
    TooManyConnections,
    /// It closed without a word: a port scan or a probe of a load balancer.
    #[error("closed by the client")]
    Closed,
    /// It took longer than the handshake may take.
    #[error("no login in time")]
    Deadline,
    /// It speaks something else: told 1043.
    #[error("not understood")]
    BadHandshake,
    /// The TLS handshake failed.
    #[error("TLS handshake failed")]
    Tls,
    /// It did not use TLS where it is required: told 3159.
    #[error("TLS is required")]
    TlsRequired,
    /// Denied here: one of Sluice's own accounts, `deny_users`, or not from an allowed network: told 1045.
    #[error("denied by configuration")]
    Denied,
    /// A server said no (wrong password, unknown schema, locked, ...): told that server's error.
    #[error("refused by the server")]
    Refused,
    /// No instance could be asked: told 1053 (or 1040 if our own limit was the reason).
    #[error("no instance to ask")]
    NoInstance,
    /// The connection broke.
    #[error("connection lost")]
    Network,
}

/// What a login needs from files can't be had.
#[derive(Debug, Error)]
pub enum LoginSetupError {
    /// A certificate or key, configured or self-made.
    #[error("{what}: {why}")]
    Key {
        /// Which file or setting.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl LoginContext {
    /// Loads (or makes, in the store folder) certificate and RSA key. Blocking; call it at start.
    pub fn new(_config: &Config, _dialer: Arc<Dialer>, _feed: Arc<Feed>) -> Result<Self, LoginSetupError> {
        Ok(Self {})
    }

    /// Whom and how to dial; the session's further connections use the same.
    pub fn dialer(&self) -> Option<&Arc<Dialer>> {
        None
    }
}

/// Lets one client in, or not. Ends by itself within the handshake deadline plus the dial deadlines.
pub async fn login(_tcp: TcpStream, _entry: &Entry, _context: &LoginContext) -> Result<LoggedIn, LoginEnd> {
    Err(LoginEnd::NoInstance)
}

/// Serves COM_CHANGE_USER; `payload` is the whole command, `current` the session's login. Answers the client
/// in every case; after an `Err` the session ends, as it does with MySQL.
pub async fn change_user(
    _client: &mut PacketStream,
    _payload: &[u8],
    _current: &BackendLogin,
    _entry: &Entry,
    _context: &LoginContext,
) -> Result<ChangedUser, LoginEnd> {
    Err(LoginEnd::NoInstance)
}
