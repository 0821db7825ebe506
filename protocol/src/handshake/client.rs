//! Towards an instance: from its greeting to our login.
//!
//! ```text
//! ExpectGreeting -> Ready -> log_in -> (auth)
//!                      \-> request_tls -> TlsPending -> upgraded() -> Ready
//! ```
//! Whether TLS is wanted, and whether its certificate is right, is the caller's business.

use zeroize::Zeroizing;

use super::response::Prefix;
use super::{Greeting, HandshakeError, HandshakeResponse};
use crate::Capabilities;
use crate::auth::{AuthPlugin, ChannelSecurity, ClientAuth, Credential};
use crate::command::ChangeUser;

/// Waits for the server's first packet.
#[derive(Debug)]
pub struct ExpectGreeting;

impl ExpectGreeting {
    /// Takes it. `channel` is the security of the connection as it was dialled (a Unix socket is secure).
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] with the server's words if it is an error, else as [`Greeting::parse`].
    pub fn on(self, payload: &[u8], channel: ChannelSecurity) -> Result<Ready, HandshakeError> {
        Ok(Ready { greeting: Greeting::parse(payload)?, channel, tls: Capabilities::empty() })
    }
}

/// The server has greeted and waits for us.
#[derive(Debug)]
pub struct Ready {
    greeting: Greeting,
    channel: ChannelSecurity,
    tls: Capabilities,
}

/// Waits for TLS to be established by the caller.
#[derive(Debug)]
pub struct TlsPending(Greeting);

impl TlsPending {
    /// TLS is established.
    #[must_use]
    pub fn upgraded(self) -> Ready {
        Ready { greeting: self.0, channel: ChannelSecurity::Secure, tls: Capabilities::SSL }
    }
}

/// What a login says.
#[derive(Debug, Clone)]
pub struct LoginRequest<'a> {
    /// The account's name.
    pub user: &'a [u8],
    /// What proves it.
    pub credential: &'a Credential,
    /// The schema to use, if any.
    pub database: Option<&'a [u8]>,
    /// What we would like to speak; what the server does not offer is left out.
    pub capabilities: Capabilities,
    /// The low byte of the collation.
    pub collation: u8,
    /// The largest packet we take, in bytes.
    pub max_packet: u32,
    /// Connection attributes in wire form; see [`super::attributes::encode`].
    pub attributes: &'a [u8],
}

impl LoginRequest<'_> {
    fn agreed(&self, server: Capabilities, tls: Capabilities) -> Capabilities {
        let derived = Capabilities::CONNECT_WITH_DB | Capabilities::SSL | Capabilities::CONNECT_ATTRS;
        let never = Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
        let mut wanted = (self.capabilities | Greeting::REQUIRED) - derived - never;
        if self.database.is_some() {
            wanted |= Capabilities::CONNECT_WITH_DB;
        }
        if !self.attributes.is_empty() {
            wanted |= Capabilities::CONNECT_ATTRS;
        }
        wanted & server | tls
    }
}

impl Ready {
    /// The server's greeting.
    #[must_use]
    pub const fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Whether TLS can be asked for: offered and not yet done.
    #[must_use]
    pub fn offers_tls(&self) -> bool {
        self.tls == Capabilities::empty() && self.greeting.capabilities.contains(Capabilities::SSL)
    }

    /// The TLS request, of the login that will follow. Only where [`Self::offers_tls`].
    #[must_use]
    pub fn request_tls(self, login: &LoginRequest<'_>) -> (Vec<u8>, TlsPending) {
        let capabilities = login.agreed(self.greeting.capabilities, Capabilities::SSL);
        let mut payload = Vec::with_capacity(super::response::TLS_REQUEST_LEN);
        Prefix { capabilities, max_packet: login.max_packet, collation: login.collation }
            .encode(&mut payload);
        (payload, TlsPending(self.greeting))
    }

    /// The login: the payload to send, the exchange that takes the server's answers, and what is spoken from now on.
    #[must_use]
    pub fn log_in(self, login: &LoginRequest<'_>) -> (Vec<u8>, ClientAuth, Capabilities) {
        let capabilities = login.agreed(self.greeting.capabilities, self.tls);
        let (plugin, data, auth) = ClientAuth::begin(
            &self.greeting.plugin,
            self.greeting.nonce,
            login.credential.clone(),
            self.channel,
            capabilities,
        );
        (response(login, capabilities, plugin, data).encode(), auth, capabilities)
    }

    /// A login that proves nothing, in the name of a plugin that no account has: the server asks for what its account
    /// needs. The credential of `login` has no effect. The payload to send, and what is spoken from now on.
    #[must_use]
    pub fn log_in_unproved(self, login: &LoginRequest<'_>) -> (Vec<u8>, Capabilities) {
        let capabilities = login.agreed(self.greeting.capabilities, self.tls);
        let plugin = AuthPlugin::Other(NO_PLUGIN.to_vec());
        (response(login, capabilities, plugin, Vec::new()).encode(), capabilities)
    }
}

/// The name of a plugin that there is not.
const NO_PLUGIN: &[u8] = b"ask_the_client";

fn response(
    login: &LoginRequest<'_>,
    capabilities: Capabilities,
    plugin: AuthPlugin,
    data: Vec<u8>,
) -> HandshakeResponse {
    HandshakeResponse {
        capabilities,
        max_packet: login.max_packet,
        collation: login.collation,
        user: login.user.to_vec(),
        auth_response: Zeroizing::new(data),
        database: login.database.map(<[u8]>::to_vec),
        plugin: Some(plugin),
        attributes: login.attributes.to_vec(),
        zstd_level: None,
    }
}

/// COM_CHANGE_USER on a connection that is logged in: the payload to send and the exchange that takes the answers.
/// `greeting` is the connection's own, `agreed` what its login agreed on; the capabilities in `login` have no effect.
#[must_use]
pub fn change_user(
    login: &LoginRequest<'_>,
    greeting: &Greeting,
    agreed: Capabilities,
    channel: ChannelSecurity,
) -> (Vec<u8>, ClientAuth) {
    let (plugin, data, auth) =
        ClientAuth::begin(&greeting.plugin, greeting.nonce, login.credential.clone(), channel, agreed);
    let change = ChangeUser {
        user: login.user.to_vec(),
        database: login.database.map(<[u8]>::to_vec),
        collation: Some(u16::from(login.collation)),
        plugin: Some(plugin),
        attributes: login.attributes.to_vec(),
    };
    (change.encode(&data, agreed), auth)
}
