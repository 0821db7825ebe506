//! Counting harmless reads: where each was served, and why there.
//!
//! Never here: a decision, a lookup of a label per read.

use metrics::{Counter, counter, describe_counter};
use sluice_routing::decide::{PrimaryReason, ReplicaReason, Route};
use sluice_routing::intent::{Intent, Statement};
use sluice_routing::topology::{InstanceId, Reads, ReadsStopped, Topology};

use super::Session;
use super::freshness::Patience;
use crate::config::ReadScope;

/// Declares an enum of cases with their labels, and the list of all.
macro_rules! cases {
    ($($(#[$doc:meta])* $case:ident => $to:literal, $why:literal;)*) => {
        /// Where a read was served and why there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Case { $($(#[$doc])* $case,)* }

        impl Case {
            const ALL: &[(Self, &str, &str)] = &[$((Self::$case, $to, $why),)*];
        }
    };
}

cases! {
    /// A replica was known to have all that the session must be able to see.
    Covered => "replica", "covered";
    /// A replica had it after a short wait.
    Waited => "replica", "waited";
    /// The replica listener.
    ReplicaListener => "replica", "listener";
    /// Within a transaction, or tied to the replica by other state.
    ReplicaHome => "replica", "transaction";
    /// No serving replica had it in time.
    NotFresh => "primary", "not_fresh";
    /// `freshness = "strong"`.
    Strong => "primary", "strong";
    /// Replicas are there, but all of those that could serve lag too far behind.
    Lag => "primary", "lag";
    /// No replica serves.
    NoReplica => "primary", "no_replica";
    /// The primary listener.
    PrimaryListener => "primary", "listener";
    /// Within a transaction, or tied to the primary by other state.
    PrimaryHome => "primary", "transaction";
    /// Autocommit is off, or the current schema has tables that differ between servers.
    Other => "primary", "other";
}

/// One counter per case; handles are resolved once.
#[derive(Clone)]
pub(super) struct ReadCounters(Vec<Counter>);

impl ReadCounters {
    pub(super) fn new() -> Self {
        describe_counter!("sluice_reads_total", "Harmless reads by where they were served and why there.");
        let counter = |(_, to, why): &(Case, &'static str, &'static str)| counter!("sluice_reads_total", "to" => *to, "why" => *why);
        Self(Case::ALL.iter().map(counter).collect())
    }

    fn count(&self, case: Case) {
        if let Some(counter) = self.0.get(case as usize) {
            counter.increment(1);
        }
    }
}

impl Session {
    /// Counts a statement that has got its place, if it is a read.
    pub(super) fn count_read(
        &self,
        statement: &Statement,
        route: &Route,
        topology: &Topology,
        patience: Patience,
    ) {
        if statement.intent != Intent::HarmlessRead {
            return;
        }
        let case = match route {
            Route::Replica(_, reason) => match reason {
                ReplicaReason::Current | ReplicaReason::Chosen if patience == Patience::Rewarded => {
                    Case::Waited
                }
                ReplicaReason::Current | ReplicaReason::Chosen | ReplicaReason::ReadOnlyTransaction => {
                    Case::Covered
                }
                ReplicaReason::Listener => Case::ReplicaListener,
                ReplicaReason::Pinned | ReplicaReason::LastStatement => Case::ReplicaHome,
            },
            Route::Primary(reason) => match reason {
                PrimaryReason::FreshRead if self.context.freshness() == ReadScope::Strong => Case::Strong,
                PrimaryReason::FreshRead => Case::NotFresh,
                PrimaryReason::NoReplica if topology.instances.iter().any(|i| lags(i.reads)) => Case::Lag,
                PrimaryReason::NoReplica => Case::NoReplica,
                PrimaryReason::Listener => Case::PrimaryListener,
                PrimaryReason::OpenTransaction | PrimaryReason::Pinned => Case::PrimaryHome,
                PrimaryReason::Statement
                | PrimaryReason::AutocommitOff
                | PrimaryReason::LastStatement
                | PrimaryReason::AutoIsNull
                | PrimaryReason::ReadOnlyTies
                | PrimaryReason::ServerSchema => Case::Other,
            },
            Route::Refuse(_) => return,
        };
        self.context.metrics.reads.count(case);
    }

    /// Counts a statement that runs where the session's transaction or state is, if it is a read.
    pub(super) fn count_read_at_home(&self, statement: &Statement, home: InstanceId) {
        if statement.intent == Intent::HarmlessRead {
            let on_replica = self.replica == Some(home);
            self.context.metrics.reads.count(if on_replica { Case::ReplicaHome } else { Case::PrimaryHome });
        }
    }
}

fn lags(reads: Reads) -> bool {
    reads == Reads::Stopped(ReadsStopped::Lagging)
}
