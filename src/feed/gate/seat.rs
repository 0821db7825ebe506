//! One session's place at the gate.
//!
//! Never here: a decision when to open or close.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::passes::Pass;
use super::{CLOSED_NO_PRIMARY, CLOSED_SWITCHOVER, Gate, HoldEnd, LONGEST_NARROW_WAIT, MustHold, NARROW};
use super::{OPEN, WorkerUnits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    No,
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pinned {
    No,
    Yes,
}

/// What a session has waited for at a gate that is not wide.
#[derive(Debug, Default)]
enum Admission {
    /// Nothing.
    #[default]
    None,
    /// A pass, kept for the sake of its return.
    Pass(#[allow(dead_code, reason = "what counts is when it is dropped")] Pass),
    /// It has waited long enough at a narrow gate.
    Patience,
}

/// One session's place at the gate: whether it has a write unit open and whether it is pinned. Dropping it
/// gives both back.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<Gate>,
    worker: usize,
    inside: Inside,
    pinned: Pinned,
    admission: Admission,
}

impl Seat {
    pub(super) fn new(gate: Arc<Gate>, worker: usize) -> Self {
        Self { gate, worker, inside: Inside::No, pinned: Pinned::No, admission: Admission::None }
    }

    fn units(&self) -> Option<&WorkerUnits> {
        self.gate.workers.get(self.worker)
    }

    /// Whether this session has a write unit open.
    pub fn is_inside(&self) -> bool {
        self.inside == Inside::Yes
    }

    /// Opens a write unit, unless the gate is closed, or narrow and full: then the session has to
    /// [`Seat::hold`]. Entering twice is entering once.
    pub fn enter(&mut self) -> Result<(), MustHold> {
        if self.inside == Inside::Yes {
            return Ok(());
        }
        let Some(units) = self.units() else { return Ok(()) };
        units.open.fetch_add(1, Ordering::SeqCst);
        if self.admitted() {
            self.inside = Inside::Yes;
            return Ok(());
        }
        if let Some(units) = self.units() {
            units.open.fetch_sub(1, Ordering::SeqCst);
        }
        self.gate.note_left();
        Err(MustHold)
    }

    fn admitted(&mut self) -> bool {
        match self.gate.state.load(Ordering::SeqCst) {
            OPEN => true,
            NARROW => {
                if let Admission::None = self.admission {
                    let pass = self.gate.passes().take();
                    self.admission = pass.map_or(Admission::None, Admission::Pass);
                }
                !matches!(self.admission, Admission::None)
            }
            _ => {
                self.admission = Admission::None;
                false
            }
        }
    }

    /// Opens a write unit whatever the gate says: for a session that is counted already because it is pinned,
    /// and for a transaction that is open without having been foreseen.
    pub fn stay(&mut self) {
        if self.inside == Inside::No {
            self.inside = Inside::Yes;
            if let Some(units) = self.units() {
                units.open.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Closes the write unit; nothing happens when none is open.
    pub fn leave(&mut self) {
        self.admission = Admission::None;
        if self.inside == Inside::No {
            return;
        }
        self.inside = Inside::No;
        if let Some(units) = self.units() {
            units.open.fetch_sub(1, Ordering::SeqCst);
        }
        self.gate.note_left();
    }

    /// Says that this session now holds state that cannot move.
    pub fn pin(&mut self) {
        if self.pinned == Pinned::No {
            self.pinned = Pinned::Yes;
            if let Some(units) = self.units() {
                units.pinned.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Says that this session can move again.
    pub fn unpin(&mut self) {
        if self.pinned == Pinned::Yes {
            self.pinned = Pinned::No;
            if let Some(units) = self.units() {
                units.pinned.fetch_sub(1, Ordering::SeqCst);
            }
            self.gate.note_left();
        }
    }

    /// Waits at the gate: at a closed one at most until it has been closed for `limit`, at a narrow one until
    /// there is a place or the patience is at an end.
    pub async fn hold(&mut self, limit: Duration) -> HoldEnd {
        let gate = Arc::clone(&self.gate);
        let passes = Arc::clone(&gate.passes());
        if gate.is_wide() {
            return HoldEnd::Released;
        }
        self.admission = Admission::None;
        let _held = Held::new(&gate.held);
        let patience = Instant::now() + LONGEST_NARROW_WAIT;
        loop {
            let until = match gate.state.load(Ordering::SeqCst) {
                CLOSED_SWITCHOVER | CLOSED_NO_PRIMARY => passes.closed_at() + limit,
                _ => patience,
            };
            if let Ok(pass) = timeout_at(until, passes.wait()).await {
                self.admission = pass.map_or(Admission::None, Admission::Pass);
                return HoldEnd::Released;
            }
            match gate.closed() {
                Some(_) if Instant::now() >= passes.closed_at() + limit => return HoldEnd::Expired,
                // It closed while this one waited for it to be less narrow.
                Some(_) => {}
                None => {
                    self.admission = Admission::Patience;
                    return HoldEnd::Released;
                }
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
        self.unpin();
    }
}

/// Counts a held statement for as long as it lives, also when its future is dropped.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
