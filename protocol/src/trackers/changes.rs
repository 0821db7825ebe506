//! All changes of one OK packet, owned. Holds no more than the packet did and never interprets a value.

use std::fmt;
use std::ops::Deref;

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

/// What one OK packet told about the session; nothing in most, which owns no memory and is a pointer to copy: the answer to
/// every statement carries one through the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionChanges(Option<Box<Changes>>);

/// What [`SessionChanges`] hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
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

/// What an OK packet without trackers told.
static NOTHING: Changes = Changes {
    system_variables: Vec::new(),
    schema: None,
    state_changed: false,
    gtids: None,
    transaction_characteristics: None,
    transaction_state: None,
};

impl Deref for SessionChanges {
    type Target = Changes;

    fn deref(&self) -> &Changes {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl SessionChanges {
    /// Reads the block of an OK packet ([`crate::OkPacket::session_changes`]).
    ///
    /// # Errors
    /// [`Malformed`] if it is cut off or not in its form. Unknown kinds are passed over.
    pub fn parse(block: &[u8]) -> Result<Self, Malformed> {
        if block.is_empty() {
            return Ok(Self(None));
        }
        let changes = Changes::parse(block)?;
        Ok(if changes == NOTHING { Self(None) } else { Self(Some(Box::new(changes))) })
    }

    /// Whether nothing was told.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes in what a later OK of the same answer told; the later value counts.
    pub fn absorb(&mut self, later: Self) {
        let Some(later) = later.0 else { return };
        match &mut self.0 {
            Some(all) => all.absorb(*later),
            nothing => *nothing = Some(later),
        }
    }
}

impl Changes {
    fn parse(block: &[u8]) -> Result<Self, Malformed> {
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

    fn absorb(&mut self, later: Self) {
        self.system_variables.extend(later.system_variables);
        self.state_changed |= later.state_changed;
        self.schema = later.schema.or(self.schema.take());
        self.gtids = later.gtids.or(self.gtids.take());
        self.transaction_characteristics =
            later.transaction_characteristics.or(self.transaction_characteristics.take());
        self.transaction_state = later.transaction_state.or(self.transaction_state.take());
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
    use super::*;

    #[test]
    fn what_a_later_ok_tells_counts_and_what_it_does_not_tell_stays() {
        let told = |changes| SessionChanges(Some(Box::new(changes)));
        let mut all = SessionChanges::default();
        all.absorb(SessionChanges::default());
        assert!(all.is_empty() && !all.state_changed && all.gtids.is_none());
        let variable = |name: &[u8]| VariableChange { name: name.into(), value: b"1".as_slice().into() };
        all.absorb(told(Changes {
            system_variables: vec![variable(b"a")],
            schema: Some(b"one".as_slice().into()),
            gtids: Some(b"x:1".as_slice().into()),
            ..Changes::default()
        }));
        all.absorb(told(Changes {
            system_variables: vec![variable(b"b")],
            gtids: Some(b"x:1-2".as_slice().into()),
            state_changed: true,
            ..Changes::default()
        }));
        all.absorb(SessionChanges::default());
        assert_eq!(all.system_variables, [variable(b"a"), variable(b"b")]);
        assert_eq!((all.schema.as_deref(), all.gtids.as_deref()), (Some(&b"one"[..]), Some(&b"x:1-2"[..])));
        assert!(all.state_changed);
    }

    #[test]
    fn kinds_that_are_not_known_are_nothing() {
        assert!(SessionChanges::parse(b"").unwrap().is_empty());
        assert!(SessionChanges::parse(b"\x63\x02ab").unwrap().is_empty());
        assert!(SessionChanges::parse(b"\x63\x09ab").is_err());
    }
}
