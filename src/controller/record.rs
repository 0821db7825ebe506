//! The record: the durable word on epoch, primary, ackers, wait count and the operation in progress.
//!
//! The same facts, less the operation, are a row on every server ([`EpochRow`]), so that a store is never
//! trusted alone.
//!
//! Never here: a file, a decision.

mod adopter;
mod promotions;
mod window;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use adopter::{by_another, tagged};
pub use promotions::PromotionRule;
pub(super) use window::moment;
pub use window::{Stage, Window};

/// What the store holds. Changed only by compare-and-set on `version`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Record {
    /// Counts every change.
    pub version: u64,
    /// Name of the cluster.
    pub cluster: String,
    /// Term of the primary, at least 1.
    pub epoch: u64,
    /// `server_uuid` of the primary.
    pub primary: Uuid,
    /// Name of its instance when it was last seen: a Sluice that starts after the primary died has to know
    /// where it was.
    #[serde(default)]
    pub primary_name: String,
    /// Members whose acknowledgement counts.
    pub ackers: Vec<Uuid>,
    /// Acknowledgements a commit needs.
    pub wait_count: u16,
    /// What an OK is worth.
    pub guarantee: Guarantee,
    /// The operation in progress.
    pub operation: Option<OperationRecord>,
    /// Who made this epoch: `adopt`, `switchover`, with the name of who asked.
    pub who: String,
    /// Instances taken out by an operator.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Promotion rules in place of those of the configuration.
    #[serde(default)]
    pub promotions: Vec<PromotionRule>,
    /// The rebuild in progress.
    #[serde(default)]
    pub rebuild: Option<RebuildRecord>,
    /// Former primaries that a failover replaced and that do not follow yet.
    #[serde(default)]
    pub deposed: Vec<Deposed>,
    /// Set while Sluice promotes and rebuilds nobody by itself.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Set from before writes go on without an acker until one was acknowledged again; the guarantee is broken then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// A former primary that a failover replaced.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Deposed {
    /// Its `server_uuid`.
    pub uuid: Uuid,
    /// The epoch in which it was the primary.
    pub epoch: u64,
    /// What is known of commits that only it has.
    pub tail: Tail,
}

/// What is known of commits that only a former primary has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// Nobody was told OK for one of them: everything acknowledged was brought to its successor.
    Unacknowledged,
    /// The guarantee was interrupted, or a loss was accepted.
    Unknown,
}

/// What an OK to a client is worth.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// It may be lost with the primary.
    None,
    /// The barrier of this epoch was acknowledged: what is OK is on `wait_count` ackers.
    Acknowledged,
    /// It was so, and then the primary committed without waiting: what it committed since may be lost with it.
    Broken,
}

/// A switchover or failover in progress.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct OperationRecord {
    /// Its id.
    pub id: String,
    /// What it is.
    #[serde(default)]
    pub kind: OperationKind,
    /// Who asked.
    pub who: String,
    /// The primary before.
    pub from: Uuid,
    /// The primary after; nil while it is not chosen.
    pub to: Uuid,
    /// How far it is.
    pub phase: Phase,
    /// The ackers before, restored by an undo.
    pub ackers_before: Vec<Uuid>,
    /// Of a failover: what [`Self::moved`] said of the operation that it found in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_moved: Option<Uuid>,
}

impl OperationRecord {
    /// The old primary, as long as nobody has seen that it does not follow another member: a switchover that was
    /// broken off may have pointed it there, to acknowledge.
    pub fn moved(&self) -> Option<Uuid> {
        match (self.kind, self.phase) {
            (OperationKind::Switchover, Phase::Preparing) => Some(self.from),
            (OperationKind::Failover, Phase::Preparing) => self.found_moved,
            (OperationKind::Switchover | OperationKind::Failover, Phase::Promoted) => None,
        }
    }
}

/// What changes the primary.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Planned, both alive.
    #[default]
    Switchover,
    /// The old primary is gone.
    Failover,
}

/// How far a switchover or failover is. Up to the epoch change it is undone after a crash, later it is finished.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The epoch is the old one.
    Preparing,
    /// The epoch was changed.
    Promoted,
}

/// A member that is being filled with another member's data. It is in the record before anything of the member is
/// touched, so that a Sluice that starts in the middle goes on with the copy under way instead of beginning another.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct RebuildRecord {
    /// Id of the operation.
    pub id: String,
    /// Who asked.
    pub who: String,
    /// Name of the instance that is filled.
    pub member: String,
    /// Its `server_uuid`, which it keeps.
    pub uuid: Uuid,
    /// The donor that was asked for; `None`: the best one.
    pub from: Option<String>,
    /// The donor of the latest attempt.
    pub donor: Option<String>,
    /// How far it is.
    pub phase: RebuildPhase,
    /// Attempts begun, each of which may have dropped the member's data.
    pub attempts: u32,
    /// When the server's latest copy before this attempt began, as it says itself: tells an old one from ours.
    pub before: Option<String>,
    /// What becomes of transactions that only this member has.
    #[serde(default)]
    pub own: OwnTransactions,
    /// What it is for.
    #[serde(default)]
    pub cause: RebuildCause,
}

/// What a rebuild is for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RebuildCause {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// The member has no data.
    Empty,
    /// It was the primary and has commits that nobody was told OK for.
    Tail,
    /// It was the primary and has lost commits that others have.
    Forgot,
}

impl RebuildCause {
    /// In the history.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked for",
            Self::Empty => "the member is empty",
            Self::Tail => "it was the primary and has commits that nobody was told OK for",
            Self::Forgot => "it was the primary and has lost commits that others have",
        }
    }
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RebuildPhase {
    /// Its data are as they were.
    Preparing,
    /// Its data are dropped, or may be.
    Cloning,
    /// It has the donor's data and is to follow the primary.
    Joining,
}

