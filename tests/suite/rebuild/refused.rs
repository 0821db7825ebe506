//! Rebuilds that must not begin, and one whose way is cut.

use std::net::Ipv4Addr;

use super::*;
use crate::control::{accounts, config};
use crate::failover::faults::door::{Door, Way};

/// Servers of several versions are not to be had here (that is decided in `controller::rebuild`, by versions); what else does not
/// fit is found at the servers, before anything of the member is touched.
#[tokio::test]
async fn r10_data_that_do_not_fit_are_refused_before_anything_is_dropped() {
    let cluster = Cluster::builder().nodes(2).option("max_allowed_packet=1M").start().await.unwrap();
    cluster.setup_replication(0, &accounts()).await.unwrap();
    let store = tempfile::tempdir().unwrap();
    let mut config = config(&cluster, store.path(), "[durability]\nwithout_acker = \"stall\"\n");
    // An only acker could not be spared anyway.
    config.instances[1].acker = false;
    let control = Control::start_with(config);
    control.until("adopted", |status| status.verdict == "healthy").await;
    cluster.node(0).exec("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    cluster.wait_caught_up(0).await.unwrap();
    let before = cluster.node(1).gtid_executed().await.unwrap();
    let id = control.ask(wanted("db2")).await.unwrap();
    let ended = control.ended(&id).await;
    assert_eq!(ended.state, OperationState::Refused, "{ended:#?}");
    let why = ended.outcome.unwrap_or_default();
    assert!(why.contains("max_allowed_packet"), "{why}");
    // Sluice itself may have written since.
    let kept = format!("SELECT GTID_SUBSET('{before}', @@gtid_executed)");
    assert!(cluster.node(1).value::<bool>(&kept).await.unwrap());
    assert_eq!(cluster.node(1).value::<u32>("SELECT COUNT(*) FROM app.t").await.unwrap(), 0);
    control.until("serving", |status| status.instances.iter().all(|one| one.reads == "serving")).await;
}

/// Everything that comes from the donor passes a door that is shut for this long in the middle of the copy.
async fn cut_for(seconds: u64) {
    let cluster = cluster(3).await;
    let door = Door::to(cluster.node(1).address().into(), Ipv4Addr::LOCALHOST).await;
    let store = tempfile::tempdir().unwrap();
    let mut config = config(&cluster, store.path(), "[rebuild]\nmax_speed = \"5MiB\"\n");
    config.instances[1].replication_address = Some(door.address.to_string().into());
    let control = Control::start_with(config);
    control.settled("db1").await;
    cluster.node(0).exec("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    cluster.node(2).exec("SET GLOBAL clone_delay_after_data_drop = 0").await.unwrap();
    // The server's own throttle takes a second to set in, in which all of so little data may have passed.
    door.set(Way::Narrow);
    let id = control.ask(wanted("db3")).await.unwrap();
    let flows = |view: &OperationView| {
        view.copy.as_ref().is_some_and(|copy| copy.done_bytes > 0 && copy.seconds_left.is_some())
    };
    let seen = control.until("bytes to flow", |status| status.rebuild.as_ref().is_some_and(flows)).await;
    let copied = |status: &sluice::controller::api::Status| {
        status.rebuild.as_ref().and_then(|view| view.copy.as_ref()).map_or(0, |copy| copy.done_bytes)
    };
    let at = copied(&seen);
    door.set(Way::Shut);
    door.cut();
    let shut = tokio::time::Instant::now();
    let over = || std::future::ready(shut.elapsed() >= std::time::Duration::from_secs(seconds));
    wait_until("the way to be shut for a while", SOON + std::time::Duration::from_secs(seconds), over)
        .await
        .unwrap();
    door.set(Way::Open);
    let further = |status: &sluice::controller::api::Status| status.rebuild.is_none() || copied(status) > at;
    control.until("to go on", further).await;
    let ended = done(&control, &id).await;
    assert_eq!(steps(&ended, "copy"), ["from db2 [ok]"], "one statement, one donor: {ended:#?}");
    control.settled("db1").await;
    assert_eq!(cluster.node(2).value::<u32>("SELECT COUNT(*) FROM app.t").await.unwrap(), 0);
}

#[tokio::test]
async fn r11_a_copy_whose_way_is_cut_goes_on_in_the_same_statement() {
    cut_for(3).await;
}

#[tokio::test]
#[ignore = "make test-faults"]
async fn r11_for_a_minute() {
    cut_for(60).await;
}
