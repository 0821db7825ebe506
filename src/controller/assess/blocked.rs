//! A primary that answers and on which nobody can write: somebody's lock, or the server itself.
//!
//! Waiting for acknowledgements is neither: that is starved, or an acknowledgement that was lost.
//!
//! Never here: I/O, what follows from it.

use std::time::{Duration, Instant};

use super::{Assessment, Verdict};
use crate::controller::view::{Blockade, InstanceView};

/// A write that takes less is slow.
const SLOW: Duration = Duration::from_secs(3);

/// For how long the primary itself has let no write through; `None`: it does, or something else is in the way.
pub fn stalled_for(instance: &InstanceView, now: Instant) -> Option<Duration> {
    let blocked = instance.blocked.as_ref().filter(|blocked| blocked.cause == Blockade::Server)?;
    Some(now.saturating_duration_since(blocked.since))
}

/// The verdict, if it is so.
pub(super) fn judge(instance: &InstanceView, now: Instant) -> Option<Assessment> {
    let blocked = instance.blocked.as_ref()?;
    let age = now.saturating_duration_since(blocked.since);
    let (name, seconds, detail) = (&instance.name, age.as_secs(), &blocked.detail);
    match blocked.cause {
        Blockade::Acknowledgements => None,
        Blockade::Lock => Some(
            Assessment::new(
                Verdict::PrimaryLocked,
                format!("{name} is locked: no write of Sluice has got through for {seconds} s; {detail}"),
            )
            .hint(format!("UNLOCK TABLES in that session, or KILL it on {name}; nobody is promoted for it")),
        ),
        Blockade::Server if age < SLOW => None,
        Blockade::Server => Some(Assessment::new(
            Verdict::PrimaryStalled,
            format!(
                "{name} answers and can't commit: no write of Sluice has got through for {seconds} s ({detail})"
            ),
        )),
    }
}
