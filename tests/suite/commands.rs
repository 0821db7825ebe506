//! Commands of the protocol on real servers, sent by a client that shows every packet. Tests are named after the rows of
//! the command table.
//!
//! Never here: what a driver makes of an answer (that is `tests/clients`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

mod attributes;
mod binlog;
mod compression;
mod long;
mod memory;
mod predictions;
pub(crate) mod raw;
mod rows;
mod transactions;
mod vouched;
