//! Where the next statement runs, and making that place ready: the gate, the connection, the state on it.
//!
//! The decision itself is `sluice_routing::decide`; this file carries it out and tries again while the
//! topology changes, always within the hold limit.
//!
//! Never here: the decision, bytes of a statement.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use sluice_protocol::{ErrPacket, ErrorCode, StatusFlags};
use sluice_routing::decide::{
    PrimaryReason, RefuseReason, ReplicaReason, Route, Situation, decide, passes_gate,
};
use sluice_routing::effects::Effect;
use sluice_routing::intent::{Intent, Statement};
use sluice_routing::pin::PinReason;
use sluice_routing::session_facts::SessionFacts;
use sluice_routing::topology::{InstanceId, Reads, ReadsStopped, Topology};
use tokio::time::{Instant, sleep};

use super::backends::{NotReady, UseAs};
use super::failure::{Cause, Failure};
use super::freshness::{Lens, Patience};
use super::{End, Session};
use crate::feed::gate::HoldEnd;
use crate::feed::registry::{Activity, Entry, RouteNote};

/// Pause before something that failed for lack of a server is tried again, unless the topology changes.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The same for a replica: the primary can serve instead, and is not kept waiting for a frozen server.
const REPLICA_DIAL_DEADLINE: Duration = Duration::from_millis(1500);
/// How long a replica that could not be used is left alone by this session; by then the controller has seen
/// for itself.
const SHUN: Duration = Duration::from_secs(5);
/// A server's answer to a login beyond `max_connections`.
const TOO_MANY_CONNECTIONS: u16 = 1040;
/// The same for `max_user_connections`.
const TOO_MANY_OF_USER: u16 = 1203;
/// The same for a limit of the account, such as MAX_USER_CONNECTIONS.
const LIMIT_OF_USER: u16 = 1226;
/// Bytes a client may send ahead while its statement is held; beyond that they are left to TCP.
const MAX_READ_AHEAD: usize = 64 * 1024;

/// Why there is no place for a statement.
pub(super) enum NoPlace {
    /// To be answered.
    Fail(Failure),
    /// The session is over.
    End(End),
}

impl From<Failure> for NoPlace {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

impl Session {
    /// Finds the instance for a statement and makes the connection to it ready. For a write the gate has been
    /// passed when this returns.
    pub(super) async fn place(
        &mut self,
        statement: &Statement,
        deadline: Instant,
    ) -> Result<InstanceId, NoPlace> {
        if self.at_home_on_replica() {
            Box::pin(self.fit_to_replica(statement, deadline)).await?;
        }
        if let Some(home) = self.home {
            return self.place_at_home(statement, home);
        }
        if statement.intent == Intent::LastStatement
            && let Some(last) = Box::pin(self.place_of_last(statement, deadline)).await?
        {
            return Ok(last);
        }
        self.reading.begin(self.hints.wait_gtid.as_ref());
        let mut patience = Patience::Fresh;
        loop {
            let topology = self.visible_topology();
            let route = self.route(statement, &topology);
            if route == Route::Primary(PrimaryReason::FreshRead) && patience == Patience::Fresh {
                patience = Patience::Spent;
                if Box::pin(self.wait_fresh(statement, &topology)).await {
                    patience = Patience::Rewarded;
                    continue;
                }
            }
            self.facts.observe_route(&route);
            self.registration.entry().set_route((&route).into());
            match route {
                Route::Refuse(reason) => {
                    return Err(refusal(reason).into());
                }
                Route::Replica(replica, _) => {
                    if self.ready_replica(statement, replica, &topology).await? {
                        self.replica = Some(replica);
                        self.context.metrics.sent_to_replica();
                        self.count_read(statement, &route, &topology, patience);
                        return Ok(replica);
                    }
                    if Instant::now() >= deadline {
                        return Err(Failure::NotExecuted(Cause::Unreachable).into());
                    }
                }
                Route::Primary(_) => {
                    if let Some(primary) = self.ready_primary(statement, &route, &topology, deadline).await? {
                        self.context.metrics.sent_to_primary();
                        self.count_read(statement, &route, &topology, patience);
                        return Ok(primary);
                    }
                }
            }
        }
    }

