//! What is known of a backend connection beside what is set on it.
//!
//! Never here: I/O.

/// Whether a connection may have state that is not on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// No.
    Nothing,
    /// A write ran on it, and what a trigger leaves (a temporary table, a lock, a user variable) servers tell nobody. It
    /// has to be reset before another session uses it.
    OfTriggers,
    /// The same of code that the session ran itself. With its session gone nobody uses it any more.
    Possible,
}

/// What becomes of the active roles when a connection is reset, which leaves them alone by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Roles {
    /// As after the login.
    OfLogin,
    /// They stay.
    AsTheyAre,
}

/// Whose statement ran last on a connection, for what asks about it (SHOW WARNINGS, ROW_COUNT()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastUser {
    /// The session that has it.
    ThisSession,
    /// Another one.
    Another,
}

/// Who has used a connection since its login or a reset, and may have left what nobody is told of: a read calls a function
/// through a view, which sets a user variable; and one that was set and is NULL again is not as if it had never been: it
/// has a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// Nobody.
    Nobody,
    /// Only the session that has it.
    ThisSession,
    /// Others as well.
    Others,
}

impl Users {
    /// The session has run a statement.
    pub(crate) const fn used(self) -> Self {
        match self {
            Self::Nobody | Self::ThisSession => Self::ThisSession,
            Self::Others => Self::Others,
        }
    }

    /// Another session gets the connection.
    pub(crate) const fn handed_on(self) -> Self {
        match self {
            Self::Nobody => Self::Nobody,
            Self::ThisSession | Self::Others => Self::Others,
        }
    }
}

/// Whose session trackers are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trackers {
    /// Our own.
    Ours,
    /// The client's, for one statement and what is asked about it.
    Lent,
    /// The client's, and those of ours that tell of variables, schema and other state.
    LentWithOurs,
}
