//! Reading `@@global.gtid_owned`: the transactions that threads of a server are committing or applying now,
//! `uuid:5#12:tag:6#13`, where the number behind `#` is the thread.
//!
//! MySQL 9.7 writes nothing between the last thread of one uuid and the next uuid
//! (`...:7#11aaaaaaaa-...:9#12`), so the text is read from the colons: a uuid is the 36 characters before one.
//!
//! This file must never guess: a text in another form is an error.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{GtidError, GtidSet, Interval, MAX_GTID_NUMBER, MAX_GTID_TEXT, Tag};

/// Length of a uuid with hyphens.
const UUID_TEXT: usize = 36;

impl GtidSet {
    /// Reads the value of `@@global.gtid_owned`.
    ///
    /// # Errors
    /// [`GtidError`] if the text is not of that form or longer than [`MAX_GTID_TEXT`].
    pub fn parse_owned(text: &str) -> Result<Self, GtidError> {
        if text.len() > MAX_GTID_TEXT {
            return Err(GtidError::TooLong { length: text.len() });
        }
        let mut members: BTreeMap<(Uuid, Option<Tag>), Vec<Interval>> = BTreeMap::new();
        let mut current: Option<(Uuid, Option<Tag>)> = None;
        let text = text.trim();
        let mut rest = text;
        while !rest.is_empty() {
            let wrong = GtidError::Part { at: text.len() - rest.len() };
            let (part, behind) = rest.split_once(':').unwrap_or((rest, ""));
            let last = behind.is_empty();
            let (own, next) = if last { (part, None) } else { split_uuid(part) };
            let own = own.trim_end_matches([',', '\n', ' ']);
            match (own.split_once('#'), current) {
                (None, None) if own.is_empty() && next.is_some() => {}
                (None, Some((uuid, _))) if !last => {
                    let tag = Tag::new(own).ok_or(wrong)?;
                    current = Some((uuid, Some(tag)));
                }
                (Some((number, owners)), Some(key)) if is_owners(owners) => {
                    let number: u64 = number.parse().map_err(|_| wrong)?;
                    if !(1..=MAX_GTID_NUMBER).contains(&number) {
                        return Err(wrong);
                    }
                    members.entry(key).or_default().push(Interval { first: number, last: number });
                }
                _ => return Err(wrong),
            }
            if let Some(uuid) = next {
                current = Some((uuid, None));
            }
            rest = behind;
        }
        Ok(Self::from_unsorted(members))
    }
}

/// Takes the uuid off the end of what stands before a colon.
fn split_uuid(part: &str) -> (&str, Option<Uuid>) {
    let at = part.len().checked_sub(UUID_TEXT).filter(|at| part.is_char_boundary(*at));
    let Some((own, uuid)) = at.map(|at| part.split_at(at)) else { return (part, None) };
    match Uuid::try_parse(uuid) {
        Ok(uuid) => (own, Some(uuid)),
        Err(_) => (part, None),
    }
}

/// `12`, or `12#13` where several threads share a transaction.
fn is_owners(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'#')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";
    const DIGITS: &str = "11111111-1111-1111-1111-111111111111";

    fn owned(text: &str) -> String {
        GtidSet::parse_owned(text).unwrap().to_string()
    }

    #[test]
    fn what_servers_write_is_read() {
        assert_eq!(owned(""), "");
        assert_eq!(owned(&format!("{A}:5#9")), format!("{A}:5"));
        // As 9.7.4 answered it: nothing between a thread and the next uuid.
        let seen = format!("{A}:5#9:7#11{A}:blue:9#10{DIGITS}:blue:9#12");
        assert_eq!(owned(&seen), format!("{DIGITS}:blue:9,{A}:5:7:blue:9"));
        assert_eq!(owned(&format!("{A}:5#9,\n{DIGITS}:6#7#8")), format!("{DIGITS}:6,{A}:5"));
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in ["x", ":", "5#9", &format!("{A}:5"), &format!("{A}:#9"), &format!("{A}:0#9")] {
            assert!(GtidSet::parse_owned(text).is_err(), "{text}");
        }
        for text in [format!("{A}:blue"), format!("{A}:5#x"), format!("{A}::5#1")] {
            assert!(GtidSet::parse_owned(&text).is_err(), "{text}");
        }
    }
}
