//! What the random tests draw: every sequence from a seed of its own, so that each can be drawn again.
//!
//! `SLUICE_SEED=17` plays that one alone; `SLUICE_ISOLATION_SECONDS=900` plays new ones for so long.
//!
//! Never here: what is drawn.

use std::time::{Duration, Instant, SystemTime};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Longest time of a random test within `make test`.
const SHORT: Duration = Duration::from_secs(30);

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// The seeds of one test, in order.
pub(super) struct Draws {
    test: &'static str,
    next: u64,
    left: u64,
    began: Instant,
    limit: Duration,
}

impl Draws {
    /// So many seeds, or as the environment says.
    pub(super) fn of(test: &'static str, most: u64) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Six digits: new ones in every run, and easily typed.
        let any = u64::from(now.subsec_nanos()) % 1_000_000;
        let (next, left, limit) = match (number("SLUICE_SEED"), number("SLUICE_ISOLATION_SECONDS")) {
            (Some(seed), _) => (seed, 1, Duration::MAX),
            (None, Some(seconds)) => (any, u64::MAX, Duration::from_secs(seconds)),
            (None, None) => (any, most, SHORT),
        };
        println!("{test}: seeds from {next} on");
        Self { test, next, left, began: Instant::now(), limit }
    }

    /// How to play what this seed draws once more.
    pub(super) fn again(&self, seed: u64) -> String {
        format!(
            "SLUICE_SEED={seed} cargo test -p sluice --test suite isolation::{} -- --nocapture",
            self.test
        )
    }

    /// How long it has taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Iterator for Draws {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.left == 0 || self.began.elapsed() >= self.limit {
            return None;
        }
        let seed = self.next;
        (self.next, self.left) = (seed.wrapping_add(1), self.left - 1);
        Some(seed)
    }
}

/// Draws always the same for the same seed.
pub(super) fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
