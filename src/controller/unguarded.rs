//! Writes without an acker, where `[durability] without_acker = "continue"` allows it: when they may begin, when they
//! have to end, and what is said of it.
//!
//! The record comes first on the way in: from the moment at which it says that commits have no guarantee, OKs are told
//! that nobody has acknowledged. On the way out the primary comes first: it waits again, and only a write that was
//! acknowledged then closes the window.
//!
//! Never here: I/O, a clock (the time is an argument).

use std::time::{Duration, Instant};

use super::assess::{self, Verdict};
use super::plan::{NEARLY, Step};
use super::record::{Record, Stage, Window, moment};
use super::view::{ClusterView, InstanceView, LockView, SemiSyncView, ServerView, Switch};
use crate::config::{Allowance, WithoutAcker};

/// The setting, for people.
const SETTING: &str = "[durability] without_acker = \"continue\"";

/// Since when the primary has been without any acker, as seen in every round since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lack {
    since: Option<Instant>,
}

impl Lack {
    /// Takes note of a round; returns for how long it has been so without a break.
    pub fn note(&mut self, view: &ClusterView, record: &Record, verdict: &Verdict, now: Instant) -> Duration {
        let lacks = *verdict == Verdict::SemiSyncStarved && is_alone(view, record);
        self.since = lacks.then(|| self.since.unwrap_or(now));
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// The recorded primary, if it takes writes, can be told to wait or not to, and nobody else may tell it.
fn primary<'a>(
    view: &'a ClusterView,
    record: &Record,
) -> Option<(&'a InstanceView, &'a ServerView, &'a SemiSyncView)> {
    let (instance, server) = view.live().find(|(_, server)| server.uuid == record.primary)?;
    let ours = server.is_writable() && server.lock == LockView::Ours;
    server.semi_sync.as_ref().filter(|_| ours).map(|semi_sync| (instance, server, semi_sync))
}

fn receiving<'a>(view: &'a ClusterView, record: &'a Record) -> impl Iterator<Item = &'a ServerView> {
    let receives =
        |server: &&ServerView| record.is_acker(server.uuid) && server.receives_from(record.primary);
    view.live().map(|(_, server)| server).filter(receives)
}

/// Whether commits on the primary wait and there is nobody at all who could acknowledge one.
pub fn is_alone(view: &ClusterView, record: &Record) -> bool {
    let Some((_, _, semi_sync)) = primary(view, record) else { return false };
    record.waits() && assess::is_deserted(semi_sync) && receiving(view, record).next().is_none()
}

/// Whether enough ackers are attached again, and have received nearly everything.
fn are_back(view: &ClusterView, record: &Record, primary: &ServerView, source: &SemiSyncView) -> bool {
    let acks = |server: &&ServerView| {
        let acking = server.semi_sync.as_ref().is_some_and(|semi_sync| semi_sync.acking_now == Switch::On);
        acking && primary.executed.subtract(&server.has()).count() <= NEARLY
    };
    let needed = usize::from(record.wait_count);
    source.clients >= u32::from(record.wait_count) && receiving(view, record).filter(acks).count() >= needed
}

/// Whether a window may be begun: without any acker for so long, and nothing else is going on. The rebuild may be that
/// of the acker which commits wait for.
pub fn may_begin(
    view: &ClusterView,
    record: &Record,
    verdict: &Verdict,
    lacking: Duration,
    rule: WithoutAcker,
) -> bool {
    let allowed = rule.allowance().is_some_and(|allowance| lacking >= allowance.after);
    let busy = record.operation.is_some() || record.rebuild.is_some() || record.pause.is_some();
    let begun = record.window.is_some();
    allowed && !busy && !begun && *verdict == Verdict::SemiSyncStarved && is_alone(view, record)
}

/// The next thing to do about it. `now` is in seconds since 1970: a window outlives the process.
pub fn step(
    view: &ClusterView,
    record: &Record,
    verdict: &Verdict,
    (lacking, now): (Duration, u64),
    rule: WithoutAcker,
) -> Option<Step> {
    let acts = matches!(verdict, Verdict::SemiSyncStarved | Verdict::Unguarded | Verdict::Healthy);
    if !acts || record.operation.is_some() {
        return None;
    }
    let (instance, server, semi_sync) = primary(view, record)?;
    let Some(window) = record.open_window() else {
        let begins = may_begin(view, record, verdict, lacking, rule);
        return begins.then_some(Step::LetGo(instance.id));
    };
    if now >= window.until || rule == WithoutAcker::Stall {
        return Some(Step::WaitAgain(instance.id));
    }
    let waits = semi_sync.waiting.is_on();
    if !waits && are_back(view, record, server, semi_sync) {
        return Some(Step::StartWaiting(instance.id));
    }
    // A Sluice that was killed may have come no further than the record.
    (waits && is_alone(view, record)).then_some(Step::LetGo(instance.id))
}

/// A new window.
pub fn window(name: &str, allowance: Allowance, now: u64) -> Window {
    Window {
        since: now,
        until: now.saturating_add(allowance.longest.as_secs()),
        why: format!(
            "no acker has been attached to {name} for {}",
            humantime::format_duration(allowance.after)
        ),
        stage: Stage::Open,
    }
}

/// The window as it is under the rule in force: somebody may have made the time longer, also of one that is over.
pub fn fitted(window: &Window, rule: WithoutAcker, now: u64) -> Option<Window> {
    let until = window.since.saturating_add(rule.allowance()?.longest.as_secs());
    let stage = match window.stage {
        Stage::Over if until <= now => return None,
        Stage::Open | Stage::Over => Stage::Open,
    };
    (until != window.until).then(|| Window { until, stage, ..window.clone() })
}

/// What it means for a failover.
pub fn doubt(record: &Record) -> Option<String> {
    let window = record.window.as_ref()?;
    let name = &record.primary_name;
    Some(format!(
        "{name} has taken writes without an acker {} ({SETTING}): what was told OK meanwhile may be on {name} alone",
        window.describe()
    ))
}

/// What an OK is worth meanwhile, for people.
pub fn words(record: &Record) -> Option<String> {
    let window = record.window.as_ref()?;
    Some(match window.stage {
        Stage::Open => format!("none {}; what is told OK may be lost with the primary", window.describe()),
        Stage::Over => format!(
            "broken: commits waited for no acknowledgement {}; they wait again, and an OK is passed on only after its \
             commit was seen at the ackers",
            window.describe()
        ),
    })
}

/// What somebody should know, and what to do.
pub fn alarm(record: &Record) -> Option<String> {
    let window = record.window.as_ref()?;
    let name = &record.primary_name;
    Some(match window.stage {
        Stage::Open => format!(
            "writes on {name} go on without an acker {} ({SETTING}). Should {name} be lost now, a human has to decide, \
             and what was told OK since then may be lost. Start an acker: the window closes by itself",
            window.describe()
        ),
        Stage::Over => format!(
            "writes on {name} went on without an acker {}, and nothing was acknowledged since: should {name} be lost \
             now, a human has to decide",
            window.describe()
        ),
    })
}

/// Why commits wait though they might go on, and how they do.
pub fn spent(record: &Record) -> Option<(String, String)> {
    let window = record.spent_window()?;
    let over = format!("the time for writes without an acker is over since {}", moment(window.until));
    let hint = "start an acker; or, if writes are to go on without one for longer: raise [durability] continue_for, then \
                sluice reload";
    Some((over, hint.to_owned()))
}

#[cfg(test)]
mod tests;
