//! What happened last, for who has to understand a violation.

use std::collections::VecDeque;

use crate::world::Time;

/// Enough for the seconds before a violation.
const KEPT: usize = 3000;

/// Whether anything is kept: a run that goes well is cheaper without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    Latest,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Trace {
    kept: Kept,
    lines: VecDeque<String>,
    /// Changes with everything that was noted: two runs of a seed have to agree on it.
    pub(crate) events: u64,
}

impl Trace {
    pub(crate) fn new(kept: Kept) -> Self {
        Self { kept, lines: VecDeque::new(), events: 0 }
    }

    pub(crate) fn note(&mut self, now: Time, text: impl FnOnce() -> String) {
        self.events = (self.events ^ now).wrapping_mul(0x0100_0000_01b3);
        if self.kept == Kept::Latest {
            if self.lines.len() == KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{:>10.3} {}", now as f64 / 1e6, text()));
        }
    }

    pub(crate) fn print(&self) {
        for line in &self.lines {
            println!("{line}");
        }
    }
}
