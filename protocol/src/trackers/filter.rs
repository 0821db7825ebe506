//! Which trackers a client is to see. A value only; never changes a packet itself.

use std::sync::Arc;

use super::Tracker;
use crate::StatusFlags;

/// Variables that `session_track_system_variables` names by default.
const DEFAULT_VARIABLES: [&[u8]; 5] = [
    b"time_zone",
    b"autocommit",
    b"character_set_client",
    b"character_set_results",
    b"character_set_connection",
];

/// Which system variables a client is told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableFilter {
    /// Those of the server's default setting.
    ServerDefaults,
    /// Every one.
    All,
    /// These, in lower case.
    Named(Arc<[Box<[u8]>]>),
}

impl VariableFilter {
    fn passes(&self, name: &[u8]) -> bool {
        match self {
            Self::ServerDefaults => DEFAULT_VARIABLES.iter().any(|v| v.eq_ignore_ascii_case(name)),
            Self::All => true,
            Self::Named(names) => names.iter().any(|v| v.eq_ignore_ascii_case(name)),
        }
    }
}

/// Which transaction states a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStates {
    /// That an explicit transaction began: outside of a transaction a server tells no more under
    /// `session_track_transaction_info = OFF`, the default (seen on 9.7.4).
    Beginnings,
    /// Also that it ended: what a server tells by default within one.
    Boundaries,
    /// Every one.
    All,
}

impl TransactionStates {
    fn passes(self, letters: &[u8]) -> bool {
        match self {
            Self::Beginnings => letters == b"T_______",
            Self::Boundaries => matches!(letters, b"T_______" | b"________"),
            Self::All => true,
        }
    }
}

/// The trackers that the client itself asked for. What this project switched on for itself on a backend connection
/// stops here. Applies only to clients with `SESSION_TRACK`; others are told nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerFilter {
    /// One bit per kind, by its number.
    kinds: u8,
    variables: VariableFilter,
    transactions: TransactionStates,
}

impl TrackerFilter {
    /// Kind number of a system variable.
    pub const SYSTEM_VARIABLE: u8 = 0;
    /// Kind number of the schema.
    pub const SCHEMA: u8 = 1;
    /// Kind number of the state change mark.
    pub const STATE_CHANGE: u8 = 2;
    /// Kind number of GTIDs.
    pub const GTIDS: u8 = 3;
    /// Kind number of the transaction characteristics.
    pub const TRANSACTION_CHARACTERISTICS: u8 = 4;
    /// Kind number of the transaction state.
    pub const TRANSACTION_STATE: u8 = 5;

    /// What a server with default settings tells a session in this state: schema, five variables, and when an
    /// explicit transaction begins or ends.
    #[must_use]
    pub const fn server_defaults(status: StatusFlags) -> Self {
        let within = status.contains(StatusFlags::IN_TRANS);
        Self {
            kinds: 1 << Self::SYSTEM_VARIABLE | 1 << Self::SCHEMA | 1 << Self::TRANSACTION_STATE,
            variables: VariableFilter::ServerDefaults,
            transactions: if within { TransactionStates::Boundaries } else { TransactionStates::Beginnings },
        }
    }

    /// Everything passes, also kinds not known here.
    #[must_use]
    pub const fn everything() -> Self {
        Self { kinds: u8::MAX, variables: VariableFilter::All, transactions: TransactionStates::All }
    }

    /// Nothing passes.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            kinds: 0,
            variables: VariableFilter::ServerDefaults,
            transactions: TransactionStates::Beginnings,
        }
    }

    /// The same, with this kind passing.
    #[must_use]
    pub fn with(mut self, kind: u8) -> Self {
        self.kinds |= Self::bit(kind);
        self
    }

    /// The same, with this kind stopped.
    #[must_use]
    pub fn without(mut self, kind: u8) -> Self {
        self.kinds &= !Self::bit(kind);
        self
    }

    /// The same, with these variables passing.
    #[must_use]
    pub fn with_variables(mut self, variables: VariableFilter) -> Self {
        self.variables = variables;
        self.with(Self::SYSTEM_VARIABLE)
    }

    /// Whether the client is to see this change.
    #[must_use]
    pub fn passes(&self, tracker: &Tracker<'_>) -> bool {
        let value_passes = match tracker {
            Tracker::SystemVariable { name, .. } => self.variables.passes(name),
            Tracker::TransactionState(letters) => self.transactions.passes(letters),
            Tracker::Schema(_)
            | Tracker::StateChange(_)
            | Tracker::Gtids(_)
            | Tracker::TransactionCharacteristics(_)
            | Tracker::Unknown { .. } => true,
        };
        value_passes && self.kinds & Self::bit(tracker.kind()) != 0
    }

    /// Kinds from 7 on share the last bit, which only [`Self::everything`] sets unasked.
    const fn bit(kind: u8) -> u8 {
        1 << if kind < 7 { kind } else { 7 }
    }
}

impl Default for TrackerFilter {
    fn default() -> Self {
        Self::server_defaults(StatusFlags::AUTOCOMMIT)
    }
}
