//! The frame walker. It looks at each byte of control packets once, at five bytes of any other packet, and never
//! again at what it has let pass.

use super::narrow::{Client, overwrite};
use super::place::{Kind, Place};
use super::{
    Advance, Expect, MAX_CONTROL_PACKET, Prepared, ResponseError, ResponseEvent, check_control, header_at,
    payload_at,
};
use crate::error_packet::ERR_HEADER;
use crate::ok_packet::{EOF_HEADER, EofPacket, OkPacket};
use crate::packet::{HEADER_LEN, MAX_FRAME_PAYLOAD};
use crate::{Capabilities, ErrPacket, Malformed, Reader, StatusFlags, TrackerFilter, WireAppend};

/// How long the first row of an executed statement may be to be held back until it is known whether it holds OUT
/// parameters, in bytes. Servers send a row this short only together with what follows (net_buffer_length is 16 KiB).
const MAX_HELD_ROW: usize = 8 << 10;

/// The flags that say something about more than the statement just done.
const LASTING: StatusFlags = StatusFlags::IN_TRANS
    .union(StatusFlags::AUTOCOMMIT)
    .union(StatusFlags::NO_BACKSLASH_ESCAPES)
    .union(StatusFlags::IN_TRANS_READONLY);

/// One command's response on its way from a server to a client. Sans I/O: give it what was read, do what it says.
#[derive(Debug)]
pub struct ResponseRelay {
    expect: Expect,
    client: Client,
    /// What the client knows as the state of its session; stands in EOF packets that are added.
    status: StatusFlags,
    place: Place,
    /// Columns of the current result set.
    columns: u64,
    /// Rows of it so far.
    rows: u64,
    /// Bytes of the current frame that were let through before they came.
    body: usize,
    /// Whether the next frame goes on with a packet whose first frame was full.
    continued: bool,
    /// How far the client's sequence ids are ahead, and the next one.
    shift: u8,
    next_sequence: u8,
}

/// Whether an EOF packet is to be added before the packet that comes next.
enum EofDue {
    Yes(StatusFlags),
    No,
    NotKnownYet,
}

impl ResponseRelay {
    /// For a client with these capabilities. `filter` says which trackers it is to see if it has `SESSION_TRACK`;
    /// `status` is what it was told last, for EOF packets that have to be added.
    #[must_use]
    pub fn new(expect: Expect, client: Capabilities, filter: TrackerFilter, status: StatusFlags) -> Self {
        Self {
            expect,
            client: Client { capabilities: client, filter },
            status: status & LASTING,
            place: Place::first(expect),
            columns: 0,
            rows: 0,
            body: 0,
            continued: false,
            shift: 0,
            next_sequence: 1,
        }
    }

