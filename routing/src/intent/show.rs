//! SHOW: what is the same on every instance, what tells about one server, what about the last statement.
//!
//! This file must never take a SHOW that it doesn't know for harmless.
#![allow(clippy::wildcard_enum_match_arm, reason = "keywords not named here are one case: not that one")]

use super::reader::Reader;
use super::{Intent, PrimaryNeed};
use crate::effects::{Effect, Effects};
use crate::lexer::Word;

/// `SHOW`, from behind that word.
pub(super) fn read(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    while reader.take_any(&[Word::Full, Word::Extended]).is_some() {}
    let server = Intent::NeedsPrimary(PrimaryNeed::ServerShow);
    let Some(kind) = reader.peek_word() else { return server };
    reader.next();
    match kind {
        Word::Tables
        | Word::Columns
        | Word::Fields
        | Word::Index
        | Word::Indexes
        | Word::Keys
        | Word::Databases
        | Word::Schemas
        | Word::Charset
        | Word::Character
        | Word::Collation
        | Word::Triggers
        | Word::Privileges
        | Word::Grants => Intent::HarmlessRead,
        Word::Table | Word::Function | Word::Procedure if reader.take(Word::Status) => Intent::HarmlessRead,
        Word::Create if reader.take_any(&CREATED).is_some() => Intent::HarmlessRead,
        Word::Warnings | Word::Errors => Intent::LastStatement,
        Word::Count if counts_diagnostics(reader) => Intent::LastStatement,
        Word::Variables => {
            effects.add(Effect::UsesTrackers);
            server
        }
        Word::Session | Word::Local if reader.take(Word::Variables) => {
            effects.add(Effect::UsesTrackers);
            server
        }
        _ => server,
    }
}

/// What SHOW CREATE shows alike on all instances. Events differ: a replica has them disabled.
const CREATED: [Word; 7] =
    [Word::Table, Word::View, Word::Database, Word::Schema, Word::Procedure, Word::Function, Word::Trigger];

/// `SHOW COUNT(*) WARNINGS | ERRORS`.
fn counts_diagnostics(reader: &mut Reader<'_>) -> bool {
    reader.take_byte(b'(')
        && reader.take_byte(b'*')
        && reader.take_byte(b')')
        && reader.take_any(&[Word::Warnings, Word::Errors]).is_some()
}
