//! Locks taken by statements, HANDLER and FLUSH.
//!
//! This file must never let a lock be taken without its pin.
#![allow(clippy::wildcard_enum_match_arm, reason = "keywords not named here are one case: not that one")]

use super::reader::Reader;
use super::{Intent, PrimaryNeed, WriteKind};
use crate::effects::{Effect, Effects};
use crate::lexer::{TokenKind, Word};
use crate::pin::PinReason;

/// A statement that begins with LOCK, UNLOCK, HANDLER or FLUSH.
pub(super) fn read(word: Word, reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    match word {
        Word::Handler => handler(reader, effects),
        Word::Flush => flush(reader, effects),
        Word::Unlock => {
            if reader.take(Word::Instance) {
                effects.ends(PinReason::InstanceLock, None);
            } else {
                effects.add(Effect::MayCommit);
                effects.ends(PinReason::TableLocks, None);
                effects.ends(PinReason::GlobalReadLock, None);
            }
            Intent::NeedsPrimary(PrimaryNeed::TableLocks)
        }
        _ => {
            if reader.take(Word::Instance) {
                effects.begins(PinReason::InstanceLock, None);
            } else {
                effects.add(Effect::MayCommit);
                effects.begins(PinReason::TableLocks, None);
            }
            Intent::NeedsPrimary(PrimaryNeed::TableLocks)
        }
    }
}

/// `HANDLER t OPEN [AS a]`, `HANDLER a CLOSE`, `HANDLER a READ ...`.
fn handler(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    let mut name = reader.take_name();
    if reader.take_byte(b'.') {
        name = reader.take_name();
    }
    match reader.take_any(&[Word::Open, Word::Close, Word::Read]) {
        Some(Word::Open) => {
            reader.take(Word::As);
            let name = if reader.peek().is_some() { reader.take_name() } else { name };
            effects.begins(PinReason::Handler, name.map(Into::into));
        }
        Some(Word::Close) => {
            if let Some(name) = name {
                effects.ends(PinReason::Handler, Some(name.into()));
            }
        }
        Some(_) => {}
        None => effects.begins(PinReason::Handler, None),
    }
    Intent::NeedsPrimary(PrimaryNeed::Handler)
}

/// `FLUSH TABLES [t, ...] WITH READ LOCK`, `... FOR EXPORT` hold locks; other forms hold none.
fn flush(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    while reader.take_any(&[Word::Local]).is_some() {}
    if reader.take_any(&[Word::Tables, Word::Table]).is_some() {
        let all = reader.peek_word() == Some(Word::With);
        let mut locks = false;
        while let Some(token) = reader.next() {
            locks |= matches!(token.kind, TokenKind::Word(Word::Read | Word::For));
        }
        if locks {
            let reason = if all { PinReason::GlobalReadLock } else { PinReason::TableLocks };
            effects.begins(reason, None);
        }
    }
    Intent::Write(WriteKind::Administration)
}
