//! The planned switchover as a plan: who the ackers are during and after it, the steps in order, and how each
//! is undone.
//!
//! Up to [`Step::Commit`] every failure is undone and clients go on at the old primary; after it there is
//! only forward.
//!
//! Never here: I/O, a clock, a delay (a step waits for a condition, within a deadline).

use std::time::Duration;

use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::adopt::Policy;
use super::plan::unasked_ackers;
use super::record::{MarkKind, Record};
use super::view::{ClusterView, InstanceView, ServerView};

/// How the coming primary gets the ackers that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Commits wait for nobody.
    NotNeeded,
    /// These are attached to the target beforehand; the others suffice for the old primary.
    Armed(Vec<InstanceId>),
    /// These are attached to the target while clients are held, the old primary among them if it is listed.
    InStall(Vec<InstanceId>),
}

/// What will be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The primary before.
    pub from: InstanceId,
    /// Its server_uuid.
    pub from_uuid: Uuid,
    /// The primary after.
    pub to: InstanceId,
    /// Its server_uuid.
    pub to_uuid: Uuid,
    /// How the target gets its ackers.
    pub chain: Chain,
    /// Ackers of the old primary while the chain is armed.
    pub ackers_during: Vec<Uuid>,
    /// Ackers of the new epoch at its beginning; upkeep adds the rest.
    pub ackers_after: Vec<Uuid>,
    /// Acknowledgements a commit needs, before and after.
    pub wait_count: u16,
}

/// One step; the order is the order of [`Plan::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The target has executed nearly everything.
    CatchUp,
    /// The operation is in the record.
    Take,
    /// Client sessions open connections to the target.
    Warm,
    /// The target's ackers are attached to it.
    Arm,
    /// The record of the coming epoch lies ready.
    Prepare,
    /// The target has executed nearly everything, again.
    Near,
    /// New writes wait.
    Hold,
    /// Open transactions end.
    Drain,
    /// The old primary takes no writes.
    ReadOnly,
    /// The target has executed all of them.
    Reach,
    /// The target receives nothing any more.
    StopReceiver,
    /// Ackers are attached to the target now.
    Repoint,
    /// The epoch changes: from here there is only forward.
    Commit,
    /// The target takes writes.
    Writable,
    /// A first write is acknowledged.
    Barrier,
    /// Clients go on.
    Release,
    /// The old primary does not wait for acknowledgements any more.
    StopWaiting,
    /// It follows the new primary.
    Demote,
    /// The others follow it.
    Reattach,
    /// The new primary forgets its former source.
    Forget,
    /// The operation leaves the record.
    Settle,
}

impl Step {
    /// The name shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatchUp => "catch up",
            Self::Take => "record the operation",
            Self::Warm => "warm up connections",
            Self::Arm => "attach ackers to the target",
            Self::Prepare => "prepare the new epoch",
            Self::Near => "catch up again",
            Self::Hold => "hold",
            Self::Drain => "drain",
            Self::ReadOnly => "old primary read-only",
            Self::Reach => "target has everything",
            Self::StopReceiver => "stop the target's receiver",
            Self::Repoint => "attach ackers to the target now",
            Self::Commit => "change the epoch",
            Self::Writable => "target writable",
            Self::Barrier => "acknowledged write",
            Self::Release => "release",
            Self::StopWaiting => "old primary stops waiting",
            Self::Demote => "old primary follows",
            Self::Reattach => "others follow",
            Self::Forget => "new primary forgets its source",
            Self::Settle => "close the operation",
        }
    }

    /// Whether clients are held during it, after the drain.
    pub const fn in_stall(self) -> bool {
        match self {
            Self::ReadOnly
            | Self::Reach
            | Self::StopReceiver
            | Self::Repoint
            | Self::Commit
            | Self::Writable
            | Self::Barrier
            | Self::Release => true,
            Self::CatchUp
            | Self::Take
            | Self::Warm
            | Self::Arm
            | Self::Prepare
            | Self::Near
            | Self::Hold
            | Self::Drain
            | Self::StopWaiting
            | Self::Demote
            | Self::Reattach
            | Self::Forget
            | Self::Settle => false,
        }
    }
}

