//! Asking a server for the transactions of its binary log, and what its events are.
//!
//! Never here: what a row means, a socket.

use crate::{GtidSet, WireAppend};

/// COM_BINLOG_DUMP_GTID.
const DUMP_GTID: u8 = 0x1e;
/// End with the last event instead of waiting for more (BINLOG_DUMP_NON_BLOCK), and go by GTIDs
/// (BINLOG_THROUGH_GTID).
const FLAGS: u16 = 0x01 | 0x04;
/// The first event of every log begins behind its magic bytes.
const FIRST_EVENT: u64 = 4;
/// Length of the header that every event begins with.
const EVENT_HEADER: usize = 19;

/// What a file of events begins with.
pub const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// COM_BINLOG_DUMP_GTID for everything in the server's binary log but `skip`, to its present end. `None` if the set has
/// tags: servers want another form for those.
#[must_use]
pub fn binlog_dump_gtid(skip: &GtidSet) -> Option<Vec<u8>> {
    let mut members: Vec<(uuid::Uuid, Vec<(u64, u64)>)> = Vec::new();
    for (uuid, tag, interval) in skip.intervals() {
        if tag.is_some() {
            return None;
        }
        let part = (interval.first, interval.last.saturating_add(1));
        match members.last_mut().filter(|(known, _)| *known == uuid) {
            Some((_, intervals)) => intervals.push(part),
            None => members.push((uuid, vec![part])),
        }
    }
    let mut set = Vec::new();
    set.push_u64(members.len() as u64);
    for (uuid, intervals) in &members {
        set.push_bytes(uuid.as_bytes());
        set.push_u64(intervals.len() as u64);
        for (first, behind) in intervals {
            set.push_u64(*first);
            set.push_u64(*behind);
        }
    }
    let mut out = vec![DUMP_GTID];
    out.push_u16(FLAGS);
    // No server id: whoever reads once is no replica.
    out.push_u32(0);
    // No file name: the server finds the first log by the set.
    out.push_u32(0);
    out.push_u64(FIRST_EVENT);
    out.push_u32(u32::try_from(set.len()).ok()?);
    out.push_bytes(&set);
    Some(out)
}

/// What becomes of an event in a file of chosen transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventUse {
    /// Written: it begins a transaction.
    Transaction,
    /// Written.
    Part,
    /// Left out: it is about the server's own log files, or keeps the connection alive.
    Left,
    /// Too short to be an event.
    Broken,
}

/// Tells it by the first bytes of an event.
#[must_use]
pub fn event_use(event: &[u8]) -> EventUse {
    const STOP: u8 = 3;
    const ROTATE: u8 = 4;
    const HEARTBEAT: u8 = 27;
    const GTID: u8 = 33;
    const PREVIOUS_GTIDS: u8 = 35;
    const HEARTBEAT_V2: u8 = 41;
    const GTID_TAGGED: u8 = 42;
    if event.len() < EVENT_HEADER {
        return EventUse::Broken;
    }
    match event.get(4) {
        Some(&(STOP | ROTATE | HEARTBEAT | PREVIOUS_GTIDS | HEARTBEAT_V2)) => EventUse::Left,
        Some(&(GTID | GTID_TAGGED)) => EventUse::Transaction,
        Some(_) => EventUse::Part,
        None => EventUse::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn a_set_is_written_as_servers_read_it() {
        let set: GtidSet = "00000000-0000-0000-0000-000000000001:1-5:9".parse().unwrap();
        let bytes = binlog_dump_gtid(&set).unwrap();
        let mut expected = vec![0x1e, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([64, 0, 0, 0]);
        expected.extend(1_u64.to_le_bytes());
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for number in [2_u64, 1, 6, 9, 10] {
            expected.extend(number.to_le_bytes());
        }
        assert_eq!(bytes, expected);
        let tagged: GtidSet = "00000000-0000-0000-0000-000000000001:tag:1".parse().unwrap();
        assert_eq!(binlog_dump_gtid(&tagged), None);
        assert_eq!(binlog_dump_gtid(&GtidSet::new()).unwrap().len(), 31);
    }

    #[test]
    fn only_events_of_transactions_are_kept() {
        let event = |kind: u8| {
            let mut bytes = [0; EVENT_HEADER];
            if let Some(byte) = bytes.get_mut(4) {
                *byte = kind;
            }
            bytes
        };
        assert_eq!(event_use(&event(33)), EventUse::Transaction);
        assert_eq!(event_use(&event(15)), EventUse::Part);
        for left in [3, 4, 27, 35, 41] {
            assert_eq!(event_use(&event(left)), EventUse::Left);
        }
        assert_eq!(event_use(&[0; 18]), EventUse::Broken);
    }
}
