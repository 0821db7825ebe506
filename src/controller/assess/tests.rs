#![allow(clippy::unwrap_used)]
use std::time::Duration;

use super::*;
use crate::controller::pictures::{healthy, record, row, set, spoil, spoil_channel, unadopted, uuid};
use crate::controller::record::{Deposed, Tail};
use crate::controller::view::{Blockade, BlockedWrite, SemiSyncView, Switch, Thread};

fn judge(view: &ClusterView, record: Option<&Record>, trust: Trust) -> Assessment {
    assess(view, record, trust, &Err("no reason".into()), Instant::now())
}

fn verdict(spoiled: impl FnOnce(&mut ClusterView)) -> Assessment {
    let mut view = healthy(3);
    spoiled(&mut view);
    judge(&view, Some(&record(3)), Trust::Checked)
}

fn reach(view: &mut ClusterView, number: usize, reach: Reach, seconds: u64) {
    let instance = view.instances.get_mut(number - 1).expect("no such instance");
    instance.reach = reach;
    instance.seen = Instant::now().checked_sub(Duration::from_secs(seconds));
}

#[test]
fn all_is_well() {
    let assessment = verdict(|_| {});
    assert_eq!(assessment.verdict, Verdict::Healthy);
    assert_eq!(assessment.primary, Some(InstanceId(0)));
}

#[test]
fn a_primary_is_lost_only_with_evidence() {
    for (how, seconds, expected) in [
        (Reach::Refused(1), 0, Verdict::PrimarySuspected),
        (Reach::Refused(2), 0, Verdict::PrimaryLost(Loss::Unconfirmed)),
        (Reach::Silent, 2, Verdict::PrimarySuspected),
        (Reach::Silent, 3, Verdict::PrimaryLost(Loss::Unconfirmed)),
        (Reach::Broken("reset".into()), 1, Verdict::PrimarySuspected),
        (Reach::Broken("reset".into()), 4, Verdict::PrimaryLost(Loss::Unconfirmed)),
        (Reach::Saturated, 60, Verdict::PrimarySuspected),
        (Reach::LoginFailed("1045".into()), 60, Verdict::PrimarySuspected),
    ] {
        let assessment = verdict(|view| reach(view, 1, how.clone(), seconds));
        assert_eq!(assessment.verdict, expected, "{how:?} for {seconds} s");
    }
}

#[test]
fn a_lost_replica_is_no_lost_primary() {
    assert_eq!(verdict(|view| reach(view, 3, Reach::Refused(9), 60)).verdict, Verdict::Healthy);
}

#[test]
fn witnesses_are_named() {
    let assessment = verdict(|view| {
        reach(view, 1, Reach::Refused(2), 1);
        spoil_channel(view, 2, |channel| channel.receiver = Thread::Connecting);
    });
    assert!(
        assessment.evidence.contains("db2 lost it too, db3 still receives from it"),
        "{}",
        assessment.evidence
    );
}

#[test]
fn a_lock_elsewhere_stops_everything_and_names_the_holder() {
    let assessment = verdict(|view| {
        spoil(view, 2, |server| {
            server.lock = LockView::Elsewhere { connection: 77, account: "sluice@10.0.0.9:4711".into() };
        });
    });
    assert_eq!(assessment.verdict, Verdict::LockHeldElsewhere);
    assert!(assessment.evidence.contains("db2: connection 77 of sluice@10.0.0.9:4711"));
    assert!(!assessment.verdict.writes_allowed() && !assessment.verdict.acting_allowed());
}

#[test]
fn a_record_contradicted_by_any_server_is_stale() {
    for newer in [row(4, 2), row(3, 2)] {
        let assessment = verdict(|view| spoil(view, 3, |server| server.epoch_row = Some(newer)));
        assert_eq!(assessment.verdict, Verdict::StaleRecord);
        assert!(assessment.hint.is_some_and(|hint| hint.contains("sluice adopt --primary db2")));
        assert!(!assessment.verdict.writes_allowed());
    }
    // It is also when the only one who knew has died meanwhile.
    let gone = verdict(|view| {
        spoil(view, 3, |server| server.epoch_row = Some(row(4, 2)));
        view.instances[2].reach = Reach::Refused(1);
    });
    assert_eq!(gone.verdict, Verdict::StaleRecord);
    // A member that missed an epoch is only behind.
    assert_eq!(verdict(|view| spoil(view, 3, |s| s.epoch_row = Some(row(2, 2)))).verdict, Verdict::Healthy);
}

