#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::controller::pictures::{healthy, policy, record, spoil, spoil_channel, uuid};
use crate::controller::view::{Reach, Switch, Thread};

const DB1: InstanceId = InstanceId(0);
const DB2: InstanceId = InstanceId(1);
const DB3: InstanceId = InstanceId(2);

fn drawn(members: u16, count: u16) -> Result<Plan, String> {
    let record = Record { wait_count: count, ..record(members) };
    draw(&healthy(members), &record, DB2, &policy(members))
}

#[test]
fn three_with_one_acknowledgement_are_chained() {
    let plan = drawn(3, 1).unwrap();
    assert_eq!(plan.chain, Chain::Armed(vec![DB3]));
    assert_eq!(plan.ackers_during, [uuid(2)], "the target alone acknowledges for the old primary");
    assert_eq!(plan.ackers_after, [uuid(3)]);
    assert!(plan.steps().contains(&Step::Arm) && !plan.steps().contains(&Step::Repoint));
}

#[test]
fn five_with_two_are_chained() {
    let plan = drawn(5, 2).unwrap();
    assert_eq!(plan.chain, Chain::Armed(vec![DB3, InstanceId(3)]));
    assert_eq!(plan.ackers_during, [uuid(2), uuid(5)]);
    assert_eq!(plan.ackers_after, [uuid(3), uuid(4), uuid(5)], "nobody is dropped before it was asked");
}

#[test]
fn where_no_chain_fits_ackers_move_in_the_stall() {
    let two = drawn(2, 1).unwrap();
    assert_eq!(two.chain, Chain::InStall(vec![DB1]), "the old primary itself acknowledges");
    assert_eq!((&two.ackers_during, &two.ackers_after), (&vec![uuid(2)], &vec![uuid(1)]));
    let three = drawn(3, 2).unwrap();
    assert_eq!(three.chain, Chain::InStall(vec![DB3, DB1]));
    assert!(three.steps().contains(&Step::Repoint) && !three.steps().contains(&Step::Arm));
}

#[test]
fn without_semi_sync_nobody_moves() {
    assert_eq!(drawn(3, 0).unwrap().chain, Chain::NotNeeded);
}

#[test]
fn a_target_that_would_wait_for_ever_is_refused() {
    let mut view = healthy(3);
    spoil_channel(&mut view, 3, |channel| channel.receiver = Thread::Stopped);
    let two = Record { wait_count: 2, ..record(3) };
    assert!(draw(&view, &two, DB2, &policy(3)).unwrap_err().contains("1 of 2 ackers"));
    // With one acknowledgement the old primary can give it.
    assert_eq!(draw(&view, &record(3), DB2, &policy(3)).unwrap().chain, Chain::InStall(vec![DB1]));
}

#[test]
fn a_chain_counts_on_those_who_acknowledge_now() {
    let silent = |members: u16, count: u16, number: usize| {
        let mut view = healthy(members);
        spoil(&mut view, number, |server| server.semi_sync.as_mut().unwrap().acking_now = Switch::Off);
        draw(&view, &Record { wait_count: count, ..record(members) }, DB2, &policy(members))
    };
    // Those that stay would be db2 and db5.
    assert_eq!(silent(5, 2, 5).unwrap().chain, Chain::InStall(vec![DB3, InstanceId(3)]));
    assert!(silent(3, 1, 2).unwrap_err().contains("does not acknowledge yet"));
    assert!(silent(3, 0, 2).is_ok());
}

#[test]
fn the_order_is_the_one_of_the_design() {
    let steps = drawn(3, 1).unwrap().steps();
    let at = |step: Step| steps.iter().position(|one| *one == step).unwrap();
    let order = [
        Step::Take,
        Step::CatchUp,
        Step::Warm,
        Step::Arm,
        Step::Near,
        Step::Hold,
        Step::Drain,
        Step::ReadOnly,
        Step::Reach,
        Step::StopReceiver,
        Step::Commit,
        Step::Writable,
        Step::Barrier,
        Step::Release,
        Step::StopWaiting,
        Step::Demote,
        Step::Settle,
    ];
    assert!(order.windows(2).skip(1).all(|pair| at(pair[0]) < at(pair[1])), "{steps:?}");
    let stalled: Vec<Step> = steps.iter().copied().filter(|step| step.in_stall()).collect();
    assert_eq!((stalled.first(), stalled.last()), (Some(&Step::ReadOnly), Some(&Step::Release)));
}

#[test]
fn every_failure_takes_back_exactly_what_was_begun() {
    let plan = drawn(3, 1).unwrap();
    for (reached, expected) in [
        (Step::CatchUp, vec![]),
        (Step::Take, vec![Undo::Close]),
        (Step::Warm, vec![Undo::Cool, Undo::Close]),
        (Step::Arm, vec![Undo::Ackers, Undo::Cool, Undo::Return, Undo::Disarm, Undo::Close]),
        (Step::Drain, vec![Undo::Ackers, Undo::Release, Undo::Cool, Undo::Return, Undo::Disarm, Undo::Close]),
        (
            Step::Commit,
            vec![
                Undo::Ackers,
                Undo::Writable,
                Undo::Release,
                Undo::Cool,
                Undo::Return,
                Undo::Receiver,
                Undo::Disarm,
                Undo::Close,
            ],
        ),
    ] {
        assert_eq!(undo(&plan, reached), expected, "{reached:?}");
    }
}

#[test]
fn the_time_to_turn_back_leaves_time_for_the_undo() {
    let seconds = Duration::from_secs;
    assert_eq!(give_up_after(seconds(2), seconds(10)), seconds(6));
    assert_eq!(give_up_after(seconds(9), seconds(10)), Duration::from_millis(9500));
}

#[test]
fn who_would_acknowledge_unasked_for_the_target_is_recorded() {
    let ackers = |reach: Reach| {
        let mut view = healthy(4);
        spoil_channel(&mut view, 4, |channel| channel.source = Some(uuid(2)));
        if let Some(last) = view.instances.last_mut() {
            last.reach = reach;
        }
        draw(&view, &record(4), InstanceId(1), &policy(4)).unwrap().ackers_after
    };
    assert_eq!(ackers(Reach::Silent), [uuid(3), uuid(4)], "it followed db2 and will attach by itself");
    assert_eq!(ackers(Reach::Answers), [uuid(3), uuid(4)], "it is attached already");
}

#[test]
fn an_acker_that_nobody_can_ask_stays_recorded_wherever_it_was_seen_last() {
    let mut view = healthy(4);
    for (index, seen) in [(2, true), (3, false)] {
        let away = &mut view.instances[index];
        away.reach = Reach::Silent;
        if !seen {
            away.server = None;
        }
    }
    let plan = draw(&view, &record(4), DB2, &policy(4)).unwrap();
    assert_eq!(plan.chain, Chain::InStall(vec![DB1]));
    assert_eq!(plan.ackers_after, [uuid(1), uuid(3), uuid(4)], "as before: until they say that they don't");
}
