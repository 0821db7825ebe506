//! The first word of a statement decides who reads the rest.
//!
//! This file must never know more of a verb than which family it belongs to.
#![allow(clippy::wildcard_enum_match_arm, reason = "keywords not named here are one case: not that one")]

use super::reader::Reader;
use super::{
    Intent, KillKind, KillTarget, PrimaryNeed, WriteKind, locks, read, set, show, tables, transaction,
};
use crate::effects::{Effect, Effects};
use crate::lexer::{Span, Token, TokenKind, Word};
use crate::pin::PinReason;

/// Reads a statement from behind its first token. What it promises may be taken back by what is seen later.
pub(super) fn read(first: Token, reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    match first.kind {
        TokenKind::Word(word) => statement(word, reader, effects),
        TokenKind::Punctuation(b'(') => read::parenthesised(reader, effects),
        TokenKind::Broken => Intent::NeedsPrimary(PrimaryNeed::Malformed),
        TokenKind::Quoted
        | TokenKind::Text
        | TokenKind::Number
        | TokenKind::UserVariable
        | TokenKind::SystemVariable
        | TokenKind::Assign
        | TokenKind::Placeholder
        | TokenKind::Semicolon
        | TokenKind::Punctuation(_) => not_recognised(effects),
    }
}

fn statement(word: Word, reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    match word {
        Word::Select | Word::Table | Word::Values | Word::With | Word::Do | Word::Help => {
            Intent::HarmlessRead
        }
        Word::Checksum => Intent::HarmlessRead,
        Word::Explain | Word::Desc | Word::Describe => read::explain(reader),
        Word::Show => show::read(reader, effects),
        Word::Insert | Word::Replace => {
            read::insert(reader);
            Intent::Write(WriteKind::Data)
        }
        Word::Update | Word::Delete => Intent::Write(WriteKind::Data),
        Word::Load => load(reader, effects),
        Word::Set => set::read(reader, effects),
        Word::Use => {
            effects.add(Effect::ChangesSchema);
            Intent::SessionState
        }
        Word::Begin
        | Word::Start
        | Word::Commit
        | Word::Rollback
        | Word::Savepoint
        | Word::Release
        | Word::Xa => transaction::read(word, reader, effects),
        Word::Create | Word::Alter | Word::Drop | Word::Rename | Word::Truncate | Word::Import => {
            tables::read(word, reader, effects)
        }
        Word::Prepare | Word::Execute | Word::Deallocate => text_statement(word, reader, effects),
        Word::Lock | Word::Unlock | Word::Handler | Word::Flush => locks::read(word, reader, effects),
        Word::Kill => kill(reader),
        Word::Get => {
            effects.begins(PinReason::UserVariable, None);
            Intent::LastStatement
        }
        Word::Call => {
            effects.add(Effect::Unprovable);
            Intent::Write(WriteKind::Call)
        }
        Word::Grant | Word::Revoke => Intent::Write(WriteKind::Account),
        _ if administers(word) => Intent::Write(WriteKind::Administration),
        _ => not_recognised(effects),
    }
}

fn administers(word: Word) -> bool {
    matches!(
        word,
        Word::Analyze
            | Word::Optimize
            | Word::Repair
            | Word::Check
            | Word::Cache
            | Word::Reset
            | Word::Purge
            | Word::Change
            | Word::Stop
            | Word::Install
            | Word::Uninstall
            | Word::Clone
            | Word::Shutdown
            | Word::Restart
            | Word::Binlog
            | Word::Backup
    )
}

/// Something newer than this list, or nothing a server accepts: it may do anything.
pub(super) fn not_recognised(effects: &mut Effects) -> Intent {
    effects.add(Effect::Unprovable);
    effects.add(Effect::MayCommit);
    Intent::NeedsPrimary(PrimaryNeed::NotRecognised)
}

/// `LOAD DATA ... (@a, b)` assigns user variables.
fn load(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    if reader.take(Word::Index) {
        return Intent::Write(WriteKind::Administration);
    }
    while let Some(token) = reader.next() {
        match token.kind {
            TokenKind::UserVariable => effects.begins(PinReason::UserVariable, None),
            TokenKind::Word(Word::Table) => read::table_with_columns(reader),
            _ => {}
        }
    }
    Intent::Write(WriteKind::Data)
}

/// `PREPARE s FROM ...`, `EXECUTE s`, `DEALLOCATE PREPARE s`.
fn text_statement(word: Word, reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    if word == Word::Execute {
        effects.add(Effect::Unprovable);
        effects.add(Effect::MayCommit);
        return Intent::NeedsPrimary(PrimaryNeed::TextStatement);
    }
    if word == Word::Deallocate {
        reader.take(Word::Prepare);
        deallocate(reader, effects);
    } else {
        let name = reader.take_name().map(|name| name.to_ascii_lowercase().into());
        effects.begins(PinReason::TextStatement, name);
    }
    Intent::NeedsPrimary(PrimaryNeed::TextStatement)
}

/// The name behind `DEALLOCATE PREPARE` or `DROP PREPARE`.
pub(super) fn deallocate(reader: &mut Reader<'_>, effects: &mut Effects) {
    if let Some(name) = reader.take_name() {
        effects.ends(PinReason::TextStatement, Some(name.to_ascii_lowercase().into()));
    }
}

/// `KILL [CONNECTION | QUERY] id`.
fn kill(reader: &mut Reader<'_>) -> Intent {
    reader.expect_columns();
    let kind = match reader.take_any(&[Word::Query, Word::Connection]) {
        Some(Word::Query) => KillKind::Query,
        _ => KillKind::Connection,
    };
    Intent::Kill { kind, target: kill_target(reader) }
}

fn kill_target(reader: &mut Reader<'_>) -> KillTarget {
    let Some(token) = reader.next() else { return KillTarget::Expression(Span::default()) };
    let at_end = reader.peek().is_none();
    match token.kind {
        TokenKind::Number if at_end => {
            if let Some(id) = number(reader.bytes(token.span)) {
                return KillTarget::Literal(id);
            }
        }
        TokenKind::Word(Word::ConnectionId)
            if reader.take_byte(b'(') && reader.take_byte(b')') && reader.peek().is_none() =>
        {
            return KillTarget::Own;
        }
        _ => {}
    }
    reader.skip_part();
    KillTarget::Expression(Span { start: token.span.start, end: reader.part().end })
}

/// A whole number, decimal or `0x`.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}
