//! Waiting for a condition, the only kind of waiting that tests do.
//!
//! Must never wait without a deadline, nor end without saying what was waited for.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::ClusterError;

/// Pause between two looks at a condition: short beside anything a server does, long beside a look.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks at `condition` until it is true, at most `limit`.
///
/// # Errors
/// [`ClusterError::Timeout`] naming `what`. One look that takes longer than the rest of `limit` is cut off too.
pub async fn wait_until<F, Fut>(what: &str, limit: Duration, mut condition: F) -> Result<(), ClusterError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let looking = async {
        while !condition().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(limit, looking).await.map_err(|_| timeout(what, limit, String::new()))
}

/// The same, for a condition that can fail for good (`Err`) or say what it saw instead (`Ok(Err(text))`).
pub(crate) async fn wait_for<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> Result<T, ClusterError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Result<T, String>, ClusterError>>,
{
    let end = Instant::now() + limit;
    let mut seen = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(text))) => seen = text,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(timeout(what, limit, seen)),
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

fn timeout(what: &str, limit: Duration, seen: String) -> ClusterError {
    let detail = if seen.is_empty() { seen } else { format!("; last seen: {seen}") };
    ClusterError::Timeout { what: what.to_owned(), limit, detail }
}
