//! Learning from an answer: status flags and trackers become the session's state, facts, pins and place at
//! the gate.
//!
//! Never here: bytes to or from anyone but the one question that an error inside a transaction needs.

use sluice_protocol::command::SetOption;
use sluice_protocol::trackers::VariableChange;
use sluice_protocol::{Answer, Capabilities, StatusFlags};
use sluice_routing::effects::Effect;
use sluice_routing::intent::{Intent, Statement};
use sluice_routing::pin::PinReason;
use sluice_routing::prediction::{Observed, compare};
use sluice_routing::session_facts::Outcome;
use sluice_routing::topology::InstanceId;
use sluice_routing::variables::TRACKED;

use super::backends::{Hidden, LastUser};
use super::prepared::Attached;
use super::relay::Told;
use super::state::Settings;
use super::{Session, Transaction, Triggers};
use crate::feed::registry::Open;

/// What leaves open, if the statement fails, what it has set.
const HALF_DONE: [Effect; 5] = [
    Effect::SeveralStatements,
    Effect::SetsTracked,
    Effect::SetsReading,
    Effect::UsesTrackers,
    Effect::SetsLastInsertId,
];
/// The flags that say something about more than the statement just done.
pub(super) const LASTING: StatusFlags = StatusFlags::IN_TRANS
    .union(StatusFlags::AUTOCOMMIT)
    .union(StatusFlags::NO_BACKSLASH_ESCAPES)
    .union(StatusFlags::IN_TRANS_READONLY);

impl Session {
    /// Takes in what the answer to `statement` at `instance` told.
    pub(super) async fn settle(&mut self, instance: InstanceId, statement: &Statement, told: &Told) {
        let outcome = if told.error.is_some() { Outcome::Failed } else { Outcome::Done };
        self.count_mispredictions(statement, told);
        if let Some(error) = told.error.as_ref().filter(|_| told.reworded) {
            self.left.failed(error);
        }
        // Shared by the sessions of all workers: a count that changes with each statement would go from core to core.
        let before = (!told.changes.is_empty()).then(|| std::sync::Arc::clone(self.state.settings()));
        self.take_in_changes(told);
        let status = match (told.error.is_some() && self.may_have_moved(statement), told.status) {
            // An error carries no status flags, and it may have ended the transaction (1213) or not (1062).
            (true, _) => Box::pin(self.ask_status(instance)).await.or(told.status),
            (false, status) => status,
        };
        if let Some(status) = status {
            self.facts.observe_status(status);
            self.status = status & LASTING;
        }
        self.facts.observe_statement(statement, outcome);
        self.seen = self.seen.after(statement);
        self.remember_replayable(statement, outcome);
        let told_variables = !told.changes.system_variables.is_empty();
        let asked = told_variables && Box::pin(self.take_in_collation(instance, told)).await;
        self.note_on_connection(instance, statement, told, before.as_deref());
        if let Some(backend) = self.backends.get_mut(instance).filter(|_| asked) {
            backend.last_user = LastUser::Another;
        }
        if statement.effects.has(Effect::SetsLastInsertId) && !matches!(statement.intent, Intent::Write(_)) {
            Box::pin(self.ask_insert_id(instance)).await;
        }
        self.note_created(instance, statement);
        if statement.effects.has(Effect::UsesTrackers) {
            Box::pin(self.settle_trackers(instance, statement)).await;
        }
        self.note_answer(instance, statement, told);
        self.home = self.facts.pin().map(|_| self.home.unwrap_or(instance));
        self.publish_facts();
    }

    /// Compares what was predicted of a statement with what its answer told; call it while the facts are those
    /// before the answer.
    fn count_mispredictions(&self, statement: &Statement, told: &Told) {
        let changes = &told.changes;
        let began = told.status.is_some_and(|status| status.contains(StatusFlags::IN_TRANS))
            && !self.facts.in_transaction()
            && self.facts.autocommit();
        let observed = Observed {
            wrote: changes.gtids.is_some().into(),
            opened_transaction: began.into(),
            changed_state: (changes.state_changed || changes.schema.is_some()).into(),
        };
        for kind in compare(statement, &observed) {
            tracing::debug!(kind = kind.as_str(), %statement, "a statement was not what it was taken for");
            self.context.metrics.mispredicted(kind);
        }
    }

