//! What can go wrong with a cluster of our own, split by who has to do something about it.
//!
//! Must never hide the text that says why: these errors are read by a person in front of a failed test.

use std::path::PathBuf;
use std::time::Duration;

/// A failure to start, steer or ask a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no fitting mysqld; the text (from `deploy/mysql/fetch`) says what to install.
    #[error("no MySQL server to test with:\n{0}")]
    NoServer(String),
    /// A file, folder, socket or process operation of ours failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A program that we ran ended badly.
    #[error("{what} failed: {output}")]
    Program {
        /// Which program, doing what.
        what: String,
        /// What it printed, or how it ended.
        output: String,
    },
    /// A server or Sluice ended while we waited for it to be ready.
    #[error("{name} ended ({exit}) before it was ready; the end of its log:\n{log}")]
    Died {
        /// Which process.
        name: String,
        /// How it ended.
        exit: String,
        /// The last lines of its log.
        log: String,
    },
    /// A condition did not come true in time.
    #[error("waited {limit:?} for {what}{detail}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long was waited.
        limit: Duration,
        /// What was seen instead, with its separator; may be empty.
        detail: String,
    },
    /// A statement on a node failed.
    #[error("{node}: {sql}: {source}")]
    Sql {
        /// Which node.
        node: String,
        /// The statement.
        sql: String,
        /// The driver's word.
        source: mysql_async::Error,
    },
    /// The caller asked for something that this cluster can't be.
    #[error("{0}")]
    Misuse(String),
}

impl ClusterError {
    /// An I/O error with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// An I/O error about one path.
    pub(crate) fn path(verb: &str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(format!("{verb} {}", path.into().display()))
    }
}
