//! What was observed of each instance, with its age.
//!
//! A value of the past is kept when the instance can't be seen any more; its age says so. A view without
//! evidence abstains.
//!
//! Never here: a connection, a verdict.

mod blocked;
mod histories;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::events::EventsView;
use super::record::EpochRow;
use super::statements::Grammar;
pub use blocked::{Blockade, BlockedWrite};

/// A probe is sent every second; an answer is missed when this long has passed without one.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Missed probes after which an instance counts as frozen.
pub const FROZEN_AFTER: Duration = Duration::from_secs(3);

/// All instances, in configuration order.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// By `InstanceId`.
    pub instances: Vec<InstanceView>,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// Its place in the configuration.
    pub id: InstanceId,
    /// Its configured name.
    pub name: Arc<str>,
    /// Counts looks, successful or not.
    pub looks: u64,
    /// How the latest look ended.
    pub reach: Reach,
    /// When the server was last seen.
    pub seen: Option<Instant>,
    /// Since when no look has succeeded; `None` after one that has.
    pub failing_since: Option<Instant>,
    /// The last thing it said was that it stops (1053).
    pub stopping: bool,
    /// How often it refused connections or was seen to have been restarted.
    pub interrupted: u64,
    /// What was seen then.
    pub server: Option<Arc<ServerView>>,
    /// A write of Sluice that does not get through; only ever of the primary.
    pub blocked: Option<BlockedWrite>,
    /// Outcome of the latest fresh login.
    pub login: Result<(), String>,
}

/// How a look ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Not looked at since start.
    NotYet,
    /// It answered.
    Answers,
    /// Nobody listens: this many dials in a row were refused.
    Refused(u32),
    /// No answer within the deadline.
    Silent,
    /// The server is full (1040).
    Saturated,
    /// The server does not let us in.
    LoginFailed(String),
    /// The connection broke, or the network said no.
    Broken(String),
    /// It is no instance any more; only its place is left.
    Removed,
}

impl Reach {
    /// One word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotYet => "not_yet_checked",
            Self::Answers => "ok",
            Self::Refused(_) => "refused",
            Self::Silent => "timeout",
            Self::Saturated => "saturated",
            Self::LoginFailed(_) => "login_failed",
            Self::Broken(_) => "broken",
            Self::Removed => "removed",
        }
    }

    /// The words for people, when something is wrong.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::NotYet | Self::Answers | Self::Removed => None,
            Self::Refused(times) => Some(format!("connection refused {times} times in a row")),
            Self::Silent => Some("no answer within the deadline".into()),
            Self::Saturated => Some("error 1040: too many connections".into()),
            Self::LoginFailed(error) | Self::Broken(error) => Some(error.clone()),
        }
    }
}

/// A server as it answered.
#[derive(Clone, Debug, Default)]
pub struct ServerView {
    /// `@@server_uuid`
    pub uuid: Uuid,
    /// `@@version`
    pub version: Arc<str>,
    /// Our connection id there.
    pub connection: u64,
    /// `@@read_only`
    pub read_only: Switch,
    /// `@@super_read_only`
    pub super_read_only: Switch,
    /// `@@gtid_executed`
    pub executed: Arc<GtidSet>,
    /// Transactions in its binary log that it has not committed yet, as those that wait for acknowledgements.
    pub committing: GtidSet,
    /// Whether it could be a source: binary log on, with what it replicates.
    pub logs: Switch,
    /// Replication filters.
    pub filters: u32,
    /// Lets no client in.
    pub offline: Switch,
    /// Configured delay of its applier, seconds.
    pub delay: u32,
    /// Settings it does not boot with as a member should.
    pub boot: BootView,
    /// When that answer was there.
    pub executed_read: Option<Instant>,
    /// The answer before it.
    pub executed_before: Arc<GtidSet>,
    /// When that one was there.
    pub executed_before_read: Option<Instant>,
    /// `executed` as the last full look read it, before the settings of that look; pulses leave it.
    pub executed_in_look: Arc<GtidSet>,
    /// When that answer was there.
    pub looked: Option<Instant>,
    /// `executed_in_look` and `looked` of the full look before: others have been asked since.
    pub look_before: Option<(Arc<GtidSet>, Instant)>,
    /// When it was asked for what is in `executed`, by a look or a pulse.
    pub executed_asked: Option<Instant>,
    /// Seconds since it was started.
    pub uptime: u64,
    /// Statements of clients that have run for a second or longer.
    pub at_work: u64,
    /// `gtid_mode` is ON.
    pub gtid_mode: Switch,
    /// `replica_net_timeout`, seconds.
    pub net_timeout: u32,
    /// Who holds the cluster's lock there.
    pub lock: LockView,
    /// The default replication channel.
    pub channel: Option<ChannelView>,
    /// Names of further channels.
    pub other_channels: Vec<String>,
    /// Semi-sync, if its plugins are there.
    pub semi_sync: Option<SemiSyncView>,
    /// The newest epoch row.
    pub epoch_row: Option<EpochRow>,
    /// Its scheduled events.
    pub events: Arc<EventsView>,
}