#[test]
fn an_empty_store_before_servers_that_know_an_epoch_is_stale() {
    assert_eq!(judge(&healthy(3), None, Trust::Checked).verdict, Verdict::StaleRecord);
    assert_eq!(judge(&unadopted(3), None, Trust::Checked).verdict, Verdict::Unadopted);
    let adopting = assess(&unadopted(3), None, Trust::Checked, &Ok("adopting".into()), Instant::now());
    assert_eq!(adopting.verdict, Verdict::Adopting);
}

#[test]
fn a_second_writable_server_is_named() {
    let assessment = verdict(|view| spoil(view, 3, |server| server.read_only = Switch::Off));
    assert_eq!(assessment.verdict, Verdict::SecondWritable(InstanceId(2)));
    assert!(assessment.verdict.writes_allowed(), "the primary stays the primary");
}

#[test]
fn a_starved_primary_is_shown() {
    let assessment = verdict(|view| {
        spoil(view, 1, |server| {
            server.semi_sync.as_mut().expect("plugins").clients = 0;
        });
    });
    assert_eq!(assessment.verdict, Verdict::SemiSyncStarved);
    let none = verdict(|view| {
        spoil(view, 1, |server| server.semi_sync = Some(SemiSyncView::default()));
    });
    assert_eq!(none.verdict, Verdict::Healthy, "a primary that does not wait does not starve");
}

/// Packets between primary and replicas vanish: the primary takes them for attached for a long time.
#[test]
fn while_commits_wait_the_replicas_know_whether_they_are_attached() {
    let cut_off = |connecting: usize, unmoved: u32| {
        verdict(|view| {
            for number in 2..2 + connecting {
                spoil_channel(view, number, |channel| channel.receiver = Thread::Connecting);
            }
            spoil(view, 1, |server| server.semi_sync.as_mut().expect("plugins").unmoved = unmoved);
        })
        .verdict
    };
    assert_eq!(cut_off(2, 2), Verdict::SemiSyncStarved);
    assert_eq!(cut_off(2, 1), Verdict::Healthy, "it may be a moment");
    assert_eq!(cut_off(1, 2), Verdict::Healthy, "the other one may be slow");
}

#[test]
fn a_returned_primary_is_opened_only_with_its_tail() {
    let unchecked = judge(&healthy(3), Some(&record(3)), Trust::Unchecked);
    assert_eq!(unchecked.verdict, Verdict::PrimaryReturned(InstanceId(0)));
    let read_only = verdict(|view| spoil(view, 1, |server| server.read_only = Switch::On));
    assert_eq!(read_only.verdict, Verdict::PrimaryReturned(InstanceId(0)));
    let behind = verdict(|view| {
        spoil(view, 1, |server| server.read_only = Switch::On);
        spoil_channel(view, 2, |channel| channel.received = (*set("1:1-12")).clone());
        let now = Some(Instant::now());
        view.instances.iter_mut().for_each(|instance| instance.seen = now);
    });
    assert_eq!(behind.verdict, Verdict::PrimaryBehind);
    assert!(behind.evidence.contains("11-12"), "{}", behind.evidence);
}

#[test]
fn a_returned_primary_that_still_waits_for_acknowledgements_is_not_behind() {
    let mut view = healthy(3);
    spoil(&mut view, 2, |server| server.executed = set("1:1-12"));
    let now = Some(Instant::now());
    view.instances.iter_mut().for_each(|instance| instance.seen = now);
    assert_eq!(judge(&view, Some(&record(3)), Trust::Unchecked).verdict, Verdict::PrimaryBehind);
    spoil(&mut view, 1, |server| server.committing = (*set("1:11-12")).clone());
    let returned = judge(&view, Some(&record(3)), Trust::Unchecked);
    assert_eq!(returned.verdict, Verdict::PrimaryReturned(InstanceId(0)));
}

