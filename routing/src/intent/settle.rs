//! The last word on a statement: what its signs take away from the verb's promise, and add to its effects.
//!
//! This file must never turn a need for the primary into a harmless read.

use super::features::{Features, Sign};
use super::reader::Reader;
use super::{Intent, PrimaryNeed, WriteKind, forms};
use crate::effects::{Effect, Effects, PinChange};
use crate::pin::PinReason;

/// The intent that stands, and the effects of what was seen anywhere in the statement.
pub(super) fn settle(promised: Intent, reader: &Reader<'_>, effects: &mut Effects) -> Intent {
    let signs = reader.features();
    if promised == Intent::HarmlessRead && signs.none() {
        // Most reads.
        return promised;
    }
    add_effects(promised, signs, reader, effects);
    if promised == Intent::NeedsPrimary(PrimaryNeed::ServerShow) {
        // A wish may send it to a replica, so a stronger need must show.
        return need_of(signs, &BEFORE_LAST_STATEMENT).map_or(promised, Intent::NeedsPrimary);
    }
    if promised != Intent::HarmlessRead {
        return promised;
    }
    if signs.has(Sign::ConnectionId)
        && let Some(column) = forms::own_connection_id(reader)
    {
        return Intent::ConnectionId { column };
    }
    if signs.has(Sign::Changes) {
        return Intent::Write(WriteKind::Data);
    }
    need_of(signs, &BEFORE_LAST_STATEMENT)
        .map(Intent::NeedsPrimary)
        .or_else(|| signs.has(Sign::LastStatement).then_some(Intent::LastStatement))
        .or_else(|| need_of(signs, &AFTER_LAST_STATEMENT).map(Intent::NeedsPrimary))
        .unwrap_or(Intent::HarmlessRead)
}

/// Needs that are stronger than asking where the last statement ran.
const BEFORE_LAST_STATEMENT: [(Sign, PrimaryNeed); 12] = [
    (Sign::Locks, PrimaryNeed::LockingRead),
    (Sign::Into, PrimaryNeed::Into),
    (Sign::AssignsInline, PrimaryNeed::UserVariable),
    (Sign::UserVariable, PrimaryNeed::UserVariable),
    (Sign::TakesLock, PrimaryNeed::LockFunction),
    (Sign::ReleasesLock, PrimaryNeed::LockFunction),
    (Sign::ReleasesAllLocks, PrimaryNeed::LockFunction),
    (Sign::ServiceLock, PrimaryNeed::LockFunction),
    (Sign::LastInsertId, PrimaryNeed::LastInsertId),
    (Sign::Sequence, PrimaryNeed::Sequence),
    (Sign::UnknownFunction, PrimaryNeed::UnknownFunction),
    (Sign::FoundRows, PrimaryNeed::FoundRows),
];

const AFTER_LAST_STATEMENT: [(Sign, PrimaryNeed); 4] = [
    (Sign::ConnectionId, PrimaryNeed::ConnectionId),
    (Sign::ServerFunction, PrimaryNeed::ServerFunction),
    (Sign::SystemVariable, PrimaryNeed::SystemVariable),
    (Sign::ServerSchema, PrimaryNeed::ServerSchema),
];

fn need_of(signs: Features, table: &[(Sign, PrimaryNeed)]) -> Option<PrimaryNeed> {
    table.iter().find(|(sign, _)| signs.has(*sign)).map(|(_, need)| *need)
}

fn add_effects(promised: Intent, signs: Features, reader: &Reader<'_>, effects: &mut Effects) {
    if promised == Intent::Write(WriteKind::Account) {
        effects.add(Effect::ChangesAccess);
    }
    if signs.has(Sign::TakesLock) {
        effects.begins(PinReason::NamedLock, forms::lock_taken(reader));
    }
    if signs.has(Sign::ReleasesLock)
        && let Some(name) = forms::lock_released(reader)
    {
        effects.ends(PinReason::NamedLock, Some(name));
    }
    if signs.has(Sign::ReleasesAllLocks) && forms::releases_all_locks(reader) {
        effects.ends(PinReason::NamedLock, None);
    }
    if signs.has(Sign::ServiceLock) {
        effects.begins(PinReason::ServiceLock, None);
    }
    if signs.has(Sign::IntoUserVariable) || signs.has(Sign::AssignsInline) {
        effects.begins(PinReason::UserVariable, None);
    }
    if signs.has(Sign::UserVariable) && !only_sets_variables(promised, effects) {
        effects.add(Effect::ReadsUserVariable);
    }
    if signs.has(Sign::FoundRows) {
        effects.add(Effect::CountsFoundRows);
    }
    if signs.has(Sign::TrackerVariable) && promised == Intent::HarmlessRead {
        effects.add(Effect::UsesTrackers);
    }
    if signs.has(Sign::SetsLastInsertId) {
        effects.add(Effect::SetsLastInsertId);
    }
    let hidden_code = signs.has(Sign::UnknownFunction) || signs.has(Sign::Sequence);
    if hidden_code && evaluates(promised) {
        effects.add(Effect::Unprovable);
        effects.add(Effect::MayCommit);
    }
}

/// Whether user variables in such a statement get literals and nothing else: of anything else only the server knows.
fn only_sets_variables(promised: Intent, effects: &Effects) -> bool {
    let unknown =
        effects.pins().iter().any(|change| matches!(change, PinChange::Begins(PinReason::UserVariable, _)));
    match promised {
        Intent::SessionState => !unknown,
        // GET DIAGNOSTICS sets them.
        Intent::LastStatement => true,
        Intent::HarmlessRead
        | Intent::NeedsPrimary(_)
        | Intent::ConnectionId { .. }
        | Intent::Kill { .. }
        | Intent::TransactionStart { .. }
        | Intent::TransactionEnd { .. }
        | Intent::Savepoint
        | Intent::Write(_) => false,
    }
}

/// Whether a name before `(` in such a statement is evaluated. In definitions it names columns and types.
fn evaluates(intent: Intent) -> bool {
    match intent {
        Intent::HarmlessRead
        | Intent::NeedsPrimary(_)
        | Intent::LastStatement
        | Intent::ConnectionId { .. }
        | Intent::Kill { .. }
        | Intent::SessionState
        | Intent::Write(WriteKind::Data | WriteKind::Call) => true,
        Intent::TransactionStart { .. }
        | Intent::TransactionEnd { .. }
        | Intent::Savepoint
        | Intent::Write(
            WriteKind::Definition
            | WriteKind::TemporaryTable
            | WriteKind::Account
            | WriteKind::Xa
            | WriteKind::Administration,
        ) => false,
    }
}
