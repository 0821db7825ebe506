#![allow(clippy::unwrap_used)]
use super::*;
use crate::controller::pictures::{healthy, record, set, spoil, spoil_channel};
use crate::controller::record::{Mark, MarkKind};
use crate::controller::view::{Reach, Thread};

fn chosen(view: &ClusterView, promotion: &[Promotion], marked: &[&str]) -> Result<String, String> {
    let mark = |name: &&str| Mark {
        name: (*name).into(),
        kind: MarkKind::Maintenance,
        who: String::new(),
        reason: None,
        until: None,
    };
    let record = Record { marks: marked.iter().map(mark).collect(), ..record(3) };
    choose(&candidates(view, &record, promotion, &[])).map(|best| best.name.clone())
}

#[test]
fn the_nearest_wins_and_then_the_first() {
    let mut view = healthy(3);
    assert_eq!(chosen(&view, &[], &[]).as_deref(), Ok("db2"));
    spoil(&mut view, 2, |server| server.executed = set("1:1-8"));
    assert_eq!(chosen(&view, &[], &[]).as_deref(), Ok("db3"));
}

#[test]
fn wishes_come_before_nearness_and_objections_before_wishes() {
    let mut view = healthy(3);
    let prefer = [Promotion::Neutral, Promotion::Neutral, Promotion::Prefer];
    assert_eq!(chosen(&view, &prefer, &[]).as_deref(), Ok("db3"));
    spoil_channel(&mut view, 3, |channel| channel.applier = Thread::Stopped);
    assert_eq!(chosen(&view, &prefer, &[]).as_deref(), Ok("db2"));
    assert_eq!(chosen(&healthy(3), &[], &["db2"]).as_deref(), Ok("db3"));
}

#[test]
fn without_a_fit_one_every_objection_is_named() {
    let mut view = healthy(3);
    view.instances.iter_mut().filter(|i| &*i.name == "db2").for_each(|i| i.reach = Reach::Silent);
    spoil(&mut view, 3, |server| server.executed_before = set("1:1-10,3:1"));
    let refusal = chosen(&view, &[], &[]).unwrap_err();
    assert!(refusal.contains("db2: it does not answer (timeout)"), "{refusal}");
    assert!(refusal.contains("db3: it has transactions of its own"), "{refusal}");
    let never = [Promotion::MustNot; 3];
    assert!(chosen(&healthy(3), &never, &[]).unwrap_err().contains("must-not"));
    assert_eq!(choose(&[]).map(|c| c.id), Err("there is no other instance".into()));
}
