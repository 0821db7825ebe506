//! When the primary does not answer: how sure it is that it is gone, by all views together.
//!
//! The controller's own view is never enough. Replicas are witnesses as far as they are seen and were attached;
//! a receiver that was stopped by somebody says nothing.
//!
//! Never here: I/O, what follows from the loss.

use std::time::{Duration, Instant};

use super::{Assessment, Trust, Verdict};
use crate::controller::record::Record;
use crate::controller::view::{ClusterView, FROZEN_AFTER, InstanceView, Reach, ServerView, Thread};

/// Dials refused in a row after which nobody listens any more.
const REFUSALS: u32 = 2;

/// How sure it is that the primary is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nobody listens, and a receiver lost it.
    Dead,
    /// It said that it stops, and nobody listens any more.
    Stopping,
    /// It answers nobody: no probe for [`FROZEN_AFTER`], and a receiver lost it.
    Frozen,
    /// It does not answer, but no receiver is known to have lost it: a fresh receiver session has to tell.
    Unconfirmed,
    /// It was lost before, and has not been silent for long enough since.
    Brief,
    /// No other member answers that could know: the controller itself may be cut off.
    Unwitnessed,
}

impl Loss {
    /// The word shown by `sluice status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "primary_dead",
            Self::Stopping => "primary_stopping",
            Self::Frozen => "primary_frozen",
            Self::Unconfirmed | Self::Brief => "primary_lost",
            Self::Unwitnessed => "isolated",
        }
    }

    /// Whether nothing is missing to act on it.
    pub const fn is_certain(self) -> bool {
        match self {
            Self::Dead | Self::Stopping | Self::Frozen => true,
            Self::Unconfirmed | Self::Brief | Self::Unwitnessed => false,
        }
    }
}

/// What a member says about the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Testimony {
    /// Its receiver can't reach it.
    Lost,
    /// Its receiver is attached.
    Receives,
    /// It never followed it, or its receiver was stopped.
    Nothing,
}

fn testimony(server: &ServerView, record: &Record) -> Testimony {
    let Some(channel) = server.channel.as_ref().filter(|channel| channel.source == Some(record.primary))
    else {
        return Testimony::Nothing;
    };
    match channel.receiver {
        Thread::Connecting => Testimony::Lost,
        Thread::Running => Testimony::Receives,
        Thread::Stopped => Testimony::Nothing,
    }
}

/// Judges a primary that does not answer.
pub(super) fn judge(
    view: &ClusterView,
    record: &Record,
    primary: &InstanceView,
    trust: Trust,
    now: Instant,
) -> Assessment {
    let name = &primary.name;
    let silent = primary.unanswered(now);
    match &primary.reach {
        Reach::NotYet | Reach::Answers | Reach::Removed => {
            Assessment::new(Verdict::Starting, "the primary has not been looked at yet")
        }
        Reach::Saturated => suspected(format!("{name} is saturated: error 1040, too many connections")),
        Reach::LoginFailed(error) => suspected(format!("{name} does not let Sluice in: {error}")),
        Reach::Refused(_) if primary.stopping => lost(
            view,
            record,
            Loss::Stopping,
            &format!("{name} is stopping: error 1053, then connections refused"),
        ),
        Reach::Refused(times) if *times >= REFUSALS => {
            let evidence = format!("{name} is dead: connections refused {times} times in a row");
            lost(view, record, witnessed(view, record, Loss::Dead), &evidence)
        }
        Reach::Refused(_) => suspected(format!("a connection to {name} was refused")),
        Reach::Silent | Reach::Broken(_) if silent >= FROZEN_AFTER => {
            let evidence = format!(
                "{name} is frozen or cut off: no answer for {} s ({})",
                silent.as_secs(),
                primary.reach.as_str()
            );
            lost(view, record, witnessed(view, record, Loss::Frozen), &evidence)
        }
        Reach::Silent | Reach::Broken(_) if trust == Trust::Unchecked => {
            let evidence = format!("{name} does not answer ({})", primary.reach.as_str());
            lost(view, record, Loss::Brief, &evidence)
        }
        Reach::Silent | Reach::Broken(_) => {
            suspected(format!("{name} did not answer for {} ms", millis(silent)))
        }
    }
}

/// The loss that the witnesses make of what the controller sees.
fn witnessed(view: &ClusterView, record: &Record, seen: Loss) -> Loss {
    let mut witnesses = view.live().filter(|(_, server)| server.uuid != record.primary).peekable();
    if witnesses.peek().is_none() {
        return Loss::Unwitnessed;
    }
    let lost = witnesses.any(|(_, server)| testimony(server, record) == Testimony::Lost);
    if lost { seen } else { Loss::Unconfirmed }
}

fn millis(age: Duration) -> u128 {
    age.as_millis()
}

fn suspected(evidence: String) -> Assessment {
    Assessment::new(Verdict::PrimarySuspected, evidence)
}

fn lost(view: &ClusterView, record: &Record, loss: Loss, evidence: &str) -> Assessment {
    let witnesses: Vec<String> = view
        .live()
        .filter(|(_, server)| server.uuid != record.primary)
        .map(|(instance, server)| {
            let sees = match testimony(server, record) {
                Testimony::Receives => "still receives from it",
                Testimony::Lost => "lost it too",
                Testimony::Nothing => "is not attached to it",
            };
            format!("{} {sees}", instance.name)
        })
        .collect();
    let witnesses = if witnesses.is_empty() { "no witness".into() } else { witnesses.join(", ") };
    Assessment::new(Verdict::PrimaryLost(loss), format!("{evidence}; {witnesses}; writes wait at the gate"))
}
