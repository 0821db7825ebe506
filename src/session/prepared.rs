//! A session's prepared statements: the ids the client knows, and where each statement is prepared.
//!
//! A client's id stays the same for the life of the statement; the server ids behind it change with every
//! backend connection. The bound parameter types are remembered, because a client sends them only with its
//! first execution and a new connection has never seen them (MaxScale MXS-2521).
//!
//! Never here: I/O, packets.

use std::collections::HashMap;

use sluice_protocol::command::BoundTypes;
use sluice_routing::intent::Statement;

/// Most prepared statements of one session; the next one gets MySQL's own error 1461. The server's default
/// for all sessions together is 16382.
pub(crate) const MAX_STATEMENTS: usize = 16_382;

/// One prepared statement of the client.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Its text.
    pub(crate) text: Vec<u8>,
    /// What it is, classified once.
    pub(crate) statement: Statement,
    /// How many parameters it has.
    pub(crate) parameters: u16,
    /// The types that were bound last, as the client sent them.
    pub(crate) types: Option<BoundTypes>,
    /// The connection with the open cursor or the pending long data of this statement, if any.
    pub(crate) attached: Attached,
}

/// What of a statement lives on one connection only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    /// Nothing.
    Nothing,
    /// COM_STMT_SEND_LONG_DATA was sent.
    LongData,
    /// A cursor is open.
    Cursor,
}

/// The statements of a session by the client's id.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    by_id: HashMap<u32, Prepared>,
    last_id: u32,
}

/// There are [`MAX_STATEMENTS`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Statements {
    /// The id that the next statement will have.
    pub(crate) fn next_id(&self) -> Result<u32, TooMany> {
        if self.by_id.len() >= MAX_STATEMENTS {
            return Err(TooMany);
        }
        let mut id = self.last_id.wrapping_add(1);
        // 0xFFFFFFFF means "the one prepared last" to MariaDB's clients; 0 is never given by a server.
        while id == 0 || id == u32::MAX || self.by_id.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        Ok(id)
    }

    /// Remembers a statement that a server has accepted.
    pub(crate) fn insert(&mut self, id: u32, statement: Prepared) {
        self.last_id = id;
        self.by_id.insert(id, statement);
    }

    /// The statement with this id.
    pub(crate) fn get(&self, id: u32) -> Option<&Prepared> {
        self.by_id.get(&id)
    }

    /// The statement with this id.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Prepared> {
        self.by_id.get_mut(&id)
    }

    /// Forgets a statement; `None` when there was none.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Prepared> {
        self.by_id.remove(&id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All statements with the client's ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Prepared)> {
        self.by_id.iter().map(|(&id, statement)| (id, statement))
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
    }

    /// Whether any statement has this attached to its connection.
    pub(crate) fn any(&self, attached: Attached) -> bool {
        self.by_id.values().any(|statement| statement.attached == attached)
    }

    /// The connection with everything attached is gone.
    pub(crate) fn forget_attached(&mut self) {
        for statement in self.by_id.values_mut() {
            statement.attached = Attached::Nothing;
        }
    }
}

/// Where the statements of a session are prepared on one backend connection.
#[derive(Debug, Default)]
pub(crate) struct ServerIds {
    by_client_id: HashMap<u32, ServerId>,
}

/// A statement on one backend connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId {
    /// The server's id.
    pub(crate) id: u32,
    /// Whether this connection has seen the parameter types.
    pub(crate) types: TypesSeen,
}

/// Whether a connection knows the parameter types of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypesSeen {
    /// Not yet: they have to be sent.
    No,
    /// An earlier execution has told them.
    Yes,
}

impl ServerIds {
    /// Where this statement is.
    pub(crate) fn get(&self, client_id: u32) -> Option<ServerId> {
        self.by_client_id.get(&client_id).copied()
    }

    /// A statement was prepared.
    pub(crate) fn insert(&mut self, client_id: u32, id: u32) {
        self.by_client_id.insert(client_id, ServerId { id, types: TypesSeen::No });
    }

    /// The parameter types of a statement were sent.
    pub(crate) fn saw_types(&mut self, client_id: u32) {
        if let Some(server_id) = self.by_client_id.get_mut(&client_id) {
            server_id.types = TypesSeen::Yes;
        }
    }

    /// Forgets a statement; returns where it was.
    pub(crate) fn remove(&mut self, client_id: u32) -> Option<ServerId> {
        self.by_client_id.remove(&client_id)
    }
}
