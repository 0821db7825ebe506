//! Rebuilds a member: takes it out of the ackers and out of routing, has it copy a donor's data, and leads it back.
//!
//! The record says how far it is before anything is done, so a Sluice that starts in the middle goes on: a copy under
//! way goes on in the server by itself and is adopted, never begun a second time.
//!
//! Never here: whether a member may be rebuilt and by whom (that is `rebuild`), the bench while data are copied.

mod copy;
mod join;
mod leave;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge};
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;
use uuid::Uuid;

use super::api::{OperationState, RebuildRequest, Refusal, RefusalCode, StepView};
use super::control_session::SqlError;
use super::desk::{Desk, REBUILD};
use super::instance_operations::InstanceOperations;
use super::rebuild::{self, Due, Objection};
use super::record::{OwnTransactions, RebuildCause, RebuildPhase, RebuildRecord};
use super::statements::Grammar;
use super::store::StoreError;

/// A rebuild under way.
pub(super) type Running = Pin<Box<dyn Future<Output = Ended>>>;

/// How a rebuild ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The member.
    pub(super) member: String,
    /// Its end.
    pub(super) state: OperationState,
}

/// How fresh looks may take.
const LOOK: Duration = Duration::from_secs(2);
/// Copies begun until it is given up: another donor is tried each time, if there is one.
const ATTEMPTS: u32 = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_secs(3);

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It may not be done.
    #[error(transparent)]
    Objection(#[from] Objection),
    /// A server's fault, or the way to it.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// The store's fault.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A condition was not reached.
    #[error("{0}")]
    Unmet(String),
    /// What was copied is of no use: another copy is needed.
    #[error("{0}")]
    Again(String),
}

/// Checks what can be checked at once and begins; the returned future does the work.
pub(super) fn start(desk: &Arc<Desk>, wanted: &RebuildRequest) -> Result<(String, Running), Refusal> {
    let own = if wanted.discard_own { OwnTransactions::Discard } else { OwnTransactions::Keep };
    let job = RebuildRecord {
        id: String::new(),
        who: wanted.who.clone(),
        member: wanted.name.clone(),
        uuid: Uuid::nil(),
        from: wanted.from.clone(),
        donor: None,
        phase: RebuildPhase::Preparing,
        attempts: 0,
        before: None,
        own,
        cause: RebuildCause::Asked,
    };
    begin(desk, job).map_err(|objection| Refusal {
        code: RefusalCode::NotNow,
        reason: objection.to_string(),
        hint: objection.hint(),
    })
}

/// The same for a member whose data are surely of no use.
pub(super) fn start_by_itself(desk: &Arc<Desk>, due: &Due) -> Result<Running, Objection> {
    let job = RebuildRecord {
        id: String::new(),
        who: "automatic".into(),
        member: due.member.clone(),
        uuid: Uuid::nil(),
        from: None,
        donor: None,
        phase: RebuildPhase::Preparing,
        attempts: 0,
        before: None,
        own: OwnTransactions::Keep,
        cause: due.cause,
    };
    begin(desk, job).map(|(_, running)| running)
}

fn begin(desk: &Arc<Desk>, mut job: RebuildRecord) -> Result<(String, Running), Objection> {
    let (view, assessment) = (desk.view(), desk.assessment());
    let record = desk.record().ok_or_else(|| Objection::NotNow {
        verdict: assessment.verdict.as_str(),
        evidence: assessment.evidence.clone(),
    })?;
    let found = rebuild::recipient(&view, &record, &assessment, &job.member, job.own)?;
    rebuild::donors(&view, &record, &found, job.from.as_deref(), &[])?;
    job.uuid = found.uuid;
    job.id = desk.begin(REBUILD, Some(job.member.clone()), &job.who);
    desk.because(&job.id, job.cause.as_str());
    Ok((job.id.clone(), run(desk, found.id, job)))
}

/// Goes on with the rebuild in the record, if there is one.
pub(super) fn resume(desk: &Arc<Desk>) -> Option<Running> {
    let job = desk.record()?.rebuild?;
    let id = desk.config.instances.iter().position(|instance| *instance.name == *job.member);
    let Some(id) = id.and_then(|index| u16::try_from(index).ok()).map(InstanceId) else {
        // Its instance is not configured any more, so nobody can finish it.
        if let Err(error) = desk.change(|record| record.rebuild = None) {
            desk.set_trouble(Some(error.to_string()));
        }
        return None;
    };
    desk.begin_as(job.id.clone(), REBUILD, Some(job.member.clone()), &job.who);
    desk.because(&job.id, job.cause.as_str());
    Some(run(desk, id, job))
}

fn run(desk: &Arc<Desk>, member: InstanceId, job: RebuildRecord) -> Running {
    describe_counter!("sluice_rebuilds_total", "Ended rebuilds by result.");
    describe_gauge!(
        "sluice_rebuild_bytes",
        "Bytes of the copy under way: `done` and, as estimated, `total`."
    );
    let refill = Refill {
        desk: Arc::clone(desk),
        member,
        job,
        began: Instant::now(),
        failed: Vec::new(),
        looks: 0,
        remarks: Vec::new(),
    };
    Box::pin(refill.run())
}

/// A rebuild from its first change to its end.
struct Refill {
    desk: Arc<Desk>,
    /// The instance that is filled.
    member: InstanceId,
    /// As in the record.
    job: RebuildRecord,
    began: Instant,
    /// Donors that failed, once for each time.
    failed: Vec<String>,
    /// Looks at the copy.
    looks: u64,
    /// What somebody should know at the end.
    remarks: Vec<String>,
}

