//! Login of a client: greeting, TLS, authentication, and the first backend connection.
//!
//! Nobody keeps a user list here: a server decides, by letting us log in with the client's password. A
//! remembered verifier only spares the client the full exchange; the server is still asked at each login.
//! Nothing is opened to an instance before the client's handshake response has arrived.
//!
//! Never here: a command after login, a decision about routing, a password in a log.

mod exchange;
mod keys;
mod outcome;
mod refusal;
mod rules;
mod verifiers;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::auth::{ChannelSecurity, ServerAuth};
use sluice_protocol::command::ChangeUser;
use sluice_protocol::handshake::{ClientLogin, HandshakeError, attributes};
use sluice_protocol::{Capabilities, ErrPacket, ErrorCode, OkPacket, StatusFlags};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::exchange::{Applicant, Proof};
use self::keys::Keys;
use self::refusal::{Failure, FailureLog};
use self::rules::Rules;
use self::verifiers::Verifiers;
use crate::backend::{
    BackendConnection, BackendLogin, DialError, Dialer, Identities, Identity, PacketStream, Stream, Target,
};
use crate::config::{ClientTlsMode, Config, Retention};
use crate::feed::Feed;
use crate::feed::registry::Entry;

pub use self::keys::KeyError;
pub use self::outcome::{ChangedUser, LoggedIn, LoginEnd};

/// How long a client may take from connecting to having proved its password; MySQL's `connect_timeout`.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to read the answer to its login.
const ANSWER: Duration = Duration::from_secs(2);
/// Greeted with while no instance's version is known.
const UNKNOWN_VERSION: &str = "8.4.0";

/// What logins share: one per process.
pub struct LoginContext {
    keys: Keys,
    tls_mode: ClientTlsMode,
    rules: Rules,
    verifiers: Verifiers,
    identities: Identities,
    retention: Retention,
    max_age: Duration,
    replica_fallback: bool,
    places: Arc<Semaphore>,
    failures: FailureLog,
    dialer: Arc<Dialer>,
    feed: Arc<Feed>,
}

impl LoginContext {
    /// Loads (or makes, in the store folder) certificate and RSA key. Blocking; call it at start.
    pub fn new(config: &Config, dialer: Arc<Dialer>, feed: Arc<Feed>) -> Result<Self, KeyError> {
        Ok(Self {
            keys: Keys::load(&config.tls_client, &config.cluster.store)?,
            tls_mode: config.tls_client.mode,
            rules: Rules::new(config),
            verifiers: Verifiers::default(),
            identities: Identities::default(),
            retention: config.login.retention,
            max_age: config.login.max_age,
            replica_fallback: config.sessions.replica_fallback,
            places: Arc::new(Semaphore::new(config.sessions.max_connections.min(Semaphore::MAX_PERMITS))),
            failures: FailureLog::default(),
            dialer,
            feed,
        })
    }

    /// Opens a further backend connection for a session, as [`Dialer::connect`]. A refused password (1045) has
    /// been changed since, or its account is gone: later logins begin from nothing.
    pub async fn connect(
        &self,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        let result = self.dialer.connect(target, login, deadline).await;
        if let (Err(DialError::Server(refusal)), Some(secret)) = (&result, &login.secret)
            && refusal.code == ErrorCode::AccessDenied.number()
        {
            self.verifiers.forget(&login.user, secret);
            if let Some(identity) = &login.identity {
                self.identities.end(identity);
            }
        }
        result
    }

    /// Whether idle connections opened under `identity` may still be handed to a session with an equal one.
    /// Not any more once a server has refused the password (1045): drop them.
    pub fn is_current(&self, identity: &Identity) -> bool {
        self.identities.is_current(identity)
    }

    /// The version to greet with: the primary's, so that drivers choose the features it has.
    fn version(&self) -> String {
        let topology = self.feed.topology();
        let known = topology.primary().into_iter().chain(topology.instances.iter());
        let version = known.filter_map(|instance| instance.version.as_deref()).next();
        format!("{}-sluice", version.unwrap_or(UNKNOWN_VERSION))
    }
}

/// Lets one client in, or not. Ends by itself within the handshake deadline plus the dial deadlines.
pub async fn login(tcp: TcpStream, entry: &Entry, context: &LoginContext) -> Result<LoggedIn, LoginEnd> {
    let client = PacketStream::new(Stream::from_tcp(tcp));
    // Boxed: a login is short and its state large, and a session's future embeds this one.
    let result = Box::pin(admit(client, entry, context)).await;
    count(result.as_ref().map(|_| ()).map_err(|end| *end));
    result
}

