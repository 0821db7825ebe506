//! What clients notice of planned switchovers: how long the gate was closed, and the longest wait of any statement.
//!
//! Last in a run: it changes who the primary is, and all other targets lead to one server.
//!
//! Never here: a failover.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sluice_demo::load::{Load, LoadConfig, Window};
use sluice_demo::stage::Stage;

/// Clients meanwhile, of all roles: reads, writes, transactions, prepared statements.
const CLIENTS: usize = 16;
/// Longest time of one.
const DEADLINE: Duration = Duration::from_secs(60);
/// Held statements are answered after the operation is done.
const AFTERMATH: Duration = Duration::from_millis(500);
/// Load between two.
const PAUSE: Duration = Duration::from_secs(2);

/// Why it could not be measured.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One of them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Switchover {
    /// How long the gate was closed, ms.
    pub closed: f64,
    /// The longest wait of any statement, ms.
    pub longest: f64,
    /// Errors that clients saw in all of them together.
    pub errors: u64,
}

/// Switches over so many times under load.
///
/// # Errors
/// If one is not done.
#[allow(clippy::cast_precision_loss)] // µs of a minute
pub async fn measure(stage: &Stage, count: usize) -> Result<Vec<Switchover>, Failure> {
    stage.fresh_tables().await?;
    let load = Load::start(LoadConfig::mixed(stage.split(), CLIENTS))?;
    let mut seen = Vec::new();
    for _ in 0..count {
        tokio::time::sleep(PAUSE).await;
        let from = Instant::now();
        let operation = stage.admin().switchover(None, DEADLINE).await?;
        if operation.state != "done" {
            let why = operation.outcome.unwrap_or_default();
            return Err(format!("a switchover ended as {}: {why}", operation.state).into());
        }
        let window = Window { from, to: Instant::now() + AFTERMATH };
        seen.push((operation.stall_us.unwrap_or_default() as f64 / 1e3, window));
    }
    tokio::time::sleep(AFTERMATH).await;
    let report = load.stop().await?;
    let errors = report.error_count;
    let longest = |window| report.timing.longest_wait(window).map(|sample| sample.took());
    let of = |(closed, window)| {
        let longest = longest(window).unwrap_or_default().as_secs_f64() * 1e3;
        Switchover { closed, longest, errors }
    };
    Ok(seen.into_iter().map(of).collect())
}
