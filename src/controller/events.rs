//! Scheduled events: which of them are to run, so that they run at the primary, whoever that is, and nowhere else.
//!
//! A replica has every event as disabled there, whether it runs at its source or not (measured on 9.7.4). So what is
//! to run has to be known before the primary changes: it is noted while all is well. An event that is on a new primary
//! as it was noted is enabled there; that is logged, and disables it everywhere else. A server that is `super_read_only`
//! runs none (measured as well), so nothing has to be done at the former primary first.
//!
//! Never here: a statement, a file.

mod moved;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::view::{ClusterView, ServerView, Switch};

pub(super) use moved::{Unmoved, move_events};

/// Events that are looked at, the first by name.
pub const MOST: usize = 1000;

/// Whether a server runs an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// It does, if its scheduler is on.
    Enabled,
    /// It does not, because somebody said so.
    Disabled,
    /// It does not: the statement came from its source, or said DISABLE ON REPLICA.
    OnReplica,
}

/// An event as a server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is called, and when it was changed.
    pub key: EventKey,
    /// Whether it runs.
    pub status: EventStatus,
}

/// What makes an event the same on two servers: it is called so, and is as it was made at that time.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct EventKey {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// The statement that made or changed it last, by its source's clock, to the second, in UTC: the same everywhere.
    pub altered: String,
}

/// The events of a server in one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsView {
    /// Whether it took writes when that look began: what is read of a server before may be older than its role.
    pub writable: bool,
    /// Its scheduler; of no meaning without events.
    pub scheduler: Switch,
    /// Those that the control account may see, [`MOST`] at most.
    pub list: Vec<Event>,
}

impl EventsView {
    /// Reads the rows of [`EVENTS`](super::statements::events::EVENTS).
    pub fn of(rows: &[Vec<Option<String>>], read_only: Switch) -> Self {
        let text = |row: &[Option<String>], column: usize| {
            row.get(column).and_then(Option::as_deref).unwrap_or_default().to_owned()
        };
        let event = |row: &Vec<Option<String>>| Event {
            key: EventKey { schema: text(row, 0), name: text(row, 1), altered: text(row, 3) },
            status: match text(row, 2).as_str() {
                "ENABLED" => EventStatus::Enabled,
                "DISABLED" => EventStatus::Disabled,
                // SLAVESIDE_DISABLED, later REPLICA_SIDE_DISABLED.
                _ => EventStatus::OnReplica,
            },
        };
        Self {
            writable: !read_only.is_on(),
            scheduler: rows.first().map_or(Switch::default(), |row| Switch::of(&text(row, 4))),
            list: rows.iter().take(MOST).map(event).collect(),
        }
    }
}

/// Whether an event is to run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// At whoever is the primary.
    Run,
    /// Nowhere.
    Rest,
    /// It was made or changed when the primary changed, and nobody is left who could tell.
    Unknown,
}

/// What is known of an event.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct KnownEvent {
    /// Which.
    #[serde(flatten)]
    pub key: EventKey,
    /// Whether it is to run.
    pub wanted: Wanted,
}

/// What is known of the events, as it is kept in the store.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct KnownEvents {
    /// `server_uuid` of the primary where it was learned.
    pub primary: Uuid,
    /// Whether its scheduler was on.
    pub scheduler: bool,
    /// All of them.
    pub events: Vec<KnownEvent>,
}

impl KnownEvents {
    fn wanted(&self, key: &EventKey) -> Option<Wanted> {
        self.events.iter().find(|known| known.key == *key).map(|known| known.wanted)
    }

    /// Whether anything is to run.
    fn any_runs(&self) -> bool {
        self.events.iter().any(|known| known.wanted == Wanted::Run)
    }
}

/// What a look at the primary adds to what is known; `None`: that look says nothing.
pub fn learn(known: Option<&KnownEvents>, view: &ClusterView, primary: &ServerView) -> Option<KnownEvents> {
    let seen = &primary.events;
    if !seen.writable {
        return None;
    }
    let changed_hands = known.filter(|known| known.primary != primary.uuid);
    let wanted = |event: &Event| match event.status {
        EventStatus::Enabled => Wanted::Run,
        EventStatus::Disabled => Wanted::Rest,
        EventStatus::OnReplica => {
            known.and_then(|known| known.wanted(&event.key)).unwrap_or_else(|| match changed_hands {
                Some(_) => of_others(view, primary, &event.key),
                // Somebody disabled it on this primary in these words, or it was so before Sluice came.
                None => Wanted::Rest,
            })
        }
    };
    let known_event = |event: &Event| KnownEvent { key: event.key.clone(), wanted: wanted(event) };
    let events = seen.list.iter().map(known_event).collect();
    let mut learned = KnownEvents { primary: primary.uuid, scheduler: seen.scheduler.is_on(), events };
    if let Some(before) = changed_hands.filter(|before| before.scheduler != learned.scheduler)
        && learned.any_runs()
        && before.any_runs()
    {
        // Still to be switched as it was at the former primary.
        (learned.primary, learned.scheduler) = (before.primary, before.scheduler);
    }
    Some(learned)
}

/// A former primary still has its events as they were there.
fn of_others(view: &ClusterView, primary: &ServerView, key: &EventKey) -> Wanted {
    let others = view.live().filter(|(_, server)| server.uuid != primary.uuid);
    let statuses = others.flat_map(|(_, server)| &server.events.list).filter(|event| event.key == *key);
    let said = statuses.filter_map(|event| match event.status {
        EventStatus::Enabled => Some(Wanted::Run),
        EventStatus::Disabled => Some(Wanted::Rest),
        EventStatus::OnReplica => None,
    });
    said.last().unwrap_or(Wanted::Unknown)
}

/// What is missing at the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Events to enable.
    pub enable: Vec<EventKey>,
    /// How the scheduler is to be switched.
    pub scheduler: Option<bool>,
    /// Events about which a human has to decide.
    pub unknown: Vec<EventKey>,
}

/// Holds a primary against what is known.
pub fn missing(known: &KnownEvents, primary: &ServerView) -> Missing {
    let seen = &primary.events;
    if !seen.writable {
        return Missing::default();
    }
    let of = |wanted: Wanted| {
        let rests = seen.list.iter().filter(|event| event.status == EventStatus::OnReplica);
        rests
            .filter(|event| known.wanted(&event.key) == Some(wanted))
            .map(|event| event.key.clone())
            .collect()
    };
    let switched = known.primary == primary.uuid || known.scheduler == seen.scheduler.is_on();
    Missing {
        enable: of(Wanted::Run),
        scheduler: (!switched && known.any_runs()).then_some(known.scheduler),
        unknown: of(Wanted::Unknown),
    }
}

#[cfg(test)]
mod tests;
