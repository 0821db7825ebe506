//! Error packets: read from instances, and the few this project writes itself.
//!
//! Only the codes of [`ErrorCode`] are ever written; any other error a client sees is a server's own, unchanged. Which
//! failure becomes which code is decided by the session, never here.

use std::borrow::Cow;

use crate::{Capabilities, Malformed, Reader, WireAppend};

/// First byte of an error packet.
pub const ERR_HEADER: u8 = 0xff;

/// MySQL cuts messages at this many bytes, and so do we.
const MAX_MESSAGE: usize = 512;

/// The errors this project writes itself, with MySQL's own number and SQLSTATE for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// 1040: a limit on connections is reached.
    TooManyConnections,
    /// 1041: there is no memory for it.
    OutOfMemory,
    /// 1043: the login is not understood.
    BadHandshake,
    /// 1045: wrong user, password or network.
    AccessDenied,
    /// 1047: a command that is not served.
    UnknownCommand,
    /// 1053: certainly not executed, the connection ends.
    ServerShutdown,
    /// 1094: KILL of an id that is not there.
    NoSuchThread,
    /// 1095: KILL of another account's session.
    NotOwner,
    /// 1153: the packet is over a limit.
    PacketTooLarge,
    /// 1180 with SQLSTATE 08007: the outcome of a transaction is unknown, the connection ends.
    OutcomeUnknown,
    /// 1213: the transaction is rolled back, the session lives.
    RolledBack,
    /// 1243: a prepared statement that is not there.
    UnknownStatement,
    /// 1251: the client knows no authentication plugins.
    NoPluginSupport,
    /// 1290: a write where only reads are served.
    ReadOnly,
    /// 1317: a KILL reached it.
    Interrupted,
    /// 1421: a prepared statement without an open cursor.
    NoOpenCursor,
    /// 1461: too many prepared statements.
    TooManyStatements,
    /// 1792: a write in a read-only transaction.
    ReadOnlyTransaction,
    /// 1835: a packet that does not have the form of its command.
    MalformedPacket,
    /// 3159: TLS is demanded.
    SecureTransportRequired,
}

