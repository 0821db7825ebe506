//! Conducts a failover: confirms the loss, stops the receivers of enough recorded ackers, brings the winner to
//! everything that any of them has, changes the epoch, opens the winner and lets the held statements go to it.
//!
//! Up to the epoch change everything can be left as it is: receivers are started again, and upkeep leads the
//! members back to the old primary if that returns. After it there is only forward.
//!
//! Never here: who wins and on what ground (that is `failover`), a promotion without the quorum.

mod choose;
mod complete;
mod open;
mod revoke;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_histogram, histogram};
use serde_json::json;
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;
use uuid::Uuid;

use super::api::{OperationState, StepView};
use super::assess::{self, Assessment, Verdict};
use super::clock;
use super::desk::{Desk, Opened};
use super::execute::StepError;
use super::failover::{self, Chosen, Decision, Terms};
use super::hooks::{self, Event};
use super::instance_operations::InstanceOperations;
use super::plan;
use super::record::{Guarantee, OperationKind, OperationRecord, Phase, Record};
use super::statements::Grammar;
use super::view::{ClusterView, Thread};
use crate::feed::gate::Closed;
use revoke::Held;

/// A failover under way.
pub(super) type Running = Pin<Box<dyn Future<Output = Ended>>>;

/// How fresh looks at the members may take before anything is done.
const LOOK: Duration = Duration::from_secs(1);
/// How long a fresh receiver session may take to be attached to a primary that lives.
const FRESH_RECEIVER: Duration = Duration::from_secs(1);
/// Looks after the release, so that the next round judges what is.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Another member is the primary.
    Done,
    /// Nothing was changed: the primary is not lost after all, or not certainly.
    NotLost(String),
    /// It was given up, and everything that can be taken back was.
    GaveUp(String),
    /// The epoch was changed, and upkeep has to go on.
    Stuck(String),
}

/// Begins; the returned future does the work. `id` is that of the operation, if somebody asked for it.
pub(super) fn start(desk: &Arc<Desk>, terms: Terms, id: Option<String>) -> Running {
    let desk = Arc::clone(desk);
    Box::pin(async move {
        describe_counter!("sluice_failovers_total", "Ended failovers by result.");
        describe_histogram!(
            "sluice_failover_seconds",
            "From the last answer of the old primary to the release of held statements."
        );
        // Upkeep, switchover and failover share one lock, and the look is made again under it.
        let _bench = Arc::clone(&desk.bench).lock_owned().await;
        let confirmed = match &terms.who {
            None => confirm(&desk).await,
            Some(_) => asked_for(&desk, &terms).await,
        };
        match (confirmed, id) {
            (Ok((old, assessment)), id) => take_over(&desk, old, &assessment, terms, id).await,
            (Err(why), None) => Ended::NotLost(why),
            (Err(why), Some(id)) => {
                desk.end(&id, OperationState::Refused, why.clone(), Some("sluice explain failover".into()));
                Ended::NotLost(why)
            }
        }
    })
}

/// The assessment of this moment, with what was decided on it.
pub(super) fn judged(desk: &Desk, view: &ClusterView, record: &Record) -> (Assessment, Decision) {
    let none = Err(String::new());
    let assessment = assess::assess(view, Some(record), desk.trust(), &none, clock::now());
    let decision = failover::decide(view, record, &assessment.verdict, &desk.rules());
    (assessment, decision)
}

/// Looks again, and where no receiver is known to have lost the primary, makes one attach afresh.
async fn confirm(desk: &Arc<Desk>) -> Result<(InstanceId, Assessment), String> {
    let record = desk.record().ok_or("the cluster is not adopted")?;
    let old = assess::the_primary(&desk.view(), &record).map(|view| view.id);
    let old = old.ok_or("nobody knows where the primary was")?;
    desk.observers.look_at(&others(desk, old), Instant::now() + LOOK).await;
    if desk.view().instances.get(old.index()).is_some_and(|view| view.live().is_some()) {
        // What it lacks counts only if it was seen after the others.
        desk.observers.look_at(&[old.index()], Instant::now() + LOOK).await;
    }
    let view = desk.view();
    let (assessment, decision) = judged(desk, &view, &record);
    if decision != Decision::Go {
        return Err(assessment.evidence);
    }
    let certain = match &assessment.verdict {
        Verdict::PrimaryLost(loss) => loss.is_certain(),
        // They are there and of no use: by Sluice's own write, by what others have.
        Verdict::PrimaryStalled | Verdict::PrimaryBehind => true,
        Verdict::Starting
        | Verdict::Unadopted
        | Verdict::Adopting
        | Verdict::StaleRecord
        | Verdict::LockHeldElsewhere
        | Verdict::Healthy
        | Verdict::SemiSyncStarved
        | Verdict::Unguarded
        | Verdict::SecondWritable(_)
        | Verdict::PrimaryLocked
        | Verdict::OpenedByHand(_)
        | Verdict::PrimarySuspected
        | Verdict::LostQuorum
        | Verdict::PrimaryReturned(_) => return Err(assessment.evidence),
    };
    if certain {
        return Ok((old, assessment));
    }
    let evidence = fresh_receiver(desk, &view, &record).await?;
    // It may have answered meanwhile.
    let (again, decision) = judged(desk, &desk.view(), &record);
    if decision != Decision::Go {
        return Err(again.evidence);
    }
    Ok((old, Assessment { evidence: format!("{}; {evidence}", again.evidence), ..again }))
}

