//! What a statement means for a read-only transaction that runs on a replica.
//!
//! Such a transaction may stay there only as long as it leaves nothing of the session behind there: a lock taken on a
//! replica keeps nobody out, and state that can't be moved would keep the session where it can never write again.
//!
//! This file must never move a transaction that has read: its snapshot is that of its server.

use crate::effects::Effect;
use crate::intent::{Access, AfterEnd, Intent, PrimaryNeed, Snapshot, Statement, WriteKind};
use crate::pin::PinReason;
use crate::session_facts::SessionFacts;

/// Whether a read-only transaction has seen anything of its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// It has only begun: it could as well have begun elsewhere.
    Nothing,
    /// Its snapshot may be taken.
    #[default]
    Something,
}

impl Seen {
    /// What holds after this statement, within the transaction that is open by then.
    #[must_use]
    pub fn after(self, statement: &Statement) -> Self {
        match statement.intent {
            Intent::TransactionStart { snapshot: Snapshot::Later, .. } => Self::Nothing,
            Intent::TransactionEnd { next: AfterEnd::Chain | AfterEnd::Default, .. } => Self::Nothing,
            Intent::SessionState | Intent::LastStatement | Intent::ConnectionId { .. } => self,
            Intent::TransactionStart { snapshot: Snapshot::Now, .. }
            | Intent::TransactionEnd { next: AfterEnd::Release, .. }
            | Intent::HarmlessRead
            | Intent::NeedsPrimary(_)
            | Intent::Kill { .. }
            | Intent::Savepoint
            | Intent::Write(_) => Self::Something,
        }
    }
}

/// What becomes of the transaction when this statement comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on where it is, and the statement runs there.
    Stays,
    /// The statement ends it, and runs where it would without it.
    Ends,
    /// It begins anew on the primary, and the statement runs there.
    Moves,
    /// It goes on, and the statement gets MySQL's 1792.
    Refuses,
    /// It can neither take the statement nor move: it is rolled back, and those that follow run on the primary.
    RollsBack,
}

/// The fate of a read-only transaction on a replica that has seen so much, in a session with these facts, when this
/// statement comes.
#[must_use]
pub fn fate(statement: &Statement, seen: Seen, facts: &SessionFacts) -> Fate {
    let locks = statement.effects.begins_any(&[PinReason::TableLocks, PinReason::GlobalReadLock]);
    let several = statement.effects.has(Effect::SeveralStatements);
    let ties = facts.would_tie(statement) || needs_primary_among_others(statement);
    match statement.intent {
        // Without a word about it, what begins within a read-only transaction is read-only (seen on 9.7.4).
        Intent::TransactionStart { access: Access::Default, .. } => Fate::Moves,
        Intent::TransactionStart { access: Access::ReadOnly | Access::ReadWrite, .. }
        | Intent::Write(WriteKind::Definition | WriteKind::Account) => Fate::Ends,
        Intent::NeedsPrimary(need) if locks && need != PrimaryNeed::SeveralStatements => Fate::Ends,
        Intent::Write(_) if locks => Fate::Ends,
        Intent::HarmlessRead
        | Intent::LastStatement
        | Intent::ConnectionId { .. }
        | Intent::Kill { .. }
        | Intent::TransactionEnd { .. }
        | Intent::Savepoint
        // What they leave goes with their cursor or their execution.
        | Intent::NeedsPrimary(PrimaryNeed::Attached) => Fate::Stays,
        Intent::SessionState if !ties => Fate::Stays,
        // What it asks for is brought along, or is about this very server.
        Intent::NeedsPrimary(_) if !ties && !statement.effects.has(Effect::Unprovable) => Fate::Stays,
        Intent::SessionState | Intent::NeedsPrimary(_) | Intent::Write(_) if seen == Seen::Nothing => Fate::Moves,
        // The first of several may end the transaction.
        Intent::Write(WriteKind::Data | WriteKind::TemporaryTable) if !several => Fate::Refuses,
        Intent::SessionState | Intent::NeedsPrimary(_) | Intent::Write(_) if ties => Fate::RollsBack,
        // A procedure or function that only reads; should it leave something, the server tells.
        Intent::SessionState | Intent::NeedsPrimary(_) | Intent::Write(_) => Fate::Stays,
    }
}

