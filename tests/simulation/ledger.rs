//! What clients were told about each of their writes, and what was found that must not be.

/// What a client was told about a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Open,
    /// OK: it must never be lost.
    Acknowledged,
    /// Certainly not executed: it must never appear.
    Failed,
    /// Whatever became of it.
    Unknown,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    outcomes: Vec<Outcome>,
    pub(crate) violations: Vec<String>,
    /// The highest epoch that a Sluice has said.
    pub(crate) epoch: u64,
    /// The store was replaced by an older one: servers may know a newer epoch than the record until it is adopted anew.
    pub(crate) stale: bool,
}

impl Ledger {
    /// A new write.
    pub(crate) fn begin(&mut self) -> usize {
        self.outcomes.push(Outcome::Open);
        self.outcomes.len() - 1
    }

    pub(crate) fn told(&mut self, write: usize, outcome: Outcome) {
        self.outcomes[write] = outcome;
    }

    /// Writes with this outcome.
    pub(crate) fn all(&self, outcome: Outcome) -> impl Iterator<Item = usize> + '_ {
        self.outcomes.iter().enumerate().filter(move |(_, one)| **one == outcome).map(|(write, _)| write)
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.all(outcome).count()
    }
}