    /// Keeps with the connection what is set on it now.
    fn note_on_connection(
        &mut self,
        instance: InstanceId,
        statement: &Statement,
        told: &Told,
        before: Option<&Settings>,
    ) {
        let triggers = self.context.triggers();
        let Some(backend) = self.backends.get_mut(instance) else { return };
        backend.last_user = LastUser::ThisSession;
        if told.last_insert_id != 0 {
            backend.insert_id = told.last_insert_id;
        }
        let effects = &statement.effects;
        // An error carries no trackers, and what came before it in the text may have been done.
        let half_done = told.error.is_some() && HALF_DONE.iter().any(|&effect| effects.has(effect));
        // A view's function, say.
        let unseen = told.changes.state_changed && statement.intent == Intent::HarmlessRead;
        if effects.has(Effect::Unprovable) || half_done || unseen {
            backend.hidden = Hidden::Possible;
        } else if matches!(statement.intent, Intent::Write(_))
            && triggers == Triggers::MayLeaveAnything
            && backend.hidden == Hidden::Nothing
        {
            backend.hidden = Hidden::OfTriggers;
        }
        backend.users = backend.users.used();
        // A connection whose schema could not be set to the session's has it only if the server said so.
        let settings = self.state.settings();
        let schema = before.unwrap_or(settings).schema();
        let schema_known = told.changes.schema.is_some() || backend.has.schema() == schema;
        match schema_known {
            true if std::sync::Arc::ptr_eq(&backend.has, settings) => {}
            true => backend.has = std::sync::Arc::clone(settings),
            false => backend.has = std::sync::Arc::new(settings.in_schema(backend.has.schema())),
        }
    }

    /// Servers tell of a new `character_set_connection`, but not of the `collation_connection` that SET NAMES
    /// sets along with it (seen on 9.7.4): it has to be asked for. Says whether it was.
    async fn take_in_collation(&mut self, instance: InstanceId, told: &Told) -> bool {
        let variables = &told.changes.system_variables;
        let tells = |wanted: &[u8]| variables.iter().rposition(|variable| *variable.name == *wanted);
        let told_charset = tells(b"character_set_connection");
        if told_charset.is_none() || told_charset < tells(b"collation_connection") {
            return false;
        }
        self.state.set_collation(None);
        if told.by_names && tells(b"character_set_client").is_some() {
            self.state.set_names();
        }
        if !told.may_collate {
            return false;
        }
        // Asking would take away what the client may want to see.
        self.read_off(instance).await;
        self.ask_collation(instance).await;
        true
    }

    /// Asks for the collation that a statement has set.
    async fn ask_collation(&mut self, instance: InstanceId) {
        let Some(backend) = self.backends.get_mut(instance) else { return };
        match backend.query(b"SELECT @@collation_connection").await {
            Ok(Answer::Rows { rows, .. }) => {
                let row = rows.first().and_then(|row| row.first());
                self.state.set_collation(row.and_then(Option::as_deref));
                backend.has = std::sync::Arc::clone(self.state.settings());
            }
            // Refused in the sandbox of an expired password, where nothing else can be done either.
            Ok(Answer::Error(_)) => {}
            Ok(Answer::Ok(_)) | Err(_) => self.backends.drop_connection(instance),
        }
    }

    /// `SELECT LAST_INSERT_ID(n)` is told by nobody.
    async fn ask_insert_id(&mut self, instance: InstanceId) {
        // After an error, too: of several statements the first may have set it.
        self.read_off(instance).await;
        let Some(backend) = self.backends.get_mut(instance) else { return };
        let Ok(Answer::Rows { rows, .. }) = backend.query(b"SELECT LAST_INSERT_ID()").await else {
            self.backends.drop_connection(instance);
            return;
        };
        let value = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        let id = value.and_then(|value| std::str::from_utf8(value).ok()).and_then(|text| text.parse().ok());
        if let Some(id) = id {
            backend.insert_id = id;
            self.state.force_last_insert_id(id);
        }
        backend.last_user = LastUser::Another;
    }

