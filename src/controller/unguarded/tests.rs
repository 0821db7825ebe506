#![allow(clippy::unwrap_used)]
use sluice_routing::topology::InstanceId;

use super::*;
use crate::controller::assess::{Assessment, Trust, assess};
use crate::controller::failover;
use crate::controller::guarantee;
use crate::controller::lag::LagMeter;
use crate::controller::pictures::{healthy, policy, record, set, spoil, spoil_channel, uuid};
use crate::controller::plan::plan;
use crate::controller::publish::{self, Picture};
use crate::controller::record::{
    Guarantee, OperationKind, OperationRecord, OwnTransactions, Pause, Phase, RebuildCause, RebuildPhase,
    RebuildRecord,
};
use crate::controller::view::Reach;

const DB1: InstanceId = InstanceId(0);
const AFTER: Duration = Duration::from_secs(30);
const LONGEST: u64 = 3600;
const RULE: WithoutAcker =
    WithoutAcker::Continue(Allowance { after: AFTER, longest: Duration::from_secs(LONGEST) });
/// When the window of these tests begins.
const SINCE: u64 = 1_000;

/// Both ackers are gone, and a commit waits.
fn deserted() -> ClusterView {
    let mut view = healthy(3);
    semi_sync(&mut view, 1, |semi_sync| (semi_sync.clients, semi_sync.waiters) = (0, 1));
    for replica in [1, 2] {
        view.instances[replica].reach = Reach::Silent;
    }
    view
}

fn semi_sync(view: &mut ClusterView, number: usize, change: impl FnOnce(&mut SemiSyncView)) {
    spoil(view, number, |server| change(server.semi_sync.as_mut().unwrap()));
}

fn not_waiting(mut view: ClusterView) -> ClusterView {
    semi_sync(&mut view, 1, |semi_sync| semi_sync.waiting = Switch::Off);
    view
}

fn in_window(stage: Stage) -> Record {
    let Some(allowance) = RULE.allowance() else { return record(3) };
    let window = Window { stage, ..window("db1", allowance, SINCE) };
    Record { guarantee: Guarantee::Broken, window: Some(window), ..record(3) }
}

fn judged(view: &ClusterView, record: &Record) -> Assessment {
    assess(view, Some(record), Trust::Checked, &Err(String::new()), Instant::now())
}

fn next(view: &ClusterView, record: &Record, lacking: Duration, now: u64) -> Option<Step> {
    step(view, record, &judged(view, record).verdict, (lacking, now), RULE)
}

#[test]
fn it_begins_after_its_time() {
    let (view, record) = (deserted(), record(3));
    assert_eq!(next(&view, &record, AFTER - Duration::from_millis(1), SINCE), None);
    assert_eq!(next(&view, &record, AFTER, SINCE), Some(Step::LetGo(DB1)));
    let verdict = judged(&view, &record).verdict;
    assert_eq!(step(&view, &record, &verdict, (AFTER * 9, SINCE), WithoutAcker::Stall), None, "the default");
}

#[test]
fn the_time_counts_without_a_break() {
    let (view, record, start) = (deserted(), record(3), Instant::now());
    let mut lack = Lack::default();
    let mut note = |view: &ClusterView, after: u64| {
        lack.note(view, &record, &judged(view, &record).verdict, start + Duration::from_secs(after)).as_secs()
    };
    assert_eq!((note(&view, 0), note(&view, 20)), (0, 20));
    assert_eq!(note(&healthy(3), 21), 0, "somebody was there");
    assert_eq!((note(&view, 22), note(&view, 40)), (0, 18));
}

