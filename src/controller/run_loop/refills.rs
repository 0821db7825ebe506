//! Rebuilds in the loop: going on with one of before, and beginning those that are due by themselves.
//!
//! Never here: what a rebuild does, whether a member's data are of use.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Looped;
use crate::controller::api::OperationState;
use crate::controller::assess::Assessment;
use crate::controller::record::Record;
use crate::controller::view::ClusterView;
use crate::controller::{clock, rebuild, refill};

/// A member whose rebuild came to nothing is tried again after this time...
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// ...and each time after twice as long, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Rebuilds that came to nothing, by member.
#[derive(Debug, Default)]
pub(super) struct Refills {
    latest: HashMap<String, (Instant, Duration)>,
}

impl Refills {
    fn may_try(&self, member: &str) -> bool {
        self.latest.get(member).is_none_or(|(at, pause)| clock::since(*at) >= *pause)
    }

    fn note(&mut self, ended: &refill::Ended) {
        match ended.state {
            OperationState::Done => drop(self.latest.remove(&ended.member)),
            OperationState::Running
            | OperationState::Refused
            | OperationState::Undone
            | OperationState::Failed => {
                let before = self.latest.get(&ended.member).map_or(Duration::ZERO, |(_, pause)| *pause);
                let pause = (before * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                self.latest.insert(ended.member.clone(), (clock::now(), pause));
            }
        }
    }
}

impl Looped {
    /// Goes on with the rebuild in the record, or begins one that is due.
    pub(super) fn refill(&mut self, view: &ClusterView, record: &Record, assessment: &Assessment) {
        if !assessment.verdict.acting_allowed() {
            return;
        }
        let settled = rebuild::settled(view, record);
        if !settled.is_empty()
            && let Err(error) =
                self.desk.change(|record| record.deposed.retain(|one| !settled.contains(&one.uuid)))
        {
            self.desk.set_trouble(Some(error.to_string()));
        }
        if self.rebuild.is_some() {
            return;
        }
        self.rebuild = refill::resume(&self.desk);
        let busy = self.rebuild.is_some() || self.switchover.is_some() || self.takeover.is_some();
        if busy || !self.desk.config.rebuild.automatic || record.pause.is_some() {
            return;
        }
        let due = rebuild::due(view, record, assessment);
        if !self.budgets.rebuild().is_zero() {
            return;
        }
        if let Some(due) = due.iter().find(|due| self.refills.may_try(&due.member)) {
            match refill::start_by_itself(&self.desk, due) {
                Ok(running) => {
                    self.budgets.rebuilds();
                    self.rebuild = Some(running);
                }
                Err(objection) => {
                    let member = due.member.clone();
                    self.desk.set_trouble(Some(format!("{member} is not rebuilt by itself: {objection}")));
                    self.refills.note(&refill::Ended { member, state: OperationState::Refused });
                }
            }
        }
    }

    pub(super) fn refilled(&mut self, ended: &refill::Ended) {
        self.rebuild = None;
        self.refills.note(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_to_nothing_waits_longer_each_time() {
        let mut refills = Refills::default();
        let ended = |state| refill::Ended { member: "db3".into(), state };
        assert!(refills.may_try("db3"));
        for _ in 0..20 {
            refills.note(&ended(OperationState::Failed));
        }
        assert!(!refills.may_try("db3") && refills.may_try("db2"));
        assert_eq!(refills.latest.get("db3").map(|(_, pause)| *pause), Some(LONGEST_PAUSE));
        refills.note(&ended(OperationState::Done));
        assert!(refills.may_try("db3"));
    }
}