impl ErrorCode {
    /// The number, as MySQL has it.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::TooManyConnections => 1040,
            Self::OutOfMemory => 1041,
            Self::BadHandshake => 1043,
            Self::AccessDenied => 1045,
            Self::UnknownCommand => 1047,
            Self::ServerShutdown => 1053,
            Self::NoSuchThread => 1094,
            Self::NotOwner => 1095,
            Self::PacketTooLarge => 1153,
            Self::OutcomeUnknown => 1180,
            Self::RolledBack => 1213,
            Self::UnknownStatement => 1243,
            Self::NoPluginSupport => 1251,
            Self::ReadOnly => 1290,
            Self::Interrupted => 1317,
            Self::NoOpenCursor => 1421,
            Self::TooManyStatements => 1461,
            Self::ReadOnlyTransaction => 1792,
            Self::MalformedPacket => 1835,
            Self::SecureTransportRequired => 3159,
        }
    }

    /// The SQLSTATE that goes with it; 08007 (outcome unknown) for 1180 is ours, the others are MySQL's.
    #[must_use]
    pub const fn sql_state(self) -> SqlState {
        match self {
            Self::TooManyConnections | Self::NoPluginSupport => *b"08004",
            Self::BadHandshake | Self::UnknownCommand | Self::ServerShutdown | Self::PacketTooLarge => {
                *b"08S01"
            }
            Self::AccessDenied => *b"28000",
            Self::OutcomeUnknown => *b"08007",
            Self::RolledBack => *b"40001",
            Self::TooManyStatements => *b"42000",
            Self::ReadOnlyTransaction => *b"25006",
            Self::Interrupted => *b"70100",
            Self::OutOfMemory
            | Self::NoSuchThread
            | Self::NotOwner
            | Self::UnknownStatement
            | Self::ReadOnly
            | Self::NoOpenCursor
            | Self::MalformedPacket
            | Self::SecureTransportRequired => *b"HY000",
        }
    }

    /// What a message with this code begins with: MySQL's own words as far as they have no arguments, since
    /// applications look for them.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::TooManyConnections => "Too many connections",
            Self::OutOfMemory => {
                "Out of memory; check if mysqld or some other process uses all available memory; if not, you may have to use \
                 'ulimit' to allow mysqld to use more memory or you can add more swap space"
            }
            Self::BadHandshake => "Bad handshake",
            Self::AccessDenied => "Access denied",
            Self::UnknownCommand => "Unknown command",
            Self::ServerShutdown => "Server shutdown in progress",
            Self::NoSuchThread => "Unknown thread id",
            Self::NotOwner => "You are not owner of thread",
            Self::PacketTooLarge => "Got a packet bigger than 'max_allowed_packet' bytes",
            Self::OutcomeUnknown => "Got error during COMMIT, its outcome is unknown",
            Self::RolledBack => "Deadlock found when trying to get lock; try restarting transaction",
            Self::UnknownStatement => "Unknown prepared statement handler",
            Self::NoPluginSupport => {
                "Client does not support authentication protocol requested by server; consider upgrading MySQL client"
            }
            Self::ReadOnly => {
                "The MySQL server is running with the --read-only option so it cannot execute this statement"
            }
            Self::Interrupted => "Query execution was interrupted",
            Self::NoOpenCursor => "The statement has no open cursor.",
            Self::TooManyStatements => "Can't create more than max_prepared_stmt_count statements",
            Self::ReadOnlyTransaction => "Cannot execute statement in a READ ONLY transaction.",
            Self::MalformedPacket => "Malformed communication packet.",
            Self::SecureTransportRequired => {
                "Connections using insecure transport are prohibited while --require_secure_transport=ON."
            }
        }
    }
}

/// Five characters that class an error.
pub type SqlState = [u8; 5];

/// An error packet, read or to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    /// MySQL's error number.
    pub code: u16,
    /// Absent in errors that come instead of a greeting.
    pub sql_state: Option<SqlState>,
    /// The text, in the character set of the session.
    pub message: Cow<'a, [u8]>,
}

impl<'a> ErrPacket<'a> {
    /// Reads a payload that begins with 0xFF, with or without SQLSTATE.
    ///
    /// # Errors
    /// [`Malformed`] if it is none or ends within its code.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != ERR_HEADER {
            return Err(Malformed::Invalid("error header"));
        }
        let code = reader.u16()?;
        let mut marked = reader;
        let sql_state = match (marked.u8(), marked.take_array()) {
            (Ok(b'#'), Ok(state)) => {
                reader = marked;
                Some(state)
            }
            (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
        };
        Ok(Self { code, sql_state, message: Cow::Borrowed(reader.rest()) })
    }

    /// The same without a tie to the buffer it was read from.
    #[must_use]
    pub fn into_owned(self) -> ErrPacket<'static> {
        ErrPacket {
            code: self.code,
            sql_state: self.sql_state,
            message: Cow::Owned(self.message.into_owned()),
        }
    }

    /// The payload as a peer with capabilities `caps` reads it: without `PROTOCOL_41` (also: instead of a greeting) the
    /// SQLSTATE is left out.
    #[must_use]
    pub fn encode(&self, caps: Capabilities) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.message.len());
        out.push_u8(ERR_HEADER);
        out.push_u16(self.code);
        if caps.contains(Capabilities::PROTOCOL_41) {
            out.push_u8(b'#');
            out.push_bytes(&self.sql_state.unwrap_or(*b"HY000"));
        }
        out.push_bytes(&self.message);
        out
    }
}