async fn admit(client: PacketStream, entry: &Entry, context: &LoginContext) -> Result<LoggedIn, LoginEnd> {
    let Ok(place) = Arc::clone(&context.places).try_acquire_owned() else {
        let end = LoginEnd::TooManyConnections;
        let failure = Failure::own(end, ErrorCode::TooManyConnections, "[sessions] max_connections");
        return Err(refuse(Some(client), failure, Capabilities::empty(), b"", entry, context).await);
    };
    let deadline = Instant::now() + HANDSHAKE;
    let (mut client, request) = match exchange::greet(client, deadline, entry.id, context).await {
        Ok(greeted) => greeted,
        Err((client, failure)) => {
            return Err(refuse(client, failure, Capabilities::PROTOCOL_41, b"", entry, context).await);
        }
    };
    let login = BackendLogin {
        user: request.user.clone().into(),
        secret: None,
        identity: None,
        database: request.database.clone().map(Vec::into_boxed_slice),
        collation: request.collation,
        client_capabilities: request.capabilities,
        attributes: attributes(&request.attributes, entry),
    };
    let mut applicant = Applicant { client: &mut client, deadline };
    match decide(&mut applicant, &request, login, entry, context).await {
        Ok((login, first_backend)) => {
            entry.set_user(&String::from_utf8_lossy(&login.user));
            Ok(LoggedIn { client, login, first_backend, place })
        }
        Err(failure) => {
            let caps = request.capabilities;
            Err(refuse(Some(client), failure, caps, &request.user, entry, context).await)
        }
    }
}