#[test]
fn it_does_not_begin_while_an_acker_may_come_or_something_else_goes_on() {
    let begins = |spoil: &dyn Fn(&mut ClusterView, &mut Record)| {
        let (mut view, mut record) = (deserted(), record(3));
        spoil(&mut view, &mut record);
        next(&view, &record, AFTER, SINCE).is_some()
    };
    assert!(begins(&|_, _| {}));
    assert!(
        !begins(&|view, _| view.instances[1].reach = Reach::Answers),
        "db2 is attached, and does not acknowledge yet"
    );
    assert!(!begins(&|view, _| spoil(view, 1, |server| server.lock = LockView::Free)));
    assert!(!begins(&|view, _| spoil(view, 1, |server| server.read_only = Switch::On)));
    assert!(!begins(&|view, _| view.instances[0].reach = Reach::Silent));
    assert!(!begins(&|_, record| {
        record.pause = Some(Pause { who: "ann".into(), reason: None, until: None });
    }));
    assert!(!begins(&|_, record| record.rebuild = Some(rebuild())));
    assert!(!begins(&|_, record| record.operation = Some(operation())));
    assert!(!begins(&|_, record| record.window = in_window(Stage::Over).window), "it has had its time");
}

fn rebuild() -> RebuildRecord {
    RebuildRecord {
        id: "r".into(),
        who: "ann".into(),
        member: "db2".into(),
        uuid: uuid(2),
        from: None,
        donor: None,
        phase: RebuildPhase::Preparing,
        attempts: 0,
        before: None,
        own: OwnTransactions::Keep,
        cause: RebuildCause::Asked,
    }
}

fn operation() -> OperationRecord {
    OperationRecord {
        id: "x".into(),
        kind: OperationKind::Switchover,
        who: "me".into(),
        from: uuid(1),
        to: uuid(2),
        phase: Phase::Preparing,
        ackers_before: vec![],
        found_moved: None,
    }
}

/// The dead connections of frozen ackers are counted still.
#[test]
fn a_primary_on_which_nothing_moves_is_not_believed() {
    let mut view = deserted();
    semi_sync(&mut view, 1, |semi_sync| semi_sync.clients = 2);
    assert_eq!(next(&view, &record(3), AFTER, SINCE), None);
    semi_sync(&mut view, 1, |semi_sync| semi_sync.unmoved = 5);
    assert_eq!(next(&view, &record(3), AFTER, SINCE), Some(Step::LetGo(DB1)));
}

#[test]
fn what_a_killed_sluice_has_begun_is_finished() {
    let record = in_window(Stage::Open);
    assert_eq!(
        next(&deserted(), &record, Duration::ZERO, SINCE),
        Some(Step::LetGo(DB1)),
        "only recorded yet"
    );
    assert_eq!(next(&not_waiting(deserted()), &record, Duration::ZERO, SINCE), None, "it is as it should be");
}

#[test]
fn an_open_window_is_seen_and_left_alone() {
    let (view, record) = (not_waiting(deserted()), in_window(Stage::Open));
    let assessment = judged(&view, &record);
    assert_eq!(assessment.verdict, Verdict::Unguarded, "{}", assessment.evidence);
    assert!(assessment.verdict.writes_allowed() && assessment.evidence.contains("1970-01-01T00:16:40Z"));
    assert_eq!(plan(&view, &record, &assessment, &policy(3), &[]), []);
    assert!(failover::doubt(&view, &record).unwrap().contains("without an acker since"));
    assert!(
        guarantee::words(&record, RULE)
            .starts_with("none since 1970-01-01T00:16:40Z, until 1970-01-01T01:16:40Z")
    );
    let told = |record: &Record, view: &ClusterView| {
        let lags = LagMeter::new(Duration::from_secs(10));
        let picture = Picture {
            view,
            record: Some(record),
            primary: Some(DB1),
            coming: None,
            warm: None,
            waited: None,
            lags: &lags,
            now: Instant::now(),
        };
        let alarm = publish::alarms(&picture).into_iter().any(|alarm| alarm.contains("without an acker"));
        (publish::receipt_rule(&picture).is_some(), alarm)
    };
    assert_eq!(told(&record, &view), (false, true), "no OK is held back for an acker");
    assert_eq!(told(&in_window(Stage::Over), &deserted()), (true, true));
}

