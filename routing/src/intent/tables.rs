//! Definitions, with an eye on temporary tables: these pin, and only these.
//!
//! This file must never end the pin of a temporary table whose name it isn't sure of.
#![allow(clippy::wildcard_enum_match_arm, reason = "keywords not named here are one case: not that one")]

use super::reader::Reader;
use super::{Intent, PrimaryNeed, WriteKind, verb};
use crate::effects::{Effect, Effects, Name};
use crate::lexer::Word;
use crate::pin::PinReason;

/// A statement that begins with CREATE, ALTER, DROP, RENAME, TRUNCATE or IMPORT.
pub(super) fn read(word: Word, reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    match word {
        Word::Create => create(reader, effects),
        Word::Drop => drop(reader, effects),
        Word::Rename if reader.take(Word::User) => Intent::Write(WriteKind::Account),
        Word::Rename => {
            effects.add(Effect::RenamesTables);
            Intent::Write(WriteKind::Definition)
        }
        Word::Alter => alter(reader, effects),
        _ => Intent::Write(WriteKind::Definition),
    }
}

fn create(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    if reader.take_any(&[Word::User, Word::Role]).is_some() {
        return Intent::Write(WriteKind::Account);
    }
    // CREATE OR REPLACE TEMPORARY TABLE is MariaDB's.
    if reader.take(Word::Other) {
        return Intent::Write(WriteKind::Definition);
    }
    if reader.peek_word() == Some(Word::Temporary) {
        reader.next();
        reader.take(Word::Table);
        if reader.take(Word::If) {
            reader.next();
            reader.take(Word::Exists);
        }
        reader.expect_columns();
        let name = table_name(reader);
        effects.begins(PinReason::TemporaryTable, name);
        return Intent::Write(WriteKind::TemporaryTable);
    }
    Intent::Write(WriteKind::Definition)
}

fn drop(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    if reader.take(Word::Prepare) {
        verb::deallocate(reader, effects);
        return Intent::NeedsPrimary(PrimaryNeed::TextStatement);
    }
    if reader.take_any(&[Word::User, Word::Role]).is_some() {
        return Intent::Write(WriteKind::Account);
    }
    if reader.take_any(&[Word::Database, Word::Schema]).is_some() {
        effects.add(Effect::ChangesAccess);
    }
    let temporary = reader.take(Word::Temporary);
    if reader.take_any(&[Word::Table, Word::Tables]).is_some() {
        if reader.take(Word::If) {
            reader.take(Word::Exists);
        }
        loop {
            if let Some(name) = table_name(reader) {
                effects.ends(PinReason::TemporaryTable, Some(name));
            }
            if !reader.take_byte(b',') {
                break;
            }
        }
    }
    Intent::Write(if temporary { WriteKind::TemporaryTable } else { WriteKind::Definition })
}

fn alter(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    if reader.peek_word() == Some(Word::User) {
        return Intent::Write(WriteKind::Account);
    }
    while let Some(token) = reader.next() {
        if token.kind == crate::lexer::TokenKind::Word(Word::Rename) {
            effects.add(Effect::RenamesTables);
        }
    }
    Intent::Write(WriteKind::Definition)
}

/// `table` or `schema.table`, as a text that can be compared.
fn table_name(reader: &mut Reader<'_>) -> Option<Name> {
    let first = reader.take_name()?;
    if !reader.take_byte(b'.') {
        return Some(first.into());
    }
    reader.expect_columns();
    let second = reader.take_name()?;
    Some([first, b".", second].concat().into())
}
