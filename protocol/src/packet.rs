//! Packets: the four byte header, cutting a payload into frames, and putting one together again.
//!
//! A payload of 16 MiB - 1 or more travels as a chain of full frames ended by a shorter, possibly empty, one. Here a
//! payload is put together only up to a limit the caller names (logins, commands that must be looked at as a whole);
//! results are never collected, they are relayed frame by frame.

use bytes::BufMut;
use thiserror::Error;

/// Bytes of a header.
pub const HEADER_LEN: usize = 4;

/// The most payload one frame can carry; a frame of exactly this length has a continuation.
pub const MAX_FRAME_PAYLOAD: usize = 0xff_ffff;

/// What stands before the payload of every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload in this frame, at most [`MAX_FRAME_PAYLOAD`].
    pub length: u32,
    /// Number of the frame within its exchange; wraps at 256.
    pub sequence: u8,
}

impl Header {
    /// From the four bytes on the wire. Every value is a valid header.
    #[must_use]
    pub const fn from_bytes([a, b, c, sequence]: [u8; HEADER_LEN]) -> Self {
        Self { length: u32::from_le_bytes([a, b, c, 0]), sequence }
    }

    /// From the front of `bytes`; `None` while fewer than four are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|header| Self::from_bytes(*header))
    }

    /// The four bytes on the wire; only the lower 24 bits of the length are written.
    #[must_use]
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, _] = self.length.to_le_bytes();
        [a, b, c, self.sequence]
    }

    /// Whether this frame ends its payload.
    #[must_use]
    pub const fn is_last(self) -> bool {
        self.length != 0xff_ffff
    }
}

/// Appends `payload` to `out` as one packet, cut into as many frames as it needs, and leaves in `sequence` the number
/// that follows.
pub fn frame_payload(out: &mut impl BufMut, sequence: &mut u8, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (part, behind) = rest.split_at_checked(MAX_FRAME_PAYLOAD).unwrap_or((rest, &[]));
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let header = Header { length, sequence: *sequence };
        out.put_slice(&header.encode());
        out.put_slice(part);
        *sequence = sequence.wrapping_add(1);
        rest = behind;
        if header.is_last() {
            return;
        }
    }
}

/// One payload, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// All frames' payloads in order.
    pub payload: Vec<u8>,
    /// Number of its first frame.
    pub sequence: u8,
    /// The number an answer to it begins with.
    pub next_sequence: u8,
}

/// Frames that are no packet. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    /// The packet announces more than the limit of its [`PayloadAssembler`].
    #[error("a packet of at least {announced} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes that are there or announced so far.
        announced: usize,
        /// The limit given to [`PayloadAssembler::new`].
        limit: usize,
    },
    /// A continuation does not carry the number that follows.
    #[error("frame {found} came where {expected} was due")]
    OutOfOrder {
        /// The number that was due.
        expected: u8,
        /// The number that came.
        found: u8,
    },
}

