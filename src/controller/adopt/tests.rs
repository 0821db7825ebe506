#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::controller::pictures::{policy, row, set, spoil, spoil_channel, unadopted, uuid};
use crate::controller::view::{Reach, Switch, Thread};

fn refused(members: u16, spoiled: impl FnOnce(&mut ClusterView)) -> String {
    let mut view = unadopted(members);
    spoiled(&mut view);
    unambiguous(&view, &policy(members)).unwrap_err()
}

#[test]
fn an_unambiguous_cluster_is_adopted() {
    let adoption = unambiguous(&unadopted(3), &policy(3)).unwrap();
    let expected = Adoption {
        name: "db1".into(),
        primary: uuid(1),
        ackers: vec![uuid(2), uuid(3)],
        wait_count: 1,
        epoch: 1,
    };
    assert_eq!(adoption, expected);
    assert_eq!(unambiguous(&unadopted(1), &policy(1)).unwrap().wait_count, 0);
    assert_eq!(unambiguous(&unadopted(5), &policy(5)).unwrap().wait_count, 2);
}

#[test]
fn whatever_is_in_doubt_is_refused_with_the_reason() {
    let cases: [(fn(&mut ClusterView), &str); 8] = [
        (|v| v.instances[2].reach = Reach::Refused(1), "db3 does not answer (connection refused"),
        (|v| spoil(v, 1, |s| s.read_only = Switch::On), "no instance is writable"),
        (|v| spoil(v, 2, |s| s.read_only = Switch::Off), "db1 and db2 are all writable"),
        (|v| spoil_channel(v, 3, |c| c.source = Some(uuid(2))), "db3 does not replicate from db1"),
        (|v| spoil_channel(v, 3, |c| c.applier = Thread::Stopped), "from db1; START REPLICA on db3"),
        (|v| spoil(v, 2, |s| s.executed_before = set("1:1-10,2:1")), "db2 has transactions of its own"),
        (|v| spoil(v, 2, |s| s.gtid_mode = Switch::Off), "db2 runs without gtid_mode=ON"),
        (|v| spoil(v, 3, |s| s.uuid = uuid(2)), "are the same server"),
    ];
    for (spoiled, reason) in cases {
        let refusal = refused(3, spoiled);
        assert!(refusal.contains(reason), "{refusal} should say: {reason}");
    }
    let manual = refused(3, |v| spoil_channel(v, 2, |c| c.auto_position = Switch::Off));
    assert!(manual.contains("without SOURCE_AUTO_POSITION=1"));
    let second = refused(3, |v| spoil(v, 2, |s| s.other_channels.push("feed".into())));
    assert!(second.contains("second replication channel (feed)"));
}

#[test]
fn without_plugins_there_is_no_guarantee() {
    let mut view = unadopted(3);
    spoil(&mut view, 1, |server| server.semi_sync = None);
    let adoption = unambiguous(&view, &policy(3)).unwrap();
    assert_eq!((adoption.wait_count, adoption.ackers.len()), (0, 0));
}

#[test]
fn a_named_primary_takes_the_next_epoch() {
    let mut view = unadopted(3);
    spoil(&mut view, 2, |server| server.epoch_row = Some(row(7, 1)));
    assert_eq!(named(&view, &policy(3), "db1", 4).unwrap().epoch, 8);
    assert_eq!(named(&view, &policy(3), "db1", 9).unwrap().epoch, 10);
    view.instances[1].reach = Reach::Refused(1);
    assert_eq!(named(&view, &policy(3), "db1", 4).unwrap().epoch, 8, "it will be back, with its row");
}

#[test]
fn a_named_primary_must_not_lose_anything_or_be_one_of_two() {
    let view = unadopted(3);
    assert!(named(&view, &policy(3), "db9", 0).unwrap_err().contains("no instance is called db9"));
    assert!(named(&view, &policy(3), "db2", 0).unwrap_err().contains("db1 is writable"));
    let mut view = unadopted(3);
    spoil(&mut view, 1, |server| server.read_only = Switch::On);
    spoil_channel(&mut view, 3, |channel| channel.received = (*set("1:1-11")).clone());
    assert!(named(&view, &policy(3), "db2", 0).unwrap_err().contains("lacks transactions that db3 has"));
    assert!(named(&view, &policy(3), "db3", 0).is_err(), "what it received it must have executed");
}

