//! Filling a member with another member's data, as decisions: whether it may be done, who gives the data, whether
//! these fit, and what the server says about the copy under way.
//!
//! Everything is checked before anything is dropped, and every refusal says what to type next.
//!
//! Never here: I/O, a clock, a statement's text.

mod donor;
mod due;
mod progress;

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::assess::{Assessment, Verdict};
use super::record::{Guarantee, OwnTransactions, Record};
use super::view::{ClusterView, InstanceView, ServerView};
pub use donor::{Donor, Facts, donors, fit};
pub use due::{Due, due, settled};
pub use progress::{CloneState, Progress, Seen};

/// Why a member is not rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Roles are not clear, or the primary is not well.
    #[error("{verdict}: {evidence}")]
    NotNow {
        /// The verdict.
        verdict: &'static str,
        /// Its evidence.
        evidence: String,
    },
    /// A switchover or failover is not finished.
    #[error("another operation is not finished yet")]
    Busy,
    /// No such member, or it does not answer.
    #[error("{name} does not answer ({why})")]
    Silent {
        /// Which.
        name: String,
        /// The error.
        why: String,
    },
    /// It takes the writes.
    #[error("{0} is the primary")]
    Primary(String),
    /// It has replication channels that Sluice knows nothing of.
    #[error("{name} has a second replication channel ({channel}): whose it is, Sluice doesn't know")]
    SecondChannel {
        /// Which.
        name: String,
        /// The channel.
        channel: String,
    },
    /// Commits would find too few ackers.
    #[error("without {name} only {left} of {needed} ackers that a commit needs would be left")]
    NeededAcker {
        /// Which.
        name: String,
        /// Others that acknowledge now.
        left: usize,
        /// The wait count.
        needed: u16,
    },
    /// A member must not lose its past while what an OK is worth is in doubt.
    #[error("{0} acknowledges, and the guarantee is interrupted: what it has may be the only copy")]
    Doubt(String),
    /// It would boot as it likes after the copy.
    #[error(
        "{name} reads no persisted settings (persisted_globals_load=OFF): after the copy it would start writable"
    )]
    BootsUnfenced {
        /// Which.
        name: String,
    },
    /// It has transactions that nobody else has, and there is no copy of them.
    #[error("{name} has transactions of its own ({own}) and they can't be kept: {why}")]
    OwnTransactions {
        /// Which.
        name: String,
        /// The set.
        own: String,
        /// Why there is no copy.
        why: String,
    },
    /// Nobody can give the data.
    #[error("no member can give its data: {0}")]
    NoDonor(String),
    /// The data of one don't fit the other.
    #[error("the data of {donor} don't fit {member}: {why}")]
    Misfit {
        /// Who would give.
        donor: String,
        /// Who would get.
        member: String,
        /// What differs.
        why: String,
    },
    /// It has tables though it has executed no transaction: whose they are, only a person knows.
    #[error("{name} has executed no transaction, but has {tables} tables")]
    NotEmpty {
        /// Which.
        name: String,
        /// How many.
        tables: u64,
    },
    /// An operator has taken it out of Sluice's hands.
    #[error("{name}: {why}, so nobody would lead it back")]
    Marked {
        /// Which.
        name: String,
        /// The mark.
        why: &'static str,
    },
    /// What it was to be rebuilt for by itself is over.
    #[error("{0} needs no rebuild any more")]
    NotDue(String),
    /// Neither side works without the plugin.
    #[error("{0} has no clone plugin")]
    NoPlugin(String),
}

impl Objection {
    /// What to type next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotNow { .. } | Self::Busy => Some("ask again when `sluice status` says healthy".into()),
            Self::Silent { name, .. } => Some(format!(
                "start it, and make Sluice's account there: on {name}, SET sql_log_bin=0 and what \
                 `sluice grants --for control` prints"
            )),
            Self::Primary(name) => Some(format!("sluice switchover, then sluice rebuild {name}")),
            Self::SecondChannel { channel, .. } => Some(format!(
                "if nobody needs it: STOP REPLICA FOR CHANNEL '{channel}'; RESET REPLICA ALL FOR CHANNEL '{channel}'"
            )),
            Self::NeededAcker { .. } | Self::Doubt(_) => {
                Some("bring another acker back first: sluice status".into())
            }
            Self::BootsUnfenced { .. } => {
                Some("take persisted_globals_load=OFF out of its configuration and restart it".into())
            }
            Self::OwnTransactions { name, .. } => {
                Some(format!("if nobody wants them: sluice rebuild {name} --discard-own"))
            }
            Self::NotEmpty { name, .. } => {
                Some(format!("if nobody wants them: sluice rebuild {name} --discard-own"))
            }
            Self::Marked { name, .. } => Some(format!("sluice clear {name}, then sluice rebuild {name}")),
            Self::NotDue(_) => None,
            Self::NoDonor(_) => Some("sluice status; name one: --from DONOR".into()),
            Self::Misfit { .. } => Some("name another one: --from DONOR".into()),
            Self::NoPlugin(name) => Some(format!(
                "on {name}: INSTALL PLUGIN clone SONAME 'mysql_clone.so', and plugin-load-add=mysql_clone.so in its \
                 configuration"
            )),
        }
    }
}

