//! Enables at a new primary the events that ran at the former one. Done after the clients go on there, and again
//! whenever something is missing.
//!
//! Never here: which events are to run.

use std::time::Duration;

use sluice_routing::topology::InstanceId;

use super::super::control_session::{ControlSession, SqlError};
use super::super::desk::Desk;
use super::super::execute::StepError;
use super::super::statements::{self, events as texts};
use super::EventKey;

/// Full login.
const LOGIN: Duration = Duration::from_secs(2);
/// Reading and setting variables.
const QUICK: Duration = Duration::from_secs(2);
/// A logged statement waits for acknowledgements.
const LOGGED: Duration = Duration::from_secs(5);
/// Events enabled in one step, which no switchover or failover can interrupt: each takes some milliseconds.
const AT_ONCE: usize = 50;
/// Errors that another attempt may not meet: a lock, and a server that was made read-only meanwhile.
const PASSING: [u16; 2] = [1205, 1290];
/// There is no such event any more.
const GONE: u16 = 1539;

/// An event that could not be enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Unmoved {
    /// Which.
    pub(in crate::controller) key: EventKey,
    /// What the server said.
    pub(in crate::controller) error: String,
    /// What somebody has to run who may.
    pub(in crate::controller) statement: String,
}

/// How an event has to be spoken of.
struct Kept {
    definer: String,
    character_set: String,
    collation: String,
}

/// Does what is missing there.
pub(in crate::controller) async fn move_events(desk: &Desk, id: InstanceId) -> Result<(), StepError> {
    let (server, _) = desk.at(id).ok_or(StepError::Gone("there is no such instance"))?;
    let missing = desk.missing_events(id).ok_or(StepError::Gone("nothing is missing any more"))?;
    // A session of its own: its character set changes.
    let mut session = server.open(LOGIN).await?;
    let mut unmoved = Vec::new();
    if !missing.enable.is_empty() {
        let kept = session.rows(texts::KEPT, QUICK).await?;
        session.run(statements::LOG_ON, QUICK).await?;
        for key in missing.enable.iter().take(AT_ONCE) {
            let cell = |row: &Vec<Option<String>>, column: usize| {
                row.get(column).and_then(Option::as_deref).unwrap_or_default().to_owned()
            };
            let row = kept.iter().find(|row| cell(row, 0) == key.schema && cell(row, 1) == key.name);
            let Some(row) = row else { continue };
            let kept = Kept { definer: cell(row, 2), character_set: cell(row, 3), collation: cell(row, 4) };
            unmoved.extend(enable(&mut session, key, &kept).await?);
        }
        session.run(statements::LOG_OFF, QUICK).await?;
    }
    let mut scheduler = None;
    if let Some(on) = missing.scheduler {
        let sql = texts::set_scheduler(on);
        match session.run(&sql, QUICK).await {
            Err(SqlError::Server { code, message }) => {
                scheduler = Some(format!("{sql} failed: error {code}: {message}"));
            }
            outcome => outcome?,
        }
        desk.scheduler_moved(id);
    }
    session.close(QUICK).await;
    desk.note_unmoved(id, unmoved, scheduler);
    Ok(())
}

/// `Some`: it could not be done, and will not be by trying again at once.
async fn enable(
    session: &mut ControlSession,
    key: &EventKey,
    kept: &Kept,
) -> Result<Option<Unmoved>, SqlError> {
    let statement = texts::enable(&kept.definer, &key.schema, &key.name);
    let unmoved = |error: String| Some(Unmoved { key: key.clone(), error, statement: statement.clone() });
    if !statement.is_ascii() && !kept.character_set.starts_with("utf8") {
        // The server would read the names in that character set.
        return Ok(unmoved(format!("its character set is {}", kept.character_set)));
    }
    session.run(&texts::speak_as(&kept.character_set, &kept.collation), QUICK).await?;
    match session.run(&statement, LOGGED).await {
        Ok(()) => Ok(None),
        Err(SqlError::Server { code: GONE, .. }) => Ok(None),
        Err(SqlError::Server { code, message }) if !PASSING.contains(&code) => {
            Ok(unmoved(format!("error {code}: {message}")))
        }
        Err(error) => Err(error),
    }
}
