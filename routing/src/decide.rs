//! Where a statement goes, and why.
//!
//! This file must never send to a replica what is not proved harmless, except on the replica listener,
//! whose users asked for replicas and whose servers refuse writes by themselves.

use crate::effects::Effect;
use crate::freshness::FreshEnough;
use crate::hint::Wish;
use crate::intent::{Access, Intent, Statement, WriteKind};
use crate::pin::{PinReason, reasons};
use crate::session_facts::{LastRoute, SessionFacts};
use crate::topology::{Instance, InstanceId, Topology};

/// Which port the client came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// Writes to the primary, harmless reads to replicas.
    Split,
    /// Everything to the primary.
    Primary,
    /// Reads only.
    Replica,
}

/// What a replica must have executed before this session may read from it.
#[derive(Clone, Copy, Debug)]
pub enum Freshness<'a> {
    /// Any serving replica will do.
    Any,
    /// One of these: those that are known to have what the session must be able to see.
    Known(&'a dyn FreshEnough),
    /// Only the primary is fresh enough.
    Primary,
}

/// What the replica listener does when no replica serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// The primary serves.
    ToPrimary,
    /// Reads are refused.
    Refuse,
}

/// Everything beside the statement that the decision hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The port the client came in by.
    pub listener: Listener,
    /// The session.
    pub facts: &'a SessionFacts,
    /// What it must be able to read.
    pub freshness: Freshness<'a>,
    /// The roles now.
    pub topology: &'a Topology,
    /// The replica on which the session has a connection, if it has one.
    pub current_replica: Option<InstanceId>,
    /// What the replica listener does without replicas.
    pub fallback: Fallback,
    /// A random number of the session: spreads sessions over replicas evenly.
    pub seed: u64,
}

/// Where a statement goes. It says a role, not an instance, for the primary: who that is may change while
/// the statement waits at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// To the primary.
    Primary(PrimaryReason),
    /// To this replica.
    Replica(InstanceId, ReplicaReason),
    /// Nowhere: the client gets an error.
    Refuse(RefuseReason),
}

reasons! {
    /// Why a statement goes to the primary.
    PrimaryReason {
        /// The primary listener.
        Listener = "listener", "The listener sends everything to the primary.";
        /// It isn't a harmless read.
        Statement = "statement", "The statement is not proved harmless.";
        /// A transaction is open there.
        OpenTransaction = "open_transaction", "A transaction is open on the primary.";
        /// Something else holds the session there.
        Pinned = "pinned", "Session state ties the session to its connection to the primary.";
        /// Autocommit is off: a read would open a transaction.
        AutocommitOff = "autocommit_off", "Autocommit is off, so a read opens a transaction.";
        /// It asks about the statement before it.
        LastStatement = "last_statement", "It asks about the last statement, which ran on the primary.";
        /// It begins a read-only transaction, and an earlier one could not stay on its replica.
        ReadOnlyTies = "read_only_ties", "An earlier read-only transaction of the session did what can't be done on a replica.";
        /// `sql_auto_is_null` is on.
        AutoIsNull = "auto_is_null", "With sql_auto_is_null any read may hang on LAST_INSERT_ID().";
        /// The session is in a schema of server tables.
        ServerSchema = "server_schema", "The current schema has tables that differ between servers.";
        /// No replica has the session's own writes yet.
        FreshRead = "fresh_read", "No serving replica is known to have all that the session must be able to see.";
        /// No replica serves.
        NoReplica = "no_replica", "No replica serves reads now.";
    }
}

reasons! {
    /// Why a statement goes to a replica.
    ReplicaReason {
        /// A harmless read, to the replica that the session uses.
        Current = "current", "A harmless read, to the replica that the session already uses.";
        /// A harmless read, to a replica chosen now.
        Chosen = "chosen", "A harmless read, to a replica chosen now.";
        /// A read-only transaction begins.
        ReadOnlyTransaction = "read_only_transaction", "A read-only transaction runs on one replica from beginning to end.";
        /// The replica listener.
        Listener = "listener", "The listener sends everything to replicas.";
        /// A transaction or other state is there.
        Pinned = "pinned", "Session state ties the session to its connection to this replica.";
        /// It asks about the statement before it.
        LastStatement = "last_statement", "It asks about the last statement, which ran on this replica.";
    }
}

