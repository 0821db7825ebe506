//! Judging one answer: is it what must come, and do its flags say what the session's state is?
//!
//! Never here: what an operation changes.

use sluice_protocol::StatusFlags;

use super::{Diagnostics, Model, Open};
use crate::isolation::client::{Answer, Cell, Done};

/// What is wrong, in words; the driver adds who and what.
pub(in crate::isolation) type Judged = Result<(), String>;

/// A value that is there.
pub(super) fn cell(text: impl Into<String>) -> Cell {
    Some(text.into())
}

/// The first cell that differs.
fn difference(rows: &[Vec<Cell>], due: &[Vec<Cell>]) -> Option<String> {
    if rows.len() != due.len() {
        return Some(format!("{} rows due, came {}: {due:?}, {rows:?}", due.len(), rows.len()));
    }
    for (number, (row, due)) in rows.iter().zip(due).enumerate() {
        if row.len() != due.len() {
            return Some(format!("{} columns due, came {row:?}", due.len()));
        }
        let mut cells = row.iter().zip(due).enumerate();
        if let Some((column, (cell, due))) = cells.find(|(_, (cell, due))| cell != due) {
            return Some(format!("row {number}, column {column}: due {due:?}, came {cell:?}"));
        }
    }
    None
}

impl Model {
    /// It must be an OK packet.
    pub(super) fn done(&self, answer: &Answer) -> Result<Done, String> {
        match answer {
            Answer::Done(done) => Ok(*done),
            Answer::Rows { .. } | Answer::Error(_) => Err(format!("OK was due, came {answer:?}")),
        }
    }

    /// It must be a result set of exactly these rows.
    pub(super) fn rows(&self, answer: &Answer, due: &[Vec<Cell>]) -> Judged {
        match answer {
            Answer::Rows { rows, .. } => match difference(rows, due) {
                Some(difference) => Err(difference),
                None => Ok(()),
            },
            Answer::Done(_) | Answer::Error(_) => Err(format!("rows due {due:?}\n      came {answer:?}")),
        }
    }

    /// It must be one of these errors.
    pub(super) fn error(&self, answer: &Answer, due: &[u16]) -> Judged {
        match answer {
            Answer::Error(error) if due.contains(&error.code) => Ok(()),
            Answer::Error(_) | Answer::Done(_) | Answer::Rows { .. } => {
                Err(format!("error {due:?} was due, came {answer:?}"))
            }
        }
    }

    /// Holds the flags of an answer to what the session's state must be after it.
    pub(super) fn flags(&self, answer: &Answer) -> Judged {
        let Some(end) = answer.end() else { return Ok(()) };
        let backslash_is_plain = self.mode_has("NO_BACKSLASH_ESCAPES");
        let due = [
            (StatusFlags::AUTOCOMMIT, Some(self.data.autocommit)),
            (StatusFlags::NO_BACKSLASH_ESCAPES, Some(backslash_is_plain)),
            (
                StatusFlags::IN_TRANS,
                match self.data.open {
                    Open::No => Some(false),
                    Open::Yes => Some(true),
                    Open::Perhaps => None,
                },
            ),
        ];
        for (flag, set) in due {
            if set.is_some_and(|set| set != end.status.contains(flag)) {
                return Err(format!("status flag {flag:?} must be {set:?}, came {:?}", end.status));
            }
        }
        if let Some(warnings) = &self.last.warnings
            && usize::from(end.warnings) != warnings.len()
        {
            return Err(format!("{} warnings are due, came {}", warnings.len(), end.warnings));
        }
        Ok(())
    }

    /// The last statement returned so many rows.
    pub(super) fn after_rows(&mut self, count: usize, warnings: &[u16]) {
        let found_rows = u64::try_from(count).ok();
        self.last = Diagnostics { row_count: Some(-1), found_rows, warnings: Some(warnings.to_vec()) };
    }

    /// The last statement changed so many rows.
    pub(super) fn after_change(&mut self, affected: u64, warnings: &[u16]) {
        let row_count = i64::try_from(affected).ok();
        self.last = Diagnostics { row_count, found_rows: None, warnings: Some(warnings.to_vec()) };
    }

    /// The last statement failed.
    pub(super) fn after_error(&mut self, answer: &Answer) {
        let warnings = Some(vec![answer.code()]);
        self.last = Diagnostics { row_count: Some(-1), found_rows: None, warnings };
    }

    /// Nothing is known of what the last statement left.
    pub(super) fn after_unknown(&mut self) {
        self.last = Diagnostics::default();
    }
}
