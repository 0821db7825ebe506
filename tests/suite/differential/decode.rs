//! Answers of a server, packet by packet, in full and as text that can be compared.
//!
//! Every field of every packet ends up in [`Fields`]. Written apart from the proxy's relay.
//!
//! Never here: leaving something out because it may differ. That is `compare`'s, with a reason.

use std::fmt::Write as _;

use sluice_protocol::{Capabilities, Reader, StatusFlags};

use super::values::{binary_row, shown, text_row};
use super::wire::{Broken, Wire};

/// Results of one command at most.
const MOST_RESULTS: usize = 1000;

/// What was seen: name and value of each field, in the order of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(pub(super) Vec<(String, String)>);

impl Fields {
    pub(super) fn put(&mut self, prefix: &str, name: &str, value: impl Into<String>) {
        self.0.push((format!("{prefix}{name}"), value.into()));
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A column, as far as its values need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) kind: u8,
    pub(super) unsigned: bool,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    Text,
    Binary,
    /// A cursor was asked for; if it is opened, rows come when they are fetched.
    Cursor,
}

/// A statement that was prepared.
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared {
    pub(super) id: u32,
    pub(super) parameters: u16,
    pub(super) columns: Vec<Column>,
}

type Read<T> = Result<T, Broken>;

fn bad<E>(what: &'static str) -> impl FnOnce(E) -> Broken {
    move |_| Broken::Malformed(what)
}

/// Reads answers with the capabilities agreed at login.
pub(super) struct Answers<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) agreed: Capabilities,
    pub(super) seen: &'a mut Fields,
}

