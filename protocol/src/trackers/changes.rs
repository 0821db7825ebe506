//! All changes of one OK packet, owned. Holds no more than the packet did and never interprets a value.

use std::fmt;

use super::Tracker;
use crate::{GtidError, GtidSet, Malformed, Reader};

/// A system variable that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableChange {
    /// Its name, as the server spells it.
    pub name: Box<[u8]>,
    /// Its value as text.
    pub value: Box<[u8]>,
}

/// What one OK packet told about the session; empty in most. An empty value owns no memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionChanges {
    /// Variables that were set, in the order told. A value may be what it was before.
    pub system_variables: Vec<VariableChange>,
    /// The default schema, empty for none.
    pub schema: Option<Box<[u8]>>,
    /// Whether some state of the session changed that may not be told otherwise.
    pub state_changed: bool,
    /// The text of the GTIDs committed; cumulative within one command, so the last one told counts.
    pub gtids: Option<Box<[u8]>>,
    /// Statements that begin the transaction under way again; empty once it ended.
    pub transaction_characteristics: Option<Box<[u8]>>,
    /// What the transaction under way has done.
    pub transaction_state: Option<TransactionState>,
}

impl SessionChanges {
    /// Reads the block of an OK packet ([`crate::OkPacket::session_changes`]).
    ///
    /// # Errors
    /// [`Malformed`] if it is cut off or not in its form. Unknown kinds are passed over.
    pub fn parse(block: &[u8]) -> Result<Self, Malformed> {
        let mut changes = Self::default();
        let mut reader = Reader::new(block);
        while !reader.is_empty() {
            match Tracker::read(&mut reader)? {
                Tracker::SystemVariable { name, value } => {
                    changes.system_variables.push(VariableChange { name: name.into(), value: value.into() });
                }
                Tracker::Schema(name) => changes.schema = Some(name.into()),
                Tracker::StateChange(value) => changes.state_changed |= value != b"0",
                Tracker::Gtids(text) => changes.gtids = Some(text.into()),
                Tracker::TransactionCharacteristics(text) => {
                    changes.transaction_characteristics = Some(text.into());
                }
                Tracker::TransactionState(letters) => {
                    changes.transaction_state = Some(TransactionState::new(letters));
                }
                Tracker::Unknown { .. } => {}
            }
        }
        Ok(changes)
    }

    /// Whether nothing was told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The GTIDs as a set; `None` if none were told.
    ///
    /// # Errors
    /// [`GtidError`] if the server's text is no GTID set.
    pub fn gtid_set(&self) -> Option<Result<GtidSet, GtidError>> {
        let text = self.gtids.as_deref()?;
        Some(
            std::str::from_utf8(text)
                .map_err(|e| GtidError::Uuid { at: e.valid_up_to() })
                .and_then(str::parse),
        )
    }
}

/// The letters of the transaction state tracker: `T`/`I`/`_` (explicit, implicit, none), then unsafe reads,
/// reads, unsafe writes, writes, unsafe statements, result sets sent and LOCK TABLES, each `_` if not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionState([u8; 8]);

impl TransactionState {
    /// From the letters on the wire; missing ones count as `_`.
    #[must_use]
    pub fn new(letters: &[u8]) -> Self {
        let mut state = [b'_'; 8];
        state.iter_mut().zip(letters).for_each(|(to, from)| *to = *from);
        Self(state)
    }

    /// The eight letters.
    #[must_use]
    pub const fn letters(&self) -> &[u8; 8] {
        &self.0
    }

    /// Whether a transaction is open, begun by a statement or by use with autocommit off.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        let [begun, ..] = self.0;
        matches!(begun, b'T' | b'I')
    }

    /// Whether anything was written in it, to tables with or without transactions.
    #[must_use]
    pub const fn has_written(&self) -> bool {
        let [_, _, _, unsafe_write, write, ..] = self.0;
        unsafe_write != b'_' || write != b'_'
    }

    /// Whether LOCK TABLES is in force.
    #[must_use]
    pub const fn tables_locked(&self) -> bool {
        let [.., locked] = self.0;
        locked != b'_'
    }
}

impl fmt::Debug for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
