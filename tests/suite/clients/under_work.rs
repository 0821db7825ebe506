//! A framework works through switchovers: no error, no round lost, nothing there twice.
//!
//! Never here: a pause between switchovers that is time instead of work done.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use sluice_cluster::wait_until;
use sluice_demo::stage::Stage;

use super::compare::command;
use super::list::Client;

/// How often the primary changes under the work.
const SWITCHOVERS: usize = 3;
/// Rounds of work before, between and after them.
const ROUNDS: u64 = 5;
/// One switchover.
const SWITCHOVER_DEADLINE: Duration = Duration::from_secs(60);
/// [`ROUNDS`] rounds on a busy machine, migrations included.
const WORK_DEADLINE: Duration = Duration::from_secs(60);

/// Lets a framework work through the split port while the primary changes.
pub(super) async fn works_through_switchovers(client: &'static Client, stage: &Stage) {
    let mut command = command(client, stage.cluster.mysqld(), stage.sluice.ports().split);
    let child = command.arg("--work").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut work = Work(child);
    for _ in 0..SWITCHOVERS {
        some_rounds(client, stage).await;
        let done = stage.admin().switchover(None, SWITCHOVER_DEADLINE).await.unwrap();
        assert_eq!(done.state, "done", "{:?} {:?}", done.outcome, done.steps);
    }
    some_rounds(client, stage).await;
    let told = tokio::task::spawn_blocking(move || work.end()).await.unwrap();
    assert_eq!(told["errors"], Value::Array(Vec::new()), "{}: {told}", client.name);
    assert!(told["rounds"].as_u64() > Some(ROUNDS * SWITCHOVERS as u64), "{}: {told}", client.name);
}

/// Until the work has gone on for some rounds.
async fn some_rounds(client: &Client, stage: &Stage) {
    let before = authors(stage).await.unwrap_or(0);
    let further = || async { authors(stage).await.is_some_and(|now| now >= before + ROUNDS) };
    wait_until(&format!("{} to go on", client.name), WORK_DEADLINE, further).await.unwrap();
}

/// Rounds that are committed on the first server; `None` before the migrations.
async fn authors(stage: &Stage) -> Option<u64> {
    stage.cluster.node(0).value("SELECT COUNT(*) FROM clients.authors").await.ok()
}

/// The program; it ends with its owner.
struct Work(Child);

impl Work {
    /// Ends the work by the end of its input; its last line.
    fn end(&mut self) -> Value {
        drop(self.0.stdin.take());
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let last = lines.map(Result::unwrap).last().unwrap_or_default();
        assert!(self.0.wait().unwrap().success(), "{last}");
        serde_json::from_str(&last).unwrap()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
