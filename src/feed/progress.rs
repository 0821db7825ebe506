//! How far each instance has executed, as its observer last saw it, and readers waiting for it to get further.
//!
//! The observers note what they see; sessions look at it with one atomic load per read. While somebody waits,
//! an observer asks its server again at once and then every millisecond: one question serves all who wait, and
//! no session spends a round trip of its own. Without waiters the pace follows the writes.
//!
//! Never here: a statement to a server, a decision where a read goes.

mod catching_up;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use sluice_routing::freshness::{Required, Sighting};
use sluice_routing::topology::{InstanceId, Topology};
use tokio::sync::Notify;

use catching_up::CatchingUp;

/// Pace of the looks while readers wait for an instance: a replica applies a small transaction in about 3 ms.
const WANTED: Duration = Duration::from_millis(1);
/// Pace while there are writes: most reads come later than this after the write before them.
const BUSY: Duration = Duration::from_millis(20);
/// Pace while nobody writes.
const IDLE: Duration = Duration::from_millis(250);
/// How long after the last write the pace stays.
const BUSY_FOR: Duration = Duration::from_secs(2);
/// Readers that may wait at once. Each look wakes all of them; beyond this the primary serves sooner.
const MAX_WAITERS: usize = 256;

/// What is known of all instances. See the module's documentation.
#[derive(Debug)]
pub struct Progress {
    slots: Box<[Slot]>,
    /// When the current primary became it, as far as sessions know.
    era: ArcSwapOption<Instant>,
    began: Instant,
    /// Milliseconds from `began` to the latest write.
    wrote: AtomicU64,
    advanced: Notify,
    waiters: AtomicUsize,
    catching_up: Mutex<CatchingUp>,
}

#[derive(Debug, Default)]
struct Slot {
    sighting: ArcSwapOption<Sighting>,
    /// Goes up when what was known of the instance does not hold any more.
    life: AtomicU64,
    /// An observer looks at it; before, what is published counts.
    observed: AtomicBool,
    waiters: AtomicUsize,
    wanted: Notify,
}

impl Progress {
    pub(super) fn new(instances: usize) -> Self {
        Self {
            slots: (0..instances).map(|_| Slot::default()).collect(),
            era: ArcSwapOption::empty(),
            began: Instant::now(),
            wrote: AtomicU64::new(0),
            advanced: Notify::new(),
            waiters: AtomicUsize::new(0),
            catching_up: Mutex::default(),
        }
    }

    fn slot(&self, instance: InstanceId) -> Option<&Slot> {
        self.slots.get(instance.index())
    }

    /// What was seen of an instance last.
    pub fn sighting(&self, instance: InstanceId) -> Option<Arc<Sighting>> {
        self.slot(instance)?.sighting.load_full()
    }

    /// A number that changes when what was known of the instance does not hold any more.
    pub fn life(&self, instance: InstanceId) -> u64 {
        self.slot(instance).map_or(0, |slot| slot.life.load(Ordering::Acquire))
    }

    /// What was seen of the primary since it became the primary and took writes: what it lacks does not exist.
    pub fn of_primary(&self, topology: &Topology) -> Option<Arc<Sighting>> {
        let primary = topology.primary()?;
        let sighting = self.sighting(primary.id)?;
        let since = self.era.load();
        let counts = sighting.writable
            && sighting.server == primary.server_uuid
            && since.as_ref().is_none_or(|since| **since <= sighting.asked);
        counts.then_some(sighting)
    }

    /// Takes note of what an observer saw, and wakes who waits for it.
    pub fn note(&self, instance: InstanceId, sighting: Sighting) {
        let Some(slot) = self.slot(instance) else { return };
        slot.observed.store(true, Ordering::Relaxed);
        if !sighting.writable {
            let mut catching_up = self.catching_up.lock().unwrap_or_else(PoisonError::into_inner);
            catching_up.saw(&sighting.executed, Instant::now());
        }
        Self::put(slot, sighting);
        self.advanced.notify_waiters();
    }

