//! Looks for what would block a switchover, and for who would be hurt by it.
//!
//! Never here: a change to any server.

use std::time::Duration;

use sluice_routing::PinReason;
use tokio::time::Instant;

use super::{Conductor, DryRun};
use crate::config::OnLeftover;
use crate::controller::assess::Verdict;
use crate::controller::elect;
use crate::controller::record::Guarantee;
use crate::controller::switchover::{self, Plan};
use crate::feed::registry::Entry;

/// How long fresh looks may take.
const LOOK: Duration = Duration::from_secs(2);

/// A plan that nothing blocks.
pub(super) struct Clear {
    pub(super) plan: Plan,
    pub(super) from_name: String,
    pub(super) to_name: String,
    /// Why zones chose the target, if they did.
    pub(super) zone: Option<String>,
}

impl Conductor {
    /// The plan, or everything that stands in its way.
    pub(super) async fn preflight(&self) -> Result<Clear, String> {
        self.desk.observers.look_at_all(Instant::now() + LOOK).await;
        let view = self.desk.view();
        let record = self.desk.record().ok_or("the cluster is not adopted yet")?;
        let assessment = self.desk.assessment();
        if assessment.verdict != Verdict::Healthy {
            return Err(format!("{}: {}", assessment.verdict.as_str(), assessment.evidence));
        }
        if record.waits() && record.guarantee != Guarantee::Acknowledged {
            return Err(
                "no acknowledged write of this epoch yet, or none since semi-sync was interrupted: the controller is \
                 at it, ask again in a few seconds"
                    .into(),
            );
        }
        if record.operation.is_some() {
            return Err("a former operation is still being closed".into());
        }
        let candidates = elect::candidates(&view, &record, &self.desk.promotion, &self.desk.zones);
        let target = match &self.terms.to {
            None => elect::choose(&candidates)?.clone(),
            Some(name) => {
                let named = candidates.iter().find(|candidate| candidate.name == *name);
                let named = named.ok_or_else(|| format!("{name} is the primary already"))?;
                if let Some(objection) = &named.objection {
                    return Err(format!("{name} can't be the primary: {objection}"));
                }
                named.clone()
            }
        };
        let plan = switchover::draw(&view, &record, target.id, &self.desk.policy)?;
        let blockers = self.blockers(&plan).await?;
        let tolerated = self.terms.dry_run == DryRun::Yes || self.terms.leftover == OnLeftover::Kill;
        if !blockers.is_empty() && !tolerated {
            return Err(blockers.join("; "));
        }
        let zone = target.zone.filter(|_| self.terms.to.is_none());
        Ok(Clear { from_name: view.name_of(record.primary), to_name: target.name, zone, plan })
    }

    /// What would block for sure, and (unless they are to be killed) what would outlast the drain.
    async fn blockers(&self, plan: &Plan) -> Result<Vec<String>, String> {
        let (Some((from, _)), Some((to, _))) = (self.desk.at(plan.from), self.desk.at(plan.to)) else {
            return Err("an instance is not configured any more".into());
        };
        from.ready().await.map_err(|error| format!("the old primary: {error}"))?;
        to.ready().await.map_err(|error| format!("the target: {error}"))?;
        let filters = to.filters().await.map_err(|error| error.to_string())?;
        if !filters.is_empty() {
            return Err(format!("the target has replication filters ({})", filters.join(", ")));
        }
        // Prepared transactions pass through super_read_only and would be left behind.
        let prepared = from.prepared_xa().await.map_err(|error| error.to_string())?;
        if prepared > 0 {
            return Err(format!("{prepared} prepared XA transaction(s): XA RECOVER lists them"));
        }
        let ours = self.hurt();
        let mut blockers = ours;
        let long = from.open_writes().await.map_err(|error| error.to_string())?;
        let drain = self.terms.drain.as_secs();
        blockers.extend(long.into_iter().filter(|one| one.seconds > drain).map(|one| {
            format!(
                "connection {} of {} has had a transaction open for {} s: {}",
                one.id, one.account, one.seconds, one.what
            )
        }));
        // Such as ALTER TABLE: it has no transaction that is seen, and super_read_only waits for its end.
        let running = from.read_only_blockers().await.map_err(|error| error.to_string())?;
        blockers.extend(running.into_iter().filter(|one| one.seconds > drain).map(|one| {
            format!(
                "connection {} of {} has been at one statement for {} s: {}",
                one.id, one.account, one.seconds, one.what
            )
        }));
        Ok(blockers)
    }

    /// Client sessions that would be hurt, or make the switchover give up, with the reason.
    pub(super) fn hurt(&self) -> Vec<String> {
        let feed = self.desk.publisher.feed();
        feed.registry().all().iter().filter_map(|entry| self.hurts(entry)).collect()
    }

    fn hurts(&self, entry: &Entry) -> Option<String> {
        let user = entry.user().map_or_else(|| "?".to_owned(), |user| user.to_string());
        let who = format!("session {} of {user} from {}", entry.id, entry.peer);
        let held = entry.pins() & !(1 << PinReason::OpenTransaction as u32);
        if held != 0 {
            let reasons: Vec<&str> = PinReason::ALL
                .iter()
                .filter(|reason| held & (1 << **reason as u32) != 0)
                .map(|reason| reason.sentence())
                .collect();
            return Some(format!("{who} can't move: {}", reasons.join(" ")));
        }
        let age = entry.transaction_since()?.elapsed();
        (age > self.terms.drain).then(|| format!("{who} has had a transaction open for {} s", age.as_secs()))
    }
}
