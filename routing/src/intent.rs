//! What a statement is: where it may run, and (beside it, in [`Effects`]) what it leaves behind.
//!
//! The two answers are independent. Default is the primary: a statement is a [`Intent::HarmlessRead`]
//! only if every token of it is understood and none speaks against it.
//!
//! This room must never know the session or the topology: same text and mode, same answer.

mod features;
mod forms;
mod locks;
mod read;
mod reader;
mod set;
mod settle;
mod show;
mod tables;
mod transaction;
mod verb;

use crate::effects::{Effect, Effects};
use crate::hint::Wish;
use crate::lexer::{ClientCharset, LexMode, Oddity, Span};
use crate::pin::reasons;
use crate::vouched::Vouching;
use features::Features;
use reader::Reader;

/// One COM_QUERY text or prepared statement, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Where it may run.
    pub intent: Intent,
    /// What it does beside answering.
    pub effects: Effects,
    /// Where its sender wants it, as far as its intent allows.
    pub wish: Wish,
}

/// Where a statement may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Any instance with the same data gives the same answer, and nothing is left behind.
    HarmlessRead,
    /// Not proved harmless, for this reason.
    NeedsPrimary(PrimaryNeed),
    /// Asks about the statement before it: runs where that one ran.
    LastStatement,
    /// Exactly `SELECT CONNECTION_ID()`: the proxy answers. `column` is the text that names the column.
    ConnectionId {
        /// The expression as written, which is the column's name.
        column: Span,
    },
    /// `KILL`: ids are the proxy's.
    Kill {
        /// What is killed.
        kind: KillKind,
        /// Whom.
        target: KillTarget,
    },
    /// `BEGIN`, `START TRANSACTION`.
    TransactionStart {
        /// What the transaction may do.
        access: Access,
        /// Whether it takes its snapshot at once.
        snapshot: Snapshot,
    },
    /// `COMMIT`, `ROLLBACK`.
    TransactionEnd {
        /// Which of the two.
        end: End,
        /// What follows it.
        next: AfterEnd,
    },
    /// `SAVEPOINT`, `ROLLBACK TO`, `RELEASE SAVEPOINT`: belongs to the open transaction.
    Savepoint,
    /// `SET`, `USE`: changes the session.
    SessionState,
    /// Changes data, definitions or the server.
    Write(WriteKind),
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KillKind {
    /// The whole session (`KILL n`, `KILL CONNECTION n`).
    Connection,
    /// The statement it runs (`KILL QUERY n`).
    Query,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KillTarget {
    /// This id, as the client knows it.
    Literal(u64),
    /// Exactly `CONNECTION_ID()`: the session itself.
    Own,
    /// Something only a server can compute, or a parameter; such a statement must not be passed on. Where it stands in the
    /// text of the only statement.
    Expression(Span),
}

/// What a transaction may do, as the statement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Nothing said: as the session's default.
    Default,
    /// `READ ONLY`.
    ReadOnly,
    /// `READ WRITE`.
    ReadWrite,
}

/// Whether a transaction takes its snapshot at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Snapshot {
    /// With the first read.
    Later,
    /// `WITH CONSISTENT SNAPSHOT`.
    Now,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// `COMMIT`
    Commit,
    /// `ROLLBACK`
    Rollback,
}

/// What follows the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterEnd {
    /// Nothing said (the session's `completion_type` decides).
    Default,
    /// `AND CHAIN`: the next transaction begins at once.
    Chain,
    /// `RELEASE`: the server closes the connection.
    Release,
}

reasons! {
    /// What kind of change a write makes.
    WriteKind {
        /// INSERT, UPDATE, DELETE, REPLACE, LOAD, and queries that contain them.
        Data = "data", "It changes rows.";
        /// CREATE, ALTER, DROP, RENAME, TRUNCATE.
        Definition = "definition", "It changes definitions and commits implicitly.";
        /// CREATE TEMPORARY TABLE, DROP TEMPORARY TABLE.
        TemporaryTable = "temporary_table", "It creates or drops a temporary table.";
        /// Users, roles, privileges, passwords.
        Account = "account", "It changes accounts or privileges.";
        /// CALL.
        Call = "call", "It calls a procedure, which may do anything.";
        /// XA statements.
        Xa = "xa", "It is part of an XA transaction.";
        /// FLUSH, ANALYZE, KILL's relatives, replication, plugins, CLONE, SHUTDOWN.
        Administration = "administration", "It administers the server.";
    }
}