    /// Whether an error to this statement leaves it open what state the server is in.
    fn may_have_moved(&self, statement: &Statement) -> bool {
        self.facts.in_transaction() || !self.facts.autocommit() || !statement.effects.is_empty()
    }

    /// The server's status flags, asked for. A connection that does not answer is of no more use: its answer,
    /// coming late, would be taken for that of a later statement.
    async fn ask_status(&mut self, instance: InstanceId) -> Option<StatusFlags> {
        let as_logged_in = self.login.client_capabilities.contains(Capabilities::MULTI_STATEMENTS);
        let known = match self.state.multi_statements().unwrap_or(as_logged_in) {
            true => SetOption::MultiStatementsOn,
            false => SetOption::MultiStatementsOff,
        };
        let status = self.backends.get_mut(instance)?.status_after_error(known).await;
        if status.is_err() {
            self.backends.drop_connection(instance);
        }
        status.ok()
    }

    fn take_in_changes(&mut self, told: &Told) {
        let changes = &told.changes;
        for VariableChange { name, value } in &changes.system_variables {
            // The client's own list of variables may tell of more, such as the number of each statement.
            if !TRACKED.iter().any(|tracked| tracked.as_bytes() == &**name) {
                continue;
            }
            self.facts.observe_variable(name, value);
            let full = match std::str::from_utf8(name) {
                Ok(name) => self.state.set_variable(name, value).is_err(),
                Err(_) => true,
            };
            if full {
                self.facts.hold(PinReason::UntrackedVariable, None);
            }
        }
        if let Some(schema) = &changes.schema {
            self.facts.observe_schema(schema);
            self.state.set_schema(schema);
        }
        if changes.state_changed {
            self.facts.observe_state_change();
        }
        if let Some(state) = &changes.transaction_state {
            let explicit = state.letters().first() == Some(&b'T');
            self.transaction = if explicit { Transaction::Explicit } else { Transaction::Implicit };
        }
        if let Some(characteristics) = &changes.transaction_characteristics {
            self.facts.observe_characteristics(characteristics);
        }
        self.state.set_last_insert_id(told.last_insert_id);
    }

    fn remember_replayable(&mut self, statement: &Statement, outcome: Outcome) {
        if outcome == Outcome::Failed {
            return;
        }
        for assignment in statement.effects.assignments() {
            if self.state.set_user_variable(&assignment.name, &assignment.literal).is_err() {
                self.facts.hold(PinReason::UserVariable, None);
            }
        }
        if let Some(role) = statement.effects.role() {
            self.state.set_role(role);
        }
    }

    /// Long data or a cursor came or went.
    pub(super) fn observe_attached(&mut self) {
        for (reason, attached) in
            [(PinReason::OpenCursor, Attached::Cursor), (PinReason::LongData, Attached::LongData)]
        {
            if self.statements.any(attached) {
                self.facts.hold(reason, None);
            } else {
                self.facts.release(reason, None);
            }
        }
        self.home = self.facts.pin().and(self.home.or(self.last));
        self.publish_facts();
    }

    /// Whether what ties the session to a connection is on a replica.
    pub(super) fn at_home_on_replica(&self) -> bool {
        self.home.is_some() && self.home == self.replica
    }

    /// Shows the facts at the gate and in the registry.
    pub(super) fn publish_facts(&mut self) {
        let in_transaction = self.facts.in_transaction();
        let pins = self
            .facts
            .pins()
            .filter(|&reason| reason != PinReason::OpenTransaction)
            .fold(0, |bits, reason| bits | 1 << reason as u32);
        // What is held on a replica is in no switchover's way. What begins is counted before what ends, or
        // a drain would see neither.
        let counts = !self.at_home_on_replica();
        if counts && in_transaction {
            self.seat.stay();
        }
        if counts && pins != 0 {
            self.seat.pin();
        }
        if !(counts && in_transaction) {
            self.seat.leave();
        }
        if !(counts && pins != 0) {
            self.seat.unpin();
        }
        let entry = self.registration.entry();
        entry.set_transaction(match (in_transaction, &self.put_off) {
            (true, _) => Open::OnServer,
            (false, Some(_)) => Open::ForClient,
            (false, None) => Open::No,
        });
        entry.set_pins(pins);
    }
}
