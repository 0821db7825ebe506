//! The loop: look, judge, plan, do at most one thing, publish. A restart loses nothing, the next round looks
//! again.
//!
//! Never here: a rule about roles, a statement's text.

mod alarms;
mod attempts;
mod budgets;
mod probing;
mod refills;
mod regroups;
mod requests;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::adopt::{self, Adoption};
use super::api::{ControllerSeat, Regroup};
use super::assess::{self, Assessment, Loss, Trust, Verdict};
use super::clock;
use super::control_session::Servers;
use super::desk::{Desk, Moment};
use super::execute::execute;
use super::failover::{self, Decision, Terms};
use super::plan::{self, Step};
use super::record::{self, Guarantee, Record};
use super::refill;
use super::store::StoreError;
use super::takeover;
use super::unguarded::{self, Lack};
use super::view::{ClusterView, LockView};
use crate::config::Config;
use crate::feed::Publisher;
use crate::feed::gate::Closed;
use alarms::Told;
use attempts::Attempts;
use budgets::Budgets;
use probing::Probe;
use refills::Refills;

/// A round at least this often, even if nothing was seen to change: verdicts age.
const ROUND_EVERY: Duration = Duration::from_millis(500);
/// A step that failed is not tried again before this time, so that a broken server is not hammered.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Steps remembered as failed at once; there are fewer kinds of steps times instances.
const FAILED_KEPT: usize = 256;
/// How long a step may take altogether; each of its statements has a shorter deadline of its own.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// Between two questions to all members about a primary in doubt.
const NUDGE_EVERY: Duration = Duration::from_millis(150);
/// How long fresh looks after a step may take.
const LOOK_AFTER: Duration = Duration::from_secs(2);

type Switchover = Pin<Box<dyn Future<Output = ()>>>;
type Upkeep = Pin<Box<dyn Future<Output = Upkept>>>;

/// A step of upkeep that came to its end.
struct Upkept {
    key: String,
    what: String,
    outcome: Result<(), String>,
}

/// Runs the controller until `shutdown` becomes true. To be driven by a current-thread runtime of its own.
/// Fails only when the store can't be opened or read.
pub async fn run_over(
    servers: Arc<dyn Servers>,
    config: Arc<Config>,
    publisher: Publisher,
    seat: ControllerSeat,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StoreError> {
    // Nothing is written before it is known where.
    publisher.feed().gate().close(Closed::NoPrimary);
    let desk = Arc::new(Desk::open(config, &servers, publisher, &seat)?);
    let mut looped = Looped {
        desk,
        seat,
        switchover: None,
        takeover: None,
        rebuild: None,
        refills: Refills::default(),
        attempts: Attempts::default(),
        nudged: None,
        upkeep: None,
        probe: None,
        failed: HashMap::new(),
        interrupted: None,
        servers,
        regroup: None,
        told: Told::default(),
        budgets: Budgets::default(),
        wanted_by: WantedBy::Nobody,
        lack: Lack::default(),
    };
    let mut changes = looped.desk.board.changes();
    loop {
        looped.regroup();
        looped.round().await;
        looped.tell_alarms();
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => {
                looped.shut_down().await;
                return Ok(());
            }
            () = ended(&mut looped.switchover) => looped.switchover = None,
            outcome = ended(&mut looped.takeover) => looped.taken_over(outcome),
            upkept = ended(&mut looped.upkeep) => looped.upkept(upkept),
            refilled = ended(&mut looped.rebuild) => looped.refilled(&refilled),
            () = probing::ended(&mut looped.probe) => looped.probe_ended(),
            Some(asked) = looped.seat.requests.recv() => looped.serve(asked),
            Some(regroup) = looped.seat.regroups.recv() => looped.regroup = Some(regroup),
            _ = changes.changed() => {}
            () = sleep_until(Instant::now() + ROUND_EVERY) => {}
        }
    }
}

async fn ended<T>(running: &mut Option<Pin<Box<dyn Future<Output = T>>>>) -> T {
    match running {
        Some(operation) => operation.as_mut().await,
        None => std::future::pending().await,
    }
}

