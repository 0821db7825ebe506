//! The steps of a login at a server: name and TCP, greeting, TLS, proof.
//!
//! Never here: who logs in and why, a place under a limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::Capabilities;
use sluice_protocol::auth::{ChannelSecurity, ClientAuth, ClientAuthError, ClientStep, Credential};
use sluice_protocol::handshake::{ExpectGreeting, Greeting, HandshakeError, LoginRequest, Ready};
use socket2::SockRef;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::dial::{DialError, Phase};
use super::login::{self, BackendLogin};
use super::stream::{PacketStream, ReadError, Stream};
use super::tls::Tls;

/// Largest packet of a login, in bytes: greetings, keys and errors are far smaller.
pub(super) const LOGIN_PACKET: usize = 64 * 1024;

/// How long bytes sent to an instance may stay unacknowledged or unread. Without it a request to a host that
/// lost its power waits for a quarter of an hour; with much less, a server that is long busy with the first part
/// of a LOAD DATA would be given up. Clients get no such limit: one that reads slowly is its server's
/// `net_write_timeout` to judge.
const USER_TIMEOUT: Duration = Duration::from_mins(2);

/// The largest packet we say to take, in bytes; MySQL's own upper limit.
const MAX_PACKET: u32 = 1 << 30;

/// Resolves the name and connects, each address getting its share of the time that is left.
pub(super) async fn open(
    address: &str,
    deadline: Instant,
    phase: &mut Phase,
) -> Result<TcpStream, DialError> {
    *phase = Phase::Resolve;
    let addresses: Vec<SocketAddr> = lookup_host(address).await.map_err(DialError::Resolve)?.collect();
    *phase = Phase::Connect;
    let mut last = DialError::Resolve(io::ErrorKind::NotFound.into());
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                if let Err(error) = SockRef::from(&tcp).set_tcp_user_timeout(Some(USER_TIMEOUT)) {
                    tracing::debug!(%error, "socket option not set");
                }
                return Ok(tcp);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => DialError::Refused,
            Ok(Err(source)) => DialError::Network { phase: *phase, source },
            Err(_) => DialError::Deadline { phase: *phase },
        };
    }
    Err(last)
}

/// How the server answered to a login.
pub(super) enum Proved {
    /// It let us in: the payload of its OK.
    Accepted(Vec<u8>),
    /// It asks for something that only the client itself can answer: the payload of that packet.
    AsksClient(Vec<u8>),
}

/// Logs in.
pub(super) async fn prove(
    io: &mut PacketStream,
    payload: &[u8],
    mut auth: ClientAuth,
    capabilities: Capabilities,
) -> Result<Proved, DialError> {
    let mut asked = ask(io, payload, capabilities).await?;
    // Ends: every state of the exchange takes each kind of packet at most once.
    loop {
        match auth.on(&asked) {
            Ok(ClientStep::Send { payload, next }) => {
                asked = ask(io, &payload, capabilities).await?;
                auth = next;
            }
            Ok(ClientStep::Wait(next)) => {
                asked = read(io).await?;
                auth = next;
            }
            Ok(ClientStep::Done(ok)) => return Ok(Proved::Accepted(ok)),
            Ok(ClientStep::Refused(error)) => return Err(DialError::Server(Box::new(error))),
            Err(ClientAuthError::Plugin(_) | ClientAuthError::SecondFactor) => {
                return Ok(Proved::AsksClient(asked));
            }
            Err(error) => return Err(unproved(&error)),
        }
    }
}

/// Sends a packet of a login and reads what the server says to it.
pub(super) async fn ask(
    io: &mut PacketStream,
    payload: &[u8],
    capabilities: Capabilities,
) -> Result<Vec<u8>, DialError> {
    let lost = |source| DialError::Network { phase: Phase::Authenticate, source };
    io.write_packet(payload).await.map_err(lost)?;
    let needed = login::ALWAYS - Capabilities::CONNECT_ATTRS;
    if !capabilities.contains(needed) {
        let missing = needed - capabilities;
        return Err(DialError::Protocol(format!("the server lacks {missing:?}")));
    }
    read(io).await
}

