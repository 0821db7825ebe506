//! Sluice against real MySQL servers, one binary for all suites.
//!
//! Never here: a sleep as synchronisation, a server that the harness did not start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

mod audit;
mod boot_settings;
mod clients;
mod commands;
mod control;
mod controller_adoption;
mod controller_by_hand;
mod controller_switchover;
mod data_path;
mod differential;
mod doctor;
mod failover;
mod freshness;
mod host_blocking;
mod isolation;
mod login;
mod pooling;
mod process;
mod rebuild;
mod reload;
mod sessions;
mod sysbench;
