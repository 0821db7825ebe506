//! What is known of a session: its transaction, what pins it, how its text reads, what can be replayed.
//! The server's word (status flags, trackers) is the truth where it speaks; the classified text where it
//! doesn't.
//!
//! This file must never end a pin on a guess: what can't be counted lasts until a reset.

use sluice_protocol::StatusFlags;

use crate::decide::Route;
use crate::effects::{Assignment, Effect, Effects, MAX_CHANGES, Name, PinChange};
use crate::intent::{Intent, Statement, WriteKind};
use crate::lexer::{LexMode, Strings};
use crate::pin::PinReason;
use crate::topology::InstanceId;
use crate::variables;

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The last packet of its answer was an OK (or EOF).
    Done,
    /// It ended in an ERR packet; parts of it may have had an effect.
    Failed,
}

/// Where the session's last statement ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastRoute {
    /// On the primary of that time.
    Primary,
    /// On this replica.
    Replica(InstanceId),
}

/// The facts of one session. A fresh session has autocommit on, no transaction and no pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    status: StatusFlags,
    mode: LexMode,
    /// How text reads on a fresh connection: the server's global settings.
    initial: LexMode,
    pins: Pins,
    last: LastRoute,
    needs_reset: Hidden,
    schema: CurrentSchema,
    user_variables: Vec<Assignment>,
    role: Option<Box<[u8]>>,
    /// The state change tracker came with the answer to the current statement.
    state_changed: bool,
    access: DefaultAccess,
    null: NullMeans,
    read_only_at: ReadOnlyAt,
}

/// Where read-only transactions of the session may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReadOnlyAt {
    #[default]
    Replica,
    /// One had to be rolled back, because it was to tie the session to its replica.
    Primary,
}

/// What `id IS NULL` finds in a column with AUTO_INCREMENT (`sql_auto_is_null`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NullMeans {
    #[default]
    Null,
    /// The row with the last insert id, once.
    LastInsertId,
}

/// What transactions of the session may do unless they say otherwise (`transaction_read_only`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DefaultAccess {
    #[default]
    ReadWrite,
    ReadOnly,
}

/// Whether code ran that no text shows (CALL, EXECUTE, stored functions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hidden {
    #[default]
    Nothing,
    MayHaveRun,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CurrentSchema {
    #[default]
    Data,
    /// mysql, sys, performance_schema, information_schema: unqualified names read server tables.
    Server,
}

impl Default for SessionFacts {
    fn default() -> Self {
        Self {
            status: StatusFlags::AUTOCOMMIT,
            mode: LexMode::default(),
            initial: LexMode::default(),
            pins: Pins::default(),
            last: LastRoute::Primary,
            needs_reset: Hidden::Nothing,
            schema: CurrentSchema::Data,
            user_variables: Vec::new(),
            role: None,
            state_changed: false,
            access: DefaultAccess::ReadWrite,
            null: NullMeans::Null,
            read_only_at: ReadOnlyAt::Replica,
        }
    }
}

impl SessionFacts {
    /// A fresh session. `initial` follows the server's global `sql_mode` and `character_set_client`, to
    /// which a reset returns without the server saying so.
    #[must_use]
    pub fn new(initial: LexMode) -> Self {
        Self { mode: initial, initial, ..Self::default() }
    }