    /// Where a question about the last statement is answered, if the connection of that is still at hand.
    async fn place_of_last(
        &mut self,
        question: &Statement,
        deadline: Instant,
    ) -> Result<Option<InstanceId>, NoPlace> {
        self.repeat_on_primary(question, deadline).await?;
        let Some(last) = self.last_at_hand() else {
            return if self.asks_only_there { Err(Failure::AskedTooLate.into()) } else { Ok(None) };
        };
        let on_primary = self.context.feed.topology().is_primary(last);
        self.registration.entry().set_route(if on_primary {
            RouteNote::Primary(PrimaryReason::LastStatement)
        } else {
            RouteNote::Replica(ReplicaReason::LastStatement)
        });
        Ok(Some(last))
    }

    /// An open transaction or another pin: there is one place only.
    fn place_at_home(&mut self, statement: &Statement, home: InstanceId) -> Result<InstanceId, NoPlace> {
        // A frozen primary that was replaced may be thawed any moment: it is never asked again.
        if self.context.feed.is_disowned(home) {
            self.backends.drop_connection(home);
        }
        if self.backends.living(home).is_none() {
            let failure = self.lost_home(home, Cause::InstanceLost);
            return Err(failure.unwrap_or(Failure::NotExecuted(Cause::StateLost)).into());
        }
        self.registration.entry().set_route(self.route_home());
        if !self.at_home_on_replica() {
            // A pinned session is itself counted at the gate, so it may write while the gate is closed:
            // the drain waits for it, and for the transaction it may begin now and keep beyond its pin.
            self.seat.stay();
        }
        self.count_read_at_home(statement, home);
        Ok(home)
    }

    fn route_home(&self) -> RouteNote {
        match (self.at_home_on_replica(), self.facts.in_transaction()) {
            (true, _) => RouteNote::Replica(ReplicaReason::Pinned),
            (false, true) => RouteNote::Primary(PrimaryReason::OpenTransaction),
            (false, false) => RouteNote::Primary(PrimaryReason::Pinned),
        }
    }

    /// The topology without the replicas that this session just failed to use.
    fn visible_topology(&mut self) -> Guard<Arc<Topology>> {
        let topology = self.context.feed.topology();
        if self.shunned.is_empty() {
            return topology;
        }
        let now = Instant::now();
        self.shunned.retain(|(_, until)| *until > now);
        let mut visible = Topology::clone(&topology);
        let instances = topology.instances.iter().cloned().map(|mut instance| {
            if self.shunned.iter().any(|(shunned, _)| *shunned == instance.id) {
                instance.reads = Reads::Stopped(ReadsStopped::Unreachable);
            }
            instance
        });
        visible.instances = instances.collect();
        Guard::from_inner(Arc::new(visible))
    }

    async fn ready_replica(
        &mut self,
        statement: &Statement,
        replica: InstanceId,
        topology: &Topology,
    ) -> Result<bool, NoPlace> {
        let deadline = Instant::now() + REPLICA_DIAL_DEADLINE;
        // Within a transaction anything may be asked, LAST_INSERT_ID() as well.
        let begins = matches!(statement.intent, Intent::TransactionStart { .. }) || !self.facts.autocommit();
        let use_as = match use_of(statement, &self.facts) {
            UseAs::Reader if begins => UseAs::Writer,
            found @ (UseAs::Finder | UseAs::Writer | UseAs::Reader) => found,
        };
        match self.ready(replica, topology, use_as, deadline).await {
            Ok(()) => Ok(true),
            Err(NotReady::ClientGone) => Err(NoPlace::End(End::ClientLeft)),
            Err(error) => {
                tracing::debug!(%error, instance = replica.0, "replica not usable by this session");
                self.shun(replica);
                Ok(false)
            }
        }
    }

    /// Leaves a replica alone for a while.
    pub(super) fn shun(&mut self, replica: InstanceId) {
        self.backends.drop_connection(replica);
        self.replica = None;
        self.shunned.retain(|(shunned, _)| *shunned != replica);
        self.shunned.push((replica, Instant::now() + SHUN));
    }

