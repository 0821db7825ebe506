//! Responses: where one ends, what the server told in it, and how it reaches a client that negotiated less than we did.
//!
//! [`ResponseRelay`] walks over frames and looks only at headers and first bytes; rows are never parsed and nothing is
//! collected but control packets, up to [`MAX_CONTROL_PACKET`]. Backend connections always have `PROTOCOL_41`,
//! `DEPRECATE_EOF`, `SESSION_TRACK`, `TRANSACTIONS` and never `OPTIONAL_RESULTSET_METADATA`; for clients without the
//! first two packets are added, shortened and renumbered. [`LocalInfileRelay`] is the way back for LOAD DATA LOCAL, and
//! [`AnswerReader`] collects the small answers to our own statements.
//!
//! This room must never hold rows of a client, wait, or decide what an outcome means for the session.

mod answer;
mod local_infile;
mod narrow;
mod place;
mod relay;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use self::answer::{Answer, AnswerLimits, AnswerReader, Row};
pub use self::local_infile::LocalInfileRelay;
pub use self::relay::ResponseRelay;

use crate::packet::{HEADER_LEN, Header};
use crate::{ErrPacket, Malformed, OkSummary};

/// The longest OK, ERR, LOCAL INFILE request or other control packet that is collected, in bytes of payload. Servers
/// stay far below it: messages have 512 bytes, trackers a few hundred.
pub const MAX_CONTROL_PACKET: usize = 1 << 20;

/// What kind of response a command gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// OK, ERR, LOCAL INFILE request or result sets: COM_QUERY, COM_PROCESS_INFO and the like.
    Query,
    /// As for a query, with rows in binary and possibly a cursor or OUT parameters: COM_STMT_EXECUTE.
    Execute,
    /// COM_STMT_PREPARE; the server's id is replaced by the client's.
    Prepare {
        /// The id by which the client is to know the statement.
        client_statement_id: u32,
    },
    /// Rows up to a final OK: COM_STMT_FETCH.
    Fetch,
    /// Events up to an error or, where the client asked not to wait, an end: COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID.
    BinlogStream,
    /// Column definitions up to a final OK: COM_FIELD_LIST.
    FieldList,
    /// One OK, EOF or ERR: COM_PING, COM_INIT_DB, COM_STMT_RESET, COM_RESET_CONNECTION, COM_SET_OPTION, COM_DEBUG.
    Plain,
    /// One packet of text, or ERR: COM_STATISTICS.
    Statistics,
    /// Nothing at all: COM_STMT_CLOSE, COM_STMT_SEND_LONG_DATA, COM_QUIT.
    Nothing,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Advance {
    /// Write `input[..bytes]` to the client, then drop the first `bytes + skip` from the input. Sequence ids and control
    /// packets in it were already changed to what the client is to see. May end within a packet.
    Forward {
        /// How much to write.
        bytes: usize,
        /// How much behind it was cut out.
        skip: usize,
        /// What the last packet in `bytes` told, if it told something.
        event: Option<ResponseEvent>,
    },
    /// Write this packet (header and all) to the client; the input stays as it is.
    Insert {
        /// An EOF packet that only this client gets.
        packet: [u8; 9],
    },
    /// Nothing until there is more input than now.
    NeedMore,
    /// The client was asked for a file: relay its packets with a [`LocalInfileRelay`] made with `shift`, then call
    /// [`ResponseRelay::local_infile_finished`].
    LocalInfile {
        /// How far the client's sequence ids are ahead of the server's.
        shift: u8,
    },
    /// The response has ended. Input that is left is no part of it.
    Complete,
}

/// What a control packet told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseEvent {
    /// A command or a result set is done; more may follow if its status says so.
    Ok {
        /// What the packet said, before anything was stripped from it.
        summary: OkSummary,
        /// How many columns the result set had that this ends; 0 if there was none.
        columns: u64,
        /// How many rows it had.
        rows: u64,
    },
    /// The command failed; nothing follows.
    Error(ErrPacket<'static>),
    /// A statement was prepared.
    Prepared(Prepared),
}

/// What the server said of a new prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// The server's id for it.
    pub server_statement_id: u32,
    /// How many columns its result has, 0 if none.
    pub columns: u16,
    /// How many parameters it takes.
    pub parameters: u16,
    /// How many warnings there are.
    pub warnings: u16,
}

/// Why a response can't be followed any further. The connection to the server is of no more use: always its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// A control packet is not in its form.
    #[error("a packet of the response is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// A control packet is longer than is ever collected.
    #[error("a control packet of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length, in bytes of payload.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A packet without a payload where there must be one.
    #[error("an empty packet within a response")]
    Empty,
    /// A packet that can't stand in this place.
    #[error("a packet that begins with {0:#04x} does not belong there")]
    Unexpected(u8),
    /// One of our own statements got more than its limits allow.
    #[error("the answer to an own statement is over its limit of {0}")]
    OverLimit(&'static str),
}

/// The header at this place and the frame's payload length.
fn header_at(input: &[u8], at: usize) -> Option<(Header, usize)> {
    let header = Header::parse(input.get(at..)?)?;
    Some((header, usize::try_from(header.length).unwrap_or(usize::MAX)))
}

/// The payload at this place, if all of it is there.
fn payload_at(input: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    input.get(at + HEADER_LEN..)?.get(..length)
}

/// Refuses control packets that would have to be collected beyond the limit.
fn check_control(length: usize, limit: usize) -> Result<(), ResponseError> {
    if length > limit { Err(ResponseError::TooLong { length, limit }) } else { Ok(()) }
}
