//! Failure zones in elections. Among candidates that are alike otherwise, one in the zone of the primary comes first,
//! where its clients are; one in a zone that looks lost comes after the others.
//!
//! A zone is a wish, never a merit: what the winner lacks is fetched for it whatever its zone is, and whoever is far
//! further behind than others has no zone to speak for it, as everybody would wait for it.
//!
//! Never here: I/O, who is fit at all, promotion rules (they come first).

use std::sync::Arc;

use sluice_routing::topology::InstanceId;

use super::assess;
use super::record::{MarkKind, Record};
use super::view::{ClusterView, InstanceView, Reach};

/// So many transactions further behind than the nearest candidate is far: some seconds of work for an applier.
const FAR_TRANSACTIONS: u64 = 10_000;
/// So many milliseconds further behind, on the source's clock, is far: large transactions are few.
const FAR_MS: u64 = 5_000;
/// Members of a zone that don't answer, from which on the zone itself is in doubt: one may have died of its own.
const DOUBTFUL: usize = 2;

/// What becomes of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// It lives and gives its role to another one.
    Alive,
    /// It is lost, or taken to be: it counts among the members of its zone that don't answer.
    Lost,
}

/// How a candidate's zone speaks for it, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It is in the zone of the primary.
    Home,
    /// It is in another one, or in none; or zones make no difference.
    Elsewhere,
    /// Its zone looks lost.
    Doubtful,
    /// It is far further behind than others, wherever it is.
    Far,
}

/// How much a candidate has to do before it could take writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// Transactions to apply, fetched or not.
    pub unapplied: u64,
    /// Received and not yet applied, milliseconds on the source's clock.
    pub lag_ms: u64,
}

/// The zones of a cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// By instance.
    configured: Vec<Option<Arc<str>>>,
    /// That of the primary, if it has one and looks well.
    home: Option<Arc<str>>,
    /// Its name.
    primary: String,
    /// Those that look lost, each with the names of the members that don't answer.
    doubtful: Vec<(Arc<str>, Vec<String>)>,
}

/// How the zones speak for each of the fit candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// Of each candidate: by its zone alone, and with what it lacks.
    of: Vec<(InstanceId, Side, Side)>,
}

impl Sides {
    /// How its zone speaks for a candidate.
    pub fn of(&self, candidate: InstanceId) -> Side {
        self.both(candidate).1
    }

    fn both(&self, candidate: InstanceId) -> (Side, Side) {
        let found = self.of.iter().find(|(id, _, _)| *id == candidate);
        found.map_or((Side::Elsewhere, Side::Elsewhere), |(_, by_zone, side)| (*by_zone, *side))
    }
}

impl Zones {
    /// From what was seen last. `configured` is by instance.
    pub fn new(
        view: &ClusterView,
        record: &Record,
        configured: &[Option<Arc<str>>],
        outgoing: Outgoing,
    ) -> Self {
        let primary = assess::the_primary(view, record).map(|primary| primary.id);
        let zone_of = |id: InstanceId| configured.get(id.index()).and_then(Option::as_ref);
        let mut gone: Vec<(Arc<str>, Vec<String>)> = Vec::new();
        for instance in view.members() {
            let lost = Some(instance.id) == primary && outgoing == Outgoing::Lost;
            let Some(zone) = zone_of(instance.id).filter(|_| lost || is_gone(instance, record)) else {
                continue;
            };
            let name = instance.name.to_string();
            match gone.iter_mut().find(|(other, _)| other == zone) {
                Some((_, names)) => names.push(name),
                None => gone.push((Arc::clone(zone), vec![name])),
            }
        }
        gone.retain(|(_, names)| names.len() >= DOUBTFUL);
        Self {
            configured: configured.to_vec(),
            home: primary.and_then(zone_of).map(Arc::clone),
            primary: record.primary_name.clone(),
            doubtful: gone,
        }
    }

    /// How the zones speak for each of those that could be the primary.
    pub fn weigh(&self, fit: &[(InstanceId, Distance)]) -> Sides {
        let by_zone: Vec<Side> = fit.iter().map(|(id, _)| self.by_zone(*id)).collect();
        if by_zone.windows(2).all(|pair| pair.first() == pair.last()) {
            return Sides::default();
        }
        let nearest = |of: fn(&Distance) -> u64| fit.iter().map(|(_, one)| of(one)).min().unwrap_or_default();
        let (unapplied, lag_ms) = (nearest(|one| one.unapplied), nearest(|one| one.lag_ms));
        let is_far = |one: &Distance| {
            one.unapplied.saturating_sub(unapplied) >= FAR_TRANSACTIONS
                || one.lag_ms.saturating_sub(lag_ms) >= FAR_MS
        };
        let sides = fit.iter().zip(by_zone).map(|((id, distance), by_zone)| {
            (*id, by_zone, if is_far(distance) { Side::Far } else { by_zone })
        });
        Sides { of: sides.collect() }
    }

    fn of(&self, id: InstanceId) -> Option<&Arc<str>> {
        self.configured.get(id.index()).and_then(Option::as_ref)
    }

    fn by_zone(&self, id: InstanceId) -> Side {
        let Some(zone) = self.of(id) else { return Side::Elsewhere };
        if self.doubtful.iter().any(|(lost, _)| lost == zone) {
            Side::Doubtful
        } else if self.home.as_ref() == Some(zone) {
            Side::Home
        } else {
            Side::Elsewhere
        }
    }

    /// Why `first` comes before `other`, if zones are the reason, for people.
    pub fn reason(&self, sides: &Sides, first: InstanceId, other: InstanceId) -> Option<String> {
        let (zone, side) = sides.both(first);
        let (other_zone, other_side) = sides.both(other);
        if side >= other_side {
            return None;
        }
        if other_side == Side::Far && other_zone <= zone {
            let named = self.of(other).filter(|_| other_zone < zone);
            return named.map(|named| format!("zone {named} would do, but it is far further behind"));
        }
        if other_zone == Side::Doubtful {
            return self.lost(other);
        }
        self.of(first).map(|zone| format!("it is in zone {zone}, as {}", self.primary))
    }

    fn lost(&self, id: InstanceId) -> Option<String> {
        let zone = self.of(id)?;
        let (_, names) = self.doubtful.iter().find(|(lost, _)| lost == zone)?;
        Some(format!("zone {zone} looks lost (no answer from {})", names.join(", ")))
    }
}

/// Whether its silence is evidence against its zone: nobody is at work on it, and it is not only full or closed to us.
fn is_gone(instance: &InstanceView, record: &Record) -> bool {
    let at_work = record.mark_kind(&instance.name).is_some_and(MarkKind::is_hands_off)
        || instance.server.as_ref().is_some_and(|server| record.is_taken_apart(server.uuid));
    match instance.reach {
        Reach::Refused(_) | Reach::Silent | Reach::Broken(_) => !at_work,
        Reach::NotYet | Reach::Answers | Reach::Saturated | Reach::LoginFailed(_) | Reach::Removed => false,
    }
}

#[cfg(test)]
mod tests;
