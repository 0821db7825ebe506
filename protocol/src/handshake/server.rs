//! Towards a client: from our greeting to its login.
//!
//! ```text
//! Greeting sent -> ExpectLogin -> Login -> (auth)
//!                      \-> ExpectTls -> upgraded() -> ExpectLogin -> Login
//! ```
//! Bytes that follow a TLS request in the clear belong to TLS: [`crate::PayloadAssembler`] leaves them where they are.
//! Nothing is opened to an instance before a complete login is here.

use std::fmt;

use zeroize::Zeroizing;

use super::{Greeting, HandshakeError, HandshakeResponse, response::Prefix};
use crate::auth::{AuthError, AuthPlugin, ChannelSecurity, Nonce, ServerAuth};
use crate::{Capabilities, Reader};

/// Waits for a login or a TLS request.
#[derive(Debug)]
pub struct ExpectLogin {
    offered: Capabilities,
    nonce: Nonce,
    channel: ChannelSecurity,
    tls: TlsState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TlsState {
    Offered,
    NotOffered,
    Done,
}

/// What a client sends first.
#[derive(Debug)]
pub enum FirstResponse {
    /// It wants TLS: hand the connection, with everything not yet read, to TLS.
    Tls(ExpectTls),
    /// It logs in.
    Login(Box<ClientLogin>),
}

/// Waits for TLS to be established by the caller.
#[derive(Debug)]
pub struct ExpectTls {
    offered: Capabilities,
    nonce: Nonce,
}

impl ExpectTls {
    /// TLS is established; everything read from now on comes out of it.
    #[must_use]
    pub const fn upgraded(self) -> ExpectLogin {
        ExpectLogin {
            offered: self.offered,
            nonce: self.nonce,
            channel: ChannelSecurity::Secure,
            tls: TlsState::Done,
        }
    }
}

impl ExpectLogin {
    /// After `greeting` was sent over a channel of that security (a Unix socket is secure without TLS).
    #[must_use]
    pub const fn new(greeting: &Greeting, channel: ChannelSecurity) -> Self {
        let tls = if greeting.capabilities.contains(Capabilities::SSL) {
            TlsState::Offered
        } else {
            TlsState::NotOffered
        };
        Self { offered: greeting.capabilities, nonce: greeting.nonce, channel, tls }
    }

    /// Takes the client's payload.
    ///
    /// # Errors
    /// [`HandshakeError`]; its `code` is what the client is told.
    pub fn on(self, payload: &[u8]) -> Result<FirstResponse, HandshakeError> {
        let prefix = Prefix::parse(&mut Reader::new(payload))?;
        let asks_tls = prefix.capabilities.contains(Capabilities::SSL);
        match (HandshakeResponse::is_tls_request(payload), self.tls) {
            (true, TlsState::Offered) if asks_tls => {
                return Ok(FirstResponse::Tls(ExpectTls { offered: self.offered, nonce: self.nonce }));
            }
            (true, TlsState::NotOffered) if asks_tls => return Err(HandshakeError::TlsNotOffered),
            (true, TlsState::Done) if asks_tls => return Err(HandshakeError::TlsTwice),
            // A login that claims TLS but came before it could be anyone's.
            (false, TlsState::Offered) if asks_tls => return Err(HandshakeError::LoginBeforeTls),
            (true | false, TlsState::Offered | TlsState::NotOffered | TlsState::Done) => {}
        }
        let response = HandshakeResponse::parse(payload, self.offered)?;
        let Some(plugin) = response.plugin else { return Err(HandshakeError::NoPluginSupport) };
        Ok(FirstResponse::Login(Box::new(ClientLogin {
            user: response.user,
            database: response.database,
            plugin,
            auth_response: response.auth_response,
            capabilities: response.capabilities,
            collation: response.collation,
            max_packet: response.max_packet,
            attributes: response.attributes,
            zstd_level: response.zstd_level,
            channel: self.channel,
            nonce: self.nonce,
        })))
    }
}

/// A complete login, not yet proved.
#[derive(Clone)]
pub struct ClientLogin {
    /// The account's name.
    pub user: Vec<u8>,
    /// The schema to use, if any.
    pub database: Option<Vec<u8>>,
    /// What its data is for.
    pub plugin: AuthPlugin,
    /// Its data; may be a password. Wiped when dropped.
    pub auth_response: Zeroizing<Vec<u8>>,
    /// What client and we agreed on.
    pub capabilities: Capabilities,
    /// The low byte of its collation.
    pub collation: u8,
    /// The largest packet it takes, in bytes.
    pub max_packet: u32,
    /// Connection attributes as sent; see [`super::attributes::pairs`].
    pub attributes: Vec<u8>,
    /// Level of zstd compression, if agreed.
    pub zstd_level: Option<u8>,
    /// Whether others could read it.
    pub channel: ChannelSecurity,
    nonce: Nonce,
}

impl ClientLogin {
    /// Begins the proof of the password; `fresh` is used if the client must switch to our plugin.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn begin_auth(&self, fresh: Nonce) -> Result<ServerAuth, AuthError> {
        ServerAuth::begin(&self.plugin, &self.auth_response, self.nonce, fresh, self.channel)
    }
}

impl fmt::Debug for ClientLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLogin")
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("database", &self.database.as_deref().map(String::from_utf8_lossy))
            .field("plugin", &self.plugin)
            .field("capabilities", &self.capabilities)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
