//! Global transaction identifiers: one transaction ([`Gtid`]) and sets of them ([`GtidSet`]), with the
//! tags of MySQL 8.3 and newer (`uuid:tag:1-5`).
//!
//! Sets are held as sorted, disjoint, non-adjacent intervals per (uuid, tag), so equal sets are equal
//! values and every operation is linear in the number of intervals.
//!
//! This file must never ask a server or know what a set is compared for.

mod intervals;
mod owned;
mod parse;
mod set;
mod tag;

#[cfg(test)]
mod tests;

use std::fmt;

use uuid::Uuid;

pub use self::intervals::Interval;
pub use self::parse::{GtidError, MAX_GTID_TEXT};
pub use self::set::GtidSet;
pub use self::tag::Tag;

/// The largest number a transaction can have: the server reserves 2^63-1 as an end mark.
pub const MAX_GTID_NUMBER: u64 = (1 << 63) - 2;

/// One transaction: where it was first committed, under which tag, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    uuid: Uuid,
    tag: Option<Tag>,
    number: u64,
}

impl Gtid {
    /// An identifier, or `None` if `number` is not within 1 to [`MAX_GTID_NUMBER`].
    #[must_use]
    pub fn new(uuid: Uuid, tag: Option<Tag>, number: u64) -> Option<Self> {
        (1..=MAX_GTID_NUMBER).contains(&number).then_some(Self { uuid, tag, number })
    }

    /// The `server_uuid` (or view uuid) under which the transaction was committed.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The tag, if the transaction has one.
    #[must_use]
    pub fn tag(&self) -> Option<Tag> {
        self.tag
    }

    /// The transaction's number, 1 to [`MAX_GTID_NUMBER`].
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.uuid)?;
        if let Some(tag) = self.tag {
            write!(f, "{tag}:")?;
        }
        write!(f, "{}", self.number)
    }
}
