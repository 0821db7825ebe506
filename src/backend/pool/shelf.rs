//! The idle connections of one worker: a slab, so that an owner finds his own in one step.
//!
//! Never here: I/O, a lock, a drop of a connection (that gives its place away, under another lock).

use std::time::Duration;

use sluice_routing::topology::InstanceId;
use tokio::time::Instant;

use super::{Key, Pooled};
use crate::backend::places::Wanted;

/// Idle connections looked at for the nearest one. More would cost more than they save.
const MAX_LOOKED_AT: usize = 32;
/// A connection used within this time is left to its owner unless somebody has to wait for a place: he is about
/// to come back, perhaps for what his last statement left there, and setting two busy sessions' states in turn costs
/// more than a second connection.
const BUSY: Duration = Duration::from_secs(1);

/// Where a parked connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    worker: usize,
    slot: usize,
    stamp: u64,
}

impl Tag {
    pub(super) fn nowhere() -> Self {
        Self { worker: usize::MAX, slot: usize::MAX, stamp: u64::MAX }
    }

    /// The worker on whose shelf it is.
    #[must_use]
    pub fn worker(self) -> usize {
        self.worker
    }
}

/// What a parked connection still means to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Nothing that could not be set up elsewhere.
    Freely,
    /// What SHOW WARNINGS or the like would tell of the last statement, which has to be read off it first: the last
    /// to be lent out.
    ForLastStatement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Lives,
    Gone,
}

struct Entry<P> {
    stamp: u64,
    key: Key,
    pooled: P,
    kept: Kept,
    owner: Owner,
    promised: bool,
    parked_at: Instant,
}

/// The order in which connections give way: those without an owner first, then the one parked longest.
type Rank = (Kept, bool, Instant);

pub(super) struct Shelf<P> {
    slots: Vec<Option<Entry<P>>>,
    free: Vec<usize>,
    next_stamp: u64,
    /// Where the next look for the nearest one begins.
    cursor: usize,
}

impl<P> Default for Shelf<P> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), next_stamp: 0, cursor: 0 }
    }
}

impl<P: Pooled> Shelf<P> {
    pub(super) fn put(&mut self, worker: usize, key: Key, pooled: P, kept: Kept, now: Instant) -> Tag {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let owner = Owner::Lives;
        let entry = Entry { stamp, key, pooled, kept, owner, promised: false, parked_at: now };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(entry);
        }
        Tag { worker, slot, stamp }
    }

    fn entry(&self, tag: Tag) -> Option<&Entry<P>> {
        self.slots.get(tag.slot)?.as_ref().filter(|entry| entry.stamp == tag.stamp)
    }

    fn entry_mut(&mut self, tag: Tag) -> Option<&mut Entry<P>> {
        self.slots.get_mut(tag.slot)?.as_mut().filter(|entry| entry.stamp == tag.stamp)
    }

    fn remove(&mut self, slot: usize) -> Option<Entry<P>> {
        let entry = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn has(&self, tag: Tag) -> bool {
        self.entry(tag).is_some_and(|entry| !entry.promised)
    }

    pub(super) fn take(&mut self, tag: Tag) -> Option<P> {
        if !self.has(tag) {
            return None;
        }
        self.remove(tag.slot).map(|entry| entry.pooled)
    }

    pub(super) fn take_promised(&mut self, tag: Tag) -> Option<P> {
        self.entry(tag).filter(|entry| entry.promised)?;
        self.remove(tag.slot).map(|entry| entry.pooled)
    }

    /// Reserves the connection for somebody, if it is what he wants.
    pub(super) fn promise(&mut self, tag: Tag, wanted: &Wanted) -> bool {
        let Some(entry) = self.entry_mut(tag) else { return false };
        let fits = entry.key == wanted.key && !entry.promised;
        entry.promised |= fits;
        fits
    }

    /// Takes a promise back; returns where the connection leads.
    pub(super) fn unpromise(&mut self, tag: Tag) -> Option<InstanceId> {
        let entry = self.entry_mut(tag)?;
        entry.promised = false;
        Some(entry.key.instance)
    }

    /// The owner is gone; returns the connection if nobody else may have it.
    pub(super) fn abandon(&mut self, tag: Tag) -> Option<P> {
        let entry = self.entry_mut(tag).filter(|entry| !entry.promised)?;
        if !entry.pooled.outlives_owner() {
            return self.remove(tag.slot).map(|entry| entry.pooled);
        }
        entry.owner = Owner::Gone;
        entry.kept = Kept::Freely;
        None
    }

    /// The nearest idle connection of this kind that may be lent without need, with its distance.
    pub(super) fn take_nearest(&mut self, key: Key, wanted: &P::Wanted, now: Instant) -> Option<(P, u32)> {
        let count = self.slots.len();
        let begin = self.cursor;
        let mut best: Option<((u32, Rank), usize)> = None;
        let mut looked_at = 0;
        for slot in (0..count).map(|step| (begin + step) % count) {
            let Some(Some(entry)) = self.slots.get(slot) else { continue };
            if entry.key != key || entry.promised {
                continue;
            }
            looked_at += 1;
            self.cursor = slot + 1;
            let lives = entry.owner == Owner::Lives;
            let busy = lives && now.duration_since(entry.parked_at) < BUSY;
            if !busy && let Some(distance) = entry.pooled.distance(wanted) {
                let rank = (distance, (entry.kept, lives, entry.parked_at));
                if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                    best = Some((rank, slot));
                }
            }
            if looked_at >= MAX_LOOKED_AT {
                break;
            }
        }
        let ((distance, _), slot) = best?;
        self.remove(slot).map(|entry| (entry.pooled, distance))
    }

    /// The connection to this instance that gives way first, if one may.
    pub(super) fn to_spare(&self, worker: usize, instance: InstanceId) -> Option<(Rank, Tag)> {
        let entries = self.slots.iter().enumerate().filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)));
        let spared = entries.filter(|(_, entry)| entry.key.instance == instance && !entry.promised);
        let (slot, entry) =
            spared.min_by_key(|(_, entry)| (entry.kept, entry.owner == Owner::Lives, entry.parked_at))?;
        let rank = (entry.kept, entry.owner == Owner::Lives, entry.parked_at);
        Some((rank, Tag { worker, slot, stamp: entry.stamp }))
    }

    /// Takes out what `ends` picks; it is told whether the owner is gone and how long it has been idle.
    pub(super) fn remove_if(
        &mut self,
        mut ends: impl FnMut(&mut P, bool, Duration) -> bool,
        now: Instant,
    ) -> Vec<P> {
        let mut ended = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(Some(entry)) = self.slots.get_mut(slot) else { continue };
            let idle = now.duration_since(entry.parked_at);
            if !entry.promised && ends(&mut entry.pooled, entry.owner == Owner::Gone, idle) {
                ended.extend(self.remove(slot).map(|entry| entry.pooled));
            }
        }
        ended
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn count(&self, instance: InstanceId) -> usize {
        self.slots.iter().flatten().filter(|entry| entry.key.instance == instance).count()
    }
}
