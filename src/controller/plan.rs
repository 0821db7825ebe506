//! Upkeep: the one next thing to do so that the servers are as the record says.
//!
//! Level-triggered: a restart, a half-done switchover and a returning server are all mended by looking at
//! what is and doing the first thing that is missing.
//!
//! Never here: I/O, a step that could lose an acknowledged transaction (those are a switchover's).

use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::adopt::Policy;
use super::assess::{Assessment, Verdict};
use super::record::{Guarantee, Mark, MarkKind, Phase, Record};
use super::statements;
use super::view::{BootView, ClusterView, InstanceView, LockView, SemiSyncView, ServerView, Switch, Thread};

/// Where replicas reach an instance: host and port.
pub type Address = (String, u16);

/// One thing to do. Each is idempotent: doing it twice does nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take the cluster's lock there.
    TakeLock(InstanceId),
    /// Close an operation that a killed Sluice left behind: undone, or finished by further upkeep.
    CloseOperation,
    /// `super_read_only` on a server that must not take writes.
    Fence(InstanceId),
    /// The waiting side of semi-sync off, on a replica.
    StopWaiting(InstanceId),
    /// The primary forgets the source it once had.
    ForgetSource(InstanceId),
    /// Follow the primary.
    Follow(InstanceId),
    /// Start the receiver.
    StartReceiver(InstanceId),
    /// Start the applier.
    StartApplier(InstanceId),
    /// `replica_net_timeout` and heartbeat.
    Tune(InstanceId),
    /// A further member whose acknowledgement counts.
    AddAcker(Uuid),
    /// A recorded acker is no more: another server is at its place.
    ForgetAcker(Uuid),
    /// Make it acknowledge what it receives.
    StartAcking(InstanceId),
    /// Make it stop.
    StopAcking(InstanceId),
    /// Make an acker stop, see the others acknowledge, and take it out of the record.
    RetireAcker(InstanceId),
    /// The waiting side of semi-sync on, on the primary.
    StartWaiting(InstanceId),
    /// Record that commits have no guarantee from now on, then let the primary wait for nobody.
    LetGo(InstanceId),
    /// The time for that is over: the primary waits again, whoever is there.
    WaitAgain(InstanceId),
    /// Make the primary writable after its tail was checked, and prove it with an acknowledged write.
    Resume(InstanceId),
    /// Have it start fenced the next time.
    PersistBoot(InstanceId),
    /// Write the row of this epoch; acknowledged, it establishes the guarantee.
    Barrier(InstanceId),
    /// Write it once more: commits wait whose acknowledgement was lost, and the next one is for them, too.
    Nudge(InstanceId),
    /// Enable the scheduled events that ran at the former primary.
    MoveEvents(InstanceId),
}

impl Step {
    /// What it does, for the log.
    pub fn describe(&self, view: &ClusterView) -> String {
        let name = |id: &InstanceId| view.instances.get(id.index()).map_or("?", |i| &*i.name).to_owned();
        match self {
            Self::TakeLock(id) => format!("take the lock on {}", name(id)),
            Self::CloseOperation => "close the operation left by a killed Sluice".into(),
            Self::Fence(id) => format!("fence {}: it is writable and not the primary", name(id)),
            Self::StopWaiting(id) => format!("semi-sync source side off on {}", name(id)),
            Self::ForgetSource(id) => format!("the primary {} forgets its former source", name(id)),
            Self::Follow(id) => format!("{} follows the primary", name(id)),
            Self::StartReceiver(id) => format!("start the receiver of {}", name(id)),
            Self::StartApplier(id) => format!("start the applier of {}", name(id)),
            Self::Tune(id) => format!("set heartbeat and network timeout of {}", name(id)),
            Self::AddAcker(uuid) => format!("{} becomes an acker", view.name_of(*uuid)),
            Self::ForgetAcker(uuid) => format!("the acker {uuid} is no more: another server is at its place"),
            Self::StartAcking(id) => format!("{} acknowledges", name(id)),
            Self::StopAcking(id) => format!("{} stops acknowledging", name(id)),
            Self::RetireAcker(id) => format!("{} is marked and leaves the ackers", name(id)),
            Self::StartWaiting(id) => format!("commits on {} wait for acknowledgements", name(id)),
            Self::LetGo(id) => format!("commits on {} go on without an acker", name(id)),
            Self::WaitAgain(id) => {
                format!("commits on {} wait for ackers again: the time without is over", name(id))
            }
            Self::Resume(id) => format!("make {} writable again", name(id)),
            Self::PersistBoot(id) => format!("persist the boot settings of {}", name(id)),
            Self::Barrier(id) => format!("write the epoch row on {}", name(id)),
            Self::Nudge(id) => format!("free the commits on {} whose acknowledgement was lost", name(id)),
            Self::MoveEvents(id) => format!("scheduled events run on {}", name(id)),
        }
    }
}

