//! What each step of a switchover does. Every statement has a deadline of its own; what waits for a condition
//! looks again until its deadline.
//!
//! Never here: the order of the steps, taking something back.

use std::time::Duration;

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;

use super::Performance;
use crate::config::OnLeftover;
use crate::controller::execute::StepError;
use crate::controller::instance_operations::{InstanceOperations, POLL};
use crate::controller::record::{OperationKind, OperationRecord, Phase, Record};
use crate::controller::statements::Grammar;
use crate::controller::switchover::{self, Step};
use crate::controller::view::ServerView;
use crate::feed::gate::Closed;
use crate::feed::registry::Order;

/// What is left of the time while no client is held.
const UNHELD: Duration = Duration::from_secs(30);
/// How long client sessions may take to connect to the target. Those that don't connect later.
const WARM: Duration = Duration::from_secs(2);
/// How long an acker may take to attach; about 1 s was measured when it comes back to a source it just left.
const ATTACH: Duration = Duration::from_secs(10);
/// Between two writes that make attached ackers acknowledge.
const NUDGE: Duration = Duration::from_millis(50);
/// How long the target, found near right before, may take to have everything.
const REACH: Duration = Duration::from_secs(2);
/// How long sessions may take to roll back when told to.
const ROLL_BACK: Duration = Duration::from_secs(1);
/// `super_read_only` gave up because something held it up.
const LOCK_WAIT_TIMEOUT: u16 = 1205;