#[test]
fn an_unknown_primary_is_lost_only_after_all_were_looked_at() {
    let mut view = healthy(3);
    spoil(&mut view, 1, |server| server.uuid = uuid(9));
    assert_eq!(judge(&view, Some(&record(3)), Trust::Checked).verdict, Verdict::PrimaryLost(Loss::Brief));
    view.instances.iter_mut().for_each(|instance| instance.reach = Reach::NotYet);
    assert_eq!(judge(&view, Some(&record(3)), Trust::Checked).verdict, Verdict::Starting);
}

#[test]
fn witnesses_decide_how_sure_a_loss_is() {
    let lost = |view: &mut ClusterView| {
        spoil_channel(view, 3, |channel| channel.receiver = Thread::Connecting);
    };
    let stopped = |view: &mut ClusterView| {
        for number in [2, 3] {
            spoil_channel(view, number, |channel| channel.receiver = Thread::Stopped);
        }
    };
    let alone = |view: &mut ClusterView| {
        reach(view, 2, Reach::Silent, 9);
        reach(view, 3, Reach::Silent, 9);
    };
    let cases: [(Reach, u64, &dyn Fn(&mut ClusterView), Loss); 6] = [
        (Reach::Refused(2), 0, &lost, Loss::Dead),
        (Reach::Silent, 3, &lost, Loss::Frozen),
        (Reach::Broken("reset".into()), 3, &lost, Loss::Frozen),
        (Reach::Refused(2), 0, &stopped, Loss::Unconfirmed),
        (Reach::Refused(2), 0, &alone, Loss::Unwitnessed),
        (Reach::Silent, 9, &alone, Loss::Unwitnessed),
    ];
    for (how, seconds, others, expected) in cases {
        let assessment = verdict(|view| {
            reach(view, 1, how.clone(), seconds);
            others(view);
        });
        assert_eq!(assessment.verdict, Verdict::PrimaryLost(expected), "{how:?}: {}", assessment.evidence);
    }
}

#[test]
fn a_server_that_says_that_it_stops_is_lost_with_the_first_refusal() {
    let assessment = verdict(|view| {
        reach(view, 1, Reach::Refused(1), 0);
        view.instances.first_mut().expect("db1").stopping = true;
    });
    assert_eq!(assessment.verdict, Verdict::PrimaryLost(Loss::Stopping));
}

#[test]
fn a_primary_that_died_before_this_sluice_began_is_known_by_name() {
    let mut view = healthy(3);
    let unseen = InstanceView::unseen(InstanceId(0), "db1".into());
    if let Some(first) = view.instances.first_mut() {
        *first = InstanceView { reach: Reach::Refused(2), failing_since: Some(Instant::now()), ..unseen };
    }
    spoil_channel(&mut view, 2, |channel| channel.receiver = Thread::Connecting);
    assert_eq!(judge(&view, Some(&record(3)), Trust::Checked).verdict, Verdict::PrimaryLost(Loss::Dead));
}

/// `db1` is dead, somebody has opened `db3`, and `db2` follows it.
fn opened() -> ClusterView {
    let mut view = healthy(3);
    reach(&mut view, 1, Reach::Refused(9), 9);
    spoil(&mut view, 3, |server| {
        server.read_only = Switch::Off;
        server.channel = None;
    });
    spoil_channel(&mut view, 2, |channel| channel.source = Some(uuid(3)));
    view
}

