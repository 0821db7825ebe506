#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::config::Promotion;
use crate::controller::elect;
use crate::controller::failover::{Chosen, Rules, forecast};
use crate::controller::pictures::{healthy, policy, record, set, spoil, spoil_channel, uuid};
use crate::controller::record::Mark;

const DB2: InstanceId = InstanceId(1);
const DB3: InstanceId = InstanceId(2);
const DB4: InstanceId = InstanceId(3);

/// `a`, `b`, ... for each member; a dot for none.
fn zones(letters: &str) -> Vec<Option<Arc<str>>> {
    let zone = |letter: char| (letter != '.').then(|| Arc::from(letter.to_string()));
    letters.chars().map(zone).collect()
}

fn gone(view: &mut ClusterView, number: usize) {
    view.instances[number - 1].reach = Reach::Refused(5);
}

fn five() -> Record {
    Record { wait_count: 2, ..record(5) }
}

/// The election after the loss of db1 among five.
fn lost(letters: &str, wishes: &[Promotion], spoiled: impl FnOnce(&mut ClusterView, &mut Record)) -> Chosen {
    let (mut view, mut record, policy) = (healthy(5), five(), policy(5));
    gone(&mut view, 1);
    spoiled(&mut view, &mut record);
    let zones = zones(letters);
    let (stall, now) = (Duration::from_secs(30), Instant::now());
    let rules = Rules { automatic: true, promotion: wishes, zones: &zones, policy: &policy, stall, now };
    forecast(&view, &record, &rules).unwrap()
}

fn behind(view: &mut ClusterView, number: usize, executed: &str) {
    spoil(view, number, |server| server.executed = set(executed));
    spoil_channel(view, number, |channel| channel.received = (*set(executed)).clone());
}

fn why<'a>(chosen: &'a Chosen, name: &str) -> &'a str {
    &chosen.rejected.iter().find(|(other, _)| other == name).unwrap().1
}

#[test]
fn the_primarys_zone_comes_first_and_what_it_lacks_is_fetched() {
    let chosen = lost("baabc", &[], |_, _| {});
    assert_eq!(chosen.winner, DB4);
    assert_eq!(why(&chosen, "db2"), "fit; db4 comes first: it is in zone b, as db1");
    assert!(
        chosen.because.contains("neutral, it is in zone b, as db1, 0 transactions"),
        "{}",
        chosen.because
    );
    let chosen = lost("baabc", &[], |view, _| behind(view, 4, "1:1-7"));
    assert_eq!((chosen.winner, &chosen.union), (DB4, &*set("1:1-10")));
    assert!(!chosen.donors.is_empty() && chosen.because.contains("3 of them to fetch"), "{chosen:?}");
}

#[test]
fn where_zones_make_no_difference_nothing_is_said_of_them() {
    for letters in ["", ".....", "aaaaa", "abbbb", ".aaaa", "a....", ".abcd"] {
        let chosen = lost(letters, &[], |view, _| behind(view, 2, "1:1-7"));
        assert_eq!(chosen.winner, DB3, "{letters}");
        assert_eq!(why(&chosen, "db2"), "fit; db3 comes first", "{letters}");
        assert!(!chosen.because.contains("zone"), "{}", chosen.because);
    }
}

#[test]
fn promotion_rules_and_marks_come_before_zones() {
    let neutral = Promotion::Neutral;
    let prefer = [neutral, neutral, Promotion::Prefer];
    let chosen = lost("aabbc", &prefer, |_, _| {});
    assert_eq!((chosen.winner, why(&chosen, "db2")), (DB3, "fit; db3 comes first"));
    assert_eq!(lost("aabbc", &[neutral, Promotion::PreferNot], |_, _| {}).winner, DB3);
    assert_eq!(lost("aabbc", &[neutral, Promotion::MustNot], |_, _| {}).winner, DB3);
    let drained = |_: &mut ClusterView, record: &mut Record| record.marks.push(mark("db2", MarkKind::Drain));
    assert_eq!(lost("aabbc", &[], drained).winner, DB3);
    let failed = |view: &mut ClusterView, _: &mut Record| {
        spoil_channel(view, 2, |channel| channel.applier_error = Some("1062".into()));
    };
    assert_eq!(lost("aabbc", &[], failed).winner, DB3);
}

fn mark(name: &str, kind: MarkKind) -> Mark {
    Mark { name: name.into(), kind, who: "ann".into(), reason: None, until: None }
}

#[test]
fn a_zone_that_looks_lost_comes_last() {
    let chosen = lost("aaabc", &[], |view, _| gone(view, 2));
    assert_eq!(chosen.winner, DB4);
    let reason = "fit; db4 comes first: zone a looks lost (no answer from db1, db2)";
    assert_eq!(why(&chosen, "db3"), reason);
    assert!(chosen.because.contains("zone a looks lost"), "{}", chosen.because);
    // What answers in its own way, what somebody is at work on, and what is no member any more: no evidence.
    let harmless: [fn(&mut ClusterView, &mut Record); 4] = [
        |view, _| view.instances[1].reach = Reach::Saturated,
        |view, _| view.instances[1].reach = Reach::LoginFailed("1045".into()),
        |view, _| view.instances[1].reach = Reach::Removed,
        |view, record| {
            gone(view, 2);
            record.marks.push(mark("db2", MarkKind::Maintenance));
        },
    ];
    for spoiled in harmless {
        assert_eq!(lost("aaabc", &[], spoiled).winner, DB3);
    }
}

