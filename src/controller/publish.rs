//! From what is known to what is published: the topology for sessions, the status for people.
//!
//! The primary is who the record says, never who happens to be writable.
//!
//! Never here: I/O, a verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_routing::topology::{Instance, InstanceId, Reads, ReadsStopped, Topology};
use uuid::Uuid;

use super::api::InstanceStatus;
use super::guarantee::Waited;
use super::lag::LagMeter;
use super::record::{Guarantee, Mark, MarkKind, PromotionRule, Record};
use super::unguarded;
use super::view::{ChannelView, ClusterView, InstanceView, LockView, Reach, ServerView, Thread};
use crate::feed::receipts::Rule;

/// A replica not seen for this long serves no reads; one slow look is not enough.
const UNSEEN: Duration = Duration::from_secs(3);

/// Everything that decides what is published.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// What was seen.
    pub view: &'a ClusterView,
    /// The record, if there is one.
    pub record: Option<&'a Record>,
    /// The primary that takes writes now, if any does.
    pub primary: Option<InstanceId>,
    /// The coming primary, and its server_uuid: replicas may follow it already.
    pub coming: Option<(InstanceId, Uuid)>,
    /// Whether sessions should connect to the coming primary now.
    pub warm: Option<InstanceId>,
    /// The latest reading of the primary that kept the guarantee.
    pub waited: Option<Waited>,
    /// How far replicas are behind.
    pub lags: &'a LagMeter,
    /// The time.
    pub now: Instant,
}

/// The value for sessions. `addresses` are the configured ones.
pub fn topology(picture: &Picture<'_>, addresses: &[Arc<str>]) -> Topology {
    let instances: Vec<Instance> =
        picture.view.instances.iter().map(|view| instance(picture, view, addresses)).collect();
    Topology {
        epoch: picture.record.map_or(0, |record| record.epoch),
        primary: picture.primary,
        warm: picture.warm,
        instances: instances.into(),
    }
}

/// At how many of whom a commit has to be before its OK is true, while that is guaranteed.
pub fn receipt_rule(picture: &Picture<'_>) -> Option<Rule> {
    let proves = |record: &&Record| record.waits() && record.guarantee != Guarantee::None;
    // In an open window nobody acknowledges, and everybody was told what an OK is worth.
    let record = picture.record.filter(proves).filter(|record| record.open_window().is_none())?;
    let kept = picture.waited.filter(|_| record.guarantee == Guarantee::Acknowledged);
    Some(Rule {
        ackers: record.ackers.clone(),
        count: usize::from(record.wait_count),
        kept: kept.map(|waited| (waited.server, waited.unacknowledged)),
    })
}

fn instance(picture: &Picture<'_>, view: &InstanceView, addresses: &[Arc<str>]) -> Instance {
    let address = addresses.get(view.id.index()).cloned().unwrap_or_else(|| "".into());
    let mut instance = Instance::unchecked(view.id, Arc::clone(&view.name), address);
    if let Some(server) = &view.server {
        instance.server_uuid = Some(server.uuid);
        instance.version = Some(Arc::clone(&server.version));
        instance.executed = Arc::clone(&server.executed);
        instance.lag = picture.lags.lag(view.id);
    }
    instance.reads = reads(picture, view).map_or(Reads::Serving, Reads::Stopped);
    instance
}

/// Why an instance serves no reads as a replica; `None`: it does.
pub fn reads(picture: &Picture<'_>, view: &InstanceView) -> Option<ReadsStopped> {
    let Some(record) = picture.record else { return Some(ReadsStopped::NotYetChecked) };
    let Some(server) = view.server.as_deref() else {
        return Some(match view.reach {
            Reach::NotYet => ReadsStopped::NotYetChecked,
            // Whoever reads there reads to the end.
            Reach::Removed => ReadsStopped::Draining,
            Reach::Answers
            | Reach::Refused(_)
            | Reach::Silent
            | Reach::Saturated
            | Reach::LoginFailed(_)
            | Reach::Broken(_) => ReadsStopped::Unreachable,
        });
    };
    if let Some(kind) = record.mark_kind(&view.name) {
        return Some(match kind {
            MarkKind::Drain => ReadsStopped::Draining,
            MarkKind::Maintenance => ReadsStopped::Maintenance,
            MarkKind::Quarantine => ReadsStopped::Quarantined,
        });
    }
    let unseen = view.age(picture.now).is_none_or(|age| age > UNSEEN);
    if unseen || matches!(view.reach, Reach::Refused(_)) {
        return Some(ReadsStopped::Unreachable);
    }
    if server.uuid == record.primary {
        return None;
    }
    if record.rebuild.as_ref().is_some_and(|rebuild| rebuild.uuid == server.uuid) {
        return Some(ReadsStopped::Rebuilding);
    }
    if server.is_writable() {
        return Some(ReadsStopped::Writable);
    }
    if is_errant(picture.view, record, server) {
        return Some(ReadsStopped::Quarantined);
    }
    let lagging = picture.lags.is_lagging(view.id).then_some(ReadsStopped::Lagging);
    replicating(picture, record, server).or(lagging)
}