impl Performance<'_> {
    /// Does one step; says what it found.
    pub(super) async fn step(&mut self, step: Step) -> Result<String, StepError> {
        match step {
            Step::CatchUp => self.catch_up().await,
            Step::Near => self.come_near().await,
            Step::Take => self.take(),
            Step::Warm => self.warm().await,
            Step::Arm => self.arm().await,
            Step::Prepare => self.prepare().await,
            Step::Hold => self.hold(),
            Step::Drain => self.drain().await,
            Step::ReadOnly => self.read_only().await,
            Step::Reach => self.reach().await,
            Step::StopReceiver => self.stop_receiver().await,
            Step::Repoint => self.repoint().await,
            Step::Commit => self.commit(),
            Step::Writable => self.writable().await,
            Step::Barrier => self.barrier().await,
            Step::Release => self.release().await,
            Step::StopWaiting => self.stop_waiting().await,
            Step::Demote => self.demote().await,
            Step::Forget => self.forget().await,
            Step::Reattach => self.reattach().await,
            Step::Settle => self.settle(),
        }
    }

    pub(super) fn server(&self, id: InstanceId) -> Result<(&InstanceOperations, Grammar), StepError> {
        self.conductor.desk.at(id).ok_or(StepError::Gone("there is no such instance"))
    }

    /// Points a replica at a source.
    pub(super) async fn follow(&self, id: InstanceId, source: InstanceId) -> Result<(), StepError> {
        let source = self.desk().source(source).ok_or(StepError::Gone("the source has no address"))?;
        let (server, grammar) = self.server(id)?;
        Ok(server.follow(grammar, &source).await?)
    }

    fn left(&self) -> Duration {
        self.give_up.map_or(UNHELD, |give_up| give_up.saturating_duration_since(Instant::now()))
    }

    fn take(&self) -> Result<String, StepError> {
        let operation = OperationRecord {
            id: self.conductor.id.clone(),
            kind: OperationKind::Switchover,
            who: "operator".into(),
            from: self.plan.from_uuid,
            to: self.plan.to_uuid,
            phase: Phase::Preparing,
            ackers_before: self.before.ackers.clone(),
            found_moved: None,
        };
        let record = self.desk().change(|record| record.operation = Some(operation))?;
        Ok(format!("epoch {}", record.epoch))
    }

    async fn warm(&self) -> Result<String, StepError> {
        let desk = self.desk();
        desk.set_coming(Some((self.plan.to, self.plan.to_uuid)), Some(self.plan.to));
        desk.publish();
        let registry = desk.publisher.feed().registry();
        let cold = registry.warmed(self.before.epoch + 1, Instant::now() + WARM).await;
        Ok(format!("{} sessions, {cold} of them not connected to the target yet", registry.len()))
    }

    /// Attaches the target's ackers to it while it still replicates. First they stop to acknowledge for the
    /// old primary, then a write proves that the others suffice, then the record says so, and only then they
    /// move: at every moment the recorded ackers include all real ones.
    async fn arm(&self) -> Result<String, StepError> {
        let (from, _) = self.server(self.plan.from)?;
        let (to, grammar) = self.server(self.plan.to)?;
        let count = self.plan.wait_count;
        to.start_waiting(grammar, count, false).await?;
        for id in self.plan.movers() {
            let (mover, grammar) = self.server(*id)?;
            mover.stop_receiver(grammar).await?;
            let has = mover.has().await?;
            self.reach_set(to, &has).await?;
        }
        from.write_epoch_row(&self.before.row()).await?;
        let ackers = self.plan.ackers_during.clone();
        self.desk().change(|record| record.ackers = ackers)?;
        for id in self.plan.movers() {
            self.follow(*id, self.plan.to).await?;
        }
        self.attached(to, grammar, Some(from)).await?;
        // From now on the target's applier waits for its ackers, as its clients will.
        to.start_waiting(grammar, count, true).await?;
        let state = to.waiting_state(grammar).await?;
        Ok(format!("{} attached to the target", state.clients))
    }

    async fn reach_set(&self, to: &InstanceOperations, set: &GtidSet) -> Result<(), StepError> {
        if to.wait_executed(&set.to_string(), ATTACH).await? {
            return Ok(());
        }
        Err(StepError::Unmet("the target does not have what its ackers have".into()))
    }

    /// Waits until enough ackers are attached to the target. With `nudge`, writes on the old primary until
    /// one was acknowledged too: an attached acker counts only from its first acknowledgement.
    async fn attached(
        &self,
        to: &InstanceOperations,
        grammar: Grammar,
        nudge: Option<&InstanceOperations>,
    ) -> Result<(), StepError> {
        let until = Instant::now() + ATTACH.min(self.left());
        let mut nudged = Instant::now() - NUDGE;
        loop {
            let state = to.waiting_state(grammar).await?;
            let enough = state.clients >= u32::from(self.plan.wait_count);
            match nudge {
                _ if !enough => {}
                None => return Ok(()),
                Some(_) if state.status.is_on() => return Ok(()),
                Some(from) => {
                    if nudged.elapsed() >= NUDGE {
                        from.write_epoch_row(&self.before.row()).await?;
                        nudged = Instant::now();
                    }
                }
            }
            if Instant::now() >= until {
                return Err(StepError::Unmet(format!(
                    "{} of {} ackers attached",
                    state.clients, self.plan.wait_count
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn prepare(&mut self) -> Result<String, StepError> {
        let current = self.desk().record().ok_or(StepError::Gone("there is no record"))?;
        let next = Record {
            epoch: self.before.epoch + 1,
            primary: self.plan.to_uuid,
            ackers: self.plan.ackers_after.clone(),
            operation: current
                .operation
                .clone()
                .map(|operation| OperationRecord { phase: Phase::Promoted, ..operation }),
            who: "switchover: operator".into(),
            ..current
        };
        self.prepared = Some(self.desk().prepare(next)?);
        for id in [self.plan.from, self.plan.to] {
            self.server(id)?.0.ready().await?;
        }
        Ok(format!("epoch {}", self.before.epoch + 1))
    }

    fn hold(&mut self) -> Result<String, StepError> {
        let terms = &self.conductor.terms;
        let gate = std::sync::Arc::clone(self.desk().publisher.feed().gate());
        gate.close(Closed::Switchover);
        self.give_up = Some(gate.closed_at() + switchover::give_up_after(terms.drain, terms.hold));
        Ok(format!("{} writes under way, {} pinned sessions", gate.open_units(), gate.pinned_sessions()))
    }

    async fn drain(&mut self) -> Result<String, StepError> {
        let terms = &self.conductor.terms;
        let feed = self.conductor.desk.publisher.feed();
        let began = gate_closed_at(feed);
        if feed.gate().drained(began + terms.drain).await {
            self.drained_at = Some(Instant::now());
            return Ok("no transaction is open".into());
        }
        let left = self.conductor.hurt();
        let count = format!("{} open, {} pinned", feed.gate().open_units(), feed.gate().pinned_sessions());
        if terms.leftover == OnLeftover::Abort {
            let who = if left.is_empty() { String::new() } else { format!(": {}", left.join("; ")) };
            return Err(StepError::Unmet(format!(
                "transactions outlast the drain of {:?} ({count}){who}",
                terms.drain
            )));
        }
        for entry in feed.registry().all() {
            if entry.pins() != 0 || entry.transaction_since().is_some() {
                entry.order(Order::RollBack);
            }
        }
        if feed.gate().drained(Instant::now() + ROLL_BACK.min(self.left())).await {
            self.drained_at = Some(Instant::now());
            return Ok(format!("rolled back what was left ({count})"));
        }
        Err(StepError::Unmet(format!("sessions do not let go ({count})")))
    }

    async fn read_only(&mut self) -> Result<String, StepError> {
        let (from, _) = self.server(self.plan.from)?;
        let mut attempts = 1;
        loop {
            match from.set_read_only().await {
                Ok(()) => break,
                Err(error) if error.code() == Some(LOCK_WAIT_TIMEOUT) && self.left() > 2 * ROLL_BACK => {
                    attempts += 1
                }
                Err(error) => {
                    let blockers = from.read_only_blockers().await.unwrap_or_default();
                    let who: Vec<String> = blockers
                        .iter()
                        .map(|b| format!("connection {} of {} {}", b.id, b.account, b.what))
                        .collect();
                    return Err(StepError::Unmet(format!("{error}; in the way: {}", who.join("; "))));
                }
            }
        }
        let position = from.executed().await?;
        self.position = position;
        Ok(format!("attempt {attempts}"))
    }

    async fn reach(&self) -> Result<String, StepError> {
        let (to, _) = self.server(self.plan.to)?;
        let limit = REACH.min(self.left());
        if !to.wait_executed(&self.position, limit).await? {
            return Err(StepError::Unmet(format!("the target lacks transactions after {limit:?}")));
        }
        Ok("executed".into())
    }

    async fn stop_receiver(&self) -> Result<String, StepError> {
        let (to, grammar) = self.server(self.plan.to)?;
        to.stop_receiver(grammar).await?;
        Ok("stopped".into())
    }

    /// No chain fits: the ackers move now, the old primary among them if need be. It takes no writes any
    /// more, and its receiver alone acknowledges; its applier starts when it waits for nobody itself.
    async fn repoint(&self) -> Result<String, StepError> {
        let (to, grammar) = self.server(self.plan.to)?;
        to.start_waiting(grammar, self.plan.wait_count, true).await?;
        for id in self.plan.movers() {
            let (mover, grammar) = self.server(*id)?;
            mover.set_acking_flag(grammar, true).await?;
            self.follow(*id, self.plan.to).await?;
        }
        self.attached(to, grammar, None).await?;
        Ok("attached".into())
    }

    /// The point of no return.
    fn commit(&mut self) -> Result<String, StepError> {
        if self.left().is_zero() {
            return Err(StepError::Unmet("clients have been held for too long".into()));
        }
        let prepared = self.prepared.take().ok_or(StepError::Gone("nothing was prepared"))?;
        let desk = self.desk();
        let record = desk.commit(prepared)?;
        desk.set_coming(Some((self.plan.to, self.plan.to_uuid)), None);
        desk.publish();
        Ok(format!("epoch {}", record.epoch))
    }

    async fn writable(&self) -> Result<String, StepError> {
        let (to, _) = self.server(self.plan.to)?;
        let mut tries = 1;
        while let Err(error) = to.set_writable().await {
            if tries == super::FORWARD_TRIES {
                return Err(error.into());
            }
            tries += 1;
        }
        Ok("takes writes".into())
    }

    async fn barrier(&self) -> Result<String, StepError> {
        let (to, _) = self.server(self.plan.to)?;
        let record = self.desk().record().ok_or(StepError::Gone("there is no record"))?;
        to.write_epoch_row(&record.row()).await?;
        Ok(format!("acknowledged by {}", self.plan.wait_count))
    }

    async fn release(&mut self) -> Result<String, StepError> {
        let gate = std::sync::Arc::clone(self.desk().publisher.feed().gate());
        let stalled = self.drained_at.map(|at| at.elapsed());
        let held = gate.held();
        gate.open().await;
        self.desk().operation(&self.conductor.id, |view| view.stall_us = stalled.map(super::micros));
        if let Some(stalled) = stalled {
            metrics::histogram!("sluice_switchover_stall_seconds").record(stalled.as_secs_f64());
        }
        Ok(format!("{held} statements were waiting"))
    }

    async fn stop_waiting(&self) -> Result<String, StepError> {
        let (from, grammar) = self.server(self.plan.from)?;
        if self.plan.wait_count > 0 {
            from.stop_waiting(grammar).await?;
        }
        Ok("waits for nobody".into())
    }

    /// The old primary becomes a replica; what foreign sessions left open there can't be committed any more
    /// and would only stand in the applier's way.
    async fn demote(&self) -> Result<String, StepError> {
        let (from, grammar) = self.server(self.plan.from)?;
        for foreign in from.open_writes().await? {
            from.kill(foreign.id, Instant::now() + ROLL_BACK).await?;
        }
        let acks = self.plan.wait_count > 0 && self.desk().policy.may_ack(self.plan.from);
        if acks {
            let uuid = self.plan.from_uuid;
            self.desk().change(|record| {
                if !record.ackers.contains(&uuid) {
                    record.ackers.push(uuid);
                }
            })?;
            from.set_acking_flag(grammar, true).await?;
        }
        if !self.plan.movers().contains(&self.plan.from) {
            self.follow(self.plan.from, self.plan.to).await?;
        }
        from.start_applier(grammar).await?;
        Ok("follows the new primary".into())
    }

    async fn forget(&self) -> Result<String, StepError> {
        let (to, grammar) = self.server(self.plan.to)?;
        to.forget_source(grammar).await?;
        Ok("replicates from nobody".into())
    }

    async fn reattach(&self) -> Result<String, StepError> {
        let view = self.desk().view();
        let mut moved = 0;
        for (instance, server) in view.live() {
            let settled = instance.id == self.plan.to || instance.id == self.plan.from;
            let follows =
                server.channel.as_ref().is_some_and(|channel| channel.source == Some(self.plan.to_uuid));
            let follows = follows || self.plan.movers().contains(&instance.id);
            let taken = self.before.is_taken_apart(server.uuid);
            if !settled && !follows && !taken {
                let acks = self.record_acker(instance.id, server).await?;
                self.follow(instance.id, self.plan.to).await?;
                if !acks {
                    self.desk().change(|record| record.ackers.retain(|acker| *acker != server.uuid))?;
                }
                moved += 1;
            }
        }
        Ok(format!("{moved} repointed"))
    }

    /// Who acknowledged for the old primary acknowledges for the new one as soon as it follows: it is recorded
    /// before, or made to stop. Says which.
    async fn record_acker(&self, id: InstanceId, server: &ServerView) -> Result<bool, StepError> {
        let uuid = server.uuid;
        if self.before.is_acker(uuid) && self.desk().policy.may_ack(id) {
            self.desk().change(|record| {
                if !record.is_acker(uuid) {
                    record.ackers.push(uuid);
                }
            })?;
            return Ok(true);
        }
        if server.semi_sync.is_some() {
            let (server, grammar) = self.server(id)?;
            server.set_acking_flag(grammar, false).await?;
        }
        Ok(false)
    }

    fn settle(&self) -> Result<String, StepError> {
        let record = self.desk().change(|record| record.operation = None)?;
        Ok(format!("epoch {}", record.epoch))
    }
}

fn gate_closed_at(feed: &crate::feed::Feed) -> Instant {
    feed.gate().closed_at()
}
