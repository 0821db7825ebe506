//! What an error means for the unit of work it hit, and how it is written down.
//!
//! Never here: mercy. Every error a client sees is recorded, also the ones that are allowed.

use std::time::Duration;

use mysql_async::Error;

use super::ledger::Outcome;
use super::timing::Kind;

/// Sluice's "outcome unknown" (1180 / 08007): the statement may have committed.
const OUTCOME_UNKNOWN: u16 = 1180;
/// A statement on a server that is stopping; the connection is closed behind it.
const SERVER_SHUTDOWN: u16 = 1053;
/// A commit refused by a stopping server; the connection is closed behind it.
const HOOK_FAILED: u16 = 3100;

/// One error that a client saw.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which client.
    pub client: u16,
    /// When, after the begin of the load.
    pub at: Duration,
    /// What kind of statement it was.
    pub kind: Kind,
    /// Error number, if it came from a server (or from Sluice in its place).
    pub code: Option<u16>,
    /// SQLSTATE, likewise.
    pub sqlstate: Option<String>,
    /// The message.
    pub message: String,
    /// What was running.
    pub statement: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client {} at {:.3} s, {}: ", self.client, self.at.as_secs_f64(), self.kind.label())?;
        if let (Some(code), Some(state)) = (self.code, &self.sqlstate) {
            write!(f, "ERROR {code} ({state}) ")?;
        }
        write!(f, "{} [{}]", self.message, self.statement)
    }
}

/// What a client may conclude from an error at a statement of this kind.
pub(super) fn outcome(kind: Kind, error: &Error) -> Outcome {
    match (kind, error) {
        // Nothing before the COMMIT can have kept anything: the transaction ends with the connection.
        (Kind::Connect | Kind::Read | Kind::Begin | Kind::Inside | Kind::Rollback, _) => Outcome::RolledBack,
        (Kind::Commit | Kind::Write, Error::Server(server)) if server.code == OUTCOME_UNKNOWN => {
            Outcome::Unknown
        }
        (Kind::Commit | Kind::Write, Error::Server(_)) => Outcome::RolledBack,
        (Kind::Commit | Kind::Write, Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_)) => {
            Outcome::Unknown
        }
    }
}

/// Whether the connection can't be used any more after this error.
pub(super) fn ends_connection(error: &Error) -> bool {
    match error {
        Error::Server(server) => matches!(server.code, OUTCOME_UNKNOWN | SERVER_SHUTDOWN | HOOK_FAILED),
        Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_) => true,
    }
}

/// The number, the SQLSTATE and the message of an error.
pub(super) fn parts(error: &Error) -> (Option<u16>, Option<String>, String) {
    match error {
        Error::Server(server) => (Some(server.code), Some(server.state.clone()), server.message.clone()),
        Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_) => (None, None, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{ends_connection, outcome};
    use crate::load::ledger::Outcome;
    use crate::load::timing::Kind;
    use mysql_async::{Error, IoError, ServerError};

    fn server(code: u16) -> Error {
        Error::Server(ServerError { code, message: String::new(), state: "HY000".into() })
    }

    fn lost() -> Error {
        Error::Io(IoError::Io(std::io::ErrorKind::UnexpectedEof.into()))
    }

    #[test]
    fn only_a_lost_or_unknown_commit_or_write_is_unknown() {
        assert_eq!(outcome(Kind::Commit, &lost()), Outcome::Unknown);
        assert_eq!(outcome(Kind::Write, &lost()), Outcome::Unknown);
        assert_eq!(outcome(Kind::Write, &server(1180)), Outcome::Unknown);
        assert_eq!(outcome(Kind::Commit, &server(1180)), Outcome::Unknown);
        assert_eq!(outcome(Kind::Commit, &server(1213)), Outcome::RolledBack);
        assert_eq!(outcome(Kind::Write, &server(1053)), Outcome::RolledBack);
        assert_eq!(outcome(Kind::Inside, &lost()), Outcome::RolledBack);
    }

    #[test]
    fn the_connection_survives_a_rollback() {
        assert!(!ends_connection(&server(1213)));
        assert!(ends_connection(&server(1053)));
        assert!(ends_connection(&server(1180)));
        assert!(ends_connection(&lost()));
    }
}
