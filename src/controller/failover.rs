//! The unplanned change of the primary, as decisions: whether it may begin, whether its quorum is there, what is
//! certainly acknowledged, and who becomes the primary.
//!
//! With `m` recorded ackers and wait count `k`, everything that was acknowledged is on at least one of any
//! `m - k + 1` of them; and when so many receive nothing any more, nothing further can be acknowledged. Whoever
//! wins is brought to the union of what all of them have: how complete a member is, is no merit.
//!
//! Never here: I/O, a clock, a guess when something is missing.

mod decide;
mod ranking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::adopt::Policy;
use super::api::{CandidateStatus, FailoverStatus};
use super::assess;
use super::record::{Guarantee, MarkKind, Record};
use super::statements::version_number;
use super::unguarded;
use super::view::{BootView, ClusterView, InstanceView, ServerView};
use super::zones::{Outgoing, Zones};
use crate::config::Promotion;
pub use decide::{Decision, decide, explained};
use ranking::Ranking;

/// What the configuration says about failover.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `[failover] automatic`
    pub automatic: bool,
    /// By instance: whether it should be the primary.
    pub promotion: &'a [Promotion],
    /// By instance: its failure zone.
    pub zones: &'a [Option<Arc<str>>],
    /// Who may acknowledge.
    pub policy: &'a Policy,
    /// `[failover] stall`; zero: never.
    pub stall: Duration,
    /// The time.
    pub now: Instant,
}

/// How many of the recorded ackers can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// How many have to be stopped.
    pub needed: usize,
    /// How many are recorded.
    pub of: usize,
    /// Those that answer.
    pub there: Vec<Uuid>,
    /// Names of those that don't.
    pub missing: Vec<String>,
}

impl Quorum {
    /// Whether enough of them answer.
    pub fn is_there(&self) -> bool {
        self.there.len() >= self.needed
    }

    /// For people.
    pub fn describe(&self) -> String {
        format!(
            "{} of the {} recorded ackers are needed and {} answer; missing: {}",
            self.needed,
            self.of,
            self.there.len(),
            if self.missing.is_empty() { "none".to_owned() } else { self.missing.join(", ") }
        )
    }
}

/// How many of the recorded ackers have to receive nothing any more before anybody is promoted.
pub fn needed(record: &Record) -> usize {
    (record.ackers.len() + 1).saturating_sub(usize::from(record.wait_count)).max(1)
}

/// The quorum as far as it answers now.
pub fn quorum(view: &ClusterView, record: &Record) -> Quorum {
    let answers = |uuid: &Uuid| view.live().any(|(_, server)| server.uuid == *uuid);
    let (there, gone): (Vec<Uuid>, Vec<Uuid>) = record.ackers.iter().copied().partition(|uuid| answers(uuid));
    let missing = gone.iter().map(|uuid| view.name_of(*uuid)).collect();
    Quorum { needed: needed(record), of: record.ackers.len(), there, missing }
}

/// Why nothing is promoted by itself now; `None`: it would be.
pub fn obstacle(view: &ClusterView, record: &Record, rules: &Rules<'_>) -> Option<String> {
    if !rules.automatic {
        return Some("[failover] automatic = false".into());
    }
    if let Some(pause) = &record.pause {
        return Some(format!("{}; sluice resume ends it", pause.describe()));
    }
    if let Some((_, why)) = assess::opened_by_hand(view, record) {
        return Some(format!("somebody has made another member the primary: {why}"));
    }
    doubt(view, record)
}

/// Why something that was told OK may be on the primary alone; `None`: the quorum has all of it.
pub fn doubt(view: &ClusterView, record: &Record) -> Option<String> {
    if !record.waits() {
        return Some("commits wait for no acknowledgement, so what was told OK may be lost".into());
    }
    if record.guarantee == Guarantee::None {
        return Some("no write of this epoch was acknowledged yet".into());
    }
    if let Some(doubt) = unguarded::doubt(record) {
        return Some(doubt);
    }
    if record.guarantee == Guarantee::Broken {
        return Some(
            "the primary committed without waiting for acknowledgements: some of it may be lost".into(),
        );
    }
    let lacking = view.instances.iter().find_map(|instance| {
        let server = instance.server.as_deref().filter(|server| record.is_acker(server.uuid))?;
        match &server.boot {
            BootView::Lacks(settings) => Some(format!(
                "{} would boot without {}: after a restart it could acknowledge or take writes unasked",
                instance.name,
                settings.join(", ")
            )),
            BootView::Ignored => Some(format!(
                "{} has persisted_globals_load=OFF: after a restart it could acknowledge or take writes unasked",
                instance.name
            )),
            BootView::Unknown | BootView::Fenced => None,
        }
    });
    lacking.or_else(|| {
        (record.ackers.len() < usize::from(record.wait_count)).then(|| "too few ackers are recorded".into())
    })
}