    /// Whether the server says that a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.status.contains(StatusFlags::IN_TRANS)
    }

    /// Whether the open transaction is read-only.
    #[must_use]
    pub fn in_read_only_transaction(&self) -> bool {
        self.in_transaction() && self.status.contains(StatusFlags::IN_TRANS_READONLY)
    }

    /// Whether `transaction_read_only` is on for the session: its transactions can't write unless they say so.
    #[must_use]
    pub fn read_only_session(&self) -> bool {
        self.access == DefaultAccess::ReadOnly
    }

    /// Whether its read-only transactions need the primary: they do what can't be done on a replica.
    #[must_use]
    pub fn read_only_needs_primary(&self) -> bool {
        self.read_only_at == ReadOnlyAt::Primary
    }

    /// Whether the statement would tie the session to its connection, as far as its text tells.
    #[must_use]
    pub fn would_tie(&self, statement: &Statement) -> bool {
        statement.effects.begins_any(PinReason::ALL) || self.loses_texts(&statement.effects)
    }

    /// Whether text literals kept for replaying would read differently from now on.
    fn loses_texts(&self, effects: &Effects) -> bool {
        effects.has(Effect::SetsReading) && self.user_variables.iter().any(depends_on_reading)
    }

    /// Takes note that a read-only transaction had to be rolled back, because it was to tie the session to its replica.
    pub fn observe_tie_to_replica(&mut self) {
        self.read_only_at = ReadOnlyAt::Primary;
    }

    /// Whether any read may hang on the last insert id (`sql_auto_is_null`).
    #[must_use]
    pub fn null_finds_last_insert(&self) -> bool {
        self.null == NullMeans::LastInsertId
    }

    /// Whether each statement commits by itself.
    #[must_use]
    pub fn autocommit(&self) -> bool {
        self.status.contains(StatusFlags::AUTOCOMMIT)
    }

    /// The status flags of the last OK or EOF.
    #[must_use]
    pub fn status(&self) -> StatusFlags {
        self.status
    }

    /// How the session's text is to be read.
    #[must_use]
    pub fn mode(&self) -> LexMode {
        self.mode
    }

    /// Where the last statement ran.
    #[must_use]
    pub fn last(&self) -> LastRoute {
        self.last
    }

    /// Whether the current schema is one whose tables differ between servers.
    #[must_use]
    pub fn in_server_schema(&self) -> bool {
        self.schema == CurrentSchema::Server
    }

    /// Whether the backend connection must be reset before another session gets it.
    #[must_use]
    pub fn needs_reset(&self) -> bool {
        self.needs_reset == Hidden::MayHaveRun || self.pin().is_some()
    }

    /// Everything that ties the session to its backend connection now, the open transaction first.
    pub fn pins(&self) -> impl Iterator<Item = PinReason> + '_ {
        let transaction = self.in_transaction().then_some(PinReason::OpenTransaction);
        transaction.into_iter().chain(self.pins.iter())
    }

    /// The first of [`Self::pins`].
    #[must_use]
    pub fn pin(&self) -> Option<PinReason> {
        self.pins().next()
    }

    /// Whether the session is inside something that must run to its end where it began. Such statements
    /// pass the gate; a switchover waits for the end.
    #[must_use]
    pub fn unit_open(&self) -> bool {
        self.pin().is_some()
    }

    /// User variables with known values: replay them, in order, on another connection of the session.
    #[must_use]
    pub fn user_variables(&self) -> &[Assignment] {
        &self.user_variables
    }

    /// The last `SET ROLE` statement: replay it on another connection of the session.
    #[must_use]
    pub fn role(&self) -> Option<&[u8]> {
        self.role.as_deref()
    }

    /// Takes note of where a statement is sent. Call it once per statement, before the answer.
    pub fn observe_route(&mut self, route: &Route) {
        self.last = match route {
            Route::Primary(_) => LastRoute::Primary,
            Route::Replica(id, _) => LastRoute::Replica(*id),
            Route::Refuse(_) => return,
        };
    }

    /// Takes note of a statement whose answer is complete. What its OK packets say comes before.
    pub fn observe_statement(&mut self, statement: &Statement, outcome: Outcome) {
        let effects = &statement.effects;
        if effects.has(Effect::Unprovable) {
            self.needs_reset = Hidden::MayHaveRun;
        }
        // A trigger sets a user variable or makes a temporary table.
        let triggers = statement.intent == Intent::Write(WriteKind::Data);
        let hides = (effects.has(Effect::Unprovable) && hides_state(statement)) || triggers;
        if self.state_changed && hides {
            self.needs_reset = Hidden::MayHaveRun;
            self.pins.begin(PinReason::Unprovable, None);
        }
        self.state_changed = false;
        if effects.has(Effect::RenamesTables) || effects.has(Effect::ChangesSchema) {
            // Names of temporary tables can't be compared across it.
            self.pins.forget_names(PinReason::TemporaryTable);
            self.pins.forget_names(PinReason::Handler);
        }
        for change in effects.pins() {
            match change {
                PinChange::Begins(reason, _)
                    if outcome == Outcome::Failed && needs_success(*reason, effects) => {}
                PinChange::Begins(reason, name) => self.pins.begin(*reason, name.clone()),
                PinChange::Ends(reason, name) if outcome == Outcome::Done => {
                    self.pins.end(*reason, name.as_ref())
                }
                PinChange::Ends(..) => {}
            }
        }
        self.remember(effects, outcome);
        if self.in_transaction() {
            // The characteristics of SET TRANSACTION went into it.
            self.pins.end(PinReason::NextTransaction, None);
        }
        self.remember_savepoint(statement, outcome);
    }

    /// Without autocommit a savepoint is there before the server says that a transaction is open.
    fn remember_savepoint(&mut self, statement: &Statement, outcome: Outcome) {
        let ends = matches!(statement.intent, Intent::TransactionEnd { .. }) && outcome == Outcome::Done;
        if self.in_transaction() || self.autocommit() || ends {
            self.pins.end(PinReason::Savepoint, None);
        } else if statement.intent == Intent::Savepoint && outcome == Outcome::Done {
            self.pins.begin(PinReason::Savepoint, None);
        }
    }

    /// Takes note of the status flags of an OK or EOF packet.
    pub fn observe_status(&mut self, status: StatusFlags) {
        self.status = status;
        if self.status.contains(StatusFlags::NO_BACKSLASH_ESCAPES) {
            self.mode.strings = Strings::BackslashIsPlain;
        } else {
            self.mode.strings = Strings::BackslashEscapes;
        }
    }

    /// Takes note of a system variable that the server's tracker reports.
    pub fn observe_variable(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"sql_mode") {
            self.mode = self.mode.with_sql_mode(value);
        } else if name.eq_ignore_ascii_case(b"character_set_client") {
            self.mode = self.mode.with_client_charset(value);
        } else if name.eq_ignore_ascii_case(b"transaction_read_only") {
            self.access = if is_on(value) { DefaultAccess::ReadOnly } else { DefaultAccess::ReadWrite };
        } else if name.eq_ignore_ascii_case(b"sql_auto_is_null") {
            self.null = if is_on(value) { NullMeans::LastInsertId } else { NullMeans::Null };
        }
    }

    /// Takes note of the current schema, from the tracker, the login or COM_INIT_DB.
    pub fn observe_schema(&mut self, name: &[u8]) {
        self.schema =
            if variables::is_server_schema(name) { CurrentSchema::Server } else { CurrentSchema::Data };
        self.pins.forget_names(PinReason::TemporaryTable);
    }

    /// Takes note of the state change tracker: the current statement changed session state.
    pub fn observe_state_change(&mut self) {
        self.state_changed = true;
    }

    /// Takes note of the transaction characteristics tracker: empty means that none are waiting.
    pub fn observe_characteristics(&mut self, text: &[u8]) {
        if text.is_empty() {
            self.pins.end(PinReason::NextTransaction, None);
        }
    }

    /// Pins for a reason that is not in any text: a cursor, long data, a statement id as name.
    pub fn hold(&mut self, reason: PinReason, name: Option<Name>) {
        self.pins.begin(reason, name);
    }

    /// Ends what [`Self::hold`] began; without a name, altogether.
    pub fn release(&mut self, reason: PinReason, name: Option<&Name>) {
        self.pins.end(reason, name);
    }

    /// Takes note that the connection was reset (COM_RESET_CONNECTION, COM_CHANGE_USER) and answered OK.
    /// The current schema stays.
    pub fn observe_reset(&mut self) {
        let schema = self.schema;
        *self = Self { schema, ..Self::new(self.initial) };
    }

    /// Keeps what can be replayed.
    fn remember(&mut self, effects: &Effects, outcome: Outcome) {
        if self.loses_texts(effects) {
            self.user_variables.clear();
            self.pins.begin(PinReason::UserVariable, None);
        }
        if !effects.assignments().is_empty() && outcome == Outcome::Failed {
            // Some of the list may have been set.
            self.pins.begin(PinReason::UserVariable, None);
            return;
        }
        for assignment in effects.assignments() {
            let same = |known: &Assignment| known.name.eq_ignore_ascii_case(&assignment.name);
            self.user_variables.retain(|known| !same(known));
            if self.user_variables.len() < MAX_CHANGES {
                self.user_variables.push(assignment.clone());
            } else {
                self.pins.begin(PinReason::UserVariable, None);
            }
        }
        if let Some(role) = effects.role()
            && outcome == Outcome::Done
        {
            self.role = Some(role.into());
        }
    }
}

