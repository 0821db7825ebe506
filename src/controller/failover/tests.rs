#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]
use super::*;
use crate::controller::assess::{Assessment, Loss, Verdict};
use crate::controller::pictures::{healthy, policy, record, set, spoil, spoil_channel, uuid};
use crate::controller::view::{Blockade, BlockedWrite, Reach, SemiSyncView, Switch};

fn rules<'a>(policy: &'a Policy, promotion: &'a [Promotion]) -> Rules<'a> {
    Rules {
        automatic: true,
        promotion,
        zones: &[],
        policy,
        stall: Duration::from_secs(30),
        now: Instant::now(),
    }
}

fn lose(view: &mut ClusterView, number: usize) {
    view.instances[number - 1].reach = Reach::Refused(5);
}

fn decided(members: u16, spoiled: impl FnOnce(&mut ClusterView, &mut Record)) -> Decision {
    let (mut view, mut record) = (healthy(members), record(members));
    if members >= 5 {
        record.wait_count = 2;
    }
    lose(&mut view, 1);
    spoiled(&mut view, &mut record);
    decide(&view, &record, &Verdict::PrimaryLost(Loss::Dead), &rules(&policy(members), &[]))
}

#[test]
fn the_quorum_is_all_but_k_minus_one_of_the_recorded() {
    for (ackers, wait_count, expected) in
        [(1, 1, 1), (2, 1, 2), (2, 2, 1), (3, 1, 3), (3, 2, 2), (4, 1, 4), (4, 2, 3)]
    {
        let ackers = (2..2 + ackers).map(uuid).collect();
        let record = Record { wait_count, ackers, ..record(3) };
        assert_eq!(needed(&record), expected, "{record:?}");
    }
}

#[test]
fn a_lost_primary_is_replaced_only_if_the_quorum_answers() {
    assert_eq!(decided(3, |_, _| {}), Decision::Go);
    let Decision::LostQuorum(quorum) = decided(3, |view, _| lose(view, 3)) else { panic!("no quorum") };
    assert_eq!(quorum.missing, ["db3"]);
    assert!(quorum.describe().contains("2 of the 2 recorded ackers are needed and 1 answer; missing: db3"));
    // Five members, two acknowledgements: one of the four may be gone, two may not.
    assert_eq!(decided(5, |view, _| lose(view, 5)), Decision::Go);
    let two = decided(5, |view, _| {
        lose(view, 4);
        lose(view, 5);
    });
    assert!(matches!(two, Decision::LostQuorum(_)));
    // The recorded ackers count, not those that happen to be there.
    let fewer = decided(5, |view, record| {
        record.ackers.truncate(2);
        lose(view, 4);
        lose(view, 5);
    });
    assert_eq!(fewer, Decision::Go);
}

#[test]
fn without_a_guarantee_or_against_the_configuration_nothing_happens() {
    let stays = |decision: Decision, word: &str| {
        let Decision::Stay(why) = decision else { panic!("{decision:?}") };
        assert!(why.contains(word), "{why}");
    };
    stays(decided(3, |_, record| record.guarantee = Guarantee::None), "no write of this epoch");
    stays(decided(3, |_, record| record.wait_count = 0), "wait for no acknowledgement");
    let lacks = |view: &mut ClusterView, _: &mut Record| {
        spoil(view, 2, |server| server.boot = BootView::Lacks(vec!["super_read_only"]));
    };
    stays(decided(3, lacks), "db2 would boot without super_read_only");
    let (view, record, policy) = (healthy(3), record(3), policy(3));
    let off = Rules { automatic: false, ..rules(&policy, &[]) };
    stays(decide(&view, &record, &Verdict::PrimaryLost(Loss::Dead), &off), "automatic = false");
    let on = rules(&policy, &[]);
    for verdict in [
        Verdict::Healthy,
        Verdict::PrimarySuspected,
        Verdict::SemiSyncStarved,
        Verdict::Unguarded,
        Verdict::PrimaryLost(Loss::Brief),
    ] {
        assert_eq!(decide(&view, &record, &verdict, &on), Decision::Nothing);
    }
    stays(decide(&view, &record, &Verdict::PrimaryLost(Loss::Unwitnessed), &on), "cut off");
}