/// Everything to do, the most urgent first. The run loop does one step and looks again.
pub fn plan(
    view: &ClusterView,
    record: &Record,
    assessment: &Assessment,
    policy: &Policy,
    addresses: &[Address],
) -> Vec<Step> {
    if !assessment.verdict.acting_allowed() {
        return fences(view, record, &assessment.verdict);
    }
    let mut steps = locks(view);
    if record.operation.is_some() {
        steps.push(Step::CloseOperation);
        return steps;
    }
    steps.extend(fences(view, record, &assessment.verdict));
    steps.extend(
        // One that is still to be fenced may have commits waiting: fencing lets go of them once nobody can be told OK.
        others(view, record)
            .filter(|(_, s)| !s.is_writable())
            .filter(|(_, s)| s.semi_sync.as_ref().is_some_and(|semi_sync| semi_sync.waiting.is_on()))
            .map(|(instance, _)| Step::StopWaiting(instance.id)),
    );
    let Some((primary, server)) = view.live().find(|(_, server)| server.uuid == record.primary) else {
        return steps;
    };
    if server.channel.as_ref().is_some_and(|channel| server.executed.contains_set(&channel.received)) {
        steps.push(Step::ForgetSource(primary.id));
    }
    // One that takes writes may have commits under way that nobody sees before it is fenced: its own, perhaps.
    let settled = |(instance, replica): &(&InstanceView, &ServerView)| {
        !is_hands_off(record, instance) && !replica.is_writable()
    };
    for (instance, replica) in others(view, record).filter(settled) {
        steps.extend(replication(instance, replica, server, addresses.get(primary.id.index())));
    }
    steps.extend(acknowledging(view, record, server, policy, &assessment.verdict));
    if assessment.verdict == Verdict::Healthy {
        steps.extend(replaced_acker(view, record, server).map(Step::ForgetAcker));
    }
    steps.extend(primary_side(primary, server, record, &assessment.verdict));
    if record.waits() {
        let unfenced =
            |server: &ServerView| server.semi_sync.is_some() && matches!(server.boot, BootView::Lacks(_));
        let ours = |server: &ServerView| {
            !record.is_taken_apart(server.uuid) && !view.is_stranger(server, record.primary)
        };
        let unfenced = view.live().filter(|(_, server)| unfenced(server) && ours(server));
        steps.extend(unfenced.map(|(instance, _)| Step::PersistBoot(instance.id)));
    }
    steps
}

/// Only a verdict under which this Sluice is surely the one in charge.
fn fences(view: &ClusterView, record: &Record, verdict: &Verdict) -> Vec<Step> {
    match verdict {
        Verdict::Starting
        | Verdict::Unadopted
        | Verdict::Adopting
        | Verdict::StaleRecord
        | Verdict::OpenedByHand(_)
        | Verdict::LockHeldElsewhere => Vec::new(),
        Verdict::Healthy
        | Verdict::SemiSyncStarved
        | Verdict::Unguarded
        | Verdict::SecondWritable(_)
        | Verdict::PrimaryLocked
        | Verdict::PrimaryStalled
        | Verdict::PrimarySuspected
        | Verdict::PrimaryLost(_)
        | Verdict::LostQuorum
        | Verdict::PrimaryReturned(_)
        | Verdict::PrimaryBehind => others(view, record)
            .filter(|(_, server)| server.is_writable() && server.lock == LockView::Ours)
            .map(|(instance, _)| Step::Fence(instance.id))
            .collect(),
    }
}

