//! What others may ask of the controller, and what it shows: the types of the admin API.
//!
//! Everything here is plain data that serializes to the JSON of the admin API, so the CLI reads the same
//! types that the server wrote.
//!
//! Never here: a decision, a connection.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::record::MarkKind;
use crate::config::{Config, Promotion};

/// Requests waiting for the controller at once; one more is refused as busy.
const REQUEST_QUEUE: usize = 32;

/// Asks the controller and reads what it shows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControllerHandle {
    requests: mpsc::Sender<Asked>,
    regroups: mpsc::Sender<Regroup>,
    status: Arc<ArcSwap<Status>>,
    operations: watch::Receiver<Arc<Vec<OperationView>>>,
}

/// A request with the place for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes: the id of the operation that was started or that is already under way.
    pub answer: oneshot::Sender<Result<String, Refusal>>,
}

/// Instances and rules as a changed file has them.
#[derive(Debug)]
pub struct Regroup {
    /// What to work with from now on; places that it has are as they were.
    pub config: Arc<Config>,
    /// Where the answer goes; after a refusal nothing has changed.
    pub answer: oneshot::Sender<Result<(), Refusal>>,
}

/// The controller's ends of a [`ControllerHandle`].
#[derive(Debug)]
pub struct ControllerSeat {
    /// Requests to serve.
    pub requests: mpsc::Receiver<Asked>,
    /// Changed configurations to work with.
    pub regroups: mpsc::Receiver<Regroup>,
    /// Where to publish the status.
    pub status: Arc<ArcSwap<Status>>,
    /// Where to publish the operations of this process (the running one and the latest ended ones).
    pub operations: watch::Sender<Arc<Vec<OperationView>>>,
}

/// Makes a connected pair.
pub fn channel(initial: Status) -> (ControllerHandle, ControllerSeat) {
    let (sender, receiver) = mpsc::channel(REQUEST_QUEUE);
    // Reloads come one at a time.
    let (regroups_tx, regroups_rx) = mpsc::channel(1);
    let status = Arc::new(ArcSwap::from_pointee(initial));
    let (operations_tx, operations_rx) = watch::channel(Arc::new(Vec::new()));
    (
        ControllerHandle {
            requests: sender,
            regroups: regroups_tx,
            status: Arc::clone(&status),
            operations: operations_rx,
        },
        ControllerSeat { requests: receiver, regroups: regroups_rx, status, operations: operations_tx },
    )
}

impl ControllerHandle {
    /// The latest status.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// The operations of this process, oldest first; the receiver wakes at every step of one.
    pub fn operations(&self) -> watch::Receiver<Arc<Vec<OperationView>>> {
        self.operations.clone()
    }

    /// Hands a request to the controller. Returns the id of its operation, or why it was refused.
    pub async fn ask(&self, request: Request) -> Result<String, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Asked { request, answer }).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Has the controller work with these instances and rules from now on, if nothing speaks against it. It may finish
    /// a step first.
    pub async fn regroup(&self, config: Arc<Config>) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        self.regroups.try_send(Regroup { config, answer }).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Refusal {
    Refusal {
        code: RefusalCode::Busy,
        reason: "the controller does not take requests now".into(),
        hint: Some("ask again in a few seconds; `sluice status` shows what it does".into()),
    }
}

/// What may be asked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Change the primary, planned.
    Switchover(SwitchoverRequest),
    /// Change the primary though the present one can't be asked.
    Failover(FailoverRequest),
    /// Take the cluster as it is, with this primary, into a new record.
    Adopt {
        /// Instance name.
        primary: String,
        /// Who asks.
        who: String,
    },
    /// Take an instance out.
    Mark {
        /// How far.
        kind: MarkKind,
        /// Instance name.
        name: String,
        /// On what terms.
        terms: MarkTerms,
    },
    /// Take a mark back.
    Unmark {
        /// Only if it is of this kind.
        kind: Option<MarkKind>,
        /// Instance name.
        name: String,
        /// Who asks.
        who: String,
    },
    /// Have another promotion rule for an instance than the configuration's.
    Promotion {
        /// Instance name.
        name: String,
        /// The rule; `None`: that of the configuration again.
        promotion: Option<Promotion>,
        /// On what terms.
        terms: MarkTerms,
    },
    /// Fill a member with another member's data.
    Rebuild(RebuildRequest),
    /// Promote nobody by itself from now on.
    Pause(MarkTerms),
    /// Take that back.
    Resume {
        /// Who asks.
        who: String,
    },
}

