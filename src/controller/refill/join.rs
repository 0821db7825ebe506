//! A member that runs on a donor's data: fenced before anything else, checked, and led back by upkeep.
//!
//! Never here: how a replica is made to follow (upkeep does that for every member).

use std::time::Duration;

use sluice_protocol::GtidSet;
use tokio::time::Instant;

use super::{Failure, LOOK, Refill};
use crate::controller::plan::nearly;
use crate::controller::record::RebuildPhase;
use crate::controller::view::{ClusterView, InstanceView, ServerView};

/// A member that comes no nearer to the primary for so long will not by itself.
const NO_PROGRESS: Duration = Duration::from_secs(120);
/// What a member has and the primary lacks for so long is its own: a look at the one may be older than that at the other.
const OWN_FOR: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What a source says when it has thrown away what a replica needs.
const PURGED: &str = "error 1236";

impl Refill {
    /// Until the member follows, is nearly up to date and, where it may, acknowledges.
    pub(super) async fn join(&mut self) -> Result<(), Failure> {
        if self.job.phase != RebuildPhase::Joining {
            let began = Instant::now();
            let checked = self.receive().await;
            self.noted("fence and check", began, checked)?;
            self.keep(|job| job.phase = RebuildPhase::Joining)?;
        }
        let began = Instant::now();
        let caught_up = self.catch_up().await;
        self.noted("catch up", began, caught_up)
    }

    async fn receive(&mut self) -> Result<String, Failure> {
        let (server, grammar) = self.server()?;
        server.ready().await?;
        server.close_after_copy().await?;
        server.forget_donors_source(grammar).await?;
        server.persist_boot(grammar).await?;
        self.desk.observers.look_at_all(Instant::now() + LOOK).await;
        let view = self.desk.view();
        let record = self.desk.record().ok_or_else(|| Failure::Unmet("the cluster is not adopted".into()))?;
        let member = self.seen(&view)?;
        if member.uuid != self.job.uuid {
            return Err(Failure::Unmet(format!("{} is another server now", self.job.member)));
        }
        let primary = view.by_uuid(record.primary);
        let Some((primary, seen)) = primary.and_then(|view| Some((view, view.live()?))) else {
            return Ok("the primary can't be asked now; upkeep compares them later".into());
        };
        let extra = member.executed.subtract(&seen.executed);
        let errant = extra.subtract(&extra.of(seen.uuid));
        if !errant.is_empty() {
            return Err(Failure::Again(format!(
                "the donor had transactions that the primary lacks ({errant})"
            )));
        }
        let (source, _) =
            self.desk.at(primary.id).ok_or_else(|| Failure::Unmet("there is no such instance".into()))?;
        let purged = source.clone_facts().await?.purged.subtract(&member.executed);
        if !purged.is_empty() {
            return Err(Failure::Again(format!("{} has purged what comes next ({purged})", primary.name)));
        }
        Ok(format!("{} transactions of the primary to go", member.gap(seen)))
    }

    fn seen<'a>(&self, view: &'a ClusterView) -> Result<&'a ServerView, Failure> {
        let member = view.instances.get(self.member.index()).and_then(InstanceView::live);
        member.ok_or_else(|| Failure::Unmet(format!("{} does not answer", self.job.member)))
    }

    async fn catch_up(&self) -> Result<String, Failure> {
        let mut moved = Instant::now();
        let mut had: Option<GtidSet> = None;
        let mut own_since: Option<Instant> = None;
        loop {
            let (view, record) = (self.desk.view(), self.desk.record());
            let record = record.ok_or_else(|| Failure::Unmet("the cluster is not adopted".into()))?;
            if record.primary == self.job.uuid {
                return Ok("it has become the primary".into());
            }
            let primary = view.by_uuid(record.primary).and_then(InstanceView::live);
            let member = view.instances.get(self.member.index()).and_then(InstanceView::live);
            if let (Some(primary), Some(member)) = (primary, member) {
                // A primary that is no more may have sent it what nobody else has: upkeep leaves it alone then.
                let own = member.errant(primary);
                own_since = own_since.or_else(|| Some(Instant::now())).filter(|_| !own.is_empty());
                if own_since.is_some_and(|since| since.elapsed() >= OWN_FOR) {
                    return Err(Failure::Unmet(format!("it has transactions of its own ({own})")));
                }
                let acks = member.semi_sync.as_ref().is_some_and(|semi_sync| semi_sync.acking_now.is_on());
                let acks = acks && record.is_acker(member.uuid);
                let should =
                    record.waits() && self.desk.policy.may_ack(self.member) && member.semi_sync.is_some();
                if member.replicates_from(record.primary) && nearly(member, primary) && (acks || !should) {
                    let role = if acks { "and acknowledges" } else { "and is no acker" };
                    return Ok(format!("it follows the primary {role}"));
                }
                if let Some(error) =
                    member.channel.as_ref().and_then(|channel| channel.receiver_error.as_ref())
                    && error.starts_with(PURGED)
                {
                    return Err(Failure::Again(error.clone()));
                }
            } else if primary.is_none() {
                // Nobody can come nearer to a primary, or be seen to, that is not there.
                moved = Instant::now();
            }
            if let Some(member) = member
                && had.as_ref() != Some(&*member.executed)
            {
                had = Some((*member.executed).clone());
                moved = Instant::now();
            }
            if moved.elapsed() >= NO_PROGRESS {
                return Err(Failure::Unmet(self.why_not(member)));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn why_not(&self, member: Option<&ServerView>) -> String {
        let channel = member.and_then(|member| member.channel.as_ref());
        let error =
            channel.and_then(|channel| channel.receiver_error.clone().or(channel.applier_error.clone()));
        let error = error.unwrap_or_else(|| "it makes no progress".into());
        format!("{} for {NO_PROGRESS:?}", error)
    }
}
