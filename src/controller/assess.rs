//! From what was observed and what is recorded to one verdict.
//!
//! A closed set of verdicts, each with the evidence in words. Ambiguity means waiting and saying so.
//!
//! Never here: I/O, a clock (the time is an argument), an action.

mod blocked;
mod by_hand;
mod loss;

use std::time::Instant;

use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::record::{self, Guarantee, Record};
use super::unguarded;
use super::view::{ClusterView, InstanceView, LockView, Reach, SemiSyncView, ServerView};
pub use blocked::stalled_for;
pub use by_hand::opened_by_hand;
pub use loss::Loss;

/// What the run loop remembers between two rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The primary was checked since it was last lost.
    Checked,
    /// It was lost or restarted: its tail has to be checked before writes go there.
    Unchecked,
}

/// The state of the cluster in one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not everything has been looked at yet.
    Starting,
    /// No record and no unambiguous cluster.
    Unadopted,
    /// No record, and the cluster is unambiguous: it will be adopted.
    Adopting,
    /// The servers know a newer epoch than the record.
    StaleRecord,
    /// Another Sluice works on this cluster.
    LockHeldElsewhere,
    /// All is well.
    Healthy,
    /// Too few replicas are attached to the primary: commits wait.
    SemiSyncStarved,
    /// No replica is attached to the primary, and by the rules commits wait for none, for a time.
    Unguarded,
    /// A second server is writable.
    SecondWritable(InstanceId),
    /// Somebody holds a lock on the whole primary: nobody can write.
    PrimaryLocked,
    /// The primary answers and can't commit.
    PrimaryStalled,
    /// Somebody has made another member the primary.
    OpenedByHand(InstanceId),
    /// The primary did not answer lately.
    PrimarySuspected,
    /// The primary is gone, or seems to be.
    PrimaryLost(Loss),
    /// The primary is gone, and too few of the recorded ackers can be asked what was acknowledged.
    LostQuorum,
    /// The primary is there again and has to be checked.
    PrimaryReturned(InstanceId),
    /// The primary lacks transactions that a replica has.
    PrimaryBehind,
}

impl Verdict {
    /// The word shown by `sluice status`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unadopted => "unadopted",
            Self::Adopting => "adopting",
            Self::StaleRecord => "stale_record",
            Self::LockHeldElsewhere => "lock_held_elsewhere",
            Self::Healthy => "healthy",
            Self::SemiSyncStarved => "semi_sync_starved",
            Self::Unguarded => "unguarded",
            Self::SecondWritable(_) => "second_writable",
            Self::PrimaryLocked => "primary_locked",
            Self::PrimaryStalled => "primary_stalled",
            Self::OpenedByHand(_) => "opened_by_hand",
            Self::PrimarySuspected => "primary_suspected",
            Self::PrimaryLost(loss) => loss.as_str(),
            Self::LostQuorum => "lost_quorum",
            Self::PrimaryReturned(_) => "primary_returned",
            Self::PrimaryBehind => "primary_behind",
        }
    }

    /// Whether client writes may go to the recorded primary.
    pub const fn writes_allowed(&self) -> bool {
        match self {
            Self::Healthy
            | Self::SemiSyncStarved
            | Self::Unguarded
            | Self::SecondWritable(_)
            | Self::PrimaryLocked
            | Self::PrimaryStalled
            | Self::PrimarySuspected => true,
            Self::Starting
            | Self::Unadopted
            | Self::Adopting
            | Self::StaleRecord
            | Self::LockHeldElsewhere
            | Self::OpenedByHand(_)
            | Self::PrimaryLost(_)
            | Self::LostQuorum
            | Self::PrimaryReturned(_)
            | Self::PrimaryBehind => false,
        }
    }

    /// Whether an OK of the primary may be one that no acker stands behind.
    pub const fn doubts_primary(&self) -> bool {
        match self {
            Self::SemiSyncStarved
            | Self::Unguarded
            | Self::PrimaryStalled
            | Self::OpenedByHand(_)
            | Self::PrimarySuspected
            | Self::PrimaryLost(_)
            | Self::LostQuorum
            | Self::PrimaryReturned(_)
            | Self::PrimaryBehind => true,
            Self::Healthy
            | Self::PrimaryLocked
            | Self::SecondWritable(_)
            | Self::Starting
            | Self::Unadopted
            | Self::Adopting
            | Self::StaleRecord
            | Self::LockHeldElsewhere => false,
        }
    }

    /// Whether the controller may change servers.
    pub const fn acting_allowed(&self) -> bool {
        match self {
            Self::Healthy
            | Self::SemiSyncStarved
            | Self::Unguarded
            | Self::SecondWritable(_)
            | Self::PrimaryReturned(_)
            | Self::Adopting => true,
            Self::Starting
            | Self::Unadopted
            | Self::StaleRecord
            | Self::LockHeldElsewhere
            | Self::PrimaryLocked
            | Self::PrimaryStalled
            | Self::OpenedByHand(_)
            | Self::PrimarySuspected
            | Self::PrimaryLost(_)
            | Self::LostQuorum
            | Self::PrimaryBehind => false,
        }
    }
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The word.
    pub verdict: Verdict,
    /// The evidence, for people.
    pub evidence: String,
    /// The next thing to type, if somebody has to act.
    pub hint: Option<String>,
    /// The instance of the recorded primary, when it is known.
    pub primary: Option<InstanceId>,
}

