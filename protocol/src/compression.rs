//! The compressed protocol: frames of a header of seven bytes around the byte stream of packets.
//!
//! A frame says how long it is, its own number, and how long its content is unpacked (0: it is not packed). Packets may
//! begin and end anywhere in it. The number goes on from the peer's last frame; it has nothing to do with those of packets.
//! Unpacking works piece by piece: never more is unpacked than there is room for, and never more than was announced.
//!
//! Never here: I/O, where a packet ends, whether compression pays.

mod pack;
mod unpack;

pub use pack::Packer;
pub use unpack::Unpacker;

use thiserror::Error;

use crate::Capabilities;

/// Bytes of a header.
pub const HEADER_LEN: usize = 7;
/// The most a frame can hold, packed or unpacked, in bytes.
pub const MAX_CONTENT: usize = 0xff_ffff;
/// Content shorter than this is not packed, as in MySQL: nothing would be gained.
pub const MIN_PACKED: usize = 50;

/// How content is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// zlib.
    Zlib,
    /// Zstandard, with the level that the client asked for, from 1 to 22.
    Zstd(u8),
}

impl Algorithm {
    /// What a login agreed on. Where a client sets both flags it means zlib, as in MySQL. Levels out of range mean MySQL's
    /// default of 3.
    #[must_use]
    pub fn agreed(capabilities: Capabilities, zstd_level: Option<u8>) -> Option<Self> {
        if capabilities.contains(Capabilities::COMPRESS) {
            Some(Self::Zlib)
        } else if capabilities.contains(Capabilities::ZSTD_COMPRESSION) {
            Some(Self::Zstd(zstd_level.filter(|level| (1..=22).contains(level)).unwrap_or(3)))
        } else {
            None
        }
    }
}

/// Why a compressed stream can't be followed any further. Always its sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompressionError {
    /// The content is not packed as was agreed.
    #[error("a compressed frame can't be unpacked")]
    Broken,
    /// The content is longer than its frame says.
    #[error("a compressed frame holds more than it says")]
    TooLong,
    /// The content ends before the length that its frame says.
    #[error("a compressed frame holds less than it says")]
    TooShort,
}

#[cfg(test)]
mod tests;
