//! Telling a program of alarms that were not there before.
//!
//! Never here: what an alarm is.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Looped;
use crate::controller::api::Status;
use crate::controller::assess::Verdict;
use crate::controller::clock;
use crate::controller::hooks::{self, Event};

/// Between two runs of the program: what comes meanwhile is told together.
const EVERY: Duration = Duration::from_secs(5);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    known: HashSet<String>,
    at: Option<Instant>,
}

impl Told {
    /// Those of `alarms` that were not there before, if it is time to tell of them. Who went away and comes again is
    /// new; only other figures in the same words are not.
    fn news(&mut self, alarms: &[String], now: Instant) -> Vec<String> {
        let words = |alarm: &String| alarm.replace(|one: char| one.is_ascii_digit(), "");
        self.known.retain(|known| alarms.iter().any(|alarm| words(alarm) == *known));
        if self.at.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return Vec::new();
        }
        let news: Vec<String> =
            alarms.iter().filter(|alarm| !self.known.contains(&words(alarm))).cloned().collect();
        if !news.is_empty() {
            self.known.extend(alarms.iter().map(words));
            self.at = Some(now);
        }
        news
    }
}

/// Everything that somebody should know, the verdict among it.
fn alarms(status: &Status, verdict: &Verdict) -> Vec<String> {
    let said = match verdict {
        Verdict::Starting | Verdict::Adopting | Verdict::Healthy => None,
        // For the moment of a doubt.
        Verdict::PrimarySuspected | Verdict::PrimaryReturned(_) => None,
        Verdict::Unadopted
        | Verdict::StaleRecord
        | Verdict::LockHeldElsewhere
        | Verdict::SemiSyncStarved
        | Verdict::Unguarded
        | Verdict::SecondWritable(_)
        | Verdict::PrimaryLocked
        | Verdict::PrimaryStalled
        | Verdict::OpenedByHand(_)
        | Verdict::PrimaryLost(_)
        | Verdict::LostQuorum
        | Verdict::PrimaryBehind => Some(format!("{}: {}", status.verdict, status.evidence)),
    };
    said.into_iter().chain(status.alarms.iter().cloned()).collect()
}

impl Looped {
    pub(super) fn tell_alarms(&mut self) {
        if self.desk.config.hooks.on_alarm.is_none() {
            return;
        }
        let status = self.seat.status.load_full();
        let alarms = alarms(&status, &self.desk.assessment().verdict);
        let news = self.told.news(&alarms, clock::now());
        if !news.is_empty() {
            let more = json!({ "verdict": status.verdict, "news": news, "alarms": alarms });
            hooks::run_beside(&self.desk, Event::OnAlarm, None, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_are_told_and_not_too_often() {
        let mut told = Told::default();
        let start = clock::now();
        let all = |alarms: &[&str]| alarms.iter().map(|alarm| (*alarm).to_owned()).collect::<Vec<_>>();
        assert_eq!(told.news(&[], start), all(&[]));
        assert_eq!(told.news(&all(&["db2: refused 2 times"]), start), all(&["db2: refused 2 times"]));
        assert_eq!(told.news(&all(&["db2: refused 7 times", "other"]), start), all(&[]), "not yet");
        let later = start + EVERY;
        assert_eq!(told.news(&all(&["db2: refused 7 times", "other"]), later), all(&["other"]));
        let last = later + EVERY;
        assert_eq!(told.news(&all(&["db2: refused 9 times"]), last), all(&[]));
        assert_eq!(told.news(&all(&["other"]), last), all(&["other"]), "it was away");
    }
}
