//! The topology value: who is the primary, and which replicas may serve reads. The controller publishes
//! it; sessions read it. There is one primary slot, so two primaries cannot be represented.
//!
//! This file must never hold a connection, a lock or anything that changes in place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::gtid::GtidSet;
use uuid::Uuid;

/// Instances that one process can know in its life: an `[[instance]]` that is taken out keeps its place. Every one
/// costs a control session.
pub const MAX_INSTANCES: usize = 64;

/// Place of an `[[instance]]`: in the order of the configuration file, those that were added later behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u16);

impl InstanceId {
    /// The position in [`Topology::instances`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the controller knows about roles, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// The term of the current primary; strictly increasing over the life of the cluster. 0 before the
    /// first adoption.
    pub epoch: u64,
    /// The one instance that takes writes. `None` while there is none (not adopted, or lost).
    pub primary: Option<InstanceId>,
    /// The coming primary of a switchover: sessions open a standby connection here beforehand.
    pub warm: Option<InstanceId>,
    /// All configured instances; [`InstanceId`] is the index.
    pub instances: Arc<[Instance]>,
}

impl Topology {
    /// A topology in which nothing is known yet: no primary, no reads.
    #[must_use]
    pub fn unknown(instances: impl Into<Arc<[Instance]>>) -> Self {
        Self { epoch: 0, primary: None, warm: None, instances: instances.into() }
    }

    /// The instance with this id, if it is configured.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(id.index())
    }

    /// The instance with this configured name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| &*instance.name == name)
    }

    /// The instance that takes writes, if there is one.
    #[must_use]
    pub fn primary(&self) -> Option<&Instance> {
        self.primary.and_then(|id| self.instance(id))
    }

    /// Whether `id` is the current primary.
    #[must_use]
    pub fn is_primary(&self, id: InstanceId) -> bool {
        self.primary == Some(id)
    }

    /// Replicas that may serve reads now, in configuration order. Never the primary.
    pub fn serving_replicas(&self) -> impl Iterator<Item = &Instance> + Clone {
        self.instances
            .iter()
            .filter(|instance| instance.reads == Reads::Serving && !self.is_primary(instance.id))
    }
}

/// One mysqld of the cluster, as last observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its place in the configuration.
    pub id: InstanceId,
    /// The configured name, shown everywhere.
    pub name: Arc<str>,
    /// `host:port` as configured; resolved again at each dial.
    pub address: Arc<str>,
    /// `@@server_uuid`, once it was read. A different server answering at the address gets no traffic.
    pub server_uuid: Option<Uuid>,
    /// The server's version string, once it was read.
    pub version: Option<Arc<str>>,
    /// Whether it may serve reads as a replica, or why not.
    pub reads: Reads,
    /// How far its applier is behind the primary; `None` while unknown and for the primary.
    pub lag: Option<Duration>,
    /// `@@gtid_executed` as last observed; only ever behind the truth, never ahead of it.
    pub executed: Arc<GtidSet>,
}

impl Instance {
    /// An instance of which only the configuration is known.
    #[must_use]
    pub fn unchecked(id: InstanceId, name: impl Into<Arc<str>>, address: impl Into<Arc<str>>) -> Self {
        Self {
            id,
            name: name.into(),
            address: address.into(),
            server_uuid: None,
            version: None,
            reads: Reads::Stopped(ReadsStopped::NotYetChecked),
            lag: None,
            executed: Arc::default(),
        }
    }
}

/// Whether an instance may serve reads as a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It may.
    Serving,
    /// It may not, for this reason.
    Stopped(ReadsStopped),
}

/// Why an instance serves no reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadsStopped {
    /// Not observed since start.
    NotYetChecked,
    /// It doesn't answer within the deadlines.
    Unreachable,
    /// Its applier or receiver is not running, or follows the wrong source.
    NotReplicating,
    /// Its lag is above the limit.
    Lagging,
    /// Taken out by `sluice drain`.
    Draining,
    /// Taken out by `sluice maintenance`.
    Maintenance,
    /// It has transactions of its own or an unknown past; a human decides.
    Quarantined,
    /// It is being rebuilt from another instance.
    Rebuilding,
    /// Another server answers at its address.
    WrongServer,
    /// It is writable though it is not the primary.
    Writable,
}

impl ReadsStopped {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 10] = [
        Self::NotYetChecked,
        Self::Unreachable,
        Self::NotReplicating,
        Self::Lagging,
        Self::Draining,
        Self::Maintenance,
        Self::Quarantined,
        Self::Rebuilding,
        Self::WrongServer,
        Self::Writable,
    ];

    /// Whether the instance is to be left by its sessions, as somebody wants it empty or its data are in doubt.
    #[must_use]
    pub const fn is_by_operator(self) -> bool {
        match self {
            Self::Draining | Self::Maintenance | Self::Quarantined => true,
            Self::NotYetChecked
            | Self::Unreachable
            | Self::NotReplicating
            | Self::Lagging
            | Self::Rebuilding
            | Self::WrongServer
            | Self::Writable => false,
        }
    }

    /// The stable label for metrics, logs and API answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotYetChecked => "not_yet_checked",
            Self::Unreachable => "unreachable",
            Self::NotReplicating => "not_replicating",
            Self::Lagging => "lagging",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
            Self::Quarantined => "quarantined",
            Self::Rebuilding => "rebuilding",
            Self::WrongServer => "wrong_server",
            Self::Writable => "writable",
        }
    }
}

impl fmt::Display for ReadsStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Topology {
        let mut instances: Vec<_> =
            (0..3).map(|i| Instance::unchecked(InstanceId(i), format!("db{i}"), "h:3306")).collect();
        for instance in &mut instances {
            instance.reads = Reads::Serving;
        }
        Topology { epoch: 1, primary: Some(InstanceId(1)), warm: None, instances: instances.into() }
    }

    #[test]
    fn the_primary_is_never_a_serving_replica() {
        let topology = three();
        let ids: Vec<_> = topology.serving_replicas().map(|i| i.id.0).collect();
        assert_eq!(ids, [0, 2]);
        assert_eq!(topology.primary().map(|i| &*i.name), Some("db1"));
        assert_eq!(topology.by_name("db2").map(|i| i.id), Some(InstanceId(2)));
    }

    #[test]
    fn nothing_serves_before_the_first_look() {
        let topology = Topology::unknown([Instance::unchecked(InstanceId(0), "db0", "h:3306")]);
        assert_eq!(topology.serving_replicas().count(), 0);
        assert_eq!(topology.primary(), None);
        assert_eq!(topology.instance(InstanceId(9)), None);
    }
}
