#![allow(clippy::unwrap_used)]
use super::*;
use crate::controller::assess::{Trust, assess};
use crate::controller::pictures::{healthy, policy, record, row, set, spoil, spoil_channel, uuid};
use crate::controller::record::OperationRecord;

const DB1: InstanceId = InstanceId(0);
const DB2: InstanceId = InstanceId(1);
const DB3: InstanceId = InstanceId(2);

fn addresses() -> Vec<Address> {
    (1..=3).map(|number| (format!("h{number}"), 3306)).collect()
}

fn steps_for(view: &ClusterView, record: &Record, trust: Trust) -> Vec<Step> {
    let now = std::time::Instant::now();
    let assessment = assess(view, Some(record), trust, &Err(String::new()), now);
    plan(view, record, &assessment, &policy(3), &addresses())
}

fn steps(spoiled: impl FnOnce(&mut ClusterView)) -> Vec<Step> {
    let mut view = healthy(3);
    spoiled(&mut view);
    steps_for(&view, &record(3), Trust::Checked)
}

fn semi_sync(view: &mut ClusterView, number: usize, change: impl FnOnce(&mut SemiSyncView)) {
    spoil(view, number, |server| change(server.semi_sync.as_mut().unwrap()));
}

#[test]
fn a_stranger_is_left_alone() {
    let stranger = |executed: &'static str| {
        steps(|view| {
            // Somebody else's server behind a wrong address.
            view.instances[2].server = Some(std::sync::Arc::new(ServerView {
                uuid: uuid(9),
                executed: set(executed),
                boot: BootView::Lacks(vec!["super_read_only"]),
                lock: LockView::Ours,
                semi_sync: Some(SemiSyncView::default()),
                ..ServerView::default()
            }));
        })
    };
    assert_eq!(stranger("9:1-7"), []);
    assert!(stranger("9:1-7,1:1-3").contains(&Step::Fence(DB3)), "a part of our history: one of ours");
}

#[test]
fn a_healthy_cluster_needs_nothing() {
    assert_eq!(steps(|_| {}), []);
}

#[test]
fn commits_whose_acknowledgement_was_lost_are_freed_at_growing_intervals() {
    let waiting = |unmoved: u32, clients: u32| {
        steps(|view| semi_sync(view, 1, |s| (s.waiters, s.unmoved, s.clients) = (1, unmoved, clients)))
    };
    let nudged: Vec<u32> = (0..100).filter(|unmoved| !waiting(*unmoved, 2).is_empty()).collect();
    assert_eq!(nudged, (2..28).chain(32..44).chain(64..76).collect::<Vec<u32>>());
    assert_eq!(waiting(2, 2), [Step::Nudge(DB1)]);
    assert_eq!(waiting(2, 0), [], "nobody could acknowledge");
}

#[test]
fn the_only_acker_is_not_restarted_for_its_settings() {
    let untuned = |clients: u32, waiting: Switch| {
        steps(|view| {
            spoil_channel(view, 3, |channel| channel.heartbeat = 30.0);
            semi_sync(view, 1, |semi_sync| (semi_sync.clients, semi_sync.waiting) = (clients, waiting));
        })
    };
    assert_eq!(untuned(1, Switch::On), []);
    assert_eq!(untuned(2, Switch::On), [Step::Tune(DB3)]);
    assert_eq!(untuned(1, Switch::Off).first(), Some(&Step::Tune(DB3)));
}

#[test]
fn one_fault_one_step() {
    let cases: [(fn(&mut ClusterView), Step); 17] = [
        (|v| spoil(v, 1, |s| s.boot = BootView::Lacks(vec!["super_read_only"])), Step::PersistBoot(DB1)),
        (|v| spoil(v, 2, |s| s.lock = LockView::Free), Step::TakeLock(DB2)),
        (|v| spoil(v, 3, |s| s.read_only = Switch::Off), Step::Fence(DB3)),
        (|v| semi_sync(v, 2, |s| s.waiting = Switch::On), Step::StopWaiting(DB2)),
        (|v| spoil(v, 2, |s| s.channel = None), Step::Follow(DB2)),
        (|v| spoil_channel(v, 3, |c| c.source = Some(uuid(2))), Step::Follow(DB3)),
        (|v| spoil_channel(v, 3, |c| c.receiver = Thread::Stopped), Step::StartReceiver(DB3)),
        (|v| spoil_channel(v, 3, |c| c.applier = Thread::Stopped), Step::StartApplier(DB3)),
        (|v| spoil_channel(v, 3, |c| c.heartbeat = 30.0), Step::Tune(DB3)),
        (|v| spoil(v, 3, |s| s.net_timeout = 60), Step::Tune(DB3)),
        (|v| semi_sync(v, 2, |s| s.acking = Switch::Off), Step::StartAcking(DB2)),
        (|v| semi_sync(v, 2, |s| s.acking_now = Switch::Off), Step::StartAcking(DB2)),
        (|v| semi_sync(v, 1, |s| s.waiting = Switch::Off), Step::StartWaiting(DB1)),
        (|v| semi_sync(v, 1, |s| s.strict = Switch::Off), Step::StartWaiting(DB1)),
        (|v| semi_sync(v, 1, |s| s.timeout_ms = 10_000), Step::StartWaiting(DB1)),
        (|v| spoil(v, 1, |s| s.epoch_row = None), Step::Barrier(DB1)),
        (|v| spoil(v, 1, |s| s.epoch_row = Some(row(2, 2))), Step::Barrier(DB1)),
    ];
    for (spoiled, step) in cases {
        assert_eq!(steps(spoiled).first(), Some(&step));
    }
}

