//! A session's prepared statements: the ids the client knows, and where each statement is prepared.
//!
//! A client's id stays the same for the life of the statement; the server ids behind it change with every
//! backend connection. The bound parameter types are remembered, because a client sends them only with its
//! first execution and a new connection has never seen them (MaxScale MXS-2521).
//!
//! Never here: I/O, packets.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use sluice_protocol::command::BoundTypes;
use sluice_routing::intent::Statement;

use super::state::Settings;

/// Most prepared statements of one session; the next one gets MySQL's own error 1461. The server's default
/// for all sessions together is 16382.
pub(crate) const MAX_STATEMENTS: usize = 16_382;
/// Most bytes that the texts of one session's prepared statements may have together; over it the same error.
/// Ten thousand statements of an object mapper have a tenth of it.
const MAX_TEXT: usize = 64 << 20;
/// Bound types that take more bytes than this are not remembered per connection but sent each time.
const MAX_TYPES: usize = 4096;

/// One prepared statement of the client.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Its text.
    pub(crate) text: Arc<[u8]>,
    /// The session's state when it was prepared: names and literals read as they did then.
    pub(crate) meaning: Arc<Settings>,
    /// What it is found by on a connection.
    pub(crate) key: StatementKey,
    /// What it is, classified once.
    pub(crate) statement: Statement,
    /// How many parameters it has.
    pub(crate) parameters: u16,
    /// The types that were bound last, as the client sent them.
    pub(crate) types: Option<BoundTypes>,
    /// The connection with the open cursor or the pending long data of this statement, if any.
    pub(crate) attached: Attached,
}

/// A text with all that decides its meaning, as a keyed hash: 128 bits of a secret of this process, so that
/// nobody can aim at a collision and connections need not keep texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StatementKey(u128);

static SECRETS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

impl StatementKey {
    /// The key of `text` in a session with these settings.
    pub(crate) fn new(text: &[u8], meaning: &Settings) -> Self {
        Self::hashed(|hasher| {
            hasher.write(text);
            meaning.hash_reading(hasher);
        })
    }

    /// The same for one client's statement alone: with a cursor or long data it can't be shared.
    pub(crate) fn alone(self, client_id: u32) -> Self {
        Self::hashed(|hasher| {
            hasher.write_u128(self.0);
            hasher.write_u32(client_id);
        })
    }

    fn hashed(write: impl Fn(&mut std::hash::DefaultHasher)) -> Self {
        let [high, low] = SECRETS.each_ref().map(|secret| {
            let mut hasher = secret.build_hasher();
            write(&mut hasher);
            u128::from(hasher.finish())
        });
        Self(high << 64 | low)
    }
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
    text_bytes: usize,
}

