//! Query attributes: named values that a client sends with a statement.
//!
//! They stand before the text of a COM_QUERY and behind the parameters of a COM_STMT_EXECUTE. They are read one by
//! one, and written again without those that somebody takes for himself.
//!
//! Never here: what an attribute means.

use std::borrow::Cow;

use crate::{Malformed, Reader, WireAppend};

/// The attributes of one statement, borrowed from its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes<'a> {
    /// Parameters before the first attribute in `nulls`.
    skipped: usize,
    count: u16,
    nulls: &'a [u8],
    types: &'a [u8],
    values: &'a [u8],
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name, as the client wrote it.
    pub name: &'a [u8],
    kind: u16,
    /// The value as it stands in the packet; `None` is NULL.
    raw: Option<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    /// Reads `count` attributes: their types and names come next in `types`, their values in `values`; the bit of the
    /// first one in `nulls` is number `skipped`. Both readers are left behind them.
    pub(super) fn read(
        count: u16,
        skipped: usize,
        nulls: &'a [u8],
        types: &mut Reader<'a>,
        values: &mut Reader<'a>,
    ) -> Result<Self, Malformed> {
        let (types_before, values_before) = (*types, *values);
        for index in 0..usize::from(count) {
            let kind = types.u16()?;
            types.lenenc_bytes()?;
            if !is_null(nulls, skipped + index) {
                skip_value(values, kind)?;
            }
        }
        Ok(Self {
            skipped,
            count,
            nulls,
            types: passed(types_before, types)?,
            values: passed(values_before, values)?,
        })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them, in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let (mut types, mut values) = (Reader::new(self.types), Reader::new(self.values));
        let (nulls, skipped) = (self.nulls, self.skipped);
        // Everything was read once before, so nothing ends early.
        (0..usize::from(self.count)).map_while(move |index| {
            let kind = types.u16().ok()?;
            let name = types.lenenc_bytes().ok()?;
            let before = values;
            let raw = if is_null(nulls, skipped + index) {
                None
            } else {
                skip_value(&mut values, kind).ok()?;
                Some(passed(before, &values).ok()?)
            };
            Some(Attribute { name, kind, raw })
        })
    }
}

impl<'a> Attribute<'a> {
    /// The value as text, if it is a string or a whole number. NULL and other types have none.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, [u8]>> {
        let [kind, flags] = self.kind.to_le_bytes();
        let mut value = Reader::new(self.raw?);
        let mut bytes = [0; 8];
        let width = match kind {
            1 | 244 => 1,
            2 | 13 => 2,
            3 | 9 => 4,
            8 => 8,
            // VARCHAR, JSON, ENUM, SET, the BLOBs, VAR_STRING, STRING
            15 | 245 | 247..=254 => return value.lenenc_bytes().ok().map(Cow::Borrowed),
            _ => return None,
        };
        let digits = value.take(width).ok()?;
        let negative = flags & 0x80 == 0 && digits.last().is_some_and(|last| last & 0x80 != 0);
        bytes.fill(if negative { 0xff } else { 0 });
        bytes.get_mut(..width)?.copy_from_slice(digits);
        let text = match negative {
            true => i64::from_le_bytes(bytes).to_string(),
            false => u64::from_le_bytes(bytes).to_string(),
        };
        Some(Cow::Owned(text.into_bytes()))
    }

    pub(super) fn push_type(&self, out: &mut Vec<u8>) {
        out.push_u16(self.kind);
        out.push_lenenc_bytes(self.name);
    }

    pub(super) fn push_value(&self, out: &mut Vec<u8>) {
        out.push_bytes(self.raw.unwrap_or_default());
    }

    pub(super) const fn is_null(&self) -> bool {
        self.raw.is_none()
    }
}

/// The bit of parameter `index`.
pub(super) fn is_null(nulls: &[u8], index: usize) -> bool {
    nulls.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// A bitmap for parameters that are NULL or not.
pub(super) fn null_bitmap(nulls: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut bitmap = vec![0; nulls.len().div_ceil(8)];
    for (index, null) in nulls.enumerate() {
        if let Some(byte) = bitmap.get_mut(index / 8).filter(|_| null) {
            *byte |= 1 << (index % 8);
        }
    }
    bitmap
}

/// What was read between two places.
pub(super) fn passed<'a>(before: Reader<'a>, after: &Reader<'a>) -> Result<&'a [u8], Malformed> {
    let mut whole = before;
    whole.take(before.remaining() - after.remaining())
}

/// Passes over one binary value; the second byte of `kind` is the sign flag.
pub(super) fn skip_value(reader: &mut Reader<'_>, kind: u16) -> Result<(), Malformed> {
    let [kind, _] = kind.to_le_bytes();
    let length = match kind {
        // NULL
        6 => 0,
        // TINY, BOOL
        1 | 244 => 1,
        // SHORT, YEAR
        2 | 13 => 2,
        // LONG, FLOAT, INT24
        3 | 4 | 9 => 4,
        // DOUBLE, LONGLONG
        5 | 8 => 8,
        // TIMESTAMP, DATE, TIME, DATETIME: one byte of length
        7 | 10..=12 => usize::from(reader.u8()?),
        // Every other type is a length-encoded string.
        _ => return reader.lenenc_bytes().map(|_| ()),
    };
    reader.take(length).map(|_| ())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_text() {
        let cases: [(u16, &[u8], Option<&str>); 9] = [
            (254, b"\x07primary", Some("primary")),
            (253, b"\x00", Some("")),
            (8, &(-5i64).to_le_bytes(), Some("-5")),
            (0x8008, &u64::MAX.to_le_bytes(), Some("18446744073709551615")),
            (1, &[0xff], Some("-1")),
            (0x8001, &[0xff], Some("255")),
            (3, &2_000_000_000u32.to_le_bytes(), Some("2000000000")),
            (5, &1.5f64.to_le_bytes(), None),
            (6, b"", None),
        ];
        for (kind, value, expected) in cases {
            let mut types = kind.to_le_bytes().to_vec();
            types.push_lenenc_bytes(b"name");
            let (mut types, mut values) = (Reader::new(&types), Reader::new(value));
            let read = Attributes::read(1, 0, &[0], &mut types, &mut values).unwrap();
            assert!(types.is_empty() && values.is_empty());
            let one = read.iter().next().unwrap();
            assert_eq!(one.name, b"name");
            assert_eq!(one.text().as_deref(), expected.map(str::as_bytes), "type {kind}");
        }
    }

    #[test]
    fn null_has_no_text_and_no_bytes() {
        let mut types = 254u16.to_le_bytes().to_vec();
        types.push_lenenc_bytes(b"n");
        let mut values = Reader::new(b"");
        let nulls = null_bitmap([false, false, true].into_iter());
        assert_eq!(nulls, [0b100]);
        let read = Attributes::read(1, 2, &nulls, &mut Reader::new(&types), &mut values).unwrap();
        assert_eq!(read.iter().next().unwrap().text(), None);
    }
}
