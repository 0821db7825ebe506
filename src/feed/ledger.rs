//! What each MySQL account has written through this process, so that all its sessions can read it back.
//!
//! An account's [`Writes`] are shared by its sessions. A session notes a GTID before it passes the OK on, and
//! readers compare one number to see whether anything was written since they looked last.
//!
//! Never here: a decision where a read goes, a word with a server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use sluice_protocol::GtidSet;
use sluice_routing::freshness::{HighWater, Required, Settled, Sighting};

/// Accounts remembered apart. An account takes some hundred bytes; beyond this, those that nobody is logged in
/// as are remembered together, which makes their reads wait for each other's writes and nothing worse.
const MAX_ACCOUNTS: usize = 10_000;

/// What one account has written. See the module's documentation.
#[derive(Debug, Default)]
pub struct Writes {
    mark: Mutex<HighWater>,
    required: ArcSwap<Required>,
    generation: AtomicU64,
}

impl Writes {
    /// Takes note of transactions whose OK is about to be passed on.
    pub fn note(&self, written: &GtidSet, now: Instant) {
        self.change(|mark| {
            mark.note(written, now);
            Settled::Changed
        });
    }

    /// Takes note of a write that may have happened and whose GTID nobody knows.
    pub fn note_unknown(&self, now: Instant) {
        self.change(|mark| {
            mark.note_unknown(now);
            Settled::Changed
        });
    }

    /// Corrects what is required by a look at the primary.
    pub fn settle(&self, primary: &Sighting, now: Instant) -> Settled {
        self.change(|mark| mark.settle(primary, now))
    }

    fn change(&self, change: impl FnOnce(&mut HighWater) -> Settled) -> Settled {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = change(&mut mark);
        if settled == Settled::Changed {
            self.required.store(Arc::new(mark.required().clone()));
            self.generation.fetch_add(1, Ordering::Release);
        }
        settled
    }

    /// What a reader must be able to see.
    pub fn required(&self) -> Arc<Required> {
        self.required.load_full()
    }

    /// A number that changes with what is required. Read it before [`Writes::required`].
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The writes of all accounts.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: Mutex<HashMap<Box<[u8]>, Arc<Writes>>>,
    /// Those of accounts that had to be forgotten.
    forgotten: Arc<Writes>,
}

impl Ledger {
    /// The writes of the account with this name, as the client logged in.
    pub fn of_account(&self, name: &[u8]) -> Arc<Writes> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.get(name) {
            return Arc::clone(known);
        }
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.retain(|_, writes| {
                let used = Arc::strong_count(writes) > 1;
                if !used {
                    self.forgotten.take_over(writes);
                }
                used
            });
        }
        if accounts.len() >= MAX_ACCOUNTS {
            return Arc::clone(&self.forgotten);
        }
        let writes = Arc::new(Writes::default());
        writes.take_over(&self.forgotten);
        accounts.insert(name.into(), Arc::clone(&writes));
        writes
    }
}

impl Writes {
    /// Requires what `other` requires, too.
    fn take_over(&self, other: &Self) {
        let other = other.required();
        if !other.is_empty() {
            // Its floor and its gaps are its own: everything until now covers both.
            self.note_unknown(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sluice_routing::freshness::Floor;

    use super::*;

    fn set(text: &str) -> GtidSet {
        text.replace('s', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap()
    }

    #[test]
    fn sessions_of_an_account_share_its_writes() {
        let ledger = Ledger::default();
        let (one, other, stranger) =
            (ledger.of_account(b"app"), ledger.of_account(b"app"), ledger.of_account(b"web"));
        let before = other.generation();
        one.note(&set("s:5"), Instant::now());
        assert_ne!(other.generation(), before);
        assert!(!other.required().is_met_by(&set("s:1-4")));
        assert!(other.required().is_met_by(&set("s:1-5")));
        assert!(stranger.required().is_empty());
        drop((one, other));
        assert!(!ledger.of_account(b"app").required().is_empty(), "nobody was logged in meanwhile");
    }

    #[test]
    fn the_number_of_accounts_is_bounded_and_nothing_written_is_forgotten() {
        let ledger = Ledger::default();
        let kept = ledger.of_account(b"kept");
        ledger.of_account(b"gone").note(&set("s:7"), Instant::now());
        for number in 0..MAX_ACCOUNTS + 5 {
            ledger.of_account(number.to_string().as_bytes());
        }
        assert!(ledger.accounts.lock().unwrap().len() <= MAX_ACCOUNTS);
        assert!(kept.required().is_empty());
        assert!(matches!(ledger.of_account(b"gone").required().floor, Floor::Until(_)));
    }
}
