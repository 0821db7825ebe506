//! Sights: how far a server has executed, asked as often as readers need it; and what it has received, while a late
//! commit waits to be seen.
//!
//! A sight goes straight to the sessions and not over the board: thousands of them must not turn the
//! controller's loop.
//!
//! Never here: anything the controller decides by.

use std::sync::Arc;
use std::time::Instant as StdInstant;

use sluice_protocol::GtidSet;
use sluice_routing::freshness::Sighting;
use tokio::time::{Instant, sleep_until};

use super::super::clock;
use super::super::control_session::{Rows, SqlError};
use super::super::statements;
use super::super::view::Switch;
use super::{Command, PULSE_DEADLINE, Watcher, cell};
use crate::feed::receipts::{Receipt, Vouch};

/// What ended an observer's pause.
pub(super) enum Woken {
    /// A command; `None` when nobody is left to give one.
    By(Option<Command>),
    /// It is time for the next sight, or somebody waits for one.
    ToSee,
}

impl Watcher {
    /// Waits for a command or until the next sight is due, at most until `until`.
    pub(super) async fn woken(&mut self, until: Instant) -> Woken {
        let (id, progress, receipts) = (self.id(), self.feed.progress(), self.feed.receipts());
        let pace = progress.pace(id, clock::now());
        let due = Instant::now() + receipts.pace().map_or(pace, |wanted| wanted.min(pace));
        let can_see = self.session.is_some();
        let due = if can_see { due.min(until) } else { until };
        tokio::select! {
            biased;
            command = self.commands.recv() => Woken::By(command),
            () = progress.wanted(id), if can_see => Woken::ToSee,
            () = receipts.wanted(id), if can_see => Woken::ToSee,
            () = sleep_until(due) => Woken::ToSee,
        }
    }

    /// Asks how far the server is and tells the sessions.
    pub(super) async fn sight(&mut self) -> Result<(), SqlError> {
        let id = self.id();
        let session = self.session.as_mut().ok_or(SqlError::Answer("no session"))?;
        let since = session.opened();
        let asked = clock::now();
        let rows = session.rows(statements::PROGRESS, PULSE_DEADLINE).await?;
        self.feed.progress().note(id, read(&rows, asked)?);
        if self.feed.receipts().pace().is_some() {
            let asked = clock::now();
            let rows = session.rows(statements::RECEIVED, PULSE_DEADLINE).await?;
            let receipt = read_receipt(&rows)?;
            let rows = session.rows(statements::VOUCH, PULSE_DEADLINE).await?;
            if cell(&rows, 0, 0).is_some_and(|value| Switch::of(value).is_on())
                && let Some(unacknowledged) = cell(&rows, 0, 1).and_then(|count| count.parse().ok())
            {
                self.feed.receipts().note_vouch(Vouch {
                    since,
                    asked,
                    server: receipt.server,
                    unacknowledged,
                });
            }
            self.feed.receipts().note(id, receipt);
        }
        Ok(())
    }
}

fn read_receipt(rows: &Rows) -> Result<Receipt, SqlError> {
    let text = |column| cell(rows, 0, column).ok_or(SqlError::Answer("a value is missing"));
    let set = |text: &str| text.parse::<GtidSet>().map_err(|_| SqlError::Answer("what it has can't be read"));
    let received = cell(rows, 0, 2).map_or(Ok(GtidSet::new()), set)?;
    let server = text(0)?.parse().map_err(|_| SqlError::Answer("server_uuid can't be read"))?;
    Ok(Receipt { server, has: set(text(1)?)?.union(&received) })
}

fn read(rows: &Rows, asked: StdInstant) -> Result<Sighting, SqlError> {
    let text = |column| cell(rows, 0, column).ok_or(SqlError::Answer("a value is missing"));
    let executed: GtidSet = text(3)?.parse().map_err(|_| SqlError::Answer("gtid_executed can't be read"))?;
    let ceiling = match GtidSet::parse_owned(text(2)?) {
        Ok(owned) if owned.is_empty() => None,
        Ok(owned) => Some(Some(Arc::new(executed.union(&owned)))),
        Err(error) => {
            tracing::debug!(%error, "gtid_owned can't be read");
            Some(None)
        }
    };
    let executed = Arc::new(executed);
    Ok(Sighting {
        asked,
        server: text(0)?.parse().ok(),
        writable: !Switch::of(text(1)?).is_on(),
        ceiling: ceiling.unwrap_or_else(|| Some(Arc::clone(&executed))),
        executed,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn sighting(owned: &str) -> Sighting {
        let row = [A, "0", owned, &format!("{A}:1-5")].map(|text| Some(text.to_owned()));
        read(&vec![row.to_vec()], StdInstant::now()).unwrap()
    }

    #[test]
    fn what_is_being_committed_counts_for_the_ceiling() {
        let executed: GtidSet = format!("{A}:1-5").parse().unwrap();
        let more: GtidSet = format!("{A}:1-6").parse().unwrap();
        assert_eq!(sighting("").ceiling.as_deref(), Some(&executed));
        let committing = sighting(&format!("{A}:6#12"));
        assert_eq!((committing.ceiling.as_deref(), &*committing.executed), (Some(&more), &executed));
        assert_eq!(sighting("strange").ceiling, None);
        assert!(committing.writable);
    }
}
