//! GTID arithmetic against a naive model, and texts as servers print them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn set(text: &str) -> GtidSet {
    text.parse().unwrap()
}

/// (which uuid, which tag, number): small spaces, so that things touch and overlap.
type Model = BTreeSet<(u8, u8, u64)>;

fn gtid((uuid, tag, number): (u8, u8, u64)) -> Gtid {
    let tag = (tag > 0).then(|| Tag::new(&format!("t_{tag}")).unwrap());
    Gtid::new(Uuid::from_u128(u128::from(uuid)), tag, number).unwrap()
}

fn of_model(model: &Model) -> GtidSet {
    let mut set = GtidSet::new();
    model.iter().for_each(|m| set.insert(&gtid(*m)));
    set
}

/// An unordered text with overlapping intervals for the same model.
fn text_of(parts: &[(u8, u8, u64, u64)]) -> (String, Model) {
    let mut model = Model::new();
    let items = parts.iter().map(|(uuid, tag, first, length)| {
        model.extend((*first..first + length).map(|n| (*uuid, *tag, n)));
        let g = gtid((*uuid, *tag, *first));
        if *length == 1 { format!(" {g} ") } else { format!("{g}-{}\n", first + length - 1) }
    });
    (items.collect::<Vec<_>>().join(","), model)
}

fn parts() -> impl Strategy<Value = Vec<(u8, u8, u64, u64)>> {
    proptest::collection::vec((0..3_u8, 0..3_u8, 1..60_u64, 1..9_u64), 0..24)
}

proptest! {
    #[test]
    fn arithmetic_agrees_with_plain_sets(a in parts(), b in parts(), probe in (0..3_u8, 0..3_u8, 1..70_u64)) {
        let ((ta, ma), (tb, mb)) = (text_of(&a), text_of(&b));
        let (a, b) = (set(&ta), set(&tb));
        prop_assert_eq!(&a, &of_model(&ma));
        prop_assert_eq!(a.count(), ma.len() as u64);
        prop_assert_eq!(a.is_empty(), ma.is_empty());
        prop_assert_eq!(a.contains(&gtid(probe)), ma.contains(&probe));
        prop_assert_eq!(a.contains_set(&b), ma.is_superset(&mb));
        let union: Model = ma.union(&mb).copied().collect();
        prop_assert_eq!(a.union(&b), of_model(&union));
        prop_assert!(a.union(&b).contains_set(&a));
        let both: Model = ma.intersection(&mb).copied().collect();
        prop_assert_eq!(a.intersect(&b), of_model(&both));
        let left: Model = ma.difference(&mb).copied().collect();
        prop_assert_eq!(a.subtract(&b), of_model(&left));
    }

    #[test]
    fn insertion_order_does_not_matter(model in proptest::collection::vec((0..2_u8, 0..2_u8, 1..40_u64), 0..60)) {
        let mut inserted = GtidSet::new();
        model.iter().for_each(|m| inserted.insert(&gtid(*m)));
        prop_assert_eq!(inserted, of_model(&model.into_iter().collect()));
    }

    #[test]
    fn printed_sets_read_back(a in parts()) {
        let a = set(&text_of(&a).0);
        prop_assert_eq!(&set(&a.to_string()), &a);
        prop_assert_eq!(&set(&format!("{a:#}")), &a);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9a-f:, \n_-]{0,120}") {
        let _ = text.parse::<GtidSet>();
    }
}

#[test]
fn a_high_water_mark_fills_what_lies_between() {
    let a = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let mut mark = GtidSet::new();
    for (written, expected) in [
        ("5", "5"),
        ("9", "5-9"),
        ("7", "5-9"),
        ("3", "3:5-9"),
        ("t:4", "3:5-9:t:4"),
        ("12-14:t:6", "3:5-14:t:4-6"),
    ] {
        mark.raise(&set(&format!("{a}:{written}")));
        assert_eq!(mark.to_string(), format!("{a}:{expected}"));
    }
}

