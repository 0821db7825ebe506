//! What is known of a backend connection beside what is set on it.
//!
//! Never here: I/O.

/// Whether a connection may have state that is not on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// No.
    Nothing,
    /// It has to be reset before another session uses it.
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

/// Whose user variables may be on a connection. One that was set and is NULL again is not as if it had never been: it
/// has a type. And triggers set some that nobody hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variables {
    /// None were set since the login or a reset.
    Nobodys,
    /// The session's that has it.
    ThisSessions,
    /// Another session's as well, and none of this session's that could not be set again.
    Others,
    /// Another session's, and some of this one's that only this server knows.
    Both,
}

impl Variables {
    /// The session has set some; `hidden`: which, nobody knows.
    pub(crate) const fn set(self, hidden: bool) -> Self {
        match self {
            Self::Nobodys | Self::ThisSessions => Self::ThisSessions,
            Self::Others if hidden => Self::Both,
            Self::Others => Self::Others,
            Self::Both => Self::Both,
        }
    }

    /// Another session gets the connection.
    pub(super) const fn handed_on(self) -> Self {
        match self {
            Self::Nobodys => Self::Nobodys,
            Self::ThisSessions | Self::Others | Self::Both => Self::Others,
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