/// One thing to take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// The ackers of before are recorded again, before any of them acknowledges again.
    Ackers,
    /// The old primary is writable, read back.
    Writable,
    /// Clients go on at the old primary.
    Release,
    /// The target receives again.
    Receiver,
    /// Attached ackers go back to the old primary.
    Return,
    /// The target does not wait for acknowledgements.
    Disarm,
    /// No connections to the target are wanted.
    Cool,
    /// The operation leaves the record.
    Close,
}

impl Undo {
    /// The name shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ackers => "undo: restore the recorded ackers",
            Self::Writable => "undo: old primary writable",
            Self::Release => "undo: release",
            Self::Receiver => "undo: start the target's receiver",
            Self::Return => "undo: ackers back to the old primary",
            Self::Disarm => "undo: target stops waiting",
            Self::Cool => "undo: forget the target",
            Self::Close => "undo: close the operation",
        }
    }
}

/// What has to be taken back when `reached` failed, in order. Clients are released as soon as the old
/// primary takes writes; what needs the target comes last and may fail: upkeep mends it when it is there again.
pub fn undo(plan: &Plan, reached: Step) -> Vec<Undo> {
    let steps = plan.steps();
    let begun = |step: Step| {
        let at = |wanted: Step| steps.iter().position(|one| *one == wanted);
        at(step).is_some_and(|step| at(reached).is_some_and(|reached| reached >= step))
    };
    let mut all = Vec::new();
    let attached = begun(Step::Arm) || begun(Step::Repoint);
    if attached {
        all.push(Undo::Ackers);
    }
    if begun(Step::ReadOnly) {
        all.push(Undo::Writable);
    }
    if begun(Step::Hold) {
        all.push(Undo::Release);
    }
    if begun(Step::Warm) {
        all.push(Undo::Cool);
    }
    if attached {
        all.push(Undo::Return);
    }
    if begun(Step::StopReceiver) {
        all.push(Undo::Receiver);
    }
    if attached {
        all.push(Undo::Disarm);
    }
    if begun(Step::Take) {
        all.push(Undo::Close);
    }
    all
}

impl Plan {
    /// The steps, in order.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::CatchUp, Step::Take, Step::Warm];
        if matches!(self.chain, Chain::Armed(_)) {
            steps.push(Step::Arm);
        }
        steps.extend([
            Step::Prepare,
            Step::Near,
            Step::Hold,
            Step::Drain,
            Step::ReadOnly,
            Step::Reach,
            Step::StopReceiver,
        ]);
        if matches!(self.chain, Chain::InStall(_)) {
            steps.push(Step::Repoint);
        }
        steps.extend([Step::Commit, Step::Writable, Step::Barrier, Step::Release]);
        steps.extend([Step::StopWaiting, Step::Demote, Step::Forget, Step::Reattach, Step::Settle]);
        steps
    }

    /// Those that change their source for the target's sake.
    pub fn movers(&self) -> &[InstanceId] {
        match &self.chain {
            Chain::NotNeeded => &[],
            Chain::Armed(movers) | Chain::InStall(movers) => movers,
        }
    }

    /// What a step will do, for the dry run.
    pub fn describe(&self, step: Step, view: &ClusterView) -> String {
        let name = |id: InstanceId| view.instances.get(id.index()).map_or("?", |i| &*i.name).to_owned();
        let (from, to) = (name(self.from), name(self.to));
        let movers = self.movers().iter().map(|id| name(*id)).collect::<Vec<_>>().join(", ");
        match step {
            Step::CatchUp | Step::Near => {
                format!("{to} executes what {from} has, fewer transactions at a time if need be")
            }
            Step::Take => format!("{from} -> {to}"),
            Step::Warm => format!("client sessions open a connection to {to}"),
            Step::Arm => format!("{movers} follows {to} and acknowledges for it"),
            Step::Prepare => "written and synced beside the record".into(),
            Step::Hold => "new writes and transactions wait".into(),
            Step::Drain => "open transactions run to their end".into(),
            Step::ReadOnly => format!("super_read_only on {from}"),
            Step::Reach => format!("{to} has executed everything that {from} has"),
            Step::StopReceiver => format!("{to} receives nothing more"),
            Step::Repoint => format!("{movers} follows {to} while clients wait: no chain fits beforehand"),
            Step::Commit => "compare-and-set in the record: from here only forward".into(),
            Step::Writable => format!("{to} takes writes"),
            Step::Barrier => format!("the epoch row on {to}, acknowledged by {}", self.wait_count),
            Step::Release => "held statements go on, first in first out".into(),
            Step::StopWaiting => format!("semi-sync source side off on {from}"),
            Step::Demote => format!("{from} follows {to} and acknowledges"),
            Step::Forget => format!("RESET REPLICA ALL on {to}"),
            Step::Reattach => format!("all others follow {to}"),
            Step::Settle => "the record is as before, with the new epoch".into(),
        }
    }
}

