//! How long statements took, and what can be read off that afterwards: the longest wait in a window, and the
//! longest time in which no write came back (what a closed gate looks like from outside).
//!
//! Never here: a guess about the cause of a wait.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Statements kept with their times per client; later ones only enter the histograms. 16 bytes each.
const KEPT_PER_CLIENT: usize = 2_000_000;
/// Longest time a histogram tells apart; longer ones count as this.
const LONGEST: Duration = Duration::from_secs(300);

/// What kind of statement a client ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Connecting and logging in.
    Connect,
    /// A SELECT outside a transaction.
    Read,
    /// START TRANSACTION.
    Begin,
    /// A statement inside a transaction.
    Inside,
    /// COMMIT.
    Commit,
    /// ROLLBACK after an error.
    Rollback,
    /// A write in autocommit mode.
    Write,
}

impl Kind {
    /// All kinds, in the order of reports.
    pub const ALL: [Kind; 7] =
        [Kind::Connect, Kind::Read, Kind::Write, Kind::Begin, Kind::Inside, Kind::Commit, Kind::Rollback];

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Connect => "connect",
            Kind::Read => "read",
            Kind::Begin => "begin",
            Kind::Inside => "in transaction",
            Kind::Commit => "commit",
            Kind::Rollback => "rollback",
            Kind::Write => "write",
        }
    }

    /// Whether its end means that the primary took a write to its end.
    fn completes_a_write(self) -> bool {
        matches!(self, Kind::Commit | Kind::Write)
    }
}

/// One statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Begin, microseconds after the load began.
    pub began_us: u32,
    /// Duration, microseconds.
    pub took_us: u32,
    /// What it was.
    pub kind: Kind,
    /// Whose it was.
    pub client: u16,
}

impl Sample {
    fn ended_us(self) -> u64 {
        u64::from(self.began_us) + u64::from(self.took_us)
    }

    /// Duration.
    pub fn took(self) -> Duration {
        Duration::from_micros(self.took_us.into())
    }
}

/// A span of time that the caller marked, for instance one switchover.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// First moment.
    pub from: Instant,
    /// Last moment.
    pub to: Instant,
}

/// A time in which no write came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the last write before it ended, after the begin of the load.
    pub from: Duration,
    /// When the first write after it ended, after the begin of the load.
    pub to: Duration,
}

impl Gap {
    /// How long it was.
    pub fn length(self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// The statements of one client or of all.
#[derive(Debug)]
pub struct Timing {
    origin: Instant,
    samples: Vec<Sample>,
    histograms: Vec<Histogram<u64>>,
}

impl Timing {
    /// Nothing yet; all times count from `origin`.
    pub fn new(origin: Instant) -> Self {
        // These bounds are valid, so there is one for each kind.
        let empty = |_| Histogram::new_with_bounds(1, micros(LONGEST), 3).ok();
        Self { origin, samples: Vec::new(), histograms: Kind::ALL.iter().filter_map(empty).collect() }
    }

    /// Adds a statement that ends now.
    pub fn record(&mut self, client: u16, kind: Kind, began: Instant) {
        let took_us = micros(began.elapsed());
        if let Some(histogram) = self.histograms.get_mut(position(kind)) {
            histogram.saturating_record(took_us.max(1));
        }
        if self.samples.len() < KEPT_PER_CLIENT {
            self.samples.push(Sample {
                began_us: narrow(micros(began.saturating_duration_since(self.origin))),
                took_us: narrow(took_us),
                kind,
                client,
            });
        }
    }

    /// Takes another client's statements in.
    pub fn merge(&mut self, other: Timing) {
        self.samples.extend(other.samples);
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            // Both were made with the same bounds, so nothing can be out of range.
            let _ = mine.add(theirs);
        }
    }

    /// Statements of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.histograms.get(position(kind)).map_or(0, Histogram::len)
    }

    /// Statements of all kinds, without connects.
    pub fn statements(&self) -> u64 {
        Kind::ALL.into_iter().filter(|kind| *kind != Kind::Connect).map(|kind| self.count(kind)).sum()
    }

