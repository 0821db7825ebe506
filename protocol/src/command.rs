//! Commands: the first packet of every exchange after the login.
//!
//! Each byte is one of a closed set; what the session does with it is the session's business. Bodies are borrowed and
//! looked into only as far as their command says. Nothing here decides what is allowed.

pub mod attributes;
pub mod build;
#[cfg(feature = "connections")]
pub mod change_user;
pub mod dump;
pub mod execute;
pub mod query;

pub use attributes::{Attribute, Attributes};
#[cfg(feature = "connections")]
pub use change_user::ChangeUser;
pub use execute::{BoundTypes, ExecuteError, ExecuteView, RebuiltHead, TypesView, replace_statement};
pub use query::QueryView;

use crate::{Malformed, Reader};

/// First bytes of the commands this crate builds.
pub(crate) mod byte {
    pub(crate) const QUIT: u8 = 0x01;
    pub(crate) const INIT_DB: u8 = 0x02;
    pub(crate) const QUERY: u8 = 0x03;
    pub(crate) const PING: u8 = 0x0e;
    pub(crate) const CHANGE_USER: u8 = 0x11;
    pub(crate) const STMT_PREPARE: u8 = 0x16;
    pub(crate) const STMT_EXECUTE: u8 = 0x17;
    pub(crate) const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub(crate) const STMT_CLOSE: u8 = 0x19;
    pub(crate) const STMT_RESET: u8 = 0x1a;
    pub(crate) const SET_OPTION: u8 = 0x1b;
    pub(crate) const RESET_CONNECTION: u8 = 0x1f;
}

/// What COM_SET_OPTION switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetOption {
    /// Several statements per COM_QUERY are allowed from now on.
    MultiStatementsOn,
    /// They are no longer.
    MultiStatementsOff,
    /// A number MySQL does not know; it answers 1047.
    Unknown(u16),
}