/// What becomes of transactions that only the member has, when its data are replaced.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OwnTransactions {
    /// Without a copy of them in the store nothing is replaced.
    #[default]
    Keep,
    /// Somebody said that they are not wanted.
    Discard,
}

/// An instance taken out by an operator.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Mark {
    /// Instance name.
    pub name: String,
    /// How far it is taken out.
    #[serde(default)]
    pub kind: MarkKind,
    /// Who set it.
    #[serde(default)]
    pub who: String,
    /// For people.
    pub reason: Option<String>,
    /// Seconds since 1970 at which it ends by itself.
    pub until: Option<u64>,
}

/// How far an instance is taken out.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// No new reads; it acknowledges, and may become the primary if no other member can.
    #[default]
    Drain,
    /// Somebody works on it: no reads, it does not become the primary, does not acknowledge where others can, and its
    /// replication is left alone.
    Maintenance,
    /// Its data are in doubt: as in maintenance, and it never acknowledges.
    Quarantine,
}

impl MarkKind {
    /// The verb that sets it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::Quarantine => "quarantine",
        }
    }

    /// Whether Sluice leaves the instance to whoever has marked it, but for making it read-only.
    pub const fn is_hands_off(self) -> bool {
        match self {
            Self::Drain => false,
            Self::Maintenance | Self::Quarantine => true,
        }
    }

    /// Why it does not become the primary by plan.
    pub const fn objection(self) -> &'static str {
        match self {
            Self::Drain => "it is drained",
            Self::Maintenance => "it is in maintenance",
            Self::Quarantine => "it is in quarantine",
        }
    }
}

/// Sluice promotes nobody by itself.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Pause {
    /// Who paused it.
    pub who: String,
    /// For people.
    pub reason: Option<String>,
    /// Seconds since 1970 at which it ends by itself.
    pub until: Option<u64>,
}

/// Why, by whom and until when, for people.
fn circumstances(reason: Option<&str>, who: &str, until: Option<u64>) -> String {
    let who = (!who.is_empty()).then(|| format!("by {who}"));
    let parts = [reason.map(str::to_owned), who, until.map(|until| format!("until {}", moment(until)))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

impl Mark {
    /// For people.
    pub fn describe(&self) -> String {
        let more = circumstances(self.reason.as_deref(), &self.who, self.until);
        if more.is_empty() {
            self.kind.as_str().to_owned()
        } else {
            format!("{}: {more}", self.kind.as_str())
        }
    }
}

impl Pause {
    /// For people.
    pub fn describe(&self) -> String {
        format!("paused: {}", circumstances(self.reason.as_deref(), &self.who, self.until))
    }
}

/// What every member carries of the record: the row that is the barrier write of its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRow {
    /// Term.
    pub epoch: u64,
    /// `server_uuid` of its primary.
    pub primary: Uuid,
    /// Recorded ackers.
    pub ackers: Vec<Uuid>,
    /// Acknowledgements a commit needs.
    pub wait_count: u16,
    /// Who made it.
    pub who: String,
}

impl EpochRow {
    /// The ackers as the server keeps them.
    pub(super) fn ackers_text(&self) -> String {
        self.ackers.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",")
    }

    /// Reads the cells of `EPOCH_ROW`.
    pub(super) fn parse(cells: &[Option<String>]) -> Option<Self> {
        let cell = |index: usize| cells.get(index).and_then(Option::as_deref);
        Some(Self {
            epoch: cell(0)?.parse().ok()?,
            primary: cell(1)?.parse().ok()?,
            ackers: cell(2)?.split(',').filter_map(|uuid| uuid.parse().ok()).collect(),
            wait_count: cell(3)?.parse().ok()?,
            who: cell(4)?.to_owned(),
        })
    }
}

impl Record {
    /// The row that carries this record to the servers.
    pub fn row(&self) -> EpochRow {
        EpochRow {
            epoch: self.epoch,
            primary: self.primary,
            ackers: self.ackers.clone(),
            wait_count: self.wait_count,
            who: self.who.clone(),
        }
    }

    /// Whether semi-sync is part of this cluster.
    pub fn waits(&self) -> bool {
        self.wait_count > 0
    }

    /// Whether a rebuild alone deals with this member now: nobody else starts, fences or points it anywhere.
    pub fn is_taken_apart(&self, uuid: Uuid) -> bool {
        self.rebuild.as_ref().is_some_and(|rebuild| {
            rebuild.uuid == uuid
                && match rebuild.phase {
                    RebuildPhase::Preparing | RebuildPhase::Cloning => true,
                    RebuildPhase::Joining => false,
                }
        })
    }

    /// The mark of an instance.
    pub fn mark(&self, name: &str) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.name == name)
    }

    /// How far an instance is taken out.
    pub fn mark_kind(&self, name: &str) -> Option<MarkKind> {
        self.mark(name).map(|mark| mark.kind)
    }

    /// Takes away what has come to its time, seconds since 1970; whether there was anything.
    pub fn expire(&mut self, now: u64) -> bool {
        let over = |until: Option<u64>| until.is_some_and(|until| until <= now);
        let count = |record: &Self| (record.marks.len(), record.promotions.len(), record.pause.is_some());
        let before = count(self);
        self.marks.retain(|mark| !over(mark.until));
        self.promotions.retain(|rule| !over(rule.until));
        self.pause = self.pause.take().filter(|pause| !over(pause.until));
        before != count(self)
    }

    /// Whether this member's acknowledgement counts.
    pub fn is_acker(&self, uuid: Uuid) -> bool {
        self.ackers.contains(&uuid)
    }
}

#[cfg(test)]
mod tests;
