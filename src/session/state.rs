//! What a session has set up on its server, as a value, so that it can be rebuilt on another connection.
//!
//! The truth about variables and the schema is what the server reports in its session trackers; nothing is
//! parsed out of `SET` statements except user variables with literal values, which no tracker reports.
//! The value is shared: a connection keeps the one that is set on it, and as long as it is the very same as
//! the session's, nothing has to be sent. [`difference`] says what has to be sent otherwise.
//!
//! Never here: I/O, state that can't be moved (that is a pin).

mod difference;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(crate) use difference::{LoginState, Restore, difference, distance, set_role};

/// Most variables and user variables a session may have on record. A session with more is broken or hostile;
/// the surplus pins it instead of growing this map.
pub(crate) const MAX_ENTRIES: usize = 1024;

/// Reported by the server when the schema changes; they follow the schema on every connection, and setting
/// them takes a privilege (SESSION_VARIABLES_ADMIN) that applications don't have.
const FOLLOW_THE_SCHEMA: [&str; 2] = ["character_set_database", "collation_database"];
/// Setting it sets [`COLLATION`], too, which servers do not report then (seen on 9.7.4).
const CHARSET: &str = "character_set_connection";
const COLLATION: &str = "collation_connection";
/// What a reset sets to the server's defaults, although the login had set it (bug 85185).
const CHARSETS: [&str; 4] = ["character_set_client", CHARSET, "character_set_results", COLLATION];
/// What decides how the text of a statement reads, besides the schema. The last six are taken into a prepared statement
/// and stay there, whatever they are when it is executed: WEEK(), divisions, literals with a time zone, columns of CREATE
/// TABLE, DAYNAME(), sums over windows (seen on 9.7.4).
const READING: [&str; 10] = [
    "sql_mode",
    "character_set_client",
    CHARSET,
    COLLATION,
    "default_week_format",
    "div_precision_increment",
    "time_zone",
    "explicit_defaults_for_timestamp",
    "lc_time_names",
    "windowing_use_high_precision",
];

/// The value of a session variable that was changed since the login.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    /// As a tracker reported it.
    Text(Box<[u8]>),
    /// The server's own, which differs from the login's.
    ServerDefault,
}

/// The movable state of a session except the last insert id. Equal values mean the same to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `None`: no schema is selected.
    schema: Option<Box<[u8]>>,
    variables: BTreeMap<Box<str>, Value>,
    /// Whether the character sets come from one SET NAMES. It gives all three the same collation, which shows
    /// in the metadata of results, while setting them one by one gives each its default.
    names: bool,
    /// Names as [`user_variable_name`] writes them, literals as written; in the order set.
    user_variables: Vec<(Box<[u8]>, Box<[u8]>)>,
    /// The statement that set it; `None`: as after login.
    role: Option<Box<[u8]>>,
    /// `None`: as agreed at login.
    multi_statements: Option<bool>,
}

impl Settings {
    /// The current schema.
    pub(crate) fn schema(&self) -> Option<&[u8]> {
        self.schema.as_deref()
    }

    /// The same in another schema.
    pub(crate) fn in_schema(&self, schema: Option<&[u8]>) -> Self {
        Self { schema: schema.map(Into::into), ..self.clone() }
    }

    /// The same with these roles, as a statement that sets them.
    pub(crate) fn with_role(&self, statement: &[u8]) -> Self {
        Self { role: Some(statement.into()), ..self.clone() }
    }

    /// Whether other roles are active than after the login.
    pub(crate) fn changes_role(&self) -> bool {
        self.role.is_some()
    }

    /// What COM_SET_OPTION said last of several statements in one text; `None`: as the login said.
    pub(crate) fn multi_statements(&self) -> Option<bool> {
        self.multi_statements
    }

    fn variable(&self, name: &str) -> Option<&Value> {
        self.variables.get(name)
    }

    /// Whether a text means the same under both.
    pub(crate) fn reads_like(&self, other: &Self) -> bool {
        self.schema == other.schema && READING.iter().all(|name| self.variable(name) == other.variable(name))
    }

    /// These settings, but for a text to mean what it means under `other`. Nothing else is touched: an `autocommit` would
    /// commit, and a user variable may have another value by now, that only the server knows.
    pub(crate) fn reading_like(&self, other: &Self) -> Self {
        let mut settings = Self { schema: other.schema.clone(), names: other.names, ..self.clone() };
        for name in READING.iter().chain(&CHARSETS) {
            match other.variable(name) {
                Some(value) => settings.variables.insert((*name).into(), value.clone()),
                None => settings.variables.remove(*name),
            };
        }
        settings
    }

    /// Hashes what [`Self::reads_like`] compares.
    pub(crate) fn hash_reading(&self, hasher: &mut impl Hasher) {
        self.schema.hash(hasher);
        for name in READING {
            self.variable(name).hash(hasher);
        }
    }

    /// What [`Backend::reset`](super::backends::Backend::reset) leaves of a connection in this schema.
    pub(crate) fn fresh_after_reset(schema: Option<&[u8]>) -> Self {
        Self { schema: schema.map(Into::into), ..Self::default() }.after_reset()
    }

    /// What a reset of the connection leaves: schema, roles and COM_SET_OPTION stay (seen on 9.7.4).
    pub(crate) fn after_reset(&self) -> Self {
        let variables = CHARSETS.iter().map(|&name| (name.into(), Value::ServerDefault)).collect();
        Self { variables, names: false, user_variables: Vec::new(), ..self.clone() }
    }
}

impl Settings {
    /// The user variables that have literal values, by name.
    pub(crate) fn user_variables(&self) -> &[(Box<[u8]>, Box<[u8]>)] {
        &self.user_variables
    }
}