/// A member as a candidate and as evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Its `server_uuid`.
    pub uuid: Uuid,
    /// Everything that it has executed or received.
    pub has: GtidSet,
    /// What it has executed.
    pub executed: GtidSet,
    /// Why it can't be the primary, as far as it can be told from it alone.
    pub objection: Option<String>,
    /// Whether it may and can acknowledge.
    pub can_ack: bool,
    wish: Promotion,
    mark: Option<MarkKind>,
    version: Option<(u16, u16)>,
    /// Received and not yet applied when it was seen last, milliseconds on the source's clock.
    lag_ms: u64,
}

impl Member {
    /// From what was seen of it, with the sets as they were read last.
    pub fn new(
        instance: &InstanceView,
        server: &ServerView,
        (has, executed): (GtidSet, GtidSet),
        record: &Record,
        rules: &Rules<'_>,
    ) -> Self {
        let configured = rules.promotion.get(instance.id.index()).copied().unwrap_or(Promotion::Neutral);
        let wish = record.promotion(&instance.name, configured);
        let mark = record.mark_kind(&instance.name);
        let objection = match mark {
            Some(kind) if kind.is_hands_off() => Some(kind.objection().to_owned()),
            Some(_) | None if executed.is_empty() => Some("it is empty".into()),
            Some(_) | None if wish == Promotion::MustNot => Some(record.must_not(&instance.name)),
            Some(_) | None => objection(server, record),
        };
        Self {
            id: instance.id,
            name: instance.name.to_string(),
            uuid: server.uuid,
            has,
            executed,
            objection,
            // One that takes writes may have commits under way that nobody sees before it is fenced.
            can_ack: rules.policy.may_ack(instance.id)
                && server.semi_sync.is_some()
                && !server.is_writable()
                && mark != Some(MarkKind::Quarantine)
                && !record.is_taken_apart(server.uuid),
            wish,
            mark,
            version: version_number(&server.version).map(|(major, minor, _)| (major, minor)),
            lag_ms: server.channel.as_ref().map_or(0, |channel| channel.lag_ms),
        }
    }
}

/// The hard filters.
fn objection(server: &ServerView, record: &Record) -> Option<String> {
    if record.is_taken_apart(server.uuid) {
        return Some("it is being rebuilt".into());
    }
    if server.is_writable() {
        // A primary of before that has come back: letting its commits go, as is done to a winner that waits for
        // acknowledgements, would tell clients OK that nobody else has.
        return Some("it takes writes and is not the primary: it has to be fenced first".into());
    }
    if !server.logs.is_on() {
        return Some("its binary log is off, or leaves out what it replicates".into());
    }
    if server.filters > 0 {
        return Some("it has replication filters".into());
    }
    if server.offline.is_on() {
        return Some("no client gets in there (offline_mode)".into());
    }
    if server.delay > 0 {
        return Some(format!("it applies with a delay of {} s", server.delay));
    }
    if server.semi_sync.is_none() {
        return Some("the semi-sync plugins are missing".into());
    }
    if let Some(channel) = server.other_channels.first() {
        return Some(format!("it has a second replication channel ({channel})"));
    }
    let error = server.channel.as_ref().and_then(|channel| channel.applier_error.as_ref());
    error.map(|error| format!("its applier failed: {error}"))
}

/// Who becomes the primary, and on what ground.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The coming primary.
    pub winner: InstanceId,
    /// What it has to have executed before it is opened.
    pub union: GtidSet,
    /// Members to fetch from what the winner has not received.
    pub donors: Vec<InstanceId>,
    /// Members that will acknowledge for it.
    pub ackers: Vec<InstanceId>,
    /// What was seen committed on the old primary and nobody has.
    pub lost: GtidSet,
    /// How many others could be it.
    pub alternatives: usize,
    /// Why it won.
    pub because: String,
    /// The others, and why not they.
    pub rejected: Vec<(String, String)>,
}