/// Whether somebody may have a failover now: never of a primary that is well, and only on their word if something
/// may be lost by it.
async fn asked_for(desk: &Arc<Desk>, terms: &Terms) -> Result<(InstanceId, Assessment), String> {
    let record = desk.record().ok_or("the cluster is not adopted")?;
    let old = assess::the_primary(&desk.view(), &record).map(|view| view.id);
    let old = old.ok_or("nobody knows where the primary was")?;
    desk.observers.look_at_all(Instant::now() + LOOK).await;
    let view = desk.view();
    let (assessment, _) = judged(desk, &view, &record);
    if terms.to == Some(old) {
        return Err(format!("{} is the primary that is lost", record.primary_name));
    }
    match assessment.verdict {
        Verdict::PrimaryLost(_)
        | Verdict::LostQuorum
        | Verdict::PrimarySuspected
        | Verdict::SemiSyncStarved
        | Verdict::PrimaryLocked
        | Verdict::PrimaryStalled
        | Verdict::PrimaryBehind => {}
        Verdict::Healthy | Verdict::SecondWritable(_) | Verdict::PrimaryReturned(_) => {
            return Err(format!("{}: sluice switchover changes it without a loss", assessment.evidence));
        }
        Verdict::Starting
        | Verdict::Unadopted
        | Verdict::Adopting
        | Verdict::StaleRecord
        | Verdict::OpenedByHand(_)
        // It takes writes, and whoever could follow it lacks them.
        | Verdict::Unguarded
        | Verdict::LockHeldElsewhere => return Err(assessment.evidence),
    }
    let quorum = failover::quorum(&view, &record);
    let missing = (!quorum.is_there()).then(|| format!("lost quorum: {}", quorum.describe()));
    let Some(doubt) = failover::doubt(&view, &record).or(missing) else { return Ok((old, assessment)) };
    let loss = failover::foreseen_loss(&view, &record, &desk.floor(&record));
    if terms.accept_loss {
        let evidence = format!("{}; accepted: {doubt}; {loss}", assessment.evidence);
        return Ok((old, Assessment { evidence, ..assessment }));
    }
    Err(format!("{doubt}; {loss}; bring the primary back, or lose it: sluice failover --accept-loss"))
}

/// Every instance but one.
fn others(desk: &Desk, but: InstanceId) -> Vec<usize> {
    (0..desk.config.instances.len()).filter(|index| *index != but.index()).collect()
}

/// Restarts one receiver of the primary: only if that can't attach, the primary is lost for others, too.
async fn fresh_receiver(desk: &Desk, view: &ClusterView, record: &Record) -> Result<String, String> {
    let follows = |server: &super::view::ServerView| {
        server.channel.as_ref().is_some_and(|channel| channel.source == Some(record.primary))
    };
    let witness = view.live().find(|(_, server)| follows(server) && record.is_acker(server.uuid));
    let (witness, _) = witness.ok_or("no member that answers follows the primary")?;
    let (server, grammar) = desk.at(witness.id).ok_or("there is no such instance")?;
    let name = &witness.name;
    let broken = |error: super::control_session::SqlError| format!("{name}: {error}");
    server.stop_receiver(grammar).await.map_err(broken)?;
    server.start_receiver(grammar).await.map_err(broken)?;
    let until = Instant::now() + FRESH_RECEIVER;
    loop {
        match server.receiver().await.map_err(broken)? {
            (Thread::Running, _) => {
                return Err(format!(
                    "{name} can attach to the primary afresh: Sluice may be cut off from it"
                ));
            }
            (Thread::Connecting | Thread::Stopped, Some(error)) => {
                return Ok(format!("a fresh receiver session of {name} failed: {error}"));
            }
            (Thread::Connecting | Thread::Stopped, None) if Instant::now() >= until => {
                return Ok(format!("a fresh receiver session of {name} got no answer"));
            }
            (Thread::Connecting | Thread::Stopped, None) => {
                tokio::time::sleep(super::instance_operations::POLL).await;
            }
        }
    }
}