/// The state of one session. See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionState {
    settings: Arc<Settings>,
    last_insert_id: u64,
}

/// The state is full; see [`MAX_ENTRIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateFull;

impl SessionState {
    /// The state right after a login with this schema.
    pub(crate) fn after_login(schema: Option<Vec<u8>>) -> Self {
        let schema = schema.filter(|schema| !schema.is_empty()).map(Vec::into_boxed_slice);
        Self { settings: Arc::new(Settings { schema, ..Settings::default() }), last_insert_id: 0 }
    }

    /// The state as a value to be kept with a connection.
    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Takes over an equal value, so that later comparisons see the very same.
    pub(crate) fn unify(&mut self, settings: &Arc<Settings>) {
        debug_assert_eq!(self.settings, *settings);
        self.settings = Arc::clone(settings);
    }

    /// The current schema.
    pub(crate) fn schema(&self) -> Option<&[u8]> {
        self.settings.schema()
    }

    fn change(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }

    /// The server reported this schema as current. Empty means none (its schema was dropped).
    pub(crate) fn set_schema(&mut self, schema: &[u8]) {
        let schema = (!schema.is_empty()).then_some(schema);
        if self.schema() != schema {
            self.change().schema = schema.map(Into::into);
        }
    }

    /// The server reported this value of a session variable.
    pub(crate) fn set_variable(&mut self, name: &str, value: &[u8]) -> Result<(), StateFull> {
        let known = matches!(self.settings.variable(name), Some(Value::Text(known)) if **known == *value);
        if (known && !(self.settings.names && CHARSETS.contains(&name))) || FOLLOW_THE_SCHEMA.contains(&name)
        {
            return Ok(());
        }
        if self.settings.variables.len() >= MAX_ENTRIES && self.settings.variable(name).is_none() {
            return Err(StateFull);
        }
        let settings = self.change();
        settings.variables.insert(name.into(), Value::Text(value.into()));
        settings.names &= !CHARSETS.contains(&name);
        Ok(())
    }

    /// What was set last of the character sets was set by SET NAMES.
    pub(crate) fn set_names(&mut self) {
        if !self.settings.names {
            self.change().names = true;
        }
    }

    /// The collation of the connection was set along with its character set; `None`: to the default of that
    /// character set.
    pub(crate) fn set_collation(&mut self, collation: Option<&[u8]>) {
        let value = collation.map(|collation| Value::Text(collation.into()));
        if self.settings.variable(COLLATION) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => self.change().variables.insert(COLLATION.into(), value),
            None => self.change().variables.remove(COLLATION),
        };
    }

    /// A user variable was set to this literal; both as written, the name with its @ and quotes.
    pub(crate) fn set_user_variable(&mut self, name: &[u8], literal: &[u8]) -> Result<(), StateFull> {
        let name = user_variable_name(name).ok_or(StateFull)?;
        let known = &self.settings.user_variables;
        if known.iter().any(|(known, value)| **known == *name && **value == *literal) {
            return Ok(());
        }
        if known.len() >= MAX_ENTRIES {
            return Err(StateFull);
        }
        let variables = &mut self.change().user_variables;
        variables.retain(|(known, _)| **known != *name);
        variables.push((name.into(), literal.into()));
        Ok(())
    }

    /// The last generated id as an OK packet reported it; 0 reports nothing.
    pub(crate) fn set_last_insert_id(&mut self, id: u64) {
        if id != 0 {
            self.last_insert_id = id;
        }
    }

    /// The last insert id is this, also if it is 0.
    pub(crate) fn force_last_insert_id(&mut self, id: u64) {
        self.last_insert_id = id;
    }

    /// The last generated id; 0 when there was none.
    pub(crate) fn last_insert_id(&self) -> u64 {
        self.last_insert_id
    }

    /// `SET ROLE ...` succeeded; its text.
    pub(crate) fn set_role(&mut self, statement: &[u8]) {
        self.change().role = Some(statement.into());
    }

    /// What COM_SET_OPTION said last of several statements in one text; `None`: as the login said.
    pub(crate) fn multi_statements(&self) -> Option<bool> {
        self.settings.multi_statements()
    }

    /// COM_SET_OPTION was answered with success.
    pub(crate) fn set_multi_statements(&mut self, on: bool) {
        if self.settings.multi_statements != Some(on) {
            self.change().multi_statements = Some(on);
        }
    }

    /// COM_RESET_CONNECTION.
    pub(crate) fn reset(&mut self) {
        *self = Self { settings: Arc::new(self.settings.after_reset()), last_insert_id: 0 };
    }
}

/// One spelling for all spellings of a user variable's name: `` @`name` `` in lower case. `None` for a name
/// with escapes, which read differently under different modes.
fn user_variable_name(written: &[u8]) -> Option<Vec<u8>> {
    let name = written.strip_prefix(b"@")?;
    let quoted = match name {
        [quote @ (b'`' | b'\'' | b'"'), inner @ .., last] if quote == last => Some((*quote, inner)),
        _ => None,
    };
    let (name, doubled) = match quoted {
        Some((quote, inner)) => (inner, inner.contains(&quote)),
        None => (name, false),
    };
    if name.contains(&b'\\') || doubled {
        return None;
    }
    let mut one = Vec::with_capacity(name.len() + 3);
    one.extend_from_slice(b"@`");
    for byte in name.to_ascii_lowercase() {
        one.push(byte);
        if byte == b'`' {
            one.push(b'`');
        }
    }
    one.push(b'`');
    Some(one)
}

#[cfg(test)]
mod tests;
