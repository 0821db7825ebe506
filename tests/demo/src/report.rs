//! The report at the end.
//!
//! Never here: a number that was not measured in this run.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use sluice_demo::admin::Operation;
use sluice_demo::load::{Kind, Report, Window};
use sluice_demo::stage::Stage;
use sluice_demo::verify::Verdict;

use crate::show::Show;

/// Errors and findings printed in full.
const PRINTED: usize = 20;
/// Statements that are still under way when Sluice calls the operation done belong to it.
const AFTERMATH: Duration = Duration::from_millis(500);

/// One switchover as asked for.
pub(crate) struct Round {
    pub(crate) operation: Operation,
    pub(crate) window: Window,
}

impl Round {
    /// One line, as soon as it is over.
    pub(crate) fn headline(&self, number: u32) -> String {
        let operation = &self.operation;
        let took = milliseconds(self.window.to - self.window.from);
        let target = operation.target.as_deref().unwrap_or("?");
        if self.succeeded() {
            return format!(
                "switchover {number}: {target} is the primary, {} steps in {took:.0} ms",
                operation.steps.len()
            );
        }
        let why = operation.outcome.as_deref().unwrap_or("no reason given");
        format!("switchover {number} to {target}: {} after {took:.0} ms: {why}", operation.state)
    }

    fn succeeded(&self) -> bool {
        self.operation.state == "done"
    }
}

/// SELECTs per server, with their names.
pub(crate) struct Selects(Vec<(String, u64)>);

impl Selects {
    /// Reads the servers' own counters.
    pub(crate) async fn read(stage: &Stage) -> Result<Self, mysql_async::Error> {
        let mut counts = Vec::new();
        for server in stage.servers() {
            let mut conn = Conn::new(server.login.opts()).await?;
            let row: Option<(String, u64)> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Com_select'").await?;
            counts.push((server.name, row.map_or(0, |(_, count)| count)));
            conn.disconnect().await?;
        }
        Ok(Self(counts))
    }

    /// What was added since `earlier`.
    pub(crate) fn since(&self, earlier: &Selects) -> Selects {
        let pairs = self.0.iter().zip(&earlier.0);
        Selects(pairs.map(|((name, now), (_, then))| (name.clone(), now.saturating_sub(*then))).collect())
    }
}

/// Prints everything; returns whether all is well.
pub(crate) fn print(
    show: &Show,
    seen: &Report,
    rounds: &[Round],
    selects: &Selects,
    verdict: &Verdict,
) -> bool {
    let totals = seen.ledger.totals();
    show.line("");
    show.line(&format!(
        "statements            {} in {:.0} s, {} units of writing: {} acknowledged, {} rolled back, {} unknown",
        seen.timing.statements(),
        seen.lasted.as_secs_f64(),
        totals.attempted,
        totals.acknowledged,
        totals.rolled_back,
        totals.unknown
    ));
    show.line(&format!("client errors         {}", seen.error_count));
    show.line(&format!("wrong answers         {}", seen.anomalies.len()));
    for kind in [Kind::Read, Kind::Write, Kind::Inside, Kind::Commit] {
        show.line(&format!(
            "{:<21} half within {:.1} ms, 99 % within {:.1} ms",
            kind.label(),
            milliseconds(seen.timing.quantile(kind, 0.5)),
            milliseconds(seen.timing.quantile(kind, 0.99))
        ));
    }
    let reads: Vec<String> = selects.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
    show.line(&format!("SELECTs per server    {}", reads.join(", ")));
    waits(show, seen, rounds);
    let same = verdict.findings.is_empty();
    show.line(&format!(
        "servers               {}",
        if same { format!("all hold the same data, {} ledger rows", verdict.rows) } else { "DIFFER".into() }
    ));
    complaints(show, seen, verdict);
    let switched = rounds.iter().all(Round::succeeded);
    let fine = same && switched && seen.error_count == 0 && seen.anomalies.is_empty();
    show.line(if fine { "\nNobody noticed." } else { "\nThis should not have happened: see above." });
    fine
}

fn waits(show: &Show, seen: &Report, rounds: &[Round]) {
    show.line("");
    show.line(
        "switchover  to      longest wait of a statement  no write came back for  gate closed (Sluice)",
    );
    for (number, round) in rounds.iter().enumerate() {
        let window = Window { from: round.window.from, to: round.window.to + AFTERMATH };
        let wait = seen.timing.longest_wait(window).map_or(Duration::ZERO, |sample| sample.took());
        let gap = seen.timing.write_gap(window).map_or(Duration::ZERO, |gap| gap.length());
        let gate = round.operation.stall_us.map(Duration::from_micros);
        show.line(&format!(
            "{:>10}  {:<6}  {:>24.1} ms  {:>19.1} ms  {:>17}",
            number + 1,
            round.operation.target.as_deref().unwrap_or("?"),
            milliseconds(wait),
            milliseconds(gap),
            gate.map_or_else(|| "not said".into(), |gate| format!("{:.1} ms", milliseconds(gate)))
        ));
        let steps: Vec<String> = round
            .operation
            .steps
            .iter()
            .map(|step| {
                let took = step.took_us.map(Duration::from_micros).unwrap_or_default();
                format!("{} {:.1}", step.name, milliseconds(took))
            })
            .collect();
        show.line(&format!("            steps (ms): {}", steps.join(", ")));
    }
    show.line("");
}

fn complaints(show: &Show, seen: &Report, verdict: &Verdict) {
    for failure in seen.errors.iter().take(PRINTED) {
        show.line(&format!("  error: {failure}"));
    }
    for what in seen.anomalies.iter().chain(&verdict.findings).take(PRINTED) {
        show.line(&format!("  wrong: {what}"));
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
