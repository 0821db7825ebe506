//! How many clients there may be at once, logged in and on their way.
//!
//! A client on its way takes one of a smaller number of places as well, so that clients that only knock can
//! never take all of those for clients that work.
//!
//! Never here: what a client over the limit is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::session::memory::{Charge, Memory};

/// Most logins under way at once. At 80 KiB each, the most a client that is not logged in may send, that is
/// 80 MiB; and far more than any application begins within the ten seconds a login may take.
const MAX_HANDSHAKES: usize = 1024;

/// Counts clients; one per process.
#[derive(Debug)]
pub(super) struct Places {
    memory: Arc<Memory>,
    all: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many clients as there may be.
    Clients,
    /// There is no memory for another one.
    Memory,
}

/// A client's place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _of_memory: Charge,
    _of_all: Taken,
    of_handshakes: Option<Taken>,
}

impl Place {
    /// The client is logged in.
    pub(super) fn logged_in(&mut self) {
        self.of_handshakes = None;
    }
}

#[derive(Debug)]
struct Taken(Arc<AtomicUsize>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<Taken> {
    let below = |now: usize| (now < limit).then_some(now + 1);
    count.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).ok()?;
    Some(Taken(Arc::clone(count)))
}

impl Places {
    /// No clients; each takes its share of `memory`.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, all: Arc::default(), handshakes: Arc::default() }
    }

    /// The memory that clients take.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// A place for a client that has just connected. `max` is `[sessions] max_connections`; a lower one than before
    /// sends nobody away.
    pub(super) fn enter(&self, max: usize) -> Result<Place, Full> {
        let of_handshakes = Some(take(&self.handshakes, MAX_HANDSHAKES).ok_or(Full::Clients)?);
        let of_all = take(&self.all, max).ok_or(Full::Clients)?;
        let of_memory = self.memory.admit().map_err(|_| Full::Memory)?;
        Ok(Place { _of_memory: of_memory, _of_all: of_all, of_handshakes })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;
    use crate::session::memory::OF_CLIENT;

    #[test]
    fn both_numbers_are_limits_and_places_come_back() {
        let places = Places::new(Memory::new(1 << 30));
        let mut first = places.enter(2).unwrap();
        let second = places.enter(2).unwrap();
        assert!(places.enter(2).is_err() && places.enter(1).is_err());
        drop(second);
        assert!(places.enter(2).is_ok());
        first.logged_in();
        let knocking: Vec<_> = (0..MAX_HANDSHAKES).map(|_| places.enter(usize::MAX).unwrap()).collect();
        assert!(places.enter(usize::MAX).is_err(), "too many on their way");
        drop((knocking, first));
        assert_eq!((places.all.load(Ordering::Relaxed), places.handshakes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn without_memory_there_is_no_place() {
        let places = Places::new(Memory::new(2 * OF_CLIENT));
        let two = [places.enter(9), places.enter(9)];
        assert!(two.iter().all(Result::is_ok));
        assert_eq!(places.enter(9).err(), Some(Full::Memory));
        assert_eq!(places.all.load(Ordering::Relaxed), 2, "the place is given back");
    }
}
