//! Answers to our own statements.

use super::*;

const END: &[u8] = b"\xfe\x00\x00\x02\x00\x00\x00";

fn read(limits: AnswerLimits, stream: &[u8], piece: usize) -> Result<Option<Answer>, ResponseError> {
    let mut reader = AnswerReader::new(limits);
    let (mut input, mut pieces) = (Vec::new(), stream.chunks(piece));
    loop {
        let (used, answer) = reader.advance(&input)?;
        input.drain(..used);
        if answer.is_some() {
            assert!(input.is_empty() && pieces.next().is_none());
            return Ok(answer);
        }
        let Some(next) = pieces.next() else { return Ok(None) };
        input.extend_from_slice(next);
    }
}

#[test]
fn rows_are_collected_however_they_are_cut() {
    let stream = packets(&[b"\x02", b"\x03def", b"\x03def", b"\x03abc\xfb", b"\x00\x011", END]);
    for piece in 1..=stream.len() {
        let Ok(Some(Answer::Rows { rows, end, .. })) = read(AnswerLimits::default(), &stream, piece) else {
            panic!()
        };
        assert_eq!(rows, [vec![Some(b"abc".to_vec()), None], vec![Some(vec![]), Some(b"1".to_vec())]]);
        assert_eq!(end.status, StatusFlags::AUTOCOMMIT);
    }
}

#[test]
fn ok_and_errors() {
    let limits = AnswerLimits::default();
    let gtid = b"3e11fa47-71ca-11e1-9e33-c80aa9429562:5";
    let told = [&b"\x00\x01\x00\x02\x40\x00\x00\x00\x2a\x03\x28\x00\x26"[..], gtid].concat();
    let Ok(Some(Answer::Ok(summary))) = read(limits, &packets(&[&told]), 3) else { panic!() };
    assert_eq!(summary.changes.gtid_set().unwrap().unwrap().to_string().as_bytes(), gtid);
    let error = packets(&[b"\xff\x15\x04#28000Access denied"]);
    assert!(matches!(read(limits, &error, 2), Ok(Some(Answer::Error(e))) if e.code == 1045));
    let late = packets(&[b"\x01", b"\x03def", b"\xff\x25\x05#70100interrupted"]);
    assert!(matches!(read(limits, &late, 5), Ok(Some(Answer::Error(e))) if e.code == 1317));
}

#[test]
fn set_option_is_answered_by_the_end_of_nothing() {
    // As a server with `DEPRECATE_EOF` sends it (recorded/responses.txt, "set option").
    let stream = packets(&[b"\xfe\x00\x00\x02\x00\x01\x00"]);
    let Ok(Some(Answer::Ok(summary))) = read(AnswerLimits::default(), &stream, 2) else { panic!() };
    assert_eq!(summary.status, StatusFlags::AUTOCOMMIT);
}

#[test]
fn limits_hold() {
    let limits = AnswerLimits { columns: 2, rows: 1, bytes: 60 };
    let answer = |payloads: &[&[u8]]| read(limits, &packets(payloads), 1).unwrap_err();
    assert_eq!(answer(&[b"\x03"]), ResponseError::OverLimit("columns"));
    assert_eq!(answer(&[b"\x01", b"\x03def", b"\x011", b"\x012"]), ResponseError::OverLimit("rows"));
    assert_eq!(answer(&[b"\x01", &[3; 40], &[3; 40]]), ResponseError::OverLimit("bytes"));
    assert_eq!(answer(&[&[1; 61]]), ResponseError::TooLong { length: 61, limit: 60 });
    assert_eq!(answer(&[b"\x00\x00\x00\x08\x00\x00\x00"]), ResponseError::OverLimit("one result"));
    assert_eq!(answer(&[b"\xfbfile"]), ResponseError::Unexpected(0xfb));
}
