//! The queue at a gate that is narrow or closed: who has a pass may begin.
//!
//! One value serves from the moment at which the gate stops being wide until it is wide again, so that nobody
//! loses the place in the queue when a narrow gate closes.
//!
//! Never here: the state of the gate, counts of write units.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The passes of one narrowing or closing.
#[derive(Debug)]
pub(super) struct Passes {
    free: Semaphore,
    width: Mutex<Width>,
}

#[derive(Debug)]
struct Width {
    now: usize,
    /// Passes that were handed out and are to vanish when they come back.
    surplus: usize,
    closed_at: Instant,
}

impl Passes {
    /// So many free passes.
    pub(super) fn new(width: usize) -> Arc<Self> {
        let state = Width { now: width, surplus: 0, closed_at: Instant::now() };
        Arc::new(Self { free: Semaphore::new(width), width: Mutex::new(state) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Width> {
        self.width.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how many may be handed out at a time.
    pub(super) fn set_width(&self, width: usize) {
        let mut state = self.state();
        let more = width.saturating_sub(state.now);
        let restored = more.min(state.surplus);
        state.surplus -= restored;
        self.free.add_permits(more - restored);
        let fewer = state.now.saturating_sub(width);
        state.surplus += fewer - self.free.forget_permits(fewer);
        state.now = width;
    }

    /// Hands none out any more.
    pub(super) fn close(&self) {
        self.set_width(0);
        self.state().closed_at = Instant::now();
    }

    pub(super) fn closed_at(&self) -> Instant {
        self.state().closed_at
    }

    /// Lets so many of those who wait begin.
    pub(super) fn let_go(&self, count: usize) {
        self.free.add_permits(count);
    }

    /// Lets everybody begin, also those who come yet.
    pub(super) fn let_all_go(&self) {
        self.free.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Takes a pass if one is free and nobody waits for it.
    pub(super) fn take(self: &Arc<Self>) -> Option<Pass> {
        self.free.try_acquire().ok()?.forget();
        Some(Pass { of: Arc::clone(self) })
    }

    /// Waits for a pass.
    pub(super) async fn wait(self: &Arc<Self>) -> Option<Pass> {
        self.free.acquire().await.ok()?.forget();
        Some(Pass { of: Arc::clone(self) })
    }

    fn come_back(&self) {
        let mut state = self.state();
        if state.surplus > 0 {
            state.surplus -= 1;
        } else {
            self.free.add_permits(1);
        }
    }
}

/// The right to have one write unit under way; comes back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    of: Arc<Passes>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.of.come_back();
    }
}