/// Whether nothing is left of a statement that failed: what it makes is there as a whole or not at all.
fn needs_success(reason: PinReason, effects: &Effects) -> bool {
    let whole = matches!(reason, PinReason::TemporaryTable | PinReason::TextStatement);
    whole && !effects.has(Effect::SeveralStatements) && !effects.has(Effect::Unprovable)
}

/// Whether this is how servers tell that a switch is on.
fn is_on(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"ON") || value == b"1"
}

/// Whether a statement's text doesn't show what it does to the session.
fn hides_state(statement: &Statement) -> bool {
    match statement.intent {
        Intent::SessionState => false,
        Intent::HarmlessRead
        | Intent::NeedsPrimary(_)
        | Intent::LastStatement
        | Intent::ConnectionId { .. }
        | Intent::Kill { .. }
        | Intent::TransactionStart { .. }
        | Intent::TransactionEnd { .. }
        | Intent::Savepoint
        | Intent::Write(_) => true,
    }
}

/// Whether a literal would be another value under another sql_mode or character set.
fn depends_on_reading(assignment: &Assignment) -> bool {
    assignment.literal.iter().any(|byte| matches!(byte, b'\'' | b'"'))
}

/// The pins of a session, by name where names prove when they end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pins {
    /// Reasons that no name can end.
    uncounted: u32,
    /// At most [`MAX_CHANGES`]; one entry per begin.
    named: Vec<(PinReason, Name)>,
}

