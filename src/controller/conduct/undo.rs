//! Takes a switchover back: the old primary writable first, clients released, then the rest.
//!
//! What needs the target comes after the release, so that a frozen target can't hold clients up.
//!
//! Never here: anything after the epoch changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Performance;
use crate::controller::execute::StepError;
use crate::controller::instance_operations::Via;
use crate::controller::switchover::{self, Step, Undo};

/// How long a killed session may take to be gone.
const KILLED: Duration = Duration::from_secs(2);

impl Performance<'_> {
    /// Takes one thing back. `reached` is the step that failed.
    pub(super) async fn undo(&self, undo: Undo, reached: Step) -> Result<(), StepError> {
        let desk = self.desk();
        match undo {
            Undo::Ackers => {
                let ackers = self.before.ackers.clone();
                desk.change(|record| record.ackers = ackers)?;
                Ok(())
            }
            Undo::Writable => self.writable_again(reached).await,
            Undo::Release => {
                let gate = Arc::clone(desk.publisher.feed().gate());
                gate.open().await;
                Ok(())
            }
            Undo::Cool => {
                desk.set_coming(Some((self.plan.to, self.plan.to_uuid)), None);
                desk.publish();
                Ok(())
            }
            Undo::Receiver => {
                let (to, grammar) = self.server(self.plan.to)?;
                Ok(to.start_receiver(grammar).await?)
            }
            Undo::Return => self.return_movers().await,
            Undo::Disarm => {
                let (to, grammar) = self.server(self.plan.to)?;
                Ok(to.stop_waiting(grammar).await?)
            }
            Undo::Close => {
                let moved = switchover::undo(&self.plan, reached).contains(&Undo::Return);
                if moved && self.plan.movers().contains(&self.plan.from) {
                    // As long as it is not seen to follow nobody, the record has to say that it may acknowledge elsewhere.
                    let (from, grammar) = self.server(self.plan.from)?;
                    from.forget_source(grammar).await?;
                }
                desk.change(|record| record.operation = None)?;
                Ok(())
            }
        }
    }

    /// The session of a `SET` that is still pending is killed and seen gone, or it would make the server
    /// read-only later. Then both switches are read back.
    async fn writable_again(&self, reached: Step) -> Result<(), StepError> {
        let (from, _) = self.server(self.plan.from)?;
        if reached == Step::ReadOnly {
            for pending in from.pending_read_only().await? {
                from.kill(pending, Instant::now() + KILLED).await?;
            }
        }
        from.set_writable().await?;
        let (read_only, super_read_only) = from.read_only_flags(Via::Main).await?;
        if read_only.is_on() || super_read_only.is_on() {
            return Err(StepError::Unmet("the old primary is still read-only".into()));
        }
        Ok(())
    }

    async fn return_movers(&self) -> Result<(), StepError> {
        for id in self.plan.movers() {
            let (mover, grammar) = self.server(*id)?;
            if *id == self.plan.from {
                mover.forget_source(grammar).await?;
            } else {
                self.follow(*id, self.plan.from).await?;
            }
        }
        Ok(())
    }
}
