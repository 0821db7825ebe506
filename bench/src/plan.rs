//! How much is measured, and in which order.
//!
//! Never here: anything that runs.

use std::time::Duration;

use crate::workload::Workload;

/// One line of the measurement: a workload with so many clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// What they ask for.
    pub workload: Workload,
    /// How many clients there are.
    pub clients: usize,
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
    /// Clients that log in, one login after the other; 0: no logins are measured.
    pub login_clients: usize,
}

impl Plan {
    /// Below three minutes: one row by its key, and memory of 1,000 idle clients.
    #[must_use]
    pub fn quick() -> Self {
        let clients = [1, 16, 64];
        let points = [Workload::PointText, Workload::PointPrepared];
        let cell = |workload| clients.map(|clients| Cell { workload, clients });
        Self {
            cells: points.into_iter().flat_map(cell).collect(),
            half_load: Vec::new(),
            system_calls: SystemCalls::Left,
            rounds: 5,
            slice: Duration::from_millis(500),
            warm_up: Duration::from_millis(200),
            idle: vec![1000],
            idle_for: Duration::from_secs(2),
            login_clients: 4,
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
        cells.push(Cell { workload: Workload::Gibibyte, clients: 1 });
        Self {
            cells,
            half_load: vec![Cell { workload: Workload::PointText, clients: 64 }],
            system_calls: SystemCalls::Counted,
            rounds: 9,
            slice: Duration::from_secs(1),
            warm_up: Duration::from_millis(500),
            idle: vec![1000, 8000],
            idle_for: Duration::from_secs(10),
            login_clients: 4,
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
        self.idle.clear();
        self.login_clients = 0;
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
        assert!(plan.idle.is_empty() && plan.login_clients == 0);
        assert_eq!(Plan::quick().only("prepared").cells.len(), 3);
    }

    #[test]
    fn the_quick_plan_fits_into_three_minutes() {
        let (plan, targets) = (Plan::quick(), 6);
        let rounds = u32::try_from(plan.rounds * targets).unwrap();
        let cell = plan.slice * rounds + plan.warm_up * 6;
        assert!(cell * u32::try_from(plan.cells.len()).unwrap() < Duration::from_secs(110));
    }
}