/// One command of a client. Bodies borrow from the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// 0x00, inside the server only.
    Sleep,
    /// 0x01: the client leaves; no answer.
    Quit,
    /// 0x02: the schema to use.
    InitDb(&'a [u8]),
    /// 0x03: text, with attributes before it if they were agreed; see [`QueryView`].
    Query(&'a [u8]),
    /// 0x04: table, zero byte, wildcard.
    FieldList(&'a [u8]),
    /// 0x05, gone since 4.1.
    CreateDb(&'a [u8]),
    /// 0x06, gone since 4.1.
    DropDb(&'a [u8]),
    /// 0x07: what to flush.
    Refresh(&'a [u8]),
    /// 0x08.
    Shutdown,
    /// 0x09: answered by a bare string.
    Statistics,
    /// 0x0a.
    ProcessInfo,
    /// 0x0b, inside the server only.
    Connect,
    /// 0x0c: the connection to end.
    ProcessKill(u32),
    /// 0x0d.
    Debug,
    /// 0x0e.
    Ping,
    /// 0x0f, inside the server only.
    Time,
    /// 0x10, inside the server only.
    DelayedInsert,
    /// 0x11: the whole payload; see [`ChangeUser`].
    ChangeUser(&'a [u8]),
    /// 0x12: a replication stream by file and position.
    BinlogDump(&'a [u8]),
    /// 0x13.
    TableDump(&'a [u8]),
    /// 0x14, inside the server only.
    ConnectOut,
    /// 0x15: a replica names itself.
    RegisterReplica(&'a [u8]),
    /// 0x16: the text to prepare.
    StmtPrepare(&'a [u8]),
    /// 0x17: the whole payload; see [`ExecuteView`].
    StmtExecute {
        /// The statement.
        statement: u32,
        /// The whole payload, command byte included.
        payload: &'a [u8],
    },
    /// 0x18: a part of a parameter's value; no answer.
    StmtSendLongData {
        /// The statement.
        statement: u32,
        /// Which parameter, from 0.
        parameter: u16,
        /// The part.
        data: &'a [u8],
    },
    /// 0x19; no answer.
    StmtClose(u32),
    /// 0x1a: long data forgotten, cursor closed.
    StmtReset(u32),
    /// 0x1b.
    SetOption(SetOption),
    /// 0x1c: rows of a cursor.
    StmtFetch {
        /// The statement.
        statement: u32,
        /// How many rows at most.
        rows: u32,
    },
    /// 0x1d, inside the server only.
    Daemon,
    /// 0x1e: a replication stream by GTID.
    BinlogDumpGtid(&'a [u8]),
    /// 0x1f.
    ResetConnection,
    /// 0x20: a donor's copy of its data.
    Clone,
    /// 0x21.
    SubscribeGroupReplicationStream,
    /// Any other byte.
    Unknown(u8),
}

impl<'a> Command<'a> {
    /// Reads a command's payload. For a command that spans frames its beginning is enough where the body is text or a
    /// parameter's value.
    ///
    /// # Errors
    /// [`Malformed`] if the payload is empty or a fixed field of its command is missing.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let Ok(command) = reader.u8() else { return Err(Malformed::Truncated("command")) };
        Ok(match command {
            0x00 => Self::Sleep,
            byte::QUIT => Self::Quit,
            byte::INIT_DB => Self::InitDb(reader.rest()),
            byte::QUERY => Self::Query(reader.rest()),
            0x04 => Self::FieldList(reader.rest()),
            0x05 => Self::CreateDb(reader.rest()),
            0x06 => Self::DropDb(reader.rest()),
            0x07 => Self::Refresh(reader.rest()),
            0x08 => Self::Shutdown,
            0x09 => Self::Statistics,
            0x0a => Self::ProcessInfo,
            0x0b => Self::Connect,
            0x0c => Self::ProcessKill(reader.u32()?),
            0x0d => Self::Debug,
            byte::PING => Self::Ping,
            0x0f => Self::Time,
            0x10 => Self::DelayedInsert,
            byte::CHANGE_USER => Self::ChangeUser(payload),
            0x12 => Self::BinlogDump(reader.rest()),
            0x13 => Self::TableDump(reader.rest()),
            0x14 => Self::ConnectOut,
            0x15 => Self::RegisterReplica(reader.rest()),
            byte::STMT_PREPARE => Self::StmtPrepare(reader.rest()),
            byte::STMT_EXECUTE => Self::StmtExecute { statement: reader.u32()?, payload },
            byte::STMT_SEND_LONG_DATA => Self::StmtSendLongData {
                statement: reader.u32()?,
                parameter: reader.u16()?,
                data: reader.rest(),
            },
            byte::STMT_CLOSE => Self::StmtClose(reader.u32()?),
            byte::STMT_RESET => Self::StmtReset(reader.u32()?),
            byte::SET_OPTION => Self::SetOption(match reader.u16()? {
                0 => SetOption::MultiStatementsOn,
                1 => SetOption::MultiStatementsOff,
                other => SetOption::Unknown(other),
            }),
            0x1c => Self::StmtFetch { statement: reader.u32()?, rows: reader.u32()? },
            0x1d => Self::Daemon,
            0x1e => Self::BinlogDumpGtid(reader.rest()),
            byte::RESET_CONNECTION => Self::ResetConnection,
            0x20 => Self::Clone,
            0x21 => Self::SubscribeGroupReplicationStream,
            other => Self::Unknown(other),
        })
    }

    /// Whether a server sends nothing back for it.
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        matches!(self, Self::Quit | Self::StmtSendLongData { .. } | Self::StmtClose(_))
    }

    /// The command's name as MySQL's manual has it; bounded, so fit for logs and metric labels.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sleep => "COM_SLEEP",
            Self::Quit => "COM_QUIT",
            Self::InitDb(_) => "COM_INIT_DB",
            Self::Query(_) => "COM_QUERY",
            Self::FieldList(_) => "COM_FIELD_LIST",
            Self::CreateDb(_) => "COM_CREATE_DB",
            Self::DropDb(_) => "COM_DROP_DB",
            Self::Refresh(_) => "COM_REFRESH",
            Self::Shutdown => "COM_SHUTDOWN",
            Self::Statistics => "COM_STATISTICS",
            Self::ProcessInfo => "COM_PROCESS_INFO",
            Self::Connect => "COM_CONNECT",
            Self::ProcessKill(_) => "COM_PROCESS_KILL",
            Self::Debug => "COM_DEBUG",
            Self::Ping => "COM_PING",
            Self::Time => "COM_TIME",
            Self::DelayedInsert => "COM_DELAYED_INSERT",
            Self::ChangeUser(_) => "COM_CHANGE_USER",
            Self::BinlogDump(_) => "COM_BINLOG_DUMP",
            Self::TableDump(_) => "COM_TABLE_DUMP",
            Self::ConnectOut => "COM_CONNECT_OUT",
            Self::RegisterReplica(_) => "COM_REGISTER_REPLICA",
            Self::StmtPrepare(_) => "COM_STMT_PREPARE",
            Self::StmtExecute { .. } => "COM_STMT_EXECUTE",
            Self::StmtSendLongData { .. } => "COM_STMT_SEND_LONG_DATA",
            Self::StmtClose(_) => "COM_STMT_CLOSE",
            Self::StmtReset(_) => "COM_STMT_RESET",
            Self::SetOption(_) => "COM_SET_OPTION",
            Self::StmtFetch { .. } => "COM_STMT_FETCH",
            Self::Daemon => "COM_DAEMON",
            Self::BinlogDumpGtid(_) => "COM_BINLOG_DUMP_GTID",
            Self::ResetConnection => "COM_RESET_CONNECTION",
            Self::Clone => "COM_CLONE",
            Self::SubscribeGroupReplicationStream => "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM",
            Self::Unknown(_) => "unknown",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;

    #[test]
    fn every_byte_decodes_and_fixed_fields_are_demanded() {
        for command in 0..=u8::MAX {
            let payload = [command, 1, 0, 0, 0, 2, 0, 0, 0, 9];
            let decoded = Command::decode(&payload).unwrap();
            let unknown = matches!(decoded, Command::Unknown(_));
            assert_eq!(unknown, command > 0x21, "{command:#x} is {}", decoded.name());
            let fixed = matches!(command, 0x0c | 0x17..=0x1c);
            assert_eq!(Command::decode(&[command]).is_err(), fixed, "{command:#x}");
        }
        assert_eq!(Command::decode(&[]), Err(Malformed::Truncated("command")));
    }

    #[test]
    fn what_is_built_decodes() {
        use build::*;
        assert_eq!(Command::decode(&init_db(b"shop")), Ok(Command::InitDb(b"shop")));
        assert_eq!(Command::decode(&stmt_prepare(b"SELECT ?")), Ok(Command::StmtPrepare(b"SELECT ?")));
        assert_eq!(Command::decode(&stmt_close(7)), Ok(Command::StmtClose(7)));
        assert_eq!(Command::decode(&stmt_reset(7)), Ok(Command::StmtReset(7)));
        assert_eq!(Command::decode(&quit()), Ok(Command::Quit));
        assert_eq!(Command::decode(&ping()), Ok(Command::Ping));
        assert_eq!(Command::decode(&reset_connection()), Ok(Command::ResetConnection));
        let long = Command::StmtSendLongData { statement: 3, parameter: 1, data: b"xyz" };
        assert_eq!(Command::decode(&stmt_send_long_data(3, 1, b"xyz")), Ok(long));
        for option in [SetOption::MultiStatementsOn, SetOption::MultiStatementsOff, SetOption::Unknown(9)] {
            assert_eq!(Command::decode(&set_option(option)), Ok(Command::SetOption(option)));
        }
        let unanswered = [quit().to_vec(), stmt_close(1).to_vec(), stmt_send_long_data(1, 0, b"")];
        assert!(unanswered.iter().all(|payload| Command::decode(payload).unwrap().is_unanswered()));
    }
}
