//! Session trackers: what a server tells in an OK packet about changes of the session's state.
//!
//! [`Tracker`] borrows one change, [`SessionChanges`] owns all of one packet, [`TrackerFilter`] says which of them
//! a client is to see. Kinds that are not known are stepped over by their length.
//!
//! This file must never decide what a change means for routing, and never trust a length it has not checked.

mod changes;
mod filter;

pub use self::changes::{Changes, SessionChanges, TransactionState, VariableChange};
pub(crate) use self::filter::Mark;
pub use self::filter::{TrackerFilter, TransactionStates, VariableFilter};

use crate::{Malformed, Reader};

/// One change, as it stands in the packet. Texts are in the server's system character set (UTF-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracker<'a> {
    /// Type 0: a system variable was set, not necessarily to another value.
    SystemVariable {
        /// Its name.
        name: &'a [u8],
        /// Its value as text.
        value: &'a [u8],
    },
    /// Type 1: the default schema.
    Schema(&'a [u8]),
    /// Type 2: some state of the session changed (`1`).
    StateChange(&'a [u8]),
    /// Type 3: the GTIDs of what was committed, as text, cumulative within one command.
    Gtids(&'a [u8]),
    /// Type 4: statements that would begin the transaction under way again; empty once it ended.
    TransactionCharacteristics(&'a [u8]),
    /// Type 5: eight letters on the transaction under way.
    TransactionState(&'a [u8]),
    /// A kind that did not exist when this was written.
    Unknown {
        /// Its number.
        kind: u8,
        /// What came with it.
        data: &'a [u8],
    },
}

impl<'a> Tracker<'a> {
    /// Takes one change off the front of the block.
    ///
    /// # Errors
    /// [`Malformed`] if the change is cut off or is not in the form of its kind.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = reader.u8()?;
        let data = reader.lenenc_bytes()?;
        let mut inner = Reader::new(data);
        Ok(match kind {
            0 => Self::SystemVariable { name: inner.lenenc_bytes()?, value: inner.lenenc_bytes()? },
            1 => Self::Schema(inner.lenenc_bytes()?),
            // Unlike the others its text has no length of its own (seen on 9.7.4).
            2 => Self::StateChange(data),
            3 => {
                if inner.u8()? != 0 {
                    return Err(Malformed::Invalid("encoding of GTIDs"));
                }
                Self::Gtids(inner.lenenc_bytes()?)
            }
            4 => Self::TransactionCharacteristics(inner.lenenc_bytes()?),
            5 => Self::TransactionState(inner.lenenc_bytes()?),
            kind => Self::Unknown { kind, data },
        })
    }

    /// The kind's number on the wire.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::SystemVariable { .. } => 0,
            Self::Schema(_) => 1,
            Self::StateChange(_) => 2,
            Self::Gtids(_) => 3,
            Self::TransactionCharacteristics(_) => 4,
            Self::TransactionState(_) => 5,
            Self::Unknown { kind, .. } => *kind,
        }
    }
}
