//! Opening a backend connection: name, TCP, greeting, TLS, authentication, first statements.
//!
//! Never here: a choice of instance, a retry (the caller knows why it wants the connection).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sluice_protocol::auth::{Credential, Password};
use sluice_protocol::command::build;
use sluice_protocol::handshake::{LoginRequest, Ready};
use sluice_protocol::{Capabilities, ErrPacket};
use sluice_routing::lexer::LexMode;
use sluice_routing::topology::{Instance, InstanceId, MAX_INSTANCES};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::first::LoginCharset;
use super::handover::{Handover, Opened};
use super::handshake::{Proved, ask, greet, identity_of, open, prove, request};
use super::identity::Identity;
use super::login::BackendLogin;
use super::places::{Grant, Permit, Places};
use super::stream::PacketStream;
use super::tls::{CaError, Tls};
use crate::config::{Config, InstanceTls};

/// Opens backend connections; one per process, shared by all workers.
#[derive(Debug)]
pub struct Dialer {
    /// Grows at a reload.
    endpoints: ArcSwap<Vec<Endpoint>>,
    places: Arc<Places>,
    tls: ArcSwap<Tls>,
}

/// TLS towards instances with freshly read files; see [`Dialer::check`].
pub struct NewTls(Tls);

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

/// A connection to an instance, logged in, trackers on, ready for a command (sequence 0). Dropping it says
/// COM_QUIT, closes the socket and gives its permit back.
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
    /// The name of the account that the server chose (of `CURRENT_USER()`); empty in the sandbox.
    pub account: Box<[u8]>,
    /// As whom it was opened; only sessions with an equal one may use it. `None`: only the session that it was
    /// opened for.
    pub identity: Option<Identity>,
    /// How the server reads the texts of a fresh session.
    pub mode: LexMode,
    /// The character sets of a fresh session.
    pub charset: LoginCharset,
    /// The roles of a fresh session, as `SET ROLE` takes them; empty in the sandbox.
    pub role: Box<[u8]>,
    /// `@@wait_timeout` of a fresh session: idle for longer, the server ends it.
    pub wait_timeout: Duration,
    /// When the login was complete.
    pub opened_at: Instant,
    /// `@@read_only` when the connection was opened.
    pub read_only: bool,
    /// The payload of the OK that ended the login: status flags and the server's first trackers.
    pub login_ok: Box<[u8]>,
    /// The bytes.
    pub io: PacketStream,
    pub(super) _permit: Permit,
}

impl Drop for BackendConnection {
    /// Without COM_QUIT a server counts (`Aborted_clients`) and may log every connection that ends.
    fn drop(&mut self) {
        let [command] = build::quit();
        self.io.write_now(&[1, 0, 0, 0, command]);
    }
}

/// The steps of a dial; says where a deadline hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
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
    /// The account is not one of a password alone: its server wants something of the client itself.
    #[error("the instance asks the client itself for its proof")]
    AsksClient(Box<Handover>),
    /// The login's secret was not kept, so nobody can log in on the client's behalf.
    #[error("the password of this session was not kept")]
    NoSecret,
    /// The instance is not in the configuration.
    #[error("no such instance")]
    UnknownInstance,
}

/// One configured instance.
#[derive(Clone, Debug)]
struct Endpoint {
    address: Arc<str>,
}

fn endpoints(config: &Config) -> Vec<Endpoint> {
    config.instances.iter().map(|instance| Endpoint { address: Arc::clone(&instance.address) }).collect()
}

impl Dialer {
    /// A dialer for the instances of `config`. Reads `[tls.instance] ca`; blocking, call it at start.
    pub fn new(config: &Config) -> Result<Self, CaError> {
        Ok(Self {
            endpoints: ArcSwap::from_pointee(endpoints(config)),
            places: Places::new(MAX_INSTANCES, config.sessions.max_backend),
            tls: ArcSwap::from_pointee(Tls::new(&config.tls_instance)?),
        })
    }

    /// Reads the files of `[tls.instance]` again, changing nothing. Blocking.
    pub fn check(settings: &InstanceTls) -> Result<NewTls, CaError> {
        Tls::new(settings).map(NewTls)
    }