impl Pins {
    fn begin(&mut self, reason: PinReason, name: Option<Name>) {
        match name {
            Some(name) if self.named.len() < MAX_CHANGES => {
                let known = self.named.iter().any(|(r, n)| *r == reason && *n == name);
                // Only locks are taken as often as they must be released.
                if !known || reason == PinReason::NamedLock {
                    self.named.push((reason, name));
                }
            }
            Some(_) | None => self.uncounted |= reason.bit(),
        }
    }

    fn end(&mut self, reason: PinReason, name: Option<&Name>) {
        match name {
            Some(name) => {
                if let Some(at) = self.named.iter().position(|(r, n)| *r == reason && n == name) {
                    self.named.swap_remove(at);
                }
            }
            None => {
                self.uncounted &= !reason.bit();
                self.named.retain(|(r, _)| *r != reason);
            }
        }
    }

    /// From now on only a reset ends the reason, if it is there.
    fn forget_names(&mut self, reason: PinReason) {
        let before = self.named.len();
        self.named.retain(|(r, _)| *r != reason);
        if self.named.len() < before {
            self.uncounted |= reason.bit();
        }
    }

    fn iter(&self) -> impl Iterator<Item = PinReason> + '_ {
        let held = self.named.iter().fold(self.uncounted, |bits, (reason, _)| bits | reason.bit());
        // Most sessions have none, and are asked several times for each statement.
        let reasons = if held == 0 { &[] } else { PinReason::ALL };
        reasons.iter().copied().filter(move |reason| held & reason.bit() != 0)
    }
}
