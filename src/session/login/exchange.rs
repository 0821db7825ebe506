//! The client's side of a login: greeting, TLS, and the proof of its password.
//!
//! Every packet is awaited until one deadline and bounded in size, so that a client that only knocks costs
//! a socket and a few kilobytes for a few seconds.
//!
//! Never here: an instance.

use std::net::SocketAddr;

use sluice_protocol::auth::server::FAST_OK;
use sluice_protocol::auth::{Attempt, ChannelSecurity, FullStep, NONCE_LEN, Nonce, Password, ServerAuth};
use sluice_protocol::handshake::{ClientLogin, ExpectLogin, FirstResponse, Greeting};
use sluice_protocol::{Capabilities, ErrorCode};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::guesses::Leave;
use super::refusal::Failure;
use super::verifiers::Known;
use super::{LoginContext, LoginEnd};
use crate::backend::{Handover, PacketStream, Secret};
use crate::session::client_stream::accept_tls;

/// Largest packet of a client that is not logged in, in bytes. Connection attributes may have 64 KiB.
const LOGIN_PACKET: usize = 80 * 1024;
/// Largest packet of the proof: a password of MySQL's largest size, or an RSA block.
const PROOF_PACKET: usize = 1024;
/// `utf8mb4_0900_ai_ci`, the default collation since MySQL 8.0.
const COLLATION: u8 = 255;

/// What we can speak with clients besides [`Greeting::REQUIRED`].
const OFFERED: Capabilities = Capabilities::FOUND_ROWS
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::ODBC)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::IGNORE_SIGPIPE)
    .union(Capabilities::RESERVED)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::MULTI_FACTOR_AUTHENTICATION)
    .union(Capabilities::DEPRECATE_EOF)
    .union(Capabilities::QUERY_ATTRIBUTES);

/// What is offered where compression is on.
pub(super) const COMPRESSION: Capabilities = Capabilities::COMPRESS.union(Capabilities::ZSTD_COMPRESSION);

/// How a client has proved its password. A server has the last word in either case.
#[derive(Debug)]
pub(super) enum Proof {
    /// By a scramble of a password that a server has accepted before.
    Remembered(Known, Attempt),
    /// By telling it.
    Told(Secret),
    /// Not yet: it will, to the server itself.
    Begun(Box<Handover>),
}

/// How a login that is right ends for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastWord {
    /// Its scramble was enough, which it is told before the OK.
    FastOk,
    /// It has told more than a scramble, and waits for the OK alone.
    Ok,
}

/// A client on its way, with the deadline for its login.
pub(super) struct Applicant<'a> {
    pub(super) client: &'a mut PacketStream,
    pub(super) peer: SocketAddr,
    pub(super) deadline: Instant,
}

/// Greets and reads the login, with TLS in between if the client asks for it. On failure the client is given
/// back to be told, unless its connection is gone.
pub(super) async fn greet(
    mut client: PacketStream,
    deadline: Instant,
    id: u32,
    peer: SocketAddr,
    context: &LoginContext,
) -> Result<(PacketStream, Box<ClientLogin>), (Option<PacketStream>, Failure)> {
    let acceptor = context.settings().keys.acceptor.clone();
    let tls = match acceptor {
        Some(_) => Capabilities::SSL,
        None => Capabilities::empty(),
    };
    let offered = OFFERED | context.settings().compression | tls;
    let greeting = Greeting::new(&context.version(), id, nonce(), offered, COLLATION);
    let expect = ExpectLogin::new(&greeting, ChannelSecurity::Plain);
    let first = Applicant { client: &mut client, peer, deadline }.first(&greeting.encode(), expect).await;
    let pending = match first {
        Ok(FirstResponse::Login(login)) => return Ok((client, login)),
        Ok(FirstResponse::Tls(pending)) => pending,
        Err(failure) => return Err((Some(client), failure)),
    };
    let mut secured = upgrade(client, deadline, acceptor).await.map_err(|failure| (None, failure))?;
    let second = Applicant { client: &mut secured, peer, deadline }.second(pending.upgraded()).await;
    match second {
        Ok(login) => Ok((secured, login)),
        Err(failure) => Err((Some(secured), failure)),
    }
}

