//! Login of a client: greeting, TLS, authentication, and the first backend connection.
//!
//! Nobody keeps a user list here: a server decides, by letting us log in with the client's password. What a
//! server said holds for `[login] max_age` for the same password and schema; then the next login asks again.
//! Nothing is opened to an instance before the client's handshake response has arrived.
//!
//! Never here: a command after login, a decision about routing, a password in a log.

mod admissions;
mod context;
mod exchange;
mod guesses;
mod keys;
mod outcome;
mod places;
mod refusal;
mod relayed;
mod renew;
mod rules;
mod verifiers;
mod verify;

use std::time::Duration;

use sluice_protocol::auth::{AuthPlugin, ChannelSecurity, ServerAuth};
use sluice_protocol::command::ChangeUser;
use sluice_protocol::compression::Algorithm;
use sluice_protocol::handshake::{ClientLogin, HandshakeError, attributes};
use sluice_protocol::{Capabilities, ErrPacket, ErrorCode, OkPacket, StatusFlags};
use sluice_routing::lexer::LexMode;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use self::admissions::Admission;
use self::exchange::{Applicant, LastWord, Proof};
use self::guesses::Leave;
use self::refusal::Failure;
use crate::backend::{BackendConnection, BackendLogin, DialError, Handover, PacketStream, Secret, Stream};
use crate::config::Retention;
use crate::feed::registry::Entry;

pub use self::context::{LoginContext, NewSettings};
pub use self::keys::KeyError;
pub use self::outcome::{ChangedUser, LoggedIn, LoginEnd};
pub use self::places::Place;
pub use self::renew::keep_verified;

/// How long a client may take from connecting to having proved its password; MySQL's `connect_timeout`.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to read the answer to its login.
const ANSWER: Duration = Duration::from_secs(2);

/// Lets one client in, or not. Ends by itself within the handshake deadline plus the dial deadlines.
pub async fn login(tcp: TcpStream, entry: &Entry, context: &LoginContext) -> Result<LoggedIn, LoginEnd> {
    let client = PacketStream::new(Stream::from_tcp(tcp));
    // Boxed: a login is short and its state large, and a session's future embeds this one.
    let result = Box::pin(admit(client, entry, context)).await;
    count(result.as_ref().map(|_| ()).map_err(|end| *end));
    result
}

