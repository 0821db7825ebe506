//! Reads the protocol's basic types out of one payload, every length checked.
//!
//! A `Reader` borrows; it never copies, never allocates and never reads behind the payload it was given.

use thiserror::Error;

/// A payload that does not have the form its place in the protocol demands. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The payload ends before the field that should come next.
    #[error("the packet ends before its {0}")]
    Truncated(&'static str),
    /// A field that must end in a zero byte does not.
    #[error("a zero-terminated field has no end")]
    Unterminated,
    /// A length-encoded integer begins with 0xFB (NULL) or 0xFF (an error packet) where a number is needed.
    #[error("a length-encoded integer begins with {0:#04x}")]
    LengthPrefix(u8),
    /// A field holds a value the protocol does not allow there.
    #[error("the packet has an invalid {0}")]
    Invalid(&'static str),
}

/// A bounded cursor over one payload.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `payload`.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte, without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated("bytes"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated("integer"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if nothing is left.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.take_array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, little endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.take_array().map(u16::from_le_bytes)
    }

    /// Three bytes, little endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn u24(&mut self) -> Result<u32, Malformed> {
        self.take_array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.take_array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.take_array().map(u64::from_le_bytes)
    }

    /// A length-encoded integer: one byte below 0xFB, or a prefix and 2, 3 or 8 bytes.
    ///
    /// # Errors
    /// [`Malformed::LengthPrefix`] on 0xFB and 0xFF, [`Malformed::Truncated`] if its bytes are missing.
    #[inline]
    pub fn lenenc_int(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first() {
            Some((&small @ ..=0xfa, rest)) => {
                self.rest = rest;
                Ok(u64::from(small))
            }
            Some(_) | None => self.long_lenenc_int(),
        }
    }

    fn long_lenenc_int(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            0xfc => self.u16().map(u64::from),
            0xfd => self.u24().map(u64::from),
            0xfe => self.u64(),
            prefix @ (0xfb | 0xff) => Err(Malformed::LengthPrefix(prefix)),
            small => Ok(u64::from(small)),
        }
    }

    /// A length-encoded string: its length as [`Self::lenenc_int`], then that many bytes.
    ///
    /// # Errors
    /// As [`Self::lenenc_int`]; [`Malformed::Truncated`] if fewer bytes are left than it announces.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.lenenc_int()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The bytes before the next zero byte; the zero byte is taken too.
    ///
    /// # Errors
    /// [`Malformed::Unterminated`] if there is none.
    pub fn nul_terminated(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Malformed::Unterminated)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// Everything that is left; the reader is empty afterwards.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
