//! Plays a plan on a scene that stands.
//!
//! Never here: how anything is measured.

use std::path::Path;

use crate::connection::Account;
use crate::idle::Before;
use crate::load::Pace;
use crate::plan::{Part, Plan};
use crate::report::Results;
use crate::sysbench::{Program, Sysbench};
use crate::target::{Site, Target};
use crate::{first_logins, idle, logins, measure};

/// Why a run came to nothing.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who plays.
#[derive(Debug, Clone, Copy)]
pub struct Cast<'a> {
    /// The targets.
    pub sites: &'a [Site],
    /// Who logs in.
    pub account: &'a Account,
    /// Accounts that have never logged in.
    pub firsts: &'a [Account],
    /// sysbench, if there is one.
    pub sysbench: Option<&'a Path>,
    /// Descriptors that one process has for clients.
    pub descriptors: u64,
}

/// All parts of a plan but switchovers, added to `results`. Progress is told to `say`.
///
/// # Errors
/// The first failure of any measurement, with the target's name.
pub fn play(
    plan: &Plan,
    cast: &Cast<'_>,
    mut results: Results,
    say: &dyn Fn(&str),
) -> Result<Results, Failure> {
    for part in &plan.parts {
        match part {
            Part::Idle => idle_clients(plan, cast, &mut results, say)?,
            Part::Statements => statements(plan, cast, &mut results, say)?,
            Part::Logins => {
                say("logins");
                let known = logins::measure(plan, cast.sites, cast.account);
                results.logins = known.map_err(|(target, error)| blame(target)(error))?;
                let first = first_logins::measure(cast.sites, cast.firsts);
                results.first_logins = first.map_err(|(target, error)| blame(target)(error))?;
            }
            Part::Sysbench => transactions(plan, cast, &mut results, say)?,
            Part::Switchovers => {}
        }
    }
    Ok(results)
}

fn idle_clients(
    plan: &Plan,
    cast: &Cast<'_>,
    results: &mut Results,
    say: &dyn Fn(&str),
) -> Result<(), Failure> {
    let mut begun = Vec::new();
    // Both listeners of Sluice are one process, and the byte relay gives nothing back while it waits.
    let left_out = [Target::SluicePrimary, Target::ByteRelay];
    for site in cast.sites.iter().filter(|site| !left_out.contains(&site.target)) {
        let before = Before::of(site, cast.account).map_err(blame(site.target))?;
        begun.extend(before.map(|before| (site, before)));
    }
    for &wanted in &plan.idle {
        say(&format!("{wanted} idle clients"));
        for (site, before) in &begun {
            let most = usize::try_from(cast.descriptors / site.target.descriptors()).unwrap_or(usize::MAX);
            let clients = wanted.min(most);
            if clients < wanted {
                say(&format!("{}: {clients}, for want of descriptors", site.target.name()));
            }
            let idle = idle::measure(site, *before, cast.account, clients, plan.idle_for);
            results.idle.push(idle.map_err(blame(site.target))?);
        }
    }
    Ok(())
}

fn statements(
    plan: &Plan,
    cast: &Cast<'_>,
    results: &mut Results,
    say: &dyn Fn(&str),
) -> Result<(), Failure> {
    for &cell in &plan.cells {
        say(&cell.title());
        let measured = measure::cell(plan, cell, Pace::Closed, cast.sites, cast.account);
        results.cells.push(measured.map_err(|(target, error)| blame(target)(error))?);
    }
    for &cell in &plan.half_load {
        let same = |done: &&measure::Measured| (done.workload, done.clients) == (cell.workload, cell.clients);
        let slowest = results.cells.iter().find(same).into_iter().flat_map(|done| &done.targets);
        let rate = slowest.filter_map(|turns| turns.median(|turn| Some(turn.rate))).min_by(f64::total_cmp);
        let Some(rate) = rate else { continue };
        say(&format!("{}, at half load", cell.title()));
        let measured = measure::cell(plan, cell, Pace::Rate(rate / 2.0), cast.sites, cast.account);
        results.cells.push(measured.map_err(|(target, error)| blame(target)(error))?);
    }
    Ok(())
}

fn transactions(
    plan: &Plan,
    cast: &Cast<'_>,
    results: &mut Results,
    say: &dyn Fn(&str),
) -> Result<(), Failure> {
    let Some(path) = cast.sysbench else { return Ok(()) };
    let (rounds, slice) = plan.sysbench;
    let sysbench = Sysbench { path, account: cast.account, rounds, slice };
    let Some(direct) = cast.sites.iter().find(|site| site.target == Target::Direct) else { return Ok(()) };
    sysbench.prepare(direct)?;
    for program in Program::ALL {
        say(program.name());
        let measured = sysbench.measure(cast.sites, program);
        results.transactions.extend(measured.map_err(|(target, error)| blame(target)(error))?);
    }
    Ok(())
}

fn blame<E: std::fmt::Display>(target: Target) -> impl Fn(E) -> Failure {
    move |error| format!("{}: {error}", target.name()).into()
}
