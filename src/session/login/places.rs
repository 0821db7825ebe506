//! How many clients there may be at once, logged in and on their way.
//!
//! A client on its way takes one of a smaller number of places as well, so that clients that only knock can
//! never take all of those for clients that work.
//!
//! Never here: what a client over the limit is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most logins under way at once. At 80 KiB each, the most a client that is not logged in may send, that is
/// 80 MiB; and far more than any application begins within the ten seconds a login may take.
const MAX_HANDSHAKES: usize = 1024;

/// Counts clients; one per process.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
}

/// A client's place, given back when dropped.
#[derive(Debug)]
pub struct Place {
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
    /// A place for a client that has just connected; `None`: there is none. `max` is `[sessions]
    /// max_connections`; a lower one than before sends nobody away.
    pub(super) fn enter(&self, max: usize) -> Option<Place> {
        let of_handshakes = Some(take(&self.handshakes, MAX_HANDSHAKES)?);
        Some(Place { _of_all: take(&self.all, max)?, of_handshakes })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_are_limits_and_places_come_back() {
        let places = Places::default();
        let mut first = places.enter(2).unwrap();
        let second = places.enter(2).unwrap();
        assert!(places.enter(2).is_none() && places.enter(1).is_none());
        drop(second);
        assert!(places.enter(2).is_some());
        first.logged_in();
        let knocking: Vec<_> = (0..MAX_HANDSHAKES).map(|_| places.enter(usize::MAX).unwrap()).collect();
        assert!(places.enter(usize::MAX).is_none(), "too many on their way");
        drop((knocking, first));
        assert_eq!((places.all.load(Ordering::Relaxed), places.handshakes.load(Ordering::Relaxed)), (0, 0));
    }
}
