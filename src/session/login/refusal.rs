//! How a login ends when it ends badly: what the client is told, and what is logged, in one place.
//!
//! Never here: a password, anything else a client sent that was not checked.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_protocol::auth::AuthError;
use sluice_protocol::handshake::HandshakeError;
use sluice_protocol::{ErrPacket, ErrorCode};
use tokio::time::Instant;

use super::LoginEnd;
use super::places::Full;
use crate::backend::{DialError, ReadError};

/// Lines about failed logins per [`LOG_PERIOD`]; beyond it they are only counted. A port scan must not be
/// able to fill a disk.
const LOG_LINES: u32 = 20;
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// A login that failed, before the client has been told.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) end: LoginEnd,
    /// For the client; `None` if nobody listens any more.
    pub(super) tell: Option<Box<ErrPacket<'static>>>,
    /// For the log.
    detail: Cow<'static, str>,
}

impl Failure {
    pub(super) fn silent(end: LoginEnd, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { end, tell: None, detail: detail.into() }
    }

    pub(super) fn own(end: LoginEnd, code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { end, tell: Some(Box::new(ErrPacket::own(code, ""))), detail: detail.into() }
    }

    /// There is no place for another client.
    pub(super) fn full(full: Full) -> Self {
        match full {
            Full::Clients => {
                let code = ErrorCode::TooManyConnections;
                Self::own(LoginEnd::TooManyConnections, code, "[sessions] max_connections")
            }
            Full::Memory => Self::own(LoginEnd::OutOfMemory, ErrorCode::OutOfMemory, "[sessions] memory"),
        }
    }

    /// The login did not come in time.
    pub(super) fn deadline() -> Self {
        let tell = Box::new(ErrPacket::own(ErrorCode::BadHandshake, "no login in time"));
        Self { end: LoginEnd::Deadline, tell: Some(tell), detail: "no login in time".into() }
    }

    pub(super) fn denied(user: &[u8], peer: SocketAddr, used_password: bool) -> Self {
        let host = peer.ip().to_canonical().to_string();
        let tell = Some(Box::new(ErrPacket::access_denied(user, &host, used_password)));
        Self { end: LoginEnd::Denied, tell, detail: "denied by configuration".into() }
    }
}

impl Failure {
    /// Too many wrong passwords: the client hears what a server would tell it.
    pub(super) fn throttled(user: &[u8], peer: SocketAddr) -> Self {
        let denied = Self::denied(user, peer, true);
        Self { end: LoginEnd::Throttled, detail: "too many wrong passwords".into(), ..denied }
    }

    /// A server's word about a password, said again.
    pub(super) fn again(error: ErrPacket<'static>) -> Self {
        let detail = "refused a moment ago, no server was asked".into();
        Self { end: LoginEnd::Throttled, tell: Some(Box::new(error)), detail }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::silent(LoginEnd::Closed, "closed by the client"),
            ReadError::Cut => Self::silent(LoginEnd::Network, "cut within a packet"),
            ReadError::Io(error) => Self::silent(LoginEnd::Network, error.to_string()),
            ReadError::Packet(error) => {
                Self::own(LoginEnd::BadHandshake, ErrorCode::BadHandshake, error.to_string())
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::silent(LoginEnd::Network, error.to_string())
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::own(LoginEnd::BadHandshake, error.code(), error.to_string())
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self::own(LoginEnd::BadHandshake, ErrorCode::BadHandshake, error.to_string())
    }
}

/// What the verifying instance's side means for the client. A server's own error is passed on as it is.
impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let detail = error.to_string();
        match error {
            DialError::Server(mut refusal) => {
                // Instead of a greeting it comes without SQLSTATE; this one is MySQL's for it.
                if refusal.code == ErrorCode::TooManyConnections.number() {
                    refusal.sql_state = Some(ErrorCode::TooManyConnections.sql_state());
                }
                Self { end: LoginEnd::Refused, tell: Some(refusal), detail: detail.into() }
            }
            DialError::Busy => Self::own(LoginEnd::NoInstance, ErrorCode::TooManyConnections, detail),
            DialError::Resolve(_)
            | DialError::Refused
            | DialError::Network { .. }
            | DialError::Deadline { .. }
            | DialError::Tls(_)
            | DialError::WrongServer { .. }
            | DialError::Protocol(_)
            | DialError::AsksClient(_)
            | DialError::NoSecret
            | DialError::UnknownInstance => {
                Self::own(LoginEnd::NoInstance, ErrorCode::ServerShutdown, detail)
            }
        }
    }
}

/// Writes failed logins to the log, at a bounded rate.
#[derive(Debug)]
pub(super) struct FailureLog(Mutex<Budget>);

#[derive(Debug)]
struct Budget {
    since: Instant,
    written: u32,
    dropped: u64,
}

impl Default for FailureLog {
    fn default() -> Self {
        Self(Mutex::new(Budget { since: Instant::now(), written: 0, dropped: 0 }))
    }
}

impl FailureLog {
    /// One line, unless the budget is used up.
    pub(super) fn write(&self, failure: &Failure, id: u32, peer: SocketAddr, user: &[u8]) {
        let Some(dropped) = self.take() else { return };
        let user = fmt::from_fn(|f| f.write_str(&String::from_utf8_lossy(user)));
        let (reason, detail) = (failure.end.as_str(), &*failure.detail);
        match failure.end {
            LoginEnd::Closed | LoginEnd::Network | LoginEnd::Deadline | LoginEnd::BadHandshake => {
                tracing::debug!(id, %peer, %user, reason, detail, "login ended");
            }
            LoginEnd::TooManyConnections
            | LoginEnd::OutOfMemory
            | LoginEnd::Tls
            | LoginEnd::TlsRequired
            | LoginEnd::NoProxyHeader
            | LoginEnd::Throttled
            | LoginEnd::Denied
            | LoginEnd::Refused
            | LoginEnd::NoInstance => tracing::info!(id, %peer, %user, reason, detail, "login failed"),
        }
        if dropped > 0 {
            tracing::info!(dropped, "failed logins were not logged one by one");
        }
    }

    /// Takes one line from the budget; says how many were dropped before it.
    fn take(&self) -> Option<u64> {
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.since.elapsed() >= LOG_PERIOD {
            let dropped = budget.dropped;
            *budget = Budget { since: Instant::now(), written: 1, dropped: 0 };
            return Some(dropped);
        }
        if budget.written >= LOG_LINES {
            budget.dropped += 1;
            return None;
        }
        budget.written += 1;
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_failures_is_counted_and_not_written() {
        let log = FailureLog::default();
        let written = (0..1000).filter(|_| log.take().is_some()).count();
        assert_eq!(written, 20);
        tokio::time::advance(LOG_PERIOD).await;
        assert_eq!(log.take(), Some(980));
        assert_eq!(log.take(), Some(0));
    }
}
