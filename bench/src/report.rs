//! The figures as tables, in the form that is Markdown and legible on a terminal, and as JSON.
//!
//! Ratios come first: within one run they are what counts, and what another machine may compare with.
//!
//! Never here: measuring, or a verdict.

use std::fmt::Write as _;

use serde::Serialize;

use crate::idle::Idle;
use crate::logins::Logins;
use crate::machine::Machine;
use crate::measure::{Measured, Turn, Turns};
use crate::plan::Cell;
use crate::statistics::{added, median, ratio};
use crate::target::Target;

/// Everything that a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// Turns of each target, and how long one was, s.
    pub rounds: (usize, f64),
    /// Statements.
    pub cells: Vec<Measured>,
    /// Logins.
    pub logins: Vec<Logins>,
    /// Idle clients.
    pub idle: Vec<Idle>,
}

/// What the ratios are to.
const BASE: Target = Target::HaProxy;

impl Results {
    /// All tables.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut out = String::new();
        for cell in &self.cells {
            let title = Cell { workload: cell.workload, clients: cell.clients }.title();
            let rate = cell.rate.map(|rate| format!(", {rate:.0} per second begun")).unwrap_or_default();
            let _ = writeln!(out, "### {title}{rate}\n");
            out += &statements(cell);
        }
        if !self.logins.is_empty() {
            out += "### Logins\n\n";
            out += &logins(&self.logins);
        }
        if !self.idle.is_empty() {
            out += "### Idle clients, each behind one statement\n\n";
            out += &idle(&self.idle);
        }
        out
    }

    /// `RESULTS.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        let machine = &self.machine;
        let (rounds, slice) = self.rounds;
        let mut out = format!(
            "# Measured side by side\n\nWritten by `make bench`: every target has its turn of {slice} s in each of {rounds} \
             rounds, the median of the rounds is shown, and ratios are medians of the ratios within a round. TLS is off on both \
             sides. CPU is that of the proxy's process alone; added times are beyond the direct connection's.\n\n\
             {} cores of {}, {} GiB, {}",
            machine.cores, machine.processor, machine.memory, machine.kernel
        );
        for (name, version) in &machine.programs {
            let _ = write!(out, "; {name}: {version}");
        }
        out += ". Servers, proxies and load share these cores.\n\n";
        out += &self.tables();
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

fn statements(cell: &Measured) -> String {
    let of = |target| cell.targets.iter().find(|turns| turns.target == target);
    let (base, direct) = (of(BASE), of(Target::Direct));
    let mut table = Table::new(&[
        "target",
        "CPU / HAProxy",
        "rate / HAProxy",
        "CPU us",
        "per second",
        "MiB/s",
        "p50 us",
        "p99",
        "p99.9",
        "added p50",
        "added p99",
        "switches",
        "system calls",
    ]);
    for turns in &cell.targets {
        let against = |other: Option<&Turns>,
                       figure: Figure,
                       how: fn(&[Option<f64>], &[Option<f64>]) -> Option<f64>| {
            other.and_then(|other| how(&turns.of(figure), &other.of(figure)))
        };
        let added = |figure| against(direct.filter(|direct| direct.target != turns.target), figure, added);
        table.row(vec![
            turns.target.name().to_owned(),
            shown(against(base, |turn| turn.cpu, ratio), 2),
            shown(against(base, |turn| Some(turn.rate), ratio), 2),
            shown(turns.median(|turn| turn.cpu), 1),
            shown(turns.median(|turn| Some(turn.rate)), 0),
            shown(turns.median(|turn| Some(turn.mebibytes)), 1),
            shown(turns.median(|turn| Some(turn.p50)), 0),
            shown(turns.median(|turn| Some(turn.p99)), 0),
            shown(turns.median(|turn| Some(turn.p999)), 0),
            shown(added(|turn| Some(turn.p50)), 0),
            shown(added(|turn| Some(turn.p99)), 0),
            shown(turns.median(|turn| turn.switches), 2),
            calls(turns),
        ]);
    }
    table.render()
}

/// All system calls of a statement, and the commonest by name.
fn calls(turns: &Turns) -> String {
    if turns.calls.is_empty() {
        return String::new();
    }
    let all: f64 = turns.calls.iter().map(|calls| calls.per_statement).sum();
    let common = turns.calls.iter().take_while(|calls| calls.per_statement >= 0.1);
    let common: Vec<_> = common.map(|calls| format!("{} {:.1}", calls.name, calls.per_statement)).collect();
    format!("{all:.1}: {}", common.join(", "))
}

