//! COM_CHANGE_USER: a login on a connection that has one already.
//!
//! Only its packet is read and written here; the exchange that follows is the same as at login (`auth`).

use super::byte;
use crate::auth::AuthPlugin;
use crate::{Capabilities, Malformed, Reader, WireAppend};

/// The packet of a client that wants to be someone else (or itself, anew). Its authentication data answers no
/// question we asked, so it is not kept: the exchange begins with our own request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeUser {
    /// The account's name.
    pub user: Vec<u8>,
    /// The schema to use, if any.
    pub database: Option<Vec<u8>>,
    /// Collation, if the client says one; 16 bits here, unlike at login.
    pub collation: Option<u16>,
    /// What the client would use.
    pub plugin: Option<AuthPlugin>,
    /// Connection attributes as sent, without their length.
    pub attributes: Vec<u8>,
}

impl ChangeUser {
    /// Reads a payload, command byte included; `caps` are those agreed at login.
    ///
    /// # Errors
    /// [`Malformed`] if a field is missing. Fields behind the schema may be left out together.
    pub fn parse(payload: &[u8], caps: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != byte::CHANGE_USER {
            return Err(Malformed::Invalid("command"));
        }
        let user = reader.nul_terminated()?.to_vec();
        if caps.contains(Capabilities::SECURE_CONNECTION) {
            let length = reader.u8()?;
            reader.take(usize::from(length))?;
        } else {
            reader.nul_terminated()?;
        }
        let database = Some(reader.nul_terminated()?.to_vec()).filter(|name| !name.is_empty());
        let mut change = Self { user, database, collation: None, plugin: None, attributes: Vec::new() };
        if reader.remaining() < 2 {
            return Ok(change);
        }
        change.collation = Some(reader.u16()?);
        if caps.contains(Capabilities::PLUGIN_AUTH) && !reader.is_empty() {
            change.plugin = Some(AuthPlugin::from_name(reader.nul_terminated()?));
        }
        if caps.contains(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
            change.attributes = reader.lenenc_bytes()?.to_vec();
        }
        Ok(change)
    }

    /// The payload for a server with which `caps` were agreed; `response` is the authentication data for its greeting's
    /// nonce (the server asks again with a new one anyway), at most 255 bytes are sent.
    #[must_use]
    pub fn encode(&self, response: &[u8], caps: Capabilities) -> Vec<u8> {
        let mut out = vec![byte::CHANGE_USER];
        out.push_nul_terminated(&self.user);
        let response = response.get(..usize::from(u8::MAX)).unwrap_or(response);
        out.push_u8(u8::try_from(response.len()).unwrap_or(u8::MAX));
        out.push_bytes(response);
        out.push_nul_terminated(self.database.as_deref().unwrap_or_default());
        out.push_u16(self.collation.unwrap_or_default());
        if caps.contains(Capabilities::PLUGIN_AUTH) {
            out.push_nul_terminated(self.plugin.as_ref().unwrap_or(&AuthPlugin::CachingSha2).name());
        }
        if caps.contains(Capabilities::CONNECT_ATTRS) {
            out.push_lenenc_bytes(&self.attributes);
        }
        out
    }
}
