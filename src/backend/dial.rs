//! Opening a backend connection: name, TCP, greeting, TLS, authentication, first statements.
//!
//! Never here: a choice of instance, a retry (the caller knows why it wants the connection).

use std::io;
use std::sync::Arc;

use sluice_protocol::{Capabilities, ErrPacket};
use sluice_routing::topology::{Instance, InstanceId};
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use uuid::Uuid;

use super::login::BackendLogin;
use super::stream::PacketStream;
use crate::config::Config;

/// Opens backend connections; one per process, shared by all workers.
#[derive(Debug)]
pub struct Dialer {}

/// Which server is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The instance.
    pub instance: InstanceId,
    /// The `server_uuid` that has to answer; `None` while the topology does not know it.
    pub expected_uuid: Option<Uuid>,
}

impl Target {
    /// The server that the topology means by `instance`.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        Self { instance: instance.id, expected_uuid: instance.server_uuid }
    }
}

/// A connection to an instance, logged in, trackers on, ready for a command (sequence 0). Dropping it closes
/// the socket and gives its permit back.
#[derive(Debug)]
pub struct BackendConnection {
    /// Where it leads.
    pub instance: InstanceId,
    /// The server's id of this connection: what KILL takes, and what its binlog keeps.
    pub thread_id: u32,
    /// `@@server_uuid`; `None` in the sandbox of an expired password (1820), where nothing can be read.
    pub server_uuid: Option<Uuid>,
    /// What both sides agreed on.
    pub capabilities: Capabilities,
    /// The server's version string, as greeted.
    pub version: Arc<str>,
    /// `@@read_only` when the connection was opened.
    pub read_only: bool,
    /// The bytes.
    pub io: PacketStream,
    _permit: OwnedSemaphorePermit,
}

/// The steps of a dial; says where a deadline hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting for a permit (`[sessions] max_backend`).
    Permit,
    /// Name resolution.
    Resolve,
    /// TCP connect.
    Connect,
    /// Waiting for the server's greeting.
    Greeting,
    /// TLS handshake.
    Tls,
    /// Authentication.
    Authenticate,
    /// The first statements.
    FirstStatement,
}

/// Why there is no connection. Split by who is to blame.
#[derive(Debug, Error)]
pub enum DialError {
    /// No permit became free: `[sessions] max_backend` connections to this instance are in use.
    #[error("all connections to the instance are in use")]
    Busy,
    /// The name of the instance can't be resolved.
    #[error("the instance's name can't be resolved: {0}")]
    Resolve(#[source] io::Error),
    /// Nothing listens at the address: the server process is down.
    #[error("the instance refuses connections")]
    Refused,
    /// The network can't reach it, or the connection broke before the end of the login.
    #[error("the connection to the instance failed ({phase:?}): {source}")]
    Network {
        /// Where.
        phase: Phase,
        /// How.
        source: io::Error,
    },
    /// The deadline came; `phase` says what was waited for.
    #[error("the instance did not answer in time ({phase:?})")]
    Deadline {
        /// What was waited for.
        phase: Phase,
    },
    /// The server said no: 1045, 1049, 1040, 1129, 1862, ... To be passed to the client unchanged.
    #[error("the instance refused the login: {} {}", .0.code, String::from_utf8_lossy(&.0.message))]
    Server(Box<ErrPacket<'static>>),
    /// TLS is demanded and does not come about. The text says what to do.
    #[error("TLS to the instance failed: {0}")]
    Tls(String),
    /// Another server answers at the instance's address.
    #[error("another server ({found}) answers where {expected} is meant")]
    WrongServer {
        /// The `server_uuid` the topology knows.
        expected: Uuid,
        /// The one that answered.
        found: Uuid,
    },
    /// The peer does not speak the protocol as we know it.
    #[error("the instance's answer is not understood: {0}")]
    Protocol(String),
    /// The login's secret was not kept, so nobody can log in on the client's behalf.
    #[error("the password of this session was not kept")]
    NoSecret,
    /// The instance is not in the configuration.
    #[error("no such instance")]
    UnknownInstance,
}

/// A configured file that a dialer needs is not usable.
#[derive(Debug, Error)]
pub enum DialerSetupError {
    /// `[tls.instance] ca` can't be read, or holds no certificate.
    #[error("[tls.instance] ca: {0}")]
    Ca(String),
}

impl Dialer {
    /// A dialer for the instances of `config`.
    pub fn new(_config: &Config) -> Result<Self, DialerSetupError> {
        Ok(Self {})
    }

    /// Opens a connection to `target` as `login`. Everything, from waiting for a permit to the answer of the
    /// first statements, ends at `deadline`. Cancelling it closes what was opened.
    pub async fn connect(
        &self,
        _target: Target,
        _login: &BackendLogin,
        _deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        Err(DialError::UnknownInstance)
    }
}
