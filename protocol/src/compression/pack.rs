//! Packing: one frame at a time.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{Algorithm, MAX_CONTENT, MIN_PACKED};

/// zlib's fastest level: a proxy in between should cost little, and the first level saves most of the bytes.
const ZLIB_LEVEL: u32 = 1;

/// Packs content into frames. It keeps no state from one frame to the next but memory to work in, so that one serves many
/// connections.
#[derive(Default)]
pub struct Packer {
    zlib: Option<Compress>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    room: Vec<u8>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    /// Appends a frame with the first part of `content`, at most `MAX_CONTENT` bytes, to `out`; returns how many. Content that
    /// is short, or that packing would not make shorter, goes as it is.
    pub fn frame(&mut self, algorithm: Algorithm, content: &[u8], sequence: u8, out: &mut Vec<u8>) -> usize {
        let content = content.get(..MAX_CONTENT).unwrap_or(content);
        let packed = match algorithm {
            _ if content.len() < MIN_PACKED => None,
            Algorithm::Zlib => self.zlib(content),
            Algorithm::Zstd(level) => self.zstd(level, content),
        };
        let body = packed.and_then(|length| self.room.get(..length));
        let unpacked = if body.is_some() { content.len() } else { 0 };
        let body = body.unwrap_or(content);
        push_u24(out, body.len());
        out.push(sequence);
        push_u24(out, unpacked);
        out.extend_from_slice(body);
        content.len()
    }

    /// The length of the packed content in `room`; `None` if it would not be shorter.
    fn zlib(&mut self, content: &[u8]) -> Option<usize> {
        let zlib = self.zlib.get_or_insert_with(|| Compress::new(Compression::new(ZLIB_LEVEL), true));
        zlib.reset();
        self.room.resize(content.len() - 1, 0);
        let status = zlib.compress(content, &mut self.room, FlushCompress::Finish).ok()?;
        let length = usize::try_from(zlib.total_out()).ok()?;
        (status == Status::StreamEnd).then_some(length)
    }

    fn zstd(&mut self, level: u8, content: &[u8]) -> Option<usize> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Compressor::new(i32::from(level)).ok()?),
        };
        zstd.set_compression_level(i32::from(level)).ok()?;
        self.room.resize(content.len() - 1, 0);
        // No room means that it would not be shorter.
        zstd.compress_to_buffer(content, self.room.as_mut_slice()).ok()
    }
}

fn push_u24(out: &mut Vec<u8>, number: usize) {
    let [a, b, c, ..] = number.to_le_bytes();
    out.extend_from_slice(&[a, b, c]);
}