async fn read(io: &mut PacketStream) -> Result<Vec<u8>, DialError> {
    let packet = io.read_packet(LOGIN_PACKET).await;
    Ok(packet.map_err(|error| unread(error, Phase::Authenticate))?.payload)
}

pub(super) fn request<'a>(login: &'a BackendLogin, credential: &'a Credential) -> LoginRequest<'a> {
    LoginRequest {
        user: &login.user,
        credential,
        database: login.database.as_deref(),
        capabilities: login.capabilities(),
        collation: login.collation,
        max_packet: MAX_PACKET,
        attributes: &login.attributes,
    }
}

pub(super) fn identity_of(greeting: &Greeting) -> (u32, Arc<str>) {
    (greeting.connection_id, String::from_utf8_lossy(&greeting.server_version).into())
}

fn unproved(error: &ClientAuthError) -> DialError {
    match error {
        ClientAuthError::PasswordNotKept => DialError::NoSecret,
        ClientAuthError::Malformed(_)
        | ClientAuthError::Plugin(_)
        | ClientAuthError::ClearPasswordOverPlain
        | ClientAuthError::SecondFactor
        | ClientAuthError::OutOfPlace(_)
        | ClientAuthError::Rsa(_) => DialError::Protocol(error.to_string()),
    }
}

/// `host` of `host:port` or `[v6]:port`.
pub(super) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

pub(super) fn unread(error: ReadError, phase: Phase) -> DialError {
    match error {
        ReadError::Closed | ReadError::Cut => {
            DialError::Network { phase, source: io::ErrorKind::UnexpectedEof.into() }
        }
        ReadError::Packet(error) => DialError::Protocol(error.to_string()),
        ReadError::Io(source) => DialError::Network { phase, source },
    }
}

/// Reads the greeting and does TLS if it is wanted.
pub(super) async fn greet(
    tcp: TcpStream,
    address: &str,
    request: &LoginRequest<'_>,
    tls: &Tls,
    phase: &mut Phase,
) -> Result<(PacketStream, Ready), DialError> {
    *phase = Phase::Greeting;
    let mut io = PacketStream::new(Stream::from_tcp(tcp));
    let greeting = io.read_packet(LOGIN_PACKET).await.map_err(|error| unread(error, *phase))?;
    let ready =
        ExpectGreeting.on(&greeting.payload, ChannelSecurity::Plain).map_err(|error| match error {
            HandshakeError::Refused(refusal) => DialError::Server(Box::new(refusal)),
            HandshakeError::Malformed(_)
            | HandshakeError::Pre41Client
            | HandshakeError::NoPluginSupport
            | HandshakeError::TlsNotOffered
            | HandshakeError::TlsTwice
            | HandshakeError::LoginBeforeTls
            | HandshakeError::ProtocolVersion(_)
            | HandshakeError::ServerTooOld => DialError::Protocol(error.to_string()),
        })?;
    if !tls.wanted(ready.offers_tls()).map_err(DialError::Tls)? {
        return Ok((io, ready));
    }
    *phase = Phase::Tls;
    let (payload, pending) = ready.request_tls(request);
    io.write_packet(&payload).await.map_err(|source| DialError::Network { phase: *phase, source })?;
    match io.into_stream() {
        Ok((Stream::Tcp(tcp), sequence)) => {
            let stream = tls.connect(tcp, host_of(address)).await.map_err(DialError::Tls)?;
            Ok((PacketStream::resume(stream, sequence), pending.upgraded()))
        }
        Ok((Stream::Tls(_) | Stream::Compressed(_), _)) | Err(_) => {
            Err(DialError::Protocol("bytes before the TLS handshake".to_owned()))
        }
    }
}
