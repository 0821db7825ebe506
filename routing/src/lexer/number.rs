//! Numbers. The trap: `1.5FOR UPDATE` is a number and a locking clause, `1FOR` is an identifier.
//!
//! This file must never read past the digits of the number.

use super::{Lexer, Oddity, TokenKind, bytes};

impl Lexer<'_> {
    /// A token that begins with a digit.
    pub(super) fn number(&mut self) -> TokenKind {
        let prefix = (self.peek(0), self.peek(1));
        if matches!(prefix, (Some(b'0'), Some(b'x' | b'b'))) {
            self.skip_word();
            return TokenKind::Number;
        }
        self.digits();
        if self.peek(0) == Some(b'.') {
            return self.fraction();
        }
        self.exponent()
    }

    /// What follows from the point of a number on.
    pub(super) fn fraction(&mut self) -> TokenKind {
        self.at += 1;
        self.digits();
        self.exponent()
    }

    fn exponent(&mut self) -> TokenKind {
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1 + sign;
                self.digits();
            }
        }
        if self.peek(0).is_some_and(bytes::in_word) {
            self.note(Oddity::NumberIntoWord);
        }
        TokenKind::Number
    }

    fn digits(&mut self) {
        let rest = self.rest();
        self.at += rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    }
}
