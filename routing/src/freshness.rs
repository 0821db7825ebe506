//! What a reader must be able to see, and whether a replica is known to have it.
//!
//! Two kinds of demand meet here. *Written*: transactions whose OK went to somebody, by their GTIDs. *Read*:
//! whatever a session has seen, of which no GTID is known. Both come down to sets that a replica must have
//! executed before it may serve:
//!
//! - Written GTIDs are kept as a high-water mark ([`GtidSet::raise`]), since a replica that executes in order has
//!   everything below as well. Numbers that were assumed and do not exist (gaps, or transactions that were
//!   lost with a primary) are taken out again when a later look at the primary does not show them.
//! - What can be read anywhere at a moment is on the primary, committed or being committed
//!   (`gtid_executed` and `gtid_owned`): a replica shows nothing that the primary does not have, and the primary
//!   shows a row a moment before its GTID is in `gtid_executed`. So the first look at the primary that begins
//!   after a moment ([`Sighting::ceiling`]) bounds everything that was seen until then.
//!
//! This file must never wait, ask a server, or read a clock.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use sluice_protocol::GtidSet;
use uuid::Uuid;

use crate::topology::InstanceId;

/// Most intervals a high-water mark may have: one for each uuid and tag in normal life. Beyond that it becomes
/// a demand for everything there was, which is one value.
const MAX_INTERVALS: usize = 64;

/// What one look at an instance showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When the question was sent: the answer is no older.
    pub asked: Instant,
    /// `@@server_uuid`
    pub server: Option<Uuid>,
    /// Whether it took writes.
    pub writable: bool,
    /// `@@gtid_executed`
    pub executed: Arc<GtidSet>,
    /// [`Self::executed`] and what was being committed; `None` if that could not be read.
    pub ceiling: Option<Arc<GtidSet>>,
}

/// Says which replicas are fresh enough for a reader.
pub trait FreshEnough: fmt::Debug {
    /// Whether the replica is known to have all that the reader must be able to see.
    fn is_fresh(&self, replica: InstanceId) -> bool;
}

/// A demand for everything that could be seen until some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Floor {
    /// No demand.
    #[default]
    Nothing,
    /// Everything until this moment; no look at the primary has said yet what that is.
    Until(Instant),
    /// These transactions, which a look at the primary showed.
    These {
        /// At least everything until the moment.
        set: Arc<GtidSet>,
        /// When that look began.
        asked: Instant,
    },
}

impl Floor {
    /// Everything until `moment`, which includes all that was demanded before.
    pub fn raise(&mut self, moment: Instant) {
        *self = match self {
            Self::Until(earlier) => Self::Until(moment.max(*earlier)),
            Self::Nothing | Self::These { .. } => Self::Until(moment),
        };
    }

    /// Takes the primary's word for what it is that is demanded.
    pub fn fix(&mut self, primary: &Sighting) {
        let Some(ceiling) = &primary.ceiling else { return };
        match self {
            Self::Until(moment) if *moment <= primary.asked => {
                *self = Self::These { set: Arc::clone(ceiling), asked: primary.asked };
            }
            // What was being committed and is not there any more was rolled back, or lost with its primary.
            Self::These { set, asked } if *asked < primary.asked => {
                if !ceiling.contains_set(set) {
                    *set = Arc::new(set.intersect(ceiling));
                }
                *asked = primary.asked;
            }
            Self::Nothing | Self::Until(_) | Self::These { .. } => {}
        }
    }

    /// Whether a server that has executed this meets the demand.
    #[must_use]
    pub fn is_met_by(&self, executed: &GtidSet) -> bool {
        match self {
            Self::Nothing => true,
            Self::Until(_) => false,
            Self::These { set, .. } => executed.contains_set(set),
        }
    }
}

/// Everything that readers of one kind must be able to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// Transactions, by GTID.
    pub written: GtidSet,
    /// And this.
    pub floor: Floor,
}

impl Required {
    /// Whether a server that has executed this meets it.
    #[must_use]
    pub fn is_met_by(&self, executed: &GtidSet) -> bool {
        executed.contains_set(&self.written) && self.floor.is_met_by(executed)
    }

    /// Whether there is no demand at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.floor == Floor::Nothing
    }
}

/// Whether settling changed what is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It did.
    Changed,
    /// It did not.
    Unchanged,
}

/// A [`Required`] that grows with writes and is corrected by looks at the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HighWater {
    required: Required,
    /// What was required at `sampled`: a look at the primary asked for later shows all of it that exists.
    sample: GtidSet,
    sampled: Option<Instant>,
}

impl HighWater {
    /// What is required now.
    #[must_use]
    pub fn required(&self) -> &Required {
        &self.required
    }

    /// Takes note of a write whose OK is about to be passed on.
    pub fn note(&mut self, written: &GtidSet, now: Instant) {
        self.required.written.raise(written);
        if self.required.written.intervals().nth(MAX_INTERVALS).is_some() {
            self.note_unknown(now);
        }
    }

