//! A primary that comes back without transactions that its ackers have.
//!
//! Never here: a primary that comes back with too much.

use std::process::Command;

use super::*;

/// As after a loss of power with `sync_binlog=0`: the whole server is what it was some time ago.
#[tokio::test]
async fn r4_a_primary_without_its_tail_is_replaced_before_it_takes_writes() {
    let stage = stage("").await;
    let old = stage.cluster.node(0);
    let (data, before) = (old.datadir(), old.datadir().with_extension("before"));
    stage.sluice.kill().await.unwrap();
    old.stop().await.unwrap();
    assert!(Command::new("cp").arg("-a").arg(&data).arg(&before).status().unwrap().success());
    old.start().await.unwrap();
    stage.sluice.start().await.unwrap();
    settled(&stage, 1).await;
    let load = load(&stage);
    acknowledged(&stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    judge_errors(&stage, &report);

    stage.sluice.kill().await.unwrap();
    old.kill().await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&before, &data).unwrap();
    old.start().await.unwrap();
    stage.sluice.launch().unwrap();
    // It is a member again in the end: by a copy, since replicas skip what bears their own server_id.
    let after = settled(&stage, 2).await;
    let new = primary(&stage, &after);
    assert_ne!(new, 0, "{after:#}");
    let operation = latest(&stage).await;
    show(&operation);
    let detected = operation.pointer("/steps/0/detail").and_then(Value::as_str).unwrap_or_default();
    assert!(detected.contains("db1 came back without transactions that"), "{operation:#}");
    assert!(word(&operation, "outcome").contains("no acknowledged transaction is lost"), "{operation:#}");
    let new = stage.cluster.node(new);
    let sets = || async { (old.gtid_executed().await.unwrap(), new.gtid_executed().await.unwrap()) };
    let equal = wait_until("everybody to be equal", SOON, || async {
        let (old, new) = sets().await;
        old == new
    });
    assert!(equal.await.is_ok(), "{:?}", sets().await);
    judge_data(&stage, &report, &[0, 1, 2]).await;
}
