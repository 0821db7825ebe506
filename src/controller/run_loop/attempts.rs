//! When a failover that came to nothing is tried again.
//!
//! Never here: what a failover does.

use std::time::{Duration, Instant};

use sluice_routing::topology::InstanceId;

use crate::controller::clock;
use crate::controller::record::Record;
use crate::controller::view::ClusterView;

/// A failover that came to nothing is tried again after this time...
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// ...and each time after twice as long, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Failovers that came to nothing: the same attempt is made again at growing intervals, another one at once.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    latest: Option<(Instant, Vec<InstanceId>)>,
    pause: Duration,
}

impl Attempts {
    /// Those that could take part; one that is being rebuilt can't, until it has its data.
    fn members(view: &ClusterView, record: Option<&Record>) -> Vec<InstanceId> {
        let apart = |uuid| record.is_some_and(|record| record.is_taken_apart(uuid));
        view.live().filter(|(_, server)| !apart(server.uuid)).map(|(instance, _)| instance.id).collect()
    }

    /// Whether it makes sense to try now.
    pub(super) fn may_try(&self, view: &ClusterView, record: Option<&Record>) -> bool {
        let Some((at, members)) = &self.latest else { return true };
        clock::since(*at) >= self.pause || *members != Self::members(view, record)
    }

    /// One more came to nothing.
    pub(super) fn note(&mut self, view: &ClusterView, record: Option<&Record>) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.latest = Some((clock::now(), Self::members(view, record)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::pictures::healthy;
    use crate::controller::view::Reach;

    #[test]
    fn the_same_attempt_waits_and_another_one_does_not() {
        let mut view = healthy(3);
        let mut attempts = Attempts::default();
        assert!(attempts.may_try(&view, None));
        attempts.note(&view, None);
        assert!(!attempts.may_try(&view, None));
        if let Some(last) = view.instances.last_mut() {
            last.reach = Reach::Silent;
        }
        assert!(attempts.may_try(&view, None));
        for _ in 0..20 {
            attempts.note(&view, None);
        }
        assert_eq!(attempts.pause, LONGEST_PAUSE);
    }
}
