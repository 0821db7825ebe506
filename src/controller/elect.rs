//! Who becomes the primary of a planned switchover, and why not the others.
//!
//! Never here: I/O, an election after a loss (that needs the quorum rule, and comes with failover).

use std::sync::Arc;

use sluice_routing::topology::InstanceId;

use super::record::Record;
use super::view::{ClusterView, InstanceView, ServerView};
use super::zones::{Distance, Outgoing, Zones};
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
    /// Why zones put it first, if they did.
    pub zone: Option<String>,
}

/// All instances but the primary, the best first.
pub fn candidates(
    view: &ClusterView,
    record: &Record,
    promotion: &[Promotion],
    zones: &[Option<Arc<str>>],
) -> Vec<Candidate> {
    let zones = Zones::new(view, record, zones, Outgoing::Alive);
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
            let name = instance.name.to_string();
            (wish, Candidate { id: instance.id, name, objection, gap, zone: None })
        })
        .collect();
    let fit = all.iter().filter(|(_, candidate)| candidate.objection.is_none());
    let distance = |candidate: &Candidate| Distance {
        unapplied: candidate.gap,
        lag_ms: view.instances.get(candidate.id.index()).map_or(0, lag_ms),
    };
    let fit: Vec<_> = fit.map(|(_, candidate)| (candidate.id, distance(candidate))).collect();
    let sides = zones.weigh(&fit);
    all.sort_by_key(|(wish, candidate)| {
        let side = sides.of(candidate.id);
        (candidate.objection.is_some(), rank(*wish), side, candidate.gap, candidate.id)
    });
    let others = all.iter().skip(1).filter(|(_, other)| other.objection.is_none());
    let reason = all.first().and_then(|(wish, first)| {
        let mut alike = others.filter(|(other, _)| other == wish);
        alike.find_map(|(_, other)| zones.reason(&sides, first.id, other.id))
    });
    let mut all: Vec<Candidate> = all.into_iter().map(|(_, candidate)| candidate).collect();
    if let Some(first) = all.first_mut() {
        first.zone = reason;
    }
    all
}

fn lag_ms(instance: &InstanceView) -> u64 {
    let channel = instance.server.as_ref().and_then(|server| server.channel.as_ref());
    channel.map_or(0, |channel| channel.lag_ms)
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
    if server.offline.is_on() {
        return Some("no client gets in there (offline_mode)".into());
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
