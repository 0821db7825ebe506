//! The gate: where new writes wait while the primary changes, and the count of writes under way.
//!
//! A *write unit* is a write statement in autocommit mode, or a transaction from its first statement to its
//! end. A session enters before it sends the first byte and leaves when the server has answered that nothing
//! is open any more. Closing the gate and counting units is a Dekker handshake: a session counts itself in
//! and then looks whether the gate is closed; the controller closes and then counts. With sequentially
//! consistent operations at least one of them sees the other, so "closed and zero units" proves that no
//! write is on its way to an instance.
//!
//! Never here: I/O, knowledge of instances or epochs, a decision when to open.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

/// How many held statements are let go at once when the gate opens. The rest follow in [`RAMP_PAUSE`]
/// steps, so that the new primary meets its load as a ramp and not as a wall.
const RAMP_BATCH: usize = 64;
/// Pause between two batches of released statements.
const RAMP_PAUSE: Duration = Duration::from_millis(1);

/// Why the gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// A planned switchover: will open again, on the new primary or the old one.
    Switchover,
    /// There is no primary to send writes to.
    NoPrimary,
}

const OPEN: u8 = 0;
const CLOSED_SWITCHOVER: u8 = 1;
const CLOSED_NO_PRIMARY: u8 = 2;

/// The gate of one process. See the module's documentation.
#[derive(Debug)]
pub struct Gate {
    state: AtomicU8,
    workers: Box<[WorkerUnits]>,
    queue: Mutex<Arc<Queue>>,
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

/// The statements held by one closing of the gate.
#[derive(Debug)]
struct Queue {
    closed_at: Instant,
    permits: Semaphore,
    first_release: OnceLock<Instant>,
}

impl Queue {
    fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { closed_at: now, permits: Semaphore::new(0), first_release: OnceLock::new() })
    }
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
            queue: Mutex::new(Queue::new(Instant::now())),
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

    /// Closes the gate. Writes that begin from now on wait; what is under way goes on. Closing a closed gate
    /// changes the reason and keeps the queue.
    pub fn close(&self, reason: Closed) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match reason {
            Closed::Switchover => CLOSED_SWITCHOVER,
            Closed::NoPrimary => CLOSED_NO_PRIMARY,
        };
        if self.closed().is_none() {
            *queue = Queue::new(Instant::now());
        }
        self.state.store(state, Ordering::SeqCst);
    }

    /// Opens the gate and lets the held statements go, first in first out, in a ramp. Returns when all that
    /// were held have been let go. Opening an open gate does nothing.
    pub async fn open(&self) {
        let queue = Arc::clone(&self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        if self.state.swap(OPEN, Ordering::SeqCst) == OPEN {
            return;
        }
        let mut waiting = self.held();
        while waiting > RAMP_BATCH {
            queue.permits.add_permits(RAMP_BATCH);
            waiting -= RAMP_BATCH;
            tokio::time::sleep(RAMP_PAUSE).await;
        }
        // Everybody else, and those who were between looking at the gate and queueing.
        queue.permits.add_permits(Semaphore::MAX_PERMITS / 2);
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

    /// When the first statement of the last closing was let go; `None` while none was.
    pub fn first_release(&self) -> Option<Instant> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).first_release.get().copied()
    }

    /// When the gate was closed last.
    pub fn closed_at(&self) -> Instant {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closed_at
    }

    /// A seat for one session on worker `worker`.
    pub fn seat(self: &Arc<Self>, worker: usize) -> Seat {
        let worker = worker % self.workers.len();
        Seat { gate: Arc::clone(self), worker, inside: Inside::No, pinned: Pinned::No }
    }

    fn note_left(&self) {
        if self.closed().is_some() {
            self.left.notify_one();
        }
    }
}

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

/// One session's place at the gate: whether it has a write unit open and whether it is pinned. Dropping it
/// gives both back.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<Gate>,
    worker: usize,
    inside: Inside,
    pinned: Pinned,
}

impl Seat {
    fn units(&self) -> Option<&WorkerUnits> {
        self.gate.workers.get(self.worker)
    }

    /// Whether this session has a write unit open.
    pub fn is_inside(&self) -> bool {
        self.inside == Inside::Yes
    }

