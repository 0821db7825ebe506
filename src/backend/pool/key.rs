//! What idle connections are told apart by.
//!
//! Never here: a password.

use sluice_protocol::Capabilities;
use sluice_routing::topology::InstanceId;

use super::super::BackendConnection;
use super::super::identity::Identity;
use super::super::login::BackendLogin;

/// Connections with the same key differ only in state that can be set: same instance, same account and
/// password, same capabilities, same collation at login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where they lead.
    pub instance: InstanceId,
    /// As whom they were opened.
    pub identity: Identity,
    capabilities: Capabilities,
    collation: u8,
}

impl Key {
    /// The key of connections to `instance` that `login` may use; `None` if it may use only its own.
    #[must_use]
    pub fn wanted(instance: InstanceId, login: &BackendLogin) -> Option<Self> {
        login.identity.map(|identity| Self::of(instance, identity, login))
    }

    /// The key of a connection that `login` has opened; `None` if nobody else may use it.
    #[must_use]
    pub fn opened(connection: &BackendConnection, login: &BackendLogin) -> Option<Self> {
        connection.identity.map(|identity| Self::of(connection.instance, identity, login))
    }

    fn of(instance: InstanceId, identity: Identity, login: &BackendLogin) -> Self {
        let capabilities = login.capabilities() - Capabilities::CONNECT_WITH_DB;
        Self { instance, identity, capabilities, collation: login.collation }
    }
}