#[test]
fn a_lost_quorum_names_who_is_missing_and_what_to_do() {
    let decision = decided(3, |view, _| lose(view, 3));
    let lost = Assessment {
        verdict: Verdict::PrimaryLost(Loss::Dead),
        evidence: "db1 is dead".into(),
        hint: None,
        primary: None,
    };
    let explained = explained(lost, &decision);
    assert_eq!(explained.verdict, Verdict::LostQuorum);
    assert!(explained.evidence.contains("missing: db3"), "{}", explained.evidence);
    assert!(explained.hint.unwrap().contains("start db3"));
}

/// Elects among db2 and db3 after `spoiled`, with this floor.
fn elected(floor: &str, spoiled: impl FnOnce(&mut ClusterView, &mut Record)) -> Result<Chosen, String> {
    with_wishes(floor, &[], spoiled)
}

fn with_wishes(
    floor: &str,
    wishes: &[Promotion],
    spoiled: impl FnOnce(&mut ClusterView, &mut Record),
) -> Result<Chosen, String> {
    let (mut view, mut record, policy) = (healthy(3), record(3), policy(3));
    spoiled(&mut view, &mut record);
    let rules = rules(&policy, wishes);
    let members: Vec<Member> = view
        .live()
        .filter(|(_, server)| server.uuid != record.primary)
        .map(|(instance, server)| {
            let sets = (server.has(), (*server.executed).clone());
            Member::new(instance, server, sets, &record, &rules)
        })
        .collect();
    elect(&members, &record, &set(floor), &Terms::default(), &Zones::default())
}

fn received(view: &mut ClusterView, number: usize, text: &str) {
    spoil_channel(view, number, |channel| channel.received = (*set(text)).clone());
}

#[test]
fn the_union_is_everything_received_by_anybody() {
    let chosen = elected("1:1-10", |view, _| received(view, 3, "1:1-12")).unwrap();
    assert_eq!(chosen.union, *set("1:1-12"));
    // db3 needs no fetch.
    assert_eq!((chosen.winner, chosen.donors.as_slice()), (InstanceId(2), &[][..]));
    assert_eq!(chosen.ackers, [InstanceId(1)]);
    assert!(chosen.rejected[0].1.contains("db3 comes first"), "{:?}", chosen.rejected);
}

#[test]
fn what_only_another_received_is_fetched() {
    let chosen = elected("", |view, _| {
        received(view, 2, "1:1-11");
        received(view, 3, "1:1-10:12");
    })
    .unwrap();
    assert_eq!(chosen.union, *set("1:1-12"));
    assert_eq!((chosen.winner, chosen.donors.as_slice()), (InstanceId(1), &[InstanceId(2)][..]));
    // A wish comes before the way to everything.
    let wishes = [Promotion::Neutral, Promotion::Neutral, Promotion::Prefer];
    let chosen = with_wishes("", &wishes, |view, _| received(view, 2, "1:1-11")).unwrap();
    assert_eq!((chosen.winner, chosen.donors.as_slice()), (InstanceId(2), &[InstanceId(1)][..]));
}

#[test]
fn few_give_what_is_missing_and_first_whoever_has_executed_it() {
    let (mut view, record, policy) = (healthy(5), record(5), policy(5));
    let wishes = [Promotion::Neutral, Promotion::Prefer];
    received(&mut view, 3, "1:1-14");
    received(&mut view, 4, "1:1-13");
    received(&mut view, 5, "1:1-15");
    spoil(&mut view, 4, |server| server.executed = set("1:1-13"));
    let donors = |view: &ClusterView| forecast(view, &record, &rules(&policy, &wishes)).unwrap().donors;
    assert_eq!(donors(&view), [InstanceId(3), InstanceId(4)], "db5 has what db4 lacks, db3 nothing more");
    received(&mut view, 5, "1:1-12");
    assert_eq!(donors(&view), [InstanceId(3), InstanceId(2)]);
    received(&mut view, 2, "1:1-14");
    assert_eq!(donors(&view), []);
}

#[test]
fn a_floor_that_nobody_has_stops_everything() {
    let refused = elected("1:1-13", |view, _| received(view, 3, "1:1-12")).unwrap_err();
    assert!(refused.contains("13") && refused.contains("--accept-loss"), "{refused}");
}

