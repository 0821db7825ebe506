//! Pictures of clusters for the tests of the pure files: a healthy one, to be spoiled by each test.
//!
//! Never here: anything that the product uses.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a picture that can't be drawn fails the test"
)]

use std::sync::Arc;
use std::time::Instant;

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::adopt::Policy;
use super::record::{EpochRow, Guarantee, Record};
use super::view::{
    BootView, ChannelView, ClusterView, InstanceView, LockView, Reach, SemiSyncView, ServerView, Switch,
    Thread,
};

/// `server_uuid` of `db1`, `db2`, ...
pub(super) fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A set such as `1:1-10` with the number of the server in place of its uuid.
pub(super) fn set(text: &str) -> Arc<GtidSet> {
    let written = text.split(',').filter(|part| !part.is_empty()).map(|part| {
        let (server, numbers) = part.split_once(':').unwrap();
        format!("{}:{numbers}", uuid(server.parse().unwrap()))
    });
    Arc::new(written.collect::<Vec<_>>().join(",").parse().unwrap())
}

/// `db1` is the primary of all others, everything is as upkeep wants it.
pub(super) fn healthy(members: u16) -> ClusterView {
    let instances = (0..members).map(|index| {
        let number = u128::from(index) + 1;
        let mut view = InstanceView::unseen(InstanceId(index), format!("db{number}").into());
        view.reach = Reach::Answers;
        view.looks = 1;
        view.seen = Some(Instant::now());
        view.server = Some(Arc::new(server(number, members)));
        view
    });
    ClusterView { instances: instances.collect() }
}

fn server(number: u128, members: u16) -> ServerView {
    let is_primary = number == 1;
    let switch = |on: bool| if on { Switch::On } else { Switch::Off };
    let waits = is_primary && members > 1;
    ServerView {
        uuid: uuid(number),
        version: "9.7.4".into(),
        connection: 10,
        read_only: switch(!is_primary),
        super_read_only: switch(!is_primary),
        executed: set("1:1-10"),
        executed_before: set("1:1-10"),
        executed_in_look: set("1:1-10"),
        uptime: 100,
        logs: Switch::On,
        boot: BootView::Fenced,
        gtid_mode: Switch::On,
        net_timeout: 4,
        lock: LockView::Ours,
        channel: (!is_primary).then(|| ChannelView {
            host: "h1".into(),
            port: 3306,
            heartbeat: 2.0,
            source: Some(uuid(1)),
            receiver: Thread::Running,
            received: (*set("1:1-10")).clone(),
            applier: Thread::Running,
            auto_position: Switch::On,
            ..ChannelView::default()
        }),
        semi_sync: Some(SemiSyncView {
            waiting: switch(waits),
            status: switch(waits),
            clients: if waits { u32::from(members) - 1 } else { 0 },
            count: 1,
            strict: Switch::On,
            timeout_ms: u64::from(u32::MAX),
            unacknowledged: 0,
            waiters: 0,
            unmoved: 0,
            acking: switch(!is_primary),
            acking_now: switch(!is_primary),
        }),
        epoch_row: Some(record(members).row()),
        ..ServerView::default()
    }
}

/// The record of [`healthy`].
pub(super) fn record(members: u16) -> Record {
    Record {
        version: 2,
        cluster: "shop".into(),
        epoch: 3,
        primary: uuid(1),
        primary_name: "db1".into(),
        ackers: (2..=u128::from(members)).map(uuid).collect(),
        wait_count: u16::from(members > 1),
        guarantee: Guarantee::Acknowledged,
        operation: None,
        who: "adopt".into(),
        marks: Vec::new(),
        promotions: Vec::new(),
        rebuild: None,
        deposed: Vec::new(),
        pause: None,
        window: None,
    }
}

/// Every instance may acknowledge.
pub(super) fn policy(members: u16) -> Policy {
    let wait_count = match members {
        1 => 0,
        2..=4 => 1,
        _ => 2,
    };
    Policy { may_ack: vec![true; usize::from(members)], wait_count }
}

/// Changes what a server answered.
pub(super) fn spoil(view: &mut ClusterView, number: usize, change: impl FnOnce(&mut ServerView)) {
    change(Arc::make_mut(view.instances[number - 1].server.as_mut().unwrap()));
}

/// Changes its replication channel.
pub(super) fn spoil_channel(view: &mut ClusterView, number: usize, change: impl FnOnce(&mut ChannelView)) {
    spoil(view, number, |server| change(server.channel.as_mut().unwrap()));
}

/// No instance has epoch rows.
pub(super) fn unadopted(members: u16) -> ClusterView {
    let mut view = healthy(members);
    for number in 1..=usize::from(members) {
        spoil(&mut view, number, |server| {
            server.epoch_row = None;
            server.lock = LockView::Free;
        });
    }
    view
}

/// A row of an epoch with this primary.
pub(super) fn row(epoch: u64, primary: u128) -> EpochRow {
    EpochRow { epoch, primary: uuid(primary), ..record(3).row() }
}
