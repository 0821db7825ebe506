//! What this session must be able to read, and the short wait for a replica that has it.
//!
//! Three demands, all of them sets that a replica must have executed (`sluice_routing::freshness`):
//!
//! - what the account has written (scope `user`) or the session itself (`session`);
//! - what the session has already *seen*, so that it never reads backwards: a replica on which it read last has
//!   it by itself; any other one must have everything that was on the primary after that read. An own write
//!   that was acknowledged takes the place of everything seen before it, which precedes it in the binary log;
//! - what the client demands for one statement (`sluice.wait_gtid`).
//!
//! A replica proved to have it stays proved until the account writes again: the next read costs two atomic
//! loads. "In the binary log before" means "executed before" on replicas that commit in order
//! (`replica_preserve_commit_order`, on by default since 8.0.27); without it only own writes are promised.
//!
//! Never here: a choice among replicas, a word with a server.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use sluice_protocol::{GtidSet, StatusFlags};
use sluice_routing::decide::{Freshness, Listener};
use sluice_routing::effects::Effect;
use sluice_routing::freshness::{Floor, FreshEnough, HighWater, Required, Settled};
use sluice_routing::hint::Wish;
use sluice_routing::intent::{Intent, Statement};
use sluice_routing::topology::{InstanceId, Topology};

use super::Session;
use super::relay::Told;
use crate::config::ReadScope;
use crate::feed::Feed;
use crate::feed::ledger::Writes;
use crate::feed::progress::Progress;

/// How a statement that found no fresh replica has fared with waiting for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It has not waited yet.
    Fresh,
    /// It has waited in vain.
    Spent,
    /// It has waited and one got there.
    Rewarded,
}

/// What a session must be able to read. See the module's documentation.
#[derive(Debug)]
pub(super) struct Reading {
    scope: ReadScope,
    writes: Arc<Writes>,
    /// Everything that the session has seen.
    seen: Floor,
    /// The replica on which it read last, in that life of it: it has all of [`Self::seen`].
    read_at: Option<(InstanceId, u64)>,
    proved: Option<Proof>,
    /// What the current statement has to see of the account's writes: those before it began.
    demand: Demand,
    /// What the client demands for the current statement.
    token: Option<Box<HighWater>>,
}

/// This replica has everything that the writes up to this generation ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Proof {
    replica: InstanceId,
    life: u64,
    generation: u64,
}

#[derive(Debug, Default)]
struct Demand {
    generation: u64,
    required: OnceLock<Arc<Required>>,
}

impl Reading {
    /// For a session of the account with this name.
    pub(super) fn new(scope: ReadScope, feed: &Feed, account: &[u8]) -> Self {
        let writes = match scope {
            ReadScope::User => feed.ledger().of_account(account),
            ReadScope::Session | ReadScope::Off | ReadScope::Strong => Arc::default(),
        };
        Self {
            scope,
            writes,
            seen: Floor::Nothing,
            read_at: None,
            proved: None,
            demand: Demand::default(),
            token: None,
        }
    }

    /// Where the GTIDs of writes are to be noted before their OK is passed on.
    pub(super) fn ledger(&self) -> Option<&Writes> {
        match self.scope {
            ReadScope::User | ReadScope::Session => Some(&self.writes),
            ReadScope::Off | ReadScope::Strong => None,
        }
    }

    /// A statement begins: it has to see what was written until now, and `token`.
    pub(super) fn begin(&mut self, token: Option<&GtidSet>) {
        self.token = token.map(|token| {
            let mut mark = HighWater::default();
            mark.note(token, Instant::now());
            Box::new(mark)
        });
        self.demand = Demand { generation: self.writes.generation(), required: OnceLock::new() };
    }

    /// A write may have happened, and nobody knows its GTID.
    pub(super) fn note_unknown_write(&mut self) {
        self.writes.note_unknown(Instant::now());
    }

    fn required(&self) -> &Arc<Required> {
        self.demand.required.get_or_init(|| self.writes.required())
    }

    /// Takes a look at the primary into account.
    fn settle(&mut self, progress: &Progress, topology: &Topology) {
        let Some(primary) = progress.of_primary(topology) else { return };
        self.seen.fix(&primary);
        if self.writes.settle(&primary, Instant::now()) == Settled::Changed {
            // What does not exist must not be asked for; that others may have written meanwhile does no harm.
            self.demand = Demand { generation: self.writes.generation(), required: OnceLock::new() };
        }
        if let Some(token) = &mut self.token {
            token.settle(&primary, Instant::now());
        }
        if let Some(required) = self.demand.required.get_mut()
            && !matches!(required.floor, Floor::Nothing)
        {
            Arc::make_mut(required).floor.fix(&primary);
        }
    }

    /// Whether something is demanded of which only a look at the primary can say what it is.
    fn needs_primary(&self) -> bool {
        matches!(self.seen, Floor::Until(_))
            || matches!(self.required().floor, Floor::Until(_))
            || self.token.is_some()
    }

    /// Rows may have come from the replica or the primary.
    fn saw(&mut self, replica: Option<(InstanceId, u64)>) {
        self.seen.raise(Instant::now());
        self.read_at = replica;
    }