/// Locks still to take; none while somebody else holds one anywhere, so that two Sluices can't block each other.
pub fn locks(view: &ClusterView) -> Vec<Step> {
    view.live()
        .filter(|(_, server)| server.lock == LockView::Free)
        .map(|(instance, _)| Step::TakeLock(instance.id))
        .collect()
}

fn others<'a>(
    view: &'a ClusterView,
    record: &'a Record,
) -> impl Iterator<Item = (&'a InstanceView, &'a ServerView)> {
    view.live().filter(|(_, server)| {
        server.uuid != record.primary
            && !record.is_taken_apart(server.uuid)
            && !view.is_stranger(server, record.primary)
    })
}

fn replication(
    instance: &InstanceView,
    replica: &ServerView,
    primary: &ServerView,
    address: Option<&Address>,
) -> Option<Step> {
    if !replica.errant(primary).is_empty() || !replica.other_channels.is_empty() {
        // A human decides.
        return None;
    }
    if replica.may_have_forgotten(primary) {
        // It would look like a member and never have them: only a copy makes it one.
        return None;
    }
    if replica.executed.is_empty() && !primary.executed.is_empty() {
        // It is new, or a copy broke off and left it with half of a server: only a whole copy makes it a member.
        return None;
    }
    let Some(channel) = &replica.channel else { return Some(Step::Follow(instance.id)) };
    let idle = channel.applier == Thread::Stopped && channel.applier_error.is_none();
    if idle && !replica.executed.contains_set(&channel.received) {
        // It started without its threads. Pointing it anywhere now would delete what it has received.
        return Some(Step::StartApplier(instance.id));
    }
    let at = address.is_some_and(|(host, port)| *host == channel.host && *port == channel.port);
    if channel.source != Some(primary.uuid) && !(at && channel.receiver != Thread::Running) {
        return Some(Step::Follow(instance.id));
    }
    if idle {
        return Some(Step::StartApplier(instance.id));
    }
    if channel.receiver == Thread::Stopped {
        return Some(Step::StartReceiver(instance.id));
    }
    let tuned = replica.net_timeout == statements::NET_TIMEOUT
        && (channel.heartbeat - statements::HEARTBEAT).abs() < f64::EPSILON;
    let wanted = !tuned && replica.replicates_from(primary.uuid) && can_spare_one(primary);
    wanted.then_some(Step::Tune(instance.id))
}

/// Whether commits find enough ackers while one attached receiver is restarted. Without, an account statement
/// that commits just then hangs the primary for good: it waits for an acknowledgement and holds the lock that the
/// returning receiver's login needs (seen on 9.7.4). Such a replica is tuned when it gets its next source.
fn can_spare_one(primary: &ServerView) -> bool {
    primary.semi_sync.as_ref().is_none_or(|s| !s.waiting.is_on() || s.clients > u32::from(s.count))
}

/// A member with more to execute becomes no acker yet: a failover would have to wait for it.
pub(super) const NEARLY: u64 = 10_000;
/// The same on the source's clock, milliseconds.
const NEARLY_MS: u64 = 10_000;

/// Whether a replica is close to the primary.
pub(super) fn nearly(replica: &ServerView, primary: &ServerView) -> bool {
    let late = replica.channel.as_ref().is_some_and(|channel| channel.lag_ms > NEARLY_MS);
    !late && replica.gap(primary) <= NEARLY
}

fn is_hands_off(record: &Record, instance: &InstanceView) -> bool {
    record.mark_kind(&instance.name).is_some_and(MarkKind::is_hands_off)
}