    /// Opens a write unit, unless the gate is closed: then `Err` says why, and the session has to
    /// [`Seat::hold`]. Entering twice is entering once.
    pub fn enter(&mut self) -> Result<(), Closed> {
        if self.inside == Inside::Yes {
            return Ok(());
        }
        let Some(units) = self.units() else { return Ok(()) };
        units.open.fetch_add(1, Ordering::SeqCst);
        if let Some(reason) = self.gate.closed() {
            units.open.fetch_sub(1, Ordering::SeqCst);
            self.gate.note_left();
            return Err(reason);
        }
        self.inside = Inside::Yes;
        Ok(())
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

    /// Waits at the closed gate, at most until it has been closed for `limit`.
    pub async fn hold(&self, limit: Duration) -> HoldEnd {
        let queue = Arc::clone(&self.gate.queue.lock().unwrap_or_else(PoisonError::into_inner));
        if self.gate.closed().is_none() {
            return HoldEnd::Released;
        }
        let _held = Held::new(&self.gate.held);
        match timeout_at(queue.closed_at + limit, queue.permits.acquire()).await {
            Ok(permit) => {
                if let Ok(permit) = permit {
                    permit.forget();
                }
                let _ = queue.first_release.set(Instant::now());
                HoldEnd::Released
            }
            Err(_) => HoldEnd::Expired,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_holds_and_opening_lets_go() {
        let gate = Arc::new(Gate::new(2));
        let mut writer = gate.seat(0);
        writer.enter().unwrap();
        gate.close(Closed::Switchover);
        let mut late = gate.seat(1);
        assert_eq!(late.enter(), Err(Closed::Switchover));
        assert!(!gate.drained(Instant::now() + Duration::from_millis(10)).await);
        writer.leave();
        assert!(gate.drained(soon()).await);
        let (end, ()) = tokio::join!(late.hold(Duration::from_secs(10)), async {
            tokio::task::yield_now().await;
            assert_eq!(gate.held(), 1);
            gate.open().await;
        });
        assert_eq!(end, HoldEnd::Released);
        assert_eq!(late.enter(), Ok(()));
        assert!(gate.first_release().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_at_the_limit() {
        let gate = Arc::new(Gate::new(1));
        gate.close(Closed::NoPrimary);
        assert_eq!(gate.seat(0).hold(Duration::from_secs(10)).await, HoldEnd::Expired);
        // Later statements fail at once until there is a primary.
        let before = Instant::now();
        assert_eq!(gate.seat(0).hold(Duration::from_secs(10)).await, HoldEnd::Expired);
        assert_eq!(Instant::now(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pin_keeps_the_gate_from_being_drained_until_it_ends() {
        let gate = Arc::new(Gate::new(1));
        let mut seat = gate.seat(0);
        seat.pin();
        gate.close(Closed::Switchover);
        assert!(!gate.drained(Instant::now() + Duration::from_millis(1)).await);
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.drained(soon()).await }
        });
        tokio::task::yield_now().await;
        drop(seat);
        assert!(waiter.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_while_pinned_is_waited_for_beyond_the_pin() {
        let gate = Arc::new(Gate::new(1));
        let mut seat = gate.seat(0);
        seat.pin();
        gate.close(Closed::Switchover);
        seat.stay();
        seat.stay();
        seat.unpin();
        assert!(!gate.drained(Instant::now() + Duration::from_millis(1)).await);
        seat.leave();
        assert!(gate.drained(soon()).await);
        assert_eq!(gate.open_units(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_batch_is_released() {
        let gate = Arc::new(Gate::new(1));
        gate.close(Closed::Switchover);
        let holders: Vec<_> = (0..RAMP_BATCH * 3)
            .map(|_| {
                let seat = gate.seat(0);
                tokio::spawn(async move { seat.hold(Duration::from_secs(10)).await })
            })
            .collect();
        while gate.held() < RAMP_BATCH * 3 {
            tokio::task::yield_now().await;
        }
        gate.open().await;
        for holder in holders {
            assert_eq!(holder.await.unwrap(), HoldEnd::Released);
        }
    }
}