impl Assessment {
    fn new(verdict: Verdict, evidence: impl Into<String>) -> Self {
        Self { verdict, evidence: evidence.into(), hint: None, primary: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn at(mut self, primary: InstanceId) -> Self {
        self.primary = Some(primary);
        self
    }
}

/// Judges. `adoptable` says whether the cluster could be adopted, or why not.
pub fn assess(
    view: &ClusterView,
    record: Option<&Record>,
    trust: Trust,
    adoptable: &Result<String, String>,
    now: Instant,
) -> Assessment {
    if let Some(held) = lock_held_elsewhere(view) {
        return held;
    }
    let Some(record) = record else { return without_record(view, adoptable) };
    if let Some(stale) = stale(view, record) {
        return stale;
    }
    let primary = the_primary(view, record);
    if let Some(opened) = by_hand::judge(view, record) {
        return Assessment { primary: primary.map(|primary| primary.id), ..opened };
    }
    let Some(primary) = primary else { return never_seen(view, record) };
    judge_primary(view, record, primary, trust, now).at(primary.id)
}

/// The instance of the recorded primary: where its server was seen last, or where it was when this Sluice was
/// not running yet.
pub fn the_primary<'a>(view: &'a ClusterView, record: &Record) -> Option<&'a InstanceView> {
    let unseen = || view.by_name(&record.primary_name).filter(|instance| instance.server.is_none());
    view.by_uuid(record.primary).or_else(unseen)
}

fn lock_held_elsewhere(view: &ClusterView) -> Option<Assessment> {
    let held: Vec<String> = view
        .live()
        .filter_map(|(instance, server)| match &server.lock {
            LockView::Elsewhere { connection, account } => {
                Some(format!("{}: connection {connection} of {account}", instance.name))
            }
            LockView::Free | LockView::Ours => None,
        })
        .collect();
    (!held.is_empty()).then(|| {
        Assessment::new(
            Verdict::LockHeldElsewhere,
            format!(
                "another Sluice holds the lock of this cluster ({}): this one does nothing",
                held.join("; ")
            ),
        )
        .hint("stop the other Sluice, or this one; when the other is gone, this one goes on by itself")
    })
}

fn without_record(view: &ClusterView, adoptable: &Result<String, String>) -> Assessment {
    let newest = view
        .seen()
        .filter_map(|(instance, server)| Some((server.epoch_row.as_ref()?, instance)))
        .max_by_key(|(row, _)| row.epoch);
    if let Some((row, instance)) = newest {
        let name = view.name_of(row.primary);
        return Assessment::new(
            Verdict::StaleRecord,
            format!(
                "stale record: the store is empty, but {} knows epoch {} with primary {name} (by {}): \
                 nothing is changed and no write is sent",
                instance.name, row.epoch, row.who
            ),
        )
        .hint(stale_hint(view, row.primary));
    }
    if view.instances.iter().any(|instance| instance.reach == Reach::NotYet) {
        return not_looked_at();
    }
    match adoptable {
        Ok(what) => Assessment::new(Verdict::Adopting, what.clone()),
        Err(problem) => Assessment::new(Verdict::Unadopted, problem.clone())
            .hint("mend it, then it is adopted by itself; or name the primary: sluice adopt --primary NAME"),
    }
}