#[test]
fn a_primary_forgets_its_source_only_with_everything_applied() {
    let with_source = |received: &'static str| {
        steps(move |view| {
            let channel = view.instances.get(1).and_then(|i| i.server.as_ref()?.channel.clone()).unwrap();
            spoil(view, 1, |server| server.channel = Some(channel));
            spoil_channel(view, 1, |channel| channel.received = (*set(received)).clone());
        })
    };
    assert_eq!(with_source("1:1-10"), [Step::ForgetSource(DB1)]);
    assert_eq!(with_source("1:1-11"), []);
}

#[test]
fn what_a_human_has_to_decide_is_left_alone() {
    let errant = |v: &mut ClusterView| {
        spoil(v, 2, |s| s.executed_before = set("1:1-10,2:1"));
        spoil_channel(v, 2, |c| c.source = Some(uuid(3)));
    };
    assert!(!steps(errant).iter().any(|step| matches!(step, Step::Follow(_))));
    let broken = |v: &mut ClusterView| {
        spoil_channel(v, 2, |c| {
            c.applier = Thread::Stopped;
            c.applier_error = Some("1062 duplicate".into());
        });
    };
    assert_eq!(steps(broken), []);
}

#[test]
fn nothing_is_mended_while_the_primary_is_in_doubt() {
    let mut view = healthy(3);
    spoil_channel(&mut view, 3, |channel| channel.receiver = Thread::Stopped);
    view.instances.get_mut(0).unwrap().reach = super::super::view::Reach::Refused(3);
    assert_eq!(steps_for(&view, &record(3), Trust::Checked), []);
    // But a second writable server is fenced even then, if the lock there is ours.
    spoil(&mut view, 2, |server| server.read_only = Switch::Off);
    assert_eq!(steps_for(&view, &record(3), Trust::Checked), [Step::Fence(DB2)]);
    spoil(&mut view, 2, |server| server.lock = LockView::Free);
    assert_eq!(steps_for(&view, &record(3), Trust::Checked), []);
}

#[test]
fn a_stale_record_does_nothing_at_all() {
    let spoiled = |v: &mut ClusterView| {
        spoil(v, 2, |s| s.epoch_row = Some(row(9, 2)));
        spoil(v, 3, |s| s.read_only = Switch::Off);
    };
    assert_eq!(steps(spoiled), []);
}

#[test]
fn a_returned_primary_is_resumed_after_the_rest_is_in_place() {
    assert_eq!(steps_for(&healthy(3), &record(3), Trust::Unchecked), [Step::Resume(DB1)]);
    let mut view = healthy(3);
    semi_sync(&mut view, 1, |semi_sync| semi_sync.waiting = Switch::Off);
    assert_eq!(steps_for(&view, &record(3), Trust::Unchecked), [Step::StartWaiting(DB1), Step::Resume(DB1)]);
}

#[test]
fn ackers_come_and_go_with_the_record() {
    let mut one = record(3);
    one.ackers = vec![uuid(2)];
    assert_eq!(steps_for(&healthy(3), &one, Trust::Checked), [Step::AddAcker(uuid(3))]);
    let mut view = healthy(3);
    spoil_channel(&mut view, 3, |channel| channel.receiver = Thread::Connecting);
    assert_eq!(
        steps_for(&view, &one, Trust::Checked),
        [Step::StopAcking(DB3)],
        "not while it does not receive"
    );
}

