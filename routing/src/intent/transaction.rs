//! Transaction control and XA.
//!
//! This file must never keep track of a transaction: the server's status flags do.
#![allow(clippy::wildcard_enum_match_arm, reason = "keywords not named here are one case: not that one")]

use super::reader::Reader;
use super::{Access, AfterEnd, End, Intent, PrimaryNeed, Snapshot, WriteKind, verb};
use crate::effects::{Effect, Effects};
use crate::lexer::Word;
use crate::pin::PinReason;

/// A statement that begins with one of BEGIN, START, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, XA.
pub(super) fn read(word: Word, reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    match word {
        Word::Begin => {
            reader.take(Word::Work);
            if reader.peek().is_some() {
                // BEGIN NOT ATOMIC and the like.
                return verb::not_recognised(effects);
            }
            starts(Access::Default, Snapshot::Later, effects)
        }
        Word::Start if reader.take(Word::Transaction) => {
            let (access, snapshot) = characteristics(reader);
            starts(access, snapshot, effects)
        }
        Word::Start => Intent::Write(WriteKind::Administration),
        Word::Commit => ends(End::Commit, reader, effects),
        Word::Rollback => {
            reader.take(Word::Work);
            if reader.take(Word::To) { Intent::Savepoint } else { ends(End::Rollback, reader, effects) }
        }
        Word::Savepoint => Intent::Savepoint,
        Word::Release if reader.take(Word::Savepoint) => Intent::Savepoint,
        Word::Xa => xa(reader, effects),
        _ => verb::not_recognised(effects),
    }
}

/// A transaction start commits an open one and lets go of LOCK TABLES.
fn starts(access: Access, snapshot: Snapshot, effects: &mut Effects) -> Intent {
    effects.add(Effect::MayCommit);
    effects.ends(PinReason::TableLocks, None);
    Intent::TransactionStart { access, snapshot }
}

fn characteristics(reader: &mut Reader<'_>) -> (Access, Snapshot) {
    let mut access = Access::Default;
    let mut snapshot = Snapshot::Later;
    loop {
        match reader.take_any(&[Word::With, Word::Read]) {
            Some(Word::With) => snapshot = Snapshot::Now,
            Some(_) if reader.take(Word::Only) => access = Access::ReadOnly,
            Some(_) => access = Access::ReadWrite,
            None => {
                if reader.next().is_none() {
                    return (access, snapshot);
                }
            }
        }
    }
}

fn ends(end: End, reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    effects.add(Effect::MayCommit);
    effects.ends(PinReason::NextTransaction, None);
    let mut next = AfterEnd::Default;
    let mut negated = false;
    while reader.peek().is_some() {
        match reader.take_any(&[Word::No, Word::Chain, Word::Release]) {
            Some(Word::No) => negated = true,
            Some(Word::Chain) if !negated => next = AfterEnd::Chain,
            Some(Word::Release) if !negated => next = AfterEnd::Release,
            Some(_) => negated = false,
            None => _ = reader.next(),
        }
    }
    Intent::TransactionEnd { end, next }
}

fn xa(reader: &mut Reader<'_>, effects: &mut Effects) -> Intent {
    match reader.peek_word() {
        Some(Word::Recover) => return Intent::NeedsPrimary(PrimaryNeed::ServerShow),
        Some(Word::Commit | Word::Rollback) => effects.ends(PinReason::Xa, None),
        Some(_) | None => effects.begins(PinReason::Xa, None),
    }
    Intent::Write(WriteKind::Xa)
}