fn stale(view: &ClusterView, record: &Record) -> Option<Assessment> {
    let contradicts = |server: &ServerView| {
        server.epoch_row.as_ref().is_some_and(|row| {
            // Another Sluice may have adopted the same primary.
            let other = row.primary != record.primary || record::by_another(&row.who, &record.who);
            row.epoch > record.epoch || (row.epoch == record.epoch && other)
        })
    };
    let (instance, server) = view.seen().find(|(_, server)| contradicts(server))?;
    let row = server.epoch_row.as_ref()?;
    let name = view.name_of(row.primary);
    Some(
        Assessment::new(
            Verdict::StaleRecord,
            format!(
                "stale record: the store says epoch {} with primary {}, but {} knows epoch {} with primary \
                 {name} (by {}): nothing is changed and no write is sent",
                record.epoch,
                view.name_of(record.primary),
                instance.name,
                row.epoch,
                row.who
            ),
        )
        .hint(stale_hint(view, row.primary)),
    )
}

/// What to do about a store that is behind the servers. Names the primary only once its server was seen.
fn stale_hint(view: &ClusterView, primary: Uuid) -> String {
    let back = "bring the newest store folder back";
    let sure = "sure that no other Sluice runs";
    match view.by_uuid(primary) {
        Some(instance) => format!("{back}; or, {sure}: sluice adopt --primary {}", instance.name),
        None if view.instances.iter().any(|instance| instance.reach == Reach::NotYet) => {
            format!("{back}; not every instance has been looked at yet")
        }
        None => format!(
            "{back}; or start the server with that server_uuid, or correct its address; or, {sure} and sure that no \
             write is lost by it: sluice adopt --primary NAME of another instance"
        ),
    }
}

fn never_seen(view: &ClusterView, record: &Record) -> Assessment {
    if view.instances.iter().any(|instance| instance.reach == Reach::NotYet) {
        return not_looked_at();
    }
    Assessment::new(
        Verdict::PrimaryLost(Loss::Brief),
        format!("the primary (server_uuid {}) answers at none of the configured addresses", record.primary),
    )
    .hint("start it, or correct its address")
}

fn judge_primary(
    view: &ClusterView,
    record: &Record,
    primary: &InstanceView,
    trust: Trust,
    now: Instant,
) -> Assessment {
    if primary.reach != Reach::Answers {
        return loss::judge(view, record, primary, trust, now);
    }
    match primary.server.as_deref() {
        Some(server) => judge_answering(view, record, (primary, server), trust, now),
        None => not_looked_at(),
    }
}

/// Looks in a row at which nothing was committed, after which the replicas are believed and not the primary.
const UNMOVED: u32 = 2;

/// Whether nobody is attached to a primary whose commits wait. It is late to notice that a connection is dead: while
/// nothing is committed, it is not believed.
pub fn is_deserted(semi_sync: &SemiSyncView) -> bool {
    semi_sync.waiting.is_on() && (semi_sync.clients == 0 || semi_sync.unmoved >= UNMOVED)
}

/// How many ackers are attached, if they are too few. The primary is late to notice that a connection is dead: while
/// its commits wait, the replicas know better.
fn starved(view: &ClusterView, record: &Record, semi_sync: &SemiSyncView) -> Option<u32> {
    let needed = u32::from(semi_sync.count);
    if !semi_sync.waiting.is_on() || semi_sync.clients < needed {
        return semi_sync.waiting.is_on().then_some(semi_sync.clients);
    }
    let receives = |server: &ServerView| record.is_acker(server.uuid) && server.receives_from(record.primary);
    let attached = view.live().filter(|(_, server)| receives(server)).count();
    let attached = u32::try_from(attached).unwrap_or(u32::MAX);
    (semi_sync.unmoved >= UNMOVED && attached < needed).then_some(attached)
}

