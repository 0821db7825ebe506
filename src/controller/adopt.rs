//! Adoption: from a cluster without a record to the first one, if there is nothing to be in doubt about.
//!
//! Never here: I/O, a guess.

use sluice_routing::topology::InstanceId;
use uuid::Uuid;

pub use self::advice::advice;
use super::view::{ChannelView, ClusterView, InstanceView, ServerView, Thread};

/// What the configuration says that matters for roles.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// By instance: may its acknowledgement count?
    pub may_ack: Vec<bool>,
    /// Acknowledgements a commit needs (`[durability] acks`).
    pub wait_count: u16,
}

impl Policy {
    /// Whether the acknowledgement of an instance may count.
    pub fn may_ack(&self, id: InstanceId) -> bool {
        self.may_ack.get(id.index()).copied().unwrap_or(false)
    }
}

/// The first record of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// Name of the primary.
    pub name: String,
    /// Its server_uuid.
    pub primary: Uuid,
    /// Members whose acknowledgement will count.
    pub ackers: Vec<Uuid>,
    /// Acknowledgements a commit will need.
    pub wait_count: u16,
    /// The new epoch.
    pub epoch: u64,
}

impl Adoption {
    /// What it does, for people.
    pub fn describe(&self) -> String {
        format!(
            "adopting {} as the primary of epoch {}: {} ackers, {} acknowledgement(s) per commit",
            self.name,
            self.epoch,
            self.ackers.len(),
            self.wait_count
        )
    }
}

/// Adopts by itself: all instances answer, exactly one is writable, all others replicate from it and have
/// nothing of their own. Otherwise the refusal says what is in doubt.
pub fn unambiguous(view: &ClusterView, policy: &Policy) -> Result<Adoption, String> {
    for instance in view.members() {
        let Some(server) = instance.live() else {
            let error = instance.reach.error().unwrap_or_else(|| "not looked at yet".into());
            return Err(format!("not adopted: {} does not answer ({error})", instance.name));
        };
        usable(instance, server)?;
    }
    distinct(view)?;
    let writable: Vec<_> = view.live().filter(|(_, server)| server.is_writable()).collect();
    let [(primary, server)] = writable.as_slice() else {
        return Err(match writable.as_slice() {
            [] => "not adopted: no instance is writable, so none is the primary".into(),
            several => format!("not adopted: {} are all writable", names(several)),
        });
    };
    for (other, replica) in view.live().filter(|(other, _)| other.id != primary.id) {
        if !replica.replicates_from(server.uuid) {
            let stopped = |channel: &ChannelView| {
                channel.receiver == Thread::Stopped || channel.applier == Thread::Stopped
            };
            let help = replica.channel.as_ref().filter(|channel| stopped(channel));
            let help =
                help.map(|_| format!("; START REPLICA on {}, if it should", other.name)).unwrap_or_default();
            return Err(format!(
                "not adopted: {} does not replicate from {}{help}",
                other.name, primary.name
            ));
        }
        let errant = replica.errant(server);
        if !errant.is_empty() {
            return Err(format!("not adopted: {} has transactions of its own ({errant})", other.name));
        }
    }
    Ok(adoption(view, policy, primary, server, 0))
}

/// Adopts by a human's word (`sluice adopt --primary NAME`).
pub fn named(view: &ClusterView, policy: &Policy, name: &str, recorded: u64) -> Result<Adoption, String> {
    let primary = view.by_name(name).ok_or_else(|| format!("no instance is called {name}"))?;
    let server = primary.live().ok_or_else(|| format!("{name} does not answer"))?;
    usable(primary, server)?;
    distinct(view)?;
    let unapplied = server.has().subtract(&server.executed);
    if !unapplied.is_empty() {
        return Err(format!("{name} has received transactions that it has not applied yet ({unapplied})"));
    }
    for (other, seen) in view.live().filter(|(other, _)| other.id != primary.id) {
        if seen.is_writable() {
            return Err(format!(
                "{} is writable: stop its writes first (SET GLOBAL super_read_only=ON)",
                other.name
            ));
        }
        let mut missing = seen.has().subtract(&server.executed);
        if server.is_writable() {
            // Seen a moment later, the replica may know newer transactions of the primary.
            missing = missing.subtract(&missing.of(server.uuid));
        }
        if !missing.is_empty() {
            return Err(format!(
                "{name} lacks transactions that {} has ({missing}): they would be lost",
                other.name
            ));
        }
    }
    Ok(adoption(view, policy, primary, server, recorded))
}

fn usable(instance: &InstanceView, server: &ServerView) -> Result<(), String> {
    if !server.gtid_mode.is_on() {
        return Err(format!("{} runs without gtid_mode=ON: Sluice needs GTIDs", instance.name));
    }
    if server.channel.as_ref().is_some_and(|channel| !channel.auto_position.is_on()) {
        return Err(format!("{} replicates without SOURCE_AUTO_POSITION=1", instance.name));
    }
    if let Some(channel) = server.other_channels.first() {
        return Err(format!("{} has a second replication channel ({channel})", instance.name));
    }
    Ok(())
}

fn distinct(view: &ClusterView) -> Result<(), String> {
    for (instance, server) in view.live() {
        let twin = view.live().find(|(other, seen)| other.id != instance.id && seen.uuid == server.uuid);
        if let Some((other, _)) = twin {
            return Err(format!(
                "{} and {} are the same server ({})",
                instance.name, other.name, server.uuid
            ));
        }
    }
    Ok(())
}

fn names(instances: &[(&InstanceView, &ServerView)]) -> String {
    instances.iter().map(|(instance, _)| &*instance.name).collect::<Vec<_>>().join(" and ")
}

fn adoption(
    view: &ClusterView,
    policy: &Policy,
    primary: &InstanceView,
    server: &ServerView,
    recorded: u64,
) -> Adoption {
    let seen = view.seen().filter_map(|(_, server)| Some(server.epoch_row.as_ref()?.epoch)).max();
    let able = |server: &ServerView| server.semi_sync.is_some();
    let ackers: Vec<Uuid> = view
        .live()
        .filter(|(other, seen)| other.id != primary.id && policy.may_ack(other.id) && able(seen))
        .map(|(_, seen)| seen.uuid)
        .collect();
    let possible = u16::try_from(ackers.len()).unwrap_or(u16::MAX);
    let wait_count = if able(server) { policy.wait_count.min(possible) } else { 0 };
    Adoption {
        name: primary.name.to_string(),
        primary: server.uuid,
        ackers: if wait_count == 0 { Vec::new() } else { ackers },
        wait_count,
        epoch: seen.unwrap_or(0).max(recorded) + 1,
    }
}

mod advice;
#[cfg(test)]
mod tests;