reasons! {
    /// Why a statement that isn't a plain write still needs the primary.
    PrimaryNeed {
        /// Nothing but white space and comments.
        Empty = "empty", "There is no statement in the text.";
        /// The first word begins no statement that is known.
        NotRecognised = "not_recognised", "The statement is not one that can be proved harmless.";
        /// See [`Oddity::Unterminated`] and [`Oddity::NulByte`].
        Malformed = "malformed", "A string, comment or character in the text is malformed.";
        /// See [`Oddity::VersionComment`], [`Oddity::NumberIntoWord`], [`Oddity::QuoteInHint`].
        ReadDifferently = "read_differently", "Server versions may read the text differently.";
        /// See [`ClientCharset::TrailBytes`].
        Charset = "charset", "Text in this client character set is not read.";
        /// Longer than the part that was looked at.
        TooLong = "too_long", "The text is too long to be read whole.";
        /// A comment asks for the primary.
        Hint = "hint", "A comment in the text asks for the primary.";
        /// Several statements in one text.
        SeveralStatements = "several_statements", "The text has several statements.";
        /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
        LockingRead = "locking_read", "It locks what it reads.";
        /// SELECT ... INTO.
        Into = "into", "It stores its result with INTO.";
        /// A user variable is read or assigned.
        UserVariable = "user_variable", "It uses a user variable.";
        /// A system variable is read.
        SystemVariable = "system_variable", "It reads a system variable, which may differ between servers.";
        /// A function that is not native.
        UnknownFunction = "unknown_function", "It calls a function that is not known to be harmless.";
        /// A function about the server.
        ServerFunction = "server_function", "It calls a function whose answer differs between servers.";
        /// GET_LOCK and its relatives.
        LockFunction = "lock_function", "It takes, tests or releases locks by function.";
        /// LAST_INSERT_ID().
        LastInsertId = "last_insert_id", "It uses LAST_INSERT_ID(), which the primary knows.";
        /// CONNECTION_ID() within something larger.
        ConnectionId = "connection_id", "It uses CONNECTION_ID() within a larger statement.";
        /// A sequence of MariaDB.
        Sequence = "sequence", "It advances a sequence.";
        /// SQL_CALC_FOUND_ROWS.
        FoundRows = "found_rows", "SQL_CALC_FOUND_ROWS ties the next statement to this one.";
        /// performance_schema, sys, mysql, and server tables of information_schema.
        ServerSchema = "server_schema", "It reads tables that differ between servers.";
        /// SHOW about the server.
        ServerShow = "server_show", "It shows the state of one server.";
        /// EXPLAIN of a write or of another connection.
        ExplainsOther = "explains_other", "It explains a write or another connection's statement.";
        /// PREPARE, EXECUTE, DEALLOCATE in SQL.
        TextStatement = "text_statement", "It uses a statement prepared with SQL PREPARE.";
        /// HANDLER.
        Handler = "handler", "It uses HANDLER.";
        /// A prepared statement with a cursor or long data.
        Attached = "attached", "A cursor or long data stays on its connection.";
        /// LOCK TABLES, LOCK INSTANCE and their ends.
        TableLocks = "table_locks", "It takes or releases table or instance locks.";
    }
}

/// Classifies one text.
///
/// `sql` is the text of a COM_QUERY or COM_STMT_PREPARE without its command byte and attributes.
#[must_use]
pub fn classify(sql: &[u8], mode: LexMode) -> Statement {
    classified(sql, mode, None)
}

/// The same where the owner vouches for some stored functions.
#[must_use]
pub fn classify_vouching(sql: &[u8], mode: LexMode, vouching: Vouching<'_>) -> Statement {
    classified(sql, mode, Some(vouching).filter(|vouching| !vouching.functions.is_empty()))
}

fn classified(sql: &[u8], mode: LexMode, vouching: Option<Vouching<'_>>) -> Statement {
    // Without a byte above ASCII there is no character of two bytes.
    if mode.charset == ClientCharset::TrailBytes && !sql.is_ascii() {
        return Statement::unread(PrimaryNeed::Charset);
    }
    let mut reader = Reader::new(sql, mode, vouching);
    let Some(mut statement) = part(&mut reader) else {
        return oddity_need(reader.oddity())
            .map_or_else(|| Statement::needs_primary(PrimaryNeed::Empty), Statement::unread);
    };
    while let Some(further) = part(&mut reader) {
        statement.effects.merge(further.effects);
        statement.intent = Intent::NeedsPrimary(PrimaryNeed::SeveralStatements);
    }
    if let Some(need) = oddity_need(reader.oddity()) {
        // Code may hide where we saw none.
        statement.effects.add(Effect::Unprovable);
        statement.effects.add(Effect::MayCommit);
        statement.distrust(need);
    }
    statement.wishes(reader.wish());
    statement
}