/// One figure of a turn.
type Figure = fn(&Turn) -> Option<f64>;

fn logins(all: &[Logins]) -> String {
    let rates = |logins: &Logins| logins.turns.iter().map(|turn| Some(turn.rate)).collect::<Vec<_>>();
    let of = |target| all.iter().find(|logins| logins.target == target).map(rates);
    let (base, direct) = (of(BASE), of(Target::Direct));
    let mut table = Table::new(&["target", "rate / HAProxy", "rate / direct", "per second", "CPU us"]);
    for logins in all {
        let rate = rates(logins);
        let cpu: Vec<f64> = logins.turns.iter().filter_map(|turn| turn.cpu).collect();
        table.row(vec![
            logins.target.name().to_owned(),
            shown(base.as_ref().and_then(|base| ratio(&rate, base)), 2),
            shown(direct.as_ref().and_then(|direct| ratio(&rate, direct)), 2),
            shown(median(&rate.iter().copied().flatten().collect::<Vec<_>>()), 0),
            shown(median(&cpu), 0),
        ]);
    }
    table.render()
}

fn idle(all: &[Idle]) -> String {
    let mut table = Table::new(&[
        "target",
        "KiB / HAProxy",
        "clients",
        "KiB per client",
        "MiB without clients",
        "% of a core",
    ]);
    for idle in all {
        let base = all.iter().find(|other| other.target == BASE && other.clients == idle.clients);
        table.row(vec![
            idle.target.name().to_owned(),
            shown(base.and_then(|base| ratio(&[Some(idle.kibibytes)], &[Some(base.kibibytes)])), 2),
            idle.clients.to_string(),
            shown(Some(idle.kibibytes), 1),
            shown(Some(idle.without), 1),
            shown(Some(idle.cpu * 100.0), 1),
        ]);
    }
    table.render()
}

/// A figure, or nothing where there is none.
fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map(|figure| format!("{figure:.digits$}")).unwrap_or_default()
}

/// A table in Markdown whose columns stand below each other.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(heads: &[&str]) -> Self {
        Self(vec![heads.iter().map(|&head| head.to_owned()).collect()])
    }

    fn row(&mut self, cells: Vec<String>) {
        self.0.push(cells);
    }

    fn render(&self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let width =
            |column| self.0.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (number, row) in self.0.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Names to the left, figures to the right.
                let _ = if column == 0 {
                    write!(out, "| {cell:<width$} ")
                } else {
                    write!(out, "| {cell:>width$} ")
                };
            }
            out += "|\n";
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let line = "-".repeat(width + 1);
                    let _ = if column == 0 { write!(out, "|{line}-") } else { write!(out, "|{line}:") };
                }
                out += "|\n";
            }
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    fn turns(target: Target, cpu: Option<f64>, rate: f64) -> Turns {
        let turn = Turn { rate, mebibytes: 1.0, p50: 1e6 / rate, p99: 1.0, p999: 2.0, cpu, switches: cpu };
        Turns { target, turns: vec![turn; 3], calls: Vec::new() }
    }

    #[test]
    fn ratios_are_to_haproxy_and_added_times_to_the_direct_connection() {
        let targets = vec![
            turns(Target::Direct, None, 20_000.0),
            turns(Target::HaProxy, Some(10.0), 10_000.0),
            turns(Target::SluiceSplit, Some(8.0), 12_500.0),
        ];
        let cell = Measured { workload: Workload::PointText, clients: 16, rate: None, targets };
        let table = statements(&cell);
        let row = table.lines().nth(4).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1..5], ["Sluice, split", "0.80", "1.25", "8.0"]);
        assert_eq!(cells[10], "30", "80 us are 30 more than 50: {row}");
        let direct = table.lines().nth(2).unwrap();
        assert!(direct.split('|').nth(2).unwrap().trim().is_empty(), "{direct}");
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["name", "n"]);
        table.row(vec!["a".into(), "100".into()]);
        assert_eq!(table.render(), "| name |   n |\n|------|----:|\n| a    | 100 |\n\n");
    }
}