/// `POST /instances/NAME/rebuild`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct RebuildRequest {
    /// The member that is filled.
    pub name: String,
    /// Who gives its data; `None`: the best one.
    pub from: Option<String>,
    /// Replace its data though transactions that only it has can't be kept.
    pub discard_own: bool,
    /// Who asks.
    pub who: String,
}

/// On what terms something is marked or paused.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct MarkTerms {
    /// For people.
    pub reason: Option<String>,
    /// Ends by itself after this time.
    #[serde(rename = "for")]
    pub duration: Option<Duration>,
    /// Who asks.
    pub who: String,
}

/// `POST /switchover`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct SwitchoverRequest {
    /// Target instance; `None`: the best one.
    pub to: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Overrides `[switchover] drain`, milliseconds.
    pub drain_ms: Option<u64>,
    /// Overrides `[switchover] on_leftover`: `abort` or `kill`.
    pub on_leftover: Option<String>,
    /// How long preflight may wait for blockers to go away, milliseconds.
    pub wait_ms: Option<u64>,
    /// Refuse unless this is the epoch.
    pub expect_epoch: Option<u64>,
    /// Who asks.
    pub who: String,
}

/// `POST /failover`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct FailoverRequest {
    /// Target instance; `None`: the best one.
    pub to: Option<String>,
    /// Go on though committed transactions may be lost.
    pub accept_loss: bool,
    /// Who asks.
    pub who: String,
}

/// Why a request was not taken.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what is wrong.
    pub reason: String,
    /// For people: the next thing to type.
    pub hint: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// No instance of that name.
    UnknownInstance,
    /// The request makes no sense (bad value).
    BadRequest,
    /// The cluster is not in a state for it.
    NotNow,
    /// Another operation or too many requests are under way.
    Busy,
}

/// `GET /status`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Cluster name.
    pub cluster: String,
    /// Term of the primary; 0 before adoption.
    pub epoch: u64,
    /// Name of the primary.
    pub primary: Option<String>,
    /// What an OK to a client is worth now.
    pub guarantee: String,
    /// Set while writes go on without an acker: since when, until when at most, and why.
    #[serde(default)]
    pub unguarded: Option<String>,
    /// One word on the cluster (`healthy`, `primary_lost`, `stale_record`, ...).
    pub verdict: String,
    /// A sentence with the evidence.
    pub evidence: String,
    /// Seconds since the verdict was reached.
    pub verdict_age_s: u64,
    /// The next thing to type, when somebody has to act.
    pub hint: Option<String>,
    /// What would happen if the primary were lost now.
    pub failover: FailoverStatus,
    /// How often Sluice may still act by itself.
    #[serde(default)]
    pub budgets: Vec<BudgetStatus>,
    /// Who paused automatic failover, why, and until when.
    pub paused: Option<String>,
    /// Recorded ackers.
    pub ackers: Vec<String>,
    /// Acknowledgements a commit needs.
    pub wait_count: u16,
    /// The gate.
    pub gate: GateStatus,
    /// All instances, in config order.
    pub instances: Vec<InstanceStatus>,
    /// Things somebody should know.
    pub alarms: Vec<String>,
    /// The operation under way.
    pub operation: Option<OperationView>,
    /// The rebuild under way; a switchover or failover may run beside it.
    pub rebuild: Option<OperationView>,
    /// Client sessions of this process.
    pub sessions: u64,
}

/// Automatic failover as shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct FailoverStatus {
    /// `ready`, `off` (something keeps it from acting at all) or `not_possible` (not with the members of now).
    pub state: String,
    /// The reason, or who would win and why.
    pub sentence: String,
    /// Who would be the primary.
    pub winner: Option<String>,
    /// The others, and why not they.
    pub rejected: Vec<CandidateStatus>,
}

/// How often Sluice may still act by itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct BudgetStatus {
    /// What: `failover`, `rebuild`.
    pub class: String,
    /// So many at once.
    pub left: u32,
    /// Of so many.
    pub of: u32,
    /// Seconds until there is one more; `None`: there are all.
    pub refills_in_s: Option<u64>,
}

/// One that would not be the primary.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct CandidateStatus {
    /// Its name.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// The gate as shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct GateStatus {
    /// `open`, `narrow (switchover)`, `closed (switchover)` or `closed (no primary)`.
    pub state: String,
    /// Write units under way.
    pub open_units: u64,
    /// Statements waiting.
    pub held: u64,
    /// Sessions that hold state that can't move.
    pub pinned: u64,
}