/// Puts packets together from a byte stream, one at a time.
///
/// It holds what has arrived of one packet and never more than its limit; memory grows with the bytes that really
/// came, not with what a header announces.
#[derive(Debug)]
pub struct PayloadAssembler {
    limit: usize,
    header: [u8; HEADER_LEN],
    header_filled: usize,
    frame: Option<FrameRest>,
    first: Option<u8>,
    due: u8,
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct FrameRest {
    missing: usize,
    header: Header,
}

impl PayloadAssembler {
    /// Accepts packets of up to `limit` bytes of payload.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; HEADER_LEN],
            header_filled: 0,
            frame: None,
            first: None,
            due: 0,
            payload: Vec::new(),
        }
    }

    /// Whether nothing of a packet has arrived yet: the end of the stream is a clean end here.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.first.is_none() && self.header_filled == 0
    }

    /// Takes bytes off the front of `input` until one packet is complete, or all of them if none is.
    ///
    /// What is left in `input` behind a packet is untouched: behind a TLS request it belongs to TLS.
    ///
    /// # Errors
    /// [`PacketError`]; the stream cannot be followed any further then.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Packet>, PacketError> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.take_header(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let available = frame.missing.min(input.len());
            let (part, behind) = input.split_at_checked(available).unwrap_or((input, &[]));
            self.payload.extend_from_slice(part);
            *input = behind;
            if available < frame.missing {
                self.frame = Some(FrameRest { missing: frame.missing - available, ..frame });
                return Ok(None);
            }
            self.frame = None;
            if frame.header.is_last() {
                let sequence = self.first.take().unwrap_or(frame.header.sequence);
                return Ok(Some(Packet {
                    payload: std::mem::take(&mut self.payload),
                    sequence,
                    next_sequence: frame.header.sequence.wrapping_add(1),
                }));
            }
        }
    }

    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<FrameRest>, PacketError> {
        while let Some(slot) = self.header.get_mut(self.header_filled) {
            let Some((byte, behind)) = input.split_first() else { return Ok(None) };
            *slot = *byte;
            *input = behind;
            self.header_filled += 1;
        }
        self.header_filled = 0;
        let header = Header::from_bytes(self.header);
        if self.first.is_some() && header.sequence != self.due {
            return Err(PacketError::OutOfOrder { expected: self.due, found: header.sequence });
        }
        let missing = usize::try_from(header.length).unwrap_or(usize::MAX);
        let announced = self.payload.len().saturating_add(missing);
        if announced > self.limit {
            return Err(PacketError::TooLarge { announced, limit: self.limit });
        }
        self.first.get_or_insert(header.sequence);
        self.due = header.sequence.wrapping_add(1);
        Ok(Some(FrameRest { missing, header }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(sequence: u8, payload: &[u8]) -> (Vec<u8>, u8) {
        let mut out = Vec::new();
        let mut next = sequence;
        frame_payload(&mut out, &mut next, payload);
        (out, next)
    }

    #[test]
    fn every_size_around_the_edge_survives() {
        let big: Vec<u8> = (0..0x100_0002_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
        for size in 0xff_fffa..=0x100_0001 {
            let (wire, next) = framed(255, &big[..size]);
            let frames = if size >= MAX_FRAME_PAYLOAD { 2 } else { 1 };
            assert_eq!(wire.len(), size + frames * HEADER_LEN, "{size:#x}");
            assert_eq!(usize::from(next), frames - 1);
            let mut input = &wire[..];
            let packet = PayloadAssembler::new(size).feed(&mut input).unwrap().unwrap();
            assert!(packet.payload == big[..size] && input.is_empty());
            assert_eq!((packet.sequence, packet.next_sequence), (255, next));
            let refused = PayloadAssembler::new(size - 1).feed(&mut &wire[..]);
            assert_eq!(refused, Err(PacketError::TooLarge { announced: size, limit: size - 1 }));
        }
    }

    #[test]
    fn a_chain_wraps_its_numbers_and_a_gap_in_it_is_an_error() {
        let big = vec![7; 3 * MAX_FRAME_PAYLOAD];
        let (mut wire, next) = framed(254, &big);
        assert_eq!(next, 2);
        let mut assembler = PayloadAssembler::new(big.len());
        assert_eq!(assembler.feed(&mut &wire[..]).unwrap().unwrap().payload.len(), big.len());
        assert!(assembler.is_idle());
        wire[HEADER_LEN + MAX_FRAME_PAYLOAD + 3] = 9;
        assert_eq!(assembler.feed(&mut &wire[..]), Err(PacketError::OutOfOrder { expected: 255, found: 9 }));
    }

    #[test]
    fn a_header_allocates_nothing() {
        let mut assembler = PayloadAssembler::new(usize::MAX);
        assert_eq!(assembler.feed(&mut &[0xfe, 0xff, 0xff, 0][..]), Ok(None));
        assert_eq!(assembler.payload.capacity(), 0);
        assert!(!assembler.is_idle());
    }

    proptest! {
        #[test]
        fn packets_survive_any_cut_of_the_stream(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..5),
            cut in 1usize..9,
            start: u8,
        ) {
            let mut wire = Vec::new();
            let mut sequence = start;
            for payload in &payloads {
                frame_payload(&mut wire, &mut sequence, payload);
            }
            let mut assembler = PayloadAssembler::new(40);
            let mut seen = Vec::new();
            for mut part in wire.chunks(cut) {
                while let Some(packet) = assembler.feed(&mut part).unwrap() {
                    seen.push(packet.payload);
                }
            }
            prop_assert!(assembler.is_idle());
            prop_assert_eq!(seen, payloads);
        }
    }
}
