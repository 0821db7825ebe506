//! How long replicas take to get what readers wait for, and so how long a reader should wait.
//!
//! One demand at a time is followed until a replica meets it, whether its reader still waits or not: otherwise
//! only the waits that were long enough would be measured. Where replicas are slow, most readers do not wait; a few go
//! on, as writers that wait for nobody only leave slow replicas further behind, and it would never get better.
//!
//! Never here: a clock, a wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_protocol::GtidSet;
use sluice_routing::freshness::Required;

/// Shortest time a reader is prepared to wait: a small transaction takes about 3 ms to a replica.
const LEAST: Duration = Duration::from_millis(8);
/// Longest time.
const MOST: Duration = Duration::from_millis(100);
/// Where the average is longer than this, readers do not wait at all: the primary is the better choice.
const HOPELESS: Duration = Duration::from_millis(50);
/// Nine of ten demands are met within about this many times the average.
const SPREAD: u32 = 3;
/// A demand that is not met for this long counts as having taken it.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// Longest time that one measurement counts as: a single hiccup does not make the average hopeless for long.
const MOST_COUNTED: Duration = Duration::from_millis(200);
/// One of so many readers waits even where it is hopeless.
const PERSISTENT: u32 = 8;
/// The weight of one measurement in the average is one of this many.
const MEMORY: u32 = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct CatchingUp {
    average: Duration,
    followed: Option<(Arc<Required>, Instant)>,
    /// Readers since it became hopeless.
    turned_away: u32,
}

impl Default for CatchingUp {
    fn default() -> Self {
        Self { average: LEAST / SPREAD, followed: None, turned_away: 0 }
    }
}

impl CatchingUp {
    /// How long a reader with this demand should wait; `None`: not at all.
    pub(super) fn patience(&mut self, required: &Arc<Required>, now: Instant) -> Option<Duration> {
        self.give_up(now);
        if self.followed.is_none() && !required.written.is_empty() {
            self.followed = Some((Arc::clone(required), now));
        }
        if self.average <= HOPELESS {
            self.turned_away = 0;
            return Some((self.average * SPREAD).clamp(LEAST, MOST));
        }
        self.turned_away = self.turned_away.wrapping_add(1);
        self.turned_away.is_multiple_of(PERSISTENT).then_some(MOST)
    }

    /// A replica has executed this.
    pub(super) fn saw(&mut self, executed: &GtidSet, now: Instant) {
        if let Some((required, began)) = &self.followed
            && executed.contains_set(&required.written)
        {
            let took = now.saturating_duration_since(*began);
            self.followed = None;
            self.measured(took);
        }
        self.give_up(now);
    }

    fn give_up(&mut self, now: Instant) {
        if self.followed.as_ref().is_some_and(|(_, began)| now.saturating_duration_since(*began) > GIVEN_UP) {
            self.followed = None;
            self.measured(GIVEN_UP);
        }
    }

    fn measured(&mut self, took: Duration) {
        self.average = (self.average * (MEMORY - 1) + took.min(MOST_COUNTED)) / MEMORY;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sluice_routing::freshness::Floor;

    use super::*;

    fn set(text: &str) -> GtidSet {
        text.replace('s', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap()
    }

    fn wants(text: &str) -> Arc<Required> {
        Arc::new(Required { written: set(text), floor: Floor::Nothing })
    }

    /// Demands that are met after `ms` each; the patience afterwards.
    fn after(catching_up: &mut CatchingUp, start: Instant, ms: u64) -> Option<Duration> {
        for number in 1..100 {
            let at = start + Duration::from_secs(10 * number);
            let wanted = format!("s:{number}");
            catching_up.patience(&wants(&wanted), at);
            catching_up.saw(&set("s:1000"), at);
            catching_up.saw(&set(&wanted), at + Duration::from_millis(ms));
        }
        catching_up.patience(&wants("s:1"), start)
    }

    #[test]
    fn readers_wait_as_long_as_it_usually_takes_and_not_in_vain() {
        let (mut catching_up, start) = (CatchingUp::default(), Instant::now());
        assert_eq!(catching_up.patience(&wants("s:1"), start), Some(LEAST));
        assert_eq!(after(&mut catching_up, start, 1), Some(LEAST));
        let usual = after(&mut catching_up, start, 10).unwrap();
        assert!((28..=30).contains(&usual.as_millis()), "{usual:?}");
        assert_eq!(after(&mut catching_up, start, 40), Some(MOST));
        let mut turned_away = |ms| {
            after(&mut catching_up, start, ms);
            (0..8).filter(|_| catching_up.patience(&wants("s:1"), start).is_none()).count()
        };
        assert_eq!(turned_away(400), 7);
        assert_eq!(turned_away(10_000), 7, "never met in time");
        assert!(after(&mut catching_up, start, 3).is_some(), "it gets better again");
    }

    #[test]
    fn one_hiccup_is_soon_forgotten_and_somebody_always_waits() {
        let (mut catching_up, start) = (CatchingUp::default(), Instant::now());
        catching_up.patience(&wants("s:1"), start);
        catching_up.saw(&set("s:1"), start + Duration::from_secs(30));
        assert!(catching_up.patience(&wants("s:2"), start).is_some(), "one does not make it hopeless");
        after(&mut catching_up, start, 10_000);
        let waiting = (0..80).filter(|_| catching_up.patience(&wants("s:3"), start).is_some()).count();
        assert_eq!(waiting, 10);
    }
}
