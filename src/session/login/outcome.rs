//! How a login ends: with a client let in, or with a reason.
//!
//! Never here: what the client is told (that is `refusal`).

use sluice_routing::lexer::LexMode;
use thiserror::Error;

use super::places::Place;
use crate::backend::{BackendConnection, BackendLogin, PacketStream};

/// A client that has been let in. Its final OK has been sent; the next thing it sends is a command.
#[derive(Debug)]
pub struct LoggedIn {
    /// The client, at sequence 0.
    pub client: PacketStream,
    /// Who it is: user, secret, schema, collation, *its* capabilities and attributes. Use it (with another
    /// schema if that has changed) for every further backend connection.
    pub login: BackendLogin,
    /// How a server reads the texts of the session.
    pub mode: LexMode,
    /// The connection that verified the login. `None` if a server has let the same login in a short while ago. It leads to the primary unless that could not be reached, or unless the
    /// client came through the replica listener: look at its `instance`.
    pub first_backend: Option<BackendConnection>,
    /// The client's place under `[sessions] max_connections`, given back when dropped.
    pub place: Place,
}

/// A change of user (COM_CHANGE_USER) that succeeded; the OK has been sent.
#[derive(Debug)]
pub struct ChangedUser {
    /// Replaces the session's former login.
    pub login: BackendLogin,
    /// As for [`LoggedIn::mode`].
    pub mode: LexMode,
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
    /// `[sessions] memory`: told 1041 instead of the greeting.
    #[error("out of memory")]
    OutOfMemory,
    /// It closed without a word: a port scan or a probe of a load balancer.
    #[error("closed by the client")]
    Closed,
    /// It came from `[login] proxy_protocol_from` without a PROXY header: not told anything.
    #[error("no PROXY header")]
    NoProxyHeader,
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
    /// Too many wrong passwords from its address for its user: told 1045.
    #[error("too many wrong passwords")]
    Throttled,
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

impl LoginEnd {
    /// The stable label for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::OutOfMemory => "out_of_memory",
            Self::Closed => "closed",
            Self::NoProxyHeader => "no_proxy_header",
            Self::Deadline => "deadline",
            Self::BadHandshake => "bad_handshake",
            Self::Tls => "tls",
            Self::TlsRequired => "tls_required",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::NoInstance => "no_instance",
            Self::Network => "network",
        }
    }
}
