//! A time in which writes go on though no acker is attached: since when, until when at most, and why.
//!
//! It is in the record before the primary is told to wait for nobody, and leaves it only with an acknowledged write.
//!
//! Never here: when one begins.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Record;

/// See the module's documentation.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Window {
    /// Seconds since 1970 at which it began.
    pub since: u64,
    /// Seconds since 1970 at which writes wait again, whoever is there.
    pub until: u64,
    /// For people.
    pub why: String,
    /// How far it is.
    pub stage: Stage,
}

/// How far a window is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Commits may be answered that nobody has acknowledged.
    Open,
    /// Its time is over: commits wait again. It is kept so that the same lack of ackers does not begin another one.
    Over,
}

impl Window {
    /// For people.
    pub fn describe(&self) -> String {
        let (since, until) = (moment(self.since), moment(self.until));
        match self.stage {
            Stage::Open => format!("since {since}, until {until} at most: {}", self.why),
            Stage::Over => format!("from {since} until {until}: {}", self.why),
        }
    }
}

impl Record {
    /// The window in which OKs are told now that nobody has acknowledged.
    pub fn open_window(&self) -> Option<&Window> {
        self.window.as_ref().filter(|window| window.stage == Stage::Open)
    }

    /// The window whose time is over, while no write was acknowledged since.
    pub fn spent_window(&self) -> Option<&Window> {
        self.window.as_ref().filter(|window| window.stage == Stage::Over)
    }
}

/// For people.
pub(in crate::controller) fn moment(seconds: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .map_or_else(|| "the end of time".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
}
