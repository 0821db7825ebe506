//! What the random sessions do, as values, and how they are drawn.
//!
//! Never here: what an operation should bring about (that is the model).

use proptest::prelude::*;
use proptest::sample::select;

use super::settings::{NAMES, SETTINGS};

/// Names of each kind (savepoints, temporary tables, locks, statements, user variables) per session.
pub(super) const NAMES_EACH: usize = 3;

/// The two schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Schema {
    A,
    B,
}

impl Schema {
    pub(super) const ALL: [Self; 2] = [Self::A, Self::B];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A => "iso_a",
            Self::B => "iso_b",
        }
    }
}

/// Two ways of saying the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Text,
    Command,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Plain,
    Snapshot,
    ReadOnly,
    ReadWrite,
}

/// What follows the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    No,
    Yes,
}

/// What a user variable is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Token,
    Quote,
    Backslash,
    DoubleQuoted,
    Integer,
    Negative,
    Decimal,
    Hex,
    Null,
    /// `CONCAT(...)`
    Computed,
    /// `@other`
    Copy,
    /// `SELECT ... INTO @u`
    Into,
    /// `SELECT @u := ...`
    Assigned,
}

const VALUES: [Value; 13] = [
    Value::Token,
    Value::Quote,
    Value::Backslash,
    Value::DoubleQuoted,
    Value::Integer,
    Value::Negative,
    Value::Decimal,
    Value::Hex,
    Value::Null,
    Value::Computed,
    Value::Copy,
    Value::Into,
    Value::Assigned,
];

/// Roles to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    First,
    Second,
    None,
    All,
}

/// Statements that leave warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warning {
    /// 1292 from a SELECT without tables.
    Truncated,
    /// The same twice.
    Twice,
    /// 1062 from INSERT IGNORE.
    Ignored,
    /// 1051 from DROP TABLE IF EXISTS of a temporary table.
    NoTable,
}

/// Statements that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    Duplicate,
    UnknownTable,
    Syntax,
    UnknownProcedure,
    UnknownSchema,
    UnknownVariable,
    /// Fails when it has returned rows already or not; never answers completely.
    SubqueryRows,
}

impl Failing {
    /// Whether it may have done something that ties, as far as can be told from outside.
    pub(super) fn may_pin(self) -> bool {
        matches!(self, Self::UnknownProcedure | Self::UnknownVariable)
    }
}

/// Texts to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Shows a parameter, the schema's own word and a user variable.
    Show,
    /// Adds a row.
    Add,
    /// A string in double quotes.
    Quoted,
    /// Sets a user variable.
    Assign,
}

const TEXTS: [Text; 4] = [Text::Show, Text::Add, Text::Quoted, Text::Assign];

/// One thing that a session does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Everything that can be seen, on the primary.
    Look,
    /// What can be seen on a replica as well.
    LookAside,
    Read,
    ReadSecret,
    Set {
        setting: usize,
        value: usize,
    },
    SetTwo {
        first: (usize, usize),
        second: (usize, usize),
    },
    SetDefault {
        setting: usize,
    },
    SetNames {
        names: usize,
    },
    SetFails {
        setting: usize,
        value: usize,
    },
    Autocommit {
        on: bool,
    },
    Timestamp {
        on: bool,
    },
    SetUser {
        name: usize,
        value: Value,
    },
    Use {
        schema: Schema,
        way: Way,
    },
    Begin(Begin),
    Commit(Chain),
    Rollback(Chain),
    Savepoint(usize),
    RollbackTo(usize),
    Release(usize),
    NextTransaction {
        level: usize,
    },
    Insert {
        rows: u64,
    },
    Update {
        same: bool,
    },
    Delete,
    ImplicitCommit,
    InsertIdOf {
        id: u64,
    },
    SetInsertId {
        id: u64,
    },
    CalcFoundRows {
        limit: u64,
    },
    Warn(Warning),
    Fail(Failing),
    CreateTemp(usize),
    CreateTempSelect(usize),
    InsertTemp(usize),
    ReadTemp(usize),
    DropTemp {
        name: usize,
        temporary: bool,
    },
    Lock(usize),
    Unlock(usize),
    UnlockAll,
    PrepareText {
        name: usize,
        text: Text,
    },
    ExecuteText(usize),
    DeallocateText(usize),
    Prepare {
        name: usize,
        text: Text,
    },
    Execute(usize),
    CloseStatement(usize),
    Call,
    CallRows,
    Role(Role),
    Several(Vec<Op>),
    Reset,
    ChangeUser {
        other: bool,
        schema: Schema,
    },
    Quit,
    Vanish,
    /// KILL QUERY of another session while it sleeps.
    KillSleeping {
        victim: usize,
    },
    /// KILL QUERY of another session that does nothing.
    KillIdle {
        victim: usize,
    },
}

