//! The window in which writes go on without an acker, as it changes in the record, and as the history tells it.
//!
//! Never here: when it begins or ends, a statement.

use super::super::api::OperationState;
use super::super::record::{Guarantee, Record, Stage, Window};
use super::super::store::StoreError;
use super::super::unguarded;
use super::Desk;

/// The kind in the history.
const WINDOW: &str = "without acker";
/// Who begins and ends it.
const SLUICE: &str = "sluice";

impl Desk {
    /// From here on OKs are told that nobody has acknowledged; to be called before that becomes true.
    pub(in crate::controller) fn open_window(&self, window: Window) -> Result<(), StoreError> {
        let because = window.why.clone();
        let record = self.change(|record| {
            record.guarantee = Guarantee::Broken;
            record.window = Some(window);
        })?;
        // What is counted without an acknowledgement from now on is no news.
        self.state().waited = None;
        tracing::warn!(window = ?record.window, "writes go on without an acker");
        self.tell_window(&record, &because, unguarded::alarm(&record));
        // Nobody holds an OK back for an acknowledgement any more.
        self.publish();
        Ok(())
    }

    /// Commits wait again: an OK has to be proved from here on.
    pub(in crate::controller) fn spend_window(&self, now: u64) -> Result<(), StoreError> {
        let record = self.change(|record| {
            if let Some(window) = &mut record.window {
                window.stage = Stage::Over;
                window.until = window.until.min(now);
            }
        })?;
        tracing::warn!(window = ?record.window, "the time for writes without an acker is over");
        let next = unguarded::spent(&record).map(|(over, hint)| format!("{over}; commits wait: {hint}"));
        self.tell_window(&record, "its time is over", next);
        self.publish();
        Ok(())
    }

    /// Somebody has changed for how long writes may go on.
    pub(in crate::controller) fn fit_window(&self, now: u64) -> Result<(), StoreError> {
        let window = self.record().and_then(|record| record.window);
        let rule = self.config.durability.without_acker;
        let Some(fitted) = window.and_then(|window| unguarded::fitted(&window, rule, now)) else {
            return Ok(());
        };
        let record = self.change(|record| record.window = Some(fitted))?;
        tracing::warn!(window = ?record.window, "[durability] continue_for was changed");
        self.tell_window(&record, "[durability] continue_for was changed", unguarded::alarm(&record));
        Ok(())
    }

    /// A write of this epoch was acknowledged.
    pub(in crate::controller) fn note_acknowledged(&self) -> Result<(), StoreError> {
        let closed = self.record().filter(|record| record.window.is_some());
        self.change(|record| {
            record.guarantee = Guarantee::Acknowledged;
            record.window = None;
        })?;
        let Some(before) = closed else { return Ok(()) };
        // Its count is read anew.
        self.state().waited = None;
        tracing::info!(window = ?before.window, "writes are acknowledged again");
        let outcome = before.window.as_ref().map(|window| {
            format!("every OK is acknowledged again; without guarantee were those {}", window.describe())
        });
        self.tell_window(&before, "a write was acknowledged", outcome);
        Ok(())
    }

    fn tell_window(&self, record: &Record, because: &str, outcome: Option<String>) {
        let id = self.begin(WINDOW, Some(record.primary_name.clone()), SLUICE);
        self.because(&id, because);
        self.end(&id, OperationState::Done, outcome.unwrap_or_default(), None);
    }
}
