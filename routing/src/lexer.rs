//! SQL text to tokens, as a MySQL server would cut it: one pass, constant state, no allocation.
//!
//! It follows the server where a difference could hide code from us (executable comments, `--` rules,
//! numbers that end in the middle of a word, `'` and `"` by sql_mode). Where servers of different
//! versions would read the same text differently it says so ([`Oddity`]), and such text is never
//! proved harmless.
//!
//! It must never decide what a statement means or where it goes.

mod bytes;
mod number;
mod skip;
mod token;
mod word;

use crate::hint::Wish;
use bytes::Class;
pub use token::{ClientCharset, DoubleQuotes, LexMode, Oddity, Span, Strings, Token, TokenKind};
pub use word::Word;

/// Cuts one COM_QUERY text (or the text of a prepared statement) into tokens.
///
/// After the last token it returns `None` for ever. It never fails: what no server would accept becomes
/// [`TokenKind::Broken`].
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    mode: LexMode,
    /// Inside `/*! ... */`, whose content is code.
    in_executable: bool,
    odd: Option<Oddity>,
    wish: Wish,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    #[must_use]
    pub fn new(text: &'a [u8], mode: LexMode) -> Self {
        Self { text, at: 0, mode, in_executable: false, odd: None, wish: Wish::Rules }
    }

    /// The first oddity met so far: a reason to believe nothing that was proved about this text.
    #[must_use]
    pub fn oddity(&self) -> Option<Oddity> {
        self.odd
    }

    /// What the comments met so far ask for; the strongest of them.
    #[must_use]
    pub fn wish(&self) -> Wish {
        self.wish
    }

    /// The bytes of a token. Empty for a span of another text.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &'a [u8] {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.saturating_add(ahead)).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn note(&mut self, oddity: Oddity) {
        self.odd.get_or_insert(oddity);
    }

    /// Moves over bytes of an unquoted identifier.
    fn skip_word(&mut self) {
        let rest = self.rest();
        self.at += rest.iter().position(|&byte| !bytes::in_word(byte)).unwrap_or(rest.len());
    }

    /// Moves over a quoted run that begins here and ends at an undoubled `quote`. False if it doesn't end.
    fn skip_quoted(&mut self, quote: u8, escapes: bool) -> bool {
        self.at += 1;
        loop {
            let rest = self.rest();
            let stop =
                if escapes { memchr::memchr2(quote, b'\\', rest) } else { memchr::memchr(quote, rest) };
            let Some(stop) = stop else {
                self.at = self.text.len();
                self.note(Oddity::Unterminated);
                return false;
            };
            self.at += stop;
            if self.peek(0) == Some(b'\\') && escapes {
                self.at = (self.at + 2).min(self.text.len());
            } else if self.peek(1) == Some(quote) {
                self.at += 2;
            } else {
                self.at += 1;
                return true;
            }
        }
    }

    fn string(&mut self, quote: u8) -> TokenKind {
        let escapes = self.mode.strings == Strings::BackslashEscapes;
        if self.skip_quoted(quote, escapes) { TokenKind::Text } else { TokenKind::Broken }
    }

    fn identifier(&mut self, quote: u8) -> TokenKind {
        if self.skip_quoted(quote, false) { TokenKind::Quoted } else { TokenKind::Broken }
    }

    fn double_quoted(&mut self) -> TokenKind {
        match self.mode.double_quotes {
            DoubleQuotes::Text => self.string(b'"'),
            DoubleQuotes::Identifier => self.identifier(b'"'),
        }
    }

    /// A word, or the prefix of a literal: `N'..'`, `x'..'`, `b'..'`.
    fn word(&mut self) -> TokenKind {
        let start = self.at;
        self.skip_word();
        if self.at == start + 1 && self.peek(0) == Some(b'\'') {
            let prefix = self.text.get(start).copied().unwrap_or_default();
            if matches!(prefix.to_ascii_lowercase(), b'n' | b'x' | b'b') {
                return self.string(b'\'');
            }
        }
        TokenKind::Word(word::lookup(self.text, start, self.at))
    }

    /// `@name`, `@'name'`, `@@scope.name`.
    fn variable(&mut self) -> TokenKind {
        self.at += 1;
        if self.peek(0) == Some(b'@') {
            self.at += 1;
            loop {
                if self.peek(0) == Some(b'`') {
                    self.identifier(b'`');
                }
                let rest = self.rest();
                let end = |&byte: &u8| !(bytes::in_word(byte) || byte == b'.');
                self.at += rest.iter().position(end).unwrap_or(rest.len());
                if self.peek(0) != Some(b'`') {
                    return TokenKind::SystemVariable;
                }
            }
        }
        match self.peek(0) {
            Some(b'\'') => _ = self.string(b'\''),
            Some(b'"') => _ = self.double_quoted(),
            Some(b'`') => _ = self.identifier(b'`'),
            Some(_) | None => {
                let rest = self.rest();
                let end = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$'));
                self.at += rest.iter().position(end).unwrap_or(rest.len());
            }
        }
        TokenKind::UserVariable
    }

    fn punctuation(&mut self, byte: u8) -> TokenKind {
        if byte == b':' && self.peek(1) == Some(b'=') {
            self.at += 2;
            return TokenKind::Assign;
        }
        self.at += 1;
        match byte {
            b'?' => TokenKind::Placeholder,
            b';' => TokenKind::Semicolon,
            _ => TokenKind::Punctuation(byte),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    #[inline]
    fn next(&mut self) -> Option<Token> {
        let byte = self.skip_gaps()?;
        let start = self.at;
        let kind = match bytes::class(byte) {
            Class::Letter => self.word(),
            Class::Digit => self.number(),
            Class::Quote => self.string(b'\''),
            Class::DoubleQuote => self.double_quoted(),
            Class::Backtick => self.identifier(b'`'),
            Class::At => self.variable(),
            Class::Dot if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.fraction(),
            Class::Nul => {
                // The server's grammar takes it for the end of the statement in some states.
                self.at += 1;
                self.note(Oddity::NulByte);
                TokenKind::Broken
            }
            Class::Dot | Class::Mark | Class::Other | Class::Space => self.punctuation(byte),
        };
        Some(Token { kind, span: Span { start, end: self.at } })
    }
}
