//! The memory that clients may take together: `[sessions] memory`.
//!
//! Every client takes a fixed share at its door, for its login and the buffers of its relay; a newcomer for whom there
//! is none is turned away. What a client has beyond that, a large command or many texts of prepared statements,
//! takes more as its bytes arrive, up to a part of the whole that leaves room for newcomers; then it is not read on
//! until there is some again.
//!
//! Never here: a buffer, an answer to a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The share of each client, in bytes: its largest login packet, or the read buffers of its relay in both directions
/// at the size to which they are kept (64 KiB each).
pub(crate) const OF_CLIENT: usize = 128 * 1024;
/// Of so many parts of the whole, all but one may be taken by what is beyond the clients' shares.
const PARTS: usize = 8;

/// The budget; one per process.
#[derive(Debug)]
pub struct Memory {
    limit: AtomicUsize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    gauges: Gauges,
}

struct Gauges {
    limit: Gauge,
    used: Gauge,
    slowed: Counter,
    refused_client: Counter,
    refused_command: Counter,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gauges")
    }
}

impl Gauges {
    fn new() -> Self {
        describe_gauge!("sluice_memory_limit_bytes", "Memory that clients may take together.");
        describe_gauge!("sluice_memory_bytes", "Memory that clients take of it.");
        describe_counter!(
            "sluice_memory_waits_total",
            "Times a large command was not read on for lack of memory."
        );
        describe_counter!(
            "sluice_memory_refusals_total",
            "What was refused for lack of memory: clients, commands."
        );
        let refused = |what: &'static str| counter!("sluice_memory_refusals_total", "what" => what);
        Self {
            limit: gauge!("sluice_memory_limit_bytes"),
            used: gauge!("sluice_memory_bytes"),
            slowed: counter!("sluice_memory_waits_total"),
            refused_client: refused("client"),
            refused_command: refused("command"),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is floating-point; sizes don't come near 2^52")]
    fn set(gauge: &Gauge, bytes: usize) {
        gauge.set(bytes as f64);
    }
}

/// There is no memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

/// What somebody has taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

impl Memory {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        let memory = Self {
            limit: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            gauges: Gauges::new(),
        };
        memory.set_limit(limit);
        Arc::new(memory)
    }

    /// Another limit from now on; what is taken beyond a lower one stays until it is given back.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        Gauges::set(&self.gauges.limit, limit);
        self.freed.notify_waiters();
    }

    /// The share of a newcomer.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Charge, NoMemory> {
        let taken = self.take(OF_CLIENT, self.limit.load(Ordering::Relaxed));
        if taken.is_err() {
            self.gauges.refused_client.increment(1);
        }
        taken.map(|()| Charge { memory: Arc::clone(self), bytes: OF_CLIENT })
    }

    /// Nothing yet, for something beyond a client's share.
    pub(crate) fn begin(self: &Arc<Self>) -> Charge {
        Charge { memory: Arc::clone(self), bytes: 0 }
    }

    /// Bytes taken at present.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for memory.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn take(&self, bytes: usize, limit: usize) -> Result<(), NoMemory> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let before =
            self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).map_err(|_| NoMemory)?;
        Gauges::set(&self.gauges.used, before + bytes);
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        Gauges::set(&self.gauges.used, before.saturating_sub(bytes));
        self.freed.notify_waiters();
    }
}

impl Charge {
    /// Takes what is missing to `bytes`, if there is so much.
    pub(crate) fn cover(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let missing = bytes.saturating_sub(self.bytes);
        if missing == 0 {
            return Ok(());
        }
        let limit = self.memory.limit.load(Ordering::Relaxed);
        self.memory.take(missing, limit - limit / PARTS)?;
        self.bytes = bytes;
        Ok(())
    }

    /// As [`Self::cover`], or counts a refusal.
    pub(crate) fn cover_or_refuse(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let covered = self.cover(bytes);
        if covered.is_err() {
            self.memory.gauges.refused_command.increment(1);
        }
        covered
    }

    /// As [`Self::cover`], and waits until there is so much, at most until `deadline`.
    pub(crate) async fn cover_until(&mut self, bytes: usize, deadline: Instant) -> Result<(), NoMemory> {
        if self.cover(bytes).is_ok() {
            return Ok(());
        }
        let memory = Arc::clone(&self.memory);
        memory.gauges.slowed.increment(1);
        let _waits = Waits::begin(&memory.waiting);
        loop {
            let freed = memory.freed.notified();
            tokio::pin!(freed);
            // From here on no word of free memory is missed.
            freed.as_mut().enable();
            if self.cover(bytes).is_ok() {
                return Ok(());
            }
            if timeout_at(deadline, freed).await.is_err() {
                return self.cover_or_refuse(bytes);
            }
        }
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        if surplus > 0 {
            self.memory.give_back(surplus);
        }
    }
}

/// Counts one who waits, for as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: usize = 16 * OF_CLIENT;

    #[tokio::test]
    async fn commands_leave_room_for_newcomers_and_everything_comes_back() {
        let memory = Memory::new(LIMIT);
        let mut command = memory.begin();
        command.cover(14 * OF_CLIENT).unwrap();
        assert_eq!(command.cover(14 * OF_CLIENT + 1), Err(NoMemory), "an eighth is not for commands");
        let clients = [memory.admit().unwrap(), memory.admit().unwrap()];
        assert!(memory.admit().is_err(), "all is taken");
        command.shrink_to(OF_CLIENT);
        assert!(command.cover(12 * OF_CLIENT).is_ok() && memory.admit().is_ok());
        drop((command, clients));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_there_is_memory_and_gives_up_in_time() {
        let memory = Memory::new(LIMIT);
        let (mut first, mut second) = (memory.begin(), memory.begin());
        first.cover(13 * OF_CLIENT).unwrap();
        let soon = Instant::now() + Duration::from_secs(5);
        assert_eq!(second.cover_until(2 * OF_CLIENT, soon).await, Err(NoMemory));
        assert!(Instant::now() >= soon && !memory.is_short());
        let waiting = tokio::spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(60);
            second.cover_until(2 * OF_CLIENT, deadline).await.map(|()| Instant::now())
        });
        while !memory.is_short() {
            tokio::task::yield_now().await;
        }
        drop(first);
        let went_on = waiting.await.unwrap().unwrap();
        assert!(went_on - soon < Duration::from_secs(2), "{:?}", went_on - soon);
        let mut third = memory.begin();
        assert!(third.cover(14 * OF_CLIENT).is_ok(), "what was waited for is back, too");
    }

    #[tokio::test]
    async fn a_lower_limit_sends_nobody_away() {
        let memory = Memory::new(LIMIT);
        let clients: Vec<_> = (0..8).map(|_| memory.admit().unwrap()).collect();
        memory.set_limit(4 * OF_CLIENT);
        assert!(memory.admit().is_err());
        drop(clients);
        assert!(memory.admit().is_ok());
    }
}