#[test]
fn what_somebody_made_the_primary_is_left_alone_and_named() {
    let assessment = judge(&opened(), Some(&record(3)), Trust::Checked);
    assert_eq!(assessment.verdict, Verdict::OpenedByHand(InstanceId(2)));
    assert!(assessment.evidence.contains("db2 replicates from it"), "{}", assessment.evidence);
    assert!(assessment.hint.is_some_and(|hint| hint.contains("sluice adopt --primary db3")));
    let verdict = assessment.verdict;
    assert!(!verdict.writes_allowed() && !verdict.acting_allowed() && verdict.doubts_primary());
    // The recorded one is back: read-only, or as a replica of the new one.
    let mut back = opened();
    reach(&mut back, 1, Reach::Answers, 0);
    spoil(&mut back, 1, |server| server.read_only = Switch::On);
    let verdict = judge(&back, Some(&record(3)), Trust::Unchecked).verdict;
    assert_eq!(verdict, Verdict::OpenedByHand(InstanceId(2)));
    // It takes writes, too: then the other one is a second writable server.
    spoil(&mut back, 1, |server| server.read_only = Switch::Off);
    let verdict = judge(&back, Some(&record(3)), Trust::Checked).verdict;
    assert_eq!(verdict, Verdict::SecondWritable(InstanceId(2)));
}

#[test]
fn writes_that_nobody_else_has_tell_it_too_but_not_those_of_a_former_primary() {
    let mut view = opened();
    spoil_channel(&mut view, 2, |channel| channel.source = Some(uuid(1)));
    let unfenced = judge(&view, Some(&record(3)), Trust::Checked).verdict;
    assert!(matches!(unfenced, Verdict::PrimaryLost(_)), "a replica that is only not fenced: {unfenced:?}");
    spoil(&mut view, 3, |server| server.executed = set("1:1-10,3:1-2"));
    let written = judge(&view, Some(&record(3)), Trust::Checked);
    assert_eq!(written.verdict, Verdict::OpenedByHand(InstanceId(2)), "{}", written.evidence);
    let former = Deposed { uuid: uuid(3), epoch: 2, tail: Tail::Unacknowledged };
    let returned = judge(&view, Some(&Record { deposed: vec![former], ..record(3) }), Trust::Checked);
    assert!(matches!(returned.verdict, Verdict::PrimaryLost(_)), "{}", returned.evidence);
    spoil(&mut view, 3, |server| {
        server.channel.clone_from(&healthy(3).instances[1].server.as_ref().unwrap().channel)
    });
    let replica = judge(&view, Some(&record(3)), Trust::Checked).verdict;
    assert!(matches!(replica, Verdict::PrimaryLost(_)), "it receives itself: {replica:?}");
}

#[test]
fn what_keeps_writes_from_getting_through_is_told_apart() {
    let blocked = |cause: Blockade, seconds: u64| {
        verdict(|view| {
            if let Some(first) = view.instances.first_mut() {
                let since = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
                first.blocked = Some(BlockedWrite { cause, since, detail: "so".into() });
            }
        })
        .verdict
    };
    assert_eq!(blocked(Blockade::Lock, 1), Verdict::PrimaryLocked);
    assert_eq!(blocked(Blockade::Server, 2), Verdict::Healthy, "slow is not stalled");
    assert_eq!(blocked(Blockade::Server, 3), Verdict::PrimaryStalled);
    assert_eq!(
        blocked(Blockade::Acknowledgements, 60),
        Verdict::Healthy,
        "what is missing is said elsewhere"
    );
}

#[test]
fn a_primary_is_opened_once_enough_ackers_were_seen_to_know_of_no_later_epoch() {
    let verdict = |members: u16, count: u16, unseen: usize| {
        let mut view = healthy(members);
        for instance in view.instances.iter_mut().rev().take(unseen) {
            (instance.server, instance.reach) = (None, Reach::Silent);
        }
        let record = Record { wait_count: count, ..record(members) };
        assess(&view, Some(&record), Trust::Unchecked, &Err(String::new()), Instant::now()).verdict
    };
    let opened = Verdict::PrimaryReturned(InstanceId(0));
    assert_eq!([verdict(3, 1, 0), verdict(3, 1, 1)], [opened.clone(), opened.clone()]);
    assert_eq!(verdict(3, 1, 2), Verdict::Starting);
    assert_eq!([verdict(5, 2, 2), verdict(2, 1, 1)], [opened.clone(), opened.clone()]);
    assert_eq!(verdict(5, 2, 3), Verdict::Starting);
    assert_eq!(verdict(3, 0, 2), opened, "without semi-sync nothing would tell");
}