fn judge_answering(
    view: &ClusterView,
    record: &Record,
    (instance, server): (&InstanceView, &ServerView),
    trust: Trust,
    now: Instant,
) -> Assessment {
    let name = &instance.name;
    if trust == Trust::Unchecked || !server.is_writable() {
        return returned(view, record, instance, server);
    }
    // One that is being filled is kept from clients by other means: CLONE refuses a read-only server.
    let second = view.live().find(|(_, other)| {
        other.uuid != record.primary
            && other.is_writable()
            && !record.is_taken_apart(other.uuid)
            && !other.is_stranger(server)
    });
    if let Some((second, _)) = second {
        return Assessment::new(
            Verdict::SecondWritable(second.id),
            format!("{} is writable besides the primary {name}: it is being fenced", second.name),
        );
    }
    if let (true, Some(semi_sync)) = (record.waits(), &server.semi_sync)
        && let Some(attached) = starved(view, record, semi_sync)
    {
        let evidence =
            format!("{attached} of {} ackers are attached to {name}: commits wait", semi_sync.count);
        return starving(evidence, record);
    }
    if let Some(blocked) = blocked::judge(instance, now) {
        return blocked;
    }
    if let Some(unguarded) = unguarded(name, record, server) {
        return unguarded;
    }
    let guarantee = match record.guarantee {
        Guarantee::None => "no guarantee yet",
        Guarantee::Broken => "it committed without waiting for acknowledgements",
        Guarantee::Acknowledged => "every OK is acknowledged",
    };
    Assessment::new(
        Verdict::Healthy,
        format!("{name} is the primary of epoch {} and writable; {guarantee}", record.epoch),
    )
}

fn starving(evidence: String, record: &Record) -> Assessment {
    match unguarded::spent(record) {
        Some((over, hint)) => {
            Assessment::new(Verdict::SemiSyncStarved, format!("{evidence}; {over}")).hint(hint)
        }
        None => Assessment::new(Verdict::SemiSyncStarved, evidence),
    }
}

/// Commits wait for nobody, and the record says that they may.
fn unguarded(name: &str, record: &Record, server: &ServerView) -> Option<Assessment> {
    let window = record.window.as_ref().filter(|_| record.waits())?;
    let waits = server.semi_sync.as_ref().is_none_or(|semi_sync| semi_sync.waiting.is_on());
    let evidence = format!("commits on {name} wait for no acknowledgement {}", window.describe());
    (!waits).then(|| {
        Assessment::new(Verdict::Unguarded, evidence)
            .hint("start an acker: commits wait for it again as soon as it has caught up")
    })
}

/// The primary is there and must not be opened before its tail is known to be complete.
fn returned(view: &ClusterView, record: &Record, instance: &InstanceView, server: &ServerView) -> Assessment {
    let name = &instance.name;
    for (other, replica) in view.live().filter(|(_, other)| other.uuid != record.primary) {
        // What waits for acknowledgements is no loss: it is in its binary log.
        let known = server.executed.union(&server.committing);
        let ahead = replica.has().subtract(&known).of(record.primary);
        // One that takes writes may have got further since it was seen.
        if !ahead.is_empty() && (!server.is_writable() || instance.seen >= other.seen) {
            return Assessment::new(
                Verdict::PrimaryBehind,
                format!(
                    "{name} came back without transactions that {} has ({ahead}): writing there would give \
                     the same numbers to other transactions",
                    other.name
                ),
            )
            .hint(format!("do not write to {name}; sluice failover --to {}", other.name));
        }
    }
    if let Some(unconfirmed) = unconfirmed(view, record) {
        return unconfirmed;
    }
    Assessment::new(
        Verdict::PrimaryReturned(instance.id),
        format!("{name} is there again and lacks nothing: it is being made writable"),
    )
}

fn not_looked_at() -> Assessment {
    Assessment::new(Verdict::Starting, "not every instance has been looked at yet")
}

/// A store that was brought back from a copy does not know what came later. Every later epoch began with a write on the new
/// primary and on `k` more, so that of the ackers of this record at most `k` may be unseen.
fn unconfirmed(view: &ClusterView, record: &Record) -> Option<Assessment> {
    let unseen = record.ackers.iter().filter(|acker| view.by_uuid(**acker).is_none()).count();
    if !record.waits() || unseen <= usize::from(record.wait_count) {
        return None;
    }
    if view.instances.iter().any(|instance| instance.reach == Reach::NotYet) {
        return Some(not_looked_at());
    }
    let names: Vec<&str> =
        view.instances.iter().filter(|one| one.server.is_none()).map(|one| &*one.name).collect();
    let name = &record.primary_name;
    Some(
        Assessment::new(
            Verdict::Starting,
            format!(
                "{name} was the primary of epoch {}; nobody can tell whether it still is before more of {} were seen",
                record.epoch,
                names.join(", ")
            ),
        )
        .hint(format!("start one of them; or, sure that no other has been the primary since: sluice adopt --primary {name}")),
    )
}

#[cfg(test)]
mod tests;