/// `GET /instances` entry
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct InstanceStatus {
    /// Name in the configuration.
    pub name: String,
    /// `host:port`
    pub address: String,
    /// `primary`, `replica` or `unknown`.
    pub role: String,
    /// Whether the last observation succeeded.
    pub reachable: bool,
    /// One word (`ok`, `refused`, `timeout`, `saturated`, `login_failed`, ...).
    pub verdict: String,
    /// The error of the last observation, for people.
    pub error: Option<String>,
    /// Server version.
    pub version: Option<String>,
    /// server_uuid
    pub server_uuid: Option<String>,
    /// Whether it takes writes (`read_only` off).
    pub writable: Option<bool>,
    /// gtid_executed
    pub gtid_executed: Option<String>,
    /// Transactions of the primary that it has not executed.
    pub gtid_gap: Option<u64>,
    /// Transactions that only it has.
    pub errant: Option<String>,
    /// Replication lag, milliseconds.
    pub lag_ms: Option<u64>,
    /// Name (or address) of the source it replicates from.
    pub source: Option<String>,
    /// Replication threads: `receiving+applying`, `connecting`, `stopped`, ... with the error if any.
    pub replication: Option<String>,
    /// Semi-sync, for people: `source, 2 clients` / `acking` / `off`.
    pub semi_sync: Option<String>,
    /// Whether it is a recorded acker.
    pub acker: bool,
    /// `serving`, or why no reads go there.
    pub reads: String,
    /// Backend connections of this process to it.
    pub connections: u64,
    /// Mark set by an operator (`drain`, `maintenance`, `quarantine`), with its reason, its owner and its end.
    pub mark: Option<String>,
    /// Promotion rule set at run time, with its reason, its owner and its end.
    #[serde(default)]
    pub promotion: Option<String>,
    /// Milliseconds since it was last seen.
    pub seen_ms: Option<u64>,
}

/// `GET /operations` entry
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct OperationView {
    /// Identifier, unique in this cluster's history.
    pub id: String,
    /// `switchover`, `adopt`, `drain`, ...
    pub kind: String,
    /// What it works on (target instance).
    pub target: Option<String>,
    /// Who asked.
    pub who: String,
    /// Why it was begun.
    #[serde(default)]
    pub cause: Option<String>,
    /// When it began, RFC 3339 UTC.
    pub began: String,
    /// When it ended, RFC 3339 UTC.
    #[serde(default)]
    pub ended: Option<String>,
    /// State.
    pub state: OperationState,
    /// Steps so far, in order.
    pub steps: Vec<StepView>,
    /// How long the gate stayed closed after the last open transaction had ended, microseconds.
    pub stall_us: Option<u64>,
    /// How far the copy of a rebuild is, while one runs.
    #[serde(default)]
    pub copy: Option<CopyView>,
    /// Why it ended as it did, for people.
    pub outcome: Option<String>,
    /// The next thing to type.
    pub hint: Option<String>,
}

impl OperationView {
    /// A number that grows with every step that begins or ends, and with every look at a copy: tells news from a
    /// repetition.
    pub fn progress(&self) -> u64 {
        let ended = self.steps.iter().filter(|step| step.took_us.is_some()).count();
        let looks = self.copy.as_ref().map_or(0, |copy| copy.looks);
        u64::try_from(self.steps.len() + ended).unwrap_or(u64::MAX).saturating_add(looks)
    }
}

/// How far a copy is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct CopyView {
    /// What it does.
    pub stage: String,
    /// Bytes copied.
    pub done_bytes: u64,
    /// Bytes to copy, as the server estimates.
    pub total_bytes: u64,
    /// Bytes per second at the moment.
    pub bytes_per_s: u64,
    /// Seconds until everything is copied.
    pub seconds_left: Option<u64>,
    /// Counts the looks.
    pub looks: u64,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Under way.
    #[default]
    Running,
    /// Reached its goal.
    Done,
    /// Changed nothing: a precondition was missing.
    Refused,
    /// Was undone: everything is as before.
    Undone,
    /// Failed and left something for a person to look at.
    Failed,
}

/// One step of an operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct StepView {
    /// Name of the step.
    pub name: String,
    /// What it did or found.
    pub detail: String,
    /// Microseconds since the operation began.
    pub at_us: u64,
    /// How long it took, microseconds; `None` while it runs.
    pub took_us: Option<u64>,
    /// `ok`, `failed: ...`; `None` while it runs.
    pub result: Option<String>,
}