/// A failover from its first change to its end.
struct Takeover {
    desk: Arc<Desk>,
    id: String,
    began: Instant,
    /// The instance of the old primary.
    old: InstanceId,
    /// Why it counts as lost.
    evidence: String,
    /// What whoever wanted it has decided.
    terms: Terms,
    /// The record of the old epoch.
    before: Record,
    /// What it found in the record: a switchover that may have pointed the old primary at another member.
    found: Option<OperationRecord>,
    /// Members whose receivers are stopped.
    held: Vec<Held>,
    /// Members that were elected and could not be brought to everything, with the reason.
    passed_over: Vec<(InstanceId, String)>,
}

async fn take_over(
    desk: &Arc<Desk>,
    old: InstanceId,
    assessment: &Assessment,
    terms: Terms,
    id: Option<String>,
) -> Ended {
    let Some(before) = desk.record() else { return Ended::NotLost("the cluster is not adopted".into()) };
    let id = id.unwrap_or_else(|| desk.begin("failover", None, terms.who()));
    desk.because(&id, &assessment.evidence);
    let silent =
        desk.view().instances.get(old.index()).map_or(Duration::ZERO, |v| v.unanswered(clock::now()));
    let began = Instant::now();
    let mut takeover = Takeover {
        desk: Arc::clone(desk),
        id,
        began,
        old,
        evidence: assessment.evidence.clone(),
        terms,
        found: before.operation.clone().filter(|found| found.moved().is_some()),
        before: desk.close_left_behind(&before),
        held: Vec::new(),
        passed_over: Vec::new(),
    };
    takeover.note(
        "detect",
        began,
        &assessment.evidence,
        &format!("{} ms since its last answer", silent.as_millis()),
    );
    desk.set_failover(Some(Opened::No));
    // One that only can't commit was open until now.
    desk.publisher.feed().gate().close(Closed::NoPrimary);
    desk.publish();
    let ended = match takeover.prepare().await {
        Ok(chosen) => takeover.promote(&chosen, silent).await,
        Err(failure) => takeover.give_up(&failure).await,
    };
    desk.set_coming(None, None);
    let looked = others(desk, old);
    desk.observers.look_at(&looked, Instant::now() + LOOK_AFTER).await;
    desk.set_failover(None);
    let result = match &ended {
        Ended::Done => "done",
        Ended::NotLost(_) => "not_lost",
        Ended::GaveUp(_) => "given_up",
        Ended::Stuck(_) => "stuck",
    };
    counter!("sluice_failovers_total", "result" => result).increment(1);
    ended
}

impl Takeover {
    fn name(&self, id: InstanceId) -> String {
        self.desk.config.instances.get(id.index()).map_or_else(String::new, |i| i.name.to_string())
    }

    fn server(&self, id: InstanceId) -> Result<(&InstanceOperations, Grammar), StepError> {
        self.desk.at(id).ok_or(StepError::Gone("there is no such instance"))
    }

