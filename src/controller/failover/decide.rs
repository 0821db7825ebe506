//! What follows from an assessment: nothing, waiting and saying why, or another primary.
//!
//! Never here: who becomes it.

use super::{Quorum, Rules, obstacle, quorum};
use crate::controller::assess::{self, Assessment, Loss, Verdict};
use crate::controller::record::Record;
use crate::controller::view::ClusterView;

/// What follows from an assessment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The primary is not lost, or not for long enough.
    Nothing,
    /// It is lost, and this keeps Sluice from acting.
    Stay(String),
    /// It is lost, and too few recorded ackers answer.
    LostQuorum(Quorum),
    /// Another member is to become the primary.
    Go,
}

/// Decides.
pub fn decide(view: &ClusterView, record: &Record, verdict: &Verdict, rules: &Rules<'_>) -> Decision {
    match verdict {
        Verdict::PrimaryLost(Loss::Dead | Loss::Stopping | Loss::Frozen | Loss::Unconfirmed) => {}
        // It is there and of no use: what the others have of it must not get a second content.
        Verdict::PrimaryBehind => {}
        Verdict::PrimaryLost(Loss::Unwitnessed) => {
            return Decision::Stay("no other member answers: Sluice itself may be cut off".into());
        }
        Verdict::PrimaryStalled if rules.stall.is_zero() => {
            return Decision::Stay("[failover] stall = \"0s\"".into());
        }
        Verdict::PrimaryStalled => {
            let primary = view.by_uuid(record.primary);
            let stalled = primary.and_then(|primary| assess::stalled_for(primary, rules.now));
            if stalled.is_none_or(|stalled| stalled < rules.stall) {
                return Decision::Nothing;
            }
        }
        Verdict::PrimaryLost(Loss::Brief)
        | Verdict::Starting
        | Verdict::Unadopted
        | Verdict::Adopting
        | Verdict::StaleRecord
        | Verdict::LockHeldElsewhere
        | Verdict::Healthy
        | Verdict::SemiSyncStarved
        | Verdict::Unguarded
        | Verdict::SecondWritable(_)
        | Verdict::PrimaryLocked
        | Verdict::OpenedByHand(_)
        | Verdict::PrimarySuspected
        | Verdict::LostQuorum
        | Verdict::PrimaryReturned(_) => return Decision::Nothing,
    }
    if let Some(obstacle) = obstacle(view, record, rules) {
        return Decision::Stay(obstacle);
    }
    let quorum = quorum(view, record);
    if quorum.is_there() { Decision::Go } else { Decision::LostQuorum(quorum) }
}

/// The assessment with what was decided on it: the verdict *lost quorum*, and the next thing to do.
pub fn explained(assessment: Assessment, decision: &Decision) -> Assessment {
    match decision {
        Decision::Nothing | Decision::Go => assessment,
        Decision::Stay(why) => Assessment {
            hint: Some(format!("bring it back: nothing is promoted by itself ({why})")),
            ..assessment
        },
        Decision::LostQuorum(quorum) => Assessment {
            verdict: Verdict::LostQuorum,
            evidence: format!("{}; lost quorum: {}", assessment.evidence, quorum.describe()),
            hint: Some(format!(
                "start {}, or the old primary: Sluice goes on by itself",
                quorum.missing.join(", ")
            )),
            ..assessment
        },
    }
}
