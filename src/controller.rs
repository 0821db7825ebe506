//! The controller: observes the instances, keeps the record, publishes the topology, runs switchovers.
//!
//! Never here: client bytes, a second opinion about who is the primary.

pub mod api;
pub mod grants;
mod statements;
