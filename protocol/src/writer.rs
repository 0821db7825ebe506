//! Appends the protocol's basic types to a growing buffer (`Vec<u8>`, `BytesMut`).
//!
//! It never looks at what is already in the buffer and never frames: packets are cut in `packet`.

use bytes::BufMut;

/// Append functions that mirror [`crate::Reader`]; integers are little endian.
pub trait WireAppend {
    /// One byte.
    fn push_u8(&mut self, value: u8);
    /// Two bytes.
    fn push_u16(&mut self, value: u16);
    /// Three bytes; the highest byte of `value` is not written.
    fn push_u24(&mut self, value: u32);
    /// Four bytes.
    fn push_u32(&mut self, value: u32);
    /// Eight bytes.
    fn push_u64(&mut self, value: u64);
    /// The bytes as they are.
    fn push_bytes(&mut self, bytes: &[u8]);
    /// `count` zero bytes.
    fn push_zeros(&mut self, count: usize);
    /// A length-encoded integer in its shortest form.
    fn push_lenenc_int(&mut self, value: u64);
    /// A length-encoded string.
    fn push_lenenc_bytes(&mut self, bytes: &[u8]);
    /// The bytes before the first zero byte in `bytes`, and a zero byte.
    fn push_nul_terminated(&mut self, bytes: &[u8]);
}

impl<B: BufMut> WireAppend for B {
    fn push_u8(&mut self, value: u8) {
        self.put_u8(value);
    }

    fn push_u16(&mut self, value: u16) {
        self.put_u16_le(value);
    }

    fn push_u24(&mut self, value: u32) {
        let [a, b, c, _] = value.to_le_bytes();
        self.put_slice(&[a, b, c]);
    }

    fn push_u32(&mut self, value: u32) {
        self.put_u32_le(value);
    }

    fn push_u64(&mut self, value: u64) {
        self.put_u64_le(value);
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn push_zeros(&mut self, count: usize) {
        self.put_bytes(0, count);
    }

    fn push_lenenc_int(&mut self, value: u64) {
        let [a, b, c, ..] = value.to_le_bytes();
        match value {
            0..=0xfa => self.put_u8(a),
            0xfb..=0xffff => self.put_slice(&[0xfc, a, b]),
            0x1_0000..=0xff_ffff => self.put_slice(&[0xfd, a, b, c]),
            _ => {
                self.put_u8(0xfe);
                self.put_u64_le(value);
            }
        }
    }

    fn push_lenenc_bytes(&mut self, bytes: &[u8]) {
        self.push_lenenc_int(bytes.len() as u64);
        self.put_slice(bytes);
    }

    fn push_nul_terminated(&mut self, bytes: &[u8]) {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        self.put_slice(bytes.get(..end).unwrap_or(bytes));
        self.put_u8(0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::WireAppend;
    use crate::{Malformed, Reader};
    use proptest::prelude::*;

    #[test]
    fn lengths_take_their_shortest_form_at_every_edge() {
        for (value, size) in
            [(0, 1), (0xfa, 1), (0xfb, 3), (0xffff, 3), (0x1_0000, 4), (0xff_ffff, 4), (0x100_0000, 9)]
        {
            let mut out = Vec::new();
            out.push_lenenc_int(value);
            assert_eq!(out.len(), size, "{value:#x}");
            assert_eq!(Reader::new(&out).lenenc_int(), Ok(value));
        }
    }

    #[test]
    fn null_and_error_markers_are_no_lengths() {
        assert_eq!(Reader::new(&[0xfb]).lenenc_int(), Err(Malformed::LengthPrefix(0xfb)));
        assert_eq!(Reader::new(&[0xff, 1]).lenenc_int(), Err(Malformed::LengthPrefix(0xff)));
        assert!(Reader::new(&[0xfe; 9]).lenenc_bytes().is_err());
    }

    proptest! {
        #[test]
        fn every_type_reads_back(a: u8, b: u16, c in 0u32..0x100_0000, d: u32, e: u64, s: Vec<u8>, t in "[a-z]{0,20}") {
            let mut out = bytes::BytesMut::new();
            out.push_u8(a);
            out.push_u16(b);
            out.push_u24(c);
            out.push_u32(d);
            out.push_u64(e);
            out.push_lenenc_int(e);
            out.push_lenenc_bytes(&s);
            out.push_nul_terminated(t.as_bytes());
            out.push_bytes(&s);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.u8().unwrap(), a);
            prop_assert_eq!(reader.u16().unwrap(), b);
            prop_assert_eq!(reader.u24().unwrap(), c);
            prop_assert_eq!(reader.u32().unwrap(), d);
            prop_assert_eq!(reader.u64().unwrap(), e);
            prop_assert_eq!(reader.lenenc_int().unwrap(), e);
            prop_assert_eq!(reader.lenenc_bytes().unwrap(), &s[..]);
            prop_assert_eq!(reader.nul_terminated().unwrap(), t.as_bytes());
            prop_assert_eq!(reader.rest(), &s[..]);
            prop_assert!(reader.is_empty() && reader.u8().is_err());
        }
    }
}
