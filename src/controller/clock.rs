//! The controller's clock: tokio's, also where the time is compared with what others noted, so that a simulation
//! that drives tokio's clock drives all of the controller.
//!
//! Never here: the calendar.

use std::time::{Duration, Instant};

/// The time.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago that was.
pub(super) fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}
