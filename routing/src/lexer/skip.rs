//! White space and comments, executable ones included.
//!
//! This file must never treat the content of an executable comment as blank.

use super::bytes::{self, Class};
use super::{Lexer, Oddity};
use crate::hint::Wish;

/// The newest version whose conditional comments every supported server executes (8.0.17).
const EXECUTED_BY_ALL: u32 = 80_017;

impl Lexer<'_> {
    /// Moves to the first byte of the next token and tells it.
    #[inline]
    pub(super) fn skip_gaps(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek(0) {
            match bytes::class(byte) {
                Class::Space => self.at += 1,
                Class::Mark if self.skip_comment(byte) => {}
                Class::Mark
                | Class::Letter
                | Class::Digit
                | Class::Quote
                | Class::DoubleQuote
                | Class::Backtick
                | Class::At
                | Class::Dot
                | Class::Nul
                | Class::Other => return Some(byte),
            }
        }
        if self.in_executable {
            self.note(Oddity::Unterminated);
        }
        None
    }

    /// Moves over a comment, or a mark of an executable one, if one begins here.
    fn skip_comment(&mut self, byte: u8) -> bool {
        match byte {
            b'#' => self.skip_line(1),
            b'-' if self.peek(1) == Some(b'-') && self.peek(2).is_none_or(after_dashes) => self.skip_line(2),
            b'/' if self.peek(1) == Some(b'*') => self.skip_block(),
            b'*' if self.in_executable && self.peek(1) == Some(b'/') => {
                self.at += 2;
                self.in_executable = false;
            }
            _ => return false,
        }
        true
    }

    fn skip_line(&mut self, marker: usize) {
        let rest = self.rest();
        let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if line.contains(&0) {
            // The server ends the comment there.
            self.note(Oddity::NulByte);
        }
        self.read_hint(line.get(marker..).unwrap_or_default());
        self.at = (self.at + line.len() + 1).min(self.text.len());
    }

    fn skip_block(&mut self) {
        self.at += 2;
        match self.peek(0) {
            Some(b'!') => return self.enter_executable(),
            Some(b'M' | b'm') if self.peek(1) == Some(b'!') => self.note(Oddity::VersionComment),
            Some(_) | None => {}
        }
        let rest = self.rest();
        if let Some(end) = rest.windows(2).position(|pair| pair == b"*/") {
            let comment = rest.get(..end).unwrap_or_default();
            if comment.first() != Some(&b'+') {
                self.read_hint(comment);
            } else if hides_quotes(comment) {
                self.note(Oddity::QuoteInHint);
            }
            self.at += end + 2;
        } else {
            self.at = self.text.len();
            self.note(Oddity::Unterminated);
        }
    }

    fn enter_executable(&mut self) {
        self.at += 1;
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        if self.in_executable {
            // Nested: the first end closes both.
            self.note(Oddity::VersionComment);
        }
        if digits > 0 {
            let version =
                self.rest().iter().take(digits.min(9)).fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'));
            // Five digits are read the same by all; six only by newer servers.
            if digits != 5 || version > EXECUTED_BY_ALL {
                self.note(Oddity::VersionComment);
            }
            self.at += digits;
        }
        self.in_executable = true;
    }

    fn read_hint(&mut self, comment: &[u8]) {
        self.wish = self.wish.max(Wish::from_comment(comment));
    }
}

/// Whether an optimizer hint has quotes, in which a `*/` would not end it.
fn hides_quotes(hint: &[u8]) -> bool {
    let backticks = hint.iter().filter(|&&byte| byte == b'`').count();
    backticks % 2 == 1 || hint.iter().any(|byte| matches!(byte, b'\'' | b'"'))
}

/// What must follow `--` to make it a comment: white space or a control character.
fn after_dashes(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_control()
}
