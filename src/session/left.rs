//! What a session's last statement left for questions about it: ROW_COUNT(), FOUND_ROWS(), errors and warnings.
//!
//! Numbers are known from the answer that was relayed. The text of conditions is known to the server alone, on the
//! connection where the statement ran; it is read off that connection before anybody else gets it, by whoever
//! takes it, and handed to the session through a channel. So a session can be lent from without losing anything,
//! and nothing is asked as long as nobody else needs the connection.
//!
//! Never here: I/O, an answer to a client.

use sluice_protocol::{ErrPacket, OkSummary};
use sluice_routing::last_statement::Values;
use sluice_routing::topology::InstanceId;
use tokio::sync::oneshot;

/// Conditions kept per session at most. A statement can leave as many as `max_error_count` says, up to 65535; whoever
/// looks at more than these has to look before the connection is lent (`SHOW WARNINGS LIMIT` counts from the first).
pub(crate) const MAX_CONDITIONS: usize = 256;

/// What was read off a connection before it was lent.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// The definitions of the columns of SHOW WARNINGS, as the server sends them to this session.
    pub(crate) columns: Vec<Vec<u8>>,
    /// Level, code and message of each condition.
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
    /// What the end of SHOW WARNINGS told.
    pub(crate) warnings: u16,
    /// FOUND_ROWS().
    pub(crate) found_rows: Option<u64>,
}

impl Captured {
    /// What SHOW WARNINGS and then FOUND_ROWS() answered.
    pub(crate) fn new(
        columns: Vec<Vec<u8>>,
        rows: Vec<Vec<Option<Vec<u8>>>>,
        end: &OkSummary,
        found_rows: Option<u64>,
    ) -> Self {
        Self { columns, rows, warnings: end.warnings, found_rows }
    }

    /// The conditions that are errors, or all.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &Vec<Option<Vec<u8>>>> {
        self.rows.iter().filter(|row| matches!(row.first(), Some(Some(level)) if level == b"Error"))
    }
}

/// FOUND_ROWS().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FoundRows {
    /// Nothing was asked yet, or the session was reset.
    #[default]
    Unknown,
    /// This many, told by this server.
    Known(u64, InstanceId),
    /// Only the connection to this server knows.
    OnConnection(InstanceId),
}

/// Errors and warnings.
#[derive(Debug, Default)]
pub(crate) enum Conditions {
    /// There are none.
    #[default]
    Nothing,
    /// They are on the connection where the last statement ran.
    OnConnection,
    /// Here.
    Here(Box<Captured>),
    /// The connection was lost before they could be read, or there never was one. If an error ended the statement, it
    /// is known.
    Lost,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// ROW_COUNT(); `None`: not known.
    pub(crate) row_count: Option<i64>,
    /// FOUND_ROWS().
    pub(crate) found_rows: FoundRows,
    /// Errors and warnings.
    pub(crate) conditions: Conditions,
    /// The error that ended the statement.
    pub(crate) error: Option<Box<ErrPacket<'static>>>,
    /// How many conditions the answer told of.
    pub(crate) warnings: u16,
    /// Brings what is read off the connection if it is lent.
    pub(crate) handed_over: Option<oneshot::Receiver<Captured>>,
}

impl Left {
    /// A statement was done that leaves nothing to ask about but ROW_COUNT(). FOUND_ROWS() stays.
    pub(crate) fn only_row_count(&mut self, row_count: i64) {
        let found_rows = self.found_rows;
        *self = Self { row_count: Some(row_count), found_rows, ..Self::default() };
    }

    /// A statement was answered with an error that is on no connection.
    pub(crate) fn failed(&mut self, error: &ErrPacket<'_>) {
        self.only_row_count(-1);
        self.error = Some(Box::new(error.clone().into_owned()));
        self.conditions = Conditions::Lost;
    }

    /// Whether something would be lost if the connection to `instance` were lent without a look at it.
    pub(crate) fn is_on(&self, instance: InstanceId) -> bool {
        matches!(self.conditions, Conditions::OnConnection)
            || self.found_rows == FoundRows::OnConnection(instance)
    }

    /// Takes in what was read off the connection; `None`: it was lost.
    pub(crate) fn take_in(&mut self, captured: Option<Captured>) {
        self.handed_over = None;
        let found = captured.as_ref().and_then(|captured| captured.found_rows);
        self.found_rows = match (self.found_rows, found) {
            (FoundRows::OnConnection(instance), Some(count)) => FoundRows::Known(count, instance),
            (FoundRows::OnConnection(_), None) => FoundRows::Unknown,
            (known @ (FoundRows::Known(..) | FoundRows::Unknown), _) => known,
        };
        if matches!(self.conditions, Conditions::OnConnection) {
            self.conditions = match captured {
                Some(captured) => Conditions::Here(Box::new(captured)),
                None => Conditions::Lost,
            };
        }
    }

    /// Everything that is known as a number.
    pub(crate) fn values(&self) -> Values {
        let told = u64::from(self.warnings).max(u64::from(self.error.is_some()));
        let (warnings, errors) = match &self.conditions {
            Conditions::Nothing => (Some(0), Some(0)),
            Conditions::OnConnection => (None, None),
            Conditions::Here(captured) => {
                let shown = captured.rows.len() as u64;
                (Some(told.max(shown)), Some(captured.errors().count() as u64))
            }
            Conditions::Lost => (Some(told), Some(u64::from(self.error.is_some()))),
        };
        let found_rows = match self.found_rows {
            FoundRows::Known(count, _) => Some(count),
            FoundRows::OnConnection(_) | FoundRows::Unknown => None,
        };
        Values { row_count: self.row_count, found_rows, warnings, errors }
    }
}
