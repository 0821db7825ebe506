//! What a byte can begin. One table lookup per byte.
//!
//! This file must never look at more than one byte.

/// What a byte can begin, outside strings and comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Letters, `_`, `$` and every byte above ASCII.
    Letter,
    Digit,
    Space,
    Quote,
    DoubleQuote,
    Backtick,
    At,
    Dot,
    Nul,
    /// Something that may begin a comment, or end one.
    Mark,
    Other,
}

const fn classify(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80..=0xff => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => Class::Space,
        b'\'' => Class::Quote,
        b'"' => Class::DoubleQuote,
        b'`' => Class::Backtick,
        b'@' => Class::At,
        b'.' => Class::Dot,
        0 => Class::Nul,
        b'#' | b'-' | b'/' | b'*' => Class::Mark,
        _ => Class::Other,
    }
}

#[allow(clippy::indexing_slicing, reason = "a byte can't be outside a table of 256")]
const TABLE: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut byte = 0u8;
    loop {
        table[byte as usize] = classify(byte);
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// What `byte` can begin.
#[allow(clippy::indexing_slicing, reason = "a byte can't be outside a table of 256")]
pub(super) fn class(byte: u8) -> Class {
    TABLE[usize::from(byte)]
}

/// Whether `byte` can be inside an unquoted identifier.
pub(super) fn in_word(byte: u8) -> bool {
    matches!(class(byte), Class::Letter | Class::Digit)
}
