//! Bringing the winner to everything that any held member has, and attaching its ackers, before it is opened.
//!
//! What only another member received is fetched from there, with the winner's applier running, as any change of
//! its source would delete what it has received and not applied.
//!
//! Never here: skipping a transaction, a promotion with less than the union.

use std::time::Duration;

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Takeover;
use super::revoke::Check;
use crate::controller::desk::Desk;
use crate::controller::execute::StepError;
use crate::controller::failover::Chosen;
use crate::controller::instance_operations::POLL;

/// Between two looks at how far the winner is, and at those who are held.
const SLICE: Duration = Duration::from_millis(500);
/// An applier that executes nothing for so long will not: the attempt is given up.
const NO_PROGRESS: Duration = Duration::from_secs(10);
/// The same where another member could be the primary as well: somebody may have locked this one.
const NO_PROGRESS_OF_MANY: Duration = Duration::from_secs(5);
/// How long ackers may take to attach to the winner and to have what it has.
const ATTACH: Duration = Duration::from_secs(6);
/// How long the rest may take when there are enough.
const REST: Duration = Duration::from_millis(300);

impl Takeover {
    /// Brings the winner to everything that any held member has.
    pub(super) async fn fill(&mut self, chosen: &Chosen) -> Result<(), StepError> {
        let began = Instant::now();
        let started = self.start_appliers(chosen).await;
        self.noted("start appliers", began, started)?;
        if !chosen.donors.is_empty() {
            let began = Instant::now();
            let fetched = self.fetch(chosen).await;
            self.noted("fetch from others", began, fetched)?;
        }
        let began = Instant::now();
        let applied = self.executed(chosen.winner, &chosen.union, patience(chosen)).await;
        self.noted("apply everything", began, applied)
    }

    /// Everything between that and the epoch change.
    pub(super) async fn complete(&mut self, chosen: &Chosen) -> Result<(), StepError> {
        let began = Instant::now();
        let attached = self.attach(chosen).await;
        self.noted("attach ackers to the winner", began, attached)?;
        let began = Instant::now();
        let address = self.desk.replication_addresses.get(chosen.winner.index()).cloned();
        let held =
            self.recheck(Check::Holds(address.as_ref())).await.map(|()| ("all as they were".to_owned(), ()));
        self.noted("look at the stopped again", began, held)
    }

    /// A switchover that was under way may have made the winner's applier wait for acknowledgements.
    async fn start_appliers(&self, chosen: &Chosen) -> Result<(String, ()), StepError> {
        let (winner, grammar) = self.server(chosen.winner)?;
        if winner.waits(grammar).await? {
            winner.stop_waiting(grammar).await?;
        }
        for held in &self.held {
            let (server, grammar) = self.server(held.id)?;
            if held.id == chosen.winner || chosen.donors.contains(&held.id) {
                server.start_applier(grammar).await?;
            }
        }
        Ok(("running".into(), ()))
    }

    /// The winner follows each donor for as long as it takes to have what the donor has.
    async fn fetch(&mut self, chosen: &Chosen) -> Result<(String, ()), StepError> {
        let mut names = Vec::new();
        let has = |id: InstanceId| self.held.iter().find(|held| held.id == id).map(|held| held.has.clone());
        let missing = has(chosen.winner).map(|has| chosen.union.subtract(&has));
        let missing = missing.ok_or(StepError::Gone("the winner is not held any more"))?;
        for donor in chosen.donors.clone() {
            let has = self.held.iter().find(|held| held.id == donor).map(|held| held.has.clone());
            let wanted = has.ok_or(StepError::Gone("the donor is not held any more"))?.intersect(&missing);
            // What a donor has only received is not in its binary log yet.
            self.executed(donor, &wanted, patience(chosen)).await?;
            let source = self.desk.source(donor).ok_or(StepError::Gone("the donor has no address"))?;
            let (winner, grammar) = self.server(chosen.winner)?;
            winner.follow(grammar, &source).await?;
            self.executed(chosen.winner, &wanted, patience(chosen)).await?;
            let (winner, grammar) = self.server(chosen.winner)?;
            winner.stop_receiver(grammar).await?;
            names.push(self.name(donor));
        }
        Ok((format!("from {}", names.join(", ")), ()))
    }

