//! A read-only transaction on a replica: what it can't do there is done on the primary, or not at all.
//!
//! What would tie the session to the replica beyond the transaction (a lock, a user variable that only the server knows)
//! moves a transaction that has seen nothing yet; one that has is rolled back, and those that follow run on the primary.
//!
//! Never here: the decision (`sluice_routing::read_only`), bytes of a statement.

use sluice_protocol::response::Answer;
use sluice_protocol::{ErrPacket, ErrorCode};
use sluice_routing::decide::Listener;
use sluice_routing::effects::Effect;
use sluice_routing::intent::{Access, Intent, PrimaryNeed, Statement, WriteKind};
use sluice_routing::pin::PinReason;
use sluice_routing::read_only::{Fate, fate};
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;

use super::backends::LastUser;
use super::failure::{Cause, Failure};
use super::place::NoPlace;
use super::settle::LASTING;
use super::{Session, Transaction};

impl Session {
    /// Before a statement is placed: sees to it that a session at home on a replica does there only what it can.
    pub(super) async fn fit_to_replica(
        &mut self,
        statement: &Statement,
        deadline: Instant,
    ) -> Result<(), NoPlace> {
        let split = self.listener == Listener::Split;
        let Some(home) = self.home.filter(|_| split && self.at_home_on_replica()) else { return Ok(()) };
        let held = self.facts.pins().any(|pin| pin != PinReason::OpenTransaction);
        if !self.facts.in_read_only_transaction() {
            return self.is_beyond_replica(statement);
        }
        match fate(statement, self.seen, &self.facts) {
            Fate::Stays => Ok(()),
            Fate::Refuses if self.has_pin(PinReason::TemporaryTable) => Ok(()),
            Fate::Refuses => {
                let code = ErrorCode::ReadOnlyTransaction;
                Err(Failure::Refused(Box::new(ErrPacket::own(code, ""))).into())
            }
            Fate::Ends if held => self.is_beyond_replica(statement),
            // It is tied already.
            Fate::Moves | Fate::RollsBack if held => Ok(()),
            Fate::Ends => {
                self.leave_replica(home).await;
                Ok(())
            }
            Fate::Moves => {
                self.leave_replica(home).await;
                self.begin_on_primary(deadline).await
            }
            Fate::RollsBack => {
                self.leave_replica(home).await;
                self.facts.observe_tie_to_replica();
                Err(Failure::RolledBack(Cause::TiesToReplica).into())
            }
        }
    }

    fn has_pin(&self, wanted: PinReason) -> bool {
        self.facts.pins().any(|pin| pin == wanted)
    }

    /// Ends the transaction on the replica. Nothing in it can be lost: it has written nothing.
    async fn leave_replica(&mut self, home: InstanceId) {
        let Some(backend) = self.backends.get_mut(home) else { return };
        if !matches!(backend.query(b"COMMIT").await, Ok(Answer::Ok(_))) {
            self.backends.drop_connection(home);
        }
        let _ = self.lost_home(home, Cause::InstanceLost);
    }

    /// Begins on the primary what has just been left on a replica.
    async fn begin_on_primary(&mut self, deadline: Instant) -> Result<(), NoPlace> {
        let needs = Statement::of(Intent::NeedsPrimary(PrimaryNeed::Attached));
        let primary = Box::pin(self.place(&needs, deadline)).await?;
        let Some(backend) = self.backends.get_mut(primary) else {
            return Err(Failure::RolledBack(Cause::InstanceLost).into());
        };
        let Ok(Answer::Ok(begun)) = backend.query(b"START TRANSACTION READ ONLY").await else {
            self.backends.drop_connection(primary);
            return Err(Failure::RolledBack(Cause::InstanceLost).into());
        };
        backend.last_user = LastUser::Another;
        self.facts.observe_status(begun.status);
        self.status = begun.status & LASTING;
        self.transaction = Transaction::Explicit;
        self.home = Some(primary);
        self.publish_facts();
        Ok(())
    }

    /// State that can't be moved (a procedure has left it) holds the session on a replica, outside of any transaction. A
    /// session that could never write again would be worse than one that has to connect again.
    fn is_beyond_replica(&self, statement: &Statement) -> Result<(), NoPlace> {
        let beyond = match statement.intent {
            Intent::Write(WriteKind::Data) => !self.has_pin(PinReason::TemporaryTable),
            Intent::Write(
                WriteKind::Definition | WriteKind::Account | WriteKind::Xa | WriteKind::Administration,
            ) => true,
            Intent::TransactionStart { access: Access::ReadOnly, .. } => false,
            Intent::TransactionStart { access: Access::Default, .. } => !self.facts.read_only_session(),
            Intent::TransactionStart { access: Access::ReadWrite, .. } => true,
            Intent::Write(WriteKind::TemporaryTable | WriteKind::Call)
            | Intent::HarmlessRead
            | Intent::NeedsPrimary(_)
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::SessionState => statement.effects.has(Effect::SetsGlobal),
        };
        let own_login = self.has_pin(PinReason::ClientLogin);
        if beyond && !own_login {
            return Err(Failure::NotExecuted(Cause::HeldByReplica).into());
        }
        Ok(())
    }
}
