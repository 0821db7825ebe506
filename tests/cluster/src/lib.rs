//! Real MySQL clusters on loopback, for tests, the demo and bench.
//!
//! [`Cluster`] starts N supervised mysqlds from a template data directory, sets up accounts, replication and
//! semi-sync, and can kill, stop, freeze and restart each of them. [`SluiceProcess`] runs the built `sluice`
//! binary in front of one. Everything a cluster owns (processes, folder, ports) ends with it: by its `Drop`, or
//! by the [reaper](crate::reaper) when the process that started it dies in any way.
//!
//! This room must never leave a process or a folder behind, never touch a server it did not start, never listen
//! beyond loopback, and never wait for time to pass where it can wait for a condition.

mod accounts;
mod cluster;
mod error;
mod http;
mod mysqld;
mod node;
mod options;
mod ports;
pub mod reaper;
mod replication;
mod sluice;
mod supervisor;
mod template;
mod wait;

pub use accounts::{Accounts, Login};
pub use cluster::{Cluster, ClusterBuilder, Kept};
pub use error::ClusterError;
pub use http::{Response, http_get, http_post};
pub use mysqld::{Mysqld, Version};
pub use node::Node;
pub use options::{Boot, Durability, NameResolution, Storage};
pub use ports::HeldPort;
pub use sluice::{SluiceBuilder, SluicePorts, SluiceProcess};
pub use supervisor::{Exit, Respawn};
pub use wait::wait_until;
