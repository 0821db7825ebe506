//! The places of a response, what a packet is at each of them, and which place comes next. Pure tables: it never looks
//! into a packet beyond its first byte.

use super::{Expect, ResponseError};
use crate::error_packet::ERR_HEADER;
use crate::ok_packet::{EOF_HEADER, OK_HEADER};
use crate::packet::MAX_FRAME_PAYLOAD;

/// First byte of a LOCAL INFILE request.
const LOCAL_INFILE_HEADER: u8 = 0xfb;

/// Which packet comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// An OK, ERR, LOCAL INFILE request or column count.
    Start,
    Columns {
        left: u64,
    },
    /// The client is due an EOF packet between columns and rows.
    RowsAfterEof,
    Rows,
    Prepare {
        client_statement_id: u32,
    },
    Parameters {
        left: u16,
        columns: u16,
    },
    PreparedColumns {
        left: u16,
    },
    /// The client is due an EOF packet after definitions of a prepared statement.
    EofAfterDefinitions {
        columns: u16,
    },
    FieldList,
    Plain,
    Statistics,
    LocalInfile,
    /// Events of a binlog.
    Events,
    Finished,
}

/// What to do with a packet, told from its place and first byte.
pub(super) enum Kind {
    /// Part of the data: passes as it comes.
    Data,
    /// The last of it: an EOF that is one whatever was agreed.
    LastData,
    Ok,
    Error,
    ColumnCount,
    Prepared {
        client_statement_id: u32,
    },
    LocalInfile,
}

impl Place {
    /// Where a response begins.
    pub(super) fn first(expect: Expect) -> Self {
        match expect {
            Expect::Query | Expect::Execute => Place::Start,
            Expect::Prepare { client_statement_id } => Place::Prepare { client_statement_id },
            Expect::Fetch => Place::Rows,
            Expect::BinlogStream => Place::Events,
            Expect::FieldList => Place::FieldList,
            Expect::Plain => Place::Plain,
            Expect::Statistics => Place::Statistics,
            Expect::Nothing => Place::Finished,
        }
    }

    /// What the packet is that begins with this byte.
    pub(super) fn kind(self, first: u8, length: usize) -> Result<Kind, ResponseError> {
        if first == ERR_HEADER {
            return Ok(Kind::Error);
        }
        // A row may begin with 0xFE too: the length of a value that does not fit into one frame.
        let ends_data = first == EOF_HEADER && length < MAX_FRAME_PAYLOAD;
        match self {
            Place::Start => match first {
                OK_HEADER => Ok(Kind::Ok),
                LOCAL_INFILE_HEADER => Ok(Kind::LocalInfile),
                EOF_HEADER => Err(ResponseError::Unexpected(first)),
                _ => Ok(Kind::ColumnCount),
            },
            Place::Prepare { client_statement_id } => match first {
                OK_HEADER => Ok(Kind::Prepared { client_statement_id }),
                _ => Err(ResponseError::Unexpected(first)),
            },
            Place::Events if ends_data => Ok(Kind::LastData),
            Place::Rows | Place::RowsAfterEof | Place::FieldList if ends_data => Ok(Kind::Ok),
            Place::Plain if ends_data || first == OK_HEADER => Ok(Kind::Ok),
            Place::Plain => Err(ResponseError::Unexpected(first)),
            Place::Rows
            | Place::RowsAfterEof
            | Place::FieldList
            | Place::Columns { .. }
            | Place::Parameters { .. }
            | Place::PreparedColumns { .. }
            | Place::EofAfterDefinitions { .. }
            | Place::Statistics
            | Place::LocalInfile
            | Place::Events
            | Place::Finished => Ok(Kind::Data),
        }
    }

    /// The place behind one packet of data.
    pub(super) fn after_data(self, deprecates_eof: bool) -> Self {
        match self {
            Place::Columns { left } if left > 1 => Place::Columns { left: left - 1 },
            Place::Columns { .. } if deprecates_eof => Place::Rows,
            Place::Columns { .. } => Place::RowsAfterEof,
            Place::Parameters { left, columns } if left > 1 => Place::Parameters { left: left - 1, columns },
            Place::Parameters { columns, .. } if !deprecates_eof => Place::EofAfterDefinitions { columns },
            Place::Parameters { columns: 0, .. } => Place::Finished,
            Place::Parameters { columns, .. } => Place::PreparedColumns { left: columns },
            Place::PreparedColumns { left } if left > 1 => Place::PreparedColumns { left: left - 1 },
            Place::PreparedColumns { .. } if !deprecates_eof => Place::EofAfterDefinitions { columns: 0 },
            Place::PreparedColumns { .. } | Place::Statistics => Place::Finished,
            same @ (Place::Start
            | Place::RowsAfterEof
            | Place::Rows
            | Place::Prepare { .. }
            | Place::EofAfterDefinitions { .. }
            | Place::FieldList
            | Place::Plain
            | Place::LocalInfile
            | Place::Events
            | Place::Finished) => same,
        }
    }
}
