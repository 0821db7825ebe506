//! What a statement does to the session and the server beyond its answer.
//!
//! This file must never decide where a statement goes.

use crate::pin::PinReason;

/// The most changes of one statement that are listed by name. Beyond it they are only counted as "some",
/// which pins until a reset: a list is kept per session and must stay small.
pub(crate) const MAX_CHANGES: usize = 32;

/// The longest user variable literal that is kept for replaying, in bytes.
const MAX_LITERAL: usize = 1024;

/// Something a statement may do. Predicted from the text: too many is safe, too few is a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It writes data, definitions or server state: the replica listener refuses it.
    Writes,
    /// When it was sent and no answer came, something may have been committed.
    MayCommit,
    /// It runs code that the text doesn't show (CALL, EXECUTE, stored functions): before another session
    /// gets the connection it must be reset.
    Unprovable,
    /// The text has several statements.
    SeveralStatements,
    /// The current schema changes.
    ChangesSchema,
    /// Session variables that the servers report are set.
    SetsTracked,
    /// As above, and text after it may be read differently (sql_mode, character sets).
    SetsReading,
    /// `session_track_...` variables, which Sluice needs for itself, are set or shown: the client's own have to be there.
    UsesTrackers,
    /// `autocommit` is set.
    SetsAutocommit,
    /// `GLOBAL` or `PERSIST` variables are set.
    SetsGlobal,
    /// `LAST_INSERT_ID(n)` or `SET last_insert_id`.
    SetsLastInsertId,
    /// `SQL_CALC_FOUND_ROWS`: a FOUND_ROWS() on the same connection will follow.
    CountsFoundRows,
    /// The value of a user variable is read: nobody else may have set it.
    ReadsUserVariable,
    /// A table is renamed: what is known of temporary tables by name isn't any more.
    RenamesTables,
    /// Who may log in, with what, or into which schema, is different afterwards (accounts, roles and privileges;
    /// DROP DATABASE).
    ChangesAccess,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 15] = [
        Self::Writes,
        Self::MayCommit,
        Self::Unprovable,
        Self::SeveralStatements,
        Self::ChangesSchema,
        Self::SetsTracked,
        Self::SetsReading,
        Self::UsesTrackers,
        Self::SetsAutocommit,
        Self::SetsGlobal,
        Self::SetsLastInsertId,
        Self::CountsFoundRows,
        Self::ReadsUserVariable,
        Self::RenamesTables,
        Self::ChangesAccess,
    ];

    /// The stable label for `sluice explain route` and tests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::MayCommit => "may_commit",
            Self::Unprovable => "unprovable",
            Self::SeveralStatements => "several_statements",
            Self::ChangesSchema => "changes_schema",
            Self::SetsTracked => "sets_tracked",
            Self::SetsReading => "sets_reading",
            Self::UsesTrackers => "uses_trackers",
            Self::SetsAutocommit => "sets_autocommit",
            Self::SetsGlobal => "sets_global",
            Self::SetsLastInsertId => "sets_last_insert_id",
            Self::CountsFoundRows => "counts_found_rows",
            Self::ReadsUserVariable => "reads_user_variable",
            Self::RenamesTables => "renames_tables",
            Self::ChangesAccess => "changes_access",
        }
    }
}

/// A pin that begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinChange {
    /// It begins. Without a name it can't be counted and lasts until it is ended as a whole, or a reset.
    Begins(PinReason, Option<Name>),
    /// It ends: for this name, or (`None`) altogether. Believed only when the server said OK.
    Ends(PinReason, Option<Name>),
}

/// The name of a temporary table, lock, handler or text statement, as far as texts can be compared.
pub type Name = Box<[u8]>;

/// `SET @name = literal`, kept so that it can be replayed on another connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The variable with its `@` and quotes as written.
    pub name: Box<[u8]>,
    /// The literal as written.
    pub literal: Box<[u8]>,
}

/// Everything one statement does beside answering. Empty for a plain read; then it owns no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    set: u32,
    pins: Vec<PinChange>,
    assignments: Vec<Assignment>,
    role: Option<Box<[u8]>>,
}

