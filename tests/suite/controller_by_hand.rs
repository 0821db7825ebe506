//! Somebody changes the primary without Sluice: it keeps its hands off, says what it sees and what to type.
//!
//! Never here: a server that the harness did not start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

use sluice::controller::api::{FailoverRequest, MarkTerms, OperationState, Request, Status};
use sluice_cluster::{Cluster, Login};

use crate::control::{Control, cluster, writable};

fn adopt(primary: &str) -> Request {
    Request::Adopt { primary: primary.into(), who: "test".into() }
}

/// What the runbook says: this one takes writes, the other one follows it.
async fn promote(cluster: &Cluster, opened: usize, other: usize) {
    let repl = Login::new("repl", "repl-password");
    let (opened, other) = (cluster.node(opened), cluster.node(other));
    for sql in ["STOP REPLICA", "RESET REPLICA ALL"] {
        opened.exec(sql).await.unwrap();
    }
    other.exec("STOP REPLICA").await.unwrap();
    other.follow(opened, &repl).await.unwrap();
    opened.exec("SET GLOBAL read_only=OFF").await.unwrap();
}

fn names(status: &Status, opened: &str, other: &str) -> bool {
    status.verdict == "opened_by_hand"
        && status.evidence.contains(&format!("{opened} is writable, and {other} replicates from it"))
        && status.hint.as_ref().is_some_and(|hint| hint.contains(&format!("sluice adopt --primary {opened}")))
}

/// It was seen, nothing was changed, and it is not about to.
async fn is_left_alone(control: &Control, cluster: &Cluster, opened: usize, epoch: u64) {
    let node = cluster.node(opened);
    let looks = |status: &Status| {
        let failover = &status.failover;
        assert!(failover.state == "off" && failover.winner.is_none(), "{failover:?}");
        status.verdict_age_s >= 2
    };
    control.until("seen for a while", looks).await;
    assert!(writable(node).await, "whoever opened it goes on");
    node.exec("CREATE TABLE IF NOT EXISTS app.t (id INT PRIMARY KEY AUTO_INCREMENT)").await.unwrap();
    node.exec("INSERT INTO app.t VALUES ()").await.unwrap();
    assert_eq!((control.primary(), control.handle.status().epoch), (None, epoch));
    assert!(control.feed.gate().closed().is_some());
}

#[tokio::test]
async fn a_member_that_somebody_made_the_primary_is_left_alone_until_it_is_adopted() {
    let cluster = cluster(3).await;
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    control.settled("db1").await;
    control.stop().unwrap();
    cluster.node(0).kill().await.unwrap();
    promote(&cluster, 2, 1).await;

    // With its old record.
    let control = Control::start(&cluster, store.path());
    control.until("seen", |status| names(status, "db3", "db2")).await;
    is_left_alone(&control, &cluster, 2, 1).await;
    let asked = FailoverRequest { accept_loss: true, who: "test".into(), ..FailoverRequest::default() };
    let id = control.ask(Request::Failover(asked)).await.unwrap();
    assert_eq!(control.ended(&id).await.state, OperationState::Refused);
    control.ask(adopt("db3")).await.unwrap();
    cluster.node(0).start().await.unwrap();
    let settled = control.settled("db3").await;
    assert_eq!(settled.epoch, 2);

    // The same while it runs and may not act, and then it was a mistake.
    control.until("ready", |status| status.failover.state == "ready").await;
    control.ask(Request::Pause(MarkTerms { who: "test".into(), ..MarkTerms::default() })).await.unwrap();
    cluster.node(2).kill().await.unwrap();
    promote(&cluster, 1, 0).await;
    control.until("seen", |status| names(status, "db2", "db1")).await;
    cluster.node(1).exec("SET GLOBAL super_read_only=ON").await.unwrap();
    control.until("taken back", |status| status.verdict.starts_with("primary_")).await;
    cluster.node(2).start().await.unwrap();
    control.ask(Request::Resume { who: "test".into() }).await.unwrap();
    assert_eq!(control.settled("db3").await.epoch, 2);
}
