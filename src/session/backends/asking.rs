//! What we ask of a connection ourselves: what ran on it, which roles are active, the status flags.
//!
//! Never here: a change of what is set on the connection.

use sluice_protocol::StatusFlags;
use sluice_protocol::command::{SetOption, build};
use sluice_protocol::response::Answer;

use super::{Backend, NotReady};

impl Backend {
    /// How many CREATE TABLE, also of temporary tables, and SET ROLE ran on the connection, also within procedures; `None` if
    /// the server does not say.
    pub(crate) async fn count_created(&mut self) -> Result<Option<u64>, NotReady> {
        let counters = b"SHOW SESSION STATUS WHERE Variable_name IN ('Com_create_table', 'Com_set_role')";
        let Answer::Rows { rows, .. } = self.query(counters).await? else { return Ok(None) };
        let count = |row: &Vec<Option<Vec<u8>>>| -> Option<u64> {
            std::str::from_utf8(row.get(1)?.as_deref()?).ok()?.parse().ok()
        };
        Ok(rows.iter().map(count).sum())
    }

    /// The statement that sets the roles which are active, right after a reset; `None`: it can't be told.
    pub(crate) async fn active_roles(&mut self) -> Result<Option<Vec<u8>>, NotReady> {
        let Answer::Rows { rows, .. } = self.query(b"SELECT CURRENT_ROLE()").await? else { return Ok(None) };
        let roles = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        // Quoted like this by servers whose global sql_mode has ANSI_QUOTES: a string elsewhere.
        Ok(roles.filter(|roles| !roles.contains(&b'"')).map(|roles| [b"SET ROLE ", roles].concat()))
    }

    /// The status flags of the session on this connection now.
    pub(crate) async fn status(&mut self) -> Result<StatusFlags, NotReady> {
        match self.command(&build::ping()).await? {
            Answer::Ok(summary) | Answer::Rows { end: summary, .. } => Ok(summary.status),
            Answer::Error(error) => Err(NotReady::Refused(Box::new(error))),
        }
    }

    /// The same behind an error, leaving ROW_COUNT() at the -1 that the error set: telling the server once more
    /// whether it may take several statements is answered by an EOF, which sets -1 as well (a ping's OK sets 0).
    pub(crate) async fn status_after_error(&mut self, known: SetOption) -> Result<StatusFlags, NotReady> {
        match self.command(&build::set_option(known)).await? {
            Answer::Ok(summary) | Answer::Rows { end: summary, .. } => Ok(summary.status),
            Answer::Error(error) => Err(NotReady::Refused(Box::new(error))),
        }
    }
}
