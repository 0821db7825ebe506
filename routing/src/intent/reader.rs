//! Hands out the tokens of one statement after the other and lets nothing pass unseen by [`Features`].
//!
//! This file must never skip a token silently.

use super::Features;
use crate::hint::Wish;
use crate::lexer::{LexMode, Lexer, Oddity, Span, Token, TokenKind, Word};
use crate::vouched::Vouching;

/// The name that a token stands for, without its quotes.
fn identifier(kind: TokenKind, bytes: &[u8]) -> Option<&[u8]> {
    match kind {
        TokenKind::Word(_) => Some(bytes),
        TokenKind::Quoted => bytes.get(1..bytes.len().saturating_sub(1)),
        TokenKind::Text
        | TokenKind::Number
        | TokenKind::UserVariable
        | TokenKind::SystemVariable
        | TokenKind::Assign
        | TokenKind::Placeholder
        | TokenKind::Semicolon
        | TokenKind::Punctuation(_)
        | TokenKind::Broken => None,
    }
}

/// A lexer with one token of look-ahead that stops at `;`.
pub(super) struct Reader<'a> {
    text: &'a [u8],
    mode: LexMode,
    lexer: Lexer<'a>,
    ahead: Option<Token>,
    features: Features,
    part: Span,
    vouching: Option<Vouching<'a>>,
    /// The last two tokens, where functions are vouched for.
    before: [Option<Token>; 2],
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8], mode: LexMode, vouching: Option<Vouching<'a>>) -> Self {
        let mut lexer = Lexer::new(text, mode);
        let ahead = lexer.next();
        let (features, part) = (Features::default(), Span::default());
        Self { text, mode, lexer, ahead, features, part, vouching, before: [None; 2] }
    }

    /// Moves to the first token of the next statement.
    pub(super) fn begin_part(&mut self) -> Option<Token> {
        while self.ahead.is_some_and(|token| token.kind == TokenKind::Semicolon) {
            self.ahead = self.lexer.next();
        }
        self.features = Features::default();
        self.before = [None; 2];
        let first = self.ahead?;
        self.part = first.span;
        self.next()
    }

    /// The next token of this statement.
    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek()?;
        self.pass(token);
        Some(token)
    }

    /// Moves over the token that lies ahead.
    #[inline]
    fn pass(&mut self, token: Token) {
        self.part.end = token.span.end;
        self.ahead = self.lexer.next();
        let next = self.ahead.map(|token| token.kind);
        let calls = next == Some(TokenKind::Punctuation(b'('));
        let vouched = calls && self.is_vouched(token);
        self.features.see(token, || self.lexer.bytes(token.span), next, vouched);
        if self.vouching.is_some() {
            self.before = [self.before[1], Some(token)];
        }
    }

    /// Whether the owner vouches for the function that this token, with a `(` behind it, names.
    fn is_vouched(&self, token: Token) -> bool {
        let Some(vouching) = self.vouching else { return false };
        let name = |token: Token| identifier(token.kind, self.lexer.bytes(token.span));
        let qualified = self.before[1].is_some_and(|dot| dot.kind == TokenKind::Punctuation(b'.'));
        let schema = if qualified { self.before[0].and_then(name) } else { None };
        name(token)
            .is_some_and(|function| (!qualified || schema.is_some()) && vouching.covers(schema, function))
    }

    /// The token that [`Self::next`] will give.
    pub(super) fn peek(&self) -> Option<Token> {
        self.ahead.filter(|token| token.kind != TokenKind::Semicolon)
    }

    /// The keyword that comes next, if one does.
    pub(super) fn peek_word(&self) -> Option<Word> {
        match self.peek()?.kind {
            TokenKind::Word(word) => Some(word),
            TokenKind::Quoted
            | TokenKind::Text
            | TokenKind::Number
            | TokenKind::UserVariable
            | TokenKind::SystemVariable
            | TokenKind::Assign
            | TokenKind::Placeholder
            | TokenKind::Semicolon
            | TokenKind::Punctuation(_)
            | TokenKind::Broken => None,
        }
    }

    /// Takes the next token if it is this keyword.
    pub(super) fn take(&mut self, word: Word) -> bool {
        let found = self.peek_word() == Some(word);
        if found {
            self.next();
        }
        found
    }

    /// Takes the next token if it is one of these keywords, and tells which.
    pub(super) fn take_any(&mut self, words: &[Word]) -> Option<Word> {
        let word = self.peek_word().filter(|word| words.contains(word))?;
        self.next();
        Some(word)
    }

    /// Whether the next token is this byte.
    pub(super) fn peek_is(&self, byte: u8) -> bool {
        self.peek().is_some_and(|token| token.kind == TokenKind::Punctuation(byte))
    }

    /// Takes the next token if it is this byte.
    pub(super) fn take_byte(&mut self, byte: u8) -> bool {
        let found = self.peek_is(byte);
        if found {
            self.next();
        }
        found
    }

    /// Takes an identifier and gives its text without backticks; `None` if there is none, or if it has
    /// characters that would make texts hard to compare.
    pub(super) fn take_name(&mut self) -> Option<&'a [u8]> {
        let token = self.peek()?;
        let bytes = self.lexer.bytes(token.span);
        let name = match token.kind {
            TokenKind::Word(_) => bytes,
            TokenKind::Quoted => bytes.get(1..bytes.len().saturating_sub(1))?,
            TokenKind::Text
            | TokenKind::Number
            | TokenKind::UserVariable
            | TokenKind::SystemVariable
            | TokenKind::Assign
            | TokenKind::Placeholder
            | TokenKind::Semicolon
            | TokenKind::Punctuation(_)
            | TokenKind::Broken => return None,
        };
        self.next();
        (!name.iter().any(|byte| matches!(byte, b'`' | b'"' | b'.'))).then_some(name)
    }

    /// Takes everything up to the end of the statement.
    pub(super) fn skip_part(&mut self) {
        while let Some(token) = self.peek() {
            self.pass(token);
        }
    }

    pub(super) fn features(&self) -> Features {
        self.features
    }

    /// The name that comes next and the `(` behind it begin a list of columns, not a call.
    pub(super) fn expect_columns(&mut self) {
        self.features.expect_columns();
    }

    /// Takes `=` or `:=` of a SET.
    pub(super) fn take_assignment(&mut self) -> bool {
        let Some(token) = self.peek() else { return false };
        let found = matches!(token.kind, TokenKind::Assign | TokenKind::Punctuation(b'='));
        if found {
            self.features.expect_assignment();
            self.next();
        }
        found
    }

    pub(super) fn bytes(&self, span: Span) -> &'a [u8] {
        self.lexer.bytes(span)
    }

    /// The text of the current statement up to the last token taken.
    pub(super) fn part(&self) -> Span {
        self.part
    }

    /// A fresh lexer over the current statement; its spans count from the start of the statement.
    pub(super) fn again(&self) -> Lexer<'a> {
        Lexer::new(self.text.get(self.part.start..self.part.end).unwrap_or_default(), self.mode)
    }

    pub(super) fn oddity(&self) -> Option<Oddity> {
        self.lexer.oddity()
    }

    pub(super) fn wish(&self) -> Wish {
        self.lexer.wish()
    }
}
