//! The words for an operation: what a session sends.
//!
//! Never here: an answer.

use super::Model;
use crate::isolation::operations::{
    Begin, Chain, Failing, NAMES_EACH, Op, Role, Schema, Text, Then, Value, Warning, Way,
};
use crate::isolation::settings::{LEVELS, NAMES, SETTINGS, shown};

/// Seconds that a session sleeps to be killed: far longer than the killing takes.
pub(in crate::isolation) const SLEEP: u64 = 30;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::isolation) enum Action {
    Query(String),
    InitDb(Schema),
    Prepare(usize, String),
    Execute(usize, Vec<String>),
    CloseStatement(usize),
    Reset,
    ChangeUser {
        account: usize,
        schema: Schema,
    },
    Quit,
    Vanish,
    /// Needs two sessions.
    Kill,
}

impl Model {
    /// What to send for this operation.
    pub(in crate::isolation) fn words(&self, op: &Op) -> Action {
        match op {
            Op::Use { schema, way: Way::Command } => Action::InitDb(*schema),
            Op::Prepare { name, text } => Action::Prepare(*name, self.prepared_words(*text)),
            Op::Execute(name) => Action::Execute(*name, self.parameters(*name)),
            Op::CloseStatement(name) => Action::CloseStatement(*name),
            Op::Several(ops) => {
                let texts: Vec<String> =
                    ops.iter().enumerate().map(|(index, op)| self.text(op, index)).collect();
                Action::Query(texts.join("; "))
            }
            Op::Reset => Action::Reset,
            Op::ChangeUser { other, schema } => {
                let account = if *other { 1 - self.account } else { self.account };
                Action::ChangeUser { account, schema: *schema }
            }
            Op::Quit => Action::Quit,
            Op::Vanish => Action::Vanish,
            Op::KillSleeping { .. } | Op::KillIdle { .. } => Action::Kill,
            other => Action::Query(self.text(other, 0)),
        }
    }

    /// The question's words.
    pub(in crate::isolation) fn question(&self, then: Then) -> String {
        let token = self.token(0);
        match then {
            Then::RowCount => format!("SELECT ROW_COUNT(), '{token}'"),
            Then::FoundRows => format!("SELECT FOUND_ROWS(), '{token}'"),
            Then::Warnings => "SHOW WARNINGS".into(),
            Then::WarningCount => "SELECT @@warning_count".into(),
            Then::InsertId => format!("SELECT LAST_INSERT_ID(), '{token}'"),
        }
    }

    /// The sleep that another session is to end.
    pub(in crate::isolation) fn nap(&self) -> String {
        format!("SELECT SLEEP({SLEEP}), '{}'", self.token(0))
    }

    fn text(&self, op: &Op, index: usize) -> String {
        let token = self.token(index);
        match op {
            Op::Look => self.look_words(&token),
            Op::LookAside => look_aside(&token),
            Op::Read => format!(
                "SELECT id, v, token, '{token}' FROM t{} WHERE life = {} ORDER BY id",
                self.slot, self.life
            ),
            Op::ReadSecret => format!("SELECT word, '{token}' FROM iso_role.secret"),
            Op::Set { setting, value } => format!("SET {}", assign(*setting, *value)),
            Op::SetTwo { first, second } => {
                format!("SET {}, {}", assign(first.0, first.1), assign(second.0, second.1))
            }
            Op::SetDefault { setting } => format!("SET SESSION {} = DEFAULT", SETTINGS[*setting].name),
            Op::SetNames { names } => format!("SET NAMES {}", NAMES[*names].0),
            Op::SetFails { setting, value } => {
                format!("SET {}, SESSION sql_mode = 'no_such_mode'", assign(*setting, *value))
            }
            Op::Autocommit { on } => format!("SET autocommit = {}", u8::from(*on)),
            Op::Timestamp { on: true } => "SET timestamp = 1000000000".into(),
            Op::Timestamp { on: false } => "SET timestamp = DEFAULT".into(),
            Op::SetUser { name, value } => set_user(*name, *value, &token),
            Op::Use { schema, .. } => format!("USE {}", schema.name()),
            Op::Role(role) => format!("SET ROLE {}", role_words(*role)),
            Op::Begin(_)
            | Op::Commit(_)
            | Op::Rollback(_)
            | Op::Savepoint(_)
            | Op::RollbackTo(_)
            | Op::Release(_)
            | Op::NextTransaction { .. }
            | Op::ImplicitCommit => self.transaction_words(op),
            Op::Insert { .. }
            | Op::Update { .. }
            | Op::Delete
            | Op::InsertIdOf { .. }
            | Op::SetInsertId { .. }
            | Op::CalcFoundRows { .. }
            | Op::Warn(_)
            | Op::Fail(_) => self.data_words(op, &token),
            Op::CreateTemp(_)
            | Op::CreateTempSelect(_)
            | Op::InsertTemp(_)
            | Op::ReadTemp(_)
            | Op::DropTemp { .. }
            | Op::Lock(_)
            | Op::Unlock(_)
            | Op::UnlockAll
            | Op::PrepareText { .. }
            | Op::ExecuteText(_)
            | Op::DeallocateText(_) => self.tied_words(op, &token),
            Op::Call => format!("CALL change_things('{token}')"),
            Op::CallRows => format!("CALL show_things('{token}')"),
            Op::Prepare { .. }
            | Op::Execute(_)
            | Op::CloseStatement(_)
            | Op::Several(_)
            | Op::Reset
            | Op::ChangeUser { .. }
            | Op::Quit
            | Op::Vanish
            | Op::KillSleeping { .. }
            | Op::KillIdle { .. } => panic!("{op:?} is no single statement"),
        }
    }

