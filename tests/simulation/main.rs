//! The controller over simulated servers, struck by faults drawn from seeds, in a time that is not the wall's.
//!
//! What runs is the controller itself: its loop, its observers, upkeep, switchover and failover, its store. Only the
//! servers, the network and the clients are models, detailed enough to lose data. A violation prints the seed, what
//! happened last and how to play it again:
//!
//! `SLUICE_SEED=17 cargo test -p sluice --test simulation -- --nocapture`
//!
//! `SLUICE_SEEDS=100000` plays so many, `SLUICE_FIRST_SEED=...` begins there.
//!
//! Never here: a rule of the controller, a real server, a real wait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a model that breaks fails the test"
)]

mod checks;
mod client;
mod faults;
mod ledger;
mod operator;
mod random;
mod run;
mod server;
mod sluice;
mod trace;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Outcomes, play};
use trace::Kept;

/// Seeds in `make test`.
const SEEDS: u64 = 2000;
/// Violations after which a run of many seeds ends.
const ENOUGH: u64 = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Shows what happened in a seed that broke something.
fn show(seed: u64) -> Outcomes {
    if std::env::var("SLUICE_LOG").is_ok() {
        let _ =
            tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).without_time().try_init();
    }
    let outcomes = play(seed, Kept::Latest);
    println!("seed {seed}: {outcomes:?}");
    outcomes
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("SLUICE_SEED") {
        let outcomes = show(seed);
        assert!(outcomes.violations.is_empty(), "seed {seed}: {:?}", outcomes.violations);
        return;
    }
    let (first, seeds) = (number("SLUICE_FIRST_SEED").unwrap_or(1), number("SLUICE_SEEDS").unwrap_or(SEEDS));
    let enough = usize::try_from(number("SLUICE_ENOUGH").unwrap_or(ENOUGH)).unwrap();
    let began = std::time::Instant::now();
    let (next, broken) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let totals = Mutex::new((0_usize, 0_usize, 0_u64, 0_f64));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + seeds || broken.lock().unwrap().len() >= enough {
                        return;
                    }
                    let outcomes = play(seed, Kept::Nothing);
                    let mut totals = totals.lock().unwrap();
                    totals.0 += outcomes.acknowledged;
                    totals.1 += outcomes.unknown;
                    totals.2 += outcomes.epochs.saturating_sub(1);
                    totals.3 += outcomes.virtual_seconds;
                    drop(totals);
                    if !outcomes.violations.is_empty() {
                        broken.lock().unwrap().push(outcomes);
                    }
                }
            });
        }
    });
    let (acknowledged, unknown, changes, time) = totals.into_inner().unwrap();
    println!(
        "{} seeds in {:.1} s: {time:.0} s of clusters, {acknowledged} writes acknowledged, {unknown} of unknown \
         outcome, {changes} changes of the primary",
        next.load(Ordering::SeqCst).min(first + seeds) - first,
        began.elapsed().as_secs_f64()
    );
    let mut broken = broken.into_inner().unwrap();
    broken.sort_by_key(|outcomes| outcomes.seed);
    if let Some(worst) = broken.first() {
        show(worst.seed);
        for outcomes in &broken {
            println!(
                "SLUICE_SEED={} cargo test -p sluice --test simulation -- --nocapture   # {}",
                outcomes.seed,
                outcomes.violations.join("; ")
            );
        }
        panic!("{} seeds broke something, the first is {}", broken.len(), worst.seed);
    }
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in 1..11 {
        let (one, other) = (play(seed, Kept::Nothing), play(seed, Kept::Nothing));
        assert_eq!((one.events, one.acknowledged), (other.events, other.acknowledged), "seed {seed}");
    }
}
