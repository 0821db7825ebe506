#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_row_comes_back_as_it_was() {
    let row = EpochRow {
        epoch: 7,
        primary: Uuid::from_u128(1),
        ackers: vec![Uuid::from_u128(2), Uuid::from_u128(3)],
        wait_count: 1,
        who: "adopt".into(),
    };
    let cells: Vec<_> =
        ["7", &row.primary.to_string(), &row.ackers_text(), "1", "adopt"].map(|s| Some(s.to_owned())).into();
    assert_eq!(EpochRow::parse(&cells), Some(row));
    assert_eq!(EpochRow::parse(&[None]), None);
}

#[test]
fn a_record_survives_json() {
    let record = Record {
        version: 3,
        cluster: "shop".into(),
        epoch: 2,
        primary: Uuid::from_u128(1),
        primary_name: "db1".into(),
        ackers: vec![Uuid::from_u128(2)],
        wait_count: 1,
        guarantee: Guarantee::Acknowledged,
        operation: Some(OperationRecord {
            id: "x".into(),
            kind: OperationKind::Failover,
            who: "me".into(),
            from: Uuid::from_u128(1),
            to: Uuid::from_u128(2),
            phase: Phase::Preparing,
            ackers_before: vec![],
            found_moved: Some(Uuid::from_u128(1)),
        }),
        who: "adopt".into(),
        marks: vec![Mark {
            name: "db2".into(),
            kind: MarkKind::Maintenance,
            who: "ann".into(),
            reason: None,
            until: Some(9),
        }],
        promotions: vec![],
        pause: Some(Pause { who: "ann".into(), reason: Some("disks".into()), until: Some(10) }),
        rebuild: None,
        deposed: vec![],
        window: Some(Window { since: 5, until: 65, why: "nobody".into(), stage: Stage::Open }),
    };
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    let mut ended = record.clone();
    assert!(!ended.expire(8) && ended.expire(9) && ended.marks.is_empty() && ended.pause.is_some());
    assert!(ended.expire(10) && ended.pause.is_none());
    assert_eq!(record.marks.first().unwrap().describe(), "maintenance: by ann, until 1970-01-01T00:00:09Z");
    assert_eq!(record.pause.unwrap().describe(), "paused: disks, by ann, until 1970-01-01T00:00:10Z");
}

#[test]
fn a_mark_of_before_there_were_kinds_is_a_drain() {
    let old: Mark = serde_json::from_str(r#"{"name":"db2","reason":null,"until":null}"#).unwrap();
    assert_eq!((old.kind, old.describe().as_str()), (MarkKind::Drain, "drain"));
}

#[test]
fn a_broken_off_switchover_is_not_forgotten_before_the_new_epoch() {
    let operation = |kind, phase, found_moved| OperationRecord {
        id: "x".into(),
        kind,
        who: "me".into(),
        from: Uuid::from_u128(1),
        to: Uuid::from_u128(2),
        phase,
        ackers_before: vec![],
        found_moved,
    };
    let (old, earlier) = (Uuid::from_u128(1), Uuid::from_u128(9));
    let moved = |kind, phase, found| operation(kind, phase, found).moved();
    assert_eq!(moved(OperationKind::Switchover, Phase::Preparing, None), Some(old));
    assert_eq!(moved(OperationKind::Failover, Phase::Preparing, None), None);
    assert_eq!(moved(OperationKind::Failover, Phase::Preparing, Some(earlier)), Some(earlier));
    assert_eq!(moved(OperationKind::Switchover, Phase::Promoted, None), None);
    assert_eq!(moved(OperationKind::Failover, Phase::Promoted, Some(earlier)), None);
}
