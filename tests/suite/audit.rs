//! Whether the history tells everything about an operation: why, who, since when, each step with its time, and how it ended.
//!
//! Never here: an operation.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

/// The entries of one kind in the history of a store, each of which is complete; none before the first one.
pub(crate) fn audited(store: &Path, kind: &str) -> Vec<Value> {
    let text = match std::fs::read_to_string(store.join("history.jsonl")) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("{error}"),
    };
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries: Vec<Value> = all.filter(|entry| word(entry, "kind") == kind).collect();
    entries.iter().for_each(judge);
    entries
}

fn word<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn judge(entry: &Value) {
    for key in ["id", "kind", "who", "cause", "began", "ended", "state", "outcome"] {
        assert!(!word(entry, key).is_empty(), "no {key}: {entry:#}");
    }
    let at = |key: &str| humantime::parse_rfc3339(word(entry, key)).unwrap();
    let took = at("ended").duration_since(at("began")).unwrap().as_micros();
    let mut latest = 0;
    for step in entry.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let micros = |key: &str| step.get(key).and_then(Value::as_u64);
        let (Some(began), Some(lasted)) = (micros("at_us"), micros("took_us")) else {
            panic!("no times: {step:#}")
        };
        assert!(!word(step, "name").is_empty() && !word(step, "result").is_empty(), "{step:#}");
        assert!(began >= latest, "out of order: {entry:#}");
        // Times of the clock are cut to milliseconds.
        assert!(u128::from(began + lasted) <= took + 2000, "longer than all of it: {entry:#}");
        latest = began;
    }
}
