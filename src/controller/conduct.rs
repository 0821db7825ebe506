//! Conducts a planned switchover: does the steps of a [`Plan`](super::switchover::Plan) in order, shows and times
//! each, and takes everything back when one fails before the epoch changes.
//!
//! Never here: the order of the steps, a rule about who may be the target.

mod catch_up;
mod preflight;
mod steps;
mod undo;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_histogram};
use serde_json::json;
use tokio::time::Instant;

use super::api::{OperationState, Refusal, RefusalCode, StepView, SwitchoverRequest};
use super::desk::{ASKED, Desk};
use super::execute::StepError;
use super::hooks::{self, Event};
use super::record::Record;
use super::store::Prepared;
use super::switchover::{self, Plan, Step};
use crate::config::OnLeftover;

/// A switchover under way.
pub(super) type Running = Pin<Box<dyn Future<Output = ()>>>;

/// How often a precondition that is missing is looked at again, within `--wait`.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long preconditions may be missing if nothing is said: over a slow look, not over a person's work.
const WAIT: Duration = Duration::from_secs(2);
/// Statements that have to succeed after the epoch changed are tried this often.
const FORWARD_TRIES: u32 = 3;

/// The request with its defaults filled in.
#[derive(Clone, Debug)]
struct Terms {
    to: Option<String>,
    dry_run: DryRun,
    drain: Duration,
    hold: Duration,
    leftover: OnLeftover,
    wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DryRun {
    No,
    Yes,
}

/// Checks the request and starts; the returned future does the work and ends with the operation.
pub(super) fn start(desk: &Arc<Desk>, wanted: &SwitchoverRequest) -> Result<(String, Running), Refusal> {
    let terms = terms(desk, wanted)?;
    let kind = if wanted.dry_run { "switchover (dry run)" } else { "switchover" };
    let who = if wanted.who.is_empty() { "operator" } else { &wanted.who };
    let id = desk.begin(kind, terms.to.clone(), who);
    desk.because(&id, ASKED);
    let conductor = Conductor { desk: Arc::clone(desk), id: id.clone(), began: Instant::now(), terms };
    Ok((id, Box::pin(conductor.run())))
}

fn terms(desk: &Desk, wanted: &SwitchoverRequest) -> Result<Terms, Refusal> {
    let bad = |reason: String| Refusal { code: RefusalCode::BadRequest, reason, hint: None };
    let settings = &desk.config.switchover;
    let leftover = match wanted.on_leftover.as_deref() {
        None => settings.on_leftover,
        Some("abort") => OnLeftover::Abort,
        Some("kill") => OnLeftover::Kill,
        Some(other) => return Err(bad(format!("on_leftover is abort or kill, not {other}"))),
    };
    let drain = wanted.drain_ms.map_or(settings.drain, Duration::from_millis);
    if drain >= settings.hold {
        return Err(bad(format!(
            "the drain ({drain:?}) has to be shorter than [switchover] hold ({:?})",
            settings.hold
        )));
    }
    if let Some(name) = &wanted.to
        && !desk.config.members().any(|instance| *instance.name == **name)
    {
        let reason = format!("no instance is called {name}");
        return Err(Refusal { code: RefusalCode::UnknownInstance, reason, hint: None });
    }
    let epoch = desk.record().map_or(0, |record| record.epoch);
    if let Some(expected) = wanted.expect_epoch.filter(|expected| *expected != epoch) {
        let reason = format!("the epoch is {epoch}, not {expected}");
        return Err(Refusal { code: RefusalCode::NotNow, reason, hint: Some("sluice status".into()) });
    }
    Ok(Terms {
        to: wanted.to.clone(),
        dry_run: if wanted.dry_run { DryRun::Yes } else { DryRun::No },
        drain,
        hold: settings.hold,
        leftover,
        wait: wanted.wait_ms.map_or(WAIT, Duration::from_millis),
    })
}

struct Conductor {
    desk: Arc<Desk>,
    id: String,
    began: Instant,
    terms: Terms,
}

impl Conductor {
    async fn run(self) {
        describe_counter!("sluice_switchovers_total", "Ended switchovers by result.");
        describe_histogram!(
            "sluice_switchover_stall_seconds",
            "From the end of the last open transaction to the opening of the gate."
        );
        let until = Instant::now() + self.terms.wait;
        let began = Instant::now();
        let (bench, plan) = loop {
            // Upkeep and switchover share one lock, and the look is made again under it.
            let bench = self.desk.bench.lock().await;
            match self.preflight().await {
                Ok(plan) => break (bench, plan),
                Err(reason) if Instant::now() >= until => {
                    self.note("preflight", began, &reason, "failed");
                    self.end(OperationState::Refused, reason, Some("sluice status".into()));
                    return;
                }
                Err(_) => drop(bench),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        self.desk.operation(&self.id, |view| view.target = Some(plan.to_name.clone()));
        let mut detail = format!("{} -> {}", plan.from_name, plan.to_name);
        if let Some(zone) = &plan.zone {
            detail = format!("{detail} ({zone})");
        }
        self.note("preflight", began, &detail, "ok");
        if self.terms.dry_run == DryRun::Yes {
            self.describe(&plan.plan);
            return;
        }
        let Some(before) = self.desk.record() else { return };
        self.desk.set_coming(Some((plan.plan.to, plan.plan.to_uuid)), None);
        let performance = Performance {
            conductor: &self,
            plan: plan.plan,
            before,
            prepared: None,
            give_up: None,
            drained_at: None,
            position: String::new(),
            unshown: Vec::new(),
            remarks: Vec::new(),
        };
        performance.perform().await;
        self.desk.set_coming(None, None);
        self.desk.observers.look_at_all(Instant::now() + Duration::from_secs(2)).await;
        drop(bench);
    }

    fn end(&self, state: OperationState, outcome: String, hint: Option<String>) {
        let result = match state {
            OperationState::Running => "running",
            OperationState::Done => "done",
            OperationState::Refused => "refused",
            OperationState::Undone => "undone",
            OperationState::Failed => "failed",
        };
        counter!("sluice_switchovers_total", "result" => result).increment(1);
        self.desk.end(&self.id, state, outcome, hint);
    }

    fn note(&self, name: &str, began: Instant, detail: &str, result: &str) {
        self.desk.step(&self.id, self.view(name, began, detail.to_owned(), result.to_owned()));
    }

    fn view(&self, name: &str, began: Instant, detail: String, result: String) -> StepView {
        StepView {
            name: name.to_owned(),
            detail,
            at_us: micros(began.duration_since(self.began)),
            took_us: Some(micros(began.elapsed())),
            result: Some(result),
        }
    }

    /// The dry run: every step with what it would do, and who would be hurt.
    fn describe(&self, plan: &Plan) {
        let view = self.desk.view();
        let now = Instant::now();
        for step in plan.steps() {
            self.note(step.as_str(), now, &plan.describe(step, &view), "would be done");
        }
        let hurt = self.hurt();
        for who in &hurt {
            self.note("session", now, who, "would be hurt");
        }
        let outcome = match hurt.len() {
            0 => "nothing stands in the way; no session would notice more than a short wait".to_owned(),
            count => format!("{count} session(s) would be hurt or stand in the way"),
        };
        self.desk.end(&self.id, OperationState::Done, outcome, None);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A switchover from its first change to its end.
struct Performance<'a> {
    conductor: &'a Conductor,
    plan: Plan,
    /// The record before anything was changed.
    before: Record,
    /// The record of the coming epoch.
    prepared: Option<Prepared>,
    /// When to turn back at the latest, once clients are held.
    give_up: Option<Instant>,
    /// When the last open transaction had ended.
    drained_at: Option<Instant>,
    /// Everything that the old primary has, when it takes no more writes.
    position: String,
    /// Steps done while clients were held: showing them costs time, so it waits.
    unshown: Vec<StepView>,
    /// What did not work after the release.
    remarks: Vec<String>,
}

impl Performance<'_> {
    async fn perform(mut self) {
        let mut committed = false;
        for step in self.plan.steps() {
            let began = Instant::now();
            let outcome = self.step(step).await;
            let (detail, result) = match &outcome {
                Ok(detail) => (detail.clone(), "ok".to_owned()),
                Err(failure) => (self.plan.describe(step, &self.desk().view()), format!("failed: {failure}")),
            };
            self.unshown.push(self.conductor.view(step.as_str(), began, detail, result));
            if !step.in_stall() || step == Step::Release {
                self.show();
            }
            match outcome {
                Ok(_) => committed |= step == Step::Commit,
                Err(failure) if !committed => return self.take_back(step, &failure).await,
                Err(failure) if step.in_stall() => return self.stuck(step, &failure),
                Err(failure) => self.remarks.push(format!("{}: {failure}", step.as_str())),
            }
        }
        self.succeeded();
    }

    fn desk(&self) -> &Desk {
        &self.conductor.desk
    }

    fn show(&mut self) {
        let steps = std::mem::take(&mut self.unshown);
        self.desk().operation(&self.conductor.id, |view| view.steps.extend(steps));
    }

    /// After the epoch change there is only forward: upkeep goes on from the record, and opens the gate when
    /// the new primary has proved itself.
    fn stuck(mut self, step: Step, failure: &StepError) {
        self.show();
        self.desk().set_trust(super::assess::Trust::Unchecked);
        self.conductor.end(
            OperationState::Failed,
            format!("the epoch is changed, but {} failed: {failure}; upkeep goes on", step.as_str()),
            Some("sluice status".into()),
        );
    }

    fn succeeded(self) {
        let mut outcome = format!("the primary is {}", self.name(self.plan.to));
        if !self.remarks.is_empty() {
            outcome = format!("{outcome}; upkeep will mend: {}", self.remarks.join("; "));
        }
        let view = self.desk().view();
        let of = |id: sluice_routing::topology::InstanceId| {
            hooks::of_instance(self.desk(), view.instances.get(id.index()))
        };
        let more = json!({ "old_primary": of(self.plan.from), "new_primary": of(self.plan.to) });
        hooks::run_beside(&self.conductor.desk, Event::AfterSwitchover, Some(&self.conductor.id), more);
        self.conductor.end(OperationState::Done, outcome, None);
    }

    fn name(&self, id: sluice_routing::topology::InstanceId) -> String {
        self.desk().config.instances.get(id.index()).map_or_else(String::new, |i| i.name.to_string())
    }

    async fn take_back(mut self, reached: Step, failure: &StepError) {
        self.show();
        let mut left = Vec::new();
        for undo in switchover::undo(&self.plan, reached) {
            let began = Instant::now();
            let outcome = self.undo(undo, reached).await;
            let result = outcome.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "ok".into());
            if let Err(error) = &outcome {
                left.push(format!("{}: {error}", undo.as_str()));
            }
            self.unshown.push(self.conductor.view(undo.as_str(), began, String::new(), result));
            self.show();
            if outcome.is_err() && undo == switchover::Undo::Writable {
                // Clients must not be let go to a primary that may refuse them: upkeep opens it.
                self.desk().set_trust(super::assess::Trust::Unchecked);
                break;
            }
        }
        let mut outcome = format!("{} failed: {failure}; everything is as before", reached.as_str());
        if !left.is_empty() {
            outcome =
                format!("{} failed: {failure}; upkeep will mend: {}", reached.as_str(), left.join("; "));
        }
        self.conductor.end(OperationState::Undone, outcome, None);
    }
}
