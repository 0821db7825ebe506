#![allow(clippy::unwrap_used)]
use super::*;

fn set(text: &str) -> Arc<GtidSet> {
    Arc::new(text.parse().unwrap())
}

#[test]
fn forgotten_is_what_a_fenced_server_lacks_that_was_asked_later() {
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let began = Instant::now();
    let later = began + Duration::from_millis(1);
    let all = set(&format!("{a}:1-9,{b}:1-5"));
    let look_before = Some((Arc::clone(&all), began));
    let primary = ServerView { uuid: a, executed_in_look: all, look_before, ..ServerView::default() };
    let former = |executed: &str, asked, read_only| ServerView {
        uuid: b,
        executed: set(executed),
        executed_asked: Some(asked),
        read_only,
        ..ServerView::default()
    };
    let lacking = format!("{a}:1-9,{b}:1-3");
    let lost = former(&lacking, later, Switch::On);
    assert_eq!(lost.forgot(&primary), *set(&format!("{b}:4-5")));
    let older = former(&lacking, began.checked_sub(later - began).unwrap(), Switch::On);
    assert!(older.forgot(&primary).is_empty() && older.may_have_forgotten(&primary));
    assert!(former(&lacking, later, Switch::Off).forgot(&primary).is_empty(), "it may write");
    let whole = former(&format!("{a}:1,{b}:1-5"), later, Switch::On);
    assert!(whole.forgot(&primary).is_empty() && !whole.may_have_forgotten(&primary));
    let waiting = ServerView { committing: (*set(&format!("{b}:4-5"))).clone(), ..lost };
    assert!(waiting.forgot(&primary).is_empty());
}

#[test]
fn errant_is_what_the_primary_lacks_and_did_not_just_write() {
    let uuid = Uuid::from_u128(1);
    let (a, b) = (uuid, Uuid::from_u128(2));
    let primary = ServerView { uuid, executed: set(&format!("{a}:1-10")), ..ServerView::default() };
    let seen_later = set(&format!("{a}:1-12"));
    let replica = ServerView { executed_before: seen_later, ..ServerView::default() };
    assert!(replica.errant(&primary).is_empty());
    let foreign = set(&format!("{a}:1-10,{b}:1"));
    let replica = ServerView { executed_before: foreign, ..ServerView::default() };
    assert_eq!(replica.errant(&primary), *set(&format!("{b}:1")));
}

#[test]
fn an_older_answer_of_the_primary_makes_nobody_errant() {
    let (former, now) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let at = |ms: u64| Some(Instant::now() + Duration::from_millis(ms));
    // db2 was asked before db1 wrote its last, has that by now, and is the primary.
    let primary = ServerView { uuid: now, executed: set(&format!("{former}:1-10")), ..ServerView::default() };
    let primary = ServerView { executed_asked: at(2000), ..primary };
    let look_before = at(1000).map(|at| (set(&format!("{former}:1-9")), at));
    let executed_before = set(&format!("{former}:1-12"));
    let wrote = ServerView { uuid: former, executed_before, look_before, ..ServerView::default() };
    let wrote = ServerView { executed_before_read: at(2500), ..wrote };
    assert!(wrote.errant(&primary).is_empty());
    let asked = ServerView { executed_asked: at(2600), ..primary.clone() };
    assert_eq!(*set(&format!("{former}:11-12")), wrote.errant(&asked), "it had been asked after");
    // Without an older answer a doubt counts, and an old foreign transaction does in any case.
    assert!(!ServerView { look_before: None, ..wrote.clone() }.errant(&primary).is_empty());
    let look_before = at(1000).map(|at| (set(&format!("{former}:1-9,{}:1", Uuid::from_u128(7))), at));
    assert!(!ServerView { look_before, ..wrote }.errant(&primary).is_empty());
}

#[test]
fn only_an_answer_is_live() {
    let mut view = InstanceView::unseen(InstanceId(0), "db1".into());
    view.server = Some(Arc::default());
    assert!(view.live().is_none());
    view.reach = Reach::Answers;
    assert!(view.live().is_some());
}
