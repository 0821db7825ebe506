//! The life of the process, as an order that is only ever walked forward.
//!
//! Never here: what to do in a phase; that belongs to whoever watches.

use tokio::sync::watch;

/// Phases in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Listeners are not open, or the topology was never known.
    Starting,
    /// Clients are served.
    Serving,
    /// Asked to end: says *not ready*, still accepts, so that load balancers can turn away first.
    NotReady,
    /// Accepts nobody; sessions end at their transaction boundaries.
    Draining,
    /// All sessions are gone or were closed.
    Closed,
}

impl Lifecycle {
    /// The stable label for logs and API answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::NotReady => "not_ready",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// Moves the phase forward; there is one of these per process.
#[derive(Debug)]
pub struct Phases(watch::Sender<Lifecycle>);

impl Default for Phases {
    fn default() -> Self {
        Self(watch::Sender::new(Lifecycle::Starting))
    }
}

impl Phases {
    /// Enters `phase`, unless the process is already there or further.
    pub fn enter(&self, phase: Lifecycle) {
        let moved = self.0.send_if_modified(|now| {
            let moves = *now < phase;
            if moves {
                *now = phase;
            }
            moves
        });
        if moved {
            tracing::info!(phase = phase.as_str(), "entered");
        }
    }

    /// A receiver that wakes at each new phase.
    pub fn watch(&self) -> watch::Receiver<Lifecycle> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward() {
        let phases = Phases::default();
        let watch = phases.watch();
        phases.enter(Lifecycle::Draining);
        phases.enter(Lifecycle::Serving);
        assert_eq!(*watch.borrow(), Lifecycle::Draining);
    }
}