impl Op {
    /// Whether it may tie where it is one of several in a text: what is set there, and whether it was, nobody can tell.
    pub(super) fn may_pin_among_others(&self) -> bool {
        match self {
            // With words that are not understood beside it, a change of the session ties.
            Self::Fail(failing) => failing.may_pin() || *failing == Failing::Syntax,
            Self::Warn(warning) => *warning == Warning::NoTable,
            Self::Read
            | Self::Insert { .. }
            | Self::Update { .. }
            | Self::Delete
            | Self::InsertIdOf { .. }
            | Self::SetInsertId { .. }
            | Self::CalcFoundRows { .. }
            | Self::ReadTemp(_)
            | Self::Begin(_)
            | Self::Commit(_)
            | Self::Rollback(_)
            | Self::Savepoint(_)
            | Self::RollbackTo(_)
            | Self::Release(_)
            | Self::ImplicitCommit => false,
            _ => true,
        }
    }
}

/// A question about the statement before; asked right before the session's next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    RowCount,
    FoundRows,
    Warnings,
    WarningCount,
    InsertId,
}

/// One step of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) session: usize,
    pub(super) op: Op,
    pub(super) then: Option<Then>,
}

fn name() -> impl Strategy<Value = usize> {
    0..NAMES_EACH
}

fn chain() -> impl Strategy<Value = Chain> {
    prop_oneof![4 => Just(Chain::No), 1 => Just(Chain::Yes)]
}

fn schema() -> impl Strategy<Value = Schema> {
    select(&Schema::ALL[..])
}

/// A setting and one of its values; those that change what statements mean come more often.
fn assignment() -> impl Strategy<Value = (usize, usize)> {
    let often = 0..7_usize;
    prop_oneof![2 => often, 1 => 0..SETTINGS.len()]
        .prop_flat_map(|setting| (Just(setting), 0..SETTINGS[setting].values.len()))
}

fn variables() -> BoxedStrategy<Op> {
    prop_oneof![
        8 => assignment().prop_map(|(setting, value)| Op::Set { setting, value }),
        2 => (assignment(), assignment()).prop_map(|(first, second)| Op::SetTwo { first, second }),
        3 => (0..SETTINGS.len()).prop_map(|setting| Op::SetDefault { setting }),
        2 => (0..NAMES.len()).prop_map(|names| Op::SetNames { names }),
        1 => assignment().prop_map(|(setting, value)| Op::SetFails { setting, value }),
        2 => any::<bool>().prop_map(|on| Op::Autocommit { on }),
        1 => any::<bool>().prop_map(|on| Op::Timestamp { on }),
        8 => (name(), select(&VALUES[..])).prop_map(|(name, value)| Op::SetUser { name, value }),
        5 => (schema(), select(&[Way::Text, Way::Command][..])).prop_map(|(schema, way)| Op::Use { schema, way }),
        2 => select(&[Role::First, Role::Second, Role::None, Role::All][..]).prop_map(Op::Role),
    ]
    .boxed()
}

fn transactions() -> BoxedStrategy<Op> {
    let begins = [Begin::Plain, Begin::Snapshot, Begin::ReadOnly, Begin::ReadWrite];
    prop_oneof![
        4 => select(begins.to_vec()).prop_map(Op::Begin),
        4 => chain().prop_map(Op::Commit),
        3 => chain().prop_map(Op::Rollback),
        2 => name().prop_map(Op::Savepoint),
        2 => name().prop_map(Op::RollbackTo),
        1 => name().prop_map(Op::Release),
        1 => (0..4_usize).prop_map(|level| Op::NextTransaction { level }),
        1 => Just(Op::ImplicitCommit),
    ]
    .boxed()
}

