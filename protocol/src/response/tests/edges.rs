//! Single exchanges where something is easily got wrong.

use super::*;
use crate::{Malformed, OkKind};

const COLUMN: &[u8] = b"\x03def";
const END: &[u8] = b"\xfe\x00\x00\x02\x00\x00\x00";
const OK: &[u8] = b"\x00\x01\x00\x02\x00\x00\x00";

fn ok_of(event: &ResponseEvent) -> (&OkSummary, u64) {
    match event {
        ResponseEvent::Ok { summary, columns, .. } => (summary, *columns),
        other @ (ResponseEvent::Error(_) | ResponseEvent::Prepared(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_point_select_passes_in_one_step() {
    let mut stream = packets(&[b"\x01", COLUMN, b"\x011", END]);
    let mut relay = relay(Expect::Query, TRACK_EOFLESS);
    let Advance::Forward { bytes, skip: 0, event: Some(event) } = relay.advance(&mut stream).unwrap() else {
        panic!()
    };
    assert_eq!(bytes, stream.len());
    let (summary, columns) = ok_of(&event);
    assert_eq!((summary.kind, columns, summary.changes.is_empty()), (OkKind::ResultEnd, 1, true));
    assert!(matches!(event, ResponseEvent::Ok { rows: 1, .. }));
    assert!(relay.is_complete());
    assert_eq!(relay.advance(&mut []).unwrap(), Advance::Complete);
}

#[test]
fn stripping_trackers_needs_no_second_step() {
    let end = b"\xfe\x00\x00\x03\x40\x00\x00\x00\x0b\x05\x09\x08I_R___S_";
    let mut stream = packets(&[b"\x01", COLUMN, b"\x011", end]);
    let before = stream.len();
    let mut relay = relay(Expect::Query, TRACK_EOFLESS);
    let Advance::Forward { bytes, skip, event: Some(event) } = relay.advance(&mut stream).unwrap() else {
        panic!()
    };
    assert_eq!((bytes + skip, skip), (before, 13));
    assert_eq!(stream[..bytes], packets(&[b"\x01", COLUMN, b"\x011", b"\xfe\x00\x00\x03\x00\x00\x00"]));
    let state = ok_of(&event).0.changes.transaction_state.unwrap();
    assert!(state.is_open() && !state.has_written() && !state.tables_locked());
}

/// Default settings tell only that explicit transactions begin and end, and nothing of what they did.
#[test]
fn transactions_are_told_by_their_marks() {
    let state = |letters: &str| [b"\x05\x09\x08", letters.as_bytes()].concat();
    let began = b"\x04\x13\x12START TRANSACTION;";
    let ok = |flags: &[u8; 2], block: &[u8]| {
        let mut out = [b"\x00\x00\x00", &flags[..], b"\x00\x00\x00"].concat();
        crate::WireAppend::push_lenenc_bytes(&mut out, block);
        out
    };
    let more = b"\x0b\x40";
    let stream = packets(&[
        &ok(more, &[&state("T___W___")[..], began].concat()),
        &ok(more, &state("T_R_W_S_")),
        &ok(more, &[&state("T_______")[..], began].concat()),
        &ok(more, &state("_______L")),
        &ok(more, &[&state("T_R_____")[..], began].concat()),
        &ok(b"\x03\x40", b"\x02\x01\x31"),
    ]);
    let told = packets(&[
        &ok(more, &state("T_______")),
        b"\x00\x00\x00\x0b\x00\x00\x00",
        &ok(more, b""),
        &ok(more, &state("________")),
        &ok(more, &state("T_R_____")),
        b"\x00\x00\x00\x03\x00\x00\x00",
    ]);
    assert_eq!(relayed(Expect::Query, TRACK_EOFLESS, &stream).bytes, told);
}

#[test]
fn some_trackers_stay() {
    let sysvar = |name: &str| {
        let text = [&[u8::try_from(name.len()).unwrap()][..], name.as_bytes(), b"\x02ON"].concat();
        [&[0, u8::try_from(text.len()).unwrap()][..], &text].concat()
    };
    let block = |parts: &[&[u8]]| {
        let inner = parts.concat();
        let mut out = b"\x00\x00\x00\x02\x40\x00\x00\x00".to_vec();
        crate::WireAppend::push_lenenc_bytes(&mut out, &inner);
        out
    };
    let long = sysvar(&"x".repeat(100));
    let (auto, zone, schema) = (sysvar("autocommit"), sysvar("time_zone"), &b"\x01\x02\x01t"[..]);
    // The length of the block shrinks from three bytes to one.
    let stream = packets(&[&block(&[&long, &auto, &long, b"\x07\x01z", &zone, schema, &long])]);
    let out = relayed(Expect::Plain, TRACK_EOFLESS, &stream);
    assert_eq!(out.bytes, packets(&[&block(&[&auto, &zone, schema])]));
    assert_eq!(ok_of(&out.events[0]).0.changes.system_variables.len(), 5);
    let everything = ResponseRelay::new(
        Expect::Plain,
        TRACK_EOFLESS,
        TrackerFilter::everything(),
        StatusFlags::AUTOCOMMIT,
    );
    assert_eq!(run(everything, [&stream[..]]).unwrap().bytes, stream);
}

#[test]
fn a_long_packet_begins_like_an_end_or_an_error_only_in_its_middle() {
    const FULL: usize = 0xff_ffff;
    for client in [TRACK_EOFLESS, BASE] {
        for extra in [0, 1, 5] {
            // A value of 16 MiB: its length begins with 0xFE. The continuation begins like an ERR.
            let mut row = vec![0xff; FULL + extra];
            row[0] = 0xfe;
            let stream = packets(&[b"\x01", COLUMN, &row, b"\x011", END]);
            let out = run(relay(Expect::Query, client), stream.chunks(70_001)).unwrap();
            let mut expected = packets(&[b"\x01", COLUMN, &row, b"\x011", END]);
            if client == BASE {
                let eof = b"\xfe\x00\x00\x02\x00";
                expected = packets(&[b"\x01", COLUMN, eof, &row, b"\x011", eof]);
            }
            assert!(out.bytes == expected && out.left.is_empty(), "{client:?} {extra}");
        }
    }
}

#[test]
fn huge_packets_are_streamed() {
    let mut relay = relay(Expect::Query, TRACK_EOFLESS);
    let mut head = packets(&[b"\x01", COLUMN]);
    head.extend_from_slice(&[0xff, 0xff, 0xff, 3, 1]);
    assert_eq!(
        relay.advance(&mut head).unwrap(),
        Advance::Forward { bytes: head.len(), skip: 0, event: None }
    );
    assert!(relay.is_within_packet());
    let mut body = [0xff; 1000];
    assert_eq!(relay.advance(&mut body).unwrap(), Advance::Forward { bytes: 1000, skip: 0, event: None });
}

#[test]
fn sequence_ids_wrap() {
    let rows = vec![&b"\x011"[..]; 600];
    let list = |eof: Option<&'static [u8]>, end| {
        [&[&b"\x01"[..], COLUMN][..], &eof.map_or(vec![], |e| vec![e]), &rows, &[end]].concat()
    };
    let stream = packets(&list(None, END));
    let out = run(relay(Expect::Query, BASE), stream.chunks(7)).unwrap();
    let eof = b"\xfe\x00\x00\x02\x00";
    assert_eq!(out.bytes, packets(&list(Some(eof), eof)));
}

#[test]
fn a_server_that_goes_away_says_so_out_of_turn() {
    let error = b"\xff\xbf\x0f#HY000The client was disconnected by the server because of inactivity.";
    let mut stream = Vec::new();
    frame_payload(&mut stream, &mut 0, error);
    for expect in [
        Expect::Query,
        Expect::Execute,
        Expect::Prepare { client_statement_id: 1 },
        Expect::Fetch,
        Expect::FieldList,
        Expect::Plain,
        Expect::Statistics,
    ] {
        let out = relayed(expect, TRACK_EOFLESS, &stream);
        assert_eq!(out.bytes, stream);
        assert!(matches!(&out.events[..], [ResponseEvent::Error(e)] if e.code == 4031), "{expect:?}");
    }
    assert_eq!(relay(Expect::Nothing, BASE).advance(&mut []).unwrap(), Advance::Complete);
}

#[test]
fn out_parameters_are_marked_where_each_client_looks() {
    let end = b"\xfe\x00\x00\x0a\x10\x00\x00";
    let stream = packets(&[b"\x01", COLUMN, b"\x00\x00\x07", end, OK]);
    let marked = b"\xfe\x00\x00\x0a\x10";
    let expected = packets(&[b"\x01", COLUMN, marked, b"\x00\x00\x07", marked, OK]);
    assert_eq!(relayed(Expect::Execute, BASE, &stream).bytes, expected);
    let late = packets(&[b"\x01", COLUMN, b"\xfe\x00\x00\x02\x00", b"\x00\x00\x07", marked, OK]);
    let without = BASE - Capabilities::PS_MULTI_RESULTS;
    assert_eq!(relayed(Expect::Execute, without, &stream).bytes, late);
}

#[test]
fn statistics_and_the_file_request() {
    let stream = packets(&[b"Uptime: 48  Threads: 2"]);
    assert_eq!(relayed(Expect::Statistics, BASE, &stream).bytes, stream);

    let mut relay = relay(Expect::Query, BASE);
    let mut request = packets(&[b"\x01", COLUMN, b"\xfe\x00\x00\x0a\x00\x00\x00", b"\xfbfile"]);
    let mut shift = None;
    while shift.is_none() {
        match relay.advance(&mut request).unwrap() {
            Advance::Forward { bytes, skip, .. } => drop(request.drain(..bytes + skip)),
            Advance::LocalInfile { shift: found } => shift = Some(found),
            Advance::Insert { .. } => {}
            other @ (Advance::NeedMore | Advance::Complete) => panic!("{other:?}"),
        }
    }
    // The client has seen one packet more than the server sent, and counts on from there.
    let mut data = [&b"\x02\0\0\x06ab"[..], b"\x01\0\0\x07c", b"\0\0\0\x08"].concat();
    let mut file = LocalInfileRelay::new(shift.unwrap());
    assert_eq!(file.advance(&mut data[..3]), 0);
    assert!(!file.is_finished());
    assert_eq!(file.advance(&mut data), data.len());
    assert!(file.is_finished());
    assert_eq!(data, [&b"\x02\0\0\x05ab"[..], b"\x01\0\0\x06c", b"\0\0\0\x07"].concat());
    relay.local_infile_finished();
    let mut done = b"\x07\0\0\x08\x00\x01\x00\x02\x00\x00\x00".to_vec();
    assert!(matches!(relay.advance(&mut done).unwrap(), Advance::Forward { bytes: 11, skip: 0, .. }));
    assert_eq!(done[3], 9);
}

#[test]
fn the_empty_end_of_a_full_frame_does_not_end_the_file() {
    let mut file = LocalInfileRelay::new(0);
    let mut first = b"\xff\xff\xff\x02".to_vec();
    assert_eq!(file.advance(&mut first), 4);
    let mut body = vec![0; 0xff_ffff];
    assert_eq!(file.advance(&mut body), body.len());
    assert_eq!(file.advance(&mut b"\0\0\0\x03".to_vec()), 4);
    assert!(!file.is_finished());
    assert_eq!(file.advance(&mut b"\0\0\0\x04more".to_vec()), 4);
    assert!(file.is_finished());
}

#[test]
fn nonsense_is_refused() {
    let refused = |expect, payload: &[u8]| run(relay(expect, BASE), [&packets(&[payload])[..]]).unwrap_err();
    assert_eq!(refused(Expect::Query, b""), ResponseError::Empty);
    assert_eq!(refused(Expect::Query, b"\xfe\0\0\0\0"), ResponseError::Unexpected(0xfe));
    assert_eq!(refused(Expect::Plain, b"\x05"), ResponseError::Unexpected(5));
    assert_eq!(refused(Expect::Prepare { client_statement_id: 1 }, b"\x01"), ResponseError::Unexpected(1));
    assert_eq!(refused(Expect::Query, b"\xfc\0\0"), Malformed::Invalid("column count").into());
    assert!(matches!(refused(Expect::Query, b"\0\0\0\x02"), ResponseError::Malformed(_)));
    // Never collected beyond the limit: refused from the header on.
    let mut header = b"\x01\0\x10\x01\0".to_vec();
    let error = relay(Expect::Query, BASE).advance(&mut header).unwrap_err();
    assert_eq!(error, ResponseError::TooLong { length: MAX_CONTROL_PACKET + 1, limit: MAX_CONTROL_PACKET });
}