reasons! {
    /// Why a statement is refused.
    RefuseReason {
        /// A write on the replica listener: 1290, as the servers say it.
        ReadOnlyListener = "read_only_listener",
            "The MySQL server is running with the --read-only option so it cannot execute this statement";
        /// No replica, and the primary may not serve in its place.
        NoReplica = "no_replica", "No replica serves reads now, and replica_fallback is off.";
    }
}

/// Decides where `statement` goes.
#[must_use]
pub fn decide(statement: &Statement, situation: &Situation<'_>) -> Route {
    match situation.listener {
        Listener::Primary => Route::Primary(PrimaryReason::Listener),
        Listener::Split => split(statement, situation),
        Listener::Replica => replica(statement, situation),
    }
}

/// Whether a statement with this route may go on while the gate is closed. What passes either can't write
/// or belongs to a unit that the switchover waits for.
#[must_use]
pub fn passes_gate(statement: &Statement, route: &Route, facts: &SessionFacts) -> bool {
    match route {
        Route::Replica(..) | Route::Refuse(_) => true,
        Route::Primary(_) if facts.unit_open() => true,
        Route::Primary(_) => match statement.intent {
            Intent::HarmlessRead => facts.autocommit(),
            // Answered by the proxy, or without touching data.
            Intent::LastStatement | Intent::ConnectionId { .. } | Intent::Kill { .. } => true,
            Intent::NeedsPrimary(_)
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::SessionState
            | Intent::Write(_) => false,
        },
    }
}

fn split(statement: &Statement, situation: &Situation<'_>) -> Route {
    let facts = situation.facts;
    if facts.in_transaction() {
        return match situation.last_replica() {
            Some(id) if facts.in_read_only_transaction() => Route::Replica(id, ReplicaReason::Pinned),
            Some(_) | None => Route::Primary(PrimaryReason::OpenTransaction),
        };
    }
    if facts.pin().is_some() {
        return Route::Primary(PrimaryReason::Pinned);
    }
    if statement.intent == Intent::LastStatement {
        return match situation.last_replica() {
            Some(id) => Route::Replica(id, ReplicaReason::LastStatement),
            None => Route::Primary(PrimaryReason::LastStatement),
        };
    }
    let begins = begins_read_only(statement, facts);
    if statement.intent != Intent::HarmlessRead && !begins {
        return Route::Primary(PrimaryReason::Statement);
    }
    if facts.read_only_needs_primary() && (begins || !facts.autocommit()) {
        return Route::Primary(PrimaryReason::ReadOnlyTies);
    }
    // Without autocommit a read opens a transaction, which could go on to write.
    if !facts.autocommit() && !begins && !facts.read_only_session() {
        return Route::Primary(PrimaryReason::AutocommitOff);
    }
    if facts.null_finds_last_insert() && !begins {
        return Route::Primary(PrimaryReason::AutoIsNull);
    }
    if statement.wish == Wish::Last {
        return situation.last_replica().map_or(Route::Primary(PrimaryReason::LastStatement), |id| {
            Route::Replica(id, ReplicaReason::LastStatement)
        });
    }
    if facts.in_server_schema() && statement.wish != Wish::Replica {
        return Route::Primary(PrimaryReason::ServerSchema);
    }
    match situation.choose() {
        Choice::Current(id) | Choice::New(id) if begins => {
            Route::Replica(id, ReplicaReason::ReadOnlyTransaction)
        }
        Choice::Current(id) => Route::Replica(id, ReplicaReason::Current),
        Choice::New(id) => Route::Replica(id, ReplicaReason::Chosen),
        Choice::NoneFresh => Route::Primary(PrimaryReason::FreshRead),
        Choice::NoneServing => Route::Primary(PrimaryReason::NoReplica),
    }
}

