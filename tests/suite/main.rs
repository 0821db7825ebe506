//! Sluice against real MySQL servers, one binary for all suites.
//!
//! Never here: a sleep as synchronisation, a server that the harness did not start.

mod clients;
mod control;
mod controller_adoption;
mod data_path;
mod host_blocking;
mod login;
mod process;
mod sessions;
