//! What has to be sent to a connection with one state so that it has another.
//!
//! This file must never leave out anything that the former state has and the wanted one has not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{CHARSETS, COLLATION, Settings, Value};
use crate::backend::LoginCharset;

/// What a login leaves behind, and no statement names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoginState<'a> {
    /// The character sets, from the collation in the handshake.
    pub(crate) charset: &'a LoginCharset,
    /// The active roles, as `SET ROLE` takes them.
    pub(crate) role: &'a [u8],
    /// Whether several statements in one text were agreed on.
    pub(crate) multi_statements: bool,
}

/// Something to send, each to be answered by an OK.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Restore {
    /// COM_INIT_DB
    Schema(Box<[u8]>),
    /// COM_SET_OPTION
    MultiStatements(bool),
    /// `SET ROLE`
    Role(Vec<u8>),
    /// `SET` of variables
    Settings(Vec<u8>),
}

/// What has to be sent, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What may fail.
    pub(crate) steps: Vec<Restore>,
}

/// Setting them to DEFAULT sets them to the opposite of the global value (seen on 9.7.4).
const DEFAULT_IS_WRONG: [&str; 2] = ["foreign_key_checks", "unique_checks"];

const MODE: &str = "sql_mode";

/// What one change costs besides the round trip that all of them share.
const SCHEMA_COST: u32 = 4;
const ROLE_COST: u32 = 8;

/// How much is between the two, 0 for nothing; `None` if nothing leads from the one to the other.
pub(crate) fn distance(has: &Arc<Settings>, want: &Arc<Settings>) -> Option<u32> {
    if Arc::ptr_eq(has, want) || has == want {
        return Some(0);
    }
    // No command unselects a schema.
    if has.schema.is_some() && want.schema.is_none() {
        return None;
    }
    let mut distance = 1;
    if has.schema != want.schema {
        distance += SCHEMA_COST;
    }
    if has.role != want.role {
        distance += ROLE_COST;
    }
    let differs = names(has, want).filter(|name| has.variable(name) != want.variable(name)).count();
    let users = if has.user_variables == want.user_variables { 0 } else { 1 };
    Some(distance + users + u32::try_from(differs).unwrap_or(u32::MAX / 2))
}

fn names<'a>(has: &'a Settings, want: &'a Settings) -> impl Iterator<Item = &'a str> {
    let names: BTreeSet<&str> =
        has.variables.keys().chain(want.variables.keys()).map(|name| &**name).collect();
    names.into_iter()
}

/// The steps from `has` to `want`; `None` if there are none that lead there.
pub(crate) fn difference(has: &Settings, want: &Settings, login: LoginState<'_>) -> Option<Difference> {
    let mut steps = Vec::new();
    match (&has.schema, &want.schema) {
        (has, want) if has == want => {}
        (_, Some(schema)) => steps.push(Restore::Schema(schema.clone())),
        (_, None) => return None,
    }
    if has.multi_statements != want.multi_statements {
        steps.push(Restore::MultiStatements(want.multi_statements.unwrap_or(login.multi_statements)));
    }
    let mut list = List::default();
    if has.role != want.role {
        // Its text reads as these say; others may take a privilege of the role.
        reading(has, want, login.charset, &mut list);
        steps.extend(list.take());
        let statement = want.role.as_deref().map(<[u8]>::to_vec);
        steps.push(Restore::Role(statement.unwrap_or_else(|| set_role(login.role))));
    } else {
        reading(has, want, login.charset, &mut list);
    }
    variables(has, want, &mut list);
    steps.extend(list.take());
    // A statement of its own: literals read as sql_mode and character sets say by then.
    user_variables(has, want, &mut list);
    steps.extend(list.take());
    Some(Difference { steps })
}

/// `SET ROLE` for roles as CURRENT_ROLE() names them.
pub(crate) fn set_role(roles: &[u8]) -> Vec<u8> {
    [b"SET ROLE ", roles].concat()
}