    /// Makes the primary ready and passes the gate; `None`: look again.
    async fn ready_primary(
        &mut self,
        statement: &Statement,
        route: &Route,
        topology: &Topology,
        deadline: Instant,
    ) -> Result<Option<InstanceId>, NoPlace> {
        let Some(primary) = topology.primary else {
            self.hold(deadline, Cause::NoPrimary).await?;
            return Ok(None);
        };
        let use_as = self.use_of_primary(statement);
        match self.ready(primary, topology, use_as, deadline).await {
            Ok(()) => {}
            // The current schema is gone: a USE of another one is what the client will send next.
            Err(NotReady::NoSchema(_)) if statement.intent == Intent::SessionState => {
                self.without_schema(primary, topology, deadline).await?;
            }
            Err(NotReady::Refused(error) | NotReady::NoSchema(error)) => {
                return Err(Failure::Server(error).into());
            }
            Err(NotReady::ClientGone) => return Err(NoPlace::End(End::ClientLeft)),
            Err(error) => {
                if let Some(refusal) = error.refused_login()
                    && self.is_answer(primary, refusal, deadline)
                {
                    return Err(Failure::Server(Box::new(refusal.clone())).into());
                }
                tracing::debug!(%error, instance = primary.0, "primary not usable now");
                self.backends.drop_connection(primary);
                self.hold(deadline, Cause::Unreachable).await?;
                return Ok(None);
            }
        }
        if passes_gate(statement, route, &self.facts) {
            return Ok(Some(primary));
        }
        if self.seat.enter().is_err() {
            self.wait_at_gate(deadline, Cause::NoPrimary).await?;
            return Ok(None);
        }
        if self.context.feed.topology().primary == Some(primary) {
            return Ok(Some(primary));
        }
        self.seat.leave();
        Ok(None)
    }

    /// What a statement needs the primary's connection for.
    fn use_of_primary(&self, statement: &Statement) -> UseAs {
        let alone = self.facts.autocommit() && !self.facts.null_finds_last_insert();
        let use_as = use_of(statement, &self.facts);
        if use_as == UseAs::Finder {
            return use_as;
        }
        match statement.intent {
            Intent::HarmlessRead | Intent::SessionState if alone => use_as,
            Intent::HarmlessRead
            | Intent::SessionState
            | Intent::NeedsPrimary(_)
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. }
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::Write(_) => UseAs::Writer,
        }
    }

    /// Counts a wait and shows it until what is returned is dropped.
    fn note_held(&self) -> Held {
        self.context.metrics.held();
        Held::begin(Arc::clone(self.registration.entry()))
    }

    /// Waits at the gate, or, unless it is closed, for a moment. `Err` when the time is over or the client left.
    async fn hold(&mut self, deadline: Instant, cause: Cause) -> Result<(), NoPlace> {
        if self.context.feed.gate().closed().is_some() {
            return self.wait_at_gate(deadline, cause).await;
        }
        if Instant::now() >= deadline {
            return Err(Failure::NotExecuted(cause).into());
        }
        let _held = self.note_held();
        tokio::select! {
            changed = self.shape.changed() => {
                self.follow_shape(changed.is_ok());
                Ok(())
            }
            () = sleep(RETRY_PAUSE) => Ok(()),
            () = client_gone(&mut self.client) => Err(NoPlace::End(End::ClientLeft)),
        }
    }

    /// Waits until the gate lets this session try again.
    async fn wait_at_gate(&mut self, deadline: Instant, cause: Cause) -> Result<(), NoPlace> {
        if Instant::now() >= deadline {
            return Err(Failure::NotExecuted(cause).into());
        }
        let _held = self.note_held();
        tokio::select! {
            end = self.seat.hold(self.hold_limit()) => match end {
                HoldEnd::Released => Ok(()),
                HoldEnd::Expired => Err(Failure::NotExecuted(cause).into()),
            },
            () = client_gone(&mut self.client) => Err(NoPlace::End(End::ClientLeft)),
        }
    }