fn data() -> BoxedStrategy<Op> {
    prop_oneof![
        6 => (1..4_u64).prop_map(|rows| Op::Insert { rows }),
        2 => any::<bool>().prop_map(|same| Op::Update { same }),
        1 => Just(Op::Delete),
        4 => Just(Op::Read),
        1 => (1..500_u64).prop_map(|id| Op::InsertIdOf { id }),
        1 => (1..500_u64).prop_map(|id| Op::SetInsertId { id }),
        2 => (1..4_u64).prop_map(|limit| Op::CalcFoundRows { limit }),
        2 => select(&[Warning::Truncated, Warning::Twice, Warning::Ignored, Warning::NoTable][..])
            .prop_map(Op::Warn),
    ]
    .boxed()
}

fn failing() -> BoxedStrategy<Op> {
    let all = [
        Failing::Duplicate,
        Failing::UnknownTable,
        Failing::Syntax,
        Failing::UnknownProcedure,
        Failing::UnknownSchema,
        Failing::UnknownVariable,
        Failing::SubqueryRows,
    ];
    select(all.to_vec()).prop_map(Op::Fail).boxed()
}

fn tied() -> BoxedStrategy<Op> {
    prop_oneof![
        3 => name().prop_map(Op::CreateTemp),
        1 => name().prop_map(Op::CreateTempSelect),
        3 => name().prop_map(Op::InsertTemp),
        4 => name().prop_map(Op::ReadTemp),
        2 => (name(), any::<bool>()).prop_map(|(name, temporary)| Op::DropTemp { name, temporary }),
        2 => name().prop_map(Op::Lock),
        2 => name().prop_map(Op::Unlock),
        1 => Just(Op::UnlockAll),
        2 => (name(), select(&TEXTS[..])).prop_map(|(name, text)| Op::PrepareText { name, text }),
        3 => name().prop_map(Op::ExecuteText),
        1 => name().prop_map(Op::DeallocateText),
    ]
    .boxed()
}

fn prepared() -> BoxedStrategy<Op> {
    prop_oneof![
        2 => (name(), select(&TEXTS[..])).prop_map(|(name, text)| Op::Prepare { name, text }),
        5 => name().prop_map(Op::Execute),
        1 => name().prop_map(Op::CloseStatement),
    ]
    .boxed()
}

/// Operations that may stand among others in one text.
fn several() -> BoxedStrategy<Op> {
    let one = prop_oneof![
        3 => variables().prop_filter("text only", may_stand_among_others),
        2 => transactions().prop_filter("text only", may_stand_among_others),
        3 => data(),
        1 => failing(),
        1 => Just(Op::ReadTemp(0)),
        1 => Just(Op::CreateTemp(0)),
    ];
    prop::collection::vec(one, 2..4).prop_map(Op::Several).boxed()
}

fn may_stand_among_others(op: &Op) -> bool {
    !matches!(op, Op::Use { way: Way::Command, .. })
}

fn ends(sessions: usize) -> BoxedStrategy<Op> {
    prop_oneof![
        3 => Just(Op::Reset),
        2 => (any::<bool>(), schema()).prop_map(|(other, schema)| Op::ChangeUser { other, schema }),
        2 => Just(Op::Quit),
        2 => Just(Op::Vanish),
        1 => (0..sessions).prop_map(|victim| Op::KillSleeping { victim }),
        1 => (0..sessions).prop_map(|victim| Op::KillIdle { victim }),
    ]
    .boxed()
}

/// One operation of one of so many sessions.
pub(super) fn operation(sessions: usize) -> BoxedStrategy<Op> {
    prop_oneof![
        6 => Just(Op::Look),
        6 => Just(Op::LookAside),
        1 => Just(Op::ReadSecret),
        14 => variables(),
        10 => transactions(),
        12 => data(),
        4 => failing(),
        10 => tied(),
        7 => prepared(),
        1 => Just(Op::Call),
        1 => Just(Op::CallRows),
        4 => several(),
        3 => ends(sessions),
    ]
    .boxed()
}

fn then() -> impl Strategy<Value = Option<Then>> {
    let questions = [Then::RowCount, Then::FoundRows, Then::Warnings, Then::WarningCount, Then::InsertId];
    prop_oneof![3 => Just(None), 1 => select(questions.to_vec()).prop_map(Some)]
}

/// A sequence of steps of so many sessions.
pub(super) fn sequence(sessions: usize, steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0..sessions, operation(sessions), then()).prop_map(|(session, op, then)| Step { session, op, then });
    prop::collection::vec(step, steps / 2..steps)
}
