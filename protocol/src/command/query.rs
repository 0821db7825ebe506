//! COM_QUERY: where the text begins when attributes stand before it.
//!
//! The text itself is opaque here; it is read by the routing lexer.

use super::attributes::{Attribute, Attributes, null_bitmap};
use super::byte;
use crate::{Capabilities, Malformed, Reader, WireAppend};

/// Attributes of one statement at most; MySQL has the same limit for parameters.
const MAX_ATTRIBUTES: u64 = 65_535;

/// A COM_QUERY taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryView<'a> {
    /// What the client attached.
    pub attributes: Attributes<'a>,
    /// The text, as far as it is in the payload that was given.
    pub text: &'a [u8],
}

impl<'a> QueryView<'a> {
    /// Takes a COM_QUERY payload (command byte included) apart; `caps` are those agreed with the client. The beginning
    /// of a long statement is enough if it reaches into the text.
    ///
    /// # Errors
    /// [`Malformed`] if it is no COM_QUERY or its attributes do not have their form.
    pub fn parse(payload: &'a [u8], caps: Capabilities) -> Result<Self, Malformed> {
        match payload.split_first() {
            Some((&byte::QUERY, body)) => Self::parse_body(body, caps),
            Some(_) | None => Err(Malformed::Invalid("command")),
        }
    }

    /// As [`Self::parse`], of what stands behind the command byte.
    ///
    /// # Errors
    /// [`Malformed`] if the attributes do not have their form.
    pub fn parse_body(body: &'a [u8], caps: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let attributes = match caps.contains(Capabilities::QUERY_ATTRIBUTES) {
            true => read_attributes(&mut reader)?,
            false => Attributes::default(),
        };
        Ok(Self { attributes, text: reader.rest() })
    }

    /// The payload for a server with which `target` was agreed, with the attributes that `keep` picks; with none if the
    /// server takes none.
    #[must_use]
    pub fn build(&self, target: Capabilities, keep: impl Fn(&Attribute<'a>) -> bool) -> Vec<u8> {
        let kept: Vec<_> = self.attributes.iter().filter(keep).collect();
        if kept.is_empty() || !target.contains(Capabilities::QUERY_ATTRIBUTES) {
            return super::build::query(self.text, target);
        }
        let mut out = Vec::with_capacity(16 + 32 * kept.len() + self.text.len());
        out.push_u8(byte::QUERY);
        out.push_lenenc_int(kept.len() as u64);
        out.push_bytes(&[1]);
        out.push_bytes(&null_bitmap(kept.iter().map(Attribute::is_null)));
        out.push_u8(1);
        for attribute in &kept {
            attribute.push_type(&mut out);
        }
        for attribute in &kept {
            attribute.push_value(&mut out);
        }
        out.push_bytes(self.text);
        out
    }
}

fn read_attributes<'a>(reader: &mut Reader<'a>) -> Result<Attributes<'a>, Malformed> {
    let count = reader.lenenc_int()?;
    let sets = reader.lenenc_int()?;
    if sets != 1 || count > MAX_ATTRIBUTES {
        return Err(Malformed::Invalid("number of attributes"));
    }
    let Ok(count) = u16::try_from(count) else { return Err(Malformed::Invalid("number of attributes")) };
    if count == 0 {
        return Ok(Attributes::default());
    }
    let nulls = reader.take(usize::from(count).div_ceil(8))?;
    if reader.u8()? == 0 {
        return Err(Malformed::Invalid("types of attributes"));
    }
    let mut types = *reader;
    for _ in 0..count {
        reader.u16()?;
        reader.lenenc_bytes()?;
    }
    Attributes::read(count, 0, nulls, &mut types, reader)
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
        assert_eq!((view.attributes.len(), view.text), (6, &b"SELECT 1"[..]));
        assert_eq!(view.build(Capabilities::empty(), |_| true), b"\x03SELECT 1");
        assert_eq!(view.build(ATTRIBUTES, |_| false), b"\x03\x00\x01SELECT 1");
        assert_eq!(view.build(ATTRIBUTES, |_| true), payload);
        let some = view.build(ATTRIBUTES, |attribute| attribute.name != b"c" && attribute.name != b"b");
        let names: Vec<_> = QueryView::parse(&some, ATTRIBUTES)
            .unwrap()
            .attributes
            .iter()
            .map(|a| (a.name.to_vec(), a.text()))
            .collect();
        let text = |text: &'static str| Some(text.as_bytes().into());
        assert_eq!(
            names,
            [
                (b"a".to_vec(), text("5")),
                (b"d".to_vec(), text("value")),
                (b"".to_vec(), text("9")),
                (b"n".to_vec(), None),
            ]
        );
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
        assert!(QueryView::parse(&none, ATTRIBUTES).unwrap().attributes.is_empty());
        assert_eq!(QueryView::parse(&none, Capabilities::empty()).unwrap().text, b"\x00\x01SELECT 3");
    }
}
