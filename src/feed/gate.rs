//! The gate: where new writes wait while the primary changes, and the count of writes under way.
//!
//! A *write unit* is a write statement in autocommit mode, or a transaction from its first statement to its
//! end. A session enters before it sends the first byte and leaves when the server has answered that nothing
//! is open any more. Closing the gate and counting units is a Dekker handshake: a session counts itself in
//! and then looks whether the gate is closed; the controller closes and then counts. With sequentially
//! consistent operations at least one of them sees the other, so "closed and zero units" proves that no
//! write is on its way to an instance.
//!
//! Before it closes, the gate can be made narrow: only so many units begin at a time, the rest queue. That
//! slows writers down without stopping them, so that a replica short of processor time comes near, and few
//! transactions are open when the gate closes.
//!
//! Never here: I/O, knowledge of instances or epochs, a decision when to open.

mod passes;
mod seat;

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use passes::Passes;
pub use seat::Seat;

/// How many held statements are let go at once when the gate opens. The rest follow in [`RAMP_PAUSE`]
/// steps, so that the new primary meets its load as a ramp and not as a wall: transactions that all begin
/// in the same instant are the likeliest to deadlock with each other.
const RAMP_BATCH: usize = 8;
/// Pause between two batches of released statements.
const RAMP_PAUSE: Duration = Duration::from_millis(1);
/// Longest wait at a gate that is only narrow. A client that thinks in its transaction keeps its place all
/// the while, and may not keep the others out.
const LONGEST_NARROW_WAIT: Duration = Duration::from_millis(250);

/// Why the gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// A planned switchover: will open again, on the new primary or the old one.
    Switchover,
    /// There is no primary to send writes to.
    NoPrimary,
}

/// A write unit can't begin now: [`Seat::hold`], then try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MustHold;

const OPEN: u8 = 0;
const NARROW: u8 = 1;
const CLOSED_SWITCHOVER: u8 = 2;
const CLOSED_NO_PRIMARY: u8 = 3;

/// The gate of one process. See the module's documentation.
#[derive(Debug)]
pub struct Gate {
    state: AtomicU8,
    workers: Box<[WorkerUnits]>,
    passes: Mutex<Arc<Passes>>,
    left: Notify,
    held: AtomicUsize,
}

/// Counts of one worker on a cache line of their own: workers never contend.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerUnits {
    open: AtomicI64,
    pinned: AtomicI64,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// The gate was opened: look at the topology again and enter.
    Released,
    /// The gate has been closed for longer than the hold limit.
    Expired,
}

impl Gate {
    /// An open gate for `workers` worker threads.
    pub fn new(workers: usize) -> Self {
        Self {
            state: AtomicU8::new(OPEN),
            workers: (0..workers.max(1)).map(|_| WorkerUnits::default()).collect(),
            passes: Mutex::new(Passes::new(0)),
            left: Notify::new(),
            held: AtomicUsize::new(0),
        }
    }

    /// Whether and why the gate is closed.
    pub fn closed(&self) -> Option<Closed> {
        match self.state.load(Ordering::SeqCst) {
            CLOSED_SWITCHOVER => Some(Closed::Switchover),
            CLOSED_NO_PRIMARY => Some(Closed::NoPrimary),
            _ => None,
        }
    }

    /// Whether writes begin without a wait: neither closed nor narrow.
    pub fn is_wide(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OPEN
    }

    fn passes(&self) -> std::sync::MutexGuard<'_, Arc<Passes>> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets at most `width` write units begin and be under way at a time, besides those that are already;
    /// each waits for at most [`LONGEST_NARROW_WAIT`]. Does nothing to a closed gate.
    pub fn narrow(&self, width: usize) {
        let mut passes = self.passes();
        match self.state.load(Ordering::SeqCst) {
            OPEN => {
                *passes = Passes::new(width);
                self.state.store(NARROW, Ordering::SeqCst);
            }
            NARROW => passes.set_width(width),
            _ => {}
        }
    }

    /// Closes the gate. Writes that begin from now on wait; what is under way goes on. Closing a closed gate
    /// changes the reason and keeps the queue.
    pub fn close(&self, reason: Closed) {
        let mut passes = self.passes();
        let state = match reason {
            Closed::Switchover => CLOSED_SWITCHOVER,
            Closed::NoPrimary => CLOSED_NO_PRIMARY,
        };
        match self.state.load(Ordering::SeqCst) {
            OPEN => *passes = Passes::new(0),
            NARROW => passes.close(),
            _ => {}
        }
        self.state.store(state, Ordering::SeqCst);
    }

    /// Opens the gate and lets the held statements go, first in first out, in a ramp. Returns when all that
    /// were held have been let go. Opening an open gate does nothing.
    pub async fn open(&self) {
        let passes = Arc::clone(&self.passes());
        if self.state.swap(OPEN, Ordering::SeqCst) == OPEN {
            return;
        }
        let mut waiting = self.held();
        while waiting > RAMP_BATCH {
            passes.let_go(RAMP_BATCH);
            waiting -= RAMP_BATCH;
            tokio::time::sleep(RAMP_PAUSE).await;
        }
        // Everybody else, and those who were between looking at the gate and queueing.
        passes.let_all_go();
    }

    /// Write units under way.
    pub fn open_units(&self) -> i64 {
        self.workers.iter().map(|worker| worker.open.load(Ordering::SeqCst)).sum()
    }

    /// Sessions holding state that cannot be moved to another instance.
    pub fn pinned_sessions(&self) -> i64 {
        self.workers.iter().map(|worker| worker.pinned.load(Ordering::SeqCst)).sum()
    }

    /// Statements waiting.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Waits until no write unit is open and no session is pinned; `false` when `deadline` came first.
    /// Only meaningful while the gate is closed.
    pub async fn drained(&self, deadline: Instant) -> bool {
        loop {
            if self.open_units() == 0 && self.pinned_sessions() == 0 {
                return true;
            }
            if timeout_at(deadline, self.left.notified()).await.is_err() {
                return self.open_units() == 0 && self.pinned_sessions() == 0;
            }
        }
    }

    /// When the gate was closed last; before the first time, when it was made.
    pub fn closed_at(&self) -> Instant {
        self.passes().closed_at()
    }

    /// Worker threads.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// A seat for one session on worker `worker`.
    pub fn seat(self: &Arc<Self>, worker: usize) -> Seat {
        Seat::new(Arc::clone(self), worker % self.workers.len())
    }

    fn note_left(&self) {
        if self.closed().is_some() {
            self.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
