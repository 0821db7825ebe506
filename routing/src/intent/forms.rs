//! Statements of one exact shape, where the shape proves more than the tokens do.
//!
//! This file must never accept a shape with anything more in it, such as a FROM that may give no row.

use super::reader::Reader;
use crate::effects::Name;
use crate::functions::{FunctionKind, function};
use crate::lexer::{Span, Token, TokenKind, Word};

/// The longest shape, in tokens.
const LONGEST: usize = 10;

/// The tokens of a short statement; `None` if it is longer than any shape.
struct Shape<'a> {
    tokens: [Option<Token>; LONGEST],
    reader: &'a Reader<'a>,
}

impl<'a> Shape<'a> {
    fn of(reader: &'a Reader<'a>) -> Option<Self> {
        let mut tokens = [None; LONGEST];
        let mut lexer = reader.again();
        for slot in &mut tokens {
            *slot = lexer.next();
        }
        lexer.next().is_none().then_some(Self { tokens, reader })
    }

    fn kind(&self, index: usize) -> Option<TokenKind> {
        self.tokens.get(index).copied().flatten().map(|token| token.kind)
    }

    /// Where a token stands in the whole text.
    fn span(&self, index: usize) -> Option<Span> {
        let span = self.tokens.get(index).copied().flatten()?.span;
        let offset = self.reader.part().start;
        Some(Span { start: span.start + offset, end: span.end + offset })
    }

    fn is(&self, index: usize, byte: u8) -> bool {
        self.kind(index) == Some(TokenKind::Punctuation(byte))
    }

    /// `SELECT function(` or `DO function(`.
    fn calls(&self, kind: FunctionKind) -> bool {
        matches!(self.kind(0), Some(TokenKind::Word(Word::Select | Word::Do)))
            && matches!(self.kind(1), Some(TokenKind::Word(_)))
            && self.span(1).is_some_and(|span| function(self.reader.bytes(span)) == kind)
            && self.is(2, b'(')
    }

    /// `)` here, then at most a name for the column.
    fn closes(&self, index: usize) -> bool {
        let named = |at: usize| {
            matches!(self.kind(at), Some(TokenKind::Word(_) | TokenKind::Quoted | TokenKind::Text))
        };
        self.is(index, b')')
            && match self.kind(index + 1) {
                None => true,
                Some(TokenKind::Word(Word::As)) => named(index + 2) && self.kind(index + 3).is_none(),
                Some(_) => named(index + 1) && self.kind(index + 2).is_none(),
            }
    }

    /// The content of a plain string literal.
    fn text(&self, index: usize) -> Option<Name> {
        if self.kind(index) != Some(TokenKind::Text) {
            return None;
        }
        let bytes = self.reader.bytes(self.span(index)?);
        let inner = match bytes {
            [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
            _ => return None,
        };
        let plain = !inner.iter().any(|byte| matches!(byte, b'\\' | b'\'' | b'"'));
        plain.then(|| inner.to_ascii_lowercase().into())
    }
}

/// Exactly `SELECT CONNECTION_ID()`, also with a name for the column: the text that names the column.
pub(super) fn own_connection_id(reader: &Reader<'_>) -> Option<Span> {
    let shape = Shape::of(reader)?;
    let exact = shape.kind(0) == Some(TokenKind::Word(Word::Select))
        && shape.calls(FunctionKind::ConnectionId)
        && shape.closes(3);
    if !exact {
        return None;
    }
    let name = match shape.kind(4) {
        None => return Some(Span { start: shape.span(1)?.start, end: shape.span(3)?.end }),
        Some(TokenKind::Word(Word::As)) => 5,
        Some(_) => 4,
    };
    let span = shape.span(name)?;
    match shape.kind(name) {
        Some(TokenKind::Word(_)) => Some(span),
        Some(TokenKind::Quoted) => Some(Span { start: span.start + 1, end: span.end.checked_sub(1)? }),
        Some(_) | None => None,
    }
}

/// `SELECT GET_LOCK('name', n)`: the name.
pub(super) fn lock_taken(reader: &Reader<'_>) -> Option<Name> {
    let shape = Shape::of(reader)?;
    let sign = usize::from(shape.is(5, b'-'));
    let exact = shape.calls(FunctionKind::GetLock)
        && shape.is(4, b',')
        && shape.kind(5 + sign) == Some(TokenKind::Number)
        && shape.closes(6 + sign);
    if exact { shape.text(3) } else { None }
}

/// `SELECT RELEASE_LOCK('name')`: the name.
pub(super) fn lock_released(reader: &Reader<'_>) -> Option<Name> {
    let shape = Shape::of(reader)?;
    let exact = shape.calls(FunctionKind::ReleaseLock) && shape.closes(4);
    if exact { shape.text(3) } else { None }
}

/// `SELECT RELEASE_ALL_LOCKS()`.
pub(super) fn releases_all_locks(reader: &Reader<'_>) -> bool {
    Shape::of(reader).is_some_and(|shape| shape.calls(FunctionKind::ReleaseAllLocks) && shape.closes(3))
}
