//! What one session must see: a pure model of a MySQL session.
//!
//! It says what to send for an operation ([`Model::words`]) and judges what came back ([`Model::settle`]). Where the
//! server's choice can't be known (ids it generates), the model takes it from the answer and holds the session to it
//! from then on. The same model is run against a server without Sluice, which proves the model.
//!
//! Never here: a connection, a clock, what other sessions do.

mod answers;
mod data;
mod settle;
mod words;

use std::sync::Arc;

use data::{Data, Open};
pub(super) use words::{Action, SLEEP};

use super::client::Counts;
use super::operations::{NAMES_EACH, Op, Role, Schema, Text, Then, Value};
use super::settings::{SETTINGS, Values};

/// What a fresh session on this server shows.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) values: Values,
    /// `FROM_UNIXTIME(86400)` in the server's own time zone.
    pub(super) second_day: String,
}

/// A prepared statement, of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PreparedText {
    text: Text,
    schema: Schema,
    token: String,
    /// What divisions, weeks and days are by the settings of then.
    bound: [String; 3],
}

/// What the last statement left for questions about it; `None`: not known.
#[derive(Clone, Debug, Default)]
struct Diagnostics {
    row_count: Option<i64>,
    found_rows: Option<u64>,
    warnings: Option<Vec<u16>>,
}

/// One session as it must be. See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Model {
    slot: usize,
    /// A number that no other session ever had; all its rows, locks and tokens carry it.
    pub(super) life: u64,
    counter: u32,
    /// Index of the account.
    pub(super) account: usize,
    counts: Counts,
    defaults: Arc<Defaults>,
    values: Values,
    timestamp: bool,
    user: [Option<String>; NAMES_EACH],
    schema: Schema,
    role: Role,
    /// Whether writes are refused now; `None`: not known.
    read_only: Option<bool>,
    data: Data,
    /// By schema.
    highest_id: [u64; 2],
    locks: [u32; NAMES_EACH],
    texts: [Option<PreparedText>; NAMES_EACH],
    statements: [Option<PreparedText>; NAMES_EACH],
    insert_id: u64,
    last: Diagnostics,
    /// Something may tie the session to its connection until it is reset.
    stuck: bool,
    /// A procedure may have left that on a replica, where the session can't write then.
    stranded: bool,
}

impl Model {
    /// A fresh session of `account` in `schema`, whose own table is that of `slot`.
    pub(super) fn new(
        slot: usize,
        life: u64,
        account: usize,
        schema: Schema,
        counts: Counts,
        defaults: &Arc<Defaults>,
    ) -> Self {
        Self {
            slot,
            life,
            counter: 0,
            account,
            counts,
            defaults: Arc::clone(defaults),
            values: defaults.values.clone(),
            timestamp: false,
            user: Default::default(),
            schema,
            role: Role::None,
            read_only: Some(false),
            data: Data::default(),
            highest_id: [0; 2],
            locks: Default::default(),
            texts: Default::default(),
            statements: Default::default(),
            insert_id: 0,
            last: Diagnostics::default(),
            stuck: false,
            stranded: false,
        }
    }

    /// How many rows everybody else can see in its own table of this schema.
    pub(super) fn committed(&self, schema: Schema) -> usize {
        self.data.committed(schema)
    }

    /// The current schema.
    pub(super) fn schema(&self) -> Schema {
        self.schema
    }

    /// Whether something may tie the session to one connection now. At least all that Sluice pins for.
    pub(super) fn is_tied(&self) -> bool {
        self.stuck
            || self.data.may_roll_back()
            || self.data.has_temps()
            || self.locks.iter().any(|&count| count > 0)
            || self.texts.iter().any(Option::is_some)
    }