    /// Takes note of a write whose GTID is not known: from now on everything there was until `now` is required.
    pub fn note_unknown(&mut self, now: Instant) {
        self.required.written = GtidSet::new();
        self.sampled = None;
        self.required.floor.raise(now);
    }

    /// Corrects the mark by a look at the primary.
    pub fn settle(&mut self, primary: &Sighting, now: Instant) -> Settled {
        let before = self.required.floor.clone();
        self.required.floor.fix(primary);
        let mut settled = if before == self.required.floor { Settled::Unchanged } else { Settled::Changed };
        if self.sampled.is_some_and(|sampled| sampled <= primary.asked) {
            let phantoms = self.sample.subtract(&primary.executed);
            if !phantoms.is_empty() {
                self.required.written = self.required.written.subtract(&phantoms);
                settled = Settled::Changed;
            }
            self.sampled = None;
        }
        if self.sampled.is_none() && !self.required.written.is_empty() {
            self.sample = self.required.written.clone();
            self.sampled = Some(now);
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    const OLD: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const NEW: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.replace("old", OLD).replace("new", NEW).parse().unwrap()
    }

    fn seen(start: Instant, ms: u64, executed: &str, owned: &str) -> Sighting {
        let executed = set(executed);
        Sighting {
            asked: start + Duration::from_millis(ms),
            server: None,
            writable: true,
            ceiling: Some(Arc::new(executed.union(&set(owned)))),
            executed: Arc::new(executed),
        }
    }

    #[test]
    fn a_mark_asks_for_everything_between_its_writes() {
        let now = Instant::now();
        let mut mark = HighWater::default();
        mark.note(&set("old:5"), now);
        mark.note(&set("old:9"), now);
        assert!(mark.required().is_met_by(&set("old:1-9")));
        assert!(!mark.required().is_met_by(&set("old:1-5:7-9")));
        assert!(!mark.required().is_met_by(&set("old:1-8")));
    }

    #[test]
    fn what_the_primary_does_not_have_is_asked_of_nobody() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut mark = HighWater::default();
        mark.note(&set("old:5"), at(0));
        mark.note(&set("old:9"), at(1));
        // A look that began before the sample was taken proves nothing.
        assert_eq!(mark.settle(&seen(start, 2, "old:1-5", ""), at(3)), Settled::Unchanged);
        assert!(!mark.required().is_met_by(&set("old:1-5")));
        // 7 was never used; 9 and 10 are there.
        mark.note(&set("old:10"), at(4));
        assert_eq!(mark.settle(&seen(start, 5, "old:1-6:8-10", ""), at(6)), Settled::Changed);
        assert!(mark.required().is_met_by(&set("old:1-6:8-10")));
        // The next primary never got 9 and 10.
        assert_eq!(mark.settle(&seen(start, 7, "old:1-6:8,new:1", ""), at(8)), Settled::Changed);
        assert!(mark.required().is_met_by(&set("old:1-6:8")));
    }

    #[test]
    fn writes_after_the_sample_survive_a_look() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut mark = HighWater::default();
        mark.note(&set("old:5"), at(0));
        assert_eq!(mark.settle(&seen(start, 0, "old:1-5", ""), at(1)), Settled::Unchanged);
        let look = seen(start, 2, "old:1-5", "");
        mark.note(&set("old:6"), at(3));
        assert_eq!(mark.settle(&look, at(4)), Settled::Unchanged);
        assert!(!mark.required().is_met_by(&set("old:1-5")), "6 was acknowledged after that look began");
    }

    #[test]
    fn a_floor_is_what_the_primary_had_and_was_committing() {
        let start = Instant::now();
        let mut floor = Floor::Nothing;
        assert!(floor.is_met_by(&set("")));
        floor.raise(start + Duration::from_millis(2));
        floor.fix(&seen(start, 1, "old:1-9", ""));
        assert!(!floor.is_met_by(&set("old:1-9")), "the look began too early");
        floor.fix(&seen(start, 2, "old:1-9", "old:10"));
        assert!(!floor.is_met_by(&set("old:1-9")) && floor.is_met_by(&set("old:1-10")));
        // Later looks do not raise it, or a replica would chase it for ever.
        floor.fix(&seen(start, 3, "old:1-12", ""));
        assert!(floor.is_met_by(&set("old:1-10")));
        // 10 was lost with its primary.
        floor.fix(&seen(start, 4, "old:1-9,new:1-3", ""));
        assert!(floor.is_met_by(&set("old:1-9")));
    }

    #[test]
    fn a_mark_with_too_many_parts_becomes_a_floor() {
        let now = Instant::now();
        let mut mark = HighWater::default();
        for tag in 0..=MAX_INTERVALS {
            mark.note(&set(&format!("old:t{tag}:1")), now);
        }
        assert!(mark.required().written.is_empty());
        assert_eq!(mark.required().floor, Floor::Until(now));
        assert_eq!(mark.settle(&seen(now, 1, "old:1-3", ""), now), Settled::Changed);
        assert!(mark.required().is_met_by(&set("old:1-3")));
        assert!(!mark.required().is_empty());
    }
}
