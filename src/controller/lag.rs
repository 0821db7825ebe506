//! How far each replica is behind the primary, and whether that is too far to serve reads.
//!
//! Two measures, of which the larger counts. The server's own: received and not yet applied, on the source's
//! clock; exact, but blind for what was not received. And ours: what the primary was seen to have some time ago
//! and the replica does not have yet; as coarse as the looks, but on our clock alone and whatever is broken.
//!
//! A replica is out as soon as it is too far behind, and back when it has been well within the limit for a while:
//! one that hovers at the limit would otherwise move its readers back and forth.
//!
//! Never here: I/O, a clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::view::{ClusterView, InstanceView};

/// A replica that was too far behind is back once it is at most half the limit behind for this long.
const BACK_AFTER: Duration = Duration::from_secs(5);
/// Sights of the primary kept: half a minute of them, four a second; beyond that they are kept less densely.
const KEPT: usize = 128;

/// See the module's documentation.
#[derive(Debug)]
pub struct LagMeter {
    limit: Duration,
    primary: Option<Uuid>,
    /// What the first primary seen had: what is missing of it is not lag but a gap.
    base: Option<Arc<GtidSet>>,
    /// What the primary got since then, by the time it was seen; oldest first.
    past: VecDeque<(Instant, GtidSet)>,
    standings: Vec<Standing>,
}

/// One replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    lag: Option<Duration>,
    /// Set while it is out; inside, since when it has been well within the limit again.
    out: Option<Option<Instant>>,
}

