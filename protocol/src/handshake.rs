//! The handshake, both sides: greeting, TLS request, login.
//!
//! `server` speaks with clients, `client` with instances; each state is consumed by the packet it waits for. The proof of
//! the password that follows is in `auth`. It never decides who may log in and never touches TLS itself: it says when the
//! channel has to change, and is told that it has.

pub mod attributes;
pub mod client;
pub mod greeting;
pub mod response;
pub mod server;

use thiserror::Error;

pub use client::{ExpectGreeting, LoginRequest, Ready, TlsPending, change_user};
pub use greeting::Greeting;
pub use response::HandshakeResponse;
pub use server::{ClientLogin, ExpectLogin, ExpectTls, FirstResponse};

use crate::{ErrPacket, ErrorCode, Malformed};

/// What makes a handshake end early.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// A packet has not its form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The client speaks the protocol from before MySQL 4.1.
    #[error("the client speaks the protocol from before MySQL 4.1")]
    Pre41Client,
    /// The client does not know authentication plugins.
    #[error("the client does not know authentication plugins")]
    NoPluginSupport,
    /// The client asks for TLS and it was not offered.
    #[error("the client asks for TLS, which was not offered")]
    TlsNotOffered,
    /// The client asks for TLS within TLS.
    #[error("the client asks for TLS a second time")]
    TlsTwice,
    /// The client announces TLS and sends its login in the clear.
    #[error("the client announces TLS and sends its login in the clear")]
    LoginBeforeTls,
    /// The server does not greet with protocol 10.
    #[error("the server greets with protocol version {0}")]
    ProtocolVersion(u8),
    /// The server lacks what every MySQL since 5.6 has.
    #[error("the server is too old")]
    ServerTooOld,
    /// The server refuses before greeting (1040, 1129, 1130): its own words, without SQLSTATE.
    #[error("the server refuses: {} {}", .0.code, String::from_utf8_lossy(&.0.message))]
    Refused(ErrPacket<'static>),
}

impl HandshakeError {
    /// What a client is told before its connection is closed, where it is the client's fault.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoPluginSupport => ErrorCode::NoPluginSupport,
            Self::Malformed(_)
            | Self::Pre41Client
            | Self::TlsNotOffered
            | Self::TlsTwice
            | Self::LoginBeforeTls
            | Self::ProtocolVersion(_)
            | Self::ServerTooOld
            | Self::Refused(_) => ErrorCode::BadHandshake,
        }
    }
}