    /// Uses them for every connection that is opened from now on.
    pub fn apply(&self, NewTls(tls): NewTls) {
        self.tls.store(Arc::new(tls));
    }

    /// Knows the instances of `config` from now on. Nobody is sent to one before the topology says so.
    pub fn regroup(&self, config: &Config) {
        self.endpoints.store(Arc::new(endpoints(config)));
    }

    /// Connections to an instance that are open or being opened.
    pub fn connections(&self, instance: InstanceId) -> usize {
        self.places.used(instance)
    }

    /// The places that connections take.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Opens a connection to `target` as `login`. Everything, from waiting for a permit to the answer of the
    /// first statements, ends at `deadline`. Cancelling it closes what was opened.
    pub async fn connect(
        &self,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        match self.places.acquire(target.instance, None, deadline).await {
            Ok(Grant::Place(permit)) => self.connect_at(permit, target, login, deadline).await,
            // Only who asked for an idle connection is given one.
            Ok(Grant::Idle(_)) | Err(_) => Err(DialError::Busy),
        }
    }

    /// As [`Self::connect`], in a place that the caller has.
    pub async fn connect_at(
        &self,
        permit: Permit,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        let mut phase = Phase::Resolve;
        // Boxed: a dial is rare and its state large, and the session's future embeds this one.
        let dial = Box::pin(self.dial(permit, target, login, deadline, &mut phase));
        match timeout_at(deadline, dial).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Deadline { phase }),
        }
    }

    async fn dial(
        &self,
        permit: Permit,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
        phase: &mut Phase,
    ) -> Result<BackendConnection, DialError> {
        let secret = login.secret.as_ref().ok_or(DialError::NoSecret)?;
        let request = request(login, secret.credential());
        let (mut io, ready) = self.greeted(target, &request, deadline, phase).await?;
        let (thread_id, version) = identity_of(ready.greeting());
        *phase = Phase::Authenticate;
        let (payload, auth, capabilities) = ready.log_in(&request);
        let proved = prove(&mut io, &payload, auth, capabilities).await?;
        let opened =
            Opened { target, permit, io, thread_id, version, capabilities, identity: login.identity };
        *phase = Phase::FirstStatement;
        match proved {
            Proved::Accepted(login_ok) => opened.complete(login_ok).await,
            Proved::AsksClient(asked) => Err(DialError::AsksClient(Box::new(Handover::new(opened, asked)))),
        }
    }

    /// Begins a login that only the client itself can prove: what the server asks for is in the handover.
    pub async fn begin(
        &self,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<Handover, DialError> {
        let mut phase = Phase::Resolve;
        let dial = Box::pin(self.begin_dial(target, login, deadline, &mut phase));
        match timeout_at(deadline, dial).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Deadline { phase }),
        }
    }

    async fn begin_dial(
        &self,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
        phase: &mut Phase,
    ) -> Result<Handover, DialError> {
        let Ok(Grant::Place(permit)) = self.places.acquire(target.instance, None, deadline).await else {
            return Err(DialError::Busy);
        };
        let nothing = Credential::Password(Password::new(Vec::new()));
        let request = request(login, &nothing);
        let (mut io, ready) = self.greeted(target, &request, deadline, phase).await?;
        let (thread_id, version) = identity_of(ready.greeting());
        *phase = Phase::Authenticate;
        let (payload, capabilities) = ready.log_in_unproved(&request);
        let asked = ask(&mut io, &payload, capabilities).await?;
        let opened = Opened { target, permit, io, thread_id, version, capabilities, identity: None };
        Ok(Handover::new(opened, asked))
    }

    /// A connection on which the server has greeted, with TLS if it is wanted.
    async fn greeted(
        &self,
        target: Target,
        request: &LoginRequest<'_>,
        deadline: Instant,
        phase: &mut Phase,
    ) -> Result<(PacketStream, Ready), DialError> {
        let endpoint = self.endpoints.load().get(target.instance.index()).cloned();
        let endpoint = endpoint.ok_or(DialError::UnknownInstance)?;
        let tcp = open(&endpoint.address, deadline, phase).await?;
        greet(tcp, &endpoint.address, request, &self.tls.load_full(), phase).await
    }
}

#[cfg(test)]
mod tests;
