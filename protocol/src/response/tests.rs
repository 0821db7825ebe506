//! Responses as servers send them, in one piece and cut anywhere, against what each kind of client must get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

mod answers;
mod edges;
mod generated;
mod recorded;

use super::*;
use crate::packet::frame_payload;
use crate::{Capabilities, StatusFlags, TrackerFilter};

/// Capabilities of the kinds of clients: with and without `SESSION_TRACK` and `DEPRECATE_EOF`.
const TRACK: Capabilities = BASE.union(Capabilities::SESSION_TRACK);
const EOFLESS: Capabilities = BASE.union(Capabilities::DEPRECATE_EOF);
const TRACK_EOFLESS: Capabilities = TRACK.union(Capabilities::DEPRECATE_EOF);
const BASE: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS);
const KINDS: [Capabilities; 4] = [TRACK_EOFLESS, EOFLESS, TRACK, BASE];

fn relay(expect: Expect, client: Capabilities) -> ResponseRelay {
    ResponseRelay::new(expect, client, TrackerFilter::default(), StatusFlags::AUTOCOMMIT)
}

/// Everything a relay gave out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Relayed {
    bytes: Vec<u8>,
    events: Vec<ResponseEvent>,
    left: Vec<u8>,
}

/// Feeds the pieces as a session does. Panics unless the response is complete exactly after the last piece.
fn run<'a>(
    mut relay: ResponseRelay,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Relayed, ResponseError> {
    let mut out = Relayed::default();
    let mut pieces = pieces.into_iter();
    loop {
        match relay.advance(&mut out.left)? {
            Advance::Forward { bytes, skip, event } => {
                assert!(bytes + skip > 0, "no progress");
                out.bytes.extend_from_slice(&out.left[..bytes]);
                out.left.drain(..bytes + skip);
                out.events.extend(event);
            }
            Advance::Insert { packet } => out.bytes.extend_from_slice(&packet),
            Advance::LocalInfile { .. } => relay.local_infile_finished(),
            Advance::NeedMore => out.left.extend_from_slice(pieces.next().expect("the response has no end")),
            Advance::Complete => {
                assert!(relay.is_complete());
                assert_eq!(pieces.map(<[u8]>::len).sum::<usize>(), 0, "ended too early");
                return Ok(out);
            }
        }
    }
}

/// Relays the stream whole, byte by byte and cut in two anywhere; all must give the same.
fn relayed(expect: Expect, client: Capabilities, stream: &[u8]) -> Relayed {
    relayed_with(expect, client, StatusFlags::AUTOCOMMIT, stream)
}

fn relayed_with(expect: Expect, client: Capabilities, status: StatusFlags, stream: &[u8]) -> Relayed {
    let relay = || ResponseRelay::new(expect, client, TrackerFilter::server_defaults(status), status);
    let whole = run(relay(), [stream]).unwrap();
    assert!(whole.left.is_empty(), "ended too early");
    let single = run(relay(), stream.chunks(1)).unwrap();
    assert_eq!(single, whole);
    for cut in 1..stream.len() {
        let (one, two) = stream.split_at(cut);
        assert_eq!(run(relay(), [one, two]).unwrap(), whole, "cut at {cut}");
    }
    whole
}

fn packets(payloads: &[&[u8]]) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), 1);
    payloads.iter().for_each(|payload| frame_payload(&mut out, &mut sequence, payload));
    out
}
