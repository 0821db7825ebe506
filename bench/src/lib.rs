//! Measurements side by side: a direct connection, Sluice, and peers, with the same servers and load.
//!
//! [`load`] is the load generator: one thread over epoll, closed loop or a fixed rate. [`measure`] plays it in rounds
//! against all targets in turn, so that the machine's drift meets all of them alike, and reads beside it what the proxy
//! used ([`process`]). [`report`] makes the table, the JSON and `RESULTS.md`.
//!
//! Never here: code that Sluice itself runs.

pub mod answer;
pub mod connection;
pub mod first_logins;
pub mod idle;
pub mod load;
pub mod logins;
pub mod machine;
pub mod measure;
pub mod peer;
pub mod plan;
pub mod play;
pub mod process;
pub mod report;
pub mod statistics;
pub mod switchovers;
pub mod sysbench;
pub mod system_calls;
pub mod target;
pub mod wire;
pub mod workload;
