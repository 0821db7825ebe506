//! Collects the answer to one of our own statements: text protocol, one result, small. Never used for clients.

use super::{ResponseError, check_control, header_at, payload_at};
use crate::error_packet::ERR_HEADER;
use crate::ok_packet::{EOF_HEADER, OK_HEADER, OkPacket};
use crate::packet::HEADER_LEN;
use crate::{ErrPacket, Malformed, OkSummary, Reader, StatusFlags};

/// Values of one row as text, `None` for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// First byte of NULL in a text row.
const NULL: u8 = 0xfb;

/// What an answer may hold at most; over it is an error.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimits {
    /// Columns.
    pub columns: u64,
    /// Rows.
    pub rows: usize,
    /// Bytes of all packets together.
    pub bytes: usize,
}

impl Default for AnswerLimits {
    /// Enough for every statement that is sent on the data path's own behalf.
    fn default() -> Self {
        Self { columns: 64, rows: 1000, bytes: 1 << 20 }
    }
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done, no rows.
    Ok(OkSummary),
    /// A result set.
    Rows {
        /// The definitions of its columns, as they came.
        columns: Vec<Vec<u8>>,
        /// Its rows in order.
        rows: Vec<Row>,
        /// What its end told.
        end: OkSummary,
    },
    /// The statement failed.
    Error(ErrPacket<'static>),
}

/// Reads one answer from a backend connection with `DEPRECATE_EOF`.
#[derive(Debug)]
pub struct AnswerReader {
    limits: AnswerLimits,
    place: Place,
    columns: u64,
    definitions: Vec<Vec<u8>>,
    rows: Vec<Row>,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Start,
    Columns { left: u64 },
    Rows,
}

impl AnswerReader {
    /// For one answer within these limits.
    #[must_use]
    pub const fn new(limits: AnswerLimits) -> Self {
        Self { limits, place: Place::Start, columns: 0, definitions: Vec::new(), rows: Vec::new(), bytes: 0 }
    }

    /// Takes complete packets off the front of the input: how many bytes it has used, and the answer once complete.
    /// With no answer and fewer bytes used than given, the rest must come again with more behind it.
    ///
    /// # Errors
    /// [`ResponseError`]: over a limit, more than one result, a LOCAL INFILE request, or malformed.
    pub fn advance(&mut self, input: &[u8]) -> Result<(usize, Option<Answer>), ResponseError> {
        let mut at = 0;
        while let Some((_, length)) = header_at(input, at) {
            check_control(length, self.limits.bytes)?;
            let Some(payload) = payload_at(input, at, length) else { break };
            self.bytes = self.bytes.saturating_add(length + HEADER_LEN);
            if self.bytes > self.limits.bytes {
                return Err(ResponseError::OverLimit("bytes"));
            }
            at += HEADER_LEN + length;
            if let Some(answer) = self.packet(payload)? {
                return Ok((at, Some(answer)));
            }
        }
        Ok((at, None))
    }

    fn packet(&mut self, payload: &[u8]) -> Result<Option<Answer>, ResponseError> {
        let first = *payload.first().ok_or(ResponseError::Empty)?;
        if first == ERR_HEADER {
            return Ok(Some(Answer::Error(ErrPacket::parse(payload)?.into_owned())));
        }
        match self.place {
            // COM_SET_OPTION is answered by an OK packet with the header of an EOF packet.
            Place::Start if matches!(first, OK_HEADER | EOF_HEADER) => {
                return Ok(Some(Answer::Ok(last(payload)?)));
            }
            Place::Start if first == NULL => return Err(ResponseError::Unexpected(first)),
            Place::Start => {
                self.columns = Reader::new(payload).lenenc_int()?;
                if self.columns > self.limits.columns {
                    return Err(ResponseError::OverLimit("columns"));
                }
                self.place = Place::Columns { left: self.columns };
            }
            Place::Columns { left } => {
                self.definitions.push(payload.to_vec());
                self.place = if left > 1 { Place::Columns { left: left - 1 } } else { Place::Rows };
            }
            // Packets here are within the limit of bytes, so a value whose length begins with 0xFE is not among them.
            Place::Rows if first == EOF_HEADER => {
                let (columns, rows) = (std::mem::take(&mut self.definitions), std::mem::take(&mut self.rows));
                return Ok(Some(Answer::Rows { columns, rows, end: last(payload)? }));
            }
            Place::Rows if self.rows.len() >= self.limits.rows => {
                return Err(ResponseError::OverLimit("rows"));
            }
            Place::Rows => {
                let row = text_row(payload, self.columns)?;
                self.rows.push(row);
            }
        }
        Ok(None)
    }
}

/// The OK packet that ends the answer.
fn last(payload: &[u8]) -> Result<OkSummary, ResponseError> {
    let summary = OkPacket::parse(payload)?.to_summary()?;
    if summary.status.contains(StatusFlags::MORE_RESULTS_EXISTS) {
        return Err(ResponseError::OverLimit("one result"));
    }
    Ok(summary)
}

fn text_row(payload: &[u8], columns: u64) -> Result<Row, Malformed> {
    let mut reader = Reader::new(payload);
    let mut row = Row::new();
    for _ in 0..columns {
        row.push(if reader.peek() == Some(NULL) {
            reader.u8()?;
            None
        } else {
            Some(reader.lenenc_bytes()?.to_vec())
        });
    }
    if reader.is_empty() { Ok(row) } else { Err(Malformed::Invalid("row")) }
}
