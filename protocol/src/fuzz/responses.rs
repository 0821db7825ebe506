//! Entry functions for responses, OK packets and GTID sets. As for the others: any bytes in, nothing out, and they must
//! never be called by the program.

use crate::response::{AnswerLimits, AnswerReader};
use crate::{
    Advance, Capabilities, Expect, GtidSet, OkPacket, ResponseError, ResponseEvent, ResponseRelay,
    SessionChanges, StatusFlags, TrackerFilter,
};

const EXPECTATIONS: [Expect; 8] = [
    Expect::Query,
    Expect::Execute,
    Expect::Prepare { client_statement_id: 0x0102_0304 },
    Expect::Fetch,
    Expect::FieldList,
    Expect::Plain,
    Expect::Statistics,
    Expect::BinlogStream,
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Relayed {
    bytes: Vec<u8>,
    events: Vec<ResponseEvent>,
    complete: bool,
}

fn relay(selector: u8, stream: &[u8], piece: usize) -> Result<Relayed, ResponseError> {
    let expect = EXPECTATIONS.get(usize::from(selector & 7)).copied().unwrap_or(Expect::Query);
    let mut client = Capabilities::PROTOCOL_41 | Capabilities::PS_MULTI_RESULTS;
    if selector & 8 != 0 {
        client |= Capabilities::DEPRECATE_EOF;
    }
    if selector & 16 != 0 {
        client |= Capabilities::SESSION_TRACK;
    }
    let filter = if selector & 32 == 0 { TrackerFilter::default() } else { TrackerFilter::everything() };
    let mut relay = ResponseRelay::new(expect, client, filter, StatusFlags::AUTOCOMMIT);
    let (mut out, mut buffer, mut pieces) = (Relayed::default(), Vec::new(), stream.chunks(piece.max(1)));
    // A step consumes input, adds an EOF behind a packet, asks for a file or ends.
    for _ in 0..4 * stream.len() + 4 {
        match relay.advance(&mut buffer)? {
            Advance::Forward { bytes, skip, event } => {
                assert!(bytes + skip > 0 && bytes + skip <= buffer.len());
                out.bytes.extend(buffer.drain(..bytes));
                buffer.drain(..skip);
                out.events.extend(event);
            }
            Advance::Insert { packet } => out.bytes.extend_from_slice(&packet),
            Advance::LocalInfile { .. } => relay.local_infile_finished(),
            Advance::NeedMore => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return Ok(out),
            },
            Advance::Complete => {
                out.complete = true;
                return Ok(out);
            }
        }
    }
    unreachable!("a response without an end")
}

/// A response behind one byte that selects the expectation and the client, and one for the size of pieces.
pub fn fuzz_response(data: &[u8]) {
    let [selector, piece, stream @ ..] = data else { return };
    let whole = relay(*selector, stream, usize::MAX);
    let cut = relay(*selector, stream, usize::from(*piece));
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(whole, cut);
            assert!(whole.bytes.len() <= 3 * stream.len());
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => assert_eq!(whole, cut),
    }
    let mut answer = AnswerReader::new(AnswerLimits { columns: 8, rows: 50, bytes: 2000 });
    if let Ok((used, _)) = answer.advance(stream) {
        assert!(used <= stream.len());
    }
}

/// An OK packet's payload.
pub fn fuzz_ok(data: &[u8]) {
    let Ok(ok) = OkPacket::parse(data) else { return };
    let all = Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF;
    let mut written = Vec::new();
    ok.encode(all, &mut written);
    assert!(written.len() <= data.len() + 1);
    let told = !ok.session_changes.is_empty();
    let status = if told { ok.status } else { ok.status - StatusFlags::SESSION_STATE_CHANGED };
    assert_eq!(OkPacket::parse(&written), Ok(OkPacket { status, ..ok }));
    if let Ok(changes) = SessionChanges::parse(ok.session_changes) {
        drop(changes.gtid_set());
    }
}

/// Two GTID sets with a zero byte between them.
pub fn fuzz_gtid(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (a, b) = text.split_once('\0').unwrap_or((text, ""));
    let (Ok(a), Ok(b)) = (a.parse::<GtidSet>(), b.parse::<GtidSet>()) else { return };
    assert_eq!(a.to_string().parse().as_ref(), Ok(&a));
    assert_eq!(format!("{b:#}").parse().as_ref(), Ok(&b));
    let (all, both, only_a) = (a.union(&b), a.intersect(&b), a.subtract(&b));
    assert!(all.contains_set(&a) && all.contains_set(&b) && a.contains_set(&both));
    assert_eq!(only_a.union(&both), a);
    assert_eq!(only_a.union(&b), all);
    assert!(only_a.intersect(&b).is_empty());
    if a.count() < u64::MAX {
        assert_eq!(only_a.count() + both.count(), a.count());
    }
}
