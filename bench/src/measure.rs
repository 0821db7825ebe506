//! Plays a plan: rounds in which every target has its turn, so that the machine's drift meets all of them.
//!
//! Never here: what is made of the figures.

use serde::{Deserialize, Serialize};

use crate::connection::Account;
use crate::load::{Load, LoadError, Pace, Seen};
use crate::plan::{Cell, Plan, SystemCalls, order};
use crate::process::Usage;
use crate::statistics::median;
use crate::system_calls::{self, Calls};
use crate::target::{Site, Target};
use crate::workload::Workload;

/// One turn of one target.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Turn {
    /// Statements per second.
    pub rate: f64,
    /// MiB of answers per second.
    pub mebibytes: f64,
    /// Half of the statements took at most so long, µs.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// CPU of the proxy's process per statement, µs.
    pub cpu: Option<f64>,
    /// Context switches of the proxy's threads per statement.
    pub switches: Option<f64>,
}

/// All turns of one target in one cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Turns {
    /// Which target.
    pub target: Target,
    /// In the order of the rounds.
    pub turns: Vec<Turn>,
    /// System calls of the proxy per statement, if they were counted.
    pub calls: Vec<Calls>,
}

impl Turns {
    /// One figure of every round.
    pub fn of(&self, figure: impl Fn(&Turn) -> Option<f64>) -> Vec<Option<f64>> {
        self.turns.iter().map(figure).collect()
    }

    /// Its median.
    pub fn median(&self, figure: impl Fn(&Turn) -> Option<f64>) -> Option<f64> {
        median(&self.turns.iter().filter_map(figure).collect::<Vec<_>>())
    }
}

/// What a cell came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// What was asked for.
    pub workload: Workload,
    /// By how many clients.
    pub clients: usize,
    /// Statements per second that were begun, if not as many as were answered.
    pub rate: Option<f64>,
    /// Of every target.
    pub targets: Vec<Turns>,
}

/// Measures one cell.
///
/// # Errors
/// The first failure of a load, with the target's name.
pub fn cell(
    plan: &Plan,
    cell: Cell,
    pace: Pace,
    sites: &[Site],
    account: &Account,
) -> Result<Measured, (Target, LoadError)> {
    let mut loads = Vec::new();
    for site in sites {
        let blame = |error| (site.target, error);
        let mut load = Load::new(site, account, cell.workload, cell.clients).map_err(blame)?;
        load.run(pace, plan.warm_up).map_err(blame)?;
        loads.push((site, load, Turns { target: site.target, turns: Vec::new(), calls: Vec::new() }));
    }
    for round in 0..plan.rounds {
        for index in order(loads.len(), round) {
            let Some((site, load, turns)) = loads.get_mut(index) else { continue };
            let turn = turn(plan, pace, site, load).map_err(|error| (site.target, error))?;
            turns.turns.push(turn);
        }
    }
    // Many calls of a large answer under strace would take minutes, and mean less.
    if plan.system_calls == SystemCalls::Counted && cell.workload.is_point() {
        for (site, load, turns) in &mut loads {
            let Some(pid) = site.pid else { continue };
            let work = || load.run(pace, plan.slice).map(|seen| seen.statements);
            turns.calls = system_calls::count(pid, work).map_err(|error| (site.target, error))?;
        }
    }
    let rate = match pace {
        Pace::Closed => None,
        Pace::Rate(rate) => Some(rate),
    };
    let targets = loads.into_iter().map(|(_, _, turns)| turns).collect();
    Ok(Measured { workload: cell.workload, clients: cell.clients, rate, targets })
}

fn turn(plan: &Plan, pace: Pace, site: &Site, load: &mut Load) -> Result<Turn, LoadError> {
    let before = site.pid.map(Usage::of).transpose()?;
    let seen = load.run(pace, plan.slice)?;
    let after = site.pid.map(Usage::of).transpose()?;
    let usage = before.zip(after).map(|(before, after)| after.since(before));
    Ok(summed_up(&seen, usage))
}

#[allow(clippy::cast_precision_loss)] // counts of a few seconds
fn summed_up(seen: &Seen, usage: Option<Usage>) -> Turn {
    let seconds = seen.elapsed.as_secs_f64().max(f64::EPSILON);
    let statements = (seen.statements as f64).max(1.0);
    let latency = |quantile| seen.latency.value_at_quantile(quantile) as f64 / 1e3;
    Turn {
        rate: statements / seconds,
        mebibytes: seen.bytes as f64 / f64::from(1 << 20) / seconds,
        p50: latency(0.5),
        p99: latency(0.99),
        p999: latency(0.999),
        cpu: usage.map(|usage| usage.cpu.as_secs_f64() * 1e6 / statements),
        switches: usage.map(|usage| usage.switches as f64 / statements),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;

    #[test]
    fn a_turn_is_summed_up_per_statement() {
        let mut latency = Histogram::new(3).unwrap();
        for _ in 0..99 {
            latency.record(1000).unwrap();
        }
        latency.record(1_000_000).unwrap();
        let seen = Seen { statements: 100, bytes: 2 << 20, elapsed: Duration::from_millis(500), latency };
        let turn = summed_up(&seen, Some(Usage { cpu: Duration::from_millis(2), switches: 50 }));
        let close = |is: f64, wanted: f64| assert!((is - wanted).abs() < wanted / 500.0, "{is} {wanted}");
        close(turn.rate, 200.0);
        close(turn.mebibytes, 4.0);
        close(turn.p50, 1.0);
        close(turn.p999, 1000.0);
        close(turn.cpu.unwrap(), 20.0);
        close(turn.switches.unwrap(), 0.5);
        assert!(summed_up(&seen, None).cpu.is_none());
    }
}