#[test]
fn never_more_acknowledgements_than_ackers() {
    let all = Policy { wait_count: 9, ..policy(3) };
    assert_eq!(unambiguous(&unadopted(3), &all).unwrap().wait_count, 2);
    let one = Policy { may_ack: vec![true, true, false], ..policy(3) };
    assert_eq!(unambiguous(&unadopted(3), &one).unwrap().ackers, [uuid(2)]);
}

fn advised(view: &ClusterView, refused: &str) -> String {
    let members = u16::try_from(view.instances.len()).unwrap();
    assert!(named(view, &policy(members), refused, 0).is_err(), "there is nothing to advise");
    advice(view, &policy(members), refused, 0).unwrap_or_default()
}

/// In the middle of a switchover from db1 to db2: db1 has not applied what db2 wrote, and db3 has not even received it.
fn half_switched() -> ClusterView {
    let mut view = unadopted(3);
    spoil(&mut view, 1, |server| server.read_only = Switch::On);
    let channel = view.instances[1].server.as_ref().unwrap().channel.clone();
    spoil(&mut view, 1, |server| server.channel = channel);
    spoil_channel(&mut view, 1, |channel| channel.received = (*set("2:1-5")).clone());
    spoil(&mut view, 2, |server| server.read_only = Switch::Off);
    spoil(&mut view, 2, |server| server.executed = set("1:1-10,2:1-5"));
    view
}

#[test]
fn who_has_executed_everything_is_named_in_place_of_who_has_not() {
    let mut view = half_switched();
    let advice = advised(&view, "db1");
    assert!(advice.starts_with("sluice adopt --primary db2 would be accepted"), "{advice}");
    assert_eq!(advised(&view, "db3"), advice);
    assert!(named(&view, &policy(3), "db2", 0).is_ok());

    view.instances[2].reach = Reach::Refused(1);
    assert!(advised(&view, "db1").ends_with("db3 may have more: start it first"));
    spoil(&mut view, 3, |server| server.executed = set("1:1-11"));
    assert_eq!(advised(&view, "db1"), "", "what db3 had is nowhere else");
}

#[test]
fn who_would_be_refused_next_is_named_only_with_what_to_wait_for() {
    let mut view = half_switched();
    spoil_channel(&mut view, 3, |channel| channel.received = (*set("1:1-11")).clone());
    assert_eq!(advised(&view, "db1"), "", "db2 lacks what a third member has, and is writable");

    spoil(&mut view, 2, |server| server.read_only = Switch::On);
    spoil_channel(&mut view, 2, |channel| channel.received = (*set("1:11")).clone());
    let advice = advised(&view, "db1");
    assert!(advice.starts_with("wait until db2 has applied what it received"), "{advice}");
    spoil_channel(&mut view, 1, |channel| channel.received = (*set("2:1-5,1:11")).clone());
    assert!(
        advised(&view, "db1").starts_with("wait until db1 has applied"),
        "the one that was asked for comes first"
    );
}

#[test]
fn nobody_is_named_where_each_has_what_the_other_lacks_or_the_refused_one_is_silent() {
    let mut view = unadopted(3);
    spoil(&mut view, 1, |server| server.read_only = Switch::On);
    spoil(&mut view, 2, |server| server.executed = set("1:1-10,2:1"));
    spoil(&mut view, 3, |server| server.executed = set("1:1-10,3:1"));
    for name in ["db1", "db2", "db3"] {
        assert_eq!(advised(&view, name), "");
    }
    let mut view = half_switched();
    view.instances[0].reach = Reach::Refused(1);
    assert_eq!(advised(&view, "db1"), "");
}
