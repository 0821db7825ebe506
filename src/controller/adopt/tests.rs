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
    assert!(named(&view, &policy(3), "db2", 0).unwrap_err().contains("adopt db3 instead"));
    assert!(named(&view, &policy(3), "db3", 0).is_err(), "what it received it must have executed");
}

#[test]
fn never_more_acknowledgements_than_ackers() {
    let all = Policy { wait_count: 9, ..policy(3) };
    assert_eq!(unambiguous(&unadopted(3), &all).unwrap().wait_count, 2);
    let one = Policy { may_ack: vec![true, true, false], ..policy(3) };
    assert_eq!(unambiguous(&unadopted(3), &one).unwrap().ackers, [uuid(2)]);
}
