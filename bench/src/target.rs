//! What is measured.
//!
//! Never here: how a target is started, or what it is asked.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::wire::Channel;

/// One way to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// To the primary, with nothing between.
    Direct,
    /// HAProxy in TCP mode, to the primary.
    HaProxy,
    /// Our own relay that understands nothing, to the primary: about the least that a proxy on these runtimes costs.
    ByteRelay,
    /// MySQL Router passing bytes through, to the primary.
    Router,
    /// MySQL Router sharing server connections among clients, to the primary.
    RouterSharing,
    /// Sluice, everything to the primary.
    SluicePrimary,
    /// Sluice, reads to replicas.
    SluiceSplit,
    /// The same with TLS between the client and Sluice.
    SluiceSplitTls,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Direct,
        Self::HaProxy,
        Self::ByteRelay,
        Self::Router,
        Self::RouterSharing,
        Self::SluicePrimary,
        Self::SluiceSplit,
        Self::SluiceSplitTls,
    ];

    /// As it is named in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::HaProxy => "HAProxy",
            Self::ByteRelay => "byte relay",
            Self::Router => "Router",
            Self::RouterSharing => "Router, sharing",
            Self::SluicePrimary => "Sluice, primary",
            Self::SluiceSplit => "Sluice, split",
            Self::SluiceSplitTls => "Sluice, split, TLS",
        }
    }

    /// Descriptors that the proxy needs for an idle client. Sluice lends its connections to servers.
    #[must_use]
    pub const fn descriptors(self) -> u64 {
        match self {
            Self::Direct | Self::SluicePrimary | Self::SluiceSplit | Self::SluiceSplitTls => 1,
            Self::HaProxy | Self::ByteRelay | Self::Router | Self::RouterSharing => 2,
        }
    }
}

/// A target that runs.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Which one.
    pub target: Target,
    /// Where clients connect to.
    pub address: SocketAddr,
    /// Whether they encrypt.
    pub channel: Channel,
    /// The proxy's process; none for [`Target::Direct`].
    pub pid: Option<i32>,
}