impl Refill {
    async fn run(mut self) -> Ended {
        let ended = self.go().await;
        let state = match (&ended, self.job.phase) {
            (Ok(()), _) => {
                let record = self.desk.record();
                let leads = record.is_some_and(|record| record.primary == self.job.uuid);
                let mut outcome = format!(
                    "{} has the data of {} and {}",
                    self.job.member,
                    self.job.donor.as_deref().unwrap_or("another member"),
                    if leads { "is the primary" } else { "follows the primary" }
                );
                for remark in &self.remarks {
                    outcome = format!("{outcome}; {remark}");
                }
                self.close(OperationState::Done, outcome, None).await
            }
            (Err(Failure::Objection(objection)), RebuildPhase::Preparing) => {
                self.close(OperationState::Refused, objection.to_string(), objection.hint()).await
            }
            (Err(failure), RebuildPhase::Preparing) => {
                let outcome = format!("{failure}; the data of {} are as they were", self.job.member);
                self.close(
                    OperationState::Undone,
                    outcome,
                    Some(format!("sluice rebuild {}", self.job.member)),
                )
                .await
            }
            (Err(failure), RebuildPhase::Cloning) => {
                let outcome = format!("{failure}; the data of {} are gone", self.job.member);
                self.close(
                    OperationState::Failed,
                    outcome,
                    Some(format!("sluice rebuild {}", self.job.member)),
                )
                .await
            }
            (Err(failure), RebuildPhase::Joining) => {
                let outcome = format!("{} is filled, but does not follow: {failure}", self.job.member);
                self.close(OperationState::Failed, outcome, Some("sluice status".into())).await
            }
        };
        let result = match state {
            OperationState::Running => "running",
            OperationState::Done => "done",
            OperationState::Refused => "refused",
            OperationState::Undone => "undone",
            OperationState::Failed => "failed",
        };
        counter!("sluice_rebuilds_total", "result" => result).increment(1);
        Ended { member: self.job.member, state }
    }

    async fn go(&mut self) -> Result<(), Failure> {
        // A Sluice of before may have been in the middle of it.
        let mut adopted = self.job.phase == RebuildPhase::Cloning;
        if self.job.phase == RebuildPhase::Preparing {
            self.leave().await?;
        }
        loop {
            if self.job.phase != RebuildPhase::Joining {
                self.copy(adopted).await?;
                adopted = false;
            }
            match self.join().await {
                Err(Failure::Again(why)) if self.job.attempts < ATTEMPTS => {
                    self.note("join", Instant::now(), &why, "failed: another copy is needed");
                    self.failed.extend(self.job.donor.clone());
                    self.take_apart_again().await?;
                }
                outcome => return outcome,
            }
        }
    }

    /// A member that has joined may be elected. From the next copy on it may not, and who was elected is not copied into.
    async fn take_apart_again(&mut self) -> Result<(), Failure> {
        let bench = Arc::clone(&self.desk.bench).lock_owned().await;
        let record = self.desk.record().ok_or_else(|| Failure::Unmet("the cluster is not adopted".into()))?;
        if record.primary == self.job.uuid || record.operation.is_some() {
            return Err(Failure::Unmet("the primary is being changed".into()));
        }
        self.keep(|job| job.phase = RebuildPhase::Cloning)?;
        drop(bench);
        Ok(())
    }

    /// Fences the member again, where it can be reached, and takes the rebuild out of the record.
    async fn close(&self, state: OperationState, outcome: String, hint: Option<String>) -> OperationState {
        let fenced = match self.server() {
            // One that has joined was fenced before, and may be the primary by now.
            Ok((server, _)) if self.recorded() && self.job.phase != RebuildPhase::Joining => {
                server.close_after_copy().await.map_err(Failure::from)
            }
            Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        };
        let mut outcome = outcome;
        if let Err(failure) = fenced {
            outcome = format!("{outcome}; it could not be fenced ({failure}), upkeep will do that");
        }
        if self.recorded()
            && let Err(error) = self.desk.change(|record| record.rebuild = None)
        {
            outcome = format!("{outcome}; {error}");
            // The record still says that it is under way, and the next round goes on with it.
            tokio::time::sleep(PAUSE).await;
        }
        self.desk.operation(&self.job.id, |view| view.copy = None);
        self.desk.observers.look_at(&[self.member.index()], Instant::now() + LOOK).await;
        self.desk.end(&self.job.id, state, outcome, hint);
        state
    }

    /// Whether the record says that this rebuild is under way.
    fn recorded(&self) -> bool {
        self.desk.record().and_then(|record| record.rebuild).is_some_and(|job| job.id == self.job.id)
    }

    /// Changes what the record says of it.
    fn keep(&mut self, change: impl FnOnce(&mut RebuildRecord)) -> Result<(), Failure> {
        change(&mut self.job);
        let job = self.job.clone();
        self.desk.change(|record| record.rebuild = Some(job))?;
        self.desk.publish();
        Ok(())
    }

    fn server(&self) -> Result<(&InstanceOperations, Grammar), Failure> {
        self.desk.at(self.member).ok_or_else(|| Failure::Unmet("there is no such instance".into()))
    }

    fn note(&self, name: &str, began: Instant, detail: &str, result: &str) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(step = name, detail, result, took = ?began.elapsed(), member = %self.job.member, "rebuild");
        self.desk.step(
            &self.job.id,
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
    fn noted(&self, name: &str, began: Instant, outcome: Result<String, Failure>) -> Result<(), Failure> {
        match outcome {
            Ok(detail) => {
                self.note(name, began, &detail, "ok");
                Ok(())
            }
            Err(failure) => {
                self.note(name, began, "", &format!("failed: {failure}"));
                Err(failure)
            }
        }
    }
}