/// A member that may be filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipient {
    /// Which.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Its `server_uuid`.
    pub uuid: Uuid,
    /// Transactions that only it has executed.
    pub own: GtidSet,
    /// Transactions that only it has, and has only received: they can't be copied out of its binary log.
    pub unapplied: GtidSet,
}

/// Whether a member may be filled now, as far as it can be told from what was seen.
pub fn recipient(
    view: &ClusterView,
    record: &Record,
    assessment: &Assessment,
    name: &str,
    own: OwnTransactions,
) -> Result<Recipient, Objection> {
    let instance = view.by_name(name);
    let silent = |why: String| Objection::Silent { name: name.to_owned(), why };
    let instance = instance.ok_or_else(|| silent("no instance is called so".into()))?;
    let why = || instance.reach.error().unwrap_or_else(|| "not looked at yet".into());
    let server = instance.live().ok_or_else(|| silent(why()))?;
    if server.uuid == record.primary {
        return Err(Objection::Primary(name.to_owned()));
    }
    let is_acker = record.is_acker(server.uuid);
    acting(assessment, is_acker)?;
    if record.operation.is_some() {
        return Err(Objection::Busy);
    }
    if let Some(kind) = record.mark_kind(name).filter(|kind| kind.is_hands_off()) {
        return Err(Objection::Marked { name: name.to_owned(), why: kind.objection() });
    }
    if let Some(channel) = server.other_channels.first() {
        return Err(Objection::SecondChannel { name: name.to_owned(), channel: channel.clone() });
    }
    if server.boot == super::view::BootView::Ignored {
        return Err(Objection::BootsUnfenced { name: name.to_owned() });
    }
    if is_acker {
        spare(view, record, instance)?;
    }
    let primary = view.by_uuid(record.primary).and_then(InstanceView::live);
    let primary = primary.ok_or_else(|| silent("the primary does not answer".into()))?;
    let (own_executed, unapplied) = own_transactions(server, primary);
    if !unapplied.is_empty() && own == OwnTransactions::Keep {
        return Err(Objection::OwnTransactions {
            name: name.to_owned(),
            own: unapplied.to_string(),
            why: "it has only received them (its applier has to run first)".into(),
        });
    }
    Ok(Recipient { id: instance.id, name: name.to_owned(), uuid: server.uuid, own: own_executed, unapplied })
}

/// What only this member has: executed, and received only. New transactions of the primary itself are none.
pub fn own_transactions(server: &ServerView, primary: &ServerView) -> (GtidSet, GtidSet) {
    let executed = server.errant(primary);
    let Some(channel) = &server.channel else { return (executed, GtidSet::new()) };
    let received = channel.received.subtract(&server.executed).subtract(&primary.executed);
    let received = received.subtract(&received.of(primary.uuid));
    (executed, received)
}

fn acting(assessment: &Assessment, is_acker: bool) -> Result<(), Objection> {
    let allowed = match assessment.verdict {
        Verdict::Healthy | Verdict::SecondWritable(_) => true,
        // Whoever acknowledges nothing is missed by nobody, and may be the one that commits wait for: also the one that is to
        // show that the primary of before may be opened.
        Verdict::SemiSyncStarved | Verdict::Unguarded | Verdict::PrimaryReturned(_) => !is_acker,
        Verdict::Starting
        | Verdict::Unadopted
        | Verdict::Adopting
        | Verdict::StaleRecord
        | Verdict::LockHeldElsewhere
        | Verdict::PrimaryLocked
        | Verdict::PrimaryStalled
        | Verdict::OpenedByHand(_)
        | Verdict::PrimarySuspected
        | Verdict::PrimaryLost(_)
        | Verdict::LostQuorum
        | Verdict::PrimaryBehind => false,
    };
    let (verdict, evidence) = (assessment.verdict.as_str(), assessment.evidence.clone());
    if allowed { Ok(()) } else { Err(Objection::NotNow { verdict, evidence }) }
}

/// Whether an acker can be spared: without it enough others acknowledge, and nothing is on it alone.
fn spare(view: &ClusterView, record: &Record, instance: &InstanceView) -> Result<(), Objection> {
    if record.waits() && record.guarantee != Guarantee::Acknowledged {
        return Err(Objection::Doubt(instance.name.to_string()));
    }
    let acknowledges = |server: &ServerView| {
        record.is_acker(server.uuid)
            && server.replicates_from(record.primary)
            && server.semi_sync.as_ref().is_some_and(|semi_sync| semi_sync.acking_now.is_on())
    };
    let left = view.live().filter(|(other, server)| other.id != instance.id && acknowledges(server)).count();
    if left < usize::from(record.wait_count) {
        let name = instance.name.to_string();
        return Err(Objection::NeededAcker { name, left, needed: record.wait_count });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
