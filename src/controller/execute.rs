//! Does one step of upkeep. One match, no policy: what to do and when was decided by `plan`.
//!
//! Never here: a choice between steps, a retry.

use std::time::Duration;

use sluice_routing::topology::InstanceId;
use tokio::time::Instant;
use uuid::Uuid;

use super::assess::{self, Trust};
use super::clock;
use super::control_session::SqlError;
use super::desk::Desk;
use super::events::move_events;
use super::instance_operations::{InstanceOperations, POLL};
use super::plan::{self, Step};
use super::record::{Guarantee, OperationRecord, Record};
use super::statements::Grammar;
use super::store::StoreError;
use super::unguarded;
use super::view::{InstanceView, Thread};

/// How fresh looks at the members may take before a server is fenced that somebody may have promoted.
const LOOK: Duration = Duration::from_secs(1);

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The server's fault, or the way to it.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// The store's fault.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What the step needs is not there any more.
    #[error("{0}")]
    Gone(&'static str),
    /// A condition was not reached in its time.
    #[error("{0}")]
    Unmet(String),
}

/// Does the step.
pub(super) async fn execute(desk: &Desk, step: &Step) -> Result<(), StepError> {
    match step {
        Step::TakeLock(id) => {
            // If somebody was faster, the next look says who.
            let taken = desk.observers.take_lock(id.index()).await;
            taken.then_some(()).ok_or(StepError::Gone("the lock was not given"))
        }
        Step::CloseOperation => close_operation(desk).await,
        Step::Fence(id) => fence(desk, *id).await,
        Step::StopWaiting(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.stop_waiting(grammar).await?)
        }
        Step::ForgetSource(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.forget_source(grammar).await?)
        }
        Step::Follow(id) => follow(desk, *id).await,
        Step::StartReceiver(id) => {
            silence_unrecorded(desk, *id).await?;
            let (server, grammar) = server(desk, *id)?;
            Ok(server.start_receiver(grammar).await?)
        }
        Step::StartApplier(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.start_applier(grammar).await?)
        }
        Step::Tune(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.tune(grammar).await?)
        }
        Step::AddAcker(uuid) => {
            desk.change(|record| record.ackers.push(*uuid))?;
            Ok(())
        }
        Step::ForgetAcker(uuid) => forget_acker(desk, *uuid).await,
        Step::StartAcking(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.set_acking(grammar, true).await?)
        }
        Step::StopAcking(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.set_acking(grammar, false).await?)
        }
        Step::RetireAcker(id) => retire(desk, *id).await,
        Step::StartWaiting(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.start_waiting(grammar, record(desk)?.wait_count, true).await?)
        }
        Step::LetGo(id) => let_go(desk, *id).await,
        Step::WaitAgain(id) => {
            let (server, grammar) = server(desk, *id)?;
            server.start_waiting(grammar, record(desk)?.wait_count, true).await?;
            Ok(desk.spend_window(clock::unix())?)
        }
        Step::PersistBoot(id) => {
            let (server, grammar) = server(desk, *id)?;
            Ok(server.persist_boot(grammar).await?)
        }
        Step::Resume(id) => resume(desk, *id).await,
        Step::Barrier(id) | Step::Nudge(id) => barrier(desk, *id).await,
        Step::MoveEvents(id) => move_events(desk, *id).await,
    }
}

fn server(desk: &Desk, id: InstanceId) -> Result<(&InstanceOperations, Grammar), StepError> {
    desk.at(id).ok_or(StepError::Gone("there is no such instance"))
}

fn record(desk: &Desk) -> Result<Record, StepError> {
    desk.record().ok_or(StepError::Gone("there is no record"))
}

/// Closes an operation that a killed Sluice has left. A switchover may have pointed the old primary at its target: before
/// it is seen not to follow, nobody must forget that it may acknowledge there.
async fn close_operation(desk: &Desk) -> Result<(), StepError> {
    let left = record(desk)?;
    if let Some(old) = left.operation.as_ref().and_then(OperationRecord::moved) {
        let old = desk.view().by_uuid(old).map(|view| view.id);
        let (old, grammar) = server(desk, old.ok_or(StepError::Gone("the old primary was never seen"))?)?;
        let (receiver, _) = old.receiver().await?;
        if receiver != Thread::Stopped {
            old.stop_receiver(grammar).await?;
        }
    }
    let closed = desk.close_left_behind(&left);
    desk.change(|record| *record = closed)?;
    Ok(())
}

/// Takes an acker that is no more out of the record: only after a write that the others acknowledged, so that they have
/// everything before it, and only if still nobody else is attached.
async fn forget_acker(desk: &Desk, uuid: Uuid) -> Result<(), StepError> {
    let record = record(desk)?;
    let primary = desk.view().by_uuid(record.primary).map(|view| view.id);
    let (primary, grammar) = server(desk, primary.ok_or(StepError::Gone("the primary was never seen"))?)?;
    primary.write_epoch_row(&record.row()).await?;
    let attached = primary.waiting_state(grammar).await?.clients;
    let at_work = plan::ackers_at_work(&desk.view(), &record);
    if usize::try_from(attached).is_ok_and(|attached| attached > at_work) {
        return Err(StepError::Gone("somebody else is attached to the primary"));
    }
    desk.change(|record| record.ackers.retain(|acker| *acker != uuid))?;
    Ok(())
}

/// `super_read_only` gave up because something held it up.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
/// How long it may take until it is seen pending; it gives up after a second.
const PENDING: Duration = Duration::from_millis(500);