struct Looped {
    desk: Arc<Desk>,
    seat: ControllerSeat,
    /// The switchover under way, or waiting for its preconditions.
    switchover: Option<Switchover>,
    /// The failover under way.
    takeover: Option<takeover::Running>,
    /// The rebuild under way. It does not hold the bench while data are copied, and ends with the process: the next
    /// start goes on with it.
    rebuild: Option<refill::Running>,
    /// Rebuilds that came to nothing.
    refills: Refills,
    /// Failovers that came to nothing.
    attempts: Attempts,
    /// When members were last asked what they see of a primary in doubt.
    nudged: Option<StdInstant>,
    /// The step of upkeep under way.
    upkeep: Option<Upkeep>,
    /// The write probe under way.
    probe: Option<Probe>,
    /// Steps that failed, and when.
    failed: HashMap<String, StdInstant>,
    /// The primary's instance, and how often it was interrupted, as seen in the latest round.
    interrupted: Option<(usize, u64)>,
    servers: Arc<dyn Servers>,
    /// Other instances and rules, to be gone over to when no step is under way.
    regroup: Option<Regroup>,
    /// Alarms of which a program was told.
    told: Told,
    /// How often something may be done by itself.
    budgets: Budgets,
    /// Who wanted the failover under way.
    wanted_by: WantedBy,
    /// Since when the primary has been without any acker.
    lack: Lack,
}

/// Who wanted something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantedBy {
    /// Sluice itself.
    Nobody,
    /// It was asked for.
    Somebody,
}

impl Looped {
    /// Ends what would leave clients held if it were left alone, within the deadlines of its steps.
    async fn shut_down(mut self) {
        // Nobody drives these any more, and a switchover or failover may wait for the bench that one of them holds.
        self.upkeep = None;
        self.rebuild = None;
        self.probe = None;
        if self.switchover.is_some() {
            ended(&mut self.switchover).await;
        }
        if self.takeover.is_some() {
            ended(&mut self.takeover).await;
        }
    }

    async fn round(&mut self) {
        self.end_marks();
        self.show_budgets();
        if self.desk.is_switching() {
            self.lack = Lack::default();
            self.desk.publish();
            return;
        }
        let view = self.desk.view();
        let record = self.desk.record();
        self.note_interruptions(&view, record.as_ref());
        self.probe_writes(&view, record.as_ref());
        let adoption = adopt::unambiguous(&view, &self.desk.policy);
        let adoptable = adoption.as_ref().map(Adoption::describe).map_err(Clone::clone);
        let now = clock::now();
        let assessment = assess::assess(&view, record.as_ref(), self.desk.trust(), &adoptable, now);
        let decision = match &record {
            Some(record) => failover::decide(&view, record, &assessment.verdict, &self.desk.rules()),
            None => Decision::Nothing,
        };
        let assessment = failover::explained(assessment, &decision);
        self.desk.set_assessment(assessment.clone());
        self.follow_primary(&view, record.as_ref(), &assessment);
        let broken = self.desk.record().is_some_and(|record| {
            // A source notices seconds later than Sluice that its ackers are gone.
            let ackers = view.live().filter(|(_, server)| record.is_acker(server.uuid)).count();
            record.guarantee == Guarantee::Broken || ackers < usize::from(record.wait_count)
        });
        self.desk.publisher.doubt(broken || assessment.verdict.doubts_primary());
        if assessment.verdict.doubts_primary() {
            self.desk.keep_floor(Moment::Doubt);
        }
        self.begin_takeover(&view, &decision);
        self.routing(assessment.verdict.writes_allowed()).await;
        if assessment.verdict == Verdict::LockHeldElsewhere {
            self.give_way(&view).await;
        }
        if let Some(record) = &record {
            self.refill(&view, record, &assessment);
        }
        let window = self.window_step(&view, &assessment.verdict);
        if self.upkeep.is_some() || self.regroup.is_some() {
            return;
        }
        let steps = match (&record, assessment.verdict) {
            (None, Verdict::Adopting) => {
                let locks = plan::locks(&view);
                if locks.is_empty() {
                    return self.adopt(adoption.ok(), "adopt: first start");
                }
                locks
            }
            (None, _) => Vec::new(),
            (Some(record), _) => {
                let (addresses, assessment) = (&self.desk.replication_addresses, self.desk.assessment());
                let mut steps: Vec<Step> = window.into_iter().collect();
                steps.extend(plan::plan(&view, record, &assessment, &self.desk.policy, addresses));
                steps.extend(self.desk.events_step(&view));
                steps
            }
        };
        self.start_step(&view, &steps);
    }

