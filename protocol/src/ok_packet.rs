//! OK and EOF packets: how a server says that a command, or a result set, is done.
//!
//! With `DEPRECATE_EOF` a result set ends in an OK packet that begins with 0xFE; without it in an EOF packet. Both
//! begin with 0xFE and only the capabilities and the length tell them apart from a row.
//!
//! This file must never decide where a packet begins or whether it is an OK: that depends on its place in a response.

use bytes::BufMut;

use crate::{Capabilities, Malformed, Reader, SessionChanges, StatusFlags, WireAppend};

/// First byte of an OK packet that answers a command.
pub const OK_HEADER: u8 = 0x00;
/// First byte of what ends a result set: an EOF, or an OK under `DEPRECATE_EOF`.
pub const EOF_HEADER: u8 = 0xfe;
/// Bytes of an EOF packet's payload.
pub const EOF_LEN: usize = 5;

/// Which of the two places an OK packet stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OkKind {
    /// It is the answer to a command (0x00).
    Answer,
    /// It ends a result set, or stands for an EOF packet (0xFE).
    ResultEnd,
}

/// An OK packet, borrowed from its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OkPacket<'a> {
    /// Its place.
    pub kind: OkKind,
    /// Rows changed (or matched, under `FOUND_ROWS`).
    pub affected_rows: u64,
    /// First generated AUTO_INCREMENT value, 0 if none.
    pub last_insert_id: u64,
    /// State of the session after the command.
    pub status: StatusFlags,
    /// How many warnings there are.
    pub warnings: u16,
    /// Text for people, often empty.
    pub info: &'a [u8],
    /// Session trackers, to be read with [`SessionChanges::parse`]; often empty.
    pub session_changes: &'a [u8],
}

/// Where the parts lie that are edited in place, in bytes from the payload's beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OkLayout {
    pub(crate) status: usize,
    pub(crate) info: usize,
    pub(crate) changes: usize,
}

impl<'a> OkPacket<'a> {
    /// An answer with these flags and nothing else, as to COM_PING.
    #[must_use]
    pub const fn answer(status: StatusFlags) -> Self {
        Self {
            kind: OkKind::Answer,
            affected_rows: 0,
            last_insert_id: 0,
            status,
            warnings: 0,
            info: &[],
            session_changes: &[],
        }
    }

    /// Reads a payload. Servers write the text with a length before it whatever was negotiated, and trackers only
    /// under `SESSION_TRACK`, marked by a flag; so this needs no capabilities.
    ///
    /// # Errors
    /// [`Malformed`] if it is no OK packet. The trackers are not looked into.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_with_layout(payload).map(|(ok, _)| ok)
    }

    pub(crate) fn parse_with_layout(payload: &'a [u8]) -> Result<(Self, OkLayout), Malformed> {
        let mut reader = Reader::new(payload);
        let at = |reader: &Reader<'_>| payload.len() - reader.remaining();
        let kind = match reader.u8()? {
            OK_HEADER => OkKind::Answer,
            EOF_HEADER => OkKind::ResultEnd,
            _ => return Err(Malformed::Invalid("OK header")),
        };
        let affected_rows = reader.lenenc_int()?;
        let last_insert_id = reader.lenenc_int()?;
        let status_at = at(&reader);
        let status = StatusFlags::from_bits(reader.u16()?);
        let warnings = reader.u16()?;
        let info_at = at(&reader);
        // With neither text nor trackers the server leaves both lengths out.
        let info = if reader.is_empty() { &[] } else { reader.lenenc_bytes()? };
        let changes_at = at(&reader);
        let told = status.contains(StatusFlags::SESSION_STATE_CHANGED) && !reader.is_empty();
        let session_changes = if told { reader.lenenc_bytes()? } else { &[] };
        let ok = Self { kind, affected_rows, last_insert_id, status, warnings, info, session_changes };
        Ok((ok, OkLayout { status: status_at, info: info_at, changes: changes_at }))
    }

    /// Appends the payload as a client with these capabilities is to read it: without `SESSION_TRACK` no trackers,
    /// and without `DEPRECATE_EOF` an EOF packet instead of one that ends a result set.
    pub fn encode(&self, client: Capabilities, out: &mut impl BufMut) {
        let told = client.contains(Capabilities::SESSION_TRACK) && !self.session_changes.is_empty();
        let mut status = self.status - StatusFlags::SESSION_STATE_CHANGED;
        match self.kind {
            OkKind::ResultEnd if !client.contains(Capabilities::DEPRECATE_EOF) => {
                return EofPacket { warnings: self.warnings, status }.encode(out);
            }
            OkKind::ResultEnd => out.push_u8(EOF_HEADER),
            OkKind::Answer => out.push_u8(OK_HEADER),
        }
        if told {
            status |= StatusFlags::SESSION_STATE_CHANGED;
        }
        out.push_lenenc_int(self.affected_rows);
        out.push_lenenc_int(self.last_insert_id);
        out.push_u16(status.bits());
        out.push_u16(self.warnings);
        if told || !self.info.is_empty() {
            out.push_lenenc_bytes(self.info);
        }
        if told {
            out.push_lenenc_bytes(self.session_changes);
        }
    }

    /// The same without a tie to the payload and without the text.
    ///
    /// # Errors
    /// [`Malformed`] if the trackers are not in their form.
    pub fn to_summary(&self) -> Result<OkSummary, Malformed> {
        Ok(OkSummary {
            kind: self.kind,
            affected_rows: self.affected_rows,
            last_insert_id: self.last_insert_id,
            status: self.status,
            warnings: self.warnings,
            changes: SessionChanges::parse(self.session_changes)?,
        })
    }
}

/// What the session needs to know of an OK packet, owned. Allocates only for trackers with text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OkSummary {
    /// Its place.
    pub kind: OkKind,
    /// Rows changed (or matched, under `FOUND_ROWS`).
    pub affected_rows: u64,
    /// First generated AUTO_INCREMENT value, 0 if none.
    pub last_insert_id: u64,
    /// State of the session, as the server told it.
    pub status: StatusFlags,
    /// How many warnings there are.
    pub warnings: u16,
    /// What changed in the session.
    pub changes: SessionChanges,
}

/// An EOF packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EofPacket {
    /// How many warnings there are.
    pub warnings: u16,
    /// State of the session.
    pub status: StatusFlags,
}

impl EofPacket {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`Malformed`] if it is no EOF packet of the protocol since 4.1.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != EOF_HEADER || payload.len() != EOF_LEN {
            return Err(Malformed::Invalid("EOF packet"));
        }
        Ok(Self { warnings: reader.u16()?, status: StatusFlags::from_bits(reader.u16()?) })
    }

    /// The payload.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; EOF_LEN] {
        let [w0, w1] = self.warnings.to_le_bytes();
        let [s0, s1] = self.status.bits().to_le_bytes();
        [EOF_HEADER, w0, w1, s0, s1]
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.push_bytes(&self.to_bytes());
    }
}
