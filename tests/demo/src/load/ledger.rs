//! What every write was told.
//!
//! Never here: what is true. That is asked of the servers, in [`crate::verify`].

use std::collections::BTreeMap;

/// What a client may conclude about one unit of work (an autocommit write or a transaction).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said OK: it must exist exactly once, forever.
    Acknowledged,
    /// An error that says for certain that nothing was kept: it must not exist.
    RolledBack,
    /// An error, or the end of the connection, that leaves both possible.
    Unknown,
}

/// The outcomes of all writers; the sequence numbers of a writer begin at 0 without gaps.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    writers: BTreeMap<u32, Vec<Outcome>>,
}

/// Totals of a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Units that were begun.
    pub attempted: u64,
    /// Units that were acknowledged.
    pub acknowledged: u64,
    /// Units that certainly left nothing.
    pub rolled_back: u64,
    /// Units nobody can tell about without looking.
    pub unknown: u64,
}

impl Ledger {
    /// Adds a writer's outcomes, in the order of its sequence numbers.
    pub fn add(&mut self, writer: u32, outcomes: Vec<Outcome>) {
        self.writers.entry(writer).or_default().extend(outcomes);
    }

    /// What the client of (`writer`, `seq`) was told; `None` if it never tried.
    pub fn outcome(&self, writer: u32, seq: u64) -> Option<Outcome> {
        self.writers.get(&writer)?.get(usize::try_from(seq).ok()?).copied()
    }

    /// Every unit: writer, sequence number, outcome.
    pub fn units(&self) -> impl Iterator<Item = (u32, u64, Outcome)> + '_ {
        self.writers.iter().flat_map(|(writer, outcomes)| {
            (0_u64..).zip(outcomes).map(|(seq, outcome)| (*writer, seq, *outcome))
        })
    }

    /// Counts.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (_, _, outcome) in self.units() {
            totals.attempted += 1;
            match outcome {
                Outcome::Acknowledged => totals.acknowledged += 1,
                Outcome::RolledBack => totals.rolled_back += 1,
                Outcome::Unknown => totals.unknown += 1,
            }
        }
        totals
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Ledger, Outcome, Totals};

    #[test]
    fn counts_and_finds_units() {
        let mut ledger = Ledger::default();
        ledger.add(3, vec![Outcome::Acknowledged, Outcome::Unknown]);
        ledger.add(3, vec![Outcome::RolledBack]);
        ledger.add(5, vec![Outcome::Acknowledged]);
        assert_eq!(ledger.totals(), Totals { attempted: 4, acknowledged: 2, rolled_back: 1, unknown: 1 });
        assert_eq!(ledger.outcome(3, 2), Some(Outcome::RolledBack));
        assert_eq!(ledger.outcome(3, 3), None);
        assert_eq!(ledger.outcome(4, 0), None);
        assert_eq!(ledger.units().last().unwrap(), (5, 0, Outcome::Acknowledged));
    }
}