/// A switch of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Off.
    #[default]
    Off,
    /// On.
    On,
}

impl Switch {
    /// From `1`/`ON`.
    pub fn of(text: &str) -> Self {
        if matches!(text, "1" | "ON" | "on" | "YES") { Self::On } else { Self::Off }
    }

    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// What a server persists for its next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BootView {
    /// It was not asked.
    #[default]
    Unknown,
    /// It boots read-only, not replicating, not acknowledging, and keeps its relay logs.
    Fenced,
    /// These settings are missing.
    Lacks(Vec<&'static str>),
    /// It does not read what is persisted: `persisted_globals_load` is off.
    Ignored,
}

/// What has to be persisted, and how; the names are those of the newest servers.
pub(super) const BOOT: [(&str, Switch); 5] = [
    ("super_read_only", Switch::On),
    ("skip_replica_start", Switch::On),
    ("relay_log_recovery", Switch::Off),
    ("rpl_semi_sync_source_enabled", Switch::Off),
    ("rpl_semi_sync_replica_enabled", Switch::Off),
];

impl BootView {
    /// From what is persisted, each name behind `boot `, and whether that is read at a start.
    pub(super) fn of(persisted: &[(String, Switch)], is_read: Switch) -> Self {
        if !is_read.is_on() {
            return Self::Ignored;
        }
        let is_as = |name: &str, wanted: Switch| {
            persisted.iter().any(|(key, value)| key.strip_prefix("boot ") == Some(name) && *value == wanted)
        };
        let lacking = BOOT.iter().filter(|(name, wanted)| !is_as(name, *wanted));
        let lacking: Vec<&'static str> = lacking.map(|(name, _)| *name).collect();
        if lacking.is_empty() { Self::Fenced } else { Self::Lacks(lacking) }
    }
}

/// The cluster's lock on one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LockView {
    /// Nobody holds it.
    #[default]
    Free,
    /// We do.
    Ours,
    /// Somebody else does.
    Elsewhere {
        /// Connection id on that server.
        connection: u64,
        /// `user@host:port`
        account: String,
    },
}

/// A replication channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelView {
    /// Configured host.
    pub host: String,
    /// Configured port.
    pub port: u16,
    /// Configured heartbeat, seconds.
    pub heartbeat: f64,
    /// `server_uuid` of the source that was last connected to.
    pub source: Option<Uuid>,
    /// The receiver.
    pub receiver: Thread,
    /// What the receiver has got.
    pub received: GtidSet,
    /// Its last error.
    pub receiver_error: Option<String>,
    /// The applier.
    pub applier: Thread,
    /// Its last error.
    pub applier_error: Option<String>,
    /// Received and not yet applied, milliseconds on the source's clock.
    pub lag_ms: u64,
    /// `SOURCE_AUTO_POSITION`
    pub auto_position: Switch,
}

/// A replication thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thread {
    /// Not running.
    #[default]
    Stopped,
    /// Trying to reach the source.
    Connecting,
    /// Working.
    Running,
}

impl Thread {
    /// From `SERVICE_STATE`.
    pub fn of(text: &str) -> Self {
        match text {
            "ON" => Self::Running,
            "CONNECTING" => Self::Connecting,
            _ => Self::Stopped,
        }
    }
}

/// Semi-sync settings and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SemiSyncView {
    /// Commits wait for acknowledgements.
    pub waiting: Switch,
    /// It works now (`Rpl_semi_sync_source_status`).
    pub status: Switch,
    /// Attached replicas; a stale number on an idle server.
    pub clients: u32,
    /// Acknowledgements a commit needs.
    pub count: u16,
    /// Commits wait also when too few replicas are attached.
    pub strict: Switch,
    /// Milliseconds until waiting is given up.
    pub timeout_ms: u64,
    /// Commits that were not acknowledged.
    pub unacknowledged: u64,
    /// Commits that wait for acknowledgements; one stands for all that wait behind it.
    pub waiters: u32,
    /// Looks in a row at which commits waited and none had got through since the look before.
    pub unmoved: u32,
    /// It acknowledges what it receives.
    pub acking: Switch,
    /// It does so now (`Rpl_semi_sync_replica_status`).
    pub acking_now: Switch,
}

impl InstanceView {
    /// Nothing seen yet.
    pub fn unseen(id: InstanceId, name: Arc<str>) -> Self {
        Self {
            id,
            name,
            looks: 0,
            reach: Reach::NotYet,
            seen: None,
            failing_since: None,
            stopping: false,
            interrupted: 0,
            server: None,
            blocked: None,
            login: Ok(()),
        }
    }