#[test]
fn it_ends_when_enough_ackers_have_caught_up() {
    let record = in_window(Stage::Open);
    let mut view = not_waiting(healthy(3));
    view.instances[2].reach = Reach::Silent;
    semi_sync(&mut view, 1, |semi_sync| semi_sync.clients = 1);
    spoil(&mut view, 1, |server| server.executed = set("1:1-90000"));
    assert_eq!(next(&view, &record, Duration::ZERO, SINCE), None, "it lacks too much yet");
    spoil_channel(&mut view, 2, |channel| channel.received = (*set("1:1-89990")).clone());
    assert_eq!(
        next(&view, &record, Duration::ZERO, SINCE),
        Some(Step::StartWaiting(DB1)),
        "the rest it applies later"
    );
    semi_sync(&mut view, 1, |semi_sync| semi_sync.waiting = Switch::On);
    assert_eq!(next(&view, &record, Duration::ZERO, SINCE), None);
    let assessment = judged(&view, &record);
    assert_eq!(assessment.verdict, Verdict::Healthy);
    assert_eq!(plan(&view, &record, &assessment, &policy(3), &[]), [Step::Barrier(DB1)]);
    semi_sync(&mut view, 2, |semi_sync| semi_sync.acking_now = Switch::Off);
    let silent = not_waiting(view);
    assert_eq!(next(&silent, &record, Duration::ZERO, SINCE), None, "it receives and acknowledges nothing");
}

#[test]
fn it_ends_when_its_time_is_over_and_does_not_begin_again() {
    let (open, over) = (in_window(Stage::Open), in_window(Stage::Over));
    let view = not_waiting(deserted());
    assert_eq!(next(&view, &open, Duration::ZERO, SINCE + LONGEST - 1), None);
    assert_eq!(next(&view, &open, Duration::ZERO, SINCE + LONGEST), Some(Step::WaitAgain(DB1)));
    let verdict = judged(&view, &open).verdict;
    let stall = step(&view, &open, &verdict, (Duration::ZERO, SINCE), WithoutAcker::Stall);
    assert_eq!(stall, Some(Step::WaitAgain(DB1)), "the rule was taken back");
    let waits = deserted();
    assert_eq!(next(&waits, &over, AFTER * 100, SINCE + 9 * LONGEST), None);
    let assessment = judged(&waits, &over);
    assert_eq!(assessment.verdict, Verdict::SemiSyncStarved);
    assert!(
        assessment.evidence.contains("is over since") && assessment.hint.unwrap().contains("continue_for")
    );
    let steps = plan(&view, &over, &judged(&view, &over), &policy(3), &[]);
    assert_eq!(steps, [Step::StartWaiting(DB1)], "whoever switched it off");
}

#[test]
fn a_longer_time_holds_for_a_window_that_there_is() {
    let longer = |longest: u64| {
        WithoutAcker::Continue(Allowance { after: AFTER, longest: Duration::from_secs(longest) })
    };
    let (open, over) = (in_window(Stage::Open).window.unwrap(), in_window(Stage::Over).window.unwrap());
    let now = SINCE + LONGEST + 5;
    assert_eq!(fitted(&open, RULE, now), None);
    assert_eq!(fitted(&over, RULE, SINCE), None, "a clock that was set back changes nothing");
    assert_eq!(fitted(&over, longer(LONGEST + 1), now), None, "not long enough");
    let again = fitted(&over, longer(LONGEST + 60), now).unwrap();
    assert_eq!((again.stage, again.until), (Stage::Open, SINCE + LONGEST + 60));
    assert_eq!(fitted(&open, longer(60), SINCE + 70).unwrap().until, SINCE + 60, "or a shorter one");
    assert_eq!(fitted(&open, WithoutAcker::Stall, now), None);
}