#[test]
fn canonical_form_is_the_servers() {
    let text = format!(" {B}:7 ,\n{}:TAG:3-4:1:9:tag2:1-2:1-3,{A}:5:4:2-2", A.to_uppercase());
    let expected = format!("{A}:2:4-5:tag:1:3-4:9:tag2:1-3,{B}:7");
    assert_eq!(set(&text).to_string(), expected);
    assert_eq!(format!("{:#}", set(&text)), expected.replace(',', ",\n"));
    assert_eq!(set(&format!("{A} : tag : 1 - 3 : 5")).to_string(), format!("{A}:tag:1-3:5"));
    // An interval after a tag belongs to the tag.
    assert_eq!(
        set(&format!("{A}:1-2:tag:3")).subtract(&set(&format!("{A}:tag:3"))).to_string(),
        format!("{A}:1-2")
    );
    assert_eq!(set(&format!(",,{A}:1,,")).count(), 1);
    assert_eq!(set("\n"), GtidSet::new());
}

#[test]
fn extremes() {
    let all =
        set(&format!("{A}:1-9223372036854775806,{B}:1-9223372036854775806,{A}:x:1-9223372036854775806"));
    assert_eq!(all.count(), u64::MAX);
    let mut top = set(&format!("{A}:9223372036854775806"));
    assert_eq!(
        all.subtract(&top).subtract(&set(&format!("{A}:2-9223372036854775805"))).of(A.parse().unwrap()),
        set(&format!("{A}:1:x:1-9223372036854775806"))
    );
    top.insert(&Gtid::new(A.parse().unwrap(), None, MAX_GTID_NUMBER - 1).unwrap());
    assert_eq!(top.to_string(), format!("{A}:9223372036854775805-9223372036854775806"));
}

#[test]
fn mistakes_are_named_with_their_place() {
    let error = |text: String| text.parse::<GtidSet>().unwrap_err();
    assert_eq!(error("nonsense".into()), GtidError::Uuid { at: 0 });
    assert_eq!(error(A.into()), GtidError::Part { at: 36 });
    assert_eq!(error(format!("{A}:")), GtidError::Part { at: 37 });
    assert_eq!(error(format!("{A}:1,{A}:0")), GtidError::Interval { at: 76 });
    assert_eq!(error(format!("{A}:3-2")), GtidError::Interval { at: 37 });
    assert_eq!(error(format!("{A}:9223372036854775807")), GtidError::Interval { at: 37 });
    assert_eq!(error(format!("{A}:1-+2")), GtidError::Interval { at: 37 });
    assert_eq!(error(format!("{A}:tag:tag2:1")), GtidError::Part { at: 41 });
    assert_eq!(error(format!("{A}:1:tag")), GtidError::Part { at: 42 });
    assert_eq!(error(format!("{A}:{}:1", "x".repeat(33))), GtidError::Part { at: 37 });
    assert_eq!(error(A.replace('-', "")), GtidError::Uuid { at: 0 });
    assert_eq!(error(" ".repeat(MAX_GTID_TEXT + 1)), GtidError::TooLong { length: MAX_GTID_TEXT + 1 });
    assert_eq!(format!("{A}:1-2").parse::<Gtid>(), Err(GtidError::NotSingle));
    assert_eq!(format!("{A}:T:12").parse::<Gtid>().unwrap().to_string(), format!("{A}:t:12"));
}

/// A hostile set of a million parts takes linear work: this would run for hours if it did not.
#[test]
fn large_sets_take_linear_work() {
    let mut text = String::from(A);
    (0..1_000_000_u32).rev().for_each(|n| text.push_str(&format!(":{}", 2 * n + 1)));
    let many = set(&text);
    assert_eq!(many.count(), 1_000_000);
    assert!(many.contains_set(&many.clone()));
    assert!(many.subtract(&many).is_empty());
    assert_eq!(many.union(&set(&format!("{A}:1-2000000"))).to_string(), format!("{A}:1-2000000"));
}
