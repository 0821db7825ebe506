//! The MySQL client/server protocol without I/O: bytes and their meaning.
//!
//! Packets and their framing, both sides of the handshake and of the authentication exchanges, the commands a client
//! may send, the error packets this project writes itself, where a response ends and what a server tells in it.
//! Everything is a value or a state that a transition consumes: bytes (and randomness) come in, bytes and decisions
//! go out. Whatever comes from a wire is untrusted: every length is checked, nothing grows without a limit named by
//! the caller, and a malformed packet is a typed error.
//!
//! It must never open a socket, read a clock, start a task, panic on input, or know what a primary or a replica is.

#[cfg(feature = "connections")]
pub mod auth;
pub mod capabilities;
pub mod command;
#[cfg(feature = "connections")]
pub mod compression;
pub mod error_packet;
#[cfg(feature = "connections")]
pub mod fuzz;
pub mod gtid;
#[cfg(feature = "connections")]
pub mod handshake;
pub mod ok_packet;
pub mod packet;
pub mod proxy_header;
pub mod reader;
pub mod response;
pub mod trackers;
pub mod writer;

pub use capabilities::{Capabilities, StatusFlags};
pub use command::Command;
pub use error_packet::{ErrPacket, ErrorCode};
pub use gtid::{Gtid, GtidError, GtidSet};
pub use ok_packet::{EofPacket, OkKind, OkPacket, OkSummary};
pub use packet::{Header, Packet, PacketError, PayloadAssembler, frame_payload};
pub use reader::{Malformed, Reader};
pub use response::{
    Advance, Answer, AnswerLimits, AnswerReader, Expect, LocalInfileRelay, ResponseError, ResponseEvent,
    ResponseRelay,
};
pub use trackers::{SessionChanges, TrackerFilter, TransactionState, VariableChange};
pub use writer::WireAppend;