    /// Two Sluices that started together each hold some locks: the one that does not hold the first gives
    /// its locks back, so that the other can go on.
    async fn give_way(&self, view: &ClusterView) {
        let mut live = view.live();
        if live.next().is_some_and(|(_, first)| first.lock == LockView::Ours) {
            return;
        }
        for (instance, server) in live {
            if server.lock == LockView::Ours {
                self.desk.observers.release_lock(instance.id.index()).await;
            }
        }
    }

    /// Publishes, and opens or closes the gate; closing comes before publishing, opening after it.
    async fn routing(&self, writes: bool) {
        let gate = Arc::clone(self.desk.publisher.feed().gate());
        if !writes {
            gate.close(Closed::NoPrimary);
        }
        self.desk.publish();
        if writes && !gate.is_wide() {
            gate.open().await;
        }
    }

    /// Notes what matters later of a primary that is well, and asks the others about one that is not.
    fn follow_primary(&mut self, view: &ClusterView, record: Option<&Record>, assessment: &Assessment) {
        let (Some(record), Some(primary)) = (record, assessment.primary) else { return };
        match &assessment.verdict {
            Verdict::Healthy | Verdict::Unguarded | Verdict::SecondWritable(_) => {
                self.attempts = Attempts::default();
                let Some(primary) = view.instances.get(primary.index()) else { return };
                let Some(server) = primary.live() else { return };
                self.desk.learn_events(view, &primary.name, server);
                if record.waits() && record.guarantee == Guarantee::Acknowledged {
                    self.desk.watch_guarantee(server);
                    self.desk.keep_floor(Moment::Round);
                }
            }
            Verdict::PrimarySuspected => self.nudge(|index| index != primary.index()),
            Verdict::PrimaryLost(loss) => {
                if *loss == Loss::Stopping {
                    // A stopping server says OK to commits that nobody has acknowledged.
                    self.desk.publisher.disown(primary);
                }
                self.desk.set_trust(Trust::Unchecked);
                self.nudge(|index| index != primary.index());
            }
            Verdict::LostQuorum => {
                self.desk.set_trust(Trust::Unchecked);
                self.nudge(|index| index != primary.index());
            }
            Verdict::OpenedByHand(_) => self.desk.set_trust(Trust::Unchecked),
            Verdict::Starting
            | Verdict::Unadopted
            | Verdict::Adopting
            | Verdict::StaleRecord
            | Verdict::LockHeldElsewhere
            | Verdict::SemiSyncStarved
            | Verdict::PrimaryLocked
            | Verdict::PrimaryStalled
            | Verdict::PrimaryReturned(_)
            | Verdict::PrimaryBehind => {}
        }
    }

    /// Asks some instances again: what they say counts now, and has to be fresh.
    fn nudge(&mut self, whom: impl Fn(usize) -> bool) {
        if self.nudged.is_some_and(|at| clock::since(at) < NUDGE_EVERY) {
            return;
        }
        self.nudged = Some(clock::now());
        for index in (0..self.desk.config.instances.len()).filter(|index| whom(*index)) {
            self.desk.observers.look_soon(index);
        }
    }

    fn begin_takeover(&mut self, view: &ClusterView, decision: &Decision) {
        if *decision != Decision::Go {
            return;
        }
        let busy = self.takeover.is_some() || self.switchover.is_some();
        let may_try = !busy && self.attempts.may_try(view, self.desk.record().as_ref());
        if may_try && self.failover_affordable(view) {
            self.wanted_by = WantedBy::Nobody;
            self.takeover = Some(takeover::start(&self.desk, Terms::default(), None));
        }
    }

    fn taken_over(&mut self, outcome: takeover::Ended) {
        self.takeover = None;
        let changed = matches!(outcome, takeover::Ended::Done | takeover::Ended::Stuck(_));
        if changed && self.wanted_by == WantedBy::Nobody {
            self.budgets.failed_over();
        }
        match outcome {
            takeover::Ended::Done => {
                self.attempts = Attempts::default();
                self.desk.set_trouble(None);
            }
            takeover::Ended::NotLost(why) => {
                tracing::info!(%why, "no failover");
                self.attempts.note(&self.desk.view(), self.desk.record().as_ref());
            }
            takeover::Ended::GaveUp(why) | takeover::Ended::Stuck(why) => {
                self.attempts.note(&self.desk.view(), self.desk.record().as_ref());
                self.desk.set_trouble(Some(why));
            }
        }
    }

