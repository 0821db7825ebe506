//! The controller's clock: tokio's, also where the time is compared with what others noted, so that a simulation
//! that drives tokio's clock drives all of the controller.
//!
//! What has to outlive the process is told by the calendar, and only that.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago that was.
pub(super) fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}

/// Seconds since 1970.
pub(super) fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
