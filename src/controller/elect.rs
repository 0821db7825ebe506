//! Who becomes the primary of a planned switchover, and why not the others.
//!
//! Never here: I/O, an election after a loss (that needs the quorum rule, and comes with failover).

use sluice_routing::topology::InstanceId;

use super::record::Record;
use super::view::{ClusterView, InstanceView, ServerView};
use crate::config::Promotion;

/// One instance as a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Why it can't be; `None`: it can.
    pub objection: Option<String>,
    /// Transactions that it has not executed.
    pub gap: u64,
}

/// All instances but the primary, the best first.
pub fn candidates(view: &ClusterView, record: &Record, promotion: &[Promotion]) -> Vec<Candidate> {
    let primary = view.by_uuid(record.primary).and_then(InstanceView::live);
    let mut all: Vec<(Promotion, Candidate)> = view
        .members()
        .filter(|instance| instance.server.as_ref().is_none_or(|server| server.uuid != record.primary))
        .map(|instance| {
            let configured = promotion.get(instance.id.index()).copied().unwrap_or(Promotion::Neutral);
            let wish = record.promotion(&instance.name, configured);
            let gap = match (instance.live(), primary) {
                (Some(server), Some(primary)) => server.gap(primary),
                _ => u64::MAX,
            };
            let objection = if let Some(kind) = record.mark_kind(&instance.name) {
                Some(kind.objection().to_owned())
            } else if wish == Promotion::MustNot {
                Some(record.must_not(&instance.name))
            } else {
                objection(instance, primary)
            };
            (wish, Candidate { id: instance.id, name: instance.name.to_string(), objection, gap })
        })
        .collect();
    all.sort_by_key(|(wish, candidate)| {
        (candidate.objection.is_some(), rank(*wish), candidate.gap, candidate.id)
    });
    all.into_iter().map(|(_, candidate)| candidate).collect()
}

fn rank(wish: Promotion) -> u8 {
    match wish {
        Promotion::Prefer => 0,
        Promotion::Neutral => 1,
        Promotion::PreferNot => 2,
        Promotion::MustNot => 3,
    }
}

fn objection(instance: &InstanceView, primary: Option<&ServerView>) -> Option<String> {
    let Some(server) = instance.live() else {
        return Some(format!("it does not answer ({})", instance.reach.as_str()));
    };
    let Some(primary) = primary else { return Some("the primary does not answer".into()) };
    if let Err(error) = &instance.login {
        return Some(format!("a fresh login fails: {error}"));
    }
    if !server.replicates_from(primary.uuid) {
        return Some("it does not replicate from the primary".into());
    }
    let errant = server.errant(primary);
    (!errant.is_empty()).then(|| format!("it has transactions of its own ({errant})"))
}

/// The best candidate, or what is wrong with each.
pub fn choose(candidates: &[Candidate]) -> Result<&Candidate, String> {
    match candidates.first() {
        Some(best) if best.objection.is_none() => Ok(best),
        Some(_) => Err(candidates
            .iter()
            .map(|c| format!("{}: {}", c.name, c.objection.as_deref().unwrap_or("fit")))
            .collect::<Vec<_>>()
            .join("; ")),
        None => Err("there is no other instance".into()),
    }
}

#[cfg(test)]
mod tests;
