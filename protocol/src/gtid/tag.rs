//! The tag of a GTID: a short lower-case name. Never allocates.

use std::fmt;

/// The longest tag a server accepts, in bytes.
const MAX_TAG: usize = 32;

/// A GTID tag: `[a-z_][a-z0-9_]{0,31}`, folded to lower case as the server does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Padded with zeros, so that the derived order is the order of the text.
    bytes: [u8; MAX_TAG],
}

impl Tag {
    /// Reads a tag; `None` if it is empty, too long or has a character no tag can have.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX_TAG];
        let target = bytes.get_mut(..text.len())?;
        target.copy_from_slice(text.as_bytes());
        target.make_ascii_lowercase();
        let (first, rest) = target.split_first()?;
        let valid = (first.is_ascii_lowercase() || *first == b'_')
            && rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        valid.then_some(Self { bytes })
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|b| *b == 0).unwrap_or(MAX_TAG);
        // Only ASCII was let in, so neither fallback is ever taken.
        self.bytes.get(..end).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.as_str())
    }
}
