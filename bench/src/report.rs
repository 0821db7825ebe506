//! What a run came to: kept as JSON, and shown as tables, as `RESULTS.md` and as a plot.
//!
//! Ratios come first: within one run they are what counts, and what another machine may compare with.
//!
//! Never here: measuring, or a verdict.

mod plot;
mod tables;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::first_logins::FirstLogins;
use crate::idle::Idle;
use crate::logins::Logins;
use crate::machine::Machine;
use crate::measure::Measured;
use crate::plan::{Cell, Part};
use crate::switchovers::Switchover;
use crate::sysbench::{Program, Transactions};
use crate::target::Target;

/// What the ratios are to.
const BASE: Target = Target::HaProxy;

/// One part of a run, or a piece of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Piece {
    /// Which part.
    pub part: Part,
    /// Turns of each target, and how long one was, s.
    pub rounds: (usize, f64),
    /// The machine's load average when the run began: what else it had to do.
    pub load: f64,
}

/// Everything that a run came to, or several one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// What was run.
    pub pieces: Vec<Piece>,
    /// Statements.
    pub cells: Vec<Measured>,
    /// Logins of accounts that are known.
    pub logins: Vec<Logins>,
    /// Logins of accounts that are not.
    pub first_logins: Vec<FirstLogins>,
    /// sysbench.
    pub transactions: Vec<Transactions>,
    /// Switchovers.
    pub switchovers: Vec<Switchover>,
    /// Idle clients.
    pub idle: Vec<Idle>,
}

impl Results {
    /// Nothing yet.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            pieces: Vec::new(),
            cells: Vec::new(),
            logins: Vec::new(),
            first_logins: Vec::new(),
            transactions: Vec::new(),
            switchovers: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// Adds what a later run came to. What both have measured is the later one's.
    pub fn add(&mut self, later: Self) {
        let load = |cell: &Measured| (cell.workload, cell.clients, cell.rate.is_some());
        self.cells.retain(|cell| later.cells.iter().all(|newer| load(newer) != load(cell)));
        self.cells.extend(later.cells);
        self.machine = later.machine;
        self.pieces.extend(later.pieces);
        replace(&mut self.logins, later.logins);
        replace(&mut self.first_logins, later.first_logins);
        replace(&mut self.transactions, later.transactions);
        replace(&mut self.switchovers, later.switchovers);
        replace(&mut self.idle, later.idle);
    }

    /// All tables.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut out = String::new();
        for cell in &self.cells {
            let title = Cell { workload: cell.workload, clients: cell.clients }.title();
            let rate = cell.rate.map(|rate| format!(", {rate:.0} per second begun")).unwrap_or_default();
            let _ = writeln!(out, "### {title}{rate}\n");
            out += &tables::statements(cell);
        }
        for program in Program::ALL {
            let all: Vec<_> = self.transactions.iter().filter(|it| it.program == program).collect();
            if !all.is_empty() {
                let _ = writeln!(out, "### sysbench {}, 16 threads, transactions\n", program.name());
                out += &tables::transactions(&all);
            }
        }
        if !self.logins.is_empty() {
            out += "### Logins of a known account\n\n";
            out += &tables::logins(&self.logins);
        }
        if !self.first_logins.is_empty() {
            out += "### First logins, of accounts that neither the server nor the proxy has seen\n\n";
            out += &tables::first_logins(&self.first_logins);
        }
        if !self.idle.is_empty() {
            out += "### Idle clients, each behind one statement\n\n";
            out += &tables::idle(&self.idle);
        }
        if let Some(first) = self.switchovers.first() {
            let _ = writeln!(out, "### Planned switchovers under 16 clients, {} errors\n", first.errors);
            out += &tables::switchovers(&self.switchovers);
        }
        out
    }

    /// `RESULTS.md`; `plot` is the name of the file with [`Self::plot`].
    #[must_use]
    pub fn markdown(&self, plot: &str) -> String {
        let machine = &self.machine;
        let mut out = format!(
            "# Measured side by side\n\nWritten by `make bench`: every target has its turn in each round, the median of the \
             rounds is shown, and ratios are medians of the ratios within a round. There is no TLS but where a target says so. \
             CPU is that of the proxy's process alone; added times are beyond the direct connection's.\n\n\
             {} cores of {}, {} GiB, {}",
            machine.cores, machine.processor, machine.memory, machine.kernel
        );
        for (name, version) in &machine.programs {
            let _ = write!(out, "; {name}: {version}");
        }
        out += ". Servers, proxies and load share these cores.\n\n";
        out += "Measured in these pieces, each interleaved in itself (with the load average before it: beyond 0.5 something \
                else ran on the machine):\n\n";
        for Piece { part, rounds: (rounds, slice), load } in &self.pieces {
            let _ = writeln!(out, "- {}: {rounds} rounds of {slice} s, load average {load:.1}", part.name());
        }
        if !self.cells.is_empty() {
            let _ = write!(out, "\n![CPU per statement beside HAProxy]({plot})\n");
        }
        out.push('\n');
        out += &self.tables();
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    /// CPU per statement beside HAProxy's, as SVG.
    #[must_use]
    pub fn plot(&self) -> String {
        plot::svg(&self.cells)
    }
}

fn replace<T>(former: &mut Vec<T>, later: Vec<T>) {
    if !later.is_empty() {
        *former = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn a_later_run_replaces_what_it_measured_again() {
        let cell = |workload, clients| Measured { workload, clients, rate: None, targets: Vec::new() };
        let run = |cells| Results { cells, ..Results::new(Machine::here(Vec::new())) };
        let mut all = run(vec![cell(Workload::PointText, 1), cell(Workload::PointText, 16)]);
        all.switchovers = vec![Switchover { closed: 1.0, longest: 2.0, errors: 0 }];
        all.add(run(vec![cell(Workload::PointText, 16), cell(Workload::Rows100, 1)]));
        let cells: Vec<_> = all.cells.iter().map(|cell| (cell.workload, cell.clients)).collect();
        assert_eq!(cells, [(Workload::PointText, 1), (Workload::PointText, 16), (Workload::Rows100, 1)]);
        assert_eq!(all.switchovers.len(), 1);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap().cells.len(), 3);
    }
}