    /// Whether the response has ended, as [`Advance::Complete`] would say.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.place == Place::Finished && self.body == 0 && !self.continued
    }

    /// The sequence id that the client expects next: for an ERR of our own that ends the response.
    #[must_use]
    pub const fn next_sequence(&self) -> u8 {
        self.next_sequence
    }

    /// Whether the client has been sent a part of a packet, so that nothing of our own may be put behind it.
    #[must_use]
    pub const fn is_within_packet(&self) -> bool {
        self.body > 0 || self.continued
    }

    /// The client's empty packet was passed to the server, whose answer comes next.
    pub fn local_infile_finished(&mut self) {
        if self.place == Place::LocalInfile {
            self.place = Place::Start;
        }
    }

    /// Looks at unread bytes from the server, changing in place what the client is to see differently. Call it until it
    /// says [`Advance::Complete`]; after [`Advance::NeedMore`] the input must begin with the same bytes.
    ///
    /// # Errors
    /// [`ResponseError`]: the end of the response can't be found any more.
    pub fn advance(&mut self, input: &mut [u8]) -> Result<Advance, ResponseError> {
        let mut at = 0;
        loop {
            let part = self.body.min(input.len() - at);
            at += part;
            self.body -= part;
            if self.body > 0 {
                return Ok(forward_or(at, Advance::NeedMore));
            }
            if self.continued {
                let Some((_, length)) = header_at(input, at) else {
                    return Ok(forward_or(at, Advance::NeedMore));
                };
                self.let_pass(input, at, length);
                at += HEADER_LEN;
                continue;
            }
            if self.place == Place::Rows {
                at = self.let_rows_pass(input, at);
            }
            if let Some(resting) = self.rest(input, at)? {
                return Ok(forward_or(at, resting));
            }
            let Some((first, length)) = packet_at(input, at)? else {
                return Ok(forward_or(at, Advance::NeedMore));
            };
            let kind = self.place.kind(first, length)?;
            if matches!(kind, Kind::Data | Kind::LastData) {
                self.let_pass(input, at, length);
                self.rows += u64::from(self.place == Place::Rows);
                let ended = matches!(kind, Kind::LastData);
                let next = self.place.after_data(self.client.deprecates_eof());
                self.place = if ended { Place::Finished } else { next };
                at += HEADER_LEN;
                continue;
            }
            check_control(length, MAX_CONTROL_PACKET)?;
            if payload_at(input, at, length).is_none() {
                return Ok(forward_or(at, Advance::NeedMore));
            }
            let (left, event) = self.control(&kind, input, at, length)?;
            at += HEADER_LEN + left;
            if event.is_some() || left < length {
                return Ok(Advance::Forward { bytes: at, skip: length - left, event });
            }
        }
    }

    /// What there is to do between packets, before the next one may be looked at.
    fn rest(&mut self, input: &[u8], at: usize) -> Result<Option<Advance>, ResponseError> {
        Ok(match self.place {
            Place::Finished => Some(Advance::Complete),
            Place::LocalInfile => Some(Advance::LocalInfile { shift: self.shift }),
            Place::RowsAfterEof => match self.eof_before_rows(input, at)? {
                EofDue::Yes(status) => Some(self.insert_eof(at, Place::Rows, status)),
                EofDue::NotKnownYet => Some(Advance::NeedMore),
                EofDue::No => None,
            },
            Place::EofAfterDefinitions { columns: 0 } => {
                Some(self.insert_eof(at, Place::Finished, self.status))
            }
            Place::EofAfterDefinitions { columns } => {
                Some(self.insert_eof(at, Place::PreparedColumns { left: columns }, self.status))
            }
            Place::Start
            | Place::Columns { .. }
            | Place::Rows
            | Place::Prepare { .. }
            | Place::Parameters { .. }
            | Place::PreparedColumns { .. }
            | Place::FieldList
            | Place::Plain
            | Place::Events
            | Place::Statistics => None,
        })
    }

    /// Lets rows through that are there as a whole, as most are, and says where the first packet begins that is to be looked
    /// at more closely.
    fn let_rows_pass(&mut self, input: &mut [u8], mut at: usize) -> usize {
        while let Some((_, length @ 1..MAX_FRAME_PAYLOAD)) = header_at(input, at) {
            let row = payload_at(input, at, length).and_then(<[u8]>::first);
            if matches!(row, None | Some(&(EOF_HEADER | ERR_HEADER))) {
                break;
            }
            self.renumber(input, at);
            self.rows += 1;
            at += HEADER_LEN + length;
        }
        at
    }

    /// Lets a frame through whose body may not have come yet.
    fn let_pass(&mut self, input: &mut [u8], at: usize, length: usize) {
        self.renumber(input, at);
        self.body = length;
        self.continued = length == MAX_FRAME_PAYLOAD;
    }

    fn renumber(&mut self, input: &mut [u8], at: usize) {
        if let Some(sequence) = input.get_mut(at + 3) {
            *sequence = sequence.wrapping_add(self.shift);
            self.next_sequence = sequence.wrapping_add(1);
        }
    }

    /// Reads a control packet that is completely there. Says how much of its payload is left for the client.
    fn control(
        &mut self,
        kind: &Kind,
        input: &mut [u8],
        at: usize,
        length: usize,
    ) -> Result<(usize, Option<ResponseEvent>), ResponseError> {
        self.renumber(input, at);
        let payload = input.get_mut(at + HEADER_LEN..).and_then(|rest| rest.get_mut(..length));
        let payload = payload.ok_or(Malformed::Truncated("payload"))?;
        match kind {
            Kind::Data | Kind::LastData => Ok((length, None)),
            Kind::Error => {
                self.place = Place::Finished;
                let error = ErrPacket::parse(payload)?.into_owned();
                Ok((length, Some(ResponseEvent::Error(error))))
            }
            Kind::LocalInfile => {
                self.place = Place::LocalInfile;
                Ok((length, None))
            }
            Kind::ColumnCount => {
                self.columns = Reader::new(payload).lenenc_int()?;
                if self.columns == 0 {
                    return Err(Malformed::Invalid("column count").into());
                }
                self.place = Place::Columns { left: self.columns };
                Ok((length, None))
            }
            Kind::Prepared { client_statement_id } => {
                let prepared = self.prepared(payload, *client_statement_id)?;
                Ok((length, Some(ResponseEvent::Prepared(prepared))))
            }
            Kind::Ok => {
                let (summary, left) = self.client.narrow(payload)?;
                if left < length {
                    let [a, b, c, _] = u32::try_from(left).unwrap_or_default().to_le_bytes();
                    overwrite(input, at, &[a, b, c]);
                }
                let more = summary.status.contains(StatusFlags::MORE_RESULTS_EXISTS);
                let repeats = matches!(self.expect, Expect::Query | Expect::Execute);
                self.place = if more && repeats { Place::Start } else { Place::Finished };
                self.status = summary.status & LASTING;
                let (columns, rows) = (std::mem::take(&mut self.columns), std::mem::take(&mut self.rows));
                Ok((left, Some(ResponseEvent::Ok { summary, columns, rows })))
            }
        }
    }

    /// Reads the answer to COM_STMT_PREPARE and puts the client's id into it.
    fn prepared(&mut self, payload: &mut [u8], client_statement_id: u32) -> Result<Prepared, Malformed> {
        let mut reader = Reader::new(payload);
        reader.u8()?;
        let server_statement_id = reader.u32()?;
        let (columns, parameters) = (reader.u16()?, reader.u16()?);
        reader.u8()?;
        let warnings = reader.u16()?;
        overwrite(payload, 1, &client_statement_id.to_le_bytes());
        self.place = match (parameters, columns) {
            (0, 0) => Place::Finished,
            (0, left) => Place::PreparedColumns { left },
            (left, columns) => Place::Parameters { left, columns },
        };
        Ok(Prepared { server_statement_id, columns, parameters, warnings })
    }

    /// An EOF packet for the client, unless something is to be written before it.
    fn insert_eof(&mut self, at: usize, next: Place, status: StatusFlags) -> Advance {
        if at > 0 {
            return Advance::NeedMore;
        }
        self.place = next;
        let mut packet = [0; 9];
        let mut rest = &mut packet[..];
        rest.push_bytes(&[5, 0, 0, self.next_sequence]);
        rest.push_bytes(&EofPacket { warnings: 0, status }.to_bytes());
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.shift = self.shift.wrapping_add(1);
        Advance::Insert { packet }
    }

    /// Whether the client gets an EOF packet here, and with which flags. Two things are told in it that we learn later:
    /// that a cursor was opened (it is then the only one) and that OUT parameters follow.
    fn eof_before_rows(&self, input: &[u8], at: usize) -> Result<EofDue, ResponseError> {
        let Some((first, length)) = packet_at(input, at)? else { return Ok(EofDue::NotKnownYet) };
        if first == EOF_HEADER && length < MAX_FRAME_PAYLOAD {
            check_control(length, MAX_CONTROL_PACKET)?;
            let Some(payload) = payload_at(input, at, length) else { return Ok(EofDue::NotKnownYet) };
            let status = OkPacket::parse(payload)?.status - StatusFlags::SESSION_STATE_CHANGED;
            // A cursor inside a procedure leaves this flag too, but there an OK follows.
            let only_one = self.expect == Expect::Execute
                && status.contains(StatusFlags::CURSOR_EXISTS)
                && !status.contains(StatusFlags::MORE_RESULTS_EXISTS);
            return Ok(if only_one { EofDue::No } else { EofDue::Yes(status) });
        }
        let out_parameters_possible = self.expect == Expect::Execute
            && self.client.capabilities.contains(Capabilities::PS_MULTI_RESULTS)
            && first != ERR_HEADER
            && length <= MAX_HELD_ROW;
        if !out_parameters_possible {
            return Ok(EofDue::Yes(self.status));
        }
        let behind = at + HEADER_LEN + length;
        let Some((first, length)) = packet_at(input, behind)? else { return Ok(EofDue::NotKnownYet) };
        if first != EOF_HEADER || length >= MAX_FRAME_PAYLOAD {
            return Ok(EofDue::Yes(self.status));
        }
        check_control(length, MAX_CONTROL_PACKET)?;
        let Some(payload) = payload_at(input, behind, length) else { return Ok(EofDue::NotKnownYet) };
        Ok(EofDue::Yes(OkPacket::parse(payload)?.status - StatusFlags::SESSION_STATE_CHANGED))
    }
}

/// First byte and frame length of the packet that begins here, once they are there.
fn packet_at(input: &[u8], at: usize) -> Result<Option<(u8, usize)>, ResponseError> {
    match header_at(input, at) {
        Some((_, 0)) => Err(ResponseError::Empty),
        Some((_, length)) => Ok(input.get(at + HEADER_LEN).map(|first| (*first, length))),
        None => Ok(None),
    }
}

/// What was let pass is written first.
fn forward_or(bytes: usize, otherwise: Advance) -> Advance {
    if bytes == 0 { otherwise } else { Advance::Forward { bytes, skip: 0, event: None } }
}