impl ErrPacket<'static> {
    /// One of our own, with exactly `message` (cut at MySQL's limit of 512 bytes).
    #[must_use]
    pub fn with_message(code: ErrorCode, message: &str) -> Self {
        let end = message.floor_char_boundary(MAX_MESSAGE);
        let cut = message.get(..end).unwrap_or_default();
        Self {
            code: code.number(),
            sql_state: Some(code.sql_state()),
            message: Cow::Owned(cut.as_bytes().to_vec()),
        }
    }

    /// One of our own: MySQL's text for it and, unless empty, `detail` in parentheses.
    #[must_use]
    pub fn own(code: ErrorCode, detail: &str) -> Self {
        if detail.is_empty() {
            Self::with_message(code, code.text())
        } else {
            Self::with_message(code, &format!("{} ({detail})", code.text()))
        }
    }

    /// 1045 in MySQL's wording. `used_password` is whether the client sent one.
    #[must_use]
    pub fn access_denied(user: &[u8], host: &str, used_password: bool) -> Self {
        let user = String::from_utf8_lossy(user);
        let used = if used_password { "YES" } else { "NO" };
        let message = format!("Access denied for user '{user}'@'{host}' (using password: {used})");
        Self::with_message(ErrorCode::AccessDenied, &message)
    }

    /// 1094 in MySQL's wording.
    #[must_use]
    pub fn no_such_thread(id: u64) -> Self {
        Self::with_message(ErrorCode::NoSuchThread, &format!("Unknown thread id: {id}"))
    }

    /// 1095 in MySQL's wording.
    #[must_use]
    pub fn not_owner(id: u64) -> Self {
        Self::with_message(ErrorCode::NotOwner, &format!("You are not owner of thread {id}"))
    }

    /// 1243 in MySQL's wording, the same for every command that names one.
    #[must_use]
    pub fn unknown_statement(id: u32) -> Self {
        let message = format!("Unknown prepared statement handler ({id}) given to mysql_stmt_precheck");
        Self::with_message(ErrorCode::UnknownStatement, &message)
    }

    /// 1421 in MySQL's wording.
    #[must_use]
    pub fn no_open_cursor(id: u32) -> Self {
        Self::with_message(ErrorCode::NoOpenCursor, &format!("The statement ({id}) has no open cursor."))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_instead_of_the_greeting_has_no_sqlstate() {
        let payload = b"\xff\x10\x04Too many connections";
        let error = ErrPacket::parse(payload).unwrap();
        assert_eq!((error.code, error.sql_state), (1040, None));
        assert_eq!(&*error.message, b"Too many connections");
        let own = ErrPacket::own(ErrorCode::TooManyConnections, "");
        assert_eq!(own.encode(Capabilities::empty()), payload);
        assert_eq!(own.encode(Capabilities::PROTOCOL_41), b"\xff\x10\x04#08004Too many connections");
    }

    #[test]
    fn wordings_are_the_servers() {
        let denied = ErrPacket::access_denied(b"app", "10.0.0.9", true);
        assert_eq!(
            denied.encode(Capabilities::PROTOCOL_41),
            b"\xff\x15\x04#28000Access denied for user 'app'@'10.0.0.9' (using password: YES)"
        );
        let rolled_back = ErrPacket::own(ErrorCode::RolledBack, "switchover");
        assert!(
            rolled_back
                .message
                .starts_with(b"Deadlock found when trying to get lock; try restarting transaction")
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = ErrPacket::with_message(ErrorCode::BadHandshake, &"ä".repeat(400));
        assert_eq!(error.message.len(), 512);
        let error = ErrPacket::with_message(ErrorCode::BadHandshake, &format!("x{}", "ä".repeat(400)));
        assert_eq!(error.message.len(), 511);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(code: u16, state in "[0-9A-Z]{5}", message: Vec<u8>) {
            let state = *state.as_bytes().first_chunk().unwrap();
            let error = ErrPacket { code, sql_state: Some(state), message: Cow::Borrowed(&message) };
            let payload = error.encode(Capabilities::PROTOCOL_41);
            prop_assert_eq!(ErrPacket::parse(&payload).unwrap(), error);
        }
    }
}