fn is_errant(view: &ClusterView, record: &Record, server: &ServerView) -> bool {
    let primary = view.by_uuid(record.primary).and_then(InstanceView::live);
    primary.is_some_and(|primary| !server.errant(primary).is_empty() || !server.forgot(primary).is_empty())
}

fn replicating(picture: &Picture<'_>, record: &Record, server: &ServerView) -> Option<ReadsStopped> {
    let Some(channel) = &server.channel else { return Some(ReadsStopped::NotReplicating) };
    let known = channel.source == Some(record.primary)
        || picture.coming.is_some_and(|(_, uuid)| channel.source == Some(uuid));
    // A lost primary stops every receiver; what is applied may still be read.
    let receives = channel.receiver == Thread::Running || picture.primary.is_none();
    let stopped = !known || !receives || channel.applier != Thread::Running;
    stopped.then_some(ReadsStopped::NotReplicating)
}

/// One instance for people. `connections` is left for who counts them.
pub fn instance_status(picture: &Picture<'_>, view: &InstanceView, address: &str) -> InstanceStatus {
    let primary =
        picture.record.and_then(|r| picture.view.by_uuid(r.primary)).and_then(|i| i.server.as_deref());
    let is_primary = |server: &ServerView| picture.record.is_some_and(|record| record.primary == server.uuid);
    let mut status = InstanceStatus {
        name: view.name.to_string(),
        address: address.to_owned(),
        role: "unknown".into(),
        reachable: view.reach == Reach::Answers,
        verdict: view.reach.as_str().into(),
        error: view
            .reach
            .error()
            .or_else(|| view.login.as_ref().err().map(|e| format!("a fresh login fails: {e}"))),
        reads: reads(picture, view).map_or("serving", ReadsStopped::as_str).into(),
        mark: picture.record.and_then(|record| record.mark(&view.name)).map(Mark::describe),
        promotion: picture.record.and_then(|r| r.promotion_rule(&view.name)).map(PromotionRule::describe),
        seen_ms: view.age(picture.now).and_then(|age| u64::try_from(age.as_millis()).ok()),
        ..InstanceStatus::default()
    };
    let Some(server) = view.server.as_deref() else { return status };
    status.role = if is_primary(server) { "primary" } else { "replica" }.into();
    status.version = Some(server.version.to_string());
    status.server_uuid = Some(server.uuid.to_string());
    status.writable = Some(server.is_writable());
    status.gtid_executed = Some(server.executed.to_string());
    status.acker = picture.record.is_some_and(|record| record.is_acker(server.uuid));
    if let Some(primary) = primary.filter(|_| !is_primary(server)) {
        status.gtid_gap = Some(server.gap(primary));
        status.errant = Some(server.errant(primary)).filter(|set| !set.is_empty()).map(|set| set.to_string());
    }
    if let Some(channel) = &server.channel {
        let lag = picture.lags.lag(view.id);
        status.lag_ms = lag.and_then(|lag| u64::try_from(lag.as_millis()).ok());
        status.source = Some(source_name(picture.view, channel));
        status.replication = Some(replication_words(channel));
    }
    status.semi_sync = Some(semi_sync_words(server));
    status
}

fn source_name(view: &ClusterView, channel: &ChannelView) -> String {
    match channel.source.and_then(|uuid| view.by_uuid(uuid)) {
        Some(instance) => instance.name.to_string(),
        None => format!("{}:{}", channel.host, channel.port),
    }
}

fn replication_words(channel: &ChannelView) -> String {
    let receiver = match channel.receiver {
        Thread::Running => "receiving",
        Thread::Connecting => "connecting",
        Thread::Stopped => "receiver stopped",
    };
    let applier = match channel.applier {
        Thread::Running => "applying",
        Thread::Connecting | Thread::Stopped => "applier stopped",
    };
    let error = channel.applier_error.as_ref().or(channel.receiver_error.as_ref());
    error.map_or_else(|| format!("{receiver}+{applier}"), |error| format!("{receiver}+{applier} ({error})"))
}