#[test]
fn hard_filters_come_before_wishes() {
    let wishes = [Promotion::Neutral, Promotion::Prefer, Promotion::Neutral];
    let loses: [(fn(&mut ClusterView), &str); 8] = [
        (|v| spoil(v, 2, |s| s.offline = Switch::On), "offline_mode"),
        (|v| spoil(v, 2, |s| s.read_only = Switch::Off), "fenced first"),
        (|v| spoil(v, 2, |s| s.logs = Default::default()), "binary log"),
        (|v| spoil(v, 2, |s| s.filters = 1), "filters"),
        (|v| spoil(v, 2, |s| s.delay = 60), "delay"),
        (|v| spoil(v, 2, |s| s.semi_sync = None), "plugins"),
        (|v| spoil_channel(v, 2, |c| c.applier_error = Some("1062".into())), "applier failed"),
        (|v| spoil(v, 2, |s| s.executed = set("1:1-10,2:1")), "transactions of its own"),
    ];
    for (spoiled, word) in loses {
        let (mut view, record, policy) = (healthy(4), record(4), policy(4));
        spoiled(&mut view);
        let rules = rules(&policy, &wishes);
        let members: Vec<Member> = view
            .live()
            .skip(1)
            .map(|(i, s)| Member::new(i, s, (s.has(), (*s.executed).clone()), &record, &rules))
            .collect();
        let chosen = elect(&members, &record, &set("1:1-10"), &Terms::default(), &Zones::default()).unwrap();
        assert_eq!(chosen.winner, InstanceId(2), "{word}");
        assert!(chosen.union == *set("1:1-10"), "what nobody else has is no part of the history");
        let why = chosen.rejected.iter().find(|(name, _)| name == "db2").unwrap();
        assert!(why.1.contains(word), "{why:?}");
    }
}

#[test]
fn nobody_wins_without_ackers_or_against_must_not() {
    let refused = elected("", |view, _| {
        spoil(view, 3, |server| server.semi_sync = None::<SemiSyncView>);
    })
    .unwrap_err();
    assert!(refused.contains("db2: it would have 0 of 1 ackers"), "{refused}");
    let unfenced =
        elected("", |view, _| spoil(view, 3, |server| server.read_only = Switch::Off)).unwrap_err();
    assert!(unfenced.contains("db2: it would have 0 of 1 ackers"), "{unfenced}");
    let never = [Promotion::MustNot; 3];
    assert!(with_wishes("", &never, |_, _| {}).unwrap_err().contains("must-not"));
}

#[test]
fn a_newer_version_does_not_lead_older_ones() {
    let chosen = elected("", |view, _| spoil(view, 2, |server| server.version = "9.8.0".into())).unwrap();
    assert_eq!(chosen.winner, InstanceId(2));
}

#[test]
fn a_forecast_says_who_would_win_now() {
    let policy = policy(3);
    let rules = rules(&policy, &[]);
    assert_eq!(forecast(&healthy(3), &record(3), &rules).unwrap().winner, InstanceId(1));
    let mut view = healthy(3);
    lose(&mut view, 2);
    assert!(forecast(&view, &record(3), &rules).unwrap_err().contains("missing: db2"));
}

#[test]
fn a_human_may_name_the_winner_and_lose_what_nobody_has() {
    let (view, record, policy) = (healthy(3), record(3), policy(3));
    let rules = rules(&policy, &[]);
    let members: Vec<Member> = view
        .live()
        .skip(1)
        .map(|(i, s)| Member::new(i, s, (s.has(), (*s.executed).clone()), &record, &rules))
        .collect();
    let named = Terms { to: Some(InstanceId(2)), ..Terms::default() };
    let chosen = elect(&members, &record, &set("1:1-10"), &named, &Zones::default()).unwrap();
    assert_eq!((chosen.winner, chosen.lost.is_empty()), (InstanceId(2), true));
    assert_eq!(chosen.rejected, [("db2".to_owned(), "another one is asked for".to_owned())]);

    let refused = elect(&members, &record, &set("1:1-12"), &Terms::default(), &Zones::default()).unwrap_err();
    assert!(refused.contains(":11-12") && refused.contains("--accept-loss"), "{refused}");
    let accepted = Terms { accept_loss: true, ..Terms::default() };
    let chosen = elect(&members, &record, &set("1:1-12"), &accepted, &Zones::default()).unwrap();
    assert_eq!(chosen.lost, *set("1:11-12"));
    assert_eq!(chosen.union, *set("1:1-10"));
}