    /// The connection that held this session's transaction or pins is gone. Forgets them and says what the
    /// client has to hear, if it lost anything.
    pub(super) fn lost_home(&mut self, instance: InstanceId, cause: Cause) -> Option<Failure> {
        if self.home != Some(instance) {
            return None;
        }
        // Nothing is known to be lost with a procedure's connection.
        self.called_procedure = false;
        self.facts.release(PinReason::ProcedureCall, None);
        if self.facts.pin().is_none() {
            self.home = None;
            self.publish_facts();
            return None;
        }
        let only_transaction = self.facts.pins().all(|reason| reason == PinReason::OpenTransaction);
        self.home = None;
        if only_transaction {
            let gone = StatusFlags::IN_TRANS | StatusFlags::IN_TRANS_READONLY;
            self.status = self.status - gone;
            self.facts.observe_status(self.facts.status() - gone);
        } else {
            self.facts.observe_reset();
            self.statements.forget_attached();
        }
        self.publish_facts();
        let cause = match (only_transaction, cause) {
            (false, Cause::InstanceLost) => Cause::StateLost,
            (true | false, cause) => cause,
        };
        Some(if only_transaction { Failure::RolledBack(cause) } else { Failure::NotExecuted(cause) })
    }

    /// Whether a server's refusal of a login is the client's to hear. Stopping (1053), offline mode (3032) and
    /// a blocked host (1129) are states of the server that pass. So is its limit of connections, as long as
    /// others of ours are there to be waited for.
    fn is_answer(&self, instance: InstanceId, error: &ErrPacket<'_>, deadline: Instant) -> bool {
        let in_use = self.context.pools().places().used(instance);
        match error.code {
            1053 | 1129 | 3032 => false,
            TOO_MANY_CONNECTIONS | TOO_MANY_OF_USER | LIMIT_OF_USER => {
                in_use == 0 || Instant::now() + RETRY_PAUSE >= deadline
            }
            _ => true,
        }
    }

    fn route(&mut self, statement: &Statement, topology: &Topology) -> Route {
        let lens = Lens::new(&self.reading, self.context.feed.progress(), self.listener, statement.wish);
        let route = decide(
            statement,
            &Situation {
                listener: self.listener,
                facts: &self.facts,
                freshness: lens.freshness(),
                topology,
                current_replica: self.replica,
                fallback: self.context.replica_fallback(),
                seed: u64::from(self.registration.entry().id),
            },
        );
        if let Route::Replica(..) = route {
            let found = lens.found();
            self.remember_fresh(found);
        }
        route
    }
}

/// What a statement that does not write needs a connection for. One that ties the session to its connection is as good as
/// a writer: later statements find what is there. Of too many user variables some are left to the connection.
fn use_of(statement: &Statement, facts: &SessionFacts) -> UseAs {
    let effects = &statement.effects;
    let finds = [Effect::ReadsUserVariable, Effect::Unprovable, Effect::SeveralStatements];
    if finds.iter().any(|&effect| effects.has(effect)) {
        UseAs::Finder
    } else if !effects.assignments().is_empty() || facts.would_tie(statement) {
        UseAs::Writer
    } else {
        UseAs::Reader
    }
}

/// Shows a session as held for as long as it lives.
pub(super) struct Held(Arc<Entry>);

impl Held {
    pub(super) fn begin(entry: Arc<Entry>) -> Self {
        entry.set_activity(Activity::Held);
        Self(entry)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set_activity(Activity::Running);
    }
}

/// Waits until the client has closed its connection. What it sends meanwhile stays in its buffer.
pub(super) async fn client_gone(client: &mut crate::backend::PacketStream) {
    while client.buffer().len() < MAX_READ_AHEAD {
        if !matches!(client.fill().await, Ok(1..)) {
            return;
        }
    }
    std::future::pending().await
}

fn refusal(reason: RefuseReason) -> Failure {
    match reason {
        RefuseReason::ReadOnlyListener => {
            Failure::Refused(Box::new(ErrPacket::with_message(ErrorCode::ReadOnly, reason.sentence())))
        }
        RefuseReason::NoReplica => Failure::NotExecuted(Cause::NoReplica),
    }
}