    fn transaction_words(&self, op: &Op) -> String {
        let chained = |chain: &Chain| match chain {
            Chain::No => "",
            Chain::Yes => " AND CHAIN",
        };
        match op {
            Op::Begin(Begin::Plain) => "BEGIN".into(),
            Op::Begin(Begin::Snapshot) => "START TRANSACTION WITH CONSISTENT SNAPSHOT".into(),
            Op::Begin(Begin::ReadOnly) => "START TRANSACTION READ ONLY".into(),
            Op::Begin(Begin::ReadWrite) => "START TRANSACTION READ WRITE".into(),
            Op::Commit(chain) => format!("COMMIT{}", chained(chain)),
            Op::Rollback(chain) => format!("ROLLBACK{}", chained(chain)),
            Op::Savepoint(name) => format!("SAVEPOINT p{name}"),
            Op::RollbackTo(name) => format!("ROLLBACK TO p{name}"),
            Op::Release(name) => format!("RELEASE SAVEPOINT p{name}"),
            Op::NextTransaction { level } => {
                format!("SET TRANSACTION ISOLATION LEVEL {}", LEVELS[*level].replace('-', " "))
            }
            _ => format!("ALTER TABLE t{} COMMENT '{}'", self.slot, self.token(0)),
        }
    }

    fn data_words(&self, op: &Op, token: &str) -> String {
        let (slot, life) = (self.slot, self.life);
        match op {
            Op::Insert { rows } => {
                let rows: Vec<String> = (0..*rows).map(|_| format!("({life}, '{token}', 0)")).collect();
                format!("INSERT INTO t{slot} (life, token, v) VALUES {}", rows.join(", "))
            }
            Op::Update { same: true } => format!("UPDATE t{slot} SET v = v WHERE life = {life}"),
            Op::Update { same: false } => format!("UPDATE t{slot} SET v = v + 1 WHERE life = {life}"),
            Op::Delete => format!("DELETE FROM t{slot} WHERE life = {life} ORDER BY id LIMIT 1"),
            Op::InsertIdOf { id } => format!("SELECT LAST_INSERT_ID({id}), '{token}'"),
            Op::SetInsertId { id } => format!("SET last_insert_id = {id}"),
            Op::CalcFoundRows { limit } => {
                format!("SELECT SQL_CALC_FOUND_ROWS n, '{token}' FROM numbers ORDER BY n LIMIT {limit}")
            }
            Op::Warn(Warning::Truncated) => format!("SELECT CAST('12abc' AS SIGNED), '{token}'"),
            Op::Warn(Warning::Twice) => {
                format!("SELECT CAST('12abc' AS SIGNED), '{token}', CAST('7x' AS SIGNED)")
            }
            Op::Warn(Warning::Ignored) => "INSERT IGNORE INTO fixed VALUES (1)".into(),
            Op::Warn(Warning::NoTable) => "DROP TEMPORARY TABLE IF EXISTS never_there".into(),
            Op::Fail(failing) => match failing {
                Failing::Duplicate => "INSERT INTO fixed VALUES (1)".into(),
                Failing::UnknownTable => format!("SELECT '{token}' FROM no_such_table"),
                Failing::Syntax => format!("SELEC '{token}'"),
                Failing::UnknownProcedure => format!("CALL no_such_procedure('{token}')"),
                Failing::UnknownSchema => "USE no_such_schema".into(),
                Failing::UnknownVariable => "SET SESSION no_such_variable = 1".into(),
                Failing::SubqueryRows => format!("SELECT (SELECT n FROM numbers), '{token}'"),
            },
            other => panic!("{other:?} is not about data"),
        }
    }