    /// The time that a share `quantile` (0 to 1) of the statements of a kind did not exceed.
    pub fn quantile(&self, kind: Kind, quantile: f64) -> Duration {
        let histogram = self.histograms.get(position(kind));
        Duration::from_micros(histogram.map_or(0, |histogram| histogram.value_at_quantile(quantile)))
    }

    /// The statement that took longest among those under way at some moment of the window.
    pub fn longest_wait(&self, window: Window) -> Option<Sample> {
        let (from, to) = self.bounds(window);
        self.samples
            .iter()
            .filter(|sample| sample.ended_us() >= from && u64::from(sample.began_us) <= to)
            .max_by_key(|sample| sample.took_us)
            .copied()
    }

    /// The longest time between two writes that ended one after the other in the window.
    pub fn write_gap(&self, window: Window) -> Option<Gap> {
        let (from, to) = self.bounds(window);
        let mut ends: Vec<u64> = self
            .samples
            .iter()
            .filter(|sample| sample.kind.completes_a_write())
            .map(|sample| sample.ended_us())
            .filter(|end| (from..=to).contains(end))
            .collect();
        ends.sort_unstable();
        ends.iter().zip(ends.iter().skip(1)).max_by_key(|(before, after)| *after - *before).map(
            |(before, after)| Gap { from: Duration::from_micros(*before), to: Duration::from_micros(*after) },
        )
    }

    fn bounds(&self, window: Window) -> (u64, u64) {
        let after = |moment: Instant| micros(moment.saturating_duration_since(self.origin));
        (after(window.from), after(window.to))
    }
}

fn position(kind: Kind) -> usize {
    Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A load is shorter than the 71 minutes that fit.
fn narrow(micros: u64) -> u32 {
    u32::try_from(micros).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Gap, Kind, Sample, Timing, Window};
    use std::time::{Duration, Instant};

    fn timing(samples: &[(u32, u32, Kind)]) -> Timing {
        let mut timing = Timing::new(Instant::now());
        for (began_us, took_us, kind) in samples {
            timing.samples.push(Sample { began_us: *began_us, took_us: *took_us, kind: *kind, client: 0 });
        }
        timing
    }

    fn window(timing: &Timing, from: u64, to: u64) -> Window {
        let at = |micros| timing.origin + Duration::from_micros(micros);
        Window { from: at(from), to: at(to) }
    }

    #[test]
    fn the_longest_wait_counts_statements_that_only_overlap_the_window() {
        let timing = timing(&[(0, 90, Kind::Read), (50, 500, Kind::Write), (700, 9_000, Kind::Read)]);
        let longest = timing.longest_wait(window(&timing, 100, 600)).unwrap();
        assert_eq!((longest.began_us, longest.took_us), (50, 500));
        assert!(timing.longest_wait(window(&timing, 560, 650)).is_none());
    }

    #[test]
    fn the_gap_is_between_ends_of_writes_only() {
        let timing = timing(&[
            (0, 10, Kind::Write),
            (0, 40, Kind::Commit),
            (50, 10, Kind::Read),
            (0, 200, Kind::Write),
            (0, 230, Kind::Write),
        ]);
        let gap = timing.write_gap(window(&timing, 0, 1_000)).unwrap();
        assert_eq!(gap, Gap { from: Duration::from_micros(40), to: Duration::from_micros(200) });
        assert_eq!(gap.length(), Duration::from_micros(160));
        assert!(timing.write_gap(window(&timing, 0, 30)).is_none());
    }

    #[test]
    fn recorded_statements_are_counted_by_kind() {
        let mut timing = Timing::new(Instant::now());
        timing.record(1, Kind::Connect, Instant::now());
        timing.record(1, Kind::Read, Instant::now());
        let mut all = Timing::new(timing.origin);
        all.merge(timing);
        assert_eq!((all.statements(), all.count(Kind::Connect), all.count(Kind::Read)), (1, 1, 1));
        assert!(all.quantile(Kind::Read, 1.0) < Duration::from_secs(5));
    }
}