impl Effects {
    /// Whether the statement may do this.
    #[must_use]
    pub fn has(&self, effect: Effect) -> bool {
        self.set & bit(effect) != 0
    }

    /// Whether the statement does nothing beside answering.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Whether the statement leaves everything as it was: it may still use the client's trackers.
    pub(crate) fn change_nothing(&self) -> bool {
        let mut others = self.clone();
        others.set &= !bit(Effect::UsesTrackers);
        others.is_empty()
    }

    /// All effects, in the order of the enum.
    pub fn iter(&self) -> impl Iterator<Item = Effect> + '_ {
        Effect::ALL.into_iter().filter(|&effect| self.has(effect))
    }

    /// Pins that begin or end, in the order of the text.
    #[must_use]
    pub fn pins(&self) -> &[PinChange] {
        &self.pins
    }

    /// Whether a pin for one of these reasons begins.
    pub(crate) fn begins_any(&self, reasons: &[PinReason]) -> bool {
        self.pins
            .iter()
            .any(|change| matches!(change, PinChange::Begins(reason, _) if reasons.contains(reason)))
    }

    /// User variables that get a literal value, in the order of the text.
    #[must_use]
    pub fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// The text of `SET ROLE ...`, to be replayed on other connections of the session.
    #[must_use]
    pub fn role(&self) -> Option<&[u8]> {
        self.role.as_deref()
    }

    /// Whether the session is expected to be another afterwards.
    pub(crate) fn touch_session(&self) -> bool {
        let of_data = bit(Effect::Writes) | bit(Effect::MayCommit);
        self.set & !of_data != 0
            || !self.pins.is_empty()
            || !self.assignments.is_empty()
            || self.role.is_some()
    }

    pub(crate) fn add(&mut self, effect: Effect) {
        self.set |= bit(effect);
    }

    pub(crate) fn begins(&mut self, reason: PinReason, name: Option<Name>) {
        let name = if self.pins.len() < MAX_CHANGES { name } else { None };
        let change = PinChange::Begins(reason, name);
        if !self.pins.contains(&change) {
            self.pins.push(change);
        }
    }

    pub(crate) fn ends(&mut self, reason: PinReason, name: Option<Name>) {
        if self.pins.len() < MAX_CHANGES {
            self.pins.push(PinChange::Ends(reason, name));
        }
    }

    /// Keeps the assignment of a literal, or pins if it is too much to keep.
    pub(crate) fn assigns(&mut self, name: &[u8], literal: &[u8]) {
        if self.assignments.len() < MAX_CHANGES && name.len() + literal.len() <= MAX_LITERAL {
            self.assignments.push(Assignment { name: name.into(), literal: literal.into() });
        } else {
            self.begins(PinReason::UserVariable, None);
        }
    }

    pub(crate) fn sets_role(&mut self, text: &[u8]) {
        if text.len() <= MAX_LITERAL {
            self.role = Some(text.into());
        } else {
            self.begins(PinReason::Role, None);
        }
    }

    /// Takes in the effects of a further statement of the same text. Which of them ran can't be known
    /// afterwards, so nothing ends.
    pub(crate) fn merge(&mut self, other: Self) {
        self.set |= other.set;
        self.add(Effect::SeveralStatements);
        for change in std::mem::take(&mut self.pins).into_iter().chain(other.pins) {
            if let PinChange::Begins(reason, name) = change {
                self.begins(reason, name);
            }
        }
        if self.role.take().is_some() || other.role.is_some() {
            self.begins(PinReason::Role, None);
        }
        if !self.assignments.is_empty() || !other.assignments.is_empty() {
            self.assignments.clear();
            self.begins(PinReason::UserVariable, None);
        }
        let reads_change = [Effect::SetsReading, Effect::UsesTrackers].iter().any(|&e| self.has(e));
        if reads_change {
            // What follows in the text may have been cut differently by the server.
            self.add(Effect::Unprovable);
        }
    }
}

const fn bit(effect: Effect) -> u32 {
    1 << effect as u32
}
