//! Sluice: a MySQL-protocol-aware routing proxy with the failover controller inside.

pub mod admin;
pub mod backend;
pub mod cli;
pub mod config;
pub mod control_login;
pub mod controller;
pub mod examine;
pub mod feed;
pub mod lifecycle;
pub mod reload;
pub mod run;
pub mod session;
pub mod workers;