/// Recorded ackers that acknowledge now, are left to Sluice, and are not this one.
fn other_ackers(view: &ClusterView, record: &Record, but: Uuid) -> usize {
    let acks = |server: &ServerView| {
        server.replicates_from(record.primary)
            && server.semi_sync.as_ref().is_some_and(|s| s.acking_now.is_on())
    };
    others(view, record)
        .filter(|(instance, server)| {
            server.uuid != but
                && record.is_acker(server.uuid)
                && !is_hands_off(record, instance)
                && acks(server)
        })
        .count()
}

/// Members that may acknowledge for `to` without having been told to. If it becomes the primary, they have to be
/// recorded, or one of them might be the only one that has something acknowledged.
///
/// That is every recorded acker: it may have been told to follow `to` once and not been seen since, or be pointed there
/// by whoever goes on after a Sluice that was killed. And whoever follows `to`, or did when it was seen last.
pub fn unasked_ackers(view: &ClusterView, record: &Record, to: Uuid) -> Vec<Uuid> {
    let follows =
        |server: &ServerView| server.channel.as_ref().is_some_and(|channel| channel.source == Some(to));
    let acks =
        |server: &ServerView| server.semi_sync.as_ref().is_some_and(|semi_sync| semi_sync.acking.is_on());
    let seen = view.instances.iter().filter_map(|instance| instance.server.as_deref());
    let followers = seen.filter(|server| follows(server) && acks(server)).map(|server| server.uuid);
    let mut all = Vec::new();
    for uuid in record.ackers.iter().copied().chain(followers) {
        if uuid != to && !all.contains(&uuid) {
            all.push(uuid);
        }
    }
    all
}

/// What a mark means for acknowledgements, for whoever sets it.
pub fn mark_words(view: &ClusterView, record: &Record, mark: &Mark) -> String {
    let server = view.by_name(&mark.name).and_then(|instance| instance.server.as_ref());
    let Some(server) = server.filter(|s| mark.kind.is_hands_off() && record.is_acker(s.uuid)) else {
        return String::new();
    };
    let left = other_ackers(view, record, server.uuid);
    if left >= usize::from(record.wait_count) {
        return "; it leaves the ackers now: see `sluice status` before you stop it".to_owned();
    }
    format!(
        "; it goes on acknowledging: without it {left} of the {} ackers would be left that a commit needs, and writes \
         would wait",
        record.wait_count
    )
}

fn acknowledging(
    view: &ClusterView,
    record: &Record,
    primary: &ServerView,
    policy: &Policy,
    verdict: &Verdict,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (instance, server) in others(view, record) {
        let Some(semi_sync) = &server.semi_sync else { continue };
        let recorded = record.is_acker(server.uuid);
        let healthy = server.replicates_from(record.primary);
        let hands_off = is_hands_off(record, instance);
        let spared = other_ackers(view, record, server.uuid) >= usize::from(record.wait_count);
        let may_ack = record.waits() && policy.may_ack(instance.id) && !hands_off;
        if recorded && hands_off && spared {
            if *verdict == Verdict::Healthy {
                steps.push(Step::RetireAcker(instance.id));
            }
        } else if may_ack
            && !recorded
            && healthy
            && nearly(server, primary)
            && !server.may_have_forgotten(primary)
        {
            steps.push(Step::AddAcker(server.uuid));
        } else if recorded && healthy && !(semi_sync.acking.is_on() && semi_sync.acking_now.is_on()) {
            steps.push(Step::StartAcking(instance.id));
        } else if !recorded && semi_sync.acking.is_on() {
            steps.push(Step::StopAcking(instance.id));
        }
    }
    steps
}

/// Recorded ackers that acknowledge for the primary now, and are left to Sluice.
pub(super) fn ackers_at_work(view: &ClusterView, record: &Record) -> usize {
    other_ackers(view, record, Uuid::nil())
}

