//! What a session has set up on its server, as a value, so that it can be rebuilt on another connection.
//!
//! The truth about variables and the schema is what the server reports in its session trackers; nothing is
//! parsed out of `SET` statements except user variables with literal values, which no tracker reports.
//! Every change gets the next version number; a backend connection remembers up to which version it is in
//! step, and the difference is what has to be sent to it.
//!
//! Never here: I/O, state that can't be moved (that is a pin).

use std::collections::BTreeMap;

/// Most variables and user variables a session may have on record. A session with more is broken or hostile;
/// the surplus pins it instead of growing this map.
pub(crate) const MAX_ENTRIES: usize = 1024;

/// Reported by the server when the schema changes; they follow the schema on every connection, and setting
/// them takes a privilege (SESSION_VARIABLES_ADMIN) that applications don't have.
const FOLLOW_THE_SCHEMA: [&str; 2] = ["character_set_database", "collation_database"];

/// A value with the version at which it was set last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Versioned<T> {
    value: T,
    version: u64,
}

/// The movable state of a session. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionState {
    version: u64,
    schema: Option<Versioned<Vec<u8>>>,
    variables: BTreeMap<Box<str>, Versioned<Vec<u8>>>,
    user_variables: BTreeMap<Box<[u8]>, Versioned<Vec<u8>>>,
    last_insert_id: u64,
    role: Option<Versioned<Vec<u8>>>,
    multi_statements: Option<Versioned<bool>>,
}

/// The state is full; see [`MAX_ENTRIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateFull;

/// What has to be sent to a connection to bring it in step, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Restore {
    /// COM_INIT_DB
    Schema(Vec<u8>),
    /// COM_SET_OPTION
    MultiStatements(bool),
    /// COM_QUERY
    Statement(Vec<u8>),
}

impl SessionState {
    /// The state right after a login with this schema.
    pub(crate) fn after_login(schema: Option<Vec<u8>>) -> Self {
        let mut state = Self::default();
        if let Some(schema) = schema {
            state.set_schema(schema);
        }
        state
    }

    /// The number of the latest change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The current schema.
    pub(crate) fn schema(&self) -> Option<&[u8]> {
        self.schema.as_ref().map(|schema| schema.value.as_slice())
    }

    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The server reported this schema as current. Empty means none (its schema was dropped).
    pub(crate) fn set_schema(&mut self, schema: Vec<u8>) {
        if self.schema() != Some(&schema) {
            let version = self.next();
            self.schema = Some(Versioned { value: schema, version });
        }
    }

    /// The server reported this value of a session variable.
    pub(crate) fn set_variable(&mut self, name: &str, value: &[u8]) -> Result<(), StateFull> {
        let known = self.variables.get(name).is_some_and(|known| known.value == value);
        if known || FOLLOW_THE_SCHEMA.contains(&name) {
            return Ok(());
        }
        if self.variables.len() >= MAX_ENTRIES && !self.variables.contains_key(name) {
            return Err(StateFull);
        }
        let version = self.next();
        self.variables.insert(name.into(), Versioned { value: value.to_vec(), version });
        Ok(())
    }

    /// A user variable was set to this literal; both as written, the name with its @ and quotes. Two
    /// spellings of one name are two entries, which is right because they are replayed in the order set.
    pub(crate) fn set_user_variable(&mut self, name: &[u8], literal: &[u8]) -> Result<(), StateFull> {
        if self.user_variables.len() >= MAX_ENTRIES && !self.user_variables.contains_key(name) {
            return Err(StateFull);
        }
        let version = self.next();
        self.user_variables.insert(name.into(), Versioned { value: literal.to_vec(), version });
        Ok(())
    }

    /// The last generated id as an OK packet reported it; 0 reports nothing. It is no versioned change:
    /// only the connection that writes has to know it, and that one made it.
    pub(crate) fn set_last_insert_id(&mut self, id: u64) {
        if id != 0 {
            self.last_insert_id = id;
        }
    }

    /// The last generated id; 0 when there was none.
    pub(crate) fn last_insert_id(&self) -> u64 {
        self.last_insert_id
    }

    /// `SET ROLE ...` succeeded; its text.
    pub(crate) fn set_role(&mut self, statement: &[u8]) {
        let version = self.next();
        self.role = Some(Versioned { value: statement.to_vec(), version });
    }

    /// COM_SET_OPTION was answered with success.
    pub(crate) fn set_multi_statements(&mut self, on: bool) {
        let version = self.next();
        self.multi_statements = Some(Versioned { value: on, version });
    }

    /// COM_RESET_CONNECTION: everything but the schema is gone. The version goes on, so that connections
    /// that were not reset are seen to be out of step.
    pub(crate) fn reset(&mut self) {
        let version = self.version + 1;
        let schema = self.schema.take();
        *self = Self { version, schema, ..Self::default() };
    }

    /// What brings a connection that is in step up to `from` up to [`SessionState::version`]. A connection
    /// fresh from a login with [`SessionState::schema`] starts at 0 and gets the schema again, which
    /// confirms it. `known_id` is the last insert id that the connection knows, `None` where it doesn't matter
    /// (a replica: LAST_INSERT_ID() is never asked there).
    pub(crate) fn restore_since(&self, from: u64, known_id: Option<u64>) -> Vec<Restore> {
        let mut steps = Vec::new();
        if let Some(schema) = &self.schema
            && schema.version > from
            && !schema.value.is_empty()
        {
            steps.push(Restore::Schema(schema.value.clone()));
        }
        if let Some(on) = &self.multi_statements
            && on.version > from
        {
            steps.push(Restore::MultiStatements(on.value));
        }
        if let Some(role) = self.role.as_ref().filter(|role| role.version > from) {
            steps.push(Restore::Statement(role.value.clone()));
        }
        if let Some(statement) = self.assignments_since(from, known_id) {
            steps.push(Restore::Statement(statement));
        }
        steps
    }

