//! The one place where failures become what a client sees.
//!
//! A failure is described by what is known about the statement and about the session; [`answer`] turns it
//! into the packet and decides whether the session lives. The contract with clients is the table in
//! section "What a client may see" of the README.
//!
//! Never here: I/O, a decision whether something failed.

use sluice_protocol::{ErrPacket, ErrorCode};

use crate::feed::registry::slot_of;

/// Why a statement, or the session, can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The open transaction is gone with its server or by order of a switchover; nothing of it was committed.
    RolledBack(Cause),
    /// The statement was certainly not executed and the session can't go on.
    NotExecuted(Cause),
    /// The statement was sent and the connection was lost before its answer: it may have been committed.
    OutcomeUnknown,
    /// The client broke the protocol.
    Client(ClientFault),
    /// What a server said to us while we worked for the client (login, schema, state): passed on unchanged.
    Server(Box<ErrPacket<'static>>),
    /// The connection that a question is about is not at hand any more: it is answered from what is known.
    AskedTooLate,
    /// A server's error that was held back at first has been passed on: nothing more to say.
    AlreadyAnswered,
    /// The answer broke off in its middle: nothing true can be said any more.
    AnswerCut,
    /// Routing refuses the statement, with MySQL's own error.
    Refused(Box<ErrPacket<'static>>),
}

/// What happened to the session's place on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// The instance was lost.
    InstanceLost,
    /// A switchover with `on_leftover = kill` ended it.
    Switchover,
    /// There was no primary for the whole hold limit.
    NoPrimary,
    /// The instance could not be reached or did not take the session within the limit.
    Unreachable,
    /// No replica serves reads, and the primary may not serve in its place.
    NoReplica,
    /// State that can't be moved was lost with its instance.
    StateLost,
    /// A read-only transaction was to tie the session to its replica.
    TiesToReplica,
    /// State that can't be moved is on a replica, which can't run the statement.
    HeldByReplica,
    /// Sluice stops.
    Shutdown,
    /// A binlog stream ended with the role or service of its instance, or with Sluice.
    StreamEnded,
}

impl Cause {
    const fn sentence(self) -> &'static str {
        match self {
            Self::InstanceLost => "the connection to the database server was lost",
            Self::Switchover => "a switchover to another primary ended it",
            Self::NoPrimary => "there is no primary to send it to",
            Self::Unreachable => "no server could take it within the hold limit",
            Self::NoReplica => "no replica serves reads and replica_fallback is off",
            Self::StateLost => "the session held state on a server that was lost",
            Self::TiesToReplica => {
                "it runs on a replica, where this can't be done; repeated, it runs on the primary"
            }
            Self::HeldByReplica => "the session holds state on a replica, where this can't be done",
            Self::Shutdown => "the proxy is stopping",
            Self::StreamEnded => "the server of this binlog stream is no longer served here; connect again",
        }
    }
}

/// What a client did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFault {
    /// A command that Sluice does not serve.
    UnknownCommand(u8),
    /// A packet that does not have the form of its command.
    MalformedPacket,
    /// A command larger than the limit.
    PacketTooLarge,
    /// A command or a prepared statement for which there is no memory.
    NoMemory,
    /// A prepared statement that is not there.
    UnknownStatement(u32),
    /// A prepared statement that has no open cursor.
    NoOpenCursor(u32),
    /// Too many prepared statements.
    TooManyStatements,
    /// KILL of an id that is not there.
    NoSuchThread(u64),
    /// KILL of another account's session.
    NotOwner(u64),
    /// KILL of an id that another Sluice gave out.
    OfAnotherSluice {
        /// The id.
        id: u64,
        /// The slot of this Sluice.
        own_slot: u8,
    },
}

/// Whether the session goes on after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterAnswer {
    /// It does.
    Continue,
    /// The connection is closed.
    Close,
}

/// The packet for a failure (`None`: nothing can be said) and whether the session lives on.
pub(crate) fn answer(failure: &Failure) -> (Option<ErrPacket<'static>>, AfterAnswer) {
    match failure {
        Failure::RolledBack(cause) => {
            (Some(ErrPacket::own(ErrorCode::RolledBack, cause.sentence())), AfterAnswer::Continue)
        }
        Failure::NotExecuted(cause) => {
            (Some(ErrPacket::own(ErrorCode::ServerShutdown, cause.sentence())), AfterAnswer::Close)
        }
        Failure::AskedTooLate => answer(&Failure::NotExecuted(Cause::StateLost)),
        Failure::OutcomeUnknown => {
            let detail = "the connection to the database server was lost before its answer; \
                          check whether the change is there before repeating it";
            (Some(ErrPacket::own(ErrorCode::OutcomeUnknown, detail)), AfterAnswer::Close)
        }
        Failure::Client(fault) => client_fault(*fault),
        Failure::Server(packet) | Failure::Refused(packet) => {
            (Some((**packet).clone()), AfterAnswer::Continue)
        }
        Failure::AlreadyAnswered => (None, AfterAnswer::Continue),
        Failure::AnswerCut => (None, AfterAnswer::Close),
    }
}

fn client_fault(fault: ClientFault) -> (Option<ErrPacket<'static>>, AfterAnswer) {
    match fault {
        ClientFault::UnknownCommand(byte) => {
            let detail = format!("command {byte:#04x} is not served through Sluice");
            (Some(ErrPacket::own(ErrorCode::UnknownCommand, &detail)), AfterAnswer::Continue)
        }
        ClientFault::MalformedPacket => {
            (Some(ErrPacket::own(ErrorCode::MalformedPacket, "")), AfterAnswer::Close)
        }
        ClientFault::PacketTooLarge => {
            (Some(ErrPacket::own(ErrorCode::PacketTooLarge, "")), AfterAnswer::Close)
        }
        ClientFault::NoMemory => (Some(ErrPacket::own(ErrorCode::OutOfMemory, "")), AfterAnswer::Close),
        ClientFault::UnknownStatement(id) => (Some(ErrPacket::unknown_statement(id)), AfterAnswer::Continue),
        ClientFault::NoOpenCursor(id) => (Some(ErrPacket::no_open_cursor(id)), AfterAnswer::Continue),
        ClientFault::TooManyStatements => {
            (Some(ErrPacket::own(ErrorCode::TooManyStatements, "")), AfterAnswer::Continue)
        }
        ClientFault::OfAnotherSluice { id, own_slot } => {
            let slot = slot_of(id).unwrap_or_default();
            let message = format!(
                "Unknown thread id: {id} (the session belongs to the Sluice with slot {slot}, this one has \
                 slot {own_slot}: send the KILL there)"
            );
            (Some(ErrPacket::with_message(ErrorCode::NoSuchThread, &message)), AfterAnswer::Continue)
        }
        ClientFault::NotOwner(id) => (Some(ErrPacket::not_owner(id)), AfterAnswer::Continue),
        ClientFault::NoSuchThread(id) => (Some(ErrPacket::no_such_thread(id)), AfterAnswer::Continue),
    }
}