/// Makes a server that is not the primary read-only. A former primary may have commits that wait for
/// acknowledgements which nobody will give: only when the clients behind them are gone, and can't be told OK, may
/// they be let go.
async fn fence(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    let recorded = record(desk)?;
    if desk.board.view(id.index()).is_some_and(|view| view.server.is_some_and(|s| s.uuid == recorded.primary))
    {
        return Err(StepError::Gone("it is the primary"));
    }
    // Whoever was pointed at it before it was opened may not have been seen since, nor the end of the primary.
    desk.observers.look_at_all(Instant::now() + LOOK).await;
    if assess::opened_by_hand(&desk.view(), &recorded).is_some_and(|(opened, _)| opened == id) {
        return Err(StepError::Gone("somebody made it the primary"));
    }
    let (server, grammar) = server(desk, id)?;
    match server.set_read_only().await {
        Err(error) if error.code() == Some(LOCK_WAIT_TIMEOUT) && server.waits(grammar).await? => {
            // While it is pending nobody begins a commit: whoever comes now finds the server read-only, and not one
            // that waits for nobody.
            let (closed, freed) = tokio::join!(server.set_read_only(), free_commits(server, grammar));
            freed?;
            match closed {
                Err(error) if error.code() == Some(LOCK_WAIT_TIMEOUT) => Ok(server.set_read_only().await?),
                outcome => Ok(outcome?),
            }
        }
        outcome => Ok(outcome?),
    }
}

/// Ends the clients of commits that wait for acknowledgements, and lets these go, once `super_read_only` is pending.
async fn free_commits(server: &InstanceOperations, grammar: Grammar) -> Result<(), SqlError> {
    let until = Instant::now() + PENDING;
    while server.pending_read_only().await?.is_empty() && Instant::now() < until {
        tokio::time::sleep(POLL).await;
    }
    server.kill_clients().await?;
    server.stop_waiting_aside(grammar).await
}

/// Points a replica at the recorded primary, with both threads running afterwards.
async fn follow(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    let primary = desk.view().by_uuid(record(desk)?.primary).map(|view| view.id);
    let primary = primary.ok_or(StepError::Gone("the primary was never seen"))?;
    let source = desk.source(primary).ok_or(StepError::Gone("the primary has no address"))?;
    silence_unrecorded(desk, id).await?;
    let (server, grammar) = server(desk, id)?;
    server.follow(grammar, &source).await?;
    Ok(server.start_applier(grammar).await?)
}

/// Before its receiver starts: it may acknowledge still, for a primary of before, and nobody may who is not recorded.
async fn silence_unrecorded(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    let recorded = record(desk)?;
    let known = desk.board.view(id.index()).and_then(|view| view.server);
    if known.is_some_and(|known| known.semi_sync.is_some() && !recorded.is_acker(known.uuid)) {
        let (server, grammar) = server(desk, id)?;
        server.set_acking_flag(grammar, false).await?;
    }
    Ok(())
}

/// Lets the primary commit without an acker. The record says so first: a Sluice that is killed in between must not believe
/// that what was told OK was acknowledged.
async fn let_go(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    if record(desk)?.open_window().is_none() {
        desk.observers.look_at_all(Instant::now() + LOOK).await;
        let (view, record) = (desk.view(), record(desk)?);
        let rule = desk.config.durability.without_acker;
        let allowance = rule.allowance().ok_or(StepError::Gone("writes may not go on without an acker"))?;
        let verdict =
            assess::assess(&view, Some(&record), desk.trust(), &Err(String::new()), clock::now()).verdict;
        if !unguarded::may_begin(&view, &record, &verdict, allowance.after, rule) {
            return Err(StepError::Gone("it is not without any acker now, or something else is going on"));
        }
        desk.open_window(unguarded::window(&record.primary_name, allowance, clock::unix()))?;
    }
    let (server, grammar) = server(desk, id)?;
    Ok(server.stop_waiting(grammar).await?)
}

/// Opens a primary whose tail was found complete: semi-sync first, then writable, then a write that is
/// acknowledged.
async fn resume(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    let record = record(desk)?;
    let (server, grammar) = server(desk, id)?;
    let has_semi_sync = desk
        .board
        .view(id.index())
        .is_some_and(|view: InstanceView| view.server.is_some_and(|server| server.semi_sync.is_some()));
    if record.waits() && has_semi_sync {
        server.start_waiting(grammar, record.wait_count, true).await?;
    }
    server.set_writable().await?;
    barrier(desk, id).await?;
    desk.set_trust(Trust::Checked);
    Ok(())
}

/// Takes a living acker out, in the order that never counts one who may not have what was acknowledged: it stops
/// acknowledging, the others acknowledge a write and with it everything before, and only then the record changes.
async fn retire(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    let view = desk.view();
    let gone = StepError::Gone("the acker or the primary is not there any more");
    let uuid = view.instances.get(id.index()).and_then(|view| view.live()).map(|server| server.uuid);
    let primary = view.by_uuid(record(desk)?.primary).map(|view| view.id);
    let (Some(uuid), Some(primary)) = (uuid, primary) else { return Err(gone) };
    let (server, grammar) = server(desk, id)?;
    server.set_acking(grammar, false).await?;
    barrier(desk, primary).await?;
    desk.change(|record| record.ackers.retain(|acker| *acker != uuid))?;
    Ok(())
}

/// Writes the epoch row; its OK establishes the guarantee where commits wait.
async fn barrier(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    let record = record(desk)?;
    let (server, grammar) = server(desk, id)?;
    // While the record lets commits go on, a write proves something only if it waits.
    let proves = record.window.is_none() || server.waits(grammar).await?;
    let known =
        desk.board.view(id.index()).and_then(|view| view.server).is_some_and(|s| s.epoch_row.is_some());
    if !known {
        server.create_tables().await?;
    }
    server.write_epoch_row(&record.row()).await?;
    if record.waits() && record.guarantee != Guarantee::Acknowledged && proves {
        desk.note_acknowledged()?;
    }
    Ok(())
}