/// From a complete login to the welcome.
async fn decide(
    applicant: &mut Applicant<'_>,
    request: &ClientLogin,
    login: BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<(BackendLogin, Option<BackendConnection>), Failure> {
    if context.tls_mode == ClientTlsMode::Required && request.channel == ChannelSecurity::Plain {
        let code = ErrorCode::SecureTransportRequired;
        return Err(Failure::own(LoginEnd::TlsRequired, code, "no TLS"));
    }
    if !context.rules.admit(&login.user, entry.peer.ip()) {
        return Err(Failure::denied(&login.user, entry.peer, !request.auth_response.is_empty()));
    }
    let auth = request.begin_auth(exchange::nonce())?;
    let proof = applicant.prove(auth, &login.user, context).await?;
    let_in(applicant, &proof, login, entry, context).await
}

/// Has a server decide about a proved login and welcomes the client.
async fn let_in(
    applicant: &mut Applicant<'_>,
    proof: &Proof,
    mut login: BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<(BackendLogin, Option<BackendConnection>), Failure> {
    let (Proof::Told(secret) | Proof::Remembered { secret, .. }) = proof;
    login.secret = Some(secret.clone());
    login.identity = Some(context.identities.of(&login.user, secret.password()));
    let verdict = verify::verify(context, &login, entry.listener).await;
    // The client's time to prove itself is over; what is left is to read one answer.
    applicant.deadline = Instant::now() + ANSWER;
    let first_backend = match (verdict, proof) {
        (Ok(connection), _) => Some(connection),
        (Err(error), Proof::Remembered { age, .. }) if *age < context.max_age && unreachable(&error) => None,
        (Err(error), _) => return Err(error.into()),
    };
    if let Some(connection) = &first_backend {
        // The name that the server made of the client's: quotes, character sets and proxies are its matter.
        if !context.rules.admit(&connection.account, entry.peer.ip()) {
            return Err(Failure::denied(&login.user, entry.peer, !secret.password().is_empty()));
        }
        login.identity = connection.identity;
        if context.retention == Retention::Memory && !secret.password().is_empty() {
            context.verifiers.remember(&login.user, secret);
        }
    }
    let mut ok = Vec::new();
    let payload = first_backend.as_ref().map(|connection| &*connection.login_ok);
    payload
        .and_then(|payload| OkPacket::parse(payload).ok())
        .unwrap_or(OkPacket::answer(StatusFlags::AUTOCOMMIT))
        .encode(login.client_capabilities, &mut ok);
    applicant.welcome(proof, &ok).await?;
    if context.retention == Retention::None {
        login.secret = None;
    }
    Ok((login, first_backend))
}

/// Whether nobody could be asked, as opposed to somebody having said no.
fn unreachable(error: &DialError) -> bool {
    match error {
        DialError::Resolve(_)
        | DialError::Refused
        | DialError::Network { .. }
        | DialError::Deadline { .. }
        | DialError::WrongServer { .. }
        | DialError::UnknownInstance => true,
        DialError::Server(_)
        | DialError::Busy
        | DialError::Tls(_)
        | DialError::Protocol(_)
        | DialError::NoSecret => false,
    }
}

/// Tells the client (if it is still there), the log and the caller why a login ended.
async fn refuse(
    client: Option<PacketStream>,
    failure: Failure,
    caps: Capabilities,
    user: &[u8],
    entry: &Entry,
    context: &LoginContext,
) -> LoginEnd {
    if let (Some(mut client), Some(error)) = (client, &failure.tell) {
        tell(&mut client, error, caps).await;
    }
    context.failures.write(&failure, entry.id, entry.peer, user);
    failure.end
}

/// Sends an error and the end of the stream. Whether it arrives is the client's problem.
async fn tell(client: &mut PacketStream, error: &ErrPacket<'_>, caps: Capabilities) {
    let payload = error.encode(caps);
    let send = async {
        client.write_packet(&payload).await?;
        client.shutdown().await
    };
    let _ = timeout(ANSWER, send).await;
}

/// The client's attributes and, behind them, ours.
fn attributes(of_client: &[u8], entry: &Entry) -> Box<[u8]> {
    let (id, peer) = (entry.id.to_string(), entry.peer.to_string());
    let ours = [(&b"_sluice_session"[..], id.as_bytes()), (b"_sluice_client", peer.as_bytes())];
    let mut all = of_client.to_vec();
    all.extend_from_slice(&attributes::encode(&ours));
    all.into()
}

fn count(result: Result<(), LoginEnd>) {
    let label = result.map_or_else(LoginEnd::as_str, |()| "ok");
    metrics::counter!("sluice_logins_total", "result" => label).increment(1);
}

/// Serves COM_CHANGE_USER; `payload` is the whole command, `current` the session's login. Answers the client
/// in every case; after `Ok` its stream is at sequence 0, after an `Err` the session ends, as it does with MySQL.
pub async fn change_user(
    client: &mut PacketStream,
    payload: &[u8],
    current: &BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<ChangedUser, LoginEnd> {
    // The command was packet 0 of this exchange.
    client.set_sequence(1);
    let mut applicant = Applicant { client, deadline: Instant::now() + HANDSHAKE };
    let result = match Box::pin(change(&mut applicant, payload, current, entry, context)).await {
        Ok((login, first_backend)) => Ok(ChangedUser { login, first_backend }),
        Err(failure) => {
            if let Some(error) = &failure.tell {
                tell(applicant.client, error, current.client_capabilities).await;
            }
            context.failures.write(&failure, entry.id, entry.peer, &current.user);
            Err(failure.end)
        }
    };
    count(result.as_ref().map(|_| ()).map_err(|end| *end));
    result
}

async fn change(
    applicant: &mut Applicant<'_>,
    payload: &[u8],
    current: &BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<(BackendLogin, Option<BackendConnection>), Failure> {
    let caps = current.client_capabilities;
    let request = ChangeUser::parse(payload, caps).map_err(HandshakeError::from)?;
    if !context.rules.admit(&request.user, entry.peer.ip()) {
        return Err(Failure::denied(&request.user, entry.peer, true));
    }
    let login = BackendLogin {
        user: request.user.into(),
        secret: None,
        identity: None,
        database: request.database.map(Vec::into_boxed_slice),
        collation: request.collation.and_then(|id| u8::try_from(id).ok()).unwrap_or(current.collation),
        client_capabilities: caps,
        attributes: attributes(&request.attributes, entry),
    };
    let channel = match applicant.client.stream() {
        Stream::Tls(_) => ChannelSecurity::Secure,
        Stream::Tcp(_) => ChannelSecurity::Plain,
    };
    let proof = applicant.prove(ServerAuth::switch(exchange::nonce(), channel), &login.user, context).await?;
    let_in(applicant, &proof, login, entry, context).await
}

#[cfg(test)]
mod tests;