    fn put(slot: &Slot, sighting: Sighting) {
        let goes_on = slot.sighting.load().as_ref().is_none_or(|before| {
            before.server == sighting.server && sighting.executed.contains_set(&before.executed)
        });
        if !goes_on {
            slot.life.fetch_add(1, Ordering::Release);
        }
        slot.sighting.store(Some(Arc::new(sighting)));
    }

    /// Nothing is known of an instance any more: it can't be reached, and may come back as another one.
    pub fn forget(&self, instance: InstanceId) {
        let Some(slot) = self.slot(instance) else { return };
        if slot.sighting.swap(None).is_some() {
            slot.life.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes note of a topology about to be published. Without observers its executed sets are all there is.
    pub(super) fn follow(&self, before: &Topology, next: &Topology, now: Instant) {
        if (before.epoch, before.primary) != (next.epoch, next.primary) {
            self.era.store(Some(Arc::new(now)));
        }
        for instance in next.instances.iter().filter(|instance| !instance.executed.is_empty()) {
            let Some(slot) = self.slot(instance.id).filter(|slot| !slot.observed.load(Ordering::Relaxed))
            else {
                continue;
            };
            let sighting = Sighting {
                asked: now,
                server: instance.server_uuid,
                writable: next.is_primary(instance.id),
                executed: Arc::clone(&instance.executed),
                ceiling: Some(Arc::clone(&instance.executed)),
            };
            Self::put(slot, sighting);
        }
    }

    /// Somebody wrote: looks become more frequent.
    pub fn note_write(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        self.wrote.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long an observer waits until its next look at an instance, unless it is [`Progress::wanted`].
    pub fn pace(&self, instance: InstanceId, now: Instant) -> Duration {
        if self.slot(instance).is_some_and(|slot| slot.waiters.load(Ordering::SeqCst) > 0) {
            return WANTED;
        }
        let wrote = self.began + Duration::from_millis(self.wrote.load(Ordering::Relaxed));
        let quiet = now.saturating_duration_since(wrote);
        if self.wrote.load(Ordering::Relaxed) > 0 && quiet < BUSY_FOR { BUSY } else { IDLE }
    }

    /// Ends when somebody begins to wait for this instance.
    pub async fn wanted(&self, instance: InstanceId) {
        match self.slot(instance) {
            Some(slot) => slot.wanted.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Begins to wait for news of these instances until a replica has what is required; `None` if too many wait
    /// already, or if replicas take so long nowadays that the primary is the better choice.
    pub fn begin_wait(
        &self,
        instances: impl Iterator<Item = InstanceId>,
        required: &Arc<Required>,
    ) -> Option<Waiting<'_>> {
        let patience = {
            let mut catching_up = self.catching_up.lock().unwrap_or_else(PoisonError::into_inner);
            catching_up.patience(required, Instant::now())?
        };
        if self.waiters.fetch_add(1, Ordering::SeqCst) >= MAX_WAITERS {
            self.waiters.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let slots: Vec<&Slot> = instances.filter_map(|instance| self.slot(instance)).collect();
        for slot in &slots {
            slot.waiters.fetch_add(1, Ordering::SeqCst);
            slot.wanted.notify_one();
        }
        let deadline = tokio::time::Instant::now() + patience;
        Some(Waiting { progress: self, slots, deadline })
    }
}

/// A reader waiting for news; counted for as long as it lives.
#[derive(Debug)]
pub struct Waiting<'p> {
    progress: &'p Progress,
    slots: Vec<&'p Slot>,
    deadline: tokio::time::Instant,
}

impl Waiting<'_> {
    /// Looks at `enough` now and after each piece of news, until it says yes or the time is over.
    pub async fn until(&self, mut enough: impl FnMut() -> bool) -> bool {
        loop {
            let news = self.progress.advanced.notified();
            tokio::pin!(news);
            // From here on no news is missed.
            news.as_mut().enable();
            if enough() {
                return true;
            }
            if tokio::time::timeout_at(self.deadline, news).await.is_err() {
                return false;
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.waiters.fetch_sub(1, Ordering::SeqCst);
        }
        self.progress.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
