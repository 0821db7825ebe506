//! The write probe: one write of Sluice's own on the primary, which goes the whole way of a client's write. It says
//! what keeps writes from getting through: somebody's lock, missing acknowledgements, or the server itself.
//!
//! It is waited for as long as the server takes: giving up and asking again would leave one more session hanging there
//! each time. What is seen meanwhile is noted on the board.
//!
//! Never here: a verdict, when to probe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_routing::topology::InstanceId;
use tokio::time::timeout;

use super::clock;
use super::control_session::{ControlSession, SqlError};
use super::desk::Desk;
use super::instance_operations::InstanceOperations;
use super::statements;
use super::view::{Blockade, BlockedWrite};

/// Full login and what has to be said before the write.
const LOGIN: Duration = Duration::from_secs(2);
/// Between two looks at a write that is pending.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A write that is pending for so long is left alone, and another one asks.
const PATIENCE: Duration = Duration::from_secs(600);
/// Goodbye.
const CLOSE: Duration = Duration::from_secs(1);
/// It waited for a lock for as long as a control session does.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
/// The table is not there yet, or its schema.
const NO_TABLE: [u16; 2] = [1146, 1049];
/// The server is read-only now: whoever made it so has more to say.
const READ_ONLY: [u16; 2] = [1290, 1836];

/// Writes, and notes what keeps it from getting through.
pub(super) async fn probe(desk: Arc<Desk>, id: InstanceId) {
    let Some((server, _)) = desk.at(id) else { return };
    // Who can't be asked is judged by its looks.
    let Ok((mut session, connection)) = open(server).await else { return };
    let began = clock::now();
    let outcome = {
        let mut writing = Box::pin(session.run(statements::WRITE_PROBE, PATIENCE));
        loop {
            match timeout(LOOK_AGAIN, writing.as_mut()).await {
                Ok(outcome) => break outcome,
                Err(_) => {
                    if let Some((cause, detail)) = pending(server, connection).await {
                        note(&desk, id, began, cause, detail);
                    }
                }
            }
        }
    };
    match outcome {
        Ok(()) => desk.board.update(id.index(), |view| view.blocked = None),
        Err(SqlError::Server { code, .. }) if READ_ONLY.contains(&code) => {
            desk.board.update(id.index(), |view| view.blocked = None);
        }
        Err(SqlError::Server { code: LOCK_WAIT_TIMEOUT, .. }) => {
            // Without such a lock it was a row that a probe of before holds, and that says nothing new.
            if let Ok(Some(holder)) = server.server_lock().await {
                let detail =
                    format!("connection {} of {} holds a read lock on the server", holder.id, holder.account);
                note(&desk, id, began, Blockade::Lock, detail);
            }
        }
        // To make it now would be one more statement that hangs, with a lock that keeps others from Sluice's schema.
        Err(SqlError::Server { code, .. }) if NO_TABLE.contains(&code) => {}
        Err(error @ SqlError::Server { .. }) => note(&desk, id, began, Blockade::Server, error.to_string()),
        // Another one asks.
        Err(SqlError::Timeout(_)) => {}
        // The looks tell what became of the server.
        Err(SqlError::Refused | SqlError::Lost(_) | SqlError::Answer(_)) => {
            desk.board.update(id.index(), |view| view.blocked = None);
        }
    }
    session.close(CLOSE).await;
}

async fn open(server: &InstanceOperations) -> Result<(ControlSession, u64), SqlError> {
    let mut session = server.open(LOGIN).await?;
    let rows = session.rows(statements::OWN_CONNECTION, LOGIN).await?;
    let connection = rows.first().and_then(|row| row.first()).and_then(|cell| cell.as_deref()?.parse().ok());
    session.run(statements::LOG_ON, LOGIN).await?;
    Ok((session, connection.ok_or(SqlError::Answer("the connection's id can't be read"))?))
}

/// What a pending write waits for; `None`: nobody can say.
async fn pending(server: &InstanceOperations, connection: u64) -> Option<(Blockade, String)> {
    let (state, starved) = server.waiting_for(connection).await.ok()??;
    if state.contains("lock") {
        // It gives up by itself, and then the holder is named.
        return None;
    }
    let cause =
        if starved || state.contains("semi-sync") { Blockade::Acknowledgements } else { Blockade::Server };
    Some((cause, if state.is_empty() { "pending".to_owned() } else { state }))
}

fn note(desk: &Desk, id: InstanceId, began: Instant, cause: Blockade, detail: String) {
    desk.board.update(id.index(), |view| {
        let since =
            view.blocked.as_ref().filter(|known| known.cause == cause).map_or(began, |known| known.since);
        view.blocked = Some(BlockedWrite { cause, since, detail });
    });
}
