#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::controller::pictures::{healthy, record, set, spoil, spoil_channel, uuid};
use crate::controller::record::Mark;
use crate::controller::view::Switch;

fn picture<'a>(view: &'a ClusterView, record: &'a Record) -> Picture<'a> {
    let mut lags = LagMeter::new(Duration::from_secs(10));
    lags.look(view, Some(record.primary), Instant::now());
    Picture {
        waited: None,
        lags: Box::leak(Box::new(lags)),
        view,
        record: Some(record),
        primary: Some(InstanceId(0)),
        coming: None,
        warm: None,
        now: Instant::now(),
    }
}

fn reads_of(number: usize, spoiled: impl FnOnce(&mut ClusterView)) -> Option<ReadsStopped> {
    let mut view = healthy(3);
    spoiled(&mut view);
    reads(&picture(&view, &record(3)), view.instances.get(number - 1).unwrap())
}

#[test]
fn the_primary_is_who_the_record_says() {
    let (view, record) = (healthy(3), record(3));
    let topology = topology(&picture(&view, &record), &["a:1".into(), "b:1".into(), "c:1".into()]);
    assert_eq!((topology.epoch, topology.primary), (3, Some(InstanceId(0))));
    let serving: Vec<&str> = topology.serving_replicas().map(|instance| &*instance.name).collect();
    assert_eq!(serving, ["db2", "db3"]);
    let db2 = topology.by_name("db2").unwrap();
    assert_eq!((&*db2.address, db2.server_uuid), ("b:1", Some(uuid(2))));
    assert_eq!(db2.executed, set("1:1-10"));
}

#[test]
fn a_replica_serves_only_when_nothing_speaks_against_it() {
    let cases: [(fn(&mut ClusterView), Option<ReadsStopped>); 9] = [
        (|_| {}, None),
        (|v| v.instances[1].reach = Reach::Refused(1), Some(ReadsStopped::Unreachable)),
        (|v| v.instances[1].seen = None, Some(ReadsStopped::Unreachable)),
        (|v| v.instances[1].server = None, Some(ReadsStopped::Unreachable)),
        (|v| spoil_channel(v, 2, |c| c.source = Some(uuid(3))), Some(ReadsStopped::NotReplicating)),
        (|v| spoil_channel(v, 2, |c| c.applier = Thread::Stopped), Some(ReadsStopped::NotReplicating)),
        (|v| spoil_channel(v, 2, |c| c.lag_ms = 10_001), Some(ReadsStopped::Lagging)),
        (|v| spoil(v, 2, |s| s.read_only = Switch::Off), Some(ReadsStopped::Writable)),
        (|v| spoil(v, 2, |s| s.executed_before = set("1:1-10,2:1")), Some(ReadsStopped::Quarantined)),
    ];
    for (index, (spoiled, expected)) in cases.into_iter().enumerate() {
        assert_eq!(reads_of(2, spoiled), expected, "case {index}");
    }
}

#[test]
fn a_replica_that_follows_the_coming_primary_serves_on() {
    let mut view = healthy(3);
    spoil_channel(&mut view, 3, |channel| channel.source = Some(uuid(2)));
    let record = record(3);
    let db3 = view.instances.get(2).unwrap();
    assert_eq!(reads(&picture(&view, &record), db3), Some(ReadsStopped::NotReplicating));
    let coming = Picture { coming: Some((InstanceId(1), uuid(2))), ..picture(&view, &record) };
    assert_eq!(reads(&coming, db3), None);
}

#[test]
fn a_lost_primary_leaves_its_replicas_readable() {
    let mut view = healthy(3);
    spoil_channel(&mut view, 2, |channel| channel.receiver = Thread::Connecting);
    let record = record(3);
    let db2 = view.instances.get(1).unwrap();
    let lost = Picture { primary: None, ..picture(&view, &record) };
    assert_eq!(reads(&lost, db2), None);
}

#[test]
fn a_primary_last_seen_as_a_replica_makes_nobody_errant() {
    let own = |view: &ClusterView| {
        alarms(&picture(view, &record(3))).iter().any(|alarm| alarm.contains("transactions of its own"))
    };
    let mut view = healthy(3);
    spoil(&mut view, 2, |s| s.executed_before = set("1:1-10,2:1"));
    assert!(own(&view));
    let replicates = view.instances[1].server.as_ref().unwrap().channel.clone();
    spoil(&mut view, 1, |s| (s.read_only, s.channel) = (Switch::On, replicates));
    assert!(!own(&view));
}

#[test]
fn marks_take_out() {
    let view = healthy(3);
    let mark = Mark {
        name: "db3".into(),
        kind: MarkKind::Drain,
        who: "ann".into(),
        reason: Some("disk".into()),
        until: None,
    };
    let status_with = |kind: MarkKind| {
        let record = Record { marks: vec![Mark { kind, ..mark.clone() }], ..record(3) };
        instance_status(&picture(&view, &record), view.instances.get(2).unwrap(), "c:1")
    };
    for (kind, reads) in [
        (MarkKind::Drain, "draining"),
        (MarkKind::Maintenance, "maintenance"),
        (MarkKind::Quarantine, "quarantined"),
    ] {
        let status = status_with(kind);
        let expected = format!("{}: disk, by ann", kind.as_str());
        assert_eq!((status.reads.as_str(), status.mark), (reads, Some(expected)));
    }
}

#[test]
fn the_status_says_what_a_dba_asks() {
    let mut view = healthy(3);
    spoil(&mut view, 2, |server| server.executed = set("1:1-7"));
    let record = record(3);
    let picture = picture(&view, &record);
    let status = |index: usize| instance_status(&picture, view.instances.get(index).unwrap(), "x:1");
    assert_eq!((status(0).role.as_str(), status(1).role.as_str()), ("primary", "replica"));
    assert_eq!(status(1).gtid_gap, Some(3));
    assert_eq!(status(1).source.as_deref(), Some("db1"));
    assert_eq!(status(0).semi_sync.as_deref(), Some("source, 2 clients, waits for 1"));
    assert_eq!(status(1).semi_sync.as_deref(), Some("acking"));
    assert_eq!(alarms(&picture), Vec::<String>::new());
}