async fn upgrade(
    client: PacketStream,
    deadline: Instant,
    acceptor: Option<TlsAcceptor>,
) -> Result<PacketStream, Failure> {
    let bad = |detail| Failure::silent(LoginEnd::Tls, detail);
    let acceptor = acceptor.ok_or_else(|| bad("TLS was not offered".to_owned()))?;
    // Nothing is ever read ahead during a login, so what follows is TLS's.
    let (stream, sequence) = client.into_stream().map_err(|_| bad("bytes before TLS".to_owned()))?;
    match timeout_at(deadline, accept_tls(stream, &acceptor)).await {
        Ok(Ok(secured)) => Ok(PacketStream::resume(secured, sequence)),
        Ok(Err(error)) => Err(bad(error.to_string())),
        Err(_) => Err(Failure::silent(LoginEnd::Deadline, "no TLS handshake in time")),
    }
}

impl Applicant<'_> {
    /// The payload of the next packet; it may be a password, or hold one.
    async fn read(&mut self, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match timeout_at(self.deadline, self.client.read_packet(limit)).await {
            Ok(packet) => Ok(Zeroizing::new(packet?.payload)),
            Err(_) => Err(Failure::deadline()),
        }
    }

    pub(super) async fn write(&mut self, payload: &[u8]) -> Result<(), Failure> {
        match timeout_at(self.deadline, self.client.write_packet(payload)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Failure::silent(LoginEnd::Deadline, "the client reads nothing")),
        }
    }

    async fn first(&mut self, greeting: &[u8], expect: ExpectLogin) -> Result<FirstResponse, Failure> {
        self.write(greeting).await?;
        Ok(expect.on(&self.read(LOGIN_PACKET).await?)?)
    }

    async fn second(&mut self, expect: ExpectLogin) -> Result<Box<ClientLogin>, Failure> {
        match expect.on(&self.read(LOGIN_PACKET).await?)? {
            FirstResponse::Login(login) => Ok(login),
            FirstResponse::Tls(_) => {
                Err(Failure::own(LoginEnd::BadHandshake, ErrorCode::BadHandshake, "TLS within TLS"))
            }
        }
    }

    /// Has the client prove the password of `user`.
    pub(super) async fn prove(
        &mut self,
        auth: ServerAuth,
        user: &[u8],
        context: &LoginContext,
    ) -> Result<Proof, Failure> {
        let attempt = match auth {
            ServerAuth::Attempt(attempt) => attempt,
            ServerAuth::Switch { payload, next } => {
                self.write(&payload).await?;
                next.on(&self.read(PROOF_PACKET).await?)?
            }
        };
        if let Some(known) = context.verifiers.check(user, &attempt) {
            return Ok(Proof::Remembered(known, attempt));
        }
        if context.guesses.leave(self.peer.ip(), user) == Leave::Wait {
            return Err(Failure::throttled(user, self.peer));
        }
        self.ask(attempt, context).await.map(Proof::Told)
    }

    /// Asks for the password itself.
    pub(super) async fn ask(&mut self, attempt: Attempt, context: &LoginContext) -> Result<Secret, Failure> {
        if attempt.is_empty() {
            return Ok(Secret::new(Password::new(Vec::new())));
        }
        let (payload, mut expect) = attempt.ask_full();
        self.write(&payload).await?;
        // Ends: the key is sent once.
        loop {
            match expect.on(self.read(PROOF_PACKET).await?, &context.settings().keys.rsa)? {
                FullStep::Password(password) => return Ok(Secret::new(password)),
                FullStep::Send { payload, next } => {
                    self.write(&payload).await?;
                    expect = next;
                }
            }
        }
    }

    /// Tells the client that it is in: `ok` is the payload of the final OK.
    pub(super) async fn welcome(&mut self, last_word: LastWord, ok: &[u8]) -> Result<(), Failure> {
        match last_word {
            LastWord::FastOk => self.write(&FAST_OK).await?,
            LastWord::Ok => {}
        }
        self.write(ok).await?;
        self.client.set_sequence(0);
        self.client.release_all();
        Ok(())
    }
}

/// A fresh nonce.
pub(super) fn nonce() -> Nonce {
    Nonce::from_random(rand::random::<[u8; NONCE_LEN]>())
}
