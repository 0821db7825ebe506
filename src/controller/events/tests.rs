#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use super::*;
use crate::controller::pictures::{healthy, spoil, uuid};

fn event(name: &str, altered: &str, status: EventStatus) -> Event {
    let key = EventKey { schema: "app".into(), name: name.into(), altered: altered.into() };
    Event { key, status }
}

fn events(writable: bool, list: &[Event]) -> Arc<EventsView> {
    Arc::new(EventsView { writable, scheduler: Switch::On, list: list.to_vec() })
}

use EventStatus::{Disabled, Enabled, OnReplica};

/// db1 has these, and its replicas have them as replicas do.
fn cluster(at_source: &[Event]) -> ClusterView {
    let mut view = healthy(3);
    let there: Vec<Event> = at_source.iter().map(|one| Event { status: OnReplica, ..one.clone() }).collect();
    spoil(&mut view, 1, |server| server.events = events(true, at_source));
    for replica in [2, 3] {
        spoil(&mut view, replica, |server| server.events = events(false, &there));
    }
    view
}

fn server(view: &ClusterView, number: u128) -> &ServerView {
    view.by_uuid(uuid(number)).unwrap().server.as_deref().unwrap()
}

/// db2 takes writes, db1 does not.
fn promote(view: &mut ClusterView) {
    let there = server(view, 2).events.list.clone();
    spoil(view, 2, |server| server.events = events(true, &there));
    let there = server(view, 1).events.list.clone();
    spoil(view, 1, |server| server.events = events(false, &there));
}

fn names(keys: &[EventKey]) -> Vec<&str> {
    keys.iter().map(|key| &*key.name).collect()
}

#[test]
fn what_ran_runs_on_and_what_rested_rests() {
    let all = [event("off", "1", Disabled), event("on", "1", Enabled), event("there", "1", OnReplica)];
    let mut view = cluster(&all);
    let known = learn(None, &view, server(&view, 1)).unwrap();
    assert_eq!(missing(&known, server(&view, 1)), Missing::default());
    assert!(learn(Some(&known), &view, server(&view, 2)).is_none(), "a replica's tell nothing");

    promote(&mut view);
    let known = learn(Some(&known), &view, server(&view, 2)).unwrap();
    let due = missing(&known, server(&view, 2));
    assert_eq!(names(&due.enable), ["on"]);
    assert_eq!((due.unknown, due.scheduler), (vec![], None));
    // Nothing was done, as by a Sluice without the privilege: it stays known.
    let again = learn(Some(&known), &view, server(&view, 2)).unwrap();
    assert_eq!(again, known);
}

#[test]
fn what_changed_since_is_not_guessed_but_asked_of_the_former_primary() {
    let mut view = cluster(&[event("kept", "1", Enabled), event("moved", "1", Enabled)]);
    let known = learn(None, &view, server(&view, 1)).unwrap();
    let changed = [event("kept", "1", Enabled), event("moved", "2", Disabled), event("new", "2", Enabled)];
    let mut gone = cluster(&changed);
    promote(&mut gone);
    view = gone.clone();
    let here = learn(Some(&known), &view, server(&view, 2)).unwrap();
    let due = missing(&here, server(&view, 2));
    assert_eq!((names(&due.enable), due.unknown.len()), (vec!["kept", "new"], 0), "db1 still knows");

    gone.instances[0].reach = crate::controller::view::Reach::Silent;
    let nobody = learn(Some(&known), &gone, server(&gone, 2)).unwrap();
    let due = missing(&nobody, server(&gone, 2));
    assert_eq!((names(&due.enable), names(&due.unknown)), (vec!["kept"], vec!["moved", "new"]));
    assert_eq!(learn(Some(&nobody), &view, server(&view, 2)).unwrap(), nobody, "it stays a human's");
}

#[test]
fn the_scheduler_is_switched_as_it_was() {
    let mut view = cluster(&[event("on", "1", Enabled)]);
    let known = learn(None, &view, server(&view, 1)).unwrap();
    promote(&mut view);
    spoil(&mut view, 2, |server| Arc::make_mut(&mut server.events).scheduler = Switch::Off);
    let here = learn(Some(&known), &view, server(&view, 2)).unwrap();
    assert_eq!(missing(&here, server(&view, 2)).scheduler, Some(true));
    spoil(&mut view, 2, |server| Arc::make_mut(&mut server.events).scheduler = Switch::On);
    let here = learn(Some(&here), &view, server(&view, 2)).unwrap();
    assert_eq!((here.primary, missing(&here, server(&view, 2)).scheduler), (uuid(2), None));
    // From now on it is switched by whoever switches it there.
    spoil(&mut view, 2, |server| Arc::make_mut(&mut server.events).scheduler = Switch::Off);
    let off = learn(Some(&here), &view, server(&view, 2)).unwrap();
    assert_eq!((off.scheduler, missing(&off, server(&view, 2)).scheduler), (false, None));
}

#[test]
fn rows_are_read() {
    let row = |status: &str| {
        ["app", "e", status, "2026-11-23 10:36:19", "OFF"].map(|cell| Some(cell.to_owned())).to_vec()
    };
    let rows = [row("ENABLED"), row("DISABLED"), row("SLAVESIDE_DISABLED"), row("REPLICA_SIDE_DISABLED")];
    let view = EventsView::of(&rows, Switch::On);
    let statuses: Vec<EventStatus> = view.list.iter().map(|event| event.status).collect();
    assert_eq!(statuses, [Enabled, Disabled, OnReplica, OnReplica]);
    assert_eq!((view.writable, view.scheduler), (false, Switch::Off));
    assert!(EventsView::of(&[], Switch::Off).list.is_empty());
    let text =
        serde_json::to_string(&KnownEvent { key: view.list[0].key.clone(), wanted: Wanted::Run }).unwrap();
    assert!(serde_json::from_str::<KnownEvent>(&text).is_ok(), "{text}");
}