/// A recorded acker at whose place another server answers: its data directory was made anew. Every place answers, it
/// is at none, and nobody is attached to the primary but those that are seen: it acknowledges nothing. While it is
/// recorded, every quorum would wait for it.
fn replaced_acker(view: &ClusterView, record: &Record, primary: &ServerView) -> Option<Uuid> {
    let everybody = view.members().all(|instance| instance.live().is_some());
    let attached = primary.semi_sync.as_ref().map(|semi_sync| semi_sync.clients)?;
    let at_work = ackers_at_work(view, record);
    let seen = usize::try_from(attached).is_ok_and(|attached| attached <= at_work);
    if !everybody || !seen || at_work < usize::from(record.wait_count) || !record.waits() {
        return None;
    }
    let gone = |uuid: &&Uuid| !view.live().any(|(_, server)| server.uuid == **uuid);
    record.ackers.iter().find(gone).copied()
}

fn primary_side(
    primary: &InstanceView,
    server: &ServerView,
    record: &Record,
    verdict: &Verdict,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(semi_sync) = &server.semi_sync {
        if record.waits() && !waits_as_recorded(semi_sync, record.wait_count) {
            // In an open window `unguarded` says when.
            if record.open_window().is_none() || semi_sync.waiting.is_on() {
                steps.push(Step::StartWaiting(primary.id));
            }
        } else if !record.waits() && semi_sync.waiting.is_on() {
            steps.push(Step::StopWaiting(primary.id));
        }
    }
    match verdict {
        Verdict::PrimaryReturned(id) => steps.push(Step::Resume(*id)),
        Verdict::Healthy | Verdict::SecondWritable(_) => {
            let behind = server.epoch_row.as_ref().is_none_or(|row| row.epoch < record.epoch);
            let unproved = record.guarantee != Guarantee::Acknowledged && record.waits();
            if behind || (unproved && attached(server, record)) {
                steps.push(Step::Barrier(primary.id));
            } else if attached(server, record) && server.semi_sync.as_ref().is_some_and(stuck) {
                steps.push(Step::Nudge(primary.id));
            }
        }
        Verdict::SemiSyncStarved
        | Verdict::Unguarded
        | Verdict::Starting
        | Verdict::Unadopted
        | Verdict::Adopting
        | Verdict::StaleRecord
        | Verdict::LockHeldElsewhere
        | Verdict::PrimaryLocked
        | Verdict::PrimaryStalled
        | Verdict::OpenedByHand(_)
        | Verdict::PrimarySuspected
        | Verdict::PrimaryLost(_)
        | Verdict::LostQuorum
        | Verdict::PrimaryBehind => {}
    }
    steps
}

fn attached(server: &ServerView, record: &Record) -> bool {
    server.semi_sync.as_ref().is_some_and(|s| s.waiting.is_on() && s.clients >= u32::from(record.wait_count))
}

/// Looks for which an attempt stays due: a failed one and the pause after it take about as many, and a look that comes
/// meanwhile must not be the only one at which it was due.
const DUE_FOR: u32 = 12;

/// Whether commits wait though ackers are attached, so that the acknowledgement may have been lost with a
/// connection: an acker that has a transaction already is not sent it again. Asked again at growing intervals, as
/// each attempt waits too if nobody acknowledges after all, and stays with the server.
fn stuck(semi_sync: &SemiSyncView) -> bool {
    let power = semi_sync.unmoved.checked_ilog2().filter(|power| *power > 0);
    power.is_some_and(|power| semi_sync.unmoved - (1 << power) < DUE_FOR)
}

fn waits_as_recorded(semi_sync: &SemiSyncView, count: u16) -> bool {
    semi_sync.waiting == Switch::On
        && semi_sync.count == count
        && semi_sync.strict.is_on()
        && semi_sync.timeout_ms >= statements::ACK_TIMEOUT_MS
}

/// What becomes of a record whose operation was left behind: before the epoch change it is undone, later
/// finished; both by further upkeep.
pub fn close_operation(record: &Record) -> Record {
    let mut next = record.clone();
    if let Some(operation) = next.operation.take() {
        match operation.phase {
            Phase::Preparing => next.ackers = operation.ackers_before,
            Phase::Promoted => {}
        }
    }
    next
}

#[cfg(test)]
mod tests;