    /// Whether the operation may make it so.
    pub(super) fn wants(&self, op: &Op) -> bool {
        match op {
            Op::Begin(_)
            | Op::Commit(_)
            | Op::Rollback(_)
            | Op::NextTransaction { .. }
            | Op::Autocommit { on: false }
            | Op::Timestamp { .. }
            | Op::CreateTemp(_)
            | Op::CreateTempSelect(_)
            | Op::DropTemp { .. }
            | Op::Lock(_)
            | Op::PrepareText { .. }
            | Op::ExecuteText(_)
            | Op::Call
            | Op::CallRows
            | Op::Several(_)
            | Op::Execute(_)
            | Op::Role(_) => true,
            Op::Fail(failing) => failing.may_pin(),
            Op::SetUser { value, .. } => !is_plain_literal(*value),
            Op::Set { setting, .. } => self.reads_differently(*setting),
            Op::SetDefault { setting } => self.reads_differently(*setting),
            Op::SetTwo { first, second } => {
                self.reads_differently(first.0) || self.reads_differently(second.0)
            }
            // A SET that fails may have set something before: how texts read, for all that is known.
            Op::SetNames { .. } | Op::SetFails { .. } => self.has_user_variables(),
            Op::Look
            | Op::LookAside
            | Op::CalcFoundRows { .. }
            | Op::Warn(_)
            | Op::Prepare { .. }
            | Op::Read
            | Op::ReadSecret
            | Op::Autocommit { on: true }
            | Op::Use { .. }
            | Op::Savepoint(_)
            | Op::RollbackTo(_)
            | Op::Release(_)
            | Op::Insert { .. }
            | Op::Update { .. }
            | Op::Delete
            | Op::ImplicitCommit
            | Op::InsertIdOf { .. }
            | Op::SetInsertId { .. }
            | Op::InsertTemp(_)
            | Op::ReadTemp(_)
            | Op::Unlock(_)
            | Op::UnlockAll
            | Op::DeallocateText(_)
            | Op::CloseStatement(_)
            | Op::Reset
            | Op::ChangeUser { .. }
            | Op::Quit
            | Op::Vanish
            | Op::KillSleeping { .. }
            | Op::KillIdle { .. } => false,
        }
    }

    fn has_user_variables(&self) -> bool {
        self.user.iter().any(Option::is_some)
    }

    /// Whether setting it makes later text mean something else while user variables hold texts.
    fn reads_differently(&self, setting: usize) -> bool {
        let name = SETTINGS[setting].name;
        (name == "sql_mode" || name.starts_with("character_set") || name.starts_with("collation"))
            && self.has_user_variables()
    }

    fn token(&self, index: usize) -> String {
        format!("m{}n{}p{index}", self.life, self.counter)
    }

    fn mode_has(&self, name: &str) -> bool {
        self.values["sql_mode"].split(',').any(|mode| mode == name)
    }

    /// The operation to do instead where a question or a statement has nothing to be about.
    pub(super) fn sensible(&self, op: Op) -> Op {
        match op {
            Op::Look | Op::LookAside | Op::Read | Op::Quit | Op::Vanish | Op::Reset => op,
            Op::Savepoint(_) | Op::Lock(_) | Op::SetUser { .. } if self.stranded && self.in_transaction() => {
                op
            }
            _ if self.stranded => Op::Reset,
            Op::Execute(name) | Op::CloseStatement(name) if self.statements[name].is_none() => Op::Look,
            Op::CreateTempSelect(name) if self.data.may_roll_back() => Op::CreateTemp(name),
            Op::DropTemp { name, .. } if self.data.may_roll_back() || self.read_only != Some(false) => {
                Op::DropTemp { name, temporary: true }
            }
            other => other,
        }
    }

    fn in_transaction(&self) -> bool {
        self.data.open == Open::Yes
    }

    /// Whether a transaction may be open that may run on a replica.
    fn may_be_on_replica(&self) -> bool {
        let on_split = self.slot % 4 != 3;
        on_split && self.read_only != Some(false) && self.data.open != Open::No
    }

    /// Whether the answer to this question is known.
    pub(super) fn knows(&self, then: Then) -> bool {
        match then {
            Then::RowCount => self.last.row_count.is_some(),
            Then::FoundRows => self.last.found_rows.is_some(),
            Then::Warnings | Then::WarningCount => self.last.warnings.is_some(),
            Then::InsertId => true,
        }
    }

    /// COM_RESET_CONNECTION, or the end of the session: what was open is rolled back, everything but account, schema,
    /// rows and (as servers have it) the role is as at the beginning.
    pub(super) fn reset(&mut self) {
        self.values = self.defaults.values.clone();
        self.timestamp = false;
        self.user = Default::default();
        self.read_only = Some(false);
        self.data.reset();
        self.locks = Default::default();
        self.texts = Default::default();
        self.statements = Default::default();
        self.insert_id = 0;
        self.last = Diagnostics { warnings: Some(Vec::new()), ..Diagnostics::default() };
        self.stuck = false;
        self.stranded = false;
    }
}

fn is_plain_literal(value: Value) -> bool {
    match value {
        Value::Token | Value::Quote | Value::Integer | Value::Negative | Value::Decimal | Value::Null => true,
        Value::Backslash
        | Value::DoubleQuoted
        | Value::Hex
        | Value::Computed
        | Value::Copy
        | Value::Into
        | Value::Assigned => false,
    }
}
