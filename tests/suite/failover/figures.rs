//! How long a failover takes, and which part of it how long.
//!
//! Never here: a limit that a slow machine would break.

use std::collections::BTreeMap;

use super::*;

/// Writers of whom the figures are told.
const FIGURE_WRITERS: usize = 32;
/// As often as each of them can.
const FIGURE_PACE: Duration = Duration::from_millis(10);
/// Failovers for one median.
const TIMES: usize = 10;

/// The part of a failover that a step belongs to.
const PARTS: [(&str, &str); 9] = [
    ("stop receivers", "fence"),
    ("start appliers", "apply"),
    ("apply everything", "apply"),
    ("attach ackers to the winner", "attach"),
    ("look at the stopped again", "attach"),
    ("change the epoch", "promote"),
    ("winner writable", "promote"),
    ("acknowledged write", "acknowledge"),
    ("release", "release"),
];

/// Milliseconds of each part; what was before the first step is the detection.
fn parts(operation: &Value) -> BTreeMap<&'static str, f64> {
    let micros = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64).unwrap_or_default() / 1e3;
    let steps = operation.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut parts = BTreeMap::new();
    for (name, part) in PARTS {
        let of_name = steps.iter().filter(|step| word(step, "name") == name);
        *parts.entry(part).or_default() += of_name.map(|step| micros(step, "took_us")).sum::<f64>();
    }
    let released = steps.iter().find(|step| word(step, "name") == "release");
    let after_detection = released.map_or(0.0, |step| micros(step, "at_us") + micros(step, "took_us"));
    parts.insert("detect", micros(operation, "stall_us") - after_detection);
    parts
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn ten(fault: Fault) {
    let (mut gaps, mut all) = (Vec::new(), BTreeMap::<_, Vec<f64>>::new());
    for _ in 0..TIMES {
        let stage = stage("").await;
        let load = load_of(&stage, FIGURE_WRITERS, FIGURE_PACE);
        let (gap, report) = fail_over_under(&stage, fault, load).await;
        judge_data(&stage, &report, &OTHERS).await;
        gaps.push(gap.as_secs_f64() * 1e3);
        for (part, took) in parts(&latest(&stage).await) {
            all.entry(part).or_default().push(took);
        }
    }
    gaps.sort_unstable_by(f64::total_cmp);
    let shown: Vec<String> = gaps.iter().map(|gap| format!("{gap:.0}")).collect();
    println!("{fault:?}: {} ms; median {:.0} ms", shown.join(" "), median(gaps));
    for (part, took) in all {
        println!("  {part:<12} median {:.1} ms", median(took));
    }
}

#[tokio::test]
#[ignore = "takes minutes and measures"]
async fn ten_kills_in_figures() {
    ten(Fault::Kill).await;
}

#[tokio::test]
#[ignore = "takes minutes and measures"]
async fn ten_stops_in_figures() {
    ten(Fault::Terminate).await;
}

#[tokio::test]
#[ignore = "takes minutes and measures"]
async fn ten_freezes_in_figures() {
    ten(Fault::Freeze).await;
}
