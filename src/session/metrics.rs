//! The counters of the session room, declared where they are counted. Handles are resolved once.
//!
//! Never here: labels from clients, a lookup per statement.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use sluice_routing::prediction::Misprediction;

use super::End;
use super::failure::Failure;
use super::reads::ReadCounters;
use super::sharing::Borrowed;

/// Handles of all counters of the room.
#[derive(Clone)]
pub struct Metrics {
    sessions: Gauge,
    held: Counter,
    retried_refusals: Counter,
    to_primary: Counter,
    to_replica: Counter,
    rolled_back: Counter,
    not_executed: Counter,
    outcome_unknown: Counter,
    client_faults: Counter,
    server_refusals: Counter,
    answers_cut: Counter,
    mispredictions: [Counter; Misprediction::ALL.len()],
    pub(super) reads: ReadCounters,
    borrowed_own: Counter,
    borrowed_same: Counter,
    borrowed_other: Counter,
    borrowed_reset: Counter,
    borrowed_handed_over: Counter,
    borrowed_dialled: Counter,
    waited_for_place: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Declares the counters with the installed recorder and resolves their handles.
    pub fn new() -> Self {
        describe_gauge!("sluice_sessions", "Logged-in clients.");
        describe_counter!("sluice_statements_held_total", "Times a statement began to wait at the gate.");
        describe_counter!(
            "sluice_refusals_retried_total",
            "Statements a server refused as read-only or stopping that went back to the gate."
        );
        describe_counter!("sluice_statements_total", "Statements by where they were sent.");
        describe_counter!(
            "sluice_errors_sent_total",
            "Errors Sluice itself answered, by code: 1213 rolled back, 1053 not executed, 1180 outcome unknown."
        );
        describe_counter!("sluice_sessions_ended_total", "Ended sessions by reason.");
        describe_counter!(
            "sluice_classifier_mispredict_total",
            "Statements of which the server's answer told something else than was predicted, by kind."
        );
        describe_counter!("sluice_backend_borrows_total", "Connections taken for a statement, by how.");
        describe_counter!(
            "sluice_backend_waits_total",
            "Times a statement had to wait because all connections to its instance were in use."
        );
        let borrowed = |how: &'static str| counter!("sluice_backend_borrows_total", "how" => how);
        let sent = |code: &'static str| counter!("sluice_errors_sent_total", "code" => code);
        Self {
            sessions: gauge!("sluice_sessions"),
            held: counter!("sluice_statements_held_total"),
            retried_refusals: counter!("sluice_refusals_retried_total"),
            to_primary: counter!("sluice_statements_total", "to" => "primary"),
            to_replica: counter!("sluice_statements_total", "to" => "replica"),
            rolled_back: sent("1213"),
            not_executed: sent("1053"),
            outcome_unknown: sent("1180"),
            client_faults: sent("client_fault"),
            server_refusals: sent("passed_on"),
            answers_cut: sent("cut"),
            mispredictions: std::array::from_fn(|kind| {
                let kind = Misprediction::ALL.get(kind).map_or("", |kind| kind.as_str());
                counter!("sluice_classifier_mispredict_total", "kind" => kind)
            }),
            reads: ReadCounters::new(),
            borrowed_own: borrowed("own"),
            borrowed_same: borrowed("same_state"),
            borrowed_other: borrowed("other_state"),
            borrowed_reset: borrowed("reset"),
            borrowed_handed_over: borrowed("handed_over"),
            borrowed_dialled: borrowed("dialled"),
            waited_for_place: counter!("sluice_backend_waits_total"),
        }
    }

    pub(super) fn session_began(&self) {
        self.sessions.increment(1.0);
    }

    pub(super) fn session_ended(&self, end: End) {
        self.sessions.decrement(1.0);
        let why = match end {
            End::ClientLeft => "client_left",
            End::ClientLost => "client_lost",
            End::Failed => "failed",
            End::Ordered => "ordered",
            End::ChangeUserRefused => "change_user_refused",
        };
        counter!("sluice_sessions_ended_total", "why" => why).increment(1);
    }

    pub(super) fn held(&self) {
        self.held.increment(1);
    }

    pub(super) fn retried_refusal(&self) {
        self.retried_refusals.increment(1);
    }

    pub(super) fn mispredicted(&self, kind: Misprediction) {
        if let Some(counter) = self.mispredictions.get(kind as usize) {
            counter.increment(1);
        }
    }

    pub(super) fn sent_to_primary(&self) {
        self.to_primary.increment(1);
    }

    pub(super) fn sent_to_replica(&self) {
        self.to_replica.increment(1);
    }

    pub(super) fn borrowed(&self, how: Borrowed) {
        let counter = match how {
            Borrowed::Own => &self.borrowed_own,
            Borrowed::SameState => &self.borrowed_same,
            Borrowed::OtherState => &self.borrowed_other,
            Borrowed::Reset => &self.borrowed_reset,
            Borrowed::HandedOver => &self.borrowed_handed_over,
            Borrowed::Dialled => &self.borrowed_dialled,
        };
        counter.increment(1);
    }

    pub(super) fn waited_for_place(&self) {
        self.waited_for_place.increment(1);
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let counter = match failure {
            Failure::RolledBack(_) => &self.rolled_back,
            Failure::NotExecuted(_) | Failure::AskedTooLate => &self.not_executed,
            Failure::OutcomeUnknown => &self.outcome_unknown,
            Failure::Client(_) => &self.client_faults,
            Failure::Server(_) | Failure::Refused(_) | Failure::AlreadyAnswered => &self.server_refusals,
            Failure::AnswerCut => &self.answers_cut,
        };
        counter.increment(1);
    }
}
