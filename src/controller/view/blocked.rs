//! What is known of a write that does not get through.
//!
//! Never here: a verdict.

use std::time::Instant;

/// A write of Sluice that does not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedWrite {
    /// What it waits for.
    pub cause: Blockade,
    /// When it was begun, or the first of several that failed in a row.
    pub since: Instant,
    /// What was seen of it, for people.
    pub detail: String,
}

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blockade {
    /// Somebody's lock on the whole server.
    Lock,
    /// Acknowledgements.
    Acknowledgements,
    /// The server itself: a full disk, or one that does not answer.
    Server,
}
