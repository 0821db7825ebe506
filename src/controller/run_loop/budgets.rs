//! How often Sluice acts by itself: one budget for each class of action, so that one can't use up another's.
//!
//! A budget is no block: the second failover in a row happens at once, and a further one waits for some seconds only while
//! the quorum is whole. What somebody asks for is neither limited nor counted.
//!
//! Never here: whether an action makes sense, attempts that came to nothing (they pause for themselves).

use std::time::{Duration, Instant};

use super::Looped;
use crate::controller::api::BudgetStatus;
use crate::controller::record::Record;
use crate::controller::view::ClusterView;
use crate::controller::{clock, failover};

/// Failovers in a row; two zones may go one after the other.
const FAILOVERS: u32 = 2;
/// One more may be done after this time.
const FAILOVER_EVERY: Duration = Duration::from_secs(300);
/// With every recorded acker there nothing is gained by waiting longer: clients have no primary.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rebuilds in a row: the members of a large cluster but for two.
const REBUILDS: u32 = 4;
/// One more may be begun after this time.
const REBUILD_EVERY: Duration = Duration::from_secs(900);

/// What may still be done, and when there is more.
#[derive(Debug)]
pub(super) struct Budget {
    class: &'static str,
    of: u32,
    every: Duration,
    left: u32,
    /// When the latest of those that are missing is counted from.
    since: Option<Instant>,
    /// When it was used last.
    used: Option<Instant>,
}

impl Budget {
    fn new(class: &'static str, of: u32, every: Duration) -> Self {
        Self { class, of, every, left: of, since: None, used: None }
    }

    fn refill(&mut self, now: Instant) {
        while let Some(since) = self.since {
            let Some(next) = since.checked_add(self.every).filter(|next| *next <= now) else { return };
            self.left = (self.left + 1).min(self.of);
            self.since = (self.left < self.of).then_some(next);
        }
    }

    fn charge(&mut self, now: Instant) {
        self.refill(now);
        self.left = self.left.saturating_sub(1);
        self.since.get_or_insert(now);
        self.used = Some(now);
    }

    /// How long the next one has to wait; zero: not at all. With `patience` never longer than that after the latest.
    fn wait(&mut self, now: Instant, patience: Option<Duration>) -> Duration {
        self.refill(now);
        if self.left > 0 {
            return Duration::ZERO;
        }
        let until = |from: Option<Instant>, wait: Duration| {
            from.map_or(Duration::ZERO, |from| (from + wait).saturating_duration_since(now))
        };
        let full = until(self.since, self.every);
        patience.map_or(full, |patience| full.min(until(self.used, patience)))
    }

    fn shown(&mut self, now: Instant) -> BudgetStatus {
        self.refill(now);
        let next = self.since.map(|since| (since + self.every).saturating_duration_since(now));
        BudgetStatus {
            class: self.class.to_owned(),
            left: self.left,
            of: self.of,
            refills_in_s: next.map(|next| next.as_secs()),
        }
    }
}

/// The budgets of all classes.
#[derive(Debug)]
pub(super) struct Budgets {
    failover: Budget,
    rebuild: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            failover: Budget::new("failover", FAILOVERS, FAILOVER_EVERY),
            rebuild: Budget::new("rebuild", REBUILDS, REBUILD_EVERY),
        }
    }
}

impl Budgets {
    /// A failover by Sluice itself changed the primary.
    pub(super) fn failed_over(&mut self) {
        self.failover.charge(clock::now());
    }

    /// A rebuild by Sluice itself was begun.
    pub(super) fn rebuilds(&mut self) {
        self.rebuild.charge(clock::now());
    }

    /// How long a failover has to wait.
    pub(super) fn failover(&mut self, view: &ClusterView, record: &Record) -> Duration {
        let whole = failover::quorum(view, record).missing.is_empty();
        self.failover.wait(clock::now(), whole.then_some(PATIENCE))
    }

    /// How long a rebuild has to wait.
    pub(super) fn rebuild(&mut self) -> Duration {
        self.rebuild.wait(clock::now(), None)
    }
}

impl Looped {
    /// Whether the budget lets a failover begin now; if not, the status says until when.
    pub(super) fn failover_affordable(&mut self, view: &ClusterView) -> bool {
        let Some(record) = self.desk.record() else { return false };
        let wait = self.budgets.failover(view, &record);
        if wait.is_zero() {
            return true;
        }
        self.desk.set_trouble(Some(format!(
            "{FAILOVERS} failovers were done shortly before: the next one by itself waits for {} s; sluice failover does \
             it now",
            wait.as_secs() + 1
        )));
        false
    }

    pub(super) fn show_budgets(&mut self) {
        let now = clock::now();
        let budgets = [&mut self.budgets.failover, &mut self.budgets.rebuild];
        self.desk.set_budgets(budgets.map(|budget| budget.shown(now)).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn two_at_once_and_a_third_after_a_while() {
        let mut budget = Budget::new("failover", 2, 5 * MINUTE);
        let start = clock::now();
        budget.charge(start);
        assert_eq!(budget.wait(start, None), Duration::ZERO, "a second one is never in the way");
        budget.charge(start + MINUTE);
        assert_eq!(budget.wait(start + MINUTE, None), 4 * MINUTE);
        assert_eq!(budget.wait(start + MINUTE, Some(PATIENCE)), PATIENCE);
        assert_eq!(budget.wait(start + MINUTE + PATIENCE, Some(PATIENCE)), Duration::ZERO);
        let shown = budget.shown(start + 2 * MINUTE);
        assert_eq!((shown.left, shown.of, shown.refills_in_s), (0, 2, Some(180)));
        assert_eq!(budget.wait(start + 5 * MINUTE, None), Duration::ZERO);
        let shown = budget.shown(start + 5 * MINUTE);
        assert_eq!((shown.left, shown.refills_in_s), (1, Some(300)));
        let shown = budget.shown(start + 60 * MINUTE);
        assert_eq!((shown.left, shown.refills_in_s), (2, None));
    }

    #[test]
    fn whoever_was_let_through_without_a_budget_pays_later() {
        let mut budget = Budget::new("failover", 1, MINUTE);
        let start = clock::now();
        budget.charge(start);
        budget.charge(start + PATIENCE);
        assert_eq!(budget.wait(start + PATIENCE, None), MINUTE - PATIENCE);
        assert_eq!(budget.wait(start + MINUTE, None), Duration::ZERO);
    }
}
