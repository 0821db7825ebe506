//! What has to be asked of a connection behind a statement: the trackers that it was lent, whether a procedure made a
//! temporary table or set roles.
//!
//! Asking takes away what SHOW WARNINGS and the like would tell. So it waits for the client's next statement that is no
//! such question, and comes before that is placed: where it may go hangs on the answer. A client that sends nothing is
//! not waited for longer than [`PATIENCE`], since until then nobody else gets the connection.
//!
//! Never here: how such a thing is asked.

use std::time::Duration;

use sluice_routing::intent::{Intent, PrimaryNeed, Statement, WriteKind};
use sluice_routing::pin::PinReason;
use sluice_routing::topology::InstanceId;

use super::Session;
use super::backends::{LastUser, Trackers};

/// How long a client has to ask about its last statement, if it asks at all: programs do so at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

impl Session {
    /// Whether something has to be asked of a connection before anybody else may use it.
    pub(super) fn has_questions(&mut self) -> bool {
        self.called_procedure || self.backends.iter_mut().any(|backend| backend.trackers != Trackers::Ours)
    }

    /// Asks what is to be asked before this statement is placed. LAST_INSERT_ID() is asked where it was made, often
    /// together with ROW_COUNT().
    pub(super) async fn ask_questions_before(&mut self, statement: &Statement) {
        let Some(last) = self.last else { return };
        match statement.intent {
            Intent::LastStatement => {}
            Intent::NeedsPrimary(PrimaryNeed::LastInsertId) => self.take_trackers_back(last).await,
            Intent::HarmlessRead
            | Intent::NeedsPrimary(_)
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. }
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::SessionState
            | Intent::Write(_) => self.ask_questions().await,
        }
    }

    /// Asks whatever is to be asked about the last statement.
    pub(super) async fn ask_questions(&mut self) {
        let Some(last) = self.last else { return };
        self.take_trackers_back(last).await;
        self.ask_what_was_created(last).await;
    }

    /// Before a procedure is called: how many tables were created and roles set on the connection so far.
    pub(super) async fn before_call(&mut self, instance: InstanceId) {
        if let Some(backend) = self.backends.get_mut(instance)
            && backend.created.is_none()
        {
            match backend.count_created().await {
                Ok(created) => backend.created = created,
                // The answer, coming late, would be taken for that of the call.
                Err(_) => self.backends.drop_connection(instance),
            }
        }
    }

    /// A procedure can leave a temporary table or other roles behind, and neither `CREATE TEMPORARY TABLE ... SELECT` nor
    /// SET ROLE is told by a tracker. Until the server was asked, the session stays where it is.
    pub(super) fn note_created(&mut self, instance: InstanceId, statement: &Statement) {
        match statement.intent {
            Intent::Write(WriteKind::Call) => {
                self.called_procedure = true;
                self.facts.hold(PinReason::ProcedureCall, None);
            }
            Intent::Write(WriteKind::Definition | WriteKind::TemporaryTable)
            | Intent::NeedsPrimary(_)
            | Intent::SessionState => {
                if let Some(backend) = self.backends.get_mut(instance) {
                    backend.created = None;
                }
            }
            Intent::HarmlessRead
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. }
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::Write(
                WriteKind::Data | WriteKind::Account | WriteKind::Xa | WriteKind::Administration,
            ) => {}
        }
    }

    /// Whether tables were created or roles set since a procedure was called: then something may be left of that.
    async fn ask_what_was_created(&mut self, instance: InstanceId) {
        if !std::mem::take(&mut self.called_procedure) {
            return;
        }
        self.facts.release(PinReason::ProcedureCall, None);
        self.read_off(instance).await;
        if let Some(backend) = self.backends.get_mut(instance) {
            let before = backend.created;
            backend.last_user = LastUser::Another;
            match backend.count_created().await {
                Ok(now) if now.is_some() && now == before => {}
                Ok(now) => {
                    backend.created = now;
                    self.facts.hold(PinReason::Unprovable, None);
                }
                // The next statement notices.
                Err(_) => self.backends.drop_connection(instance),
            }
        }
        self.home = self.facts.pin().and(self.home);
        self.publish_facts();
    }
}
