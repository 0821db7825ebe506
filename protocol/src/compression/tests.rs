//! What is packed unpacks, in pieces of any size; what lies about its length is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use proptest::prelude::*;

use super::*;

fn pack(algorithm: Algorithm, content: &[u8], pieces: usize) -> Vec<u8> {
    let (mut packer, mut out, mut sequence) = (Packer::default(), Vec::new(), 0u8);
    for piece in content.chunks(pieces.max(1)) {
        assert_eq!(packer.frame(algorithm, piece, sequence, &mut out), piece.len());
        sequence = sequence.wrapping_add(1);
    }
    out
}

/// Unpacks a stream given in pieces of `fed` bytes into room of `room` bytes.
fn unpack(algorithm: Algorithm, stream: &[u8], fed: usize, room: usize) -> Result<Vec<u8>, CompressionError> {
    let (mut unpacker, mut content) = (Unpacker::new(algorithm), Vec::new());
    let mut room = vec![0; room.max(1)];
    for mut piece in stream.chunks(fed.max(1)) {
        loop {
            let filled = unpacker.advance(&mut piece, &mut room)?;
            content.extend_from_slice(&room[..filled]);
            if filled < room.len() {
                assert!(piece.is_empty(), "unfilled room means that the input is used up");
                break;
            }
        }
    }
    Ok(content)
}

const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd(3)];

fn header(length: usize, sequence: u8, unpacked: usize) -> Vec<u8> {
    let [a, b, c, ..] = length.to_le_bytes();
    let [d, e, f, ..] = unpacked.to_le_bytes();
    vec![a, b, c, sequence, d, e, f]
}

#[test]
fn short_content_goes_as_it_is() {
    for algorithm in BOTH {
        let frame = pack(algorithm, &[b'x'; 49], 100);
        assert_eq!(frame, [header(49, 0, 0), vec![b'x'; 49]].concat());
        let frame = pack(algorithm, &[b'x'; 50], 100);
        assert!(frame.len() < 50 && frame[4] == 50);
    }
}

#[test]
fn the_largest_frame_holds_the_largest_content() {
    let content: Vec<u8> =
        (0..=u8::MAX).flat_map(|byte| [byte; 1000]).cycle().take(MAX_CONTENT + 5).collect();
    for algorithm in BOTH {
        let (mut packer, mut out) = (Packer::default(), Vec::new());
        assert_eq!(packer.frame(algorithm, &content, 7, &mut out), MAX_CONTENT);
        assert_eq!(packer.frame(algorithm, &content[MAX_CONTENT..], 8, &mut out), 5);
        assert!(unpack(algorithm, &out, 1 << 14, 1 << 14).unwrap() == content);
    }
}

#[test]
fn lies_about_lengths_are_refused() {
    let content = vec![b'x'; 100_000];
    for algorithm in BOTH {
        let honest = pack(algorithm, &content, content.len());
        let body = &honest[HEADER_LEN..];
        let claims = |length: usize| [header(body.len(), 0, length), body.to_vec()].concat();
        let more = unpack(algorithm, &claims(100_001), 1 << 14, 1 << 14);
        assert_eq!(more, Err(CompressionError::TooShort), "{algorithm:?}");
        for less in [1, 50, 99_999] {
            assert!(unpack(algorithm, &claims(less), 1 << 14, 1 << 14).is_err(), "{algorithm:?} {less}");
        }
        let behind = [header(body.len() + 3, 0, 100_000), body.to_vec(), vec![0; 3]].concat();
        assert!(unpack(algorithm, &behind, 1 << 14, 1 << 14).is_err(), "{algorithm:?}");
        let mut broken = honest.clone();
        broken[HEADER_LEN] ^= 0x55;
        assert_eq!(unpack(algorithm, &broken, 1 << 14, 1 << 14), Err(CompressionError::Broken));
    }
}

#[test]
fn a_window_larger_than_the_content_is_refused() {
    use zstd::stream::raw::{CParameter, Encoder, Operation};
    let mut encoder = Encoder::new(1).unwrap();
    encoder.set_parameter(CParameter::WindowLog(24)).unwrap();
    let mut packed = [0; 256];
    let status = encoder.run_on_buffers(&[b'x'; 100], &mut packed).unwrap();
    let mut end = zstd::stream::raw::OutBuffer::around(&mut packed[status.bytes_written..]);
    encoder.finish(&mut end, true).unwrap();
    let length = status.bytes_written + end.as_slice().len();
    let frame = [header(length, 0, 100), packed[..length].to_vec()].concat();
    assert_eq!(unpack(Algorithm::Zstd(3), &frame, 256, 256), Err(CompressionError::Broken));
}

#[test]
fn both_flags_mean_zlib() {
    let both = Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
    assert_eq!(Algorithm::agreed(both, Some(9)), Some(Algorithm::Zlib));
    assert_eq!(Algorithm::agreed(Capabilities::ZSTD_COMPRESSION, Some(9)), Some(Algorithm::Zstd(9)));
    assert_eq!(Algorithm::agreed(Capabilities::ZSTD_COMPRESSION, Some(0)), Some(Algorithm::Zstd(3)));
    assert_eq!(Algorithm::agreed(Capabilities::empty(), None), None);
}

proptest! {
    #[test]
    fn what_is_packed_unpacks(
        seed in proptest::collection::vec(any::<u8>(), 0..400), repeat in 1usize..40,
        pieces in 1usize..2000, fed in 1usize..500, room in 1usize..500, zlib: bool, level in 1u8..=22,
    ) {
        let algorithm = if zlib { Algorithm::Zlib } else { Algorithm::Zstd(level.min(9)) };
        let content = seed.repeat(repeat);
        let stream = pack(algorithm, &content, pieces);
        prop_assert_eq!(unpack(algorithm, &stream, fed, room), Ok(content.clone()));
        let mut unpacker = Unpacker::new(algorithm);
        let mut all = vec![0; content.len() + 1];
        let mut input = &stream[..];
        prop_assert_eq!(unpacker.advance(&mut input, &mut all), Ok(content.len()));
        prop_assert!(unpacker.is_between_frames());
        let frames = content.chunks(pieces).count();
        prop_assert_eq!(usize::from(unpacker.take_sequence()), frames % 256);
    }

    #[test]
    fn noise_ends_without_more_than_it_announces(stream: Vec<u8>, zlib: bool) {
        let algorithm = if zlib { Algorithm::Zlib } else { Algorithm::Zstd(3) };
        let _ = unpack(algorithm, &stream, 100, 100);
    }
}