impl Answers<'_> {
    fn no_eof(&self) -> bool {
        self.agreed.contains(Capabilities::DEPRECATE_EOF)
    }

    /// Whether a packet at the place of a row ends the rows.
    fn ends_rows(&self, packet: &[u8]) -> bool {
        packet.first() == Some(&0xfe) && packet.len() < if self.no_eof() { 0xff_ffff } else { 9 }
    }

    /// The answer to a COM_QUERY or COM_STMT_EXECUTE: any number of results. `file` is what a LOCAL INFILE
    /// request gets. The columns of the last result set are given back, for a cursor.
    pub(super) async fn results(&mut self, rows: Rows, file: &[Vec<u8>]) -> Read<Vec<Column>> {
        let mut columns = Vec::new();
        for number in 1..=MOST_RESULTS {
            let prefix = if number == 1 { String::new() } else { format!("result {number} ") };
            let first = self.wire.read().await?;
            let status = match first.first() {
                Some(0x00) => self.ok(&prefix, &first)?,
                Some(0xff) => return self.error(&prefix, &first).map(|()| columns),
                Some(0xfb) => {
                    self.seen.put(&prefix, "asks for file", shown(&first[1..]));
                    for part in file {
                        self.wire.write(part).await?;
                    }
                    self.wire.write(&[]).await?;
                    let last = self.wire.read().await?;
                    match last.first() {
                        Some(0x00) => self.ok(&prefix, &last)?,
                        Some(0xff) => return self.error(&prefix, &last).map(|()| columns),
                        _ => return Err(Broken::Malformed("answer to a file")),
                    }
                }
                _ => match self.result_set(&prefix, &first, rows, &mut columns).await? {
                    Some(status) => status,
                    None => return Ok(columns),
                },
            };
            if !status.contains(StatusFlags::MORE_RESULTS_EXISTS) {
                return Ok(columns);
            }
        }
        Err(Broken::Malformed("results without end"))
    }

    /// `None` when it ended in an error.
    async fn result_set(
        &mut self,
        prefix: &str,
        first: &[u8],
        rows: Rows,
        columns: &mut Vec<Column>,
    ) -> Read<Option<StatusFlags>> {
        let mut reader = Reader::new(first);
        let count = reader.lenenc_int().map_err(bad("column count"))?;
        let mut defined = true;
        let mut more = StatusFlags::empty();
        if self.agreed.contains(Capabilities::OPTIONAL_RESULTSET_METADATA) {
            let flag = reader.u8().map_err(bad("metadata flag"))?;
            self.seen.put(prefix, "metadata follows", flag.to_string());
            defined = flag != 0;
        }
        if !reader.is_empty() {
            return Err(Broken::Malformed("something behind the column count"));
        }
        self.seen.put(prefix, "column count", count.to_string());
        if defined {
            columns.clear();
            for number in 1..=count {
                let packet = self.wire.read().await?;
                columns.push(self.column(prefix, &format!("column {number}"), &packet)?);
            }
            if !self.no_eof() {
                let packet = self.wire.read().await?;
                let status = self.eof(prefix, "after columns ", &packet)?;
                if rows == Rows::Cursor && status.contains(StatusFlags::CURSOR_EXISTS) {
                    return Ok(Some(status));
                }
                if status.contains(StatusFlags::PS_OUT_PARAMS) {
                    // An OK follows, though the end of the row does not say so (seen on 9.7.4).
                    more = StatusFlags::MORE_RESULTS_EXISTS;
                }
            }
        } else {
            let text = Column { kind: 0xfd, unsigned: false };
            columns.resize(usize::try_from(count).map_err(bad("column count"))?, text);
        }
        Ok(self.rows(prefix, rows, columns).await?.map(|status| status | more))
    }

    /// Rows to their end; `None` when that was an error.
    pub(super) async fn rows(
        &mut self,
        prefix: &str,
        rows: Rows,
        columns: &[Column],
    ) -> Read<Option<StatusFlags>> {
        let (mut text, mut count) = (String::new(), 0);
        loop {
            let packet = self.wire.read().await?;
            let end = packet.first() == Some(&0xff) || self.ends_rows(&packet);
            if end {
                self.seen.put(prefix, "row count", count.to_string());
                self.seen.put(prefix, "rows", text);
                return match packet.first() {
                    Some(0xff) => self.error(prefix, &packet).map(|()| None),
                    _ if self.no_eof() => self.ok(prefix, &packet).map(Some),
                    _ => self.eof(prefix, "", &packet).map(Some),
                };
            }
            let row = match rows {
                Rows::Text => text_row(&packet, columns.len()),
                Rows::Binary | Rows::Cursor => binary_row(&packet, columns),
            };
            let row = row.unwrap_or_else(|| format!("malformed: {}", shown(&packet)));
            let _ = writeln!(text, "{row}");
            count += 1;
        }
    }

    /// The answer to a COM_STMT_PREPARE; `None` when it is an error.
    pub(super) async fn prepared(&mut self) -> Read<Option<Prepared>> {
        let first = self.wire.read().await?;
        if first.first() == Some(&0xff) {
            return self.error("", &first).map(|()| None);
        }
        let mut reader = Reader::new(&first);
        let mut head = || -> Result<_, sluice_protocol::Malformed> {
            let marker = reader.u8()?;
            let (id, columns, parameters, filler) =
                (reader.u32()?, reader.u16()?, reader.u16()?, reader.u8()?);
            Ok((marker, id, columns, parameters, filler, reader.u16()?))
        };
        let (marker, id, columns, parameters, filler, warnings) = head().map_err(bad("prepare"))?;
        if marker != 0 || filler != 0 {
            return Err(Broken::Malformed("prepare"));
        }
        self.seen.put("", "prepared columns", columns.to_string());
        self.seen.put("", "prepared parameters", parameters.to_string());
        self.seen.put("", "warnings", warnings.to_string());
        let rest = reader.rest();
        if !rest.is_empty() {
            self.seen.put("", "metadata follows", shown(rest));
        }
        let mut prepared = Prepared { id, parameters, columns: Vec::new() };
        if rest.first() == Some(&0) {
            return Ok(Some(prepared));
        }
        for number in 1..=parameters {
            let packet = self.wire.read().await?;
            self.column("", &format!("parameter {number}"), &packet)?;
        }
        if parameters > 0 && !self.no_eof() {
            let packet = self.wire.read().await?;
            self.eof("", "after parameters ", &packet)?;
        }
        for number in 1..=columns {
            let packet = self.wire.read().await?;
            let column = self.column("", &format!("column {number}"), &packet)?;
            prepared.columns.push(column);
        }
        if columns > 0 && !self.no_eof() {
            let packet = self.wire.read().await?;
            self.eof("", "after columns ", &packet)?;
        }
        Ok(Some(prepared))
    }

    /// One packet: OK, EOF or ERR.
    pub(super) async fn plain(&mut self) -> Read<()> {
        let packet = self.wire.read().await?;
        match packet.first() {
            Some(0x00) => self.ok("", &packet).map(drop),
            Some(0xfe) if packet.len() < 9 && !self.no_eof() => self.eof("", "", &packet).map(drop),
            Some(0xfe) => self.ok("", &packet).map(drop),
            Some(0xff) => self.error("", &packet),
            _ => {
                self.seen.put("", "answer", shown(&packet));
                Ok(())
            }
        }
    }

    /// The answer to a COM_FIELD_LIST.
    pub(super) async fn field_list(&mut self) -> Read<()> {
        for number in 1.. {
            let packet = self.wire.read().await?;
            if packet.first() == Some(&0xff) {
                return self.error("", &packet);
            }
            if self.ends_rows(&packet) {
                return if packet.len() < 9 && !self.no_eof() {
                    self.eof("", "", &packet).map(drop)
                } else {
                    self.ok("", &packet).map(drop)
                };
            }
            self.column("", &format!("column {number}"), &packet)?;
        }
        Ok(())
    }

    fn column(&mut self, prefix: &str, name: &str, packet: &[u8]) -> Read<Column> {
        let mut reader = Reader::new(packet);
        let mut fields = || -> Result<(String, Column), sluice_protocol::Malformed> {
            let mut text = String::new();
            for label in ["", " ", ".", " of ", ".", " as "] {
                let _ = write!(text, "{label}{}", shown(reader.lenenc_bytes()?));
            }
            let length = reader.lenenc_int()?;
            let (charset, size, kind, flags, decimals, filler) =
                (reader.u16()?, reader.u32()?, reader.u8()?, reader.u16()?, reader.u8()?, reader.u16()?);
            let _ = write!(
                text,
                " type {kind} charset {charset} size {size} flags {flags:#06x} decimals {decimals}"
            );
            if length != 12 || filler != 0 || !reader.is_empty() {
                let _ = write!(text, " then {length} {filler} {}", shown(reader.rest()));
            }
            Ok((text, Column { kind, unsigned: flags & 0x20 != 0 }))
        };
        let (text, column) = fields().map_err(bad("column"))?;
        self.seen.put(prefix, name, text);
        Ok(column)
    }

    fn eof(&mut self, prefix: &str, place: &str, packet: &[u8]) -> Read<StatusFlags> {
        let [0xfe, w0, w1, s0, s1] = *packet else {
            self.seen.put(prefix, "in place of EOF", shown(packet));
            return Err(Broken::Malformed("EOF"));
        };
        let status = StatusFlags::from_bits(u16::from_le_bytes([s0, s1]));
        self.seen.put(prefix, &format!("{place}warnings"), u16::from_le_bytes([w0, w1]).to_string());
        self.seen.put(prefix, &format!("{place}status"), format!("{status:?}"));
        Ok(status)
    }

    /// An OK packet, also in the form that ends rows.
    pub(super) fn ok(&mut self, prefix: &str, packet: &[u8]) -> Read<StatusFlags> {
        let mut reader = Reader::new(packet);
        let mut head = || -> Result<_, sluice_protocol::Malformed> {
            reader.u8()?;
            Ok((
                reader.lenenc_int()?,
                reader.lenenc_int()?,
                StatusFlags::from_bits(reader.u16()?),
                reader.u16()?,
            ))
        };
        let (affected, id, status, warnings) = head().map_err(bad("OK"))?;
        self.seen.put(prefix, "affected rows", affected.to_string());
        self.seen.put(prefix, "insert id", id.to_string());
        self.seen.put(prefix, "status", format!("{status:?}"));
        self.seen.put(prefix, "warnings", warnings.to_string());
        if reader.is_empty() {
            return Ok(status);
        }
        if !self.agreed.contains(Capabilities::SESSION_TRACK) {
            self.seen.put(prefix, "info", shown(reader.rest()));
            return Ok(status);
        }
        self.seen.put(prefix, "info", shown(reader.lenenc_bytes().map_err(bad("info"))?));
        if status.contains(StatusFlags::SESSION_STATE_CHANGED) {
            let trackers = reader.lenenc_bytes().map_err(bad("trackers"))?;
            self.seen.put(prefix, "trackers", trackers_text(trackers)?);
        }
        if !reader.is_empty() {
            return Err(Broken::Malformed("something behind an OK"));
        }
        Ok(status)
    }

    fn error(&mut self, prefix: &str, packet: &[u8]) -> Read<()> {
        let mut reader = Reader::new(packet);
        let _ = reader.u8();
        let code = reader.u16().map_err(bad("error"))?;
        let state = match reader.peek() {
            Some(b'#') => shown(&reader.take(6).map_err(bad("SQLSTATE"))?[1..]),
            _ => "none".into(),
        };
        self.seen.put(prefix, "error", format!("{code} ({state})"));
        self.seen.put(prefix, "message", shown(reader.rest()));
        Ok(())
    }
}

