//! A bounded load with a ledger, its verification, and the client of Sluice's admin port.
//!
//! [`load::Load`] runs readers and writers, each on a connection of its own, and keeps a ledger of what every
//! write was told. [`verify::verify`] holds that ledger against the servers: what was acknowledged exists exactly
//! once, what failed for certain does not exist, and all servers hold the same data. The demo, the tests and the
//! soak all measure with it.
//!
//! Never here: a retry that hides an error. What a client saw is recorded, then the client goes on.

pub mod admin;
pub mod load;
pub mod login;
pub mod stage;
pub mod tables;
pub mod verify;
