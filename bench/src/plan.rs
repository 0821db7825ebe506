//! How much is measured, and in which order.
//!
//! Never here: anything that runs.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::workload::Workload;

/// One line of the measurement: a workload with so many clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// What they ask for.
    pub workload: Workload,
    /// How many clients there are.
    pub clients: usize,
}

/// What a run is made of, in this order: memory while no load has left anything behind, and last what changes the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Memory and CPU of idle clients.
    Idle,
    /// Our own load.
    Statements,
    /// Logins per second, and first logins.
    Logins,
    /// sysbench's transactions.
    Sysbench,
    /// What switchovers cost.
    Switchovers,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Statements, Self::Logins, Self::Sysbench, Self::Switchovers];

    /// As it is named in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Statements => "statements",
            Self::Logins => "logins",
            Self::Sysbench => "sysbench",
            Self::Switchovers => "switchovers",
        }
    }
}

/// Whether system calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCalls {
    /// One turn more for each target and cell.
    Counted,
    /// Not at all.
    Left,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is measured at all.
    pub parts: Vec<Part>,
    /// Closed loops.
    pub cells: Vec<Cell>,
    /// At a fixed rate: half of what the slowest target reached in the same cell's closed loop.
    pub half_load: Vec<Cell>,
    /// Counted with strace, if at all, in a turn of their own.
    pub system_calls: SystemCalls,
    /// How often each target has its turn in each cell.
    pub rounds: usize,
    /// How long a turn is.
    pub slice: Duration,
    /// Load that is not counted, once per cell and target.
    pub warm_up: Duration,
    /// Numbers of idle clients.
    pub idle: Vec<usize>,
    /// How long they are idle before memory is read.
    pub idle_for: Duration,
    /// Clients that log in, one login after the other.
    pub login_clients: usize,
    /// Rounds of each of sysbench's programs, and how long a turn is.
    pub sysbench: (usize, Duration),
    /// How many switchovers.
    pub switchovers: usize,
}

impl Plan {
    /// Below three minutes: one row by its key, and memory of 1,000 idle clients.
    #[must_use]
    pub fn quick() -> Self {
        let clients = [1, 16, 64];
        let points = [Workload::PointText, Workload::PointPrepared];
        let cell = |workload| clients.map(|clients| Cell { workload, clients });
        Self {
            parts: vec![Part::Idle, Part::Statements, Part::Logins, Part::Switchovers],
            cells: points.into_iter().flat_map(cell).collect(),
            half_load: Vec::new(),
            system_calls: SystemCalls::Left,
            rounds: 5,
            slice: Duration::from_millis(400),
            warm_up: Duration::from_millis(200),
            idle: vec![1000],
            idle_for: Duration::from_secs(2),
            login_clients: 4,
            sysbench: (1, Duration::from_secs(1)),
            switchovers: 2,
        }
    }

    /// All of it.
    #[must_use]
    pub fn full() -> Self {
        let mut cells = Vec::new();
        for workload in [Workload::PointText, Workload::PointPrepared] {
            cells.extend([1, 16, 64, 256].map(|clients| Cell { workload, clients }));
        }
        cells.extend([1, 16].map(|clients| Cell { workload: Workload::Rows100, clients }));
        cells.push(Cell { workload: Workload::Rows10000, clients: 4 });
        let large = [Workload::Gibibyte, Workload::LargeRow, Workload::LargeStatement];
        cells.extend(large.map(|workload| Cell { workload, clients: 1 }));
        Self {
            parts: Part::ALL.to_vec(),
            cells,
            half_load: vec![Cell { workload: Workload::PointText, clients: 64 }],
            system_calls: SystemCalls::Counted,
            rounds: 9,
            slice: Duration::from_secs(1),
            warm_up: Duration::from_millis(500),
            idle: vec![0, 1000, 10_000],
            idle_for: Duration::from_secs(10),
            login_clients: 4,
            sysbench: (3, Duration::from_secs(5)),
            switchovers: 5,
        }
    }
}

impl Cell {
    /// As it is headed in reports.
    #[must_use]
    pub fn title(self) -> String {
        let clients = if self.clients == 1 { "client" } else { "clients" };
        format!("{}, {} {clients}", self.workload.name(), self.clients)
    }
}

impl Plan {
    /// Only the cells whose title holds `text`, and nothing else.
    #[must_use]
    pub fn only(mut self, text: &str) -> Self {
        self.cells.retain(|cell| cell.title().contains(text));
        self.half_load.retain(|cell| cell.title().contains(text));
        self.parts = vec![Part::Statements];
        self
    }
}

/// The targets' order in a round: each round begins one further, so that none always follows the same work of others'
/// and none is always first.
pub fn order(targets: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..targets).map(move |turn| (turn + round) % targets.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_target_and_begins_with_another() {
        let mut first = Vec::new();
        for round in 0..4 {
            let turns: Vec<_> = order(4, round).collect();
            first.push(turns[0]);
            let mut sorted = turns.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        assert_eq!(first, [0, 1, 2, 3]);
        assert_eq!(order(0, 3).count(), 0);
    }

    #[test]
    fn a_plan_is_narrowed_by_the_titles_of_cells() {
        let plan = Plan::quick().only("text, 1 client");
        assert_eq!(plan.cells, [Cell { workload: Workload::PointText, clients: 1 }]);
        assert_eq!(plan.parts, [Part::Statements]);
        assert_eq!(Plan::quick().only("prepared").cells.len(), 3);
    }

    #[test]
    fn the_quick_plan_fits_into_three_minutes() {
        let (plan, targets) = (Plan::quick(), 7);
        let rounds = u32::try_from(plan.rounds * targets).unwrap();
        let cell = plan.slice * rounds + plan.warm_up * 7;
        assert!(cell * u32::try_from(plan.cells.len()).unwrap() < Duration::from_secs(110));
    }
}