/// Session trackers, one a line. GTIDs are counted: their numbers depend on everything else on the server.
fn trackers_text(bytes: &[u8]) -> Read<String> {
    let mut reader = Reader::new(bytes);
    let mut text = String::new();
    while !reader.is_empty() {
        let mut next = || Ok::<_, sluice_protocol::Malformed>((reader.u8()?, reader.lenenc_bytes()?));
        let (kind, data) = next().map_err(bad("tracker"))?;
        let mut inner = Reader::new(data);
        let mut part = || inner.lenenc_bytes().map_err(bad("tracker data"));
        let line = match kind {
            0 => format!("variable {}={}", shown(part()?), shown(part()?)),
            1 => format!("schema {}", shown(part()?)),
            2 => format!("state changed {}", shown(inner.rest())),
            3 => {
                if inner.u8().map_err(bad("GTID encoding"))? != 0 {
                    return Err(Broken::Malformed("GTID encoding"));
                }
                gtids(&shown(inner.lenenc_bytes().map_err(bad("GTIDs"))?))
            }
            4 => format!("characteristics {}", shown(part()?)),
            5 => format!("transaction {}", shown(part()?)),
            _ => return Err(Broken::Malformed("kind of tracker")),
        };
        if !inner.is_empty() {
            return Err(Broken::Malformed("something behind a tracker"));
        }
        let _ = writeln!(text, "{line}");
    }
    Ok(text)
}

/// How many transactions a set of one server's GTIDs has: `uuid:4-5:9` has 3.
fn gtids(set: &str) -> String {
    let count: u64 = set
        .split(':')
        .skip(1)
        .map(|interval| {
            let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
            match (first.parse::<u64>(), last.parse::<u64>()) {
                (Ok(first), Ok(last)) => last.saturating_sub(first) + 1,
                _ => 0,
            }
        })
        .sum();
    format!("GTIDs of {count}")
}
