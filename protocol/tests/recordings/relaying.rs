//! Runs a recorded answer through [`ResponseRelay`] in pieces, with the client's file where it was asked for one.
//!
//! It plays the session's part and must never know what is in an answer.

use sluice_protocol::{
    Advance, Capabilities, Command, Expect, LocalInfileRelay, ResponseEvent, ResponseRelay, StatusFlags,
    TrackerFilter,
};

use crate::reading::{Exchange, Packet, Side, wire};

/// Stands behind an answer; must be left over.
const BEHIND: &[u8] = b"\x01\x00\x00\x09!";

/// How an answer is relayed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relaying {
    /// What the command is answered by.
    pub(crate) expect: Expect,
    /// What client and server agreed on.
    pub(crate) agreed: Capabilities,
    /// What the client was told last.
    pub(crate) status: StatusFlags,
    /// How many bytes arrive at once.
    pub(crate) piece: usize,
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    /// What the client gets.
    pub(crate) bytes: Vec<u8>,
    /// What the session is told.
    pub(crate) events: Vec<ResponseEvent>,
}

/// What answers this command, if it is relayed.
pub(crate) fn expectation(exchange: &Exchange) -> Option<Expect> {
    match Command::decode(exchange.command()).unwrap() {
        Command::Query(_) => Some(Expect::Query),
        Command::StmtExecute { .. } => Some(Expect::Execute),
        Command::StmtFetch { .. } => Some(Expect::Fetch),
        Command::StmtPrepare(_) => {
            let answer = &exchange.of(Side::Server)[0].payload;
            // After an error there is no id, and none is needed.
            let id = answer[1..5].try_into().unwrap();
            Some(Expect::Prepare { client_statement_id: u32::from_le_bytes(id) })
        }
        Command::Statistics => Some(Expect::Statistics),
        Command::Ping
        | Command::InitDb(_)
        | Command::ResetConnection
        | Command::StmtReset(_)
        | Command::SetOption(_) => Some(Expect::Plain),
        Command::Quit | Command::ChangeUser(_) | Command::StmtClose(_) | Command::StmtSendLongData { .. } => {
            None
        }
        other => panic!("{}", other.name()),
    }
}

/// Relays the packets of `side`. The answer must be complete with its last byte, not before, and nothing behind it may
/// be taken.
pub(crate) fn relay_answer(exchange: &Exchange, side: Side, settings: Relaying, what: &str) -> Relayed {
    let Relaying { expect, agreed, status, piece } = settings;
    let answer = exchange.wire(side);
    let mut relay = ResponseRelay::new(expect, agreed, TrackerFilter::everything(), status);
    let (mut out, mut buffer) = (Relayed::default(), Vec::new());
    let stream = [&answer[..], if piece == 1 { b"" } else { BEHIND }].concat();
    let mut pieces = stream.chunks(piece);
    let (mut arrived, mut steps) = (0, 0..4 * stream.len() + 4);
    loop {
        assert!(steps.next().is_some(), "{what}: no end");
        match relay.advance(&mut buffer).unwrap() {
            Advance::Forward { bytes, skip, event } => {
                out.bytes.extend(buffer.drain(..bytes));
                buffer.drain(..skip);
                out.events.extend(event);
            }
            Advance::Insert { packet } => out.bytes.extend_from_slice(&packet),
            Advance::LocalInfile { shift } => {
                send_file(exchange, side, shift);
                relay.local_infile_finished();
            }
            Advance::NeedMore => {
                let piece = pieces.next().unwrap_or_else(|| panic!("{what}: not complete at its end"));
                arrived += piece.len();
                buffer.extend_from_slice(piece);
            }
            Advance::Complete => break,
        }
    }
    assert!(relay.is_complete() && arrived >= answer.len(), "{what}: complete after {arrived} bytes");
    assert_eq!(buffer, BEHIND[..arrived - answer.len()], "{what}: what is left");
    out
}

/// Passes the client's file on; its packets must follow the server's request there, whatever the client has counted.
fn send_file(exchange: &Exchange, side: Side, shift: u8) {
    let request = exchange.of(side).into_iter().find(|packet| packet.payload.first() == Some(&0xfb)).unwrap();
    let file: Vec<&Packet> =
        exchange.of(Side::Client).into_iter().filter(|packet| packet.sequence > 0).collect();
    let expected: Vec<Packet> = file
        .iter()
        .zip(request.sequence + 1..)
        .map(|(packet, sequence)| Packet { side, sequence, payload: packet.payload.clone() })
        .collect();
    let (mut relay, mut input) = (LocalInfileRelay::new(shift), wire(file));
    assert_eq!(relay.advance(&mut input), input.len());
    assert!(relay.is_finished());
    assert_eq!(input, wire(&expected));
}
