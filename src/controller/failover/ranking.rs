//! The order of candidates: fit before unfit, then promotion rules, marks, zones, and only then what each lacks.
//!
//! Never here: who is fit, what the union is.

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;

use super::Member;
use crate::config::Promotion;
use crate::controller::zones::{Distance, Side, Sides, Zones};

/// All candidates in their order.
pub(super) struct Ranking<'a> {
    /// The best first.
    ranked: Vec<Ranked<'a>>,
    zones: &'a Zones,
    sides: Sides,
}

struct Ranked<'a> {
    member: &'a Member,
    /// Why it can't be the primary.
    against: Option<String>,
    /// Transactions to apply.
    unapplied: u64,
    /// Those among them that it has not received.
    missing: u64,
}

impl Ranked<'_> {
    /// What comes before everything that zones or completeness could say.
    fn first_of_all(&self) -> (bool, u8, bool) {
        (self.against.is_some(), rank(self.member.wish), self.member.mark.is_some())
    }

    fn key(&self, sides: &Sides) -> ((bool, u8, bool), Side, bool, u64, InstanceId) {
        let id = self.member.id;
        (self.first_of_all(), sides.of(id), self.missing > 0, self.unapplied, id)
    }
}

impl<'a> Ranking<'a> {
    /// Of members with what speaks against each.
    pub(super) fn new(
        candidates: impl Iterator<Item = (&'a Member, Option<String>)>,
        union: &GtidSet,
        zones: &'a Zones,
    ) -> Self {
        let ranked = candidates.map(|(member, against)| Ranked {
            member,
            against,
            unapplied: union.subtract(&member.executed).count(),
            missing: union.subtract(&member.has).count(),
        });
        let mut ranked: Vec<Ranked<'a>> = ranked.collect();
        let fit = ranked.iter().filter(|one| one.against.is_none());
        let fit: Vec<(InstanceId, Distance)> = fit
            .map(|one| {
                let Ranked { member, unapplied, .. } = *one;
                (member.id, Distance { unapplied, lag_ms: member.lag_ms })
            })
            .collect();
        let sides = zones.weigh(&fit);
        ranked.sort_by_key(|one| one.key(&sides));
        Self { ranked, zones, sides }
    }

    /// The best one, or what is wrong with each.
    pub(super) fn winner(&self) -> Result<&'a Member, String> {
        if let Some(Ranked { member, against: None, .. }) = self.ranked.first() {
            return Ok(member);
        }
        let reasons = self.ranked.iter().map(|one| {
            let against = one.against.as_deref().unwrap_or("fit");
            format!("{}: {against}", one.member.name)
        });
        Err(reasons.collect::<Vec<_>>().join("; "))
    }

    /// How many others are fit.
    pub(super) fn alternatives(&self) -> usize {
        self.ranked.iter().skip(1).filter(|other| other.against.is_none()).count()
    }

    /// Why the first one comes before this one, if zones are the reason.
    fn by_zone(&self, other: &Ranked<'_>) -> Option<String> {
        let first = self.ranked.first().filter(|first| first.first_of_all() == other.first_of_all())?;
        self.zones.reason(&self.sides, first.member.id, other.member.id)
    }

    /// Why the first one won.
    pub(super) fn because(&self) -> String {
        let Some(winner) = self.ranked.first() else { return String::new() };
        let zone = self.ranked.iter().skip(1).find_map(|other| self.by_zone(other));
        let zone = zone.map_or_else(String::new, |zone| format!(" {zone},"));
        format!(
            "promotion rule {},{zone} {} transactions to apply, {} of them to fetch",
            winner.member.wish.as_str(),
            winner.unapplied,
            winner.missing
        )
    }

    /// The others, and why not they.
    pub(super) fn rejected(&self) -> Vec<(String, String)> {
        let winner = self.ranked.first().map_or("", |winner| winner.member.name.as_str());
        let others = self.ranked.iter().skip(1).map(|other| {
            let fit = || {
                let zone = self.by_zone(other).map_or_else(String::new, |zone| format!(": {zone}"));
                format!("fit; {winner} comes first{zone}")
            };
            (other.member.name.clone(), other.against.clone().unwrap_or_else(fit))
        });
        others.collect()
    }
}

fn rank(wish: Promotion) -> u8 {
    match wish {
        Promotion::Prefer => 0,
        Promotion::Neutral => 1,
        Promotion::PreferNot => 2,
        Promotion::MustNot => 3,
    }
}
