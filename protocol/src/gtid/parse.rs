//! Reading GTIDs as servers and people write them. One pass, no recursion, work and memory linear in
//! the text; never accepts a text longer than [`MAX_GTID_TEXT`].

use std::collections::BTreeMap;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use super::intervals::Interval;
use super::set::Key;
use super::{Gtid, GtidSet, MAX_GTID_NUMBER, Tag};

/// The longest text read as a set, in bytes. A set of a million gaps takes about 16 MB; nothing healthy
/// comes near it.
pub const MAX_GTID_TEXT: usize = 32 << 20;

/// Why a text is not a GTID or a GTID set. Positions are bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GtidError {
    /// Longer than [`MAX_GTID_TEXT`].
    #[error("a GTID set of {length} bytes is longer than the limit of {MAX_GTID_TEXT}")]
    TooLong {
        /// The length found, in bytes.
        length: usize,
    },
    /// No uuid where one has to be.
    #[error("no uuid at byte {at} of the GTID set")]
    Uuid {
        /// Where.
        at: usize,
    },
    /// Neither a tag nor an interval after a colon, or no interval at all after a uuid or tag.
    #[error("neither a tag nor an interval at byte {at} of the GTID set")]
    Part {
        /// Where.
        at: usize,
    },
    /// An interval that is inverted or outside of 1 to [`MAX_GTID_NUMBER`].
    #[error("not an interval of transaction numbers at byte {at} of the GTID set")]
    Interval {
        /// Where.
        at: usize,
    },
    /// A set where exactly one transaction was asked for.
    #[error("a set where a single GTID is needed")]
    NotSingle,
}

/// Where a part begins in the whole text; both are slices of the same text.
fn offset(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

fn number(text: &str) -> Option<u64> {
    // FromStr would accept a leading plus sign.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| (1..=MAX_GTID_NUMBER).contains(n))
}

fn interval(text: &str) -> Option<Interval> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first.trim_end())?, number(last.trim_start())?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(Interval { first, last })
}

/// Reads `uuid[:tag]:interval...` into the map.
fn item(whole: &str, text: &str, members: &mut BTreeMap<Key, Vec<Interval>>) -> Result<(), GtidError> {
    let mut parts = text.split(':').map(str::trim);
    let uuid = parts.next().unwrap_or_default();
    // Only the hyphenated form: it is what servers print, and the others are far more likely mistakes.
    let uuid = Some(uuid)
        .filter(|u| u.len() == uuid::fmt::Hyphenated::LENGTH)
        .and_then(|u| Uuid::try_parse(u).ok())
        .ok_or(GtidError::Uuid { at: offset(whole, uuid) })?;
    let end = offset(whole, text) + text.len();
    let mut tag = None;
    // Collected apart, so that a long item costs one look into the map per tag, not per interval.
    let mut found: Vec<Interval> = Vec::new();
    for part in parts {
        let at = offset(whole, part);
        if part.starts_with(|c: char| c.is_ascii_digit()) {
            found.push(interval(part).ok_or(GtidError::Interval { at })?);
            continue;
        }
        let next = Tag::new(part).ok_or(GtidError::Part { at })?;
        if found.is_empty() {
            // Directly after the uuid a tag is fine, but a tag must have an interval.
            if tag.is_some() {
                return Err(GtidError::Part { at });
            }
        } else {
            members.entry((uuid, tag)).or_default().append(&mut found);
        }
        tag = Some(next);
    }
    if found.is_empty() {
        return Err(GtidError::Part { at: end });
    }
    members.entry((uuid, tag)).or_default().append(&mut found);
    Ok(())
}

impl FromStr for GtidSet {
    type Err = GtidError;

    /// Reads a set in any order, with white space and line breaks between its parts. Empty items between
    /// commas are passed over, as the server does; the empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        if text.len() > MAX_GTID_TEXT {
            return Err(GtidError::TooLong { length: text.len() });
        }
        let mut members = BTreeMap::new();
        for part in text.split(',') {
            let part = part.trim();
            if !part.is_empty() {
                item(text, part, &mut members)?;
            }
        }
        Ok(Self::from_unsorted(members))
    }
}

impl FromStr for Gtid {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, GtidError> {
        // The longest single GTID has 36 + 1 + 32 + 1 + 19 bytes; white space is bounded with it.
        const LONGEST: usize = 256;
        if text.len() > LONGEST {
            return Err(GtidError::NotSingle);
        }
        let set: GtidSet = text.parse()?;
        let mut all = set.intervals();
        match (all.next(), all.next()) {
            (Some((uuid, tag, i)), None) if i.first == i.last => {
                Self::new(uuid, tag, i.first).ok_or(GtidError::NotSingle)
            }
            (Some(_) | None, _) => Err(GtidError::NotSingle),
        }
    }
}