    fn tied_words(&self, op: &Op, token: &str) -> String {
        let life = self.life;
        match op {
            Op::CreateTemp(name) => format!("CREATE TEMPORARY TABLE tmp{name} (token VARCHAR(64))"),
            Op::CreateTempSelect(name) => {
                format!("CREATE TEMPORARY TABLE tmp{name} SELECT CAST('{token}' AS CHAR(64)) AS token")
            }
            Op::InsertTemp(name) => format!("INSERT INTO tmp{name} VALUES ('{token}')"),
            Op::ReadTemp(name) => format!("SELECT token, '{token}' FROM tmp{name}"),
            Op::DropTemp { name, temporary: true } => format!("DROP TEMPORARY TABLE tmp{name}"),
            Op::DropTemp { name, temporary: false } => format!("DROP TABLE tmp{name}"),
            // With anything else in the text the session would be tied until a reset.
            Op::Lock(name) => format!("SELECT GET_LOCK('l{life}_{name}', 5)"),
            Op::Unlock(name) => format!("SELECT RELEASE_LOCK('l{life}_{name}')"),
            Op::UnlockAll => "SELECT RELEASE_ALL_LOCKS()".into(),
            Op::PrepareText { name, text } => {
                format!("PREPARE s{name} FROM '{}'", self.text_words(*text, token).replace('\'', "''"))
            }
            Op::ExecuteText(name) => format!("EXECUTE s{name}"),
            Op::DeallocateText(name) => format!("DEALLOCATE PREPARE s{name}"),
            other => panic!("{other:?} ties to nothing"),
        }
    }

    /// What PREPARE is given.
    fn text_words(&self, text: Text, token: &str) -> String {
        match text {
            Text::Show => format!(
                "SELECT '{token}', name, @u0, 1/3, WEEK('2008-02-20'), DAYNAME('2008-02-20') FROM whereami"
            ),
            Text::Add => {
                format!("INSERT INTO t{} (life, token, v) VALUES ({}, '{token}', 0)", self.slot, self.life)
            }
            Text::Quoted => format!("SELECT \"{token}\""),
            Text::Assign => format!("SET @u1 = '{token}'"),
        }
    }

    /// What COM_STMT_PREPARE is given.
    fn prepared_words(&self, text: Text) -> String {
        match text {
            Text::Show => {
                "SELECT ?, name, CAST(@u0 AS CHAR), 1/3, CAST(WEEK('2008-02-20') AS CHAR), DAYNAME('2008-02-20') FROM whereami"
                    .into()
            }
            Text::Add => {
                format!("INSERT INTO t{} (life, token, v) VALUES ({}, ?, 0)", self.slot, self.life)
            }
            Text::Quoted => "SELECT CONCAT(\"q\", ?)".into(),
            Text::Assign => "SET @u1 = ?".into(),
        }
    }

    fn parameters(&self, name: usize) -> Vec<String> {
        self.statements[name].iter().map(|_| self.token(0)).collect()
    }

    fn look_words(&self, token: &str) -> String {
        let mut columns = vec![format!("'{token}'"), "DATABASE()".into()];
        columns.extend(shown().map(|name| format!("IFNULL(@@session.{name}, 'NULL')")));
        columns.push("@@session.autocommit".into());
        columns.extend((0..NAMES_EACH).map(|name| format!("@u{name}")));
        columns.push("LAST_INSERT_ID()".into());
        // Its quotes depend on sql_mode.
        columns.push("REPLACE(REPLACE(CURRENT_ROLE(), '`', ''), '\"', '')".into());
        columns.push("SUBSTRING_INDEX(CURRENT_USER(), '@', 1)".into());
        columns.push("@@session.timestamp = 1000000000".into());
        for name in 0..NAMES_EACH {
            columns.push(format!("IFNULL(IS_USED_LOCK('l{}_{name}') = CONNECTION_ID(), 0)", self.life));
        }
        format!("SELECT {}", columns.join(", "))
    }
}

fn look_aside(token: &str) -> String {
    let users: Vec<String> = (0..NAMES_EACH).map(|name| format!("@u{name}")).collect();
    format!(
        "SELECT '{token}', name, FROM_UNIXTIME(86400), LENGTH('\\n'), 1/3, WEEK('2008-02-20'), \
         DATE_FORMAT('2008-02-20', '%W'), (SELECT LENGTH(GROUP_CONCAT(n)) FROM numbers), {} FROM whereami",
        users.join(", ")
    )
}

fn assign(setting: usize, value: usize) -> String {
    let setting = &SETTINGS[setting];
    format!("SESSION {} = {}", setting.name, setting.values[value].0)
}

fn set_user(name: usize, value: Value, token: &str) -> String {
    let literal = match value {
        Value::Token => format!("'{token}'"),
        Value::Quote => format!("'it''s {token}'"),
        Value::Backslash => format!("'a\\\\{token}'"),
        Value::DoubleQuoted => format!("\"{token}\""),
        Value::Integer => "42".into(),
        Value::Negative => "-7".into(),
        Value::Decimal => "1.50".into(),
        Value::Hex => "x'616263'".into(),
        Value::Null => "NULL".into(),
        Value::Computed => format!("CONCAT('{token}', '-c')"),
        Value::Copy => format!("@u{}", (name + 1) % NAMES_EACH),
        Value::Into => return format!("SELECT '{token}' INTO @u{name}"),
        Value::Assigned => return format!("SELECT @u{name} := '{token}'"),
    };
    format!("SET @u{name} = {literal}")
}

fn role_words(role: Role) -> &'static str {
    match role {
        Role::First => "iso_r1",
        Role::Second => "iso_r2",
        Role::None => "NONE",
        Role::All => "ALL",
    }
}