/// The items of one SET statement.
#[derive(Default)]
struct List(Vec<u8>);

impl List {
    fn assign(&mut self, name: &[u8], value: &[u8]) {
        self.0.extend_from_slice(if self.0.is_empty() { b"SET " } else { b"," });
        self.0.extend_from_slice(name);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
    }

    fn names(&mut self, charset: &[u8], collation: Option<&[u8]>) {
        self.0.extend_from_slice(if self.0.is_empty() { b"SET NAMES " } else { b",NAMES " });
        self.0.extend_from_slice(&variable_literal("", charset));
        if let Some(collation) = collation {
            self.0.extend_from_slice(b" COLLATE ");
            self.0.extend_from_slice(&variable_literal("", collation));
        }
    }

    fn take(&mut self) -> Option<Restore> {
        let text = std::mem::take(&mut self.0);
        (!text.is_empty()).then_some(Restore::Settings(text))
    }
}

/// What decides how texts read.
fn reading(has: &Settings, want: &Settings, login: &LoginCharset, list: &mut List) {
    let differs = |name: &str| has.variable(name) != want.variable(name);
    if has.names != want.names || CHARSETS.into_iter().any(differs) {
        charsets(want, login, list);
    }
    if differs(MODE) {
        list.assign(MODE.as_bytes(), &wanted_value(MODE, want));
    }
}

/// The others.
fn variables(has: &Settings, want: &Settings, list: &mut List) {
    let differs = |name: &str| has.variable(name) != want.variable(name);
    for name in names(has, want).filter(|name| differs(name) && *name != MODE && !CHARSETS.contains(name)) {
        list.assign(name.as_bytes(), &wanted_value(name, want));
    }
}

/// All character sets. The one of the connection sets the collation, so it comes before it; without a
/// collation on record it has its default one.
fn charsets(want: &Settings, login: &LoginCharset, list: &mut List) {
    let [client, ..] = CHARSETS;
    if want.names
        && let Some(Value::Text(charset)) = want.variable(client)
    {
        let collation = match want.variable(COLLATION) {
            Some(Value::Text(collation)) => Some(&**collation),
            Some(Value::ServerDefault) | None => None,
        };
        list.names(charset, collation);
        return;
    }
    if CHARSETS.iter().any(|name| want.variable(name).is_none()) && !login.client.is_empty() {
        list.names(&login.client, Some(&login.collation));
    }
    for name in CHARSETS.into_iter().filter(|name| want.variable(name).is_some()) {
        list.assign(name.as_bytes(), &wanted_value(name, want));
    }
}

fn wanted_value(name: &str, want: &Settings) -> Vec<u8> {
    match want.variable(name) {
        Some(Value::Text(text)) => variable_literal(name, text),
        Some(Value::ServerDefault) | None if DEFAULT_IS_WRONG.contains(&name) => {
            format!("@@global.{name}").into_bytes()
        }
        Some(Value::ServerDefault) | None => b"DEFAULT".to_vec(),
    }
}

fn user_variables(has: &Settings, want: &Settings, list: &mut List) {
    if has.user_variables == want.user_variables {
        return;
    }
    let wanted = |name: &[u8]| want.user_variables.iter().any(|(wanted, _)| **wanted == *name);
    for (name, _) in has.user_variables.iter().filter(|(name, _)| !wanted(name)) {
        list.assign(name, b"NULL");
    }
    for (name, literal) in &want.user_variables {
        list.assign(name, literal);
    }
}

/// The literal that sets a system variable to what a tracker reported. Numbers stay bare, since the server
/// refuses strings for numeric variables (1232); anything else is quoted with doubled quotes, which holds
/// under every sql_mode; a backslash is written as hex, because NO_BACKSLASH_ESCAPES changes its meaning.
pub(super) fn variable_literal(name: &str, value: &[u8]) -> Vec<u8> {
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