/// There are [`MAX_STATEMENTS`] already, or [`MAX_TEXT`] bytes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Statements {
    /// The id that the next statement will have; its text has this many bytes.
    pub(crate) fn next_id(&self, text: usize) -> Result<u32, TooMany> {
        if self.by_id.len() >= MAX_STATEMENTS || self.text_bytes.saturating_add(text) > MAX_TEXT {
            return Err(TooMany);
        }
        let mut id = self.last_id.wrapping_add(1);
        // 0xFFFFFFFF means "the one prepared last" to MariaDB's clients; 0 is never given by a server.
        while id == 0 || id == u32::MAX || self.by_id.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        Ok(id)
    }

    /// Bytes of all texts together.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The id that a client means: 0xFFFFFFFF, in MariaDB's words, is the statement prepared last.
    pub(crate) fn resolve(&self, id: u32) -> u32 {
        if id == u32::MAX { self.last_id } else { id }
    }

    /// Remembers a statement that a server has accepted.
    pub(crate) fn insert(&mut self, id: u32, statement: Prepared) {
        self.last_id = id;
        self.text_bytes += statement.text.len();
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
        let removed = self.by_id.remove(&id)?;
        self.text_bytes -= removed.text.len();
        Some(removed)
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
        self.text_bytes = 0;
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

/// What is prepared on one backend connection, by any of its users. Bounded: the least recently used goes.
#[derive(Debug, Default)]
pub(crate) struct ServerStatements {
    by_key: HashMap<StatementKey, OnServer>,
    clock: u64,
    closing: Vec<u32>,
}

#[derive(Debug)]
struct OnServer {
    id: u32,
    /// The parameter types that this connection was told last.
    types: Option<BoundTypes>,
    used: u64,
    /// A cursor or long data is on it: it stays.
    kept: bool,
}

impl ServerStatements {
    /// The server's id of a statement.
    pub(crate) fn get(&mut self, key: StatementKey) -> Option<u32> {
        self.clock += 1;
        let known = self.by_key.get_mut(&key)?;
        known.used = self.clock;
        Some(known.id)
    }

    /// A statement was prepared; beyond `limit` another one is closed.
    pub(crate) fn insert(&mut self, key: StatementKey, id: u32, kept: bool, limit: usize) {
        self.clock += 1;
        let known = OnServer { id, types: None, used: self.clock, kept };
        if let Some(before) = self.by_key.insert(key, known) {
            self.closing.push(before.id);
        }
        while self.by_key.len() > limit {
            let others = self.by_key.iter().filter(|(other, known)| **other != key && !known.kept);
            let Some(oldest) = others.min_by_key(|(_, known)| known.used).map(|(key, _)| *key) else { break };
            self.close(oldest);
        }
    }

    /// Forgets a statement; the server is told with the next command.
    pub(crate) fn close(&mut self, key: StatementKey) {
        if let Some(known) = self.by_key.remove(&key) {
            self.closing.push(known.id);
        }
    }

    /// Whether this connection has been told just these parameter types last.
    pub(crate) fn knows_types(&self, key: StatementKey, types: Option<&BoundTypes>) -> bool {
        self.by_key.get(&key).is_some_and(|known| known.types.is_some() && known.types.as_ref() == types)
    }

    /// These parameter types were sent.
    pub(crate) fn told_types(&mut self, key: StatementKey, types: Option<&BoundTypes>) {
        if let Some(known) = self.by_key.get_mut(&key)
            && known.types.as_ref() != types
        {
            known.types = types.filter(|types| types.footprint() <= MAX_TYPES).cloned();
        }
    }

    /// Whether ids are to be closed at the server.
    pub(crate) fn has_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// The server's ids to be closed, once.
    pub(crate) fn take_closing(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.closing)
    }

    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::super::state::SessionState;
    use super::*;

    fn key(text: &str) -> StatementKey {
        StatementKey::new(text.as_bytes(), SessionState::default().settings())
    }

    #[test]
    fn the_least_recently_used_statement_goes_and_one_with_a_cursor_stays() {
        let mut statements = ServerStatements::default();
        statements.insert(key("cursor").alone(1), 1, true, 2);
        statements.insert(key("a"), 2, false, 2);
        statements.insert(key("b"), 3, false, 2);
        assert_eq!((statements.len(), statements.take_closing()), (2, vec![2]));
        assert_eq!(statements.get(key("cursor").alone(1)), Some(1));
        assert_eq!(statements.get(key("cursor")), None);
        statements.insert(key("b"), 4, false, 2);
        assert_eq!(statements.take_closing(), [3], "prepared again under another id");
    }

    #[test]
    fn a_text_means_something_else_in_another_schema_or_mode() {
        let mut other = SessionState::after_login(Some(b"app".to_vec()));
        let in_app = StatementKey::new(b"SELECT 1", other.settings());
        assert_ne!(key("SELECT 1"), in_app);
        other.set_variable("lock_wait_timeout", b"10").unwrap();
        assert_eq!(StatementKey::new(b"SELECT 1", other.settings()), in_app);
        for (name, value) in
            [("sql_mode", "ANSI_QUOTES"), ("time_zone", "+00:00"), ("default_week_format", "3")]
        {
            let before = StatementKey::new(b"SELECT 1", other.settings());
            other.set_variable(name, value.as_bytes()).unwrap();
            assert_ne!(StatementKey::new(b"SELECT 1", other.settings()), before, "{name}");
        }
    }
}
