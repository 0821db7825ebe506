//! One client: login, the command loop, the relay, and what must survive a move.
//!
//! Never here: the controller; sessions only read the topology feed.

pub mod client_stream;
pub mod login;
