//! Who logs in at an instance, and with which capabilities.
//!
//! Never here: I/O, the exchange itself (that is `sluice_protocol`).

use sluice_protocol::Capabilities;

use super::identity::Identity;
use super::secret::Secret;

/// What every backend connection speaks, whatever the client can: trackers and the final OK of a result set
/// are how the session learns the truth.
pub const ALWAYS: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC_DATA)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF);

/// What is switched on at the instance exactly if the client has it: it changes what the server answers.
pub const MIRRORED: Capabilities = Capabilities::FOUND_ROWS
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::QUERY_ATTRIBUTES)
    .union(Capabilities::MULTI_FACTOR_AUTHENTICATION)
    .union(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS);

/// What a client said about itself: enough to log in as it at any instance, also later.
#[derive(Clone, Debug)]
pub struct BackendLogin {
    /// Account name, as the client sent it.
    pub user: Box<[u8]>,
    /// What proves the password. `None` where only the client itself can prove who it is: then no further backend
    /// connection can be opened.
    pub secret: Option<Secret>,
    /// Whose connections this login may use besides its own; `None`: nobody's, and nobody its (a sandbox, or
    /// a login that only its client could repeat).
    pub identity: Option<Identity>,
    /// Schema to start in.
    pub database: Option<Box<[u8]>>,
    /// Collation id of the handshake (one byte on the wire).
    pub collation: u8,
    /// The client's capabilities; only [`MIRRORED`] ones are passed on.
    pub client_capabilities: Capabilities,
    /// Connection attributes in wire form (`sluice_protocol::handshake::attributes`): the client's, then ours.
    pub attributes: Box<[u8]>,
}

impl BackendLogin {
    /// The capabilities to ask an instance for.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let database = match self.database {
            Some(_) => Capabilities::CONNECT_WITH_DB,
            None => Capabilities::empty(),
        };
        ALWAYS | database | (self.client_capabilities & MIRRORED)
    }
}
