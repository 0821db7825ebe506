//! Unpacking: bytes of frames in, bytes of packets out, as far as there is room.

use std::fmt;

use flate2::{Decompress, FlushDecompress};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::{Algorithm, CompressionError, HEADER_LEN};

/// The smallest window zstd knows, as a power of two.
const MIN_WINDOW_LOG: u32 = 10;

/// Takes frames apart, for one connection.
#[derive(Debug)]
pub struct Unpacker {
    algorithm: Algorithm,
    place: Place,
    next_sequence: u8,
}

#[derive(Debug)]
enum Place {
    Header {
        bytes: [u8; HEADER_LEN],
        filled: usize,
    },
    /// Content that was not packed.
    Plain {
        left: usize,
    },
    Packed {
        packed_left: usize,
        left: usize,
        decoder: Box<Decompressor>,
    },
}

const BETWEEN: Place = Place::Header { bytes: [0; HEADER_LEN], filled: 0 };

enum Decompressor {
    Zlib(Decompress),
    Zstd(Decoder<'static>),
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib(_) => "Zlib",
            Self::Zstd(_) => "Zstd",
        })
    }
}

/// How far a call came.
enum Step {
    /// This much was read and written.
    Moved { read: usize, written: usize },
    /// Nothing more without more input.
    Starved,
}

impl Unpacker {
    /// For a stream from its first frame on.
    #[must_use]
    pub const fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, place: BETWEEN, next_sequence: 0 }
    }

    /// Whether the input may end here.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        matches!(self.place, Place::Header { filled: 0, .. })
    }

    /// The number for a frame of our own: it goes on from the last frame that began in either direction.
    pub const fn take_sequence(&mut self) -> u8 {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        sequence
    }

    /// Unpacks from `input`, which is moved on, into `out`; returns how much of `out` was filled. Less than all of it means
    /// that the input is used up.
    ///
    /// # Errors
    /// [`CompressionError`]: the stream can't be followed any further.
    pub fn advance(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<usize, CompressionError> {
        let mut filled = 0;
        while filled < out.len() {
            let room = out.get_mut(filled..).unwrap_or_default();
            match self.step(input, room)? {
                Step::Moved { read, written } => {
                    *input = input.get(read..).unwrap_or_default();
                    filled += written;
                }
                Step::Starved => break,
            }
        }
        Ok(filled)
    }

    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Step, CompressionError> {
        match &mut self.place {
            Place::Header { bytes, filled } => {
                let Some(&next) = input.first() else { return Ok(Step::Starved) };
                if let Some(byte) = bytes.get_mut(*filled) {
                    *byte = next;
                }
                *filled += 1;
                if *filled == HEADER_LEN {
                    let header = *bytes;
                    self.begin(header)?;
                }
                Ok(Step::Moved { read: 1, written: 0 })
            }
            Place::Plain { left } => {
                let count = (*left).min(input.len()).min(room.len());
                if count == 0 {
                    return Ok(Step::Starved);
                }
                if let (Some(to), Some(from)) = (room.get_mut(..count), input.get(..count)) {
                    to.copy_from_slice(from);
                }
                *left -= count;
                if *left == 0 {
                    self.place = BETWEEN;
                }
                Ok(Step::Moved { read: count, written: count })
            }
            Place::Packed { packed_left, left, decoder } => {
                let step = unpack(decoder, packed_left, left, input, room)?;
                if *packed_left == 0 && *left == 0 {
                    let (_, held_back) = decoder.run(&[], &mut [0])?;
                    if held_back > 0 {
                        return Err(CompressionError::TooLong);
                    }
                    self.place = BETWEEN;
                }
                Ok(step)
            }
        }
    }

    fn begin(&mut self, header: [u8; HEADER_LEN]) -> Result<(), CompressionError> {
        let [a, b, c, sequence, d, e, f] = header;
        let number =
            |low, middle, high| usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        let (length, left): (usize, usize) = (number(a, b, c), number(d, e, f));
        self.next_sequence = sequence.wrapping_add(1);
        self.place = match (length, left) {
            (0, 0) => BETWEEN,
            (left, 0) => Place::Plain { left },
            (packed_left, left) => {
                Place::Packed { packed_left, left, decoder: Box::new(decompressor(self.algorithm, left)?) }
            }
        };
        Ok(())
    }
}

/// A decompressor for content of `length` bytes. It lives for one frame: an idle connection keeps none.
fn decompressor(algorithm: Algorithm, length: usize) -> Result<Decompressor, CompressionError> {
    match algorithm {
        Algorithm::Zlib => Ok(Decompressor::Zlib(Decompress::new(true))),
        Algorithm::Zstd(_) => {
            let mut decoder = Decoder::new().map_err(|_| CompressionError::Broken)?;
            // No more memory than the content would take.
            let window = usize::BITS - length.leading_zeros();
            let window = DParameter::WindowLogMax(window.max(MIN_WINDOW_LOG));
            decoder.set_parameter(window).map_err(|_| CompressionError::Broken)?;
            Ok(Decompressor::Zstd(decoder))
        }
    }
}

fn unpack(
    decoder: &mut Decompressor,
    packed_left: &mut usize,
    left: &mut usize,
    input: &[u8],
    room: &mut [u8],
) -> Result<Step, CompressionError> {
    let input = input.get(..*packed_left).unwrap_or(input);
    // When all the content is there, what follows (a checksum) must not unpack to anything.
    let mut beyond = [0];
    let room_len = room.len().min(*left);
    let room = match *left {
        0 => &mut beyond[..],
        _ => room.get_mut(..room_len).unwrap_or_default(),
    };
    let (read, written) = decoder.run(input, room)?;
    *packed_left -= read.min(*packed_left);
    *left = left.checked_sub(written).ok_or(CompressionError::TooLong)?;
    match (read, written) {
        (0, 0) if *packed_left == 0 => Err(CompressionError::TooShort),
        (0, 0) if input.is_empty() => Ok(Step::Starved),
        // The packed content has an end, and there are bytes behind it.
        (0, 0) => Err(CompressionError::Broken),
        _ => Ok(Step::Moved { read, written }),
    }
}

impl Decompressor {
    fn run(&mut self, input: &[u8], room: &mut [u8]) -> Result<(usize, usize), CompressionError> {
        match self {
            Self::Zlib(zlib) => {
                let before = (zlib.total_in(), zlib.total_out());
                zlib.decompress(input, room, FlushDecompress::None).map_err(|_| CompressionError::Broken)?;
                let moved = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
                Ok((moved(zlib.total_in(), before.0), moved(zlib.total_out(), before.1)))
            }
            Self::Zstd(zstd) => {
                let status = zstd.run_on_buffers(input, room).map_err(|_| CompressionError::Broken)?;
                Ok((status.bytes_read, status.bytes_written))
            }
        }
    }
}
