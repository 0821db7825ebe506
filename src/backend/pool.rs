//! Idle connections, kept on the shelf of the worker that used them last.
//!
//! A session that has nothing to lose *parks* its connection after each command and gets a [`Tag`] for it. Its
//! next statement finds that very connection again unless somebody else needed one meanwhile. A shelf has a
//! lock of its own, which nobody contends for in normal operation: other workers come only when they would
//! have to wait otherwise.
//!
//! Never here: what a session's state is (whoever parks says how far a connection is from what is wanted), a
//! decision that a connection is clean enough to be parked.

mod key;
mod shelf;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_routing::topology::InstanceId;
use tokio::time::Instant;

pub use key::Key;
pub use shelf::{Kept, Tag};

use super::BackendConnection;
use super::places::{GivesWay, Offered, Places, Wanted};
use super::stream::Idle;
use shelf::Shelf;

/// A connection unused for this long is closed. Servers behind firewalls and `wait_timeout` forget idle
/// connections after minutes.
const IDLE_LIMIT: Duration = Duration::from_mins(5);
/// A connection that no session may come back to is closed sooner: where clients come and go, the next one is
/// given it long before.
const ABANDONED_LIMIT: Duration = Duration::from_mins(1);
/// Longest life of a connection: load spreads again over servers behind one name, and what a server gathers
/// per connection is let go.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How much of [`MAX_AGE`] is spread, so that connections opened together do not end together.
const AGE_SPREAD: Duration = Duration::from_mins(10);
/// Part of the server's `wait_timeout` after which an idle connection is closed, so that the server never
/// ends it in the moment it is used.
const OF_WAIT_TIMEOUT: f64 = 0.75;

/// What is kept on the shelves: a connection with what its users left on it.
pub trait Pooled: Send + 'static {
    /// What somebody wants a connection for.
    type Wanted: ?Sized;
    /// The connection.
    fn connection(&self) -> &BackendConnection;
    /// The connection.
    fn connection_mut(&mut self) -> &mut BackendConnection;
    /// How much has to be done before it can serve `wanted`: 0 for nothing, `None` if it can't.
    fn distance(&self, wanted: &Self::Wanted) -> Option<u32>;
    /// Whether somebody else may use it once its owner is gone.
    fn outlives_owner(&self) -> bool;
    /// Nobody gets it any more, though its owner may live: the last chance to read something off it for him.
    fn let_go(self);
}

/// The shelves of all workers.
pub struct Pools<P: Pooled> {
    shelves: Box<[Mutex<Shelf<P>>]>,
    places: Arc<Places>,
}

impl<P: Pooled> std::fmt::Debug for Pools<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").field("places", &self.places).finish_non_exhaustive()
    }
}

impl<P: Pooled> Pools<P> {
    /// Empty shelves for `workers` workers; those who wait for a place learn of them.
    pub fn new(workers: usize, places: Arc<Places>) -> Arc<Self> {
        let shelves = (0..workers.max(1)).map(|_| Mutex::new(Shelf::default())).collect();
        let pools = Arc::new(Self { shelves, places });
        let weak: std::sync::Weak<Self> = Arc::downgrade(&pools);
        pools.places.set_shelves(weak);
        pools
    }