    fn note(&self, name: &str, began: Instant, detail: &str, result: &str) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(step = name, detail, result, took = ?began.elapsed(), "failover");
        self.desk.step(
            &self.id,
            StepView {
                name: name.to_owned(),
                detail: detail.to_owned(),
                at_us: micros(began.duration_since(self.began)),
                took_us: Some(micros(began.elapsed())),
                result: Some(result.to_owned()),
            },
        );
    }

    /// Notes how a step ended and passes its failure on.
    fn noted<T>(
        &self,
        name: &str,
        began: Instant,
        outcome: Result<(String, T), StepError>,
    ) -> Result<T, StepError> {
        match outcome {
            Ok((detail, value)) => {
                self.note(name, began, &detail, "ok");
                Ok(value)
            }
            Err(failure) => {
                self.note(name, began, "", &format!("failed: {failure}"));
                Err(failure)
            }
        }
    }

    /// Everything before the epoch change.
    async fn prepare(&mut self) -> Result<Chosen, StepError> {
        let began = Instant::now();
        let recorded = self.take();
        self.noted("record the operation", began, recorded)?;
        self.warn_before_fence().await;
        let began = Instant::now();
        let stopped = self.revoke().await;
        self.noted("stop receivers", began, stopped)?;
        // From here on the old primary can't get an acknowledgement: what it says counts no more.
        self.desk.publisher.disown(self.old);
        self.desk.publish();
        let chosen = loop {
            let chosen = self.choose()?;
            match self.fill(&chosen).await {
                Ok(()) => break chosen,
                Err(failure) => self.pass_over(&chosen, &failure).await?,
            }
        };
        self.complete(&chosen).await?;
        Ok(chosen)
    }

    /// Whoever can cut the old primary off by other means is told to; the quorum counts, whatever comes of it.
    async fn warn_before_fence(&self) {
        let began = Instant::now();
        let view = self.desk.view();
        let more = json!({
            "old_primary": hooks::of_instance(&self.desk, view.instances.get(self.old.index())),
            "evidence": self.evidence,
        });
        if let Some((said, how)) = hooks::run(&self.desk, Event::BeforeFence, &self.id, more).await {
            self.note("hook before_fence", began, &said, &how.unwrap_or_else(|how| format!("failed: {how}")));
        }
    }

    fn tell_promoted(&self, chosen: &Chosen) {
        let view = self.desk.view();
        let of = |id: InstanceId| hooks::of_instance(&self.desk, view.instances.get(id.index()));
        let more = json!({
            "old_primary": of(self.old),
            "new_primary": of(chosen.winner),
            "evidence": self.evidence,
            "loss": self.loss(chosen),
        });
        hooks::run_beside(&self.desk, Event::AfterPromote, Some(&self.id), more);
    }

    /// The operation is in the record before anything is changed.
    fn take(&self) -> Result<(String, ()), StepError> {
        let operation = OperationRecord {
            id: self.id.clone(),
            kind: OperationKind::Failover,
            who: self.terms.who().to_owned(),
            from: self.before.primary,
            to: Uuid::nil(),
            phase: Phase::Preparing,
            ackers_before: self.before.ackers.clone(),
            found_moved: self.moved(),
        };
        let record = self.desk.change(|record| {
            *record = plan::close_operation(record);
            record.operation = Some(operation);
        })?;
        Ok((
            format!(
                "epoch {}, {} ackers, wait count {}",
                record.epoch,
                record.ackers.len(),
                record.wait_count
            ),
            (),
        ))
    }

    /// The old primary, where it may follow another member.
    fn moved(&self) -> Option<Uuid> {
        self.found.as_ref().and_then(OperationRecord::moved)
    }

    /// Nothing was promoted: receivers run again, so that acknowledgements go on if the primary returns.
    async fn give_up(&mut self, failure: &StepError) -> Ended {
        let began = Instant::now();
        let mut left = Vec::new();
        for held in &mut self.held {
            if let Err(error) = held.start_again().await {
                left.push(format!("{}: {error}", held.name));
            }
        }
        let found = self.found.take();
        let closed = self.desk.change(|record| {
            *record = Record { operation: found, ..plan::close_operation(record) };
        });
        left.extend(closed.err().map(|error| error.to_string()));
        let result = if left.is_empty() { "ok".to_owned() } else { format!("failed: {}", left.join("; ")) };
        self.note("undo: start receivers again", began, "", &result);
        let outcome = format!("nobody was promoted: {failure}");
        self.desk.end(&self.id, OperationState::Undone, outcome.clone(), Some("sluice status".into()));
        Ended::GaveUp(outcome)
    }

    /// The epoch change and everything after it.
    async fn promote(&mut self, chosen: &Chosen, silent: Duration) -> Ended {
        let began = Instant::now();
        let committed = self.commit(chosen);
        if let Err(failure) = self.noted("change the epoch", began, committed) {
            return self.give_up(&failure).await;
        }
        if let Err(failure) = self.open(chosen).await {
            // Upkeep goes on from the record, and opens the gate when the new primary has proved itself.
            self.desk.set_trust(assess::Trust::Unchecked);
            let outcome = format!("the epoch is changed, but {failure}; upkeep goes on");
            self.desk.end(&self.id, OperationState::Failed, outcome.clone(), Some("sluice status".into()));
            return Ended::Stuck(outcome);
        }
        let whole = silent + self.began.elapsed();
        histogram!("sluice_failover_seconds").record(whole.as_secs_f64());
        self.desk.operation(&self.id, |view| {
            view.stall_us = u64::try_from(whole.as_micros()).ok();
        });
        self.tell_promoted(chosen);
        let remarks = self.tidy_up(chosen).await;
        let mut outcome = format!("the primary is {}; {}", self.name(chosen.winner), self.loss(chosen));
        if !remarks.is_empty() {
            outcome = format!("{outcome}; upkeep will mend: {}", remarks.join("; "));
        }
        self.desk.end(&self.id, OperationState::Done, outcome, None);
        Ended::Done
    }

    /// What is lost by it, for people and for the history.
    fn loss(&self, chosen: &Chosen) -> String {
        let names = self.held.iter().map(|held| held.name.as_str()).collect::<Vec<_>>().join(", ");
        if !chosen.lost.is_empty() {
            return format!(
                "lost: {} was committed on the old primary, and none of {names} had it",
                chosen.lost
            );
        }
        if self.counted() < failover::needed(&self.before) {
            return format!("possibly lost: what only other members than {names} had");
        }
        if self.before.waits() && self.before.guarantee == Guarantee::Acknowledged {
            return format!("no acknowledged transaction is lost: it has everything that {names} had");
        }
        "possibly lost: what the old primary committed without waiting for acknowledgements".into()
    }
}