    /// Waits until a member has executed `set`, for as long as it makes progress.
    async fn executed(
        &mut self,
        id: InstanceId,
        set: &GtidSet,
        patience: Duration,
    ) -> Result<(String, ()), StepError> {
        let text = set.to_string();
        let mut before = None;
        let mut moved = Instant::now();
        loop {
            let (server, _) = self.server(id)?;
            if server.wait_executed(&text, SLICE).await? {
                return Ok((format!("{} has executed all of it", self.name(id)), ()));
            }
            let executed: GtidSet = server
                .executed()
                .await?
                .parse()
                .map_err(|_| StepError::Gone("gtid_executed can't be read"))?;
            let left = set.subtract(&executed).count();
            if before != Some(left) {
                (before, moved) = (Some(left), Instant::now());
                tracing::info!(left, member = self.name(id), "failover: transactions to apply");
            }
            if moved.elapsed() > patience {
                let name = self.name(id);
                return Err(StepError::Unmet(format!(
                    "{name} applies nothing any more, {left} transactions left"
                )));
            }
            // Also keeps the sessions that hold them from being ended as idle.
            self.recheck(Check::Alive).await?;
        }
    }

    /// The winner waits for acknowledgements, the others follow it and acknowledge. Enough of them have to have
    /// the whole union: then everything acknowledged is on them too, whatever becomes of the winner.
    async fn attach(&mut self, chosen: &Chosen) -> Result<(String, ()), StepError> {
        let count = self.before.wait_count;
        let needed = usize::from(count);
        let desk = std::sync::Arc::clone(&self.desk);
        let (winner, grammar) = desk.at(chosen.winner).ok_or(StepError::Gone("there is no such instance"))?;
        winner.start_waiting(grammar, count, true).await?;
        let mut tasks = JoinSet::new();
        for id in chosen.ackers.clone() {
            let desk = std::sync::Arc::clone(&self.desk);
            let (winner, union) = (chosen.winner, chosen.union.clone());
            let name = self.name(id);
            tasks.spawn(async move {
                let attached = attach_one(&desk, id, winner, &union).await;
                attached.map(|()| id).map_err(|failure| format!("{name}: {failure}"))
            });
        }
        let mut until = Instant::now() + ATTACH;
        let (mut attached, mut failed) = (Vec::new(), Vec::new());
        while let Ok(Some(joined)) = timeout_at(until, tasks.join_next()).await {
            match joined {
                Ok(Ok(id)) => attached.push(id),
                Ok(Err(failure)) => failed.push(failure),
                Err(lost) => failed.push(lost.to_string()),
            }
            if attached.len() >= needed {
                until = until.min(Instant::now() + REST);
            }
        }
        if attached.len() < needed {
            return Err(StepError::Unmet(format!(
                "{} of {needed} ackers have everything: {}",
                attached.len(),
                failed.join("; ")
            )));
        }
        let until = Instant::now() + ATTACH;
        while winner.waiting_state(grammar).await?.clients < u32::from(count) {
            if Instant::now() >= until {
                return Err(StepError::Unmet("the ackers do not attach to the winner".into()));
            }
            tokio::time::sleep(POLL).await;
        }
        let names: Vec<String> = attached.iter().map(|id| self.name(*id)).collect();
        Ok((names.join(", "), ()))
    }
}

/// How long an applier may execute nothing.
fn patience(chosen: &Chosen) -> Duration {
    if chosen.alternatives > 0 { NO_PROGRESS_OF_MANY } else { NO_PROGRESS }
}

async fn attach_one(
    desk: &Desk,
    id: InstanceId,
    winner: InstanceId,
    union: &GtidSet,
) -> Result<(), StepError> {
    let source = desk.source(winner).ok_or(StepError::Gone("the winner has no address"))?;
    let (server, grammar) = desk.at(id).ok_or(StepError::Gone("there is no such instance"))?;
    server.start_applier(grammar).await?;
    server.set_acking_flag(grammar, true).await?;
    server.follow(grammar, &source).await?;
    // One that was just filled had no source before, and so no applier to start.
    server.start_applier(grammar).await?;
    let until = Instant::now() + ATTACH;
    while !server.has().await?.contains_set(union) {
        if Instant::now() >= until {
            return Err(StepError::Unmet("it does not receive everything".into()));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
