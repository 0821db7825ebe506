//! The controller: observes the instances, keeps the record, publishes the topology, runs switchovers.
//!
//! Pure files (`view`, `record`, `assess`, `adopt`, `plan`, `elect`, `switchover`, `failover`, `rebuild`,
//! `publish`, `lag`, `statements`, `grants`, and `doctor` but for its `ask`) decide; the others look, store and do.
//! [`run_over`] is the way in.
//!
//! Never here: client bytes, a second opinion about who is the primary.

pub mod adopt;
pub mod api;
pub mod assess;
mod board;
mod clock;
mod conduct;
mod control_session;
mod desk;
pub mod doctor;
pub mod elect;
pub mod events;
mod execute;
pub mod failover;
pub mod grants;
pub mod guarantee;
mod hooks;
mod instance_operations;
pub mod lag;
mod observe;
#[cfg(test)]
mod pictures;
pub mod plan;
pub mod publish;
pub mod rebuild;
pub mod record;
mod refill;
pub mod regroup;
mod run_loop;
pub mod statements;
pub mod store;
pub mod switchover;
mod takeover;
pub mod unguarded;
pub mod view;
mod write_probe;
pub mod zones;

pub use control_session::{Pending, Rows, Servers, Session, SqlError};
pub use run_loop::run_over;
