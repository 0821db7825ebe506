//! Invented answers of the admin API, for tests of what the CLI makes of them.

use crate::admin::{PinView, SessionView};
use crate::controller::api::{GateStatus, InstanceStatus, OperationState, OperationView, Status, StepView};

/// Three instances: a primary, a replica, and one that is down and drained.
pub(crate) fn status() -> Status {
    Status {
        cluster: "shop".into(),
        epoch: 7,
        primary: Some("db1".into()),
        guarantee: "acknowledged by a replica".into(),
        verdict: "healthy".into(),
        evidence: "all 3 instances answer".into(),
        verdict_age_s: 301,
        ackers: vec!["db2".into(), "db3".into()],
        wait_count: 1,
        gate: GateStatus { state: "open".into(), open_units: 2, held: 0, pinned: 1 },
        instances: instances(),
        alarms: vec!["db3 does not answer".into()],
        sessions: 41,
        ..Status::default()
    }
}

fn instances() -> Vec<InstanceStatus> {
    let base = |name: &str, role: &str, reads: &str| InstanceStatus {
        name: name.into(),
        address: format!("10.0.0.{}:3306", name.trim_start_matches("db")),
        role: role.into(),
        reachable: true,
        verdict: "ok".into(),
        version: Some("9.7.4".into()),
        writable: Some(role == "primary"),
        source: (role == "replica").then(|| "db1".into()),
        reads: reads.into(),
        ..InstanceStatus::default()
    };
    vec![
        InstanceStatus {
            semi_sync: Some("source, 2 clients".into()),
            connections: 40,
            ..base("db1", "primary", "primary")
        },
        InstanceStatus {
            replication: Some("receiving+applying".into()),
            lag_ms: Some(12),
            gtid_gap: Some(1),
            semi_sync: Some("acking".into()),
            acker: true,
            connections: 9,
            ..base("db2", "replica", "serving")
        },
        InstanceStatus {
            reachable: false,
            verdict: "refused".into(),
            error: Some("Connection refused".into()),
            seen_ms: Some(3_210),
            mark: Some("drain: new disk".into()),
            ..base("db3", "replica", "draining")
        },
    ]
}

/// A session with two pins.
pub(crate) fn session() -> SessionView {
    let pin = |reason: &str| PinView { reason: reason.into(), sentence: String::new() };
    SessionView {
        id: 1_073_741_825,
        user: Some("app".into()),
        peer: "10.0.0.9:40000".into(),
        listener: "split".into(),
        state: "held".into(),
        route: Some("primary".into()),
        route_reason: Some("pinned".into()),
        route_sentence: Some("Session state ties the session to its connection to the primary.".into()),
        age_ms: 301_000,
        in_transaction_ms: Some(2_500),
        pins: vec![pin("temporary_table"), pin("named_lock")],
        statements: 12,
        instance: Some("db1".into()),
        thread: Some(88),
    }
}

/// A switchover that has ended.
pub(crate) fn switchover() -> OperationView {
    let step = |name: &str, detail: &str, at_us, took_us, result: &str| StepView {
        name: name.into(),
        detail: detail.into(),
        at_us,
        took_us: Some(took_us),
        result: Some(result.into()),
    };
    OperationView {
        id: "7-1".into(),
        kind: "switchover".into(),
        target: Some("db2".into()),
        who: "ann from 127.0.0.1".into(),
        cause: Some("asked for".into()),
        began: "2026-01-01T00:00:00Z".into(),
        ended: Some("2026-01-01T00:00:01Z".into()),
        state: OperationState::Done,
        steps: vec![
            step("preflight", "nothing blocks", 0, 4_000, "ok"),
            step("drain", "2 open transactions ended", 4_000, 3_100, "ok"),
            step("promote", "", 7_100, 2_000, "failed: refused"),
        ],
        stall_us: Some(9_200),
        outcome: Some("db2 is the primary in epoch 8".into()),
        copy: None,
        hint: None,
    }
}