impl LagMeter {
    /// With this limit. Nothing seen yet: nobody lags.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, primary: None, base: None, past: VecDeque::new(), standings: Vec::new() }
    }

    /// Takes note of what was seen by `now`. `primary` is the recorded one.
    pub fn look(&mut self, view: &ClusterView, primary: Option<Uuid>, now: Instant) {
        if self.primary != primary {
            self.primary = primary;
            self.base = None;
            self.past.clear();
        }
        self.note_primary(view);
        let standings = view.instances.iter().map(|instance| {
            let before = self.standings.get(instance.id.index()).copied().unwrap_or_default();
            let lag = self.measure(instance);
            Standing { lag, out: self.judge(before, lag, now) }
        });
        self.standings = standings.collect();
    }

    fn note_primary(&mut self, view: &ClusterView) {
        let Some(primary) = self.primary.and_then(|uuid| view.by_uuid(uuid)) else { return };
        let (Some(server), Some(seen)) = (&primary.server, primary.seen) else { return };
        let Some(base) = &self.base else {
            self.base = Some(Arc::clone(&server.executed));
            return;
        };
        if self.past.back().is_none_or(|(at, _)| *at < seen) {
            self.past.push_back((seen, server.executed.subtract(base)));
        }
        if self.past.len() > KEPT {
            let mut number = 0;
            self.past.retain(|_| {
                number += 1;
                number > KEPT / 2 || number % 2 == 1
            });
        }
    }

    /// How far this instance was behind when it was seen last; `None` for the primary and where nothing is known.
    fn measure(&self, instance: &InstanceView) -> Option<Duration> {
        let (server, seen) = (instance.server.as_ref()?, instance.seen?);
        let channel = server.channel.as_ref().filter(|_| self.primary != Some(server.uuid))?;
        let own = Duration::from_millis(channel.lag_ms);
        // Whoever has what the primary had at some time has what it had before.
        let first_missing = self.past.partition_point(|(_, new)| server.executed.contains_set(new));
        let since = self.past.get(first_missing).map(|(at, _)| *at).filter(|at| *at < seen);
        Some(since.map_or(own, |since| own.max(seen.saturating_duration_since(since))))
    }

    fn judge(&self, before: Standing, lag: Option<Duration>, now: Instant) -> Option<Option<Instant>> {
        let Some(lag) = lag else { return before.out };
        match before.out {
            _ if lag > self.limit => Some(None),
            None => None,
            Some(_) if lag > self.limit / 2 => Some(None),
            Some(None) => Some(Some(now)),
            Some(Some(since)) if now.saturating_duration_since(since) < BACK_AFTER => Some(Some(since)),
            Some(Some(_)) => None,
        }
    }

    fn standing(&self, instance: InstanceId) -> Standing {
        self.standings.get(instance.index()).copied().unwrap_or_default()
    }

    /// How far a replica is behind the primary; `None` for the primary and where nothing is known.
    pub fn lag(&self, instance: InstanceId) -> Option<Duration> {
        self.standing(instance).lag
    }

    /// Whether a replica is, or was until a moment ago, too far behind to serve reads.
    pub fn is_lagging(&self, instance: InstanceId) -> bool {
        self.standing(instance).out.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::controller::pictures::{healthy, set, spoil, spoil_channel, uuid};

    const LIMIT: Duration = Duration::from_secs(10);
    const REPLICA: InstanceId = InstanceId(1);

    struct Course {
        meter: LagMeter,
        view: ClusterView,
        now: Instant,
    }

    impl Course {
        fn begin() -> Self {
            let now = Instant::now();
            let mut course = Self { meter: LagMeter::new(LIMIT), view: healthy(3), now };
            course.after(0, "1:1-10", "1:1-10");
            course
        }

        /// So much later the primary has this and the replica that.
        fn after(&mut self, ms: u64, primary: &str, replica: &str) -> Option<u128> {
            self.now += Duration::from_millis(ms);
            spoil(&mut self.view, 1, |server| server.executed = set(primary));
            spoil(&mut self.view, 2, |server| server.executed = set(replica));
            for instance in &mut self.view.instances {
                instance.seen = Some(self.now);
            }
            self.meter.look(&self.view, Some(uuid(1)), self.now);
            self.meter.lag(REPLICA).map(|lag| lag.as_millis())
        }
    }

    #[test]
    fn lag_is_how_long_ago_the_primary_had_what_is_missing() {
        let mut course = Course::begin();
        assert_eq!(course.after(250, "1:1-20", "1:1-20"), Some(0));
        assert_eq!(course.after(250, "1:1-30", "1:1-20"), Some(0), "seen at the same time proves nothing");
        assert_eq!(course.after(250, "1:1-40", "1:1-20"), Some(250));
        assert_eq!(course.after(750, "1:1-50", "1:1-30"), Some(750));
        assert_eq!(course.after(250, "1:1-50", "1:1-50"), Some(0));
        spoil_channel(&mut course.view, 2, |channel| channel.lag_ms = 70);
        assert_eq!(course.after(250, "1:1-50", "1:1-50"), Some(70), "the server knows better");
        assert_eq!(course.meter.lag(InstanceId(0)), None);
    }

    #[test]
    fn a_gap_of_old_is_no_lag() {
        let mut course = Course::begin();
        course.after(250, "1:1-20", "1:5-20");
        assert_eq!(course.after(60_000, "1:1-20", "1:1-4:6-20"), Some(0));
    }

    #[test]
    fn out_at_once_and_back_after_a_while() {
        let mut course = Course::begin();
        course.after(250, "1:1-20", "1:1-10");
        course.after(10_000, "1:1-20", "1:1-10");
        assert!(!course.meter.is_lagging(REPLICA));
        course.after(250, "1:1-20", "1:1-10");
        assert!(course.meter.is_lagging(REPLICA));
        course.after(250, "1:1-20", "1:1-20");
        assert!(course.meter.is_lagging(REPLICA), "it has only just caught up");
        course.after(4000, "1:1-20", "1:1-20");
        assert!(course.meter.is_lagging(REPLICA));
        // A relapse begins the while anew.
        course.after(100, "1:1-30", "1:1-20");
        course.after(6000, "1:1-30", "1:1-20");
        course.after(4000, "1:1-30", "1:1-30");
        course.after(4900, "1:1-30", "1:1-30");
        assert!(course.meter.is_lagging(REPLICA));
        course.after(200, "1:1-30", "1:1-30");
        assert!(!course.meter.is_lagging(REPLICA));
    }

    #[test]
    fn the_past_is_bounded_and_reaches_far_back() {
        let mut course = Course::begin();
        for number in 0..5000 {
            course.after(250, &format!("1:1-{}", 11 + number), "1:1-10");
        }
        assert!(course.meter.past.len() <= KEPT);
        let lag = course.meter.lag(REPLICA).unwrap();
        assert!(lag > Duration::from_secs(1200), "{lag:?}");
    }
}
