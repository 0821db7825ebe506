//! Members filled with another member's data, on real servers that really drop theirs.
//!
//! Never here: a server that the harness did not start.

mod broken;
mod by_itself;
mod refused;
mod under_load;

use sluice::controller::api::{OperationState, OperationView, RebuildRequest, RefusalCode, Request};
use sluice_cluster::{Cluster, Node, wait_until};

use crate::control::{Control, SOON, cluster};

fn wanted(name: &str) -> Request {
    Request::Rebuild(RebuildRequest { name: name.into(), who: "test".into(), ..RebuildRequest::default() })
}

/// Three members with a table of two rows, and a controller.
async fn three(store: &std::path::Path) -> (Cluster, Control) {
    let cluster = cluster(3).await;
    cluster.node(0).exec("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    cluster.node(0).exec("INSERT INTO app.t VALUES (1), (2)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    let control = Control::start(&cluster, store);
    control.settled("db1").await;
    control.until("ready", |status| status.failover.state == "ready").await;
    (cluster, control)
}

/// Follows the operation and says how it ended.
async fn done(control: &Control, id: &str) -> OperationView {
    let ended = control.ended(id).await;
    assert_eq!(ended.state, OperationState::Done, "{ended:#?}");
    ended
}

fn steps(view: &OperationView, name: &str) -> Vec<String> {
    let named = view.steps.iter().filter(|step| step.name == name);
    named.map(|step| format!("{} [{}]", step.detail, step.result.as_deref().unwrap_or("?"))).collect()
}

/// Everybody has all rows, and this node is fenced and open for reads.
async fn whole(cluster: &Cluster, control: &Control, primary: usize, filled: &Node) {
    control.settled(cluster.node(primary).name()).await;
    cluster.node(primary).exec("INSERT INTO app.t SELECT MAX(id) + 1 FROM app.t").await.unwrap();
    cluster.wait_caught_up(primary).await.unwrap();
    let rows = "SELECT COUNT(*) FROM app.t";
    let expected = cluster.node(primary).value::<u32>(rows).await.unwrap();
    assert_eq!(filled.value::<u32>(rows).await.unwrap(), expected);
    let closed = "SELECT @@global.super_read_only = 1 AND @@global.offline_mode = 0";
    assert_eq!(filled.value::<u8>(closed).await.unwrap(), 1);
}

#[tokio::test]
async fn a_replica_is_filled_by_the_other_one_and_acknowledges_again() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let refused = control.ask(wanted("db1")).await.unwrap_err();
    assert_eq!(refused.code, RefusalCode::NotNow);
    assert!(refused.reason.contains("is the primary"), "{refused:?}");

    let lives = cluster.node(2).lives();
    let id = control.ask(wanted("db3")).await.unwrap();
    assert_eq!(control.ask(wanted("db3")).await.unwrap(), id, "typed twice it is the same");
    let other = control.ask(wanted("db2")).await.unwrap_err();
    assert_eq!(other.code, RefusalCode::Busy, "{other:?}");
    let ended = done(&control, &id).await;
    assert!(ended.outcome.unwrap().contains("the data of db2"), "a replica gives before the primary");
    assert_eq!(cluster.node(2).lives(), lives + 1, "it was started once on the new data");
    whole(&cluster, &control, 0, cluster.node(2)).await;
}

#[tokio::test]
async fn what_only_this_member_has_is_kept_in_the_store() {
    let store = tempfile::tempdir().unwrap();
    let (cluster, control) = three(store.path()).await;
    let strange = cluster.node(2);
    strange.exec("SET GLOBAL super_read_only = 0, GLOBAL read_only = 0").await.unwrap();
    strange.exec("INSERT INTO app.t VALUES (4711)").await.unwrap();
    strange.exec("CREATE TABLE app.own (id INT)").await.unwrap();
    control
        .until("quarantined", |status| {
            let db3 = status.instances.get(2);
            db3.is_some_and(|db3| db3.reads == "quarantined" && db3.writable == Some(false))
        })
        .await;
    let id = control.ask(wanted("db3")).await.unwrap();
    let ended = done(&control, &id).await;
    assert!(ended.outcome.as_ref().unwrap().contains("own transactions"), "{ended:#?}");
    assert_eq!(crate::audit::audited(store.path(), "rebuild").len(), 1);
    whole(&cluster, &control, 0, strange).await;
    let own = "SELECT COUNT(*) FROM app.t WHERE id = 4711";
    assert_eq!(strange.value::<u32>(own).await.unwrap(), 0);

    let files: Vec<_> = std::fs::read_dir(store.path().join("tails")).unwrap().collect();
    assert_eq!(files.len(), 1);
    let tool = cluster.mysqld().path().with_file_name("mysqlbinlog");
    let tool = if tool.exists() { tool } else { "mysqlbinlog".into() };
    let file = files[0].as_ref().unwrap().path();
    let shown = std::process::Command::new(tool).args(["--no-defaults", "-vv"]).arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    assert!(text.contains("@1=4711") && text.contains("CREATE TABLE app.own"), "{text}");
    assert_eq!(text.matches("GTID_NEXT= '").count(), 3, "two transactions and the end:\n{text}");
}