#[test]
fn a_broken_guarantee_is_for_a_human() {
    let Decision::Stay(why) = decided(3, |_, record| record.guarantee = Guarantee::Broken) else { panic!() };
    assert!(why.contains("without waiting"), "{why}");
}

fn marked(number: u32, kind: MarkKind) -> Record {
    let mark = crate::controller::record::Mark {
        name: format!("db{number}"),
        kind,
        who: "ann".into(),
        reason: None,
        until: None,
    };
    Record { marks: vec![mark], ..record(3) }
}

#[test]
fn a_pause_keeps_from_acting_and_says_who_paused() {
    let decision = decided(3, |_, record| {
        record.pause =
            Some(crate::controller::record::Pause { who: "ann".into(), reason: None, until: None });
    });
    let Decision::Stay(why) = decision else { panic!("{decision:?}") };
    assert_eq!(why, "paused: by ann; sluice resume ends it");
}

#[test]
fn a_member_in_maintenance_never_wins_and_acknowledges_only_if_nobody_else_can() {
    let view = healthy(3);
    let forecast = |record: &Record| forecast(&view, record, &rules(&policy(3), &[]));
    let chosen = forecast(&marked(2, MarkKind::Maintenance)).unwrap();
    assert_eq!((chosen.winner, chosen.ackers), (InstanceId(2), vec![InstanceId(1)]), "db2 is all there is");
    assert_eq!(chosen.rejected, [("db2".to_owned(), "it is in maintenance".to_owned())]);
    assert!(forecast(&marked(2, MarkKind::Quarantine)).unwrap_err().contains("0 of 1 ackers"));
    assert_eq!(forecast(&marked(2, MarkKind::Drain)).unwrap().winner, InstanceId(2));
    let five = healthy(5);
    let record = Record { ackers: (2..=5).map(uuid).collect(), ..marked(2, MarkKind::Maintenance) };
    let chosen = super::forecast(&five, &record, &rules(&policy(5), &[])).unwrap();
    assert!(!chosen.ackers.contains(&InstanceId(1)), "{chosen:?}");
}

#[test]
fn what_would_be_lost_is_named() {
    let (mut view, record) = (healthy(3), record(3));
    lose(&mut view, 1);
    let none = GtidSet::new();
    assert!(
        foreseen_loss(&view, &record, &none).starts_with("everything that was seen of db1 is at db2, db3")
    );
    let floor = (*set("1:1-12")).clone();
    let said = foreseen_loss(&view, &record, &floor);
    assert!(said.contains(&format!("{} would be lost", set("1:11-12"))), "{said}");
    lose(&mut view, 2);
    lose(&mut view, 3);
    assert!(foreseen_loss(&view, &record, &none).contains("and nobody has it"));
}

#[test]
fn a_primary_that_cant_commit_is_replaced_after_the_time_that_is_set() {
    let mut view = healthy(3);
    let (record, policy, now) = (record(3), policy(3), Instant::now());
    if let Some(first) = view.instances.first_mut() {
        let since = now.checked_sub(Duration::from_secs(20)).unwrap();
        first.blocked = Some(BlockedWrite { cause: Blockade::Server, since, detail: "pending".into() });
    }
    let decided = |stall: u64| {
        let rules = Rules { stall: Duration::from_secs(stall), now, ..rules(&policy, &[]) };
        decide(&view, &record, &Verdict::PrimaryStalled, &rules)
    };
    assert_eq!(decided(30), Decision::Nothing);
    assert_eq!(decided(20), Decision::Go);
    assert!(matches!(decided(0), Decision::Stay(why) if why.contains("stall")));
    assert_eq!(decide(&view, &record, &Verdict::PrimaryLocked, &rules(&policy, &[])), Decision::Nothing);
}
