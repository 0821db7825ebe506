//! SET in all its forms: variables of users, sessions and servers, characters, roles, transactions.
//!
//! This file must never overlook an item: one that it can't name pins.

use super::reader::Reader;
use super::{Intent, WriteKind};
use crate::effects::{Effect, Effects};
use crate::lexer::{Span, Token, TokenKind, Word};
use crate::pin::PinReason;
use crate::variables::{self, Variable};

/// Whose variable an item sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Nothing said.
    Default,
    /// `SESSION`, `LOCAL`.
    Session,
    /// `GLOBAL`, `PERSIST`, `PERSIST_ONLY`.
    Server,
}

/// `SET`, from behind that word.
pub(super) fn read(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    match reader.peek_word() {
        Some(Word::Password) => return Intent::Write(WriteKind::Account),
        Some(Word::Default) => {
            // SET DEFAULT ROLE ... TO user
            return Intent::Write(WriteKind::Account);
        }
        Some(Word::Role) => {
            reader.skip_part();
            effects.sets_role(reader.bytes(reader.part()));
            return Intent::SessionState;
        }
        Some(Word::Resource) => {
            effects.begins(PinReason::ResourceGroup, None);
            return Intent::SessionState;
        }
        Some(_) | None => {}
    }
    loop {
        item(reader, effects);
        if !skip_to_comma(reader) {
            return Intent::SessionState;
        }
    }
}

/// One item of the list, up to its value.
fn item(reader: &mut Reader<'_>, effects: &mut Effects) {
    let scope = scope(reader);
    let Some(token) = reader.peek() else { return };
    match token.kind {
        TokenKind::UserVariable => user_variable(token, reader, effects),
        TokenKind::SystemVariable => {
            reader.next();
            system_variable(reader.bytes(token.span), reader, effects);
        }
        TokenKind::Word(Word::Names | Word::Charset | Word::Character) => {
            effects.add(Effect::SetsTracked);
            effects.add(Effect::SetsReading);
        }
        TokenKind::Word(Word::Transaction) => transaction(scope, effects),
        TokenKind::Word(_) | TokenKind::Quoted => {
            let name = reader.take_name();
            match name {
                Some(name) if !reader.peek_is(b'.') => variable(scope, name, reader, effects),
                Some(_) | None => effects.begins(PinReason::UntrackedVariable, None),
            }
        }
        TokenKind::Text
        | TokenKind::Number
        | TokenKind::Assign
        | TokenKind::Placeholder
        | TokenKind::Semicolon
        | TokenKind::Punctuation(_)
        | TokenKind::Broken => effects.begins(PinReason::UntrackedVariable, None),
    }
}

fn scope(reader: &mut Reader<'_>) -> Scope {
    match reader.take_any(&[Word::Global, Word::Persist, Word::PersistOnly, Word::Session, Word::Local]) {
        Some(Word::Session | Word::Local) => Scope::Session,
        Some(_) => Scope::Server,
        None => Scope::Default,
    }
}

fn transaction(scope: Scope, effects: &mut Effects) {
    match scope {
        Scope::Default => effects.begins(PinReason::NextTransaction, None),
        Scope::Session => effects.add(Effect::SetsTracked),
        Scope::Server => server_wide(effects),
    }
}

fn server_wide(effects: &mut Effects) {
    effects.add(Effect::SetsGlobal);
    effects.add(Effect::Writes);
}

/// `@@name`, `@@session.name`, `@@global.name`.
fn system_variable(text: &[u8], reader: &mut Reader<'_>, effects: &mut Effects) {
    let text = text.strip_prefix(b"@@").unwrap_or(text);
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let is = |name: &[u8]| first.eq_ignore_ascii_case(name);
    match second {
        Some(name) if is(b"session") || is(b"local") => variable(Scope::Session, name, reader, effects),
        Some(_) if is(b"global") || is(b"persist") || is(b"persist_only") => server_wide(effects),
        Some(_) => effects.begins(PinReason::UntrackedVariable, None),
        // Without a scope these two mean the next transaction only.
        None if is(b"transaction_isolation") || is(b"transaction_read_only") => {
            effects.begins(PinReason::NextTransaction, None);
        }
        None => variable(Scope::Default, first, reader, effects),
    }
}

fn variable(scope: Scope, name: &[u8], reader: &mut Reader<'_>, effects: &mut Effects) {
    if scope == Scope::Server {
        server_wide(effects);
        return;
    }
    reader.take_assignment();
    match variables::variable(name) {
        Variable::Tracked => effects.add(Effect::SetsTracked),
        Variable::Autocommit => {
            effects.add(Effect::SetsTracked);
            effects.add(Effect::SetsAutocommit);
            effects.add(Effect::MayCommit);
        }
        Variable::Reading => {
            effects.add(Effect::SetsTracked);
            effects.add(Effect::SetsReading);
        }
        Variable::Tracker => effects.add(Effect::UsesTrackers),
        Variable::InsertId => effects.add(Effect::SetsLastInsertId),
        Variable::Untracked => effects.begins(PinReason::UntrackedVariable, None),
    }
}

/// `@name = value`: replayable if the value is one literal.
fn user_variable(name: Token, reader: &mut Reader<'_>, effects: &mut Effects) {
    reader.next();
    if !reader.take_assignment() {
        effects.begins(PinReason::UserVariable, None);
        return;
    }
    match literal(reader) {
        Some(span) => effects.assigns(reader.bytes(name.span), reader.bytes(span)),
        None => effects.begins(PinReason::UserVariable, None),
    }
}

/// One literal with nothing behind it but a comma or the end.
fn literal(reader: &mut Reader<'_>) -> Option<Span> {
    let first = reader.peek()?;
    if reader.peek_is(b'-') || reader.peek_is(b'+') {
        reader.next();
    }
    let value = reader.peek()?;
    let plain = match value.kind {
        TokenKind::Number | TokenKind::Word(Word::Null | Word::True | Word::False) => true,
        TokenKind::Text => first == value,
        TokenKind::Word(_)
        | TokenKind::Quoted
        | TokenKind::UserVariable
        | TokenKind::SystemVariable
        | TokenKind::Assign
        | TokenKind::Placeholder
        | TokenKind::Semicolon
        | TokenKind::Punctuation(_)
        | TokenKind::Broken => false,
    };
    if !plain {
        return None;
    }
    reader.next();
    let alone = reader.peek().is_none() || reader.peek_is(b',');
    alone.then_some(Span { start: first.span.start, end: value.span.end })
}

/// Moves behind the next comma outside parentheses; false at the end of the statement.
fn skip_to_comma(reader: &mut Reader<'_>) -> bool {
    let mut depth = 0u32;
    while let Some(token) = reader.next() {
        match token.kind {
            TokenKind::Punctuation(b'(') => depth += 1,
            TokenKind::Punctuation(b')') => depth = depth.saturating_sub(1),
            TokenKind::Punctuation(b',') if depth == 0 => return true,
            TokenKind::Word(_)
            | TokenKind::Quoted
            | TokenKind::Text
            | TokenKind::Number
            | TokenKind::UserVariable
            | TokenKind::SystemVariable
            | TokenKind::Assign
            | TokenKind::Placeholder
            | TokenKind::Semicolon
            | TokenKind::Punctuation(_)
            | TokenKind::Broken => {}
        }
    }
    false
}
