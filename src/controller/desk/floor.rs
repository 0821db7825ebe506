//! The floor: what is known to be acknowledged, in memory and in the store.
//!
//! It is written when the primary is doubted, when its count of unacknowledged commits changes, and from time to time: a Sluice
//! that is killed together with the primary starts with it.
//!
//! Never here: what follows if a member lacks some of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_protocol::GtidSet;
use uuid::Uuid;

use super::super::clock;
use super::super::guarantee::{self, Kept, Waited};
use super::super::record::{Guarantee, Record};
use super::super::store::{Floor, Store};
use super::super::view::ServerView;
use super::Desk;

/// While all is well it is written this often: every time costs two syncs of the store.
const EVERY: Duration = Duration::from_secs(10);

/// Why it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Moment {
    /// The primary may be lost, and with it whoever else runs there.
    Doubt,
    /// All is well.
    Round,
}

/// What a Sluice starts with.
#[derive(Default)]
pub(super) struct Known {
    pub(super) floor: Option<(Uuid, Arc<GtidSet>)>,
    pub(super) waited: Option<Waited>,
}

/// What the store knows of the recorded primary.
pub(super) fn known(store: &Store, record: Option<&Record>) -> Known {
    let floor = match store.floor() {
        Ok(floor) => floor,
        Err(error) => {
            // The quorum alone is enough as long as every promise was kept.
            tracing::error!(%error, "what was known to be acknowledged is lost");
            None
        }
    };
    let Some(floor) = floor.filter(|floor| record.is_some_and(|record| record.primary == floor.primary))
    else {
        return Known::default();
    };
    let committed = floor.committed.parse::<GtidSet>();
    if let Err(error) = &committed {
        tracing::error!(%error, "what was known to be acknowledged can't be read");
    }
    Known {
        floor: committed.ok().map(|committed| (floor.primary, Arc::new(committed))),
        waited: floor.unacknowledged.map(|unacknowledged| Waited { server: floor.primary, unacknowledged }),
    }
}

impl Desk {
    /// Writes what is known to be acknowledged, if it is news and time.
    pub(in crate::controller) fn keep_floor(&self, moment: Moment) {
        let Some(floor) = self.unkept(moment) else { return };
        match self.store.keep_floor(&floor) {
            Ok(()) => self.state().kept = Some((floor, clock::now())),
            Err(error) => self.set_trouble(Some(error.to_string())),
        }
    }

    /// What has to be kept now, if it is news.
    fn unkept(&self, moment: Moment) -> Option<Floor> {
        let state = self.state();
        let (primary, set) = state.floor.as_ref()?;
        let waited = state.waited.filter(|waited| waited.server == *primary);
        let unacknowledged = waited.map(|waited| waited.unacknowledged);
        let due = state.kept.as_ref().is_none_or(|(kept, at)| {
            kept.primary != *primary || kept.unacknowledged != unacknowledged || is_over(*at)
        });
        // Rounds are many, and the text of a set can be long.
        if moment == Moment::Round && !due {
            return None;
        }
        let floor = Floor { primary: *primary, committed: set.to_string(), unacknowledged };
        state.kept.as_ref().is_none_or(|(kept, _)| *kept != floor).then_some(floor)
    }

    /// Notes what the primary was seen to have committed while every commit waited for its acknowledgements.
    pub(in crate::controller) fn note_floor(&self, primary: &ServerView) {
        self.state().floor = Some((primary.uuid, Arc::clone(&primary.executed_in_look)));
    }

    /// Holds the primary against what it promised; a promise that it broke is noted in the record.
    pub(in crate::controller) fn watch_guarantee(&self, primary: &ServerView) {
        let before = self.state().waited;
        match guarantee::watch(primary, before) {
            Kept::Yes(waited) => {
                self.state().waited = Some(waited);
                self.note_floor(primary);
            }
            Kept::No(why) => {
                self.state().waited = None;
                tracing::warn!(%why, "the primary committed without waiting for acknowledgements");
                if let Err(error) = self.change(|record| record.guarantee = Guarantee::Broken) {
                    self.set_trouble(Some(error.to_string()));
                }
            }
        }
    }

    /// What is known to be acknowledged; empty if this process never saw it.
    pub(in crate::controller) fn floor(&self, record: &Record) -> GtidSet {
        let state = self.state();
        let floor = state.floor.as_ref().filter(|(primary, _)| *primary == record.primary);
        floor.map_or_else(GtidSet::new, |(_, set)| (**set).clone())
    }
}

fn is_over(at: Instant) -> bool {
    clock::since(at) >= EVERY
}
