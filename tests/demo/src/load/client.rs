//! One client: one connection, every statement timed, every error written down.
//!
//! Never here: what to run. That is in [`super::work`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, Params, Row};

use super::failure::{self, Failure};
use super::ledger::Outcome;
use super::timing::{Kind, Timing};

/// Errors kept in full per client; later ones are only counted.
const KEPT_ERRORS: usize = 500;
/// A statement without an answer for this long is an error of its own: nothing here may wait forever.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// After a failed login the next one waits this long, so that a dead address isn't dialled in a hot loop.
const REDIAL: Duration = Duration::from_millis(20);

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// COM_QUERY, values in the text.
    Text,
    /// COM_STMT_PREPARE once per connection, then COM_STMT_EXECUTE.
    Prepared,
}

/// Numbers that can be watched while the load runs.
#[derive(Debug, Default)]
pub struct Live {
    pub(super) statements: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) anomalies: AtomicU64,
}

impl Live {
    /// Statements answered so far.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Writes and transactions acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Errors seen so far.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Wrong answers seen so far.
    pub fn anomalies(&self) -> u64 {
        self.anomalies.load(Ordering::Relaxed)
    }
}

/// What one client leaves behind.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) timing: Timing,
    pub(super) errors: Vec<Failure>,
    pub(super) anomalies: Vec<String>,
    pub(super) outcomes: Vec<Outcome>,
}

/// A connection with its journal.
pub(super) struct Client {
    pub(super) id: u16,
    opts: Opts,
    conn: Option<Conn>,
    origin: Instant,
    live: Arc<Live>,
    journal: Journal,
}

/// A statement failed; what may be concluded is here, the rest is in the journal.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Outcome);

impl Client {
    pub(super) fn new(id: u16, opts: Opts, origin: Instant, live: Arc<Live>) -> Self {
        let journal = Journal {
            timing: Timing::new(origin),
            errors: Vec::new(),
            anomalies: Vec::new(),
            outcomes: Vec::new(),
        };
        Self { id, opts, conn: None, origin, live, journal }
    }

    /// Runs one statement and returns its first row. `text` has a `?` for each of `values`.
    pub(super) async fn run(
        &mut self,
        kind: Kind,
        style: Style,
        text: &str,
        values: &[i64],
    ) -> Result<Option<Row>, Failed> {
        let mut conn = self.connected(text).await?;
        let began = Instant::now();
        let answer = tokio::time::timeout(ANSWER_DEADLINE, send(&mut conn, style, text, values)).await;
        self.journal.timing.record(self.id, kind, began);
        match answer {
            Ok(Ok(row)) => {
                self.live.statements.fetch_add(1, Ordering::Relaxed);
                self.conn = Some(conn);
                Ok(row)
            }
            Ok(Err(error)) => {
                if !failure::ends_connection(&error) {
                    self.conn = Some(conn);
                }
                Err(self.failed(kind, &error, text))
            }
            Err(_elapsed) => Err(self.failed(kind, &unanswered(), text)),
        }
    }

    /// After a failed transaction: a connection that is still there must take a ROLLBACK.
    pub(super) async fn roll_back(&mut self) {
        if self.conn.is_some() {
            // Its own failure is in the journal like any other.
            let _ = self.run(Kind::Rollback, Style::Text, "ROLLBACK", &[]).await;
        }
    }

    /// Writes down what a write or a transaction came to.
    pub(super) fn conclude(&mut self, outcome: Outcome) {
        self.journal.outcomes.push(outcome);
        if outcome == Outcome::Acknowledged {
            self.live.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sequence number of the next unit.
    pub(super) fn next_seq(&self) -> i64 {
        i64::try_from(self.journal.outcomes.len()).unwrap_or(i64::MAX)
    }

    /// Writes down an answer that can't be right.
    pub(super) fn anomaly(&mut self, what: &str) {
        self.live.anomalies.fetch_add(1, Ordering::Relaxed);
        if self.journal.anomalies.len() < KEPT_ERRORS {
            self.journal.anomalies.push(format!(
                "client {} at {:.3?}: {what}",
                self.id,
                self.origin.elapsed()
            ));
        }
    }

    /// Says goodbye to the server and hands the journal over.
    pub(super) async fn finish(mut self) -> Journal {
        if let Some(conn) = self.conn.take() {
            let _ = tokio::time::timeout(ANSWER_DEADLINE, conn.disconnect()).await;
        }
        self.journal
    }

    async fn connected(&mut self, text: &str) -> Result<Conn, Failed> {
        if let Some(conn) = self.conn.take() {
            return Ok(conn);
        }
        let began = Instant::now();
        let dialled = tokio::time::timeout(ANSWER_DEADLINE, Conn::new(self.opts.clone())).await;
        self.journal.timing.record(self.id, Kind::Connect, began);
        let error = match dialled {
            Ok(Ok(conn)) => return Ok(conn),
            Ok(Err(error)) => error,
            Err(_elapsed) => unanswered(),
        };
        let failed = self.failed(Kind::Connect, &error, text);
        tokio::time::sleep(REDIAL).await;
        Err(failed)
    }

    fn failed(&mut self, kind: Kind, error: &Error, text: &str) -> Failed {
        self.live.errors.fetch_add(1, Ordering::Relaxed);
        let (code, sqlstate, message) = failure::parts(error);
        if self.journal.errors.len() < KEPT_ERRORS {
            self.journal.errors.push(Failure {
                client: self.id,
                at: self.origin.elapsed(),
                kind,
                code,
                sqlstate,
                message,
                statement: text.into(),
            });
        }
        Failed(failure::outcome(kind, error))
    }
}

async fn send(conn: &mut Conn, style: Style, text: &str, values: &[i64]) -> Result<Option<Row>, Error> {
    match style {
        Style::Text => conn.query_first(with_values(text, values)).await,
        Style::Prepared => {
            let values = values.iter().map(|value| (*value).into()).collect();
            conn.exec_first(text, Params::Positional(values)).await
        }
    }
}

fn with_values(text: &str, values: &[i64]) -> String {
    let mut pieces = text.split('?');
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for (piece, value) in pieces.zip(values) {
        whole.push_str(&value.to_string());
        whole.push_str(piece);
    }
    whole
}

fn unanswered() -> Error {
    let late =
        std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {ANSWER_DEADLINE:?}"));
    Error::Io(late.into())
}

#[cfg(test)]
mod tests {
    use super::with_values;

    #[test]
    fn values_replace_question_marks_in_order() {
        assert_eq!(with_values("a = ? AND b = ?", &[1, -2]), "a = 1 AND b = -2");
        assert_eq!(with_values("SELECT 1", &[]), "SELECT 1");
    }
}