    /// The places of the instances.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    fn shelf(&self, worker: usize) -> Option<MutexGuard<'_, Shelf<P>>> {
        let shelf = self.shelves.get(worker)?;
        Some(shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a connection on the shelf of `worker`. Somebody waiting for one like it gets it; if the first in
    /// the queue needs another one, it is closed for its place.
    pub fn park(&self, worker: usize, key: Key, pooled: P, kept: Kept) -> Tag {
        let mut pooled = pooled;
        pooled.connection_mut().io.release_all();
        let worker = worker % self.shelves.len().max(1);
        let now = Instant::now();
        let tag = match self.shelf(worker) {
            Some(mut shelf) => shelf.put(worker, key, pooled, kept, now),
            None => Tag::nowhere(),
        };
        // The one who waits has queued before looking at the shelves, we look at the queue after putting it
        // there: one of the two sees the other.
        if self.places.waiting(key.instance) > 0 {
            self.offer(key.instance, tag);
        }
        tag
    }

    /// The parked connection, if it is still there and alive.
    pub fn take(&self, tag: Tag) -> Option<P> {
        let mut pooled = self.shelf(tag.worker())?.take(tag)?;
        is_alive(&mut pooled).then_some(pooled)
    }

    /// Whether the parked connection is still there.
    pub fn has(&self, tag: Tag) -> bool {
        self.shelf(tag.worker()).is_some_and(|shelf| shelf.has(tag))
    }

    /// Takes what was promised by a grant. It is moved to this worker if it was on another's shelf.
    pub fn take_promised(&self, worker: usize, tag: Tag) -> Option<P> {
        let mut pooled = self.shelf(tag.worker())?.take_promised(tag)?;
        if tag.worker() != worker && pooled.connection_mut().io.move_here().is_err() {
            return None;
        }
        is_alive(&mut pooled).then_some(pooled)
    }

    /// The idle connection of this kind that is nearest to what is wanted, with its distance, from the shelf
    /// of `worker`.
    pub fn take_nearest(&self, worker: usize, key: Key, wanted: &P::Wanted) -> Option<(P, u32)> {
        loop {
            let (mut pooled, distance) = self.shelf(worker)?.take_nearest(key, wanted, Instant::now())?;
            if is_alive(&mut pooled) {
                return Some((pooled, distance));
            }
        }
    }

    /// The owner of a parked connection is gone.
    pub fn abandon(&self, tag: Tag) {
        let taken = self.shelf(tag.worker()).and_then(|mut shelf| shelf.abandon(tag));
        drop(taken);
    }

    /// Closes what has been idle or alive for too long, what its server has ended, and what `unwanted` picks.
    /// Returns how many are left.
    pub fn sweep(&self, worker: usize, unwanted: impl Fn(&BackendConnection) -> bool) -> usize {
        let now = Instant::now();
        let Some(mut shelf) = self.shelf(worker) else { return 0 };
        let ended = shelf.remove_if(
            |pooled, abandoned, idle| {
                let connection = pooled.connection_mut();
                is_over(connection, abandoned, idle, now)
                    || !matches!(connection.io.idle(), Idle::Quiet)
                    || unwanted(connection)
            },
            now,
        );
        let left = shelf.len();
        drop(shelf);
        // Their places are given to others, which takes another lock.
        ended.into_iter().for_each(P::let_go);
        left
    }

    /// Idle connections to this instance on all shelves.
    pub fn idle(&self, instance: InstanceId) -> usize {
        (0..self.shelves.len())
            .filter_map(|worker| self.shelf(worker))
            .map(|shelf| shelf.count(instance))
            .sum()
    }

    /// Offers an idle connection to the first who waits; closes it if that one needs another.
    fn offer(&self, instance: InstanceId, tag: Tag) {
        let promise =
            |wanted: &Wanted| self.shelf(tag.worker()).is_some_and(|mut shelf| shelf.promise(tag, wanted));
        match self.places.offer(instance, tag, promise) {
            Offered::NobodyWaits | Offered::Taken => {}
            Offered::DoesNotFit => {
                let taken = self.shelf(tag.worker()).and_then(|mut shelf| shelf.take(tag));
                if let Some(pooled) = taken {
                    pooled.let_go();
                }
            }
            Offered::GoneMeanwhile => self.not_wanted(tag),
        }
    }
}

impl<P: Pooled> GivesWay for Pools<P> {
    fn make_room(&self, instance: InstanceId) {
        let spared = (0..self.shelves.len())
            .filter_map(|worker| self.shelf(worker).and_then(|shelf| shelf.to_spare(worker, instance)))
            .min_by_key(|(rank, _)| *rank);
        if let Some((_, tag)) = spared {
            self.offer(instance, tag);
        }
    }

    fn not_wanted(&self, tag: Tag) {
        let instance = self.shelf(tag.worker()).and_then(|mut shelf| shelf.unpromise(tag));
        if let Some(instance) = instance
            && self.places.waiting(instance) > 0
        {
            self.offer(instance, tag);
        }
    }
}

fn is_alive<P: Pooled>(pooled: &mut P) -> bool {
    matches!(pooled.connection_mut().io.idle(), Idle::Quiet)
}

/// Whether a connection has been idle, or open, for too long.
fn is_over(connection: &BackendConnection, abandoned: bool, idle: Duration, now: Instant) -> bool {
    let limit = if abandoned { ABANDONED_LIMIT } else { IDLE_LIMIT };
    let limit = limit.min(connection.wait_timeout.mul_f64(OF_WAIT_TIMEOUT));
    // The thread id spreads the ends; it is as good as a random number for that.
    let spread = AGE_SPREAD.mul_f64(f64::from(connection.thread_id % 1000) / 1000.0);
    idle >= limit || now.duration_since(connection.opened_at) >= MAX_AGE.saturating_sub(spread)
}