#[test]
fn the_guarantee_needs_an_attached_acker() {
    let mut unproved = record(3);
    unproved.guarantee = Guarantee::None;
    assert_eq!(steps_for(&healthy(3), &unproved, Trust::Checked), [Step::Barrier(DB1)]);
    let mut view = healthy(3);
    semi_sync(&mut view, 1, |semi_sync| semi_sync.clients = 0);
    assert_eq!(steps_for(&view, &unproved, Trust::Checked), []);
}

#[test]
fn an_operation_left_behind_is_undone_before_and_finished_after_the_epoch_change() {
    let mut left = record(3);
    left.ackers = vec![uuid(2)];
    left.operation = Some(OperationRecord {
        kind: crate::controller::record::OperationKind::Switchover,
        id: "x".into(),
        who: "me".into(),
        from: uuid(1),
        to: uuid(2),
        phase: Phase::Preparing,
        ackers_before: vec![uuid(2), uuid(3)],
        found_moved: None,
    });
    assert_eq!(steps_for(&healthy(3), &left, Trust::Checked), [Step::CloseOperation]);
    assert_eq!(close_operation(&left).ackers, [uuid(2), uuid(3)]);
    if let Some(operation) = &mut left.operation {
        operation.phase = Phase::Promoted;
    }
    let closed = close_operation(&left);
    assert_eq!((closed.ackers, closed.operation), (vec![uuid(2)], None));
}

#[test]
fn a_former_primary_is_fenced_before_its_commits_are_let_go() {
    let mut view = healthy(3);
    semi_sync(&mut view, 2, |s| s.waiting = Switch::On);
    spoil(&mut view, 2, |s| s.read_only = Switch::Off);
    let steps = steps_for(&view, &record(3), Trust::Checked);
    assert!(steps.contains(&Step::Fence(DB2)) && !steps.contains(&Step::StopWaiting(DB2)), "{steps:?}");
    assert!(!steps.contains(&Step::Follow(DB2)), "it may still commit something of its own: {steps:?}");
}

fn marked(view: &ClusterView, number: u32, kind: MarkKind) -> Vec<Step> {
    let mark = Mark { name: format!("db{number}"), kind, who: "ann".into(), reason: None, until: None };
    let record = Record { marks: vec![mark], ..record(3) };
    steps_for(view, &record, Trust::Checked)
}

#[test]
fn a_marked_acker_leaves_when_the_others_suffice() {
    for kind in [MarkKind::Maintenance, MarkKind::Quarantine] {
        assert_eq!(marked(&healthy(3), 3, kind), [Step::RetireAcker(DB3)]);
    }
    assert_eq!(marked(&healthy(3), 3, MarkKind::Drain), []);
    let mut alone = healthy(3);
    spoil_channel(&mut alone, 2, |channel| channel.receiver = Thread::Connecting);
    assert_eq!(marked(&alone, 3, MarkKind::Maintenance), [], "nobody else would acknowledge");
    semi_sync(&mut alone, 3, |s| s.acking_now = Switch::Off);
    assert_eq!(marked(&alone, 3, MarkKind::Maintenance), [Step::StartAcking(DB3)], "and so it has to");
}

#[test]
fn replication_of_a_member_in_maintenance_is_left_alone_and_it_does_not_come_back_as_an_acker() {
    let mut view = healthy(3);
    spoil_channel(&mut view, 3, |channel| channel.applier = Thread::Stopped);
    semi_sync(&mut view, 3, |s| s.acking = Switch::Off);
    let mark = Mark {
        name: "db3".into(),
        kind: MarkKind::Maintenance,
        who: String::new(),
        reason: None,
        until: None,
    };
    let record = Record { marks: vec![mark], ackers: vec![uuid(2)], ..record(3) };
    assert_eq!(steps_for(&view, &record, Trust::Checked), []);
    spoil(&mut view, 3, |s| s.read_only = Switch::Off);
    assert_eq!(steps_for(&view, &record, Trust::Checked).first(), Some(&Step::Fence(DB3)));
}

/// A member that was away during a failover starts with both threads off and a relay log of the former primary.
#[test]
fn what_a_returned_member_has_received_is_applied_before_it_is_pointed_elsewhere() {
    let returned = |received: &'static str| {
        steps(move |view| {
            spoil_channel(view, 3, |channel| {
                (channel.source, channel.host) = (Some(uuid(9)), "h9".into());
                channel.received = (*set(received)).clone();
                (channel.receiver, channel.applier) = (Thread::Stopped, Thread::Stopped);
            });
        })
    };
    assert_eq!(returned("1:1-12").first(), Some(&Step::StartApplier(DB3)));
    assert_eq!(returned("1:1-10").first(), Some(&Step::Follow(DB3)));
}
