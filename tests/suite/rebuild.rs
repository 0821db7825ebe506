//! Members filled with another member's data, on real servers that really drop theirs.
//!
//! Never here: a server that the harness did not start.

use sluice::controller::api::{OperationState, RebuildRequest, RefusalCode, Request};

use crate::control::{Control, cluster};

pub(crate) fn wanted(name: &str) -> Request {
    Request::Rebuild(RebuildRequest { name: name.into(), who: "test".into(), ..RebuildRequest::default() })
}

#[tokio::test]
async fn a_replica_is_filled_by_the_other_one_and_acknowledges_again() {
    let cluster = cluster(3).await;
    cluster.node(0).exec("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    cluster.node(0).exec("INSERT INTO app.t VALUES (1), (2)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    let store = tempfile::tempdir().unwrap();
    let control = Control::start(&cluster, store.path());
    control.settled("db1").await;

    let refused = control.ask(wanted("db1")).await.unwrap_err();
    assert_eq!(refused.code, RefusalCode::NotNow);
    assert!(refused.reason.contains("is the primary"), "{refused:?}");

    let lives = cluster.node(2).lives();
    let id = control.ask(wanted("db3")).await.unwrap();
    assert_eq!(control.ask(wanted("db3")).await.unwrap(), id, "typed twice it is the same");
    let other = control.ask(wanted("db2")).await.unwrap_err();
    assert_eq!(other.code, RefusalCode::Busy, "{other:?}");
    let ended = control.ended(&id).await;
    assert_eq!(ended.state, OperationState::Done, "{ended:#?}");
    println!("{ended:#?}");
    assert!(ended.outcome.unwrap().contains("the data of db2"), "a replica gives before the primary");
    assert_eq!(cluster.node(2).lives(), lives + 1, "it was started once on the new data");
    control.settled("db1").await;
    cluster.node(0).exec("INSERT INTO app.t VALUES (3)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    assert_eq!(cluster.node(2).value::<u32>("SELECT COUNT(*) FROM app.t").await.unwrap(), 3);
    let closed = "SELECT @@global.super_read_only = 1 AND @@global.offline_mode = 0";
    assert_eq!(cluster.node(2).value::<u8>(closed).await.unwrap(), 1);
}