impl Statement {
    /// A text of which only the beginning was looked at: never harmless, and anything may have happened.
    #[must_use]
    pub fn too_long(beginning: &[u8], mode: LexMode) -> Self {
        let mut statement = classify(beginning, mode);
        statement.effects.add(Effect::Unprovable);
        statement.effects.add(Effect::MayCommit);
        statement.distrust(PrimaryNeed::TooLong);
        statement
    }

    /// A text that was not looked at.
    fn unread(need: PrimaryNeed) -> Self {
        let mut statement = Self::needs_primary(need);
        statement.effects.add(Effect::Unprovable);
        statement.effects.add(Effect::MayCommit);
        statement
    }

    /// A statement without a text: a command that runs where statements of this intent run and leaves nothing behind.
    #[must_use]
    pub fn of(intent: Intent) -> Self {
        Self { intent, effects: Effects::default(), wish: Wish::Rules }
    }

    /// Takes note of a wish. The strongest one stands; another place is had only by what is proved harmless or would be but for
    /// an answer that differs between servers.
    pub fn wishes(&mut self, wish: Wish) {
        self.wish = self.wish.max(wish);
        match (self.wish, self.intent) {
            (Wish::Primary, _) => self.distrust(PrimaryNeed::Hint),
            (Wish::Replica | Wish::Last, Intent::NeedsPrimary(need))
                if need.only_differs() && self.effects.change_nothing() =>
            {
                self.intent = Intent::HarmlessRead;
            }
            (Wish::Replica | Wish::Rules | Wish::Last, _) => {}
        }
    }

    /// What this is, taken for a harmless read, now that a replica refused it as a write: something that runs code which the
    /// text doesn't show.
    #[must_use]
    pub fn refused_as_write(&self) -> Self {
        let mut statement = self.clone();
        statement.effects.add(Effect::Unprovable);
        statement.effects.add(Effect::MayCommit);
        statement.wishes(Wish::Primary);
        statement
    }

    fn needs_primary(need: PrimaryNeed) -> Self {
        Self::of(Intent::NeedsPrimary(need))
    }

    /// Takes back what was proved, where that matters.
    fn distrust(&mut self, need: PrimaryNeed) {
        match self.intent {
            Intent::HarmlessRead
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::SessionState
            | Intent::Savepoint
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. } => self.intent = Intent::NeedsPrimary(need),
            Intent::NeedsPrimary(_) | Intent::Kill { .. } | Intent::Write(_) => {}
        }
    }
}

impl PrimaryNeed {
    /// Whether the statement is harmless, and needs the primary only because another server may answer differently.
    const fn only_differs(self) -> bool {
        match self {
            Self::SystemVariable | Self::ServerFunction | Self::ServerSchema | Self::ServerShow => true,
            Self::Empty
            | Self::NotRecognised
            | Self::Malformed
            | Self::ReadDifferently
            | Self::Charset
            | Self::TooLong
            | Self::Hint
            | Self::SeveralStatements
            | Self::LockingRead
            | Self::Into
            | Self::UserVariable
            | Self::UnknownFunction
            | Self::LockFunction
            | Self::LastInsertId
            | Self::ConnectionId
            | Self::Sequence
            | Self::FoundRows
            | Self::ExplainsOther
            | Self::TextStatement
            | Self::Handler
            | Self::Attached
            | Self::TableLocks => false,
        }
    }
}

fn oddity_need(oddity: Option<Oddity>) -> Option<PrimaryNeed> {
    oddity.map(|oddity| match oddity {
        Oddity::Unterminated | Oddity::NulByte => PrimaryNeed::Malformed,
        Oddity::VersionComment | Oddity::NumberIntoWord | Oddity::QuoteInHint => PrimaryNeed::ReadDifferently,
    })
}

/// Classifies the next statement of the text; `None` when only blanks and comments are left.
fn part(reader: &mut Reader<'_>) -> Option<Statement> {
    let first = reader.begin_part()?;
    let mut effects = Effects::default();
    let intent = verb::read(first, reader, &mut effects);
    reader.skip_part();
    let intent = settle::settle(intent, reader, &mut effects);
    if let Intent::Write(kind) = intent {
        effects.add(Effect::MayCommit);
        if kind != WriteKind::TemporaryTable {
            effects.add(Effect::Writes);
        }
    }
    Some(Statement { intent, effects, wish: Wish::Rules })
}
