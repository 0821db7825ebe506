//! COM_QUERY: where the text begins when attributes stand before it.
//!
//! The text itself is opaque here; it is read by the routing lexer.

use super::byte;
use crate::{Capabilities, Malformed, Reader};

/// Attributes of one statement at most; MySQL has the same limit for parameters.
const MAX_ATTRIBUTES: u64 = 65_535;

/// A COM_QUERY taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryView<'a> {
    /// Whether the client attached attributes.
    pub attributes: Attributes,
    /// The text, as far as it is in the payload that was given.
    pub text: &'a [u8],
}

/// Attributes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// None.
    Absent,
    /// This many.
    Present(u16),
}

impl<'a> QueryView<'a> {
    /// Takes a COM_QUERY payload (command byte included) apart; `caps` are those agreed with the client. The beginning
    /// of a long statement is enough if it reaches into the text.
    ///
    /// # Errors
    /// [`Malformed`] if it is no COM_QUERY or its attributes do not have their form.
    pub fn parse(payload: &'a [u8], caps: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != byte::QUERY {
            return Err(Malformed::Invalid("command"));
        }
        if !caps.contains(Capabilities::QUERY_ATTRIBUTES) {
            return Ok(Self { attributes: Attributes::Absent, text: reader.rest() });
        }
        let count = reader.lenenc_int()?;
        let sets = reader.lenenc_int()?;
        if sets != 1 || count > MAX_ATTRIBUTES {
            return Err(Malformed::Invalid("number of attributes"));
        }
        let Ok(count) = u16::try_from(count) else { return Err(Malformed::Invalid("number of attributes")) };
        if count == 0 {
            return Ok(Self { attributes: Attributes::Absent, text: reader.rest() });
        }
        skip_attributes(&mut reader, count)?;
        Ok(Self { attributes: Attributes::Present(count), text: reader.rest() })
    }

    /// The payload for a server with which `target` was agreed, without attributes.
    #[must_use]
    pub fn without_attributes(&self, target: Capabilities) -> Vec<u8> {
        super::build::query(self.text, target)
    }
}

fn skip_attributes(reader: &mut Reader<'_>, count: u16) -> Result<(), Malformed> {
    let nulls = reader.take(usize::from(count).div_ceil(8))?;
    if reader.u8()? == 0 {
        return Err(Malformed::Invalid("types of attributes"));
    }
    let mut types = *reader;
    for _ in 0..count {
        reader.u16()?;
        reader.lenenc_bytes()?;
    }
    for index in 0..usize::from(count) {
        let kind = types.u16()?;
        types.lenenc_bytes()?;
        let null = nulls.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
        if !null {
            skip_value(reader, kind)?;
        }
    }
    Ok(())
}

/// Passes over one binary value; the second byte of `kind` is the sign flag.
fn skip_value(reader: &mut Reader<'_>, kind: u16) -> Result<(), Malformed> {
    let [kind, _] = kind.to_le_bytes();
    match kind {
        // NULL
        6 => {}
        // TINY, BOOL
        1 | 244 => {
            reader.take(1)?;
        }
        // SHORT, YEAR
        2 | 13 => {
            reader.take(2)?;
        }
        // LONG, FLOAT, INT24
        3 | 4 | 9 => {
            reader.take(4)?;
        }
        // DOUBLE, LONGLONG
        5 | 8 => {
            reader.take(8)?;
        }
        // TIMESTAMP, DATE, TIME, DATETIME: one byte of length
        7 | 10..=12 => {
            let length = reader.u8()?;
            reader.take(usize::from(length))?;
        }
        // Every other type is a length-encoded string.
        _ => {
            reader.lenenc_bytes()?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;
    use crate::WireAppend;

    const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;

    fn with_attributes(text: &[u8], attributes: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = vec![byte::QUERY];
        out.push_lenenc_int(attributes.len() as u64);
        out.push_u8(1);
        if !attributes.is_empty() {
            out.push_zeros(attributes.len().div_ceil(8));
            out.push_u8(1);
            for (name, _) in attributes {
                out.push_u16(254);
                out.push_lenenc_bytes(name);
            }
            for (_, value) in attributes {
                out.push_lenenc_bytes(value);
            }
        }
        out.push_bytes(text);
        out
    }

    #[test]
    fn text_is_found_behind_attributes_of_every_kind() {
        let mut payload = vec![3, 6, 1, 0b0000_0010, 1];
        for (kind, name) in [(8u16, "a"), (253, "b"), (12, "c"), (254, "d"), (2, ""), (6, "n")] {
            payload.push_u16(kind);
            payload.push_lenenc_bytes(name.as_bytes());
        }
        payload.push_u64(5);
        payload.push_bytes(&[4, 1, 2, 3, 4]);
        payload.push_lenenc_bytes(b"value");
        payload.push_u16(9);
        payload.push_bytes(b"SELECT 1");
        let view = QueryView::parse(&payload, ATTRIBUTES).unwrap();
        assert_eq!(view, QueryView { attributes: Attributes::Present(6), text: b"SELECT 1" });
        assert_eq!(view.without_attributes(Capabilities::empty()), b"\x03SELECT 1");
        assert_eq!(view.without_attributes(ATTRIBUTES), b"\x03\x00\x01SELECT 1");
    }

    #[test]
    fn built_queries_read_back_and_half_ones_are_refused() {
        let payload = with_attributes(b"SELECT 2", &[(b"traceparent", b"00-1"), (b"x", b"")]);
        assert_eq!(QueryView::parse(&payload, ATTRIBUTES).unwrap().text, b"SELECT 2");
        for end in 0..payload.len() - 8 {
            assert!(QueryView::parse(payload.get(..end).unwrap(), ATTRIBUTES).is_err(), "{end}");
        }
        let none = with_attributes(b"SELECT 3", &[]);
        assert_eq!(none, super::super::build::query(b"SELECT 3", ATTRIBUTES));
        assert_eq!(QueryView::parse(&none, ATTRIBUTES).unwrap().attributes, Attributes::Absent);
        assert_eq!(QueryView::parse(&none, Capabilities::empty()).unwrap().text, b"\x00\x01SELECT 3");
    }
}
