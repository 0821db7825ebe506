//! The places that backend connections take: `[sessions] max_backend` per instance, over all workers, and the
//! queue of those who wait for one.
//!
//! First come, first served, each with its own deadline. Who has to wait makes idle connections give way: one
//! that fits is handed over as it is ([`Grant::Idle`]), any other is closed for its place ([`Grant::Place`]).
//!
//! Never here: a connection, a reason why somebody wants one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use sluice_routing::topology::InstanceId;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::pool::{Key, Tag};

/// How often somebody who waits looks again for idle connections that may give way by now. Most give way
/// the moment they become idle; this is for those that are kept for their owner for a while.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The places of all instances.
#[derive(Debug)]
pub struct Places {
    limit: usize,
    instances: Box<[Place]>,
    shelves: OnceLock<Weak<dyn GivesWay>>,
}

/// Where idle connections are kept, as seen by those who wait for a place.
pub trait GivesWay: Send + Sync + std::fmt::Debug {
    /// Hands one idle connection to this instance to who is first in the queue, or closes it, if there is one
    /// that can be spared.
    fn make_room(&self, instance: InstanceId);
    /// Somebody does not come for the connection that was promised to him.
    fn not_wanted(&self, tag: Tag);
}

#[derive(Debug)]
struct Place {
    limit: usize,
    /// As many as the queue is long; read without its lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    used: usize,
    next_ticket: u64,
    waiters: VecDeque<Waiter>,
}

/// Somebody in the queue.
#[derive(Debug)]
pub(super) struct Waiter {
    ticket: u64,
    /// The kind of idle connection that would do as well.
    pub(super) wants: Option<Wanted>,
    grant: oneshot::Sender<Grant>,
}

/// The idle connection that would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which kind.
    pub key: Key,
    /// The worker that wants it.
    pub worker: usize,
}

/// What somebody gets who wanted a place.
#[derive(Debug)]
pub enum Grant {
    /// A place: dial.
    Place(Permit),
    /// An idle connection, promised to nobody else.
    Idle(Tag),
}

/// No place became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// A place that is taken. Dropping it gives it to the next in the queue.
#[derive(Debug)]
pub struct Permit {
    home: Option<(Arc<Places>, InstanceId)>,
}

impl Permit {
    /// For a connection that does not count, because something else bounds how many there are of its kind.
    #[must_use]
    pub const fn beyond_the_limit() -> Self {
        Self { home: None }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((places, instance)) = self.home.take() {
            places.release(instance);
        }
    }
}

impl Places {
    /// Places for `instances` instances, `limit` for each.
    #[must_use]
    pub fn new(instances: usize, limit: usize) -> Arc<Self> {
        let place = |_| Place { limit, waiting: AtomicUsize::new(0), queue: Mutex::default() };
        Arc::new(Self { limit, instances: (0..instances).map(place).collect(), shelves: OnceLock::new() })
    }

    /// Says where idle connections are kept; the first call counts.
    pub fn set_shelves(&self, shelves: Weak<dyn GivesWay>) {
        let _ = self.shelves.set(shelves);
    }

    fn shelves(&self) -> Option<Arc<dyn GivesWay>> {
        self.shelves.get().and_then(Weak::upgrade)
    }

