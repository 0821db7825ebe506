//! Statements that read: queries in parentheses, EXPLAIN; and the column list of INSERT.
//!
//! This file must never promise more than the verb allows.

use super::reader::Reader;
use super::{Intent, PrimaryNeed, WriteKind, verb};
use crate::effects::Effects;
use crate::lexer::{TokenKind, Word};

const QUERY: [Word; 4] = [Word::Select, Word::Table, Word::Values, Word::With];

/// A statement that begins with `(`: a query, or nothing known.
pub(super) fn parenthesised(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    while reader.take_byte(b'(') {}
    match reader.take_any(&QUERY) {
        Some(_) => Intent::HarmlessRead,
        None => verb::not_recognised(effects),
    }
}

/// `EXPLAIN`, `DESCRIBE`, `DESC`, from behind that word.
pub(super) fn explain(reader: &mut Reader<'_>) -> Intent {
    let mut runs = false;
    loop {
        match reader.peek_word() {
            Some(Word::Analyze) => {
                runs = true;
                reader.next();
            }
            Some(Word::Extended | Word::Partitions) => _ = reader.next(),
            Some(Word::Format) => {
                // FORMAT = JSON
                reader.next();
                if reader.take_byte(b'=') {
                    reader.next();
                }
            }
            Some(Word::For) => {
                reader.next();
                if reader.take_any(&[Word::Schema, Word::Database]).is_none() {
                    // FOR CONNECTION
                    return Intent::NeedsPrimary(PrimaryNeed::ExplainsOther);
                }
                reader.next();
            }
            Some(Word::Into) => {
                // EXPLAIN FORMAT=JSON INTO @variable
                reader.next();
                reader.next();
            }
            Some(Word::Insert | Word::Replace | Word::Update | Word::Delete) => {
                return if runs {
                    Intent::Write(WriteKind::Data)
                } else {
                    Intent::NeedsPrimary(PrimaryNeed::ExplainsOther)
                };
            }
            // A query or the name of a table.
            Some(_) | None => return Intent::HarmlessRead,
        }
    }
}

/// `INSERT ... INTO t (a, b)`: a name before this `(` is no call.
pub(super) fn insert(reader: &mut Reader<'_>) {
    const MODIFIERS: usize = 4;
    for _ in 0..MODIFIERS {
        if reader.take(Word::Into) {
            break;
        }
        // LOW_PRIORITY, DELAYED, HIGH_PRIORITY, IGNORE; or the table itself, without INTO.
        reader.expect_columns();
        match reader.peek().map(|token| token.kind) {
            Some(TokenKind::Word(Word::Other)) => _ = reader.next(),
            _ => break,
        }
    }
    table_with_columns(reader);
}

/// `t (a, b)`, `schema.t (a, b)`: a name that may have a list of columns behind it.
pub(super) fn table_with_columns(reader: &mut Reader<'_>) {
    reader.expect_columns();
    reader.take_name();
    if reader.take_byte(b'.') {
        reader.expect_columns();
        reader.take_name();
    }
}