    /// A primary that was cut off and is there again may be another run of the server.
    fn note_interruptions(&mut self, view: &ClusterView, record: Option<&Record>) {
        let Some(primary) = record.and_then(|record| view.by_uuid(record.primary)) else { return };
        let seen = (primary.id.index(), primary.interrupted);
        let known = self.interrupted.replace(seen);
        if known.is_some_and(|known| known.0 == seen.0 && known.1 != seen.1) {
            self.desk.set_trust(Trust::Unchecked);
        }
    }

    /// What is to be done about writes without an acker.
    fn window_step(&mut self, view: &ClusterView, verdict: &Verdict) -> Option<Step> {
        let record = self.desk.record()?;
        let lacking = self.lack.note(view, &record, verdict, clock::now());
        unguarded::step(
            view,
            &record,
            verdict,
            (lacking, clock::unix()),
            self.desk.config.durability.without_acker,
        )
    }

    /// Starts the first step that has not just failed; the loop goes on meanwhile.
    fn start_step(&mut self, view: &ClusterView, steps: &[Step]) {
        self.failed.retain(|_, at| clock::since(*at) < RETRY_AFTER);
        let fresh = |step: &&Step| !self.failed.contains_key(&format!("{step:?}"));
        let Some(step) = steps.iter().find(fresh).cloned() else {
            if steps.is_empty() {
                self.desk.set_trouble(None);
            }
            return;
        };
        // Taken now: a step planned before a switchover must never be done after it.
        let Ok(bench) = Arc::clone(&self.desk.bench).try_lock_owned() else { return };
        let desk = Arc::clone(&self.desk);
        let what = step.describe(view);
        self.upkeep = Some(Box::pin(async move {
            let _bench = bench;
            tracing::info!(step = %what, "upkeep");
            let outcome = match timeout(STEP_LIMIT, execute(&desk, &step)).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err(format!("not done within {STEP_LIMIT:?}")),
            };
            desk.observers.look_at_all(Instant::now() + LOOK_AFTER).await;
            Upkept { key: format!("{step:?}"), what, outcome }
        }));
    }

    fn upkept(&mut self, upkept: Upkept) {
        self.upkeep = None;
        if let Err(error) = upkept.outcome {
            self.desk.set_trouble(Some(format!("{}: {error}", upkept.what)));
            if self.failed.len() < FAILED_KEPT {
                self.failed.insert(upkept.key, clock::now());
            }
        }
    }

    fn adopt(&self, adoption: Option<Adoption>, who: &str) {
        if let Some(adoption) = adoption
            && let Err(error) = self.write_adoption(&adoption, who)
        {
            self.desk.set_trouble(Some(format!("adoption: {error}")));
        }
    }

    fn write_adoption(&self, adoption: &Adoption, who: &str) -> Result<(), StoreError> {
        tracing::info!(what = %adoption.describe(), "adoption");
        let before = self.desk.record();
        let record = Record {
            version: 0,
            cluster: self.desk.config.cluster.name.clone(),
            epoch: adoption.epoch,
            primary: adoption.primary,
            primary_name: adoption.name.clone(),
            ackers: adoption.ackers.clone(),
            wait_count: adoption.wait_count,
            guarantee: Guarantee::None,
            operation: None,
            who: record::tagged(who, rand::random()),
            pause: before.as_ref().and_then(|record| record.pause.clone()),
            marks: before.as_ref().map_or_else(Vec::new, |record| record.marks.clone()),
            promotions: before.as_ref().map_or_else(Vec::new, |record| record.promotions.clone()),
            rebuild: before.and_then(|record| record.rebuild),
            // By a human's word another history may be the right one now.
            deposed: Vec::new(),
            // What an OK is worth has to be proved first in any case.
            window: None,
        };
        self.desk.commit(self.desk.prepare(record)?)?;
        Ok(())
    }

    /// Takes marks and the pause away whose time is over.
    fn end_marks(&self) {
        let now = clock::unix();
        let over = self.desk.record().is_some_and(|mut record| record.expire(now));
        if self.switchover.is_none()
            && over
            && let Err(error) = self.desk.change(|record| _ = record.expire(now))
        {
            self.desk.set_trouble(Some(error.to_string()));
        }
        if self.switchover.is_none()
            && let Err(error) = self.desk.fit_window(now)
        {
            self.desk.set_trouble(Some(error.to_string()));
        }
    }
}
