//! Copies transactions out of a server's binary log, as a file that `mysqlbinlog` reads.
//!
//! Never here: which transactions, where the file lies.

use std::io::{self, Write};

use sluice_protocol::command::dump::{self, EventUse};
use sluice_protocol::packet::MAX_FRAME_PAYLOAD;
use sluice_protocol::{Answer, AnswerLimits, ErrPacket, GtidSet, frame_payload};

use super::{DialError, DirectConnection, Phase};
use crate::backend::stream::ReadError;

/// Events without checksums, which then fit in any file: the server takes them off.
const PLAIN: &str = "SET @source_binlog_checksum='NONE', @master_binlog_checksum='NONE'";
/// The answer to it.
const LIMITS: AnswerLimits = AnswerLimits { columns: 1, rows: 1, bytes: 1024 };
/// More than this is no tail: whoever wants it keeps the server's own logs.
const MOST_BYTES: u64 = 4 << 30;

/// What a packet of a dump begins with.
const EVENT: u8 = 0x00;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;

impl DirectConnection {
    /// Writes every transaction of the server's binary log that is not in `skip` to `file`; returns how many. The
    /// connection is of no more use afterwards.
    pub async fn copy_transactions(
        &mut self,
        skip: &GtidSet,
        file: &mut (dyn Write + Send),
    ) -> Result<u64, DialError> {
        let wrong = |what: &str| DialError::Protocol(what.to_owned());
        let lost = |source| DialError::Network { phase: Phase::FirstStatement, source };
        match self.query(PLAIN, LIMITS).await? {
            Answer::Ok(_) | Answer::Rows { .. } => {}
            Answer::Error(error) => return Err(DialError::Server(Box::new(error))),
        }
        let command =
            dump::binlog_dump_gtid(skip).ok_or_else(|| wrong("GTIDs with tags can't be asked for"))?;
        let mut bytes = bytes::BytesMut::new();
        frame_payload(&mut bytes, &mut 0, &command);
        self.io.write_all(&bytes).await.map_err(lost)?;
        self.io.flush().await.map_err(lost)?;
        file.write_all(&dump::MAGIC).map_err(lost)?;
        let (mut transactions, mut written) = (0, 0);
        loop {
            let mut frame = self.frame().await.map_err(lost)?;
            let kind = match frame.first() {
                Some(&EVENT) => dump::event_use(frame.get(1..).unwrap_or_default()),
                Some(&END) => return Ok(transactions),
                Some(&ERROR) => {
                    let error = ErrPacket::parse(&frame).map_err(|_| wrong("an error that can't be read"))?;
                    return Err(DialError::Server(Box::new(error.into_owned())));
                }
                Some(_) | None => return Err(wrong("no event")),
            };
            if kind == EventUse::Broken {
                return Err(wrong("an event that is too short"));
            }
            transactions += u64::from(kind == EventUse::Transaction);
            let mut start = 1;
            loop {
                if kind != EventUse::Left {
                    let part = frame.get(start..).unwrap_or_default();
                    written += part.len() as u64;
                    file.write_all(part).map_err(lost)?;
                }
                if written > MOST_BYTES {
                    return Err(wrong("they are more than 4 GiB"));
                }
                if frame.len() < MAX_FRAME_PAYLOAD {
                    break;
                }
                // A large event goes on in the next frame.
                (frame, start) = (self.frame().await.map_err(lost)?, 0);
            }
        }
    }

    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        match self.io.next_packet(MAX_FRAME_PAYLOAD).await {
            Ok(payload) => Ok(payload.to_vec()),
            Err(ReadError::Io(error)) => Err(error),
            Err(other) => Err(io::Error::other(other)),
        }
    }
}