    fn lock(&self, instance: InstanceId) -> Option<(&Place, MutexGuard<'_, Queue>)> {
        let place = self.instances.get(instance.index())?;
        Some((place, place.queue.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Places per instance.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Places that are taken.
    #[must_use]
    pub fn used(&self, instance: InstanceId) -> usize {
        self.lock(instance).map_or(0, |(_, queue)| queue.used)
    }

    /// How many are waiting.
    #[must_use]
    pub fn waiting(&self, instance: InstanceId) -> usize {
        self.instances.get(instance.index()).map_or(0, |place| place.waiting.load(Ordering::SeqCst))
    }

    fn permit(self: &Arc<Self>, instance: InstanceId) -> Permit {
        Permit { home: Some((Arc::clone(self), instance)) }
    }

    /// A place, if one is free and nobody waits for it.
    pub fn try_acquire(self: &Arc<Self>, instance: InstanceId) -> Option<Permit> {
        let (place, mut queue) = self.lock(instance)?;
        if queue.used >= place.limit || !queue.waiters.is_empty() {
            return None;
        }
        queue.used += 1;
        Some(self.permit(instance))
    }

    /// A place, waiting for it until `deadline`; or an idle connection of the kind that is wanted.
    pub async fn acquire(
        self: &Arc<Self>,
        instance: InstanceId,
        wants: Option<Wanted>,
        deadline: Instant,
    ) -> Result<Grant, Busy> {
        if let Some(permit) = self.try_acquire(instance) {
            return Ok(Grant::Place(permit));
        }
        let mut waiting = self.queue(instance, wants).ok_or(Busy)?;
        loop {
            if let Some(shelves) = self.shelves() {
                shelves.make_room(instance);
            }
            let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
            match timeout_at(look_again, &mut waiting.granted).await {
                Ok(grant) => return grant.map_err(|_| Busy),
                Err(_) if Instant::now() >= deadline => return Err(Busy),
                Err(_) => {}
            }
        }
    }

    fn queue(self: &Arc<Self>, instance: InstanceId, wants: Option<Wanted>) -> Option<Waiting> {
        let (place, mut queue) = self.lock(instance)?;
        let (grant, granted) = oneshot::channel();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiters.push_back(Waiter { ticket, wants, grant });
        place.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        Some(Waiting { places: Arc::clone(self), instance, ticket, granted })
    }

    /// Gives a place to the next in the queue, or notes that it is free.
    fn release(self: &Arc<Self>, instance: InstanceId) {
        let Some((place, mut queue)) = self.lock(instance) else { return };
        while let Some(waiter) = queue.waiters.pop_front() {
            place.waiting.store(queue.waiters.len(), Ordering::SeqCst);
            match waiter.grant.send(Grant::Place(self.permit(instance))) {
                Ok(()) => return,
                // He has gone; the permit that came back is not to be released twice.
                Err(Grant::Place(mut permit)) => permit.home = None,
                Err(Grant::Idle(_)) => {}
            }
        }
        queue.used = queue.used.saturating_sub(1);
    }

    /// Whether who is first in the queue takes the idle connection `tag`: `promise` is asked with what he
    /// wants, and reserves it. With nobody waiting, or if it does not fit, nothing happens.
    pub(super) fn offer(&self, instance: InstanceId, tag: Tag, promise: impl Fn(&Wanted) -> bool) -> Offered {
        let Some((place, mut queue)) = self.lock(instance) else { return Offered::NobodyWaits };
        loop {
            let Some(first) = queue.waiters.front() else { return Offered::NobodyWaits };
            if first.grant.is_closed() {
                queue.waiters.pop_front();
                place.waiting.store(queue.waiters.len(), Ordering::SeqCst);
                continue;
            }
            if !first.wants.as_ref().is_some_and(&promise) {
                return Offered::DoesNotFit;
            }
            let waiter = queue.waiters.pop_front();
            place.waiting.store(queue.waiters.len(), Ordering::SeqCst);
            return match waiter.map(|waiter| waiter.grant.send(Grant::Idle(tag))) {
                Some(Ok(())) => Offered::Taken,
                Some(Err(_)) | None => Offered::GoneMeanwhile,
            };
        }
    }
}

/// What became of an idle connection that was offered to who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// Nobody waits.
    NobodyWaits,
    /// It is promised to the first in the queue.
    Taken,
    /// The first in the queue can't use it: it should be closed for its place.
    DoesNotFit,
    /// It was promised to somebody who has gone; the promise is void.
    GoneMeanwhile,
}

/// A place in the queue. Dropping it leaves the queue.
struct Waiting {
    places: Arc<Places>,
    instance: InstanceId,
    ticket: u64,
    granted: oneshot::Receiver<Grant>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((place, mut queue)) = self.places.lock(self.instance) {
            queue.waiters.retain(|waiter| waiter.ticket != self.ticket);
            place.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        }
        self.granted.close();
        if let (Ok(Grant::Idle(tag)), Some(shelves)) = (self.granted.try_recv(), self.places.shelves()) {
            shelves.not_wanted(tag);
        }
    }
}

#[cfg(test)]
mod tests;