/// What whoever wants a failover has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The coming primary; `None`: the best one.
    pub to: Option<InstanceId>,
    /// Whether committed transactions that no member has may be lost.
    pub accept_loss: bool,
    /// Who, for people; `None`: Sluice by itself.
    pub who: Option<String>,
}

impl Terms {
    /// For the record and for people.
    pub fn who(&self) -> &str {
        self.who.as_deref().unwrap_or("automatic")
    }
}

/// Elects among the members whose receivers are stopped. `floor` is known to be acknowledged: if the union lacks
/// some of it, the guarantee was broken somewhere, and a human has to decide.
pub fn elect(
    members: &[Member],
    record: &Record,
    floor: &GtidSet,
    terms: &Terms,
    zones: &Zones,
) -> Result<Chosen, String> {
    let errant: Vec<GtidSet> = members.iter().map(|member| errant(member, members, record, floor)).collect();
    let mut union = GtidSet::new();
    for (member, errant) in members.iter().zip(&errant) {
        union.extend(&member.has.subtract(errant));
    }
    let lacking = floor.subtract(&union);
    if !lacking.is_empty() && !terms.accept_loss {
        return Err(format!(
            "the primary had committed {lacking}, but none of {} has it: nothing is promoted; bring the primary \
             back, or lose it: sluice failover --accept-loss",
            names(members)
        ));
    }
    let candidates = members.iter().zip(&errant).map(|(member, errant)| {
        let unwanted = terms.to.filter(|to| *to != member.id).map(|_| "another one is asked for".to_owned());
        (member, against(member, errant, members, record).or_else(|| forgot(member, &union)).or(unwanted))
    });
    let ranking = Ranking::new(candidates, &union, zones);
    let winner = match ranking.winner() {
        Ok(winner) => winner,
        Err(reasons) => return Err(format!("no member can be the primary: {reasons}")),
    };
    let missing = union.subtract(&winner.has);
    let with_errant: Vec<Uuid> = members
        .iter()
        .zip(&errant)
        .filter(|(_, errant)| !errant.is_empty())
        .map(|(member, _)| member.uuid)
        .collect();
    let others = || members.iter().filter(|member| member.id != winner.id);
    Ok(Chosen {
        winner: winner.id,
        donors: donors(&others().collect::<Vec<_>>(), missing),
        ackers: ackers(
            others().filter(|other| other.can_ack && !with_errant.contains(&other.uuid)),
            usize::from(record.wait_count),
        ),
        alternatives: ranking.alternatives(),
        because: ranking.because(),
        rejected: ranking.rejected(),
        lost: lacking,
        union,
    })
}

/// Who acknowledges for the new primary. Members in maintenance only if without them nobody could write: whoever
/// works on one is better off with clients that wait when it goes than with clients that wait already.
fn ackers<'a>(able: impl Iterator<Item = &'a Member>, needed: usize) -> Vec<InstanceId> {
    let (spare, mut ackers): (Vec<_>, Vec<_>) =
        able.partition(|member| member.mark == Some(MarkKind::Maintenance));
    if ackers.len() < needed {
        ackers.extend(spare);
    }
    ackers.into_iter().map(|member| member.id).collect()
}

/// Few members that have together what is missing. First those that have executed it: they can hand it on at once.
fn donors(others: &[&Member], mut missing: GtidSet) -> Vec<InstanceId> {
    let mut donors = Vec::new();
    loop {
        let gives = |other: &Member| {
            let of = |set: &GtidSet| set.intersect(&missing).count();
            (of(&other.executed), of(&other.has), std::cmp::Reverse(other.id))
        };
        let best = others.iter().max_by_key(|other| gives(other));
        let Some(best) = best.filter(|best| !best.has.intersect(&missing).is_empty()) else { return donors };
        missing = missing.subtract(&best.has);
        donors.push(best.id);
    }
}

