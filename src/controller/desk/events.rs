//! What is known of scheduled events, in memory and in the store, and what could not be moved.
//!
//! Never here: a statement.

use std::time::{Duration, Instant};

use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::super::assess::Verdict;
use super::super::clock;
use super::super::events::{self, EventKey, KnownEvents, MOST, Missing, Unmoved};
use super::super::plan::Step;
use super::super::store::Store;
use super::super::view::{ClusterView, ServerView};
use super::{Desk, State};

/// What could not be enabled is tried again after this time: somebody may have granted what it takes.
const AGAIN: Duration = Duration::from_secs(60);
/// Statements that an alarm shows; the rest is counted.
const SHOWN: usize = 3;

/// The file in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum File {
    /// There is none; a cluster without events needs none.
    #[default]
    None,
    /// It is older.
    Old,
    /// It is what is known.
    Fresh,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Events {
    known: Option<KnownEvents>,
    /// Whether there is a file of it in the store, and whether that is as it is here.
    file: File,
    /// Where, when and what could not be enabled.
    unmoved: Option<(Uuid, Instant, Vec<Unmoved>)>,
    /// Where, and why the scheduler could not be switched.
    scheduler: Option<(Uuid, String)>,
    alarms: Vec<String>,
}

impl Events {
    pub(super) fn open(store: &Store) -> Self {
        let known = store.events().unwrap_or_else(|error| {
            tracing::error!(%error, "what was known of scheduled events is lost");
            None
        });
        let file = if known.is_some() { File::Fresh } else { File::None };
        Self { file, known, ..Self::default() }
    }

    pub(super) fn alarms(&self) -> impl Iterator<Item = String> + '_ {
        self.alarms.iter().cloned()
    }

    /// Whether an attempt has failed lately.
    fn is_stuck(&self, server: Uuid, key: &EventKey) -> bool {
        self.unmoved.as_ref().is_some_and(|(at, since, events)| {
            *at == server && clock::since(*since) < AGAIN && events.iter().any(|one| one.key == *key)
        })
    }

    /// What to do there now.
    fn due(&self, primary: &ServerView) -> Option<Missing> {
        let mut missing = events::missing(self.known.as_ref()?, primary);
        missing.enable.retain(|key| !self.is_stuck(primary.uuid, key));
        (!missing.enable.is_empty() || missing.scheduler.is_some()).then_some(missing)
    }

    /// What somebody should know.
    fn words(&self, name: &str, primary: &ServerView) -> Vec<String> {
        let mut words = Vec::new();
        let Some(known) = &self.known else { return words };
        let missing = events::missing(known, primary);
        if let Some((at, _, unmoved)) = &self.unmoved {
            let still = |one: &&Unmoved| *at == primary.uuid && missing.enable.contains(&one.key);
            let still: Vec<&Unmoved> = unmoved.iter().filter(still).collect();
            if let Some(first) = still.first() {
                let statements = still.iter().map(|one| one.statement.clone());
                words.push(format!(
                    "{name}: events that ran at the former primary do not run, as sluice may not enable them ({}); run there: {}",
                    first.error,
                    listed(statements, "; ")
                ));
            }
        }
        if !missing.unknown.is_empty() {
            let names = missing.unknown.iter().map(|key| format!("{}.{}", key.schema, key.name));
            words.push(format!(
                "{name}: events were made or changed when the primary changed, and nobody knows whether they are to run: {}; \
                 run there, for each: ALTER EVENT ... ENABLE, or DISABLE",
                listed(names, ", ")
            ));
        }
        if let Some((_, error)) = self.scheduler.as_ref().filter(|(at, _)| *at == primary.uuid)
            && known.scheduler != primary.events.scheduler.is_on()
        {
            words.push(format!("{name}: events do not run there as at the former primary: {error}"));
        }
        if primary.events.list.len() >= MOST {
            words.push(format!(
                "{name}: there are {MOST} events or more; those behind the first {MOST} by name do not move with the primary"
            ));
        }
        words
    }
}

fn listed(all: impl Iterator<Item = String>, between: &str) -> String {
    let all: Vec<String> = all.collect();
    let shown: Vec<&str> = all.iter().take(SHOWN).map(String::as_str).collect();
    match all.len().saturating_sub(SHOWN) {
        0 => shown.join(between),
        more => format!("{} and {more} more", shown.join(between)),
    }
}

impl Desk {
    /// Notes what the primary's events are; to be called while all is well.
    pub(in crate::controller) fn learn_events(&self, view: &ClusterView, name: &str, primary: &ServerView) {
        let mut state = self.state();
        let events = &mut state.events;
        if let Some(learned) = events::learn(events.known.as_ref(), view, primary)
            && events.known.as_ref() != Some(&learned)
        {
            if events.file != File::None || !learned.events.is_empty() {
                events.file = File::Old;
            }
            events.known = Some(learned);
        }
        events.alarms = events.words(name, primary);
        self.keep_events(state);
    }

    fn keep_events(&self, mut state: std::sync::MutexGuard<'_, State>) {
        let Some(known) = state.events.known.as_ref().filter(|_| state.events.file == File::Old) else {
            return;
        };
        match self.store.keep_events(known) {
            Ok(()) => state.events.file = File::Fresh,
            Err(error) => {
                drop(state);
                self.set_trouble(Some(error.to_string()));
            }
        }
    }

    /// The step that moves events to the primary, if there is something to move.
    pub(in crate::controller) fn events_step(&self, view: &ClusterView) -> Option<Step> {
        let state = self.state();
        let record = state.record.as_ref().filter(|record| record.operation.is_none())?;
        let (instance, server) = view.live().find(|(_, server)| server.uuid == record.primary)?;
        let due = state.assessment.verdict == Verdict::Healthy && state.events.due(server).is_some();
        due.then_some(Step::MoveEvents(instance.id))
    }

    /// What is missing at the primary now, less what has failed lately.
    pub(in crate::controller) fn missing_events(&self, id: InstanceId) -> Option<Missing> {
        let server = self.board.view(id.index())?.server?;
        self.state().events.due(&server)
    }

    /// From here on the scheduler is left to whoever switches it there.
    pub(in crate::controller) fn scheduler_moved(&self, id: InstanceId) {
        let server = self.board.view(id.index()).and_then(|view| view.server);
        if let (Some(known), Some(server)) = (self.state().events.known.as_mut(), server) {
            known.primary = server.uuid;
        }
    }

    /// Notes what could not be done there.
    pub(in crate::controller) fn note_unmoved(
        &self,
        id: InstanceId,
        unmoved: Vec<Unmoved>,
        scheduler: Option<String>,
    ) {
        let Some(server) = self.board.view(id.index()).and_then(|view| view.server) else { return };
        let mut state = self.state();
        for one in &unmoved {
            tracing::warn!(event = %one.statement, error = %one.error, "an event can't be enabled");
        }
        let kept = state.events.unmoved.take().filter(|(at, since, _)| {
            // What failed before waits on beside it.
            *at == server.uuid && clock::since(*since) < AGAIN
        });
        let before = kept.map_or_else(Vec::new, |(_, _, before)| before);
        let all: Vec<Unmoved> = before.into_iter().chain(unmoved).collect();
        state.events.unmoved = (!all.is_empty()).then(|| (server.uuid, clock::now(), all));
        state.events.scheduler = scheduler.map(|error| (server.uuid, error));
    }
}
