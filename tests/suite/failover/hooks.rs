//! Programs that are told of what happens, as badly behaved as programs are, while a primary is changed and dies.
//!
//! Never here: how a program is run (that is tested without servers).

use std::process::Output;

use super::*;
use crate::process::verb;

/// Nobody else sleeps for so long.
const FOR_EVER: &str = "86211";

fn typed(stage: &Stage, arguments: &[&str]) -> Output {
    let output = verb(&stage.sluice, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// The latest entry of the history about this program.
async fn entry(stage: &Stage, hook: &str) -> Value {
    let found = Mutex::new(Value::Null);
    let waited = wait_until(hook, SOON, || async {
        let all = stage.admin().get("/history").await.unwrap();
        let all = all.as_array().cloned().unwrap_or_default();
        let of = |one: &Value| word(one, "kind") == "hook" && word(one, "target") == hook;
        let last = all.into_iter().rev().find(of);
        last.is_some_and(|last| {
            *found.lock().unwrap() = last;
            true
        })
    })
    .await;
    assert!(waited.is_ok(), "no entry of {hook}");
    found.into_inner().unwrap()
}

fn told(folder: &Path, file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

fn anybody_left() -> bool {
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = commands.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).any(|words| words.contains(FOR_EVER))
}

#[tokio::test]
async fn programs_are_told_and_can_neither_delay_nor_prevent_anything() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let toml = format!(
        "[hooks.before_fence]\ncommand = ['/bin/sh', '-c', 'cat > {at}/fence; sleep {FOR_EVER}']\ntimeout = '400ms'\n\
         [hooks.after_promote]\ncommand = ['/bin/sh', '-c', 'cat > {at}/promoted; yes | head -c 3000000']\n\
         [hooks.after_switchover]\ncommand = ['/bin/sh', '-c', 'exec <&-; echo no >&2; exit 3']\n\
         [hooks.on_alarm]\ncommand = ['/bin/sh', '-c', 'cat >> {at}/alarms; sleep {FOR_EVER} & echo told']\n"
    );
    let stage = stage(&toml).await;
    let load = load(&stage);
    acknowledged(&stage, &load, WARM).await;
    typed(&stage, &["switchover", "--to", "db2", "--wait", "30s"]);
    let switched = entry(&stage, "after_switchover").await;
    assert_eq!(word(&switched, "state"), "failed", "{switched:#}");
    assert_eq!(word(&switched, "outcome"), "exit status: 3");
    assert_eq!(switched.pointer("/steps/0/detail").and_then(Value::as_str), Some("stderr: no"));
    settled(&stage, 2).await;

    stage.cluster.node(1).kill().await.unwrap();
    until(&stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(3)
    })
    .await;
    acknowledged(&stage, &load, AFTER).await;
    let failover = latest(&stage).await;
    show(&failover);
    let steps = failover.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let fence =
        steps.iter().find(|step| word(step, "name") == "hook before_fence").expect("the hook is a step");
    assert_eq!(word(fence, "result"), "failed: killed after 400ms");
    let took = fence.get("took_us").and_then(Value::as_u64).unwrap_or_default();
    assert!((400_000..2_000_000).contains(&took), "{took} us");
    let fence = told(folder.path(), "fence");
    assert_eq!(fence.pointer("/old_primary/name").and_then(Value::as_str), Some("db2"), "{fence:#}");
    assert_eq!(fence.get("operation"), failover.get("id"));
    let promoted = entry(&stage, "after_promote").await;
    assert_eq!(word(&promoted, "state"), "done", "{promoted:#}");
    let output = promoted.pointer("/steps/0/detail").and_then(Value::as_str).unwrap_or_default();
    assert!(output.ends_with("bytes more") && output.len() < 10_000, "{}", output.len());
    let promoted = told(folder.path(), "promoted");
    assert_eq!(
        promoted.pointer("/new_primary/name").and_then(Value::as_str),
        failover.get("target").and_then(Value::as_str)
    );
    assert!(word(&promoted, "loss").starts_with("no acknowledged transaction is lost"), "{promoted:#}");
    assert_eq!(word(&entry(&stage, "on_alarm").await, "state"), "done");
    // Another alarm may have been told before it; then it is told some seconds later.
    let alarms = || std::fs::read_to_string(folder.path().join("alarms")).unwrap_or_default();
    let told = wait_until("the alarm of db2", SOON, || async { alarms().contains("db2") }).await;
    assert!(told.is_ok(), "{}", alarms());
    let gone = || async { !anybody_left() };
    wait_until("nobody to be left behind", SOON, gone).await.unwrap();
    let report = load.stop().await.unwrap();
    judge_errors(&stage, &report);
}
