//! Bringing the target near before clients are held.
//!
//! Where its applier can't keep up with the load, the gate is made narrow: fewer transactions at a time leave
//! the applier its share of the machine, and fewer are open when the gate closes. Clients queue for their turn
//! instead of running beside each other, so few of them wait much longer than before.
//!
//! Never here: closing the gate.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Performance;
use crate::controller::execute::StepError;
use crate::feed::gate::Gate;

/// How long the target may take to come near.
const CATCH_UP: Duration = Duration::from_secs(30);
/// Before anything is changed it has to be this near: a lag that the narrow gate will take away.
const ROUGHLY: Duration = Duration::from_millis(250);
/// Right before the hold: it has executed a position within this time of its reading.
const NEAR: Duration = Duration::from_millis(10);
/// The same at a narrow gate: a machine that busy takes longer to answer than to apply.
const NEAR_ENOUGH: Duration = Duration::from_millis(25);
/// So long it may try by itself, and then at each width of the gate.
const A_TRY: Duration = Duration::from_millis(250);
/// How many write units the gate admits at a time, from try to try; the last width stays. With one at a time
/// every applier keeps up.
const WIDTHS: [usize; 6] = [16, 8, 4, 2, 2, 1];

impl Performance<'_> {
    /// Brings the target so near that it makes sense to begin. Afterwards the gate is wide.
    pub(super) async fn catch_up(&self) -> Result<String, StepError> {
        let gate = Arc::clone(self.desk().publisher.feed().gate());
        let outcome = self.approach(&gate, ROUGHLY, ROUGHLY).await;
        gate.open().await;
        outcome
    }

    /// Brings the target near for the hold that follows at once. The gate stays as narrow as that took.
    pub(super) async fn come_near(&self) -> Result<String, StepError> {
        let gate = Arc::clone(self.desk().publisher.feed().gate());
        let outcome = self.approach(&gate, NEAR, NEAR_ENOUGH).await;
        if outcome.is_err() {
            gate.open().await;
        }
        outcome
    }

    async fn approach(&self, gate: &Gate, wide: Duration, narrow: Duration) -> Result<String, StepError> {
        let (from, _) = self.server(self.plan.from)?;
        let (to, _) = self.server(self.plan.to)?;
        let began = Instant::now();
        let mut widths = WIDTHS.iter();
        let mut width = None;
        let mut last_try = began;
        loop {
            let near = if width.is_none() { wide } else { narrow };
            if to.wait_executed(&from.executed().await?, near).await? {
                return Ok(match width {
                    None => "the target has what the old primary had".into(),
                    Some(width) => format!("with {width} transactions at a time"),
                });
            }
            if began.elapsed() > CATCH_UP {
                return Err(StepError::Unmet(format!("it did not come near within {CATCH_UP:?}")));
            }
            if last_try.elapsed() >= A_TRY
                && let Some(&next) = widths.next()
            {
                gate.narrow(next);
                (width, last_try) = (Some(next), Instant::now());
            }
            to.wait_executed(&from.executed().await?, A_TRY).await?;
        }
    }
}
