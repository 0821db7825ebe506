//! The login packet (HandshakeResponse41) and its short form, the TLS request.
//!
//! Only their form; what may come when is in `server` and `client`.

use std::fmt;

use zeroize::Zeroizing;

use super::HandshakeError;
use crate::auth::AuthPlugin;
use crate::{Capabilities, Malformed, Reader, WireAppend};

/// Bytes of a TLS request; also what every login begins with.
pub const TLS_REQUEST_LEN: usize = 32;

/// A login as it stands in its packet.
#[derive(Clone, PartialEq, Eq)]
pub struct HandshakeResponse {
    /// What the client wants to speak.
    pub capabilities: Capabilities,
    /// The largest packet it takes, in bytes.
    pub max_packet: u32,
    /// The low byte of its collation.
    pub collation: u8,
    /// The account's name.
    pub user: Vec<u8>,
    /// Data for the plugin; may be a password. Wiped when dropped.
    pub auth_response: Zeroizing<Vec<u8>>,
    /// The schema to use, if any.
    pub database: Option<Vec<u8>>,
    /// What the data is for.
    pub plugin: Option<AuthPlugin>,
    /// Connection attributes as sent, without their length.
    pub attributes: Vec<u8>,
    /// Level of zstd compression, if agreed.
    pub zstd_level: Option<u8>,
}

impl fmt::Debug for HandshakeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("capabilities", &self.capabilities)
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

/// The 32 bytes both forms begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// What the client wants to speak.
    pub capabilities: Capabilities,
    /// The largest packet it takes, in bytes.
    pub max_packet: u32,
    /// The low byte of its collation.
    pub collation: u8,
}

impl Prefix {
    /// Reads it; the reader stands behind it afterwards.
    ///
    /// # Errors
    /// [`HandshakeError::Pre41Client`], [`HandshakeError::Malformed`].
    pub fn parse(reader: &mut Reader<'_>) -> Result<Self, HandshakeError> {
        let mut early = *reader;
        let low = early.u16()?;
        if !Capabilities::from_bits(u32::from(low)).contains(Capabilities::PROTOCOL_41) {
            return Err(HandshakeError::Pre41Client);
        }
        let capabilities = Capabilities::from_bits(reader.u32()?);
        let (max_packet, collation) = (reader.u32()?, reader.u8()?);
        reader.take(23)?;
        Ok(Self { capabilities, max_packet, collation })
    }

    /// Writes it: alone it is the TLS request.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push_u32(self.capabilities.bits());
        out.push_u32(self.max_packet);
        out.push_u8(self.collation);
        out.push_zeros(23);
    }
}

impl HandshakeResponse {
    /// Reads a login; fields are laid out by what both sides want, so `offered` is the greeting's set. The capabilities
    /// in the result are those of both.
    ///
    /// # Errors
    /// [`HandshakeError::Pre41Client`], [`HandshakeError::Malformed`].
    pub fn parse(payload: &[u8], offered: Capabilities) -> Result<Self, HandshakeError> {
        let mut reader = Reader::new(payload);
        let prefix = Prefix::parse(&mut reader)?;
        let caps = prefix.capabilities & offered;
        let user = reader.nul_terminated()?.to_vec();
        let data = if caps.contains(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
            reader.lenenc_bytes()?
        } else if caps.contains(Capabilities::SECURE_CONNECTION) {
            let length = reader.u8()?;
            reader.take(usize::from(length))?
        } else {
            reader.nul_terminated()?
        };
        let mut response = Self {
            capabilities: caps,
            max_packet: prefix.max_packet,
            collation: prefix.collation,
            user,
            auth_response: Zeroizing::new(data.to_vec()),
            database: None,
            plugin: None,
            attributes: Vec::new(),
            zstd_level: None,
        };
        if caps.contains(Capabilities::CONNECT_WITH_DB) && !reader.is_empty() {
            response.database = Some(reader.nul_terminated()?.to_vec()).filter(|name| !name.is_empty());
        }
        response.plugin = plugin(&mut reader, caps);
        if caps.contains(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
            response.attributes = reader.lenenc_bytes()?.to_vec();
        }
        if caps.contains(Capabilities::ZSTD_COMPRESSION) && !reader.is_empty() {
            response.zstd_level = Some(reader.u8()?);
        }
        Ok(response)
    }

    /// The payload, laid out by its own capabilities.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let caps = self.capabilities;
        let mut out = Vec::with_capacity(128 + self.attributes.len());
        Prefix { capabilities: caps, max_packet: self.max_packet, collation: self.collation }
            .encode(&mut out);
        out.push_nul_terminated(&self.user);
        if caps.contains(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
            out.push_lenenc_bytes(&self.auth_response);
        } else {
            let data = self.auth_response.get(..usize::from(u8::MAX)).unwrap_or(&self.auth_response);
            out.push_u8(u8::try_from(data.len()).unwrap_or(u8::MAX));
            out.push_bytes(data);
        }
        if caps.contains(Capabilities::CONNECT_WITH_DB) {
            out.push_nul_terminated(self.database.as_deref().unwrap_or_default());
        }
        if caps.contains(Capabilities::PLUGIN_AUTH) {
            out.push_nul_terminated(self.plugin.as_ref().unwrap_or(&AuthPlugin::CachingSha2).name());
        }
        if caps.contains(Capabilities::CONNECT_ATTRS) {
            out.push_lenenc_bytes(&self.attributes);
        }
        if caps.contains(Capabilities::ZSTD_COMPRESSION) {
            out.push_u8(self.zstd_level.unwrap_or(3));
        }
        out
    }

    /// Whether this payload of a client is the short form, by its length; a login is always longer.
    #[must_use]
    pub fn is_tls_request(payload: &[u8]) -> bool {
        payload.len() == TLS_REQUEST_LEN
    }
}

/// The plugin's name; some drivers send it without the flag, some without its zero byte.
fn plugin(reader: &mut Reader<'_>, caps: Capabilities) -> Option<AuthPlugin> {
    let mut ahead = *reader;
    let name = match ahead.nul_terminated() {
        Ok(name) => name,
        Err(
            Malformed::Unterminated
            | Malformed::Truncated(_)
            | Malformed::LengthPrefix(_)
            | Malformed::Invalid(_),
        ) => ahead.rest(),
    };
    let plugin = AuthPlugin::from_name(name);
    let known = !matches!(plugin, AuthPlugin::Other(_));
    if known || (caps.contains(Capabilities::PLUGIN_AUTH) && !reader.is_empty()) {
        *reader = ahead;
        return Some(plugin);
    }
    None
}
