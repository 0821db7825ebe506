//! What was predicted of a statement against what the server's answer told.
//!
//! The server's word is the truth and the session follows it; this file only notices that the prediction was another. It must
//! never change what is done.

use crate::effects::Effect;
use crate::intent::{Intent, Statement};
use crate::pin::reasons;

reasons! {
    /// How a prediction was wrong.
    Misprediction {
        /// A harmless read wrote.
        ReadWrote = "read_wrote", "A statement taken for a harmless read wrote.";
        /// A replica refused a harmless read as a write; it was repeated on the primary.
        ReadRefused = "read_refused", "A replica refused a statement taken for a harmless read.";
        /// A harmless read changed session state.
        ReadChangedState = "read_changed_state", "A statement taken for a harmless read changed the session.";
        /// A write that was not expected.
        WriteUnseen = "write_unseen", "A statement wrote that was not expected to.";
        /// A transaction that was not expected.
        TransactionUnseen = "transaction_unseen", "A statement began a transaction unexpectedly.";
        /// A change of session state that was not expected.
        StateUnseen = "state_unseen", "A statement changed the session unexpectedly.";
    }
}

/// What the answer to a statement told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Transactions were committed.
    pub wrote: Sign,
    /// A transaction is open that was not before, with autocommit on.
    pub opened_transaction: Sign,
    /// Session state changed.
    pub changed_state: Sign,
}

/// Whether an answer told something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sign {
    /// It did not.
    #[default]
    Absent,
    /// It did.
    Seen,
}

impl From<bool> for Sign {
    fn from(seen: bool) -> Self {
        if seen { Self::Seen } else { Self::Absent }
    }
}

/// In what the prediction was wrong, if in anything.
pub fn compare(statement: &Statement, observed: &Observed) -> impl Iterator<Item = Misprediction> {
    let read = statement.intent == Intent::HarmlessRead;
    let pick = |seen: Sign, expected: bool, of_read, of_other| {
        let wrong = seen == Sign::Seen && !expected;
        wrong.then_some(if read { of_read } else { of_other })
    };
    let expected = Expected::of(statement);
    [
        pick(observed.wrote, expected.write, Misprediction::ReadWrote, Misprediction::WriteUnseen),
        pick(
            observed.opened_transaction,
            expected.transaction,
            Misprediction::TransactionUnseen,
            Misprediction::TransactionUnseen,
        ),
        pick(
            observed.changed_state,
            expected.state,
            Misprediction::ReadChangedState,
            Misprediction::StateUnseen,
        ),
    ]
    .into_iter()
    .flatten()
}

/// What a statement was predicted to do.
struct Expected {
    write: bool,
    transaction: bool,
    state: bool,
}

impl Expected {
    fn of(statement: &Statement) -> Self {
        let effects = &statement.effects;
        let anything = [Effect::Unprovable, Effect::SeveralStatements, Effect::SetsAutocommit];
        let anything = anything.into_iter().any(|effect| effects.has(effect));
        let (transactional, session) = match statement.intent {
            Intent::TransactionStart { .. } | Intent::TransactionEnd { .. } | Intent::Savepoint => {
                (true, false)
            }
            Intent::SessionState => (false, true),
            Intent::Write(crate::intent::WriteKind::Xa) => (true, false),
            Intent::HarmlessRead
            | Intent::NeedsPrimary(_)
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. }
            | Intent::Write(_) => (false, false),
        };
        Self {
            write: anything || transactional || effects.has(Effect::MayCommit),
            transaction: anything || transactional,
            state: anything || session || effects.touch_session(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LexMode, classify};

    fn wrong(sql: &str, observed: Observed) -> Vec<Misprediction> {
        compare(&classify(sql.as_bytes(), LexMode::default()), &observed).collect()
    }

    #[test]
    fn what_was_expected_is_no_misprediction() {
        let all = Observed { wrote: Sign::Seen, opened_transaction: Sign::Seen, changed_state: Sign::Seen };
        for sql in ["CALL p()", "SELECT f(1)", "SELECT 1; BEGIN", "SET autocommit=0"] {
            assert_eq!(wrong(sql, all), [], "{sql}");
        }
        let state = Observed { changed_state: Sign::Seen, ..Observed::default() };
        for sql in ["SET NAMES latin1", "USE shop", "CREATE TEMPORARY TABLE t (a INT)", "SET @x=1"] {
            assert_eq!(wrong(sql, state), [], "{sql}");
        }
        let wrote = Observed { wrote: Sign::Seen, ..Observed::default() };
        for sql in ["INSERT INTO t VALUES (1)", "DROP TABLE t", "COMMIT", "ANALYZE TABLE t", "FLUSH TABLES"] {
            assert_eq!(wrong(sql, wrote), [], "{sql}");
        }
        let began = Observed { opened_transaction: Sign::Seen, ..Observed::default() };
        for sql in ["BEGIN", "COMMIT AND CHAIN", "XA START 'a'"] {
            assert_eq!(wrong(sql, began), [], "{sql}");
        }
    }

    #[test]
    fn what_was_not_expected_is_told() {
        let all = Observed { wrote: Sign::Seen, opened_transaction: Sign::Seen, changed_state: Sign::Seen };
        use Misprediction::*;
        assert_eq!(wrong("SELECT * FROM v", all), [ReadWrote, TransactionUnseen, ReadChangedState]);
        assert_eq!(wrong("SELECT 1 FOR UPDATE", all), [WriteUnseen, TransactionUnseen, StateUnseen]);
        assert_eq!(wrong("SELECT * FROM v", Observed::default()), []);
    }
}