fn names(members: &[Member]) -> String {
    members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Transactions that only this member has and that the primary did not write. Without another member or a
/// reading of the primary to compare with, nothing can be said.
fn errant(member: &Member, members: &[Member], record: &Record, floor: &GtidSet) -> GtidSet {
    let mut known = floor.clone();
    members.iter().filter(|other| other.id != member.id).for_each(|other| known.extend(&other.has));
    if known.is_empty() {
        return known;
    }
    let own = member.has.subtract(&known);
    own.subtract(&own.of(record.primary))
}

/// What it lost of what it had written itself it could not fetch either.
fn forgot(member: &Member, union: &GtidSet) -> Option<String> {
    let forgot = union.subtract(&member.has).of(member.uuid);
    (!forgot.is_empty()).then(|| format!("it lost transactions that it had written itself ({forgot})"))
}

fn against(member: &Member, errant: &GtidSet, members: &[Member], record: &Record) -> Option<String> {
    if member.objection.is_some() {
        return member.objection.clone();
    }
    if !errant.is_empty() {
        return Some(format!("it has transactions of its own ({errant})"));
    }
    let others = || members.iter().filter(|other| other.id != member.id);
    let older = others().find(|other| other.version.is_some() && other.version < member.version);
    if let Some(older) = older {
        return Some(format!("{} is of an older version and could not follow it", older.name));
    }
    let ackers = others().filter(|other| other.can_ack).count();
    let needed = usize::from(record.wait_count);
    (ackers < needed).then(|| format!("it would have {ackers} of {needed} ackers"))
}

/// Who would win if the primary were lost now, from what was seen last.
pub fn forecast(view: &ClusterView, record: &Record, rules: &Rules<'_>) -> Result<Chosen, String> {
    let members: Vec<Member> = view
        .live()
        .filter(|(_, server)| server.uuid != record.primary && !record.is_taken_apart(server.uuid))
        .map(|(instance, server)| {
            let sets = (server.has(), (*server.executed).clone());
            Member::new(instance, server, sets, record, rules)
        })
        .collect();
    let quorum = quorum(view, record);
    if !quorum.is_there() {
        return Err(format!("lost quorum: {}", quorum.describe()));
    }
    let zones = Zones::new(view, record, rules.zones, Outgoing::Lost);
    elect(&members, record, &GtidSet::new(), &Terms::default(), &zones)
}

/// What a failover would lose for sure, from what was seen last, in words. `floor` is known to be acknowledged.
pub fn foreseen_loss(view: &ClusterView, record: &Record, floor: &GtidSet) -> String {
    let known = view.by_uuid(record.primary).and_then(|primary| primary.server.as_deref());
    let known = known.map_or_else(|| floor.clone(), |server| server.executed.union(floor));
    let mut union = GtidSet::new();
    let mut names = Vec::new();
    for (instance, server) in view.live().filter(|(_, server)| server.uuid != record.primary) {
        union.extend(&server.has());
        names.push(&*instance.name);
    }
    let (all, none) = match names.as_slice() {
        [] => ("nobody".to_owned(), "nobody".to_owned()),
        names => (names.join(", "), format!("none of {}", names.join(", "))),
    };
    let lost = known.subtract(&union);
    let seen = if lost.is_empty() {
        format!("everything that was seen of {} is at {all}", record.primary_name)
    } else {
        format!("{lost} would be lost: seen committed on {}, and {none} has it", record.primary_name)
    };
    format!("{seen}; what it committed after it was seen last is not known")
}

/// What `sluice explain failover` says.
pub fn shown(view: &ClusterView, record: Option<&Record>, rules: &Rules<'_>) -> FailoverStatus {
    let plain = |state: &str, sentence: String| FailoverStatus {
        state: state.into(),
        sentence,
        ..FailoverStatus::default()
    };
    let Some(record) = record else { return plain("off", "the cluster is not adopted yet".into()) };
    if let Some(obstacle) = obstacle(view, record, rules) {
        return plain("off", obstacle);
    }
    let chosen = match forecast(view, record, rules) {
        Ok(chosen) => chosen,
        Err(why) => return plain("not_possible", why),
    };
    let winner = view.instances.get(chosen.winner.index()).map(|view| view.name.to_string());
    let rejected = chosen.rejected.into_iter().map(|(name, why)| CandidateStatus { name, why });
    FailoverStatus { winner, rejected: rejected.collect(), ..plain("ready", chosen.because) }
}

#[cfg(test)]
mod tests;
