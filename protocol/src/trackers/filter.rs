//! Which trackers a client is to see. A value only; never changes a packet itself.

use std::sync::Arc;

use super::Tracker;
use crate::{Malformed, Reader, StatusFlags};

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
    /// That an explicit transaction began or ended, once each, and nothing of what is done in it: what a server tells
    /// under `session_track_transaction_info = OFF`, the default (seen on 9.7.4).
    Marks {
        /// Whether the client was told that one is open.
        open: bool,
    },
    /// Every one.
    All,
}

/// What one OK packet says about explicit transactions to a client that is told the marks only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing.
    Nothing,
    /// One began.
    Began,
    /// The open one ended.
    Ended,
    /// The open one ended and another began: servers mark the packet and say nothing (seen on 9.7.4).
    Another,
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
            transactions: TransactionStates::Marks { open: within },
        }
    }

    /// Everything passes, also kinds not known here.
    #[must_use]
    pub const fn everything() -> Self {
        Self { kinds: u8::MAX, variables: VariableFilter::All, transactions: TransactionStates::All }
    }

    /// Whether this is [`Self::everything`].
    pub(crate) const fn shows_all(&self) -> bool {
        self.kinds == u8::MAX
    }

    /// Nothing passes.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            kinds: 0,
            variables: VariableFilter::ServerDefaults,
            transactions: TransactionStates::Marks { open: false },
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

    /// The same, with these transaction states passing.
    #[must_use]
    pub fn with_transactions(mut self, transactions: TransactionStates) -> Self {
        self.transactions = transactions;
        self.with(Self::TRANSACTION_STATE)
    }

    /// Takes in what the changes of one packet say about explicit transactions.
    pub(crate) fn mark(&mut self, block: &[u8]) -> Result<Mark, Malformed> {
        let TransactionStates::Marks { open } = &mut self.transactions else { return Ok(Mark::Nothing) };
        let (mut explicit, mut described) = (*open, false);
        let mut reader = Reader::new(block);
        while !reader.is_empty() {
            match Tracker::read(&mut reader)? {
                Tracker::TransactionState(letters) => explicit = letters.first() == Some(&b'T'),
                Tracker::TransactionCharacteristics(text) => described = !text.is_empty(),
                Tracker::SystemVariable { .. }
                | Tracker::Schema(_)
                | Tracker::StateChange(_)
                | Tracker::Gtids(_)
                | Tracker::Unknown { .. } => {}
            }
        }
        let mark = match (*open, explicit) {
            (false, true) => Mark::Began,
            (true, false) => Mark::Ended,
            (true, true) if described => Mark::Another,
            (true, true) | (false, false) => Mark::Nothing,
        };
        *open = explicit;
        Ok(if self.kinds & Self::bit(Self::TRANSACTION_STATE) == 0 { Mark::Nothing } else { mark })
    }

    /// Whether the client is to see this change of a packet with this mark.
    pub(crate) fn passes(&self, tracker: &Tracker<'_>, mark: Mark) -> bool {
        let value_passes = match tracker {
            Tracker::SystemVariable { name, .. } => self.variables.passes(name),
            Tracker::TransactionState(_) => match self.transactions {
                TransactionStates::All => true,
                TransactionStates::Marks { .. } => matches!(mark, Mark::Began | Mark::Ended),
            },
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
