//! Connection attributes: pairs of names and values a client tells about itself.
//!
//! They are kept as sent; nothing is believed because of them.

use crate::{Malformed, Reader, WireAppend};

/// The pairs in the form they have on the wire, without the length before them.
#[must_use]
pub fn encode(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        out.push_lenenc_bytes(name);
        out.push_lenenc_bytes(value);
    }
    out
}

/// Goes through the pairs of `raw`; ends after the first that has not its form.
pub fn pairs(raw: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Malformed>> {
    let mut reader = Reader::new(raw);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let pair = reader.lenenc_bytes().and_then(|name| Ok((name, reader.lenenc_bytes()?)));
        if pair.is_err() {
            reader.rest();
        }
        Some(pair)
    })
}
