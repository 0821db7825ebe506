//! The fault matrix: named faults on real clusters under a load that keeps a ledger, each with what has to come of it.
//!
//! A row that another suite has is named here and not repeated. `make test` runs a form of each row that takes seconds,
//! `make test-faults` the long forms as well.
//!
//! | row | fault | where |
//! | --- | --- | --- |
//! | D1, R1 | SIGKILL of the primary, which returns | `failover::a_killed_primary_is_replaced_and_nothing_is_lost` |
//! | D2 | SIGKILL, and its supervisor starts it again at once | `died` |
//! | D3 | frozen, thawed after the failover | `failover::a_frozen_primary_is_replaced_and_fenced_when_it_thaws` |
//! | D4 | frozen for a moment | `alive` |
//! | D5 | all its connections taken by others | `alive` |
//! | D6 | read-locked by somebody | `alive` |
//! | D7 | its disk is full | `disk` |
//! | D8, D11 | cut off from Sluice alone: refused, or swallowed | `network` |
//! | D9 | cut off from its replicas alone | `network` |
//! | D12 | Sluice's address blocked by error 1129 | `network` |
//! | D13 | SIGKILL of an idle primary | `died` |
//! | D14 | both replicas gone | `alive` |
//! | D15 | the primary and one of two replicas gone | `failover::without_the_quorum_...` |
//! | D16, D17 | of five, the primary with one or two replicas gone | `died` |
//! | E1, E7 | replicas with much to apply | `replicas` |
//! | E2 | promotion rules | `replicas` |
//! | E3 | zones | `replicas` |
//! | E4, R3 | a replica with transactions of its own | `replicas` |
//! | E5 | a replica whose applier failed | `replicas` |
//! | F1 | one new primary after the other is killed | `died` |
//! | F2 | three of ten packets lost everywhere | `loss` |
//! | F3 | a member in maintenance | `failover::marks` |
//! | F4 | failed switchovers before the kill | `died` |
//! | C1 | replicas come and go, then a kill | `died` |
//! | C2 | semi-sync made to give up by somebody; switched off | `acks`; `failover::starved` |
//! | C3 | lost acknowledgements | `network` |
//! | P1, P2 | switchovers under autocommit writers and transactions | `controller_switchover::ten_...`, `sysbench` |
//! | P3 | a transaction that outlasts the drain | `controller_switchover::a_transaction_...`, `with_kill_...` |
//! | P4, P5 | an ALTER TABLE under way, a target that applies nothing | `switchovers` |
//! | P6 | a target that freezes in the middle | `controller_switchover::a_frozen_target_...` |
//! | P7 | a Sluice killed at its steps | `failover::a_sluice_killed_in_the_middle_...`, `controller_switchover` |
//! | P10 | scheduled events | `failover::events` |
//! | P11 | a switchover to a target whose acker is away | `acks` |
//! | R2 | commits that no replica ever got, and the primary returns | `rebuild::by_itself` |
//! | R4 | the primary returns without its tail | `failover::lost_tail` |
//! | R5 | an emptied data directory | `rebuild::by_itself::a_member_whose_data_directory_...` |
//! | R6-R9 | servers and Sluices that die while data are copied | `rebuild::broken` |
//! | R10, R11 | data that do not fit; a way that is cut | `rebuild::refused` |
//! | SIGTERM | with healthy, and with starved ackers | `failover::a_stopping_primary_...`, `failover::starved` |
//!
//! Never here: a fault that is waved through when nothing came of it.

mod acks;
mod alive;
mod died;
mod disk;
pub(crate) mod door;
mod loss;
mod network;
mod replicas;
mod switchovers;

use super::*;

/// A settled stage of so many members.
async fn members(count: u32) -> Stage {
    prepared(Cluster::builder().nodes(count), "").await
}

async fn prepared(plan: ClusterBuilder, toml: &str) -> Stage {
    let stage = stage_of(plan, toml, healthy).await;
    settled(&stage, 1).await;
    stage
}

/// A load at work.
async fn busy(stage: &Stage) -> Load {
    let load = load(stage);
    acknowledged(stage, &load, WARM).await;
    load
}

fn epoch(status: &Value) -> u64 {
    status.get("epoch").and_then(Value::as_u64).unwrap_or_default()
}

/// Waits for a failover into this epoch; returns the new primary.
async fn replaced(stage: &Stage, wanted: u64) -> usize {
    let status = until(stage, &format!("a primary of epoch {wanted}"), |status| {
        healthy(status) && epoch(status) == wanted
    })
    .await;
    show(&latest(stage).await);
    primary(stage, &status)
}

/// Ends the load after more writes and holds everything against the ledger.
async fn judged(stage: &Stage, load: Load, nodes: &[usize]) -> Report {
    acknowledged(stage, &load, AFTER).await;
    let report = load.stop().await.unwrap();
    judge_errors(stage, &report);
    judge_data(stage, &report, nodes).await;
    report
}

/// Nobody was promoted, and the primary of before goes on.
async fn goes_on(stage: &Stage, load: Load, nodes: &[usize]) -> Report {
    let status = until(stage, "healthy again", healthy).await;
    assert_eq!((epoch(&status), word(&status, "primary")), (1, "db1"), "{status:#}");
    judged(stage, load, nodes).await
}

/// Waits until no write has been acknowledged for a second.
async fn stalled(load: &Load) {
    let mut seen = (load.live().acknowledged(), std::time::Instant::now());
    let quiet = || {
        let now = load.live().acknowledged();
        if now != seen.0 {
            seen = (now, std::time::Instant::now());
        }
        std::future::ready(seen.1.elapsed() > Duration::from_secs(1))
    };
    wait_until("everybody to wait", SOON, quiet).await.unwrap();
}
