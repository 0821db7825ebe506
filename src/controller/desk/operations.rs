//! Operations as they are shown while they run, and remembered when they end.
//!
//! Never here: what an operation does.

use std::sync::Arc;
use std::time::SystemTime;

use super::super::api::{FailoverRequest, OperationState, OperationView, Request, StepView};
use super::super::plan;
use super::super::record::{OperationKind, Phase, Record};
use super::{Desk, State};

/// Operations kept for `sluice status` and `/operations`; older ones are in the history.
const OPERATIONS_KEPT: usize = 32;

/// The kind of an operation that fills a member; it may run beside one on roles.
pub(in crate::controller) const REBUILD: &str = "rebuild";

/// The cause of what somebody has asked for.
pub(in crate::controller) const ASKED: &str = "asked for";

/// The kind of a program that runs beside everything.
pub(in crate::controller) const HOOK: &str = "hook";

impl Desk {
    /// The operation on roles under way.
    pub(in crate::controller) fn running(&self) -> Option<OperationView> {
        running(&self.state().operations).cloned()
    }

    /// The rebuild under way.
    pub(in crate::controller) fn rebuilding(&self) -> Option<OperationView> {
        rebuilding(&self.state().operations).cloned()
    }

    /// Starts showing an operation; returns its id.
    pub(in crate::controller) fn begin(&self, kind: &str, target: Option<String>, who: &str) -> String {
        let id = format!("{:08x}", rand::random::<u32>());
        self.begin_as(id, kind, target, who)
    }

    /// The same for one that has an id already.
    pub(in crate::controller) fn begin_as(
        &self,
        id: String,
        kind: &str,
        target: Option<String>,
        who: &str,
    ) -> String {
        let view = OperationView {
            id: id.clone(),
            kind: kind.into(),
            target,
            who: who.into(),
            began: rfc3339(),
            ..OperationView::default()
        };
        let mut state = self.state();
        state.operations.push(view);
        let mut surplus = state.operations.len().saturating_sub(OPERATIONS_KEPT);
        state.operations.retain(|view| {
            let goes = surplus > 0 && view.state != OperationState::Running;
            surplus -= usize::from(goes);
            !goes
        });
        self.show(&state);
        id
    }

    /// Says why an operation was begun.
    pub(in crate::controller) fn because(&self, id: &str, cause: &str) {
        self.operation(id, |view| view.cause = Some(cause.to_owned()));
    }

    /// Writes the operation to the history that a Sluice of before has left in the record without an end, and takes it
    /// out of this copy of it. That one could write nothing any more.
    pub(in crate::controller) fn close_left_behind(&self, record: &Record) -> Record {
        let known = |id: &str| self.state().operations.iter().any(|view| view.id == id);
        if let Some(left) = record.operation.as_ref().filter(|left| !known(&left.id)) {
            let to = self.view().by_uuid(left.to).map(|instance| instance.name.to_string());
            let kind = match left.kind {
                OperationKind::Switchover => "switchover",
                OperationKind::Failover => "failover",
            };
            self.begin_as(left.id.clone(), kind, to, &left.who);
            self.because(&left.id, "found in the record: the sluice that began it has ended");
            let (state, outcome) = match left.phase {
                Phase::Preparing => {
                    (OperationState::Undone, "the epoch was not changed; upkeep undoes the rest")
                }
                Phase::Promoted => (OperationState::Done, "the epoch was changed; upkeep does the rest"),
            };
            self.end(&left.id, state, outcome.to_owned(), None);
        }
        plan::close_operation(record)
    }

    /// Changes an operation as shown.
    pub(in crate::controller) fn operation(&self, id: &str, change: impl FnOnce(&mut OperationView)) {
        let mut state = self.state();
        if let Some(view) = state.operations.iter_mut().find(|view| view.id == id) {
            change(view);
        }
        self.show(&state);
    }

    /// Adds a step to an operation.
    pub(in crate::controller) fn step(&self, id: &str, step: StepView) {
        self.operation(id, |view| view.steps.push(step));
    }

    /// Writes an operation to the history and ends it: who sees its end finds it there.
    pub(in crate::controller) fn end(
        &self,
        id: &str,
        state: OperationState,
        outcome: String,
        hint: Option<String>,
    ) {
        tracing::info!(operation = id, ?state, %outcome, "operation ended");
        let running = self.state().operations.iter().find(|view| view.id == id).cloned();
        let Some(running) = running else { return };
        let (outcome, ended) = (Some(outcome), Some(rfc3339()));
        let ended = OperationView { state, outcome, hint, ended, ..running };
        if let Err(error) = self.store.remember(&ended) {
            self.set_trouble(Some(format!("the history can't be written: {error}")));
        }
        self.operation(id, |view| *view = ended);
    }

    /// Does what an operation with a single step does, and shows it.
    pub(in crate::controller) fn single(
        &self,
        kind: &str,
        request: &Request,
        target: &str,
        outcome: Result<String, String>,
    ) -> String {
        let who = match request {
            Request::Adopt { who, .. } | Request::Failover(FailoverRequest { who, .. }) => who.as_str(),
            Request::Mark { terms, .. } | Request::Promotion { terms, .. } | Request::Pause(terms) => {
                terms.who.as_str()
            }
            Request::Unmark { who, .. } | Request::Resume { who } => who.as_str(),
            Request::Switchover(wanted) => wanted.who.as_str(),
            Request::Rebuild(wanted) => wanted.who.as_str(),
        };
        let id = self.begin(kind, Some(target.to_owned()), who);
        self.because(&id, ASKED);
        match outcome {
            Ok(done) => self.end(&id, OperationState::Done, done, None),
            Err(refused) => self.end(&id, OperationState::Refused, refused, None),
        }
        id
    }

    fn show(&self, state: &State) {
        self.seat.operations.send_replace(Arc::new(state.operations.clone()));
    }
}

pub(super) fn running(operations: &[OperationView]) -> Option<&OperationView> {
    let runs = |view: &&OperationView| {
        view.state == OperationState::Running && !matches!(&*view.kind, REBUILD | HOOK)
    };
    operations.iter().rev().find(runs)
}

pub(super) fn rebuilding(operations: &[OperationView]) -> Option<&OperationView> {
    operations.iter().rev().find(|view| view.state == OperationState::Running && view.kind == REBUILD)
}

/// Now, for people.
fn rfc3339() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