    /// An own write was acknowledged: what has it, has all that was seen before.
    fn wrote(&mut self) {
        self.seen = Floor::Nothing;
        self.read_at = None;
    }
}

/// Whether what the account has written and the session has seen counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    Counts,
    Ignored,
}

/// The view of a session on the replicas.
#[derive(Debug)]
pub(super) struct Lens<'a> {
    reading: &'a Reading,
    progress: &'a Progress,
    history: History,
    /// The replica that was found fresh last.
    found: Cell<Option<Proof>>,
}

impl<'a> Lens<'a> {
    /// For a statement on this listener with this wish: who asks for a replica takes it as it is.
    pub(super) fn new(reading: &'a Reading, progress: &'a Progress, listener: Listener, wish: Wish) -> Self {
        let counts = listener == Listener::Split && wish != Wish::Replica && reading.scope != ReadScope::Off;
        let history = if counts { History::Counts } else { History::Ignored };
        Self { reading, progress, history, found: Cell::new(None) }
    }

    /// What the statement needs.
    pub(super) fn freshness(&'a self) -> Freshness<'a> {
        match (self.history, self.reading.scope) {
            (History::Counts, ReadScope::Strong) => Freshness::Primary,
            (History::Ignored, _) if self.reading.token.is_none() => Freshness::Any,
            (History::Counts | History::Ignored, _) => Freshness::Known(self),
        }
    }

    fn knows(&self, replica: InstanceId, proof: Proof) -> bool {
        let reading = self.reading;
        let saw_all = reading.seen == Floor::Nothing || reading.read_at == Some((replica, proof.life));
        let history_counts = self.history == History::Counts;
        if (!history_counts || saw_all && reading.proved == Some(proof)) && reading.token.is_none() {
            return true;
        }
        let Some(sighting) = self.progress.sighting(replica) else { return false };
        let executed = &sighting.executed;
        let token = reading.token.as_ref().is_none_or(|token| token.required().is_met_by(executed));
        let history = !history_counts
            || (saw_all || reading.seen.is_met_by(executed)) && reading.required().is_met_by(executed);
        token && history
    }

    /// What was found out about the replica that was chosen.
    pub(super) fn found(&self) -> Option<Found> {
        self.found.get().map(Found)
    }
}

/// A replica that was found fresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found(Proof);

impl FreshEnough for Lens<'_> {
    fn is_fresh(&self, replica: InstanceId) -> bool {
        let life = self.progress.life(replica);
        let proof = Proof { replica, life, generation: self.reading.demand.generation };
        let fresh = self.knows(replica, proof);
        if fresh && self.history == History::Counts {
            self.found.set(Some(proof));
        }
        fresh
    }
}

impl Session {
    /// Remembers that the replica was proved fresh, so that the next read needs no proof.
    pub(super) fn remember_fresh(&mut self, found: Option<Found>) {
        if let Some(Found(proof)) = found {
            self.reading.proved = Some(proof);
        }
    }

    /// Waits for a moment until a replica has what this statement must be able to see.
    pub(super) async fn wait_fresh(&mut self, statement: &Statement, topology: &Topology) -> bool {
        let (listener, wish) = (self.listener, statement.wish);
        if listener == Listener::Split && self.reading.scope == ReadScope::Strong {
            return false;
        }
        let context = Arc::clone(&self.context);
        let progress = context.feed.progress();
        self.reading.settle(progress, topology);
        let primary = topology.primary.filter(|_| self.reading.needs_primary());
        let replicas: Vec<InstanceId> = topology.serving_replicas().map(|replica| replica.id).collect();
        let Some(waiting) =
            progress.begin_wait(replicas.iter().copied().chain(primary), self.reading.required())
        else {
            return false;
        };
        let reading = &mut self.reading;
        waiting
            .until(|| {
                reading.settle(progress, topology);
                let lens = Lens::new(reading, progress, listener, wish);
                replicas.iter().any(|replica| lens.is_fresh(*replica))
            })
            .await
    }

    /// Takes note of what the answer to `statement` showed the client.
    pub(super) fn note_answer(&mut self, instance: InstanceId, statement: &Statement, told: &Told) {
        if told.prepared.is_some() {
            return;
        }
        let progress = self.context.feed.progress();
        let wrote = told.changes.gtids.is_some();
        if wrote {
            progress.note_write(Instant::now());
        }
        if self.replica == Some(instance) {
            let life = progress.life(instance);
            return self.reading.saw(Some((instance, life)));
        }
        let effects = &statement.effects;
        let several = effects.has(Effect::SeveralStatements);
        if effects.has(Effect::UsesTrackers) && several {
            self.reading.note_unknown_write();
        }
        let open = told.status.is_some_and(|status| status.contains(StatusFlags::IN_TRANS));
        if wrote && !several && !effects.has(Effect::Unprovable) && !open {
            return self.reading.wrote();
        }
        match statement.intent {
            Intent::HarmlessRead | Intent::NeedsPrimary(_) | Intent::Write(_) => self.reading.saw(None),
            Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. }
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::SessionState => {}
        }
    }
}