    /// The server, if it answered the latest look.
    pub fn live(&self) -> Option<&ServerView> {
        match self.reach {
            Reach::Answers => self.server.as_deref(),
            Reach::NotYet
            | Reach::Refused(_)
            | Reach::Silent
            | Reach::Saturated
            | Reach::LoginFailed(_)
            | Reach::Broken(_)
            | Reach::Removed => None,
        }
    }

    /// For how long nothing has come from it.
    pub fn unanswered(&self, now: Instant) -> Duration {
        self.seen.or(self.failing_since).map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// How long ago the server was seen.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.seen.map(|seen| now.saturating_duration_since(seen))
    }
}

impl ClusterView {
    /// The instance at which this server was last seen.
    pub fn by_uuid(&self, uuid: Uuid) -> Option<&InstanceView> {
        self.instances.iter().find(|i| i.server.as_ref().is_some_and(|server| server.uuid == uuid))
    }

    /// The instance of this name.
    pub fn by_name(&self, name: &str) -> Option<&InstanceView> {
        self.instances.iter().find(|i| &*i.name == name)
    }

    /// The name of a server, or its uuid when it was never seen.
    pub fn name_of(&self, uuid: Uuid) -> String {
        self.by_uuid(uuid).map_or_else(|| uuid.to_string(), |i| i.name.to_string())
    }

    /// All that are in the configuration now.
    pub fn members(&self) -> impl Iterator<Item = &InstanceView> {
        self.instances.iter().filter(|instance| instance.reach != Reach::Removed)
    }

    /// Whether this server is none of the cluster's; see [`ServerView::is_stranger`].
    pub fn is_stranger(&self, server: &ServerView, primary: Uuid) -> bool {
        let primary = self.by_uuid(primary).and_then(|instance| instance.server.as_deref());
        primary.is_some_and(|primary| server.is_stranger(primary))
    }

    /// Instances that answer, with what they answered.
    pub fn live(&self) -> impl Iterator<Item = (&InstanceView, &ServerView)> {
        self.instances.iter().filter_map(|i| Some((i, i.live()?)))
    }

    /// Instances that have ever answered, with what they answered last: what one knew of a later epoch is true also when it
    /// is down.
    pub fn seen(&self) -> impl Iterator<Item = (&InstanceView, &ServerView)> {
        let configured = self.instances.iter().filter(|instance| instance.reach != Reach::Removed);
        configured.filter_map(|instance| Some((instance, instance.server.as_deref()?)))
    }
}

impl ServerView {
    /// Which words it understands.
    pub fn grammar(&self) -> Grammar {
        Grammar::of_version(&self.version)
    }

    /// Whether it takes writes.
    pub fn is_writable(&self) -> bool {
        !self.read_only.is_on()
    }

    /// Takes over what only two looks at the same server can tell.
    pub(super) fn follow_up(&mut self, before: Option<&Self>) {
        let before = before.filter(|before| before.uuid == self.uuid);
        self.executed_before =
            before.map_or_else(|| Arc::clone(&self.executed), |before| Arc::clone(&before.executed));
        self.executed_before_read = before.map_or(self.executed_read, |before| before.executed_read);
        self.look_before = before
            .and_then(|before| Some((Arc::clone(&before.executed_in_look), before.looked?)))
            .filter(|(_, looked)| self.looked > Some(*looked));
        let known = before.and_then(|before| before.semi_sync.as_ref());
        if let (Some(now), Some(known)) = (&mut self.semi_sync, known)
            && (now.waiters > 0 && known.waiters > 0)
            && (now.clients == known.clients && self.executed_before == self.executed)
        {
            now.unmoved = known.unmoved + 1;
        }
    }

    /// Everything it has executed or received.
    pub fn has(&self) -> GtidSet {
        match &self.channel {
            Some(channel) => self.executed.union(&channel.received),
            None => (*self.executed).clone(),
        }
    }

    /// Whether its receiver is connected to this server.
    pub fn receives_from(&self, source: Uuid) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| channel.source == Some(source) && channel.receiver == Thread::Running)
    }

    /// Whether both threads work and the source is this server.
    pub fn replicates_from(&self, source: Uuid) -> bool {
        self.channel.as_ref().is_some_and(|channel| {
            channel.source == Some(source)
                && channel.receiver == Thread::Running
                && channel.applier == Thread::Running
        })
    }

    /// Transactions of `primary` that it has not executed.
    pub fn gap(&self, primary: &Self) -> u64 {
        primary.executed.subtract(&self.executed).count()
    }
}

#[cfg(test)]
mod tests;