async fn admit(client: PacketStream, entry: &Entry, context: &LoginContext) -> Result<LoggedIn, LoginEnd> {
    let mut place = match context.places.enter(context.settings().max_connections) {
        Ok(place) => place,
        Err(full) => {
            let failure = Failure::full(full);
            return Err(refuse(Some(client), failure, Capabilities::empty(), b"", entry, context).await);
        }
    };
    let deadline = Instant::now() + HANDSHAKE;
    let (mut client, request) = match exchange::greet(client, deadline, entry.id, entry.peer, context).await {
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
    let mut applicant = Applicant { client: &mut client, peer: entry.peer, deadline };
    match decide(&mut applicant, &request, login, entry, context).await {
        Ok(Judged { login, verdict }) => {
            entry.set_user(&String::from_utf8_lossy(&login.user));
            place.logged_in();
            let client = match Algorithm::agreed(request.capabilities, request.zstd_level) {
                // Nothing is read ahead during a login, so nothing can be left over.
                Some(algorithm) => client.compressed(algorithm).map_err(|_| LoginEnd::BadHandshake)?,
                None => client,
            };
            let (mode, first_backend) = verdict.into_parts();
            Ok(LoggedIn { client, login, mode, first_backend, place })
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
) -> Result<Judged, Failure> {
    if context.settings().demands_tls() && request.channel == ChannelSecurity::Plain {
        let code = ErrorCode::SecureTransportRequired;
        return Err(Failure::own(LoginEnd::TlsRequired, code, "no TLS"));
    }
    if !context.settings().rules.admit(&login.user, entry.peer.ip()) {
        return Err(Failure::denied(&login.user, entry.peer, !request.auth_response.is_empty()));
    }
    let proof = match context.begin_relayed(&login, &request.plugin, entry).await? {
        Some(handover) => Proof::Begun(handover),
        None => {
            let auth = request.begin_auth(exchange::nonce())?;
            applicant.prove(auth, &login.user, context).await?
        }
    };
    let_in(applicant, proof, login, entry, context).await
}

/// Who said that a login is right.
#[derive(Debug)]
enum Verdict {
    /// A server, just now.
    Server(Box<BackendConnection>),
    /// A server, a short while ago.
    Remembered(Admission),
    /// Nobody who could be asked; the password was right a short while ago.
    Nobody,
}

/// What a server says to a password that a client has told.
enum Word {
    /// The client is in.
    Yes(Box<BackendConnection>),
    /// It asks the client itself for something else.
    AsksClient(Box<Handover>),
}

impl Verdict {
    /// How a server reads the texts of the session, and the connection if there is one.
    fn into_parts(self) -> (LexMode, Option<BackendConnection>) {
        match self {
            Self::Server(connection) => (connection.mode, Some(*connection)),
            Self::Remembered(admission) => (admission.mode, None),
            Self::Nobody => (LexMode::default(), None),
        }
    }
}

/// A login that is right.
struct Judged {
    login: BackendLogin,
    verdict: Verdict,
}

/// Has a server decide about a proved login and welcomes the client.
async fn let_in(
    applicant: &mut Applicant<'_>,
    proof: Proof,
    mut login: BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<Judged, Failure> {
    let since = context.admissions.generation();
    let (last_word, verdict) = judge(applicant, proof, &mut login, entry, context).await?;
    let said = match &verdict {
        Verdict::Server(connection) => Some(Admission::of(connection)),
        Verdict::Remembered(admission) => Some(admission.clone()),
        Verdict::Nobody => None,
    };
    // The name that the server made of the client's: quotes, character sets and proxies are its matter.
    if said.as_ref().is_some_and(|said| !context.settings().rules.admit(&said.account, entry.peer.ip())) {
        return Err(Failure::denied(&login.user, entry.peer, has_password(&login)));
    }
    let mut ok = Vec::new();
    said.as_ref()
        .and_then(|said| OkPacket::parse(&said.login_ok).ok())
        .unwrap_or(OkPacket::answer(StatusFlags::AUTOCOMMIT))
        .encode(login.client_capabilities, &mut ok);
    if let Verdict::Server(connection) = &verdict {
        login.identity = connection.identity;
        if let (Some(secret), Some(_)) = (&login.secret, login.identity) {
            context.remember(&login.user, secret);
        }
        if let Some(said) = said {
            context.admissions.remember(&login, said, since);
        }
    }
    applicant.deadline = Instant::now() + ANSWER;
    applicant.welcome(last_word, &ok).await?;
    if context.settings().retention == Retention::None {
        login.secret = login.secret.map(|secret| secret.without_password());
    }
    Ok(Judged { login, verdict })
}

/// Asks a server, unless one has said so a short while ago. A proof by a hash alone that no server can check
/// becomes the password itself.
async fn judge(
    applicant: &mut Applicant<'_>,
    proof: Proof,
    login: &mut BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<(LastWord, Verdict), Failure> {
    let (known, attempt) = match proof {
        Proof::Told(secret) => return judge_told(applicant, secret, login, entry, context).await,
        Proof::Begun(handover) => return judge_relayed(applicant, handover, login, entry, context).await,
        Proof::Remembered(known, attempt) => (known, attempt),
    };
    login.prove_with(known.secret.clone(), context);
    if let Some(admission) = context.admitted(login, &known) {
        return Ok((LastWord::FastOk, Verdict::Remembered(admission)));
    }
    match verify::verify(context, login, entry.listener).await {
        Ok(connection) => Ok((LastWord::FastOk, Verdict::Server(connection.into()))),
        Err(DialError::NoSecret) => {
            let secret = applicant.ask(attempt, context).await?;
            judge_told(applicant, secret, login, entry, context).await
        }
        Err(DialError::AsksClient(handover)) => {
            judge_relayed(applicant, handover, login, entry, context).await
        }
        Err(error) if known.age < context.settings().max_age && unreachable(&error) => {
            let verdict = context.admitted(login, &known).map_or(Verdict::Nobody, Verdict::Remembered);
            Ok((LastWord::FastOk, verdict))
        }
        Err(error) => {
            context.admissions.forget(login);
            Err(error.into())
        }
    }
}

async fn judge_told(
    applicant: &mut Applicant<'_>,
    secret: Secret,
    login: &mut BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<(LastWord, Verdict), Failure> {
    match ask_about_told(secret, login, entry, context).await? {
        Word::Yes(connection) => Ok((LastWord::Ok, Verdict::Server(connection))),
        Word::AsksClient(handover) => judge_relayed(applicant, handover, login, entry, context).await,
    }
}

/// Lets the server and the client speak with each other. What comes of it is the client's alone.
async fn judge_relayed(
    applicant: &mut Applicant<'_>,
    handover: Box<Handover>,
    login: &mut BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<(LastWord, Verdict), Failure> {
    (login.secret, login.identity) = (None, None);
    let connection = relayed::relay(applicant, handover, login, entry, context).await?;
    Ok((LastWord::Ok, Verdict::Server(connection.into())))
}

/// Asks a server about a password that the client has told, unless there were too many wrong ones.
async fn ask_about_told(
    secret: Secret,
    login: &mut BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<Word, Failure> {
    login.prove_with(secret, context);
    let (peer, identity) = (entry.peer.ip(), login.identity);
    let _asking = context.asking.acquire().await;
    // Again, since many may have come at once.
    match (context.guesses.leave(peer, &login.user), identity) {
        (Leave::Wait, _) => return Err(Failure::throttled(&login.user, entry.peer)),
        (Leave::TryUnlessKnown, Some(identity)) => {
            if let Some(error) = context.guesses.known(&identity) {
                context.guesses.wrong(peer, &login.user, None);
                return Err(Failure::again(error));
            }
        }
        (Leave::Try | Leave::TryUnlessKnown, _) => {}
    }
    let verdict = verify::verify(context, login, entry.listener).await;
    match &verdict {
        Ok(_) => context.guesses.right(peer, &login.user),
        Err(DialError::Server(error)) if error.code == ErrorCode::AccessDenied.number() => {
            context.guesses.wrong(peer, &login.user, identity.map(|identity| (identity, &**error)));
        }
        Err(_) => {}
    }
    match verdict {
        Ok(connection) => Ok(Word::Yes(Box::new(connection))),
        Err(DialError::AsksClient(handover)) => Ok(Word::AsksClient(handover)),
        Err(error) => Err(error.into()),
    }
}

impl BackendLogin {
    fn prove_with(&mut self, secret: Secret, context: &LoginContext) {
        self.identity = Some(context.identities.of(&self.user, &secret.hash()));
        self.secret = Some(secret);
    }
}

fn has_password(login: &BackendLogin) -> bool {
    login.secret.as_ref().is_some_and(|secret| !secret.is_empty())
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
        | DialError::AsksClient(_)
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
    let mut applicant = Applicant { client, peer: entry.peer, deadline: Instant::now() + HANDSHAKE };
    let result = match Box::pin(change(&mut applicant, payload, current, entry, context)).await {
        Ok(Judged { login, verdict }) => {
            let (mode, first_backend) = verdict.into_parts();
            Ok(ChangedUser { login, mode, first_backend })
        }
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
) -> Result<Judged, Failure> {
    let caps = current.client_capabilities;
    let request = ChangeUser::parse(payload, caps).map_err(HandshakeError::from)?;
    if !context.settings().rules.admit(&request.user, entry.peer.ip()) {
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
    let proof = match context.begin_relayed(&login, &AuthPlugin::CachingSha2, entry).await? {
        Some(handover) => Proof::Begun(handover),
        None => {
            let channel = match applicant.client.stream().is_tls() {
                true => ChannelSecurity::Secure,
                false => ChannelSecurity::Plain,
            };
            let auth = ServerAuth::switch(exchange::nonce(), channel);
            applicant.prove(auth, &login.user, context).await?
        }
    };
    let_in(applicant, proof, login, entry, context).await
}

#[cfg(test)]
mod tests;