#[test]
fn whoever_is_far_behind_has_no_zone_to_speak_for_it() {
    let far = format!("1:1-{}", FAR_TRANSACTIONS + 10);
    let backlog = |view: &mut ClusterView, executed: &str| {
        for number in 2..=5 {
            behind(view, number, &far);
        }
        spoil(view, 2, |server| server.executed = set(executed));
    };
    let chosen = lost("aabbc", &[], |view, _| backlog(view, "1:1-10"));
    let reason = "fit; db3 comes first: zone a would do, but it is far further behind";
    assert_eq!((chosen.winner, why(&chosen, "db2")), (DB3, reason));
    assert_eq!(lost("aabbc", &[], |view, _| backlog(view, "1:1-11")).winner, DB2, "that is not far");
    let large = |ms: u64| {
        move |view: &mut ClusterView, _: &mut Record| {
            spoil_channel(view, 2, |channel| channel.lag_ms = ms);
        }
    };
    assert_eq!(lost("aabbc", &[], large(FAR_MS)).winner, DB3);
    assert_eq!(lost("aabbc", &[], large(FAR_MS - 1)).winner, DB2);
    let all = |view: &mut ClusterView, _: &mut Record| {
        for number in 2..=5 {
            spoil_channel(view, number, |channel| channel.lag_ms = 60_000);
        }
    };
    assert_eq!(lost("aabbc", &[], all).winner, DB2, "no further behind than others");
}

#[test]
fn a_switchover_stays_in_the_zone() {
    let best = |letters: &str, spoiled: fn(&mut ClusterView)| {
        let mut view = healthy(5);
        spoiled(&mut view);
        let candidates = elect::candidates(&view, &five(), &[], &zones(letters));
        elect::choose(&candidates).map(|best| (best.name.clone(), best.zone.clone())).unwrap()
    };
    let here = Some("it is in zone b, as db1".to_owned());
    assert_eq!(best("baabc", |_| {}), ("db4".into(), here.clone()));
    assert_eq!(best("abbbb", |_| {}), ("db2".into(), None));
    // The primary itself is well: one more of its zone is no evidence yet, two are.
    assert_eq!(best("bbabc", |view| gone(view, 2)), ("db4".into(), here));
    let lost = best("bbbba", |view| [2, 3].into_iter().for_each(|number| gone(view, number)));
    assert_eq!(lost, ("db5".into(), Some("zone b looks lost (no answer from db2, db3)".into())));
}

/// What each of db2 to db5 has: how much it executed, received, its zone, its rule.
fn anything() -> impl Strategy<Value = Vec<(u64, u64, char, Promotion)>> {
    let wish = prop_oneof![
        Just(Promotion::Prefer),
        Just(Promotion::Neutral),
        Just(Promotion::PreferNot),
        Just(Promotion::MustNot)
    ];
    let zone = prop_oneof![Just('a'), Just('b'), Just('.')];
    proptest::collection::vec((1..30_000_u64, 0..30_000_u64, zone, wish), 4)
}

proptest! {
    /// Whatever the zones are: nobody wins against its rule, and the winner gets everything that anybody has.
    #[test]
    fn zones_change_no_rule_and_lose_nothing(members in anything(), home in "[ab.]", errant in 2..6_usize) {
        let (mut view, policy) = (healthy(5), policy(5));
        gone(&mut view, 1);
        let mut letters = home;
        let mut wishes = vec![Promotion::Neutral];
        for ((executed, more, zone, wish), number) in members.iter().zip(2..) {
            letters.push(*zone);
            wishes.push(*wish);
            spoil(&mut view, number, |server| server.executed = set(&format!("1:1-{executed}")));
            let received = set(&format!("1:1-{}", executed + more));
            spoil_channel(&mut view, number, |channel| channel.received = (*received).clone());
        }
        spoil_channel(&mut view, errant, |channel| channel.applier_error = Some("1062".into()));
        let elected = |letters: &str| {
            let zones = zones(letters);
            let (stall, now) = (Duration::ZERO, Instant::now());
            let rules = Rules { automatic: true, promotion: &wishes, zones: &zones, policy: &policy, stall, now };
            forecast(&view, &five(), &rules)
        };
        let (with, without) = (elected(&letters), elected(""));
        prop_assert_eq!(with.is_ok(), without.is_ok());
        let (Ok(with), Ok(without)) = (with, without) else { return Ok(()) };
        prop_assert_eq!(&with.union, &without.union);
        let wish = |chosen: &Chosen| wishes[chosen.winner.index()];
        prop_assert_eq!(wish(&with), wish(&without));
        prop_assert!(with.winner.index() + 1 != errant && wish(&with) != Promotion::MustNot);
        let has = |id: InstanceId| view.instances[id.index()].server.as_ref().unwrap().has();
        let mut there = has(with.winner);
        with.donors.iter().for_each(|donor| there.extend(&has(*donor)));
        prop_assert!(there.contains_set(&with.union));
        prop_assert_eq!(with.ackers.len(), 3);
        let member = |id: InstanceId| view.instances[id.index()].server.as_ref().unwrap().uuid;
        prop_assert!(!with.ackers.iter().any(|id| member(*id) == uuid(1)));
    }
}