/// Whether the statement begins a transaction that can't write.
fn begins_read_only(statement: &Statement, facts: &SessionFacts) -> bool {
    match statement.intent {
        Intent::TransactionStart { access: Access::ReadOnly, .. } => true,
        Intent::TransactionStart { access: Access::Default, .. } => facts.read_only_session(),
        Intent::TransactionStart { access: Access::ReadWrite, .. }
        | Intent::HarmlessRead
        | Intent::NeedsPrimary(_)
        | Intent::LastStatement
        | Intent::ConnectionId { .. }
        | Intent::Kill { .. }
        | Intent::TransactionEnd { .. }
        | Intent::Savepoint
        | Intent::SessionState
        | Intent::Write(_) => false,
    }
}

fn replica(statement: &Statement, situation: &Situation<'_>) -> Route {
    let facts = situation.facts;
    // Rows of a temporary table may be written on a read-only server; it refuses the others itself.
    let has_temporary = facts.pins().any(|pin| pin == PinReason::TemporaryTable);
    let data = matches!(statement.intent, Intent::Write(WriteKind::Data));
    if statement.effects.has(Effect::Writes) && !(has_temporary && data) {
        return Route::Refuse(RefuseReason::ReadOnlyListener);
    }
    let pinned = facts.pin().is_some();
    if pinned || statement.intent == Intent::LastStatement {
        let reason = if pinned { ReplicaReason::Pinned } else { ReplicaReason::LastStatement };
        return match situation.last_replica() {
            Some(id) => Route::Replica(id, reason),
            None if pinned && facts.in_transaction() => Route::Primary(PrimaryReason::OpenTransaction),
            None if pinned => Route::Primary(PrimaryReason::Pinned),
            None => situation.any_replica(PrimaryReason::LastStatement),
        };
    }
    situation.any_replica(PrimaryReason::NoReplica)
}

/// What choosing a replica came to.
enum Choice {
    Current(InstanceId),
    New(InstanceId),
    /// Replicas serve, but none has the session's writes.
    NoneFresh,
    NoneServing,
}

impl Situation<'_> {
    /// The replica on which the last statement ran, if the session is still connected to it.
    fn last_replica(&self) -> Option<InstanceId> {
        match self.facts.last() {
            LastRoute::Replica(id) if self.current_replica == Some(id) => Some(id),
            LastRoute::Replica(_) | LastRoute::Primary => None,
        }
    }

    fn is_fresh(&self, instance: &Instance) -> bool {
        match self.freshness {
            Freshness::Any => true,
            Freshness::Known(fresh) => fresh.is_fresh(instance.id),
            Freshness::Primary => false,
        }
    }

    /// Keeps the current replica while it serves and is fresh; otherwise the seed chooses among those.
    fn choose(&self) -> Choice {
        let serving = self.topology.serving_replicas();
        let current = serving.clone().find(|instance| Some(instance.id) == self.current_replica);
        if let Some(current) = current.filter(|current| self.is_fresh(current)) {
            return Choice::Current(current.id);
        }
        let fresh = serving.clone().filter(|instance| self.is_fresh(instance));
        let count = fresh.clone().count() as u64;
        let Some(index) = self.seed.checked_rem(count) else {
            return if serving.clone().next().is_some() { Choice::NoneFresh } else { Choice::NoneServing };
        };
        let mut fresh = fresh;
        let chosen = usize::try_from(index).ok().and_then(|index| fresh.nth(index));
        chosen.map_or(Choice::NoneServing, |instance| Choice::New(instance.id))
    }

    /// For the replica listener: a replica, or what stands in for it.
    fn any_replica(&self, without: PrimaryReason) -> Route {
        let fallback = |reason| match self.fallback {
            Fallback::ToPrimary => Route::Primary(reason),
            Fallback::Refuse => Route::Refuse(RefuseReason::NoReplica),
        };
        match self.choose() {
            Choice::Current(id) | Choice::New(id) => Route::Replica(id, ReplicaReason::Listener),
            Choice::NoneFresh => fallback(PrimaryReason::FreshRead),
            Choice::NoneServing => fallback(without),
        }
    }
}

impl RefuseReason {
    /// The MySQL error number that the client gets.
    #[must_use]
    pub const fn error_code(self) -> u16 {
        match self {
            Self::ReadOnlyListener => 1290,
            // ER_SERVER_SHUTDOWN: drivers take it for a lost connection and try elsewhere.
            Self::NoReplica => 1053,
        }
    }
}
