//! The compressed protocol, for fuzzers.

use crate::compression::{Algorithm, HEADER_LEN, Packer, Unpacker};

/// Room for unpacked bytes at a time.
const ROOM: usize = 64;

/// A compressed stream, in pieces of the size its first byte says, as both algorithms. What it holds is no longer than its
/// headers announce; and it unpacks again when it was packed by us.
pub fn fuzz_compression(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else { return };
    for algorithm in [Algorithm::Zlib, Algorithm::Zstd(1)] {
        let mut unpacker = Unpacker::new(algorithm);
        let (mut room, mut content) = ([0; ROOM], Vec::new());
        'stream: for mut piece in stream.chunks(usize::from(*piece).max(1)) {
            loop {
                let Ok(filled) = unpacker.advance(&mut piece, &mut room) else { break 'stream };
                content.extend_from_slice(room.get(..filled).unwrap_or_default());
                if filled < ROOM {
                    break;
                }
            }
        }
        assert!(content.len() <= announced(stream));
        let (mut packed, mut rest) = (Vec::new(), data);
        while !rest.is_empty() {
            let count = Packer::default().frame(algorithm, rest, 0, &mut packed);
            rest = rest.get(count..).unwrap_or_default();
        }
        let (mut again, mut input) = (vec![0; data.len() + 1], &packed[..]);
        let filled = Unpacker::new(algorithm).advance(&mut input, &mut again);
        assert!(filled.is_ok_and(|filled| again.get(..filled) == Some(data)));
    }
}

/// The most that the headers of this stream announce together.
fn announced(mut stream: &[u8]) -> usize {
    let mut sum = 0;
    while let Some(&[a, b, c, _, d, e, f]) = stream.first_chunk::<HEADER_LEN>() {
        let number = |a, b, c| usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        let (length, unpacked): (usize, usize) = (number(a, b, c), number(d, e, f));
        sum += if unpacked == 0 { length } else { unpacked };
        stream = stream.get(HEADER_LEN + length..).unwrap_or_default();
    }
    sum
}