fn semi_sync_words(server: &ServerView) -> String {
    let Some(semi_sync) = &server.semi_sync else { return "plugins missing".into() };
    let mut words = Vec::new();
    if semi_sync.waiting.is_on() {
        words.push(format!("source, {} clients, waits for {}", semi_sync.clients, semi_sync.count));
    }
    if semi_sync.acking_now.is_on() {
        words.push("acking".into());
    } else if semi_sync.acking.is_on() && words.is_empty() {
        words.push("ready to ack".into());
    }
    if words.is_empty() { "off".into() } else { words.join(", ") }
}

/// What a member has that the primary lacks, and what to do about it.
fn own_transactions(
    picture: &Picture<'_>,
    record: &Record,
    view: &InstanceView,
    server: &ServerView,
) -> String {
    let primary = picture.view.by_uuid(record.primary).and_then(InstanceView::live);
    let forgot = primary.map(|primary| server.forgot(primary)).unwrap_or_default();
    if !forgot.is_empty() {
        return format!(
            "{0}: it lost transactions that it had written itself ({forgot}), and replication does not bring them back: no \
             reads, no replication. sluice rebuild {0} gives it another member's data",
            view.name
        );
    }
    let errant = primary.map(|primary| server.errant(primary)).unwrap_or_default();
    format!(
        "{0}: it has transactions of its own ({errant}), so it is in quarantine: no reads, no replication. After a \
         failover these are commits that nobody had acknowledged. sluice rebuild {0} copies them into the store and gives \
         it another member's data",
        view.name
    )
}

/// Things somebody should know, whatever the verdict is.
pub fn alarms(picture: &Picture<'_>) -> Vec<String> {
    let mut alarms = Vec::new();
    if let Some(alarm) = picture.record.and_then(unguarded::alarm) {
        alarms.push(alarm);
    } else if picture.record.is_some_and(|record| record.waits() && record.guarantee == Guarantee::Broken) {
        alarms.push(
            "the primary committed without waiting for acknowledgements: should it be lost now, a human has to decide; \
             it ends by itself with the next acknowledged write of Sluice"
                .into(),
        );
    }
    if let Some(pause) = picture.record.and_then(|record| record.pause.as_ref()) {
        alarms.push(format!("automatic failover is {}; sluice resume ends it", pause.describe()));
    }
    for view in picture.view.members() {
        let kind = picture.record.and_then(|record| record.mark_kind(&view.name));
        if let Some(error) = view.reach.error() {
            // Whoever works on it knows.
            if kind != Some(MarkKind::Maintenance) {
                alarms.push(format!("{}: {error}", view.name));
            }
            continue;
        }
        if let Err(error) = &view.login {
            alarms.push(format!("{}: a fresh login fails: {error}", view.name));
        }
        let (Some(server), Some(record)) = (view.server.as_deref(), picture.record) else { continue };
        let primary = picture.view.by_uuid(record.primary).and_then(InstanceView::live);
        if server.executed.is_empty() && primary.is_some_and(|primary| !primary.executed.is_empty()) {
            alarms.push(format!("{0}: it is empty; sluice rebuild {0} fills it", view.name));
        }
        if server.lock == LockView::Free {
            alarms.push(format!("{}: the lock of this cluster is not taken yet", view.name));
        }
        if server.offline.is_on() && !record.is_taken_apart(server.uuid) {
            alarms.push(format!(
                "{0}: no client gets in (offline_mode); unless somebody wants that: SET GLOBAL offline_mode=OFF on {0}",
                view.name
            ));
        }
        if server.semi_sync.is_none() {
            alarms.push(format!(
                "{}: the semi-sync plugins are missing, so it can't guarantee anything \
                 (INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so', and _replica)",
                view.name
            ));
        }
        if primary.is_some_and(|primary| server.is_stranger(primary)) {
            alarms.push(format!(
                "{0} takes writes and has no transaction in common with this cluster: it is left alone. Correct its \
                 address and sluice reload; or, if it is to become a member: SET GLOBAL super_read_only=ON on it, then \
                 sluice rebuild {0}",
                view.name
            ));
            continue;
        }
        // Right after a change of roles it was last seen as a replica, which need not have applied everything then.
        let promoted = primary.is_some_and(|primary| primary.is_writable() || primary.channel.is_none());
        if server.uuid != record.primary && promoted && is_errant(picture.view, record, server) {
            alarms.push(own_transactions(picture, record, view, server));
        }
        if let Some(error) = server.channel.as_ref().and_then(|channel| channel.applier_error.as_ref()) {
            alarms.push(format!("{}: the applier failed: {error}", view.name));
        }
    }
    alarms
}

#[cfg(test)]
mod tests;
