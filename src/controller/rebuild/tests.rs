#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::controller::pictures::{healthy, record, set, spoil, spoil_channel, uuid};
use crate::controller::record::{RebuildCause, RebuildPhase, RebuildRecord};
use crate::controller::view::{BootView, Reach};

fn well() -> Assessment {
    judged(Verdict::Healthy)
}

fn judged(verdict: Verdict) -> Assessment {
    Assessment { verdict, evidence: "because".into(), hint: None, primary: None }
}

fn ask(view: &ClusterView, name: &str) -> Result<Recipient, Objection> {
    recipient(view, &record(3), &well(), name, OwnTransactions::Keep)
}

fn rebuilding(number: u128) -> RebuildRecord {
    RebuildRecord {
        id: "1".into(),
        who: "me".into(),
        member: format!("db{number}"),
        uuid: uuid(number),
        from: None,
        donor: None,
        phase: RebuildPhase::Cloning,
        attempts: 1,
        before: None,
        own: OwnTransactions::Keep,
        cause: RebuildCause::Asked,
    }
}

#[test]
fn a_spare_replica_may_be_filled_from_the_other_one() {
    let view = healthy(3);
    let found = ask(&view, "db3").unwrap();
    assert_eq!((found.uuid, found.own.is_empty()), (uuid(3), true));
    let donors = donors(&view, &record(3), &found, None, &[]).unwrap();
    let names: Vec<&str> = donors.iter().map(|donor| donor.name.as_str()).collect();
    assert_eq!(names, ["db2", "db1"], "the primary is the last resort");
}

#[test]
fn the_primary_and_a_needed_acker_are_refused_with_what_to_do() {
    let refused = ask(&healthy(3), "db1").unwrap_err();
    assert_eq!(refused, Objection::Primary("db1".into()));
    assert!(refused.hint().unwrap().contains("switchover"));
    let mut view = healthy(3);
    view.instances[1].reach = Reach::Silent;
    let refused = ask(&view, "db3").unwrap_err();
    assert_eq!(refused, Objection::NeededAcker { name: "db3".into(), left: 0, needed: 1 });
    // One that acknowledges nothing is missed by nobody.
    let other = Record { ackers: vec![uuid(2)], ..record(3) };
    assert!(recipient(&view, &other, &well(), "db3", OwnTransactions::Keep).is_ok());
}

#[test]
fn nothing_is_dropped_while_roles_are_in_doubt() {
    let view = healthy(3);
    for verdict in [Verdict::PrimarySuspected, Verdict::LostQuorum, Verdict::StaleRecord, Verdict::Starting] {
        let refused = recipient(&view, &record(3), &judged(verdict), "db3", OwnTransactions::Keep);
        assert!(matches!(refused, Err(Objection::NotNow { .. })), "{refused:?}");
    }
    let broken = Record { guarantee: Guarantee::Broken, ..record(3) };
    let refused = recipient(&view, &broken, &well(), "db3", OwnTransactions::Keep);
    assert_eq!(refused, Err(Objection::Doubt("db3".into())));
    let others = Record { ackers: vec![uuid(2)], ..record(3) };
    for verdict in [Verdict::SemiSyncStarved, Verdict::PrimaryReturned(InstanceId(0))] {
        let fill = |record: &Record| {
            recipient(&view, record, &judged(verdict.clone()), "db3", OwnTransactions::Keep)
        };
        assert!(fill(&record(3)).is_err(), "an acker is needed");
        assert!(fill(&others).is_ok(), "it may be the one that writes wait for");
    }
}

#[test]
fn a_server_that_would_not_boot_fenced_is_refused() {
    let mut view = healthy(3);
    spoil(&mut view, 3, |server| server.boot = BootView::Ignored);
    assert!(matches!(ask(&view, "db3"), Err(Objection::BootsUnfenced { .. })));
    let mut view = healthy(3);
    spoil(&mut view, 3, |server| server.other_channels.push("dc2".into()));
    assert!(matches!(ask(&view, "db3"), Err(Objection::SecondChannel { .. })));
}

#[test]
fn own_transactions_are_named_and_received_ones_refuse() {
    let mut view = healthy(3);
    spoil(&mut view, 3, |server| {
        server.executed = set("1:1-10,3:1-2");
        server.executed_before = set("1:1-10,3:1-2");
    });
    assert_eq!(ask(&view, "db3").unwrap().own, *set("3:1-2"));
    spoil_channel(&mut view, 3, |channel| channel.received = (*set("1:1-10,4:5")).clone());
    let refused = ask(&view, "db3").unwrap_err();
    assert!(refused.to_string().contains(":5"), "{refused}");
    assert!(refused.hint().unwrap().contains("--discard-own"));
    let accepted = recipient(&view, &record(3), &well(), "db3", OwnTransactions::Discard);
    assert_eq!(accepted.unwrap().unapplied, *set("4:5"));
}

#[test]
fn donors_that_failed_come_last_and_bad_ones_never() {
    let view = healthy(4);
    let record = record(4);
    let found = recipient(&view, &record, &well(), "db4", OwnTransactions::Keep).unwrap();
    let names = |view: &ClusterView, record: &Record, from: Option<&str>, failed: &[String]| {
        donors(view, record, &found, from, failed)
            .map(|all| all.into_iter().map(|donor| donor.name).collect::<Vec<_>>())
    };
    assert_eq!(names(&view, &record, None, &["db2".into()]).unwrap(), ["db3", "db1", "db2"]);
    assert_eq!(names(&view, &record, Some("db1"), &[]).unwrap(), ["db1"]);
    let busy = Record { rebuild: Some(rebuilding(2)), ..record.clone() };
    assert_eq!(names(&view, &busy, None, &[]).unwrap(), ["db3", "db1"]);
    let mut bad = healthy(4);
    spoil(&mut bad, 2, |server| server.executed_before = set("1:1-10,2:1"));
    spoil_channel(&mut bad, 3, |channel| channel.lag_ms = 3_600_000);
    assert_eq!(names(&bad, &record, None, &[]).unwrap(), ["db1"]);
    let refused = names(&bad, &record, Some("db3"), &[]).unwrap_err();
    assert!(refused.to_string().contains("db3: it is far behind"), "{refused}");
    // db4 was the primary once, and takes none of its own transactions from a source.
    let mut behind = healthy(4);
    spoil(&mut behind, 1, |server| server.executed = set("1:1-10,4:1-3"));
    spoil(&mut behind, 2, |server| server.executed = set("1:1-10,4:1-3"));
    spoil(&mut behind, 3, |server| server.executed = set("1:1-10,4:1-2"));
    assert_eq!(names(&behind, &record, None, &[]).unwrap(), ["db2", "db1"]);
    let refused = names(&behind, &record, Some("db3"), &[]).unwrap_err();
    assert!(refused.to_string().contains("had once written"), "{refused}");
}
