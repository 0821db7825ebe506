//! What a session does now, and where its last statement went and why: small numbers that the session stores and others
//! read.
//!
//! Never here: a decision.

use sluice_routing::decide::{PrimaryReason, RefuseReason, ReplicaReason, Route};

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// It has not proved its password yet.
    Login = 0,
    /// It waits for its client.
    Idle = 1,
    /// A command is under way.
    Running = 2,
    /// A statement waits at the gate, or for a server.
    Held = 3,
    /// A server sends its binlog to the client.
    Streaming = 4,
}

impl Activity {
    const ALL: [Self; 5] = [Self::Login, Self::Idle, Self::Running, Self::Held, Self::Streaming];

    /// The label for API answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Held => "held",
            Self::Streaming => "streaming",
        }
    }

    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Login)
    }
}

/// Where a statement went, without the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteNote {
    /// To the primary.
    Primary(PrimaryReason),
    /// To a replica.
    Replica(ReplicaReason),
    /// Nowhere.
    Refused(RefuseReason),
}

impl From<&Route> for RouteNote {
    fn from(route: &Route) -> Self {
        match route {
            Route::Primary(reason) => Self::Primary(*reason),
            Route::Replica(_, reason) => Self::Replica(*reason),
            Route::Refuse(reason) => Self::Refused(*reason),
        }
    }
}

impl RouteNote {
    /// `primary`, `replica` or `refused`.
    pub const fn to(self) -> &'static str {
        match self {
            Self::Primary(_) => "primary",
            Self::Replica(_) => "replica",
            Self::Refused(_) => "refused",
        }
    }

    /// The reason's label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Primary(reason) => reason.as_str(),
            Self::Replica(reason) => reason.as_str(),
            Self::Refused(reason) => reason.as_str(),
        }
    }

    /// The reason for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Primary(reason) => reason.sentence(),
            Self::Replica(reason) => reason.sentence(),
            Self::Refused(reason) => reason.sentence(),
        }
    }

    /// As one number that is never 0.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Primary(reason) => 0x100 | reason as u16,
            Self::Replica(reason) => 0x200 | reason as u16,
            Self::Refused(reason) => 0x300 | reason as u16,
        }
    }

    pub(super) fn from_number(number: u16) -> Option<Self> {
        let [index, role] = number.to_le_bytes();
        let index = usize::from(index);
        match role {
            1 => PrimaryReason::ALL.get(index).copied().map(Self::Primary),
            2 => ReplicaReason::ALL.get(index).copied().map(Self::Replica),
            3 => RefuseReason::ALL.get(index).copied().map(Self::Refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        let primary = PrimaryReason::ALL.iter().copied().map(RouteNote::Primary);
        let replica = ReplicaReason::ALL.iter().copied().map(RouteNote::Replica);
        let refused = RefuseReason::ALL.iter().copied().map(RouteNote::Refused);
        for note in primary.chain(replica).chain(refused) {
            assert_eq!(RouteNote::from_number(note.number()), Some(note));
        }
        assert_eq!(RouteNote::from_number(0), None);
        for activity in Activity::ALL {
            assert_eq!(Activity::from_number(activity as u8), activity);
        }
    }
}