    /// One SET statement for all that changed. Variables are in alphabetical order, which puts
    /// character_set_connection before the collation_connection that it would reset.
    fn assignments_since(&self, from: u64, known_id: Option<u64>) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut assign = |name: &[u8], value: &[u8]| {
            text.extend_from_slice(if text.is_empty() { b"SET " } else { b"," });
            text.extend_from_slice(name);
            text.push(b'=');
            text.extend_from_slice(value);
        };
        for (name, variable) in self.variables.iter().filter(|(_, variable)| variable.version > from) {
            assign(name.as_bytes(), &variable_literal(name, &variable.value));
        }
        if known_id.is_some_and(|known| known != self.last_insert_id) {
            assign(b"last_insert_id", self.last_insert_id.to_string().as_bytes());
        }
        let mut newer: Vec<_> =
            self.user_variables.iter().filter(|(_, variable)| variable.version > from).collect();
        newer.sort_by_key(|(_, variable)| variable.version);
        for (name, variable) in newer {
            assign(name, &variable.value);
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The literal that sets a system variable to what a tracker reported. Numbers stay bare, since the server
/// refuses strings for numeric variables (1232); anything else is quoted with doubled quotes, which holds
/// under every sql_mode; a backslash is written as hex, because NO_BACKSLASH_ESCAPES changes its meaning.
fn variable_literal(name: &str, value: &[u8]) -> Vec<u8> {
    let numeric = !value.is_empty()
        && value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
        && name != "time_zone";
    if numeric {
        return value.to_vec();
    }
    // SET character_set_results=NULL is how clients ask for no conversion; the tracker reports it as empty.
    if value.is_empty() && name == "character_set_results" {
        return b"NULL".to_vec();
    }
    let mut literal = Vec::with_capacity(value.len() + 2);
    if value.contains(&b'\\') {
        literal.extend_from_slice(b"CONVERT(x'");
        for byte in value {
            literal.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        literal.extend_from_slice(b"' USING utf8mb4)");
        return literal;
    }
    literal.push(b'\'');
    for &byte in value {
        if byte == b'\'' {
            literal.push(b'\'');
        }
        literal.push(byte);
    }
    literal.push(b'\'');
    literal
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn statement(text: &str) -> Restore {
        Restore::Statement(text.as_bytes().to_vec())
    }

    #[test]
    fn only_what_changed_since_is_restored() {
        let mut state = SessionState::after_login(Some(b"app".to_vec()));
        assert_eq!(state.restore_since(0, None), [Restore::Schema(b"app".to_vec())]);
        let in_step = state.version();
        assert_eq!(state.restore_since(in_step, None), []);
        state.set_variable("sql_mode", b"ANSI_QUOTES").unwrap();
        state.set_variable("group_concat_max_len", b"4096").unwrap();
        state.set_user_variable(b"@x", b"'it''s'").unwrap();
        assert_eq!(
            state.restore_since(in_step, None),
            [statement("SET group_concat_max_len=4096,sql_mode='ANSI_QUOTES',@x='it''s'")]
        );
        let later = state.version();
        state.set_variable("sql_mode", b"ANSI_QUOTES").unwrap();
        assert_eq!(state.version(), later, "the same value again is no change");
    }

    #[test]
    fn values_are_quoted_so_that_every_sql_mode_reads_them_alike() {
        assert_eq!(variable_literal("init_connect", b"a'b"), b"'a''b'");
        assert_eq!(variable_literal("x", br"a\b"), b"CONVERT(x'615c62' USING utf8mb4)");
        assert_eq!(variable_literal("character_set_results", b""), b"NULL");
        assert_eq!(variable_literal("long_query_time", b"0.5"), b"0.5");
        assert_eq!(variable_literal("time_zone", b"+00:00"), b"'+00:00'");
    }

    #[test]
    fn a_reset_keeps_the_schema_and_moves_the_version() {
        let mut state = SessionState::after_login(Some(b"app".to_vec()));
        state.set_variable("sql_mode", b"").unwrap();
        let before = state.version();
        state.reset();
        assert!(state.version() > before);
        assert_eq!(state.restore_since(0, None), [Restore::Schema(b"app".to_vec())]);
    }

    #[test]
    fn the_last_insert_id_is_restored_where_it_matters() {
        let mut state = SessionState::default();
        assert_eq!(state.restore_since(0, Some(0)), []);
        state.set_last_insert_id(7);
        state.set_last_insert_id(0);
        assert_eq!(state.restore_since(0, None), []);
        assert_eq!(state.restore_since(0, Some(7)), []);
        assert_eq!(state.restore_since(0, Some(0)), [statement("SET last_insert_id=7")]);
    }

    #[test]
    fn the_maps_are_bounded() {
        let mut state = SessionState::default();
        for n in 0..MAX_ENTRIES {
            state.set_user_variable(n.to_string().as_bytes(), b"1").unwrap();
        }
        assert_eq!(state.set_user_variable(b"one more", b"1"), Err(StateFull));
        assert_eq!(state.set_user_variable(b"0", b"2"), Ok(()));
    }
}
