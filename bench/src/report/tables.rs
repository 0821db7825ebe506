//! The figures as tables, in the form that is Markdown and legible on a terminal.
//!
//! Never here: measuring, or a verdict.

use std::fmt::Write as _;

use super::BASE;
use crate::first_logins::FirstLogins;
use crate::idle::Idle;
use crate::logins::Logins;
use crate::measure::{Measured, Turn, Turns};
use crate::statistics::{added, median, ratio};
use crate::switchovers::Switchover;
use crate::sysbench::Transactions;
use crate::target::Target;

/// Statements: one cell.
pub(super) fn statements(cell: &Measured) -> String {
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

/// Logins per second.
pub(super) fn logins(all: &[Logins]) -> String {
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

/// Idle clients.
pub(super) fn idle(all: &[Idle]) -> String {
    let mut table = Table::new(&[
        "target",
        "KiB / HAProxy",
        "clients",
        "KiB per client",
        "MiB without clients",
        "% of a core",
    ]);
    for idle in all {
        // HAProxy may have had descriptors for fewer.
        let of_base = all.iter().filter(|other| other.target == BASE && other.clients <= idle.clients);
        let base = of_base.max_by_key(|other| other.clients).filter(|_| idle.clients > 0);
        table.row(vec![
            idle.target.name().to_owned(),
            shown(base.and_then(|base| ratio(&[Some(idle.kibibytes)], &[Some(base.kibibytes)])), 2),
            idle.clients.to_string(),
            shown(Some(idle.kibibytes).filter(|_| idle.clients > 0), 1),
            shown(Some(idle.without), 1),
            shown(Some(idle.cpu * 100.0), 1),
        ]);
    }
    table.render()
}

/// First logins: the median and the slowest of each target.
pub(super) fn first_logins(all: &[FirstLogins]) -> String {
    let of = |target| all.iter().find(|logins| logins.target == target).and_then(|it| median(&it.times));
    let direct = of(Target::Direct);
    let mut table = Table::new(&["target", "added ms", "median ms", "slowest ms", "logins", "refused"]);
    for logins in all {
        let middle = median(&logins.times);
        let slowest = logins.times.iter().copied().max_by(f64::total_cmp);
        table.row(vec![
            logins.target.name().to_owned(),
            shown(middle.zip(direct).map(|(middle, direct)| middle - direct), 1),
            shown(middle, 1),
            shown(slowest, 1),
            logins.times.len().to_string(),
            logins.refused.to_string(),
        ]);
    }
    table.render()
}

/// One program of sysbench.
pub(super) fn transactions(all: &[&Transactions]) -> String {
    let rates = |it: &Transactions| it.turns.iter().map(|turn| Some(turn.rate)).collect::<Vec<_>>();
    let used = |it: &Transactions| it.turns.iter().map(|turn| turn.cpu).collect::<Vec<_>>();
    let base = all.iter().find(|it| it.target == BASE);
    let direct = all.iter().find(|it| it.target == Target::Direct);
    let mut table =
        Table::new(&["target", "CPU / HAProxy", "rate / HAProxy", "rate / direct", "CPU us", "per second"]);
    let middle = |figures: &[Option<f64>]| median(&figures.iter().copied().flatten().collect::<Vec<_>>());
    for it in all {
        table.row(vec![
            it.target.name().to_owned(),
            shown(base.and_then(|base| ratio(&used(it), &used(base))), 2),
            shown(base.and_then(|base| ratio(&rates(it), &rates(base))), 2),
            shown(direct.and_then(|direct| ratio(&rates(it), &rates(direct))), 2),
            shown(middle(&used(it)), 0),
            shown(middle(&rates(it)), 0),
        ]);
    }
    table.render()
}

/// Switchovers, one a row.
pub(super) fn switchovers(all: &[Switchover]) -> String {
    let mut table = Table::new(&["switchover", "gate closed ms", "longest wait ms"]);
    for (number, it) in all.iter().enumerate() {
        table.row(vec![(number + 1).to_string(), shown(Some(it.closed), 1), shown(Some(it.longest), 1)]);
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