/// Whether one of several statements changes something that is not the session's alone, or ends the transaction.
fn needs_primary_among_others(statement: &Statement) -> bool {
    let effects = &statement.effects;
    effects.has(Effect::SetsGlobal)
        || (effects.has(Effect::SeveralStatements) && effects.has(Effect::MayCommit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::classify;
    use crate::lexer::LexMode;

    fn fates(sql: &str) -> [Fate; 2] {
        fates_with(sql, &SessionFacts::default())
    }

    fn fates_with(sql: &str, facts: &SessionFacts) -> [Fate; 2] {
        let statement = classify(sql.as_bytes(), LexMode::default());
        [Seen::Nothing, Seen::Something].map(|seen| fate(&statement, seen, facts))
    }

    #[test]
    fn what_reads_stays_and_what_ends_it_ends_it() {
        for sql in [
            "SELECT * FROM t",
            "SAVEPOINT a",
            "COMMIT",
            "SET @x = 1",
            "USE other",
            "SHOW WARNINGS",
            "SELECT @@server_id",
        ] {
            assert_eq!(fates(sql), [Fate::Stays; 2], "{sql}");
        }
        let ends = [
            "START TRANSACTION READ WRITE",
            "ALTER TABLE t COMMENT 'a'",
            "GRANT SELECT ON *.* TO a",
            "LOCK TABLES t READ",
        ];
        for sql in ends.into_iter().chain(["FLUSH TABLES WITH READ LOCK", "CREATE TABLE t (a INT)"]) {
            assert_eq!(fates(sql), [Fate::Ends; 2], "{sql}");
        }
    }

    #[test]
    fn what_ties_goes_to_the_primary_or_rolls_back() {
        let ties = [
            "SELECT GET_LOCK('a', 1)",
            "SELECT a INTO @x FROM t",
            "SET @x = CONCAT('a', 'b')",
            "SET GLOBAL a = 1",
        ];
        for sql in
            ties.into_iter().chain(["PREPARE s FROM 'SELECT 1'", "SET timestamp = 1", "SELECT 1; SET @x = 2"])
        {
            assert_eq!(fates(sql), [Fate::Moves, Fate::RollsBack], "{sql}");
        }
        let mut facts = SessionFacts::default();
        let assigns = classify(b"SET @x = 'a'", LexMode::default());
        facts.observe_statement(&assigns, crate::session_facts::Outcome::Done);
        assert_eq!(
            fates_with("SET sql_mode = ''", &facts),
            [Fate::Moves, Fate::RollsBack],
            "the text reads differently then"
        );
        assert_eq!(fates("SELECT 1; INSERT INTO t VALUES (1)"), [Fate::Moves, Fate::RollsBack]);
        let begins = "START TRANSACTION READ WRITE; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)";
        assert_eq!(fates(begins), [Fate::Moves, Fate::RollsBack]);
        assert_eq!(fates("SELECT 1; SELECT 2"), [Fate::Stays; 2]);
        assert_eq!(fates("SELECT f(1)"), [Fate::Moves, Fate::Stays]);
        assert_eq!(fates("BEGIN"), [Fate::Moves; 2]);
        assert_eq!(fates("CALL p()"), [Fate::Moves, Fate::Stays]);
        assert_eq!(fates("INSERT INTO t VALUES (1)"), [Fate::Moves, Fate::Refuses]);
        assert_eq!(fates("CREATE TEMPORARY TABLE a (b INT)"), [Fate::Moves, Fate::Refuses]);
    }

    #[test]
    fn a_transaction_has_seen_nothing_until_something_reads() {
        let mut seen = Seen::Something;
        for (sql, due) in [
            ("START TRANSACTION READ ONLY", Seen::Nothing),
            ("SET @x = 1", Seen::Nothing),
            ("SELECT 1", Seen::Something),
            ("COMMIT AND CHAIN", Seen::Nothing),
            ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", Seen::Something),
        ] {
            seen = seen.after(&classify(sql.as_bytes(), LexMode::default()));
            assert_eq!(seen, due, "{sql}");
        }
    }
}
