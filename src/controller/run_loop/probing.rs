//! When the primary is asked whether it lets writes through: only if nothing was committed lately while statements of
//! clients run. There is one write probe at most, however long it takes, so that nothing piles up on a hung server.
//!
//! Never here: what a probe does, a verdict.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Looped;
use crate::controller::record::Record;
use crate::controller::view::{ClusterView, InstanceView, Reach, ServerView};
use crate::controller::{clock, write_probe};

/// Between the end of a probe that got through and the next: each is a transaction in everybody's binary log.
const AGAIN: Duration = Duration::from_secs(5);
/// The same while writes do not get through, to see when they do.
const STILL: Duration = Duration::from_secs(1);

/// A write probe under way, or the latest one.
pub(super) struct Probe {
    primary: Uuid,
    /// `None`: it has ended.
    running: Option<Pin<Box<dyn Future<Output = ()>>>>,
    ended: Instant,
}

/// Waits for its end.
pub(super) async fn ended(probe: &mut Option<Probe>) {
    match probe.as_mut().and_then(|probe| probe.running.as_mut()) {
        Some(running) => running.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Whether nothing was committed since the look before though clients are at work.
fn is_suspicious(instance: &InstanceView, server: &ServerView) -> bool {
    instance.blocked.is_some() || (server.at_work > 0 && server.executed == server.executed_before)
}

impl Looped {
    /// Begins a probe, and forgets what is known of servers that are not the primary.
    pub(super) fn probe_writes(&mut self, view: &ClusterView, record: Option<&Record>) {
        let recorded = record.map(|record| record.primary);
        let stays = |instance: &InstanceView| {
            // One look that failed is no news of the write.
            let server = instance.server.as_ref().filter(|server| Some(server.uuid) == recorded);
            server.is_some_and(|server| server.is_writable()) && !matches!(instance.reach, Reach::Refused(_))
        };
        for instance in view.instances.iter().filter(|one| one.blocked.is_some() && !stays(one)) {
            self.desk.board.update(instance.id.index(), |view| view.blocked = None);
        }
        if self.probe.as_ref().is_some_and(|probe| Some(probe.primary) != recorded) {
            self.probe = None;
        }
        let primary = view.live().find(|(_, server)| Some(server.uuid) == recorded && server.is_writable());
        let Some((instance, server)) = primary.filter(|(instance, server)| is_suspicious(instance, server))
        else {
            return;
        };
        let pause = if instance.blocked.is_some() { STILL } else { AGAIN };
        let due = |probe: &Probe| probe.running.is_none() && clock::since(probe.ended) >= pause;
        if self.probe.as_ref().is_none_or(due) {
            let running = Box::pin(write_probe::probe(Arc::clone(&self.desk), instance.id));
            self.probe = Some(Probe { primary: server.uuid, running: Some(running), ended: clock::now() });
        }
    }

    pub(super) fn probe_ended(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.running = None;
            probe.ended = clock::now();
        }
    }
}