/// When the switchover gives up, counted from the moment at which clients are held: the drain, and half of
/// what is left of the hold limit. The other half is for the undo.
pub fn give_up_after(drain: Duration, hold: Duration) -> Duration {
    drain + hold.saturating_sub(drain) / 2
}

/// Draws up the plan for a target that was found fit.
pub fn draw(view: &ClusterView, record: &Record, to: InstanceId, policy: &Policy) -> Result<Plan, String> {
    let from = view.by_uuid(record.primary).ok_or("the primary was never seen")?;
    let target =
        view.instances.get(to.index()).and_then(InstanceView::live).ok_or("the target does not answer")?;
    let from_uuid = record.primary;
    let k = usize::from(record.wait_count);
    let usable = |(instance, server): &(&InstanceView, &ServerView)| {
        policy.may_ack(instance.id)
            && !record.mark_kind(&instance.name).is_some_and(MarkKind::is_hands_off)
            && server.semi_sync.is_some()
            && server.replicates_from(from_uuid)
    };
    // Those that can acknowledge for the target, besides the old primary.
    let free: Vec<_> = view
        .live()
        .filter(|(instance, _)| instance.id != to && instance.id != from.id)
        .filter(usable)
        .collect();
    let mut movers: Vec<(InstanceId, Uuid)> =
        free.iter().take(k).map(|(instance, server)| (instance.id, server.uuid)).collect();
    let remaining: Vec<Uuid> =
        record.ackers.iter().copied().filter(|uuid| !movers.iter().any(|(_, mover)| mover == uuid)).collect();
    let acks = |server: &ServerView| {
        server.replicates_from(from_uuid) && server.semi_sync.as_ref().is_some_and(|s| s.acking_now.is_on())
    };
    if k > 0 && record.is_acker(target.uuid) && !acks(target) {
        return Err("the target is a recorded acker and does not acknowledge yet".to_owned());
    }
    // While the chain stands commits wait for these alone.
    let at_work = view.live().filter(|(_, server)| remaining.contains(&server.uuid) && acks(server)).count();
    let fits = movers.len() == k && at_work >= k;
    if !fits && movers.len() < k {
        let able = policy.may_ack(from.id) && from.live().is_some_and(|server| server.semi_sync.is_some());
        if !able || movers.len() + 1 < k {
            return Err(format!(
                "the target would have {} of {k} ackers: its commits would wait for ever",
                movers.len() + usize::from(able)
            ));
        }
        movers.push((from.id, from_uuid));
    }
    let ids = movers.iter().map(|(id, _)| *id).collect();
    let chain = match (k, fits) {
        (0, _) => Chain::NotNeeded,
        (_, true) => Chain::Armed(ids),
        (_, false) => Chain::InStall(ids),
    };
    let mut ackers_after: Vec<Uuid> = movers.iter().map(|(_, uuid)| *uuid).collect();
    if k > 0 {
        let unasked = unasked_ackers(view, record, target.uuid);
        ackers_after
            .extend(unasked.into_iter().filter(|uuid| !movers.iter().any(|(_, mover)| mover == uuid)));
    }
    Ok(Plan {
        from: from.id,
        from_uuid,
        to,
        to_uuid: target.uuid,
        ackers_during: if matches!(chain, Chain::Armed(_)) { remaining } else { record.ackers.clone() },
        ackers_after,
        chain,
        wait_count: record.wait_count,
    })
}

#[cfg(test)]
mod tests;
