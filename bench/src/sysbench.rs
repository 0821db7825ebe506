//! sysbench's transactions, the common measure for MySQL.
//!
//! Never here: what sysbench says of latency, of which its histogram keeps too little to be subtracted.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::connection::Account;
use crate::plan::order;
use crate::process::Usage;
use crate::target::{Site, Target};
use crate::wire::Channel;

/// Threads of sysbench.
const THREADS: usize = 16;
/// Tables, and rows in each: all of it is in the servers' memory.
const SIZE: [&str; 2] = ["--tables=4", "--table-size=10000"];

/// What one run may take beside its time: its tables on a slow disk, or its end by `--forced-shutdown`.
const BESIDE: Duration = Duration::from_secs(180);
/// What `timeout` of the coreutils says of what it had to end, by SIGTERM and by SIGKILL.
const ENDED: [i32; 2] = [124, 137];

/// One of sysbench's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// 14 reads in a transaction.
    ReadOnly,
    /// The same and 4 writes.
    ReadWrite,
    /// 4 writes in a transaction.
    WriteOnly,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::ReadWrite, Self::WriteOnly];

    /// As sysbench names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "oltp_read_only",
            Self::ReadWrite => "oltp_read_write",
            Self::WriteOnly => "oltp_write_only",
        }
    }
}

/// sysbench failed.
#[derive(Debug, Error)]
pub enum SysbenchError {
    /// It can't be run, or /proc not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It stopped.
    #[error("sysbench: {0}")]
    Stopped(String),
    /// It had to be ended.
    #[error("sysbench did not end within {0:?}: is the server there and writable?")]
    Hung(Duration),
}

/// One turn of one target.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Turn {
    /// Transactions per second.
    pub rate: f64,
    /// CPU of the proxy's process per transaction, µs.
    pub cpu: Option<f64>,
}

/// All turns of one target with one program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Transactions {
    /// Which program.
    pub program: Program,
    /// Which target.
    pub target: Target,
    /// In the order of the rounds.
    pub turns: Vec<Turn>,
}

/// How it is run.
#[derive(Debug, Clone, Copy)]
pub struct Sysbench<'a> {
    /// The program, as tests/clients/install unpacks it.
    pub path: &'a Path,
    /// Who logs in.
    pub account: &'a Account,
    /// How often each target has its turn with each program.
    pub rounds: usize,
    /// How long a turn is.
    pub slice: Duration,
}

impl Sysbench<'_> {
    /// Makes its tables.
    ///
    /// # Errors
    /// [`SysbenchError`].
    pub fn prepare(&self, direct: &Site) -> Result<(), SysbenchError> {
        self.run(direct, Program::ReadWrite, "prepare").map(|_| ())
    }

    /// Measures every target without TLS in turn.
    ///
    /// # Errors
    /// The first failure, with the target's name.
    pub fn measure(
        &self,
        sites: &[Site],
        program: Program,
    ) -> Result<Vec<Transactions>, (Target, SysbenchError)> {
        let sites: Vec<_> = sites.iter().filter(|site| site.channel == Channel::Plain).collect();
        let begin = |site: &&Site| Transactions { program, target: site.target, turns: Vec::new() };
        let mut all: Vec<_> = sites.iter().map(begin).collect();
        for round in 0..self.rounds {
            for index in order(sites.len(), round) {
                let (Some(site), Some(seen)) = (sites.get(index), all.get_mut(index)) else { continue };
                seen.turns.push(self.turn(site, program).map_err(|error| (site.target, error))?);
            }
        }
        Ok(all)
    }

    #[allow(clippy::cast_precision_loss)] // transactions of some seconds
    fn turn(&self, site: &Site, program: Program) -> Result<Turn, SysbenchError> {
        let before = site.pid.map(Usage::of).transpose()?;
        let text = self.run(site, program, "run")?;
        let after = site.pid.map(Usage::of).transpose()?;
        let count = |label| figure(&text, label).ok_or_else(|| SysbenchError::Stopped(text.clone()));
        let transactions = count("transactions:")?.max(1.0);
        let seconds = count("total time:")?.max(f64::EPSILON);
        let used = before.zip(after).map(|(before, after)| after.since(before).cpu.as_secs_f64());
        Ok(Turn { rate: transactions / seconds, cpu: used.map(|used| used * 1e6 / transactions) })
    }

    fn run(&self, site: &Site, program: Program, what: &str) -> Result<String, SysbenchError> {
        let account = self.account;
        let limit = self.slice + BESIDE;
        let output = Command::new("timeout")
            .args(["--kill-after=5", &limit.as_secs().to_string()])
            .arg(self.path)
            .args([program.name(), "--db-driver=mysql", "--forced-shutdown=30"])
            .args(SIZE)
            .args([
                format!("--mysql-host={}", site.address.ip()),
                format!("--mysql-port={}", site.address.port()),
                format!("--mysql-user={}", account.user),
                format!("--mysql-password={}", account.password),
                format!("--mysql-db={}", account.schema),
                format!("--threads={THREADS}"),
                format!("--time={}", self.slice.as_secs().max(1)),
            ])
            .arg(what)
            .stdin(Stdio::null())
            .output()?;
        if output.status.code().is_some_and(|code| ENDED.contains(&code)) {
            return Err(SysbenchError::Hung(limit));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // It also ends well when one of its threads has failed.
        if !output.status.success() || text.contains("FATAL") {
            return Err(SysbenchError::Stopped(text + &String::from_utf8_lossy(&output.stderr)));
        }
        Ok(text)
    }
}

/// The number behind a label of its report.
fn figure(text: &str, label: &str) -> Option<f64> {
    let number = text.split_once(label)?.1.split_whitespace().next()?;
    number.trim_end_matches('s').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_report_is_read() {
        let text = "    transactions:                        8912   (445.34 per sec.)\n    total time:     20.0108s\n";
        assert_eq!(figure(text, "transactions:"), Some(8912.0));
        assert_eq!(figure(text, "total time:"), Some(20.0108));
        assert_eq!(figure(text, "reconnects:"), None);
    }
}
