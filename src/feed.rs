//! The topology feed: what the controller publishes and sessions read.
//!
//! One [`Publisher`] exists per process and belongs to the controller; every session holds the shared
//! [`Feed`]. The feed carries the [`Topology`] value, the [`gate::Gate`] where writes wait, and the
//! [`registry::Registry`] of sessions, through which the controller sees who would be hurt. For fresh reads it
//! carries [`progress::Progress`], how far each instance is, and [`ledger::Ledger`], what each account has written;
//! for late OKs [`receipts::Receipts`], what the ackers were seen to have.
//!
//! Never here: a decision about roles, a packet, a connection to an instance.

pub mod gate;
pub mod ledger;
pub mod progress;
pub mod receipts;
pub mod registry;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use sluice_routing::topology::{Instance, InstanceId, MAX_INSTANCES, Reads, Topology};
use tokio::sync::watch;

use gate::Gate;
use ledger::Ledger;
use progress::Progress;
use receipts::Receipts;
use registry::Registry;

/// The read half of the feed, shared by all sessions of the process.
#[derive(Debug)]
pub struct Feed {
    topology: ArcSwap<Topology>,
    shape: watch::Sender<u64>,
    disowned: AtomicU64,
    gate: Arc<Gate>,
    registry: Registry,
    progress: Progress,
    receipts: Receipts,
    ledger: Ledger,
}

/// The write half. There is exactly one, so that there is exactly one opinion about who is the primary.
#[derive(Debug)]
pub struct Publisher {
    feed: Arc<Feed>,
}

/// Makes the feed of a process with `workers` worker threads, holding `initial`.
pub fn channel(workers: usize, initial: Topology) -> (Publisher, Arc<Feed>) {
    let progress = Progress::new(MAX_INSTANCES);
    let receipts = Receipts::new(MAX_INSTANCES);
    let feed = Arc::new(Feed {
        topology: ArcSwap::from_pointee(initial),
        shape: watch::Sender::new(0),
        disowned: AtomicU64::new(0),
        gate: Arc::new(Gate::new(workers)),
        registry: Registry::default(),
        progress,
        receipts,
        ledger: Ledger::default(),
    });
    (Publisher { feed: Arc::clone(&feed) }, feed)
}

/// One bit per instance; a flat cluster has a handful. Those beyond the 64th share one: it is disowned a little
/// too often then.
fn bit(instance: InstanceId) -> u64 {
    1 << instance.0.min(63)
}

impl Feed {
    /// The topology as published last. Cheap enough for every command.
    pub fn topology(&self) -> Guard<Arc<Topology>> {
        self.topology.load()
    }

    /// A receiver that wakes when the *shape* changes: epoch, primary, warm-up target, or which instances
    /// serve reads. Lag and executed sets change all the time and wake nobody. Sessions are called by their registry
    /// entries as well, and need only look whether it has changed.
    pub fn shape_changes(&self) -> watch::Receiver<u64> {
        self.shape.subscribe()
    }

    /// Whether this instance lost the role of the primary without an orderly end: what it answers counts no
    /// more, and what was open there is gone.
    pub fn is_disowned(&self, instance: InstanceId) -> bool {
        self.disowned.load(Ordering::SeqCst) & bit(instance) != 0
    }

    /// Where writes wait while the primary is about to change or missing.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// All sessions of this process.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How far each instance has executed.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What the ackers were seen to have.
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// What each account has written.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Publisher {
    /// Publishes a new topology. Sessions see it at their next command; idle ones are woken when the shape
    /// changed.
    pub fn publish(&self, next: Topology) {
        let before = self.feed.topology.load();
        let reads = |topology: &Topology| topology.instances.iter().map(|one| one.reads).collect::<Vec<_>>();
        let reshaped = before.epoch != next.epoch
            || before.primary != next.primary
            || before.warm != next.warm
            || reads(&before) != reads(&next);
        self.feed.progress.follow(&before, &next, Instant::now());
        drop(before);
        if next.primary.is_some() {
            let serves = |one: &&Instance| next.is_primary(one.id) || one.reads == Reads::Serving;
            let served = next.instances.iter().filter(serves).fold(0, |bits, one| bits | bit(one.id));
            self.feed.disowned.fetch_and(!served, Ordering::SeqCst);
        }
        self.feed.topology.store(Arc::new(next));
        if reshaped {
            self.reshape();
        }
    }

    fn reshape(&self) {
        self.feed.shape.send_modify(|generation| *generation += 1);
        self.feed.registry.call_all();
    }

    /// What makes an OK true from now on; `None`: commits wait for nobody.
    pub fn set_receipt_rule(&self, rule: Option<receipts::Rule>) {
        self.feed.receipts.set_rule(rule);
    }

    /// Whether there is reason to doubt what the primary says: every OK has to be seen at the ackers meanwhile.
    pub fn doubt(&self, doubted: bool) {
        self.feed.receipts.set_doubted(doubted);
    }

    /// Takes the role of the primary from an instance that can't be asked: statements under way there are broken
    /// off. It lasts until the instance serves again, as the primary or as a replica of another one.
    pub fn disown(&self, instance: InstanceId) {
        if self.feed.disowned.fetch_or(bit(instance), Ordering::SeqCst) & bit(instance) == 0 {
            self.reshape();
        }
    }

    /// The read half, for what the controller itself wants to look at (gate, sessions).
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }
}

#[cfg(test)]
mod tests {
    use sluice_routing::topology::ReadsStopped;

    use super::*;

    #[test]
    fn a_disowned_primary_is_asked_again_when_it_serves_under_another_one() {
        let (old, new) = (InstanceId(0), InstanceId(1));
        let topology = |primary: Option<InstanceId>, reads: Reads| {
            let mut instances =
                [old, new].map(|id| Instance::unchecked(id, Arc::from("db"), Arc::from("h:1")));
            for instance in &mut instances {
                instance.reads = if instance.id == old { reads } else { Reads::Serving };
            }
            Topology { primary, ..Topology::unknown(instances) }
        };
        let (publisher, feed) = channel(1, topology(Some(old), Reads::Serving));
        let mut shape = feed.shape_changes();
        publisher.disown(old);
        assert!(feed.is_disowned(old) && !feed.is_disowned(new) && shape.has_changed().unwrap_or(false));
        shape.mark_unchanged();
        publisher.disown(old);
        assert!(!shape.has_changed().unwrap_or(true), "nobody is woken twice");
        publisher.publish(topology(None, Reads::Serving));
        publisher.publish(topology(Some(new), Reads::Stopped(ReadsStopped::Unreachable)));
        assert!(feed.is_disowned(old));
        publisher.publish(topology(Some(new), Reads::Serving));
        assert!(!feed.is_disowned(old));
    }
}
