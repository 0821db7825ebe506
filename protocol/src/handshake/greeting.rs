//! The greeting: the server's first packet.
//!
//! Which version, id and capabilities it names is the caller's choice; this is only its form.

use super::HandshakeError;
use crate::auth::{AuthPlugin, Nonce};
use crate::{Capabilities, ErrPacket, Malformed, Reader, StatusFlags, WireAppend};

const PROTOCOL_VERSION: u8 = 10;
/// Bytes of the nonce that stand in the first part of a greeting.
const FIRST_PART: usize = 8;

/// A greeting of protocol version 10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The version drivers choose their features by, such as `9.7.4`.
    pub server_version: Vec<u8>,
    /// The id KILL takes.
    pub connection_id: u32,
    /// What passwords are proved against.
    pub nonce: Nonce,
    /// What the server can speak.
    pub capabilities: Capabilities,
    /// The server's default collation, its low byte.
    pub collation: u8,
    /// Usually AUTOCOMMIT alone.
    pub status: StatusFlags,
    /// The plugin the nonce is for.
    pub plugin: AuthPlugin,
}

impl Greeting {
    /// Without these no client of the last ten years can log in; [`Self::encode`] always offers them.
    pub const REQUIRED: Capabilities = Capabilities::LONG_PASSWORD
        .union(Capabilities::LONG_FLAG)
        .union(Capabilities::CONNECT_WITH_DB)
        .union(Capabilities::PROTOCOL_41)
        .union(Capabilities::TRANSACTIONS)
        .union(Capabilities::SECURE_CONNECTION)
        .union(Capabilities::PLUGIN_AUTH)
        .union(Capabilities::PLUGIN_AUTH_LENENC_DATA);

    /// Our own greeting: AUTOCOMMIT, `caching_sha2_password`, the capabilities given and those [`Self::REQUIRED`].
    #[must_use]
    pub fn new(
        server_version: &str,
        connection_id: u32,
        nonce: Nonce,
        capabilities: Capabilities,
        collation: u8,
    ) -> Self {
        Self {
            server_version: server_version.as_bytes().to_vec(),
            connection_id,
            nonce,
            capabilities: capabilities | Self::REQUIRED,
            collation,
            status: StatusFlags::AUTOCOMMIT,
            plugin: AuthPlugin::CachingSha2,
        }
    }

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [low_a, low_b, high_a, high_b] = self.capabilities.bits().to_le_bytes();
        let nonce = self.nonce.as_bytes();
        let (first, second) = nonce.split_at_checked(FIRST_PART).unwrap_or((nonce, &[]));
        let mut out = Vec::with_capacity(64 + self.server_version.len());
        out.push_u8(PROTOCOL_VERSION);
        out.push_nul_terminated(&self.server_version);
        out.push_u32(self.connection_id);
        out.push_bytes(first);
        out.push_u8(0);
        out.push_bytes(&[low_a, low_b, self.collation]);
        out.push_u16(self.status.bits());
        out.push_bytes(&[high_a, high_b, 21]);
        out.push_zeros(10);
        out.push_bytes(second);
        out.push_u8(0);
        out.push_nul_terminated(self.plugin.name());
        out
    }

    /// Reads a server's first packet.
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] if it is an error packet instead, [`HandshakeError::ProtocolVersion`],
    /// [`HandshakeError::ServerTooOld`] if its nonce is short or it knows no plugins, [`HandshakeError::Malformed`].
    pub fn parse(payload: &[u8]) -> Result<Self, HandshakeError> {
        let mut reader = Reader::new(payload);
        match reader.u8()? {
            PROTOCOL_VERSION => {}
            0xff => return Err(HandshakeError::Refused(ErrPacket::parse(payload)?.into_owned())),
            other => return Err(HandshakeError::ProtocolVersion(other)),
        }
        let server_version = reader.nul_terminated()?.to_vec();
        let connection_id = reader.u32()?;
        let first: [u8; FIRST_PART] = reader.take_array()?;
        reader.take(1)?;
        let low = reader.u16()?;
        let Ok(collation) = reader.u8() else { return Err(HandshakeError::ServerTooOld) };
        let status = StatusFlags::from_bits(reader.u16()?);
        let high = reader.u16()?;
        let capabilities = Capabilities::from_bits(u32::from(low) | u32::from(high) << 16);
        let needed = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH;
        if !capabilities.contains(needed) {
            return Err(HandshakeError::ServerTooOld);
        }
        let nonce_length = usize::from(reader.u8()?);
        reader.take(10)?;
        let second = reader.take(nonce_length.saturating_sub(FIRST_PART).max(13))?;
        let mut nonce = [0; crate::auth::NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(first.iter().chain(second)) {
            *to = *from;
        }
        let name =
            if reader.is_empty() { return Err(Malformed::Truncated("plugin").into()) } else { reader.rest() };
        let plugin = AuthPlugin::from_name(name.split(|byte| *byte == 0).next().unwrap_or_default());
        let nonce = Nonce::from_wire(nonce);
        Ok(Self { server_version, connection_id, nonce, capabilities, collation, status, plugin })
    }
}
