//! A connection of the load generator up to where the load begins: TCP, login, prepared statement.
//!
//! Blocking, on the calling thread: nothing here is part of a measured statement, except the logins themselves.
//!
//! Never here: pooling or retries.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use sluice_protocol::auth::{ChannelSecurity, ClientAuthError, ClientStep, Credential, Password};
use sluice_protocol::command::build;
use sluice_protocol::handshake::{ExpectGreeting, HandshakeError, LoginRequest};
use sluice_protocol::{
    Capabilities, ErrPacket, Malformed, PacketError, PayloadAssembler, Reader, frame_payload,
};
use thiserror::Error;

use crate::answer::{Answer, AnswerError};
use crate::target::Site;
use crate::wire::{Channel, Wire};

/// A server or proxy that says nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest packet outside of results, in bytes.
const PACKET: usize = 64 << 10;
/// utf8mb4_general_ci.
const COLLATION: u8 = 45;
/// The largest packet that is taken, in bytes: MySQL's own limit.
const MAX_PACKET: u32 = 1 << 30;
/// What read() is given, in bytes.
const READ: usize = 64 << 10;

/// Why a connection did not come about, or ended.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The greeting.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The proof.
    #[error(transparent)]
    Auth(#[from] ClientAuthError),
    /// The server's no.
    #[error("refused: {0:?}")]
    Refused(Box<ErrPacket<'static>>),
    /// The frames.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// An answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The answer to a prepare.
    #[error("not the answer to a prepare: {0}")]
    Prepare(#[from] Malformed),
}

/// Who logs in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The schema to begin in.
    pub schema: String,
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct Connection {
    stream: Wire,
    packets: PayloadAssembler,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn open(site: &Site, account: &Account) -> Result<Self, ConnectionError> {
        let stream = TcpStream::connect(site.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let packets = PayloadAssembler::new(PACKET);
        Self { stream: Wire::Plain(stream), packets, unread: Vec::new() }.log_in(site.channel, account)
    }

    fn log_in(mut self, channel: Channel, account: &Account) -> Result<Self, ConnectionError> {
        let (greeting, mut sequence) = self.packet()?;
        let mut ready = ExpectGreeting.on(&greeting, ChannelSecurity::Plain)?;
        let credential = Credential::Password(Password::new(account.password.clone().into_bytes()));
        let request = LoginRequest {
            user: account.user.as_bytes(),
            credential: &credential,
            database: Some(account.schema.as_bytes()),
            capabilities: Capabilities::DEPRECATE_EOF
                | Capabilities::MULTI_RESULTS
                | Capabilities::PS_MULTI_RESULTS,
            collation: COLLATION,
            max_packet: MAX_PACKET,
            attributes: &[],
        };
        if channel == Channel::Tls {
            let (payload, pending) = ready.request_tls(&request);
            self.send(&payload, sequence)?;
            self.stream = self.stream.encrypted()?;
            sequence += 1;
            ready = pending.upgraded();
        }
        let (payload, mut auth, _) = ready.log_in(&request);
        self.send(&payload, sequence)?;
        // Ends: the exchange takes each kind of packet at most once.
        loop {
            let (payload, sequence) = self.packet()?;
            auth = match auth.on(&payload)? {
                ClientStep::Send { payload, next } => {
                    self.send(&payload, sequence)?;
                    next
                }
                ClientStep::Wait(next) => next,
                ClientStep::Done(_) => return Ok(self),
                ClientStep::Refused(error) => return Err(ConnectionError::Refused(Box::new(error))),
            };
        }
    }

    /// Prepares a statement; its id.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn prepare(&mut self, text: &str) -> Result<u32, ConnectionError> {
        self.send(&build::stmt_prepare(text.as_bytes()), 0)?;
        let (payload, _) = self.packet()?;
        let mut reader = Reader::new(&payload);
        match reader.u8()? {
            0 => {}
            0xff => return Err(ConnectionError::Refused(Box::new(ErrPacket::parse(&payload)?.into_owned()))),
            other => return Err(AnswerError::Unexpected(other).into()),
        }
        let (id, columns, parameters) = (reader.u32()?, reader.u16()?, reader.u16()?);
        for _ in 0..u32::from(columns) + u32::from(parameters) {
            self.packet()?;
        }
        Ok(id)
    }

    /// Runs a statement and reads its answer to the end; how many bytes it had.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn query(&mut self, text: &str) -> Result<u64, ConnectionError> {
        self.send(&build::query(text.as_bytes(), Capabilities::empty()), 0)?;
        let mut answer = Answer::new();
        let mut buffer = vec![0; READ];
        let mut bytes = 0;
        loop {
            let read = self.read(&mut buffer)?;
            bytes += u64::try_from(read).unwrap_or(u64::MAX);
            if answer.feed(buffer.get(..read).unwrap_or_default())? {
                return Ok(bytes);
            }
        }
    }

    /// Says goodbye and closes.
    ///
    /// # Errors
    /// The network's.
    pub fn quit(mut self) -> Result<(), ConnectionError> {
        self.send(&build::quit(), 0)
    }

    /// The socket, between two statements.
    #[must_use]
    pub fn into_stream(self) -> Wire {
        self.stream
    }

    fn send(&mut self, payload: &[u8], mut sequence: u8) -> Result<(), ConnectionError> {
        let mut out = Vec::with_capacity(payload.len() + 4);
        frame_payload(&mut out, &mut sequence, payload);
        self.stream.write_all(&out)?;
        Ok(self.stream.flush()?)
    }

    /// The next packet, and the number that an answer to it begins with.
    fn packet(&mut self) -> Result<(Vec<u8>, u8), ConnectionError> {
        let mut buffer = [0; 4096];
        loop {
            let mut input = self.unread.as_slice();
            let packet = self.packets.feed(&mut input)?;
            self.unread = input.to_vec();
            if let Some(packet) = packet {
                return Ok((packet.payload, packet.next_sequence));
            }
            let read = self.read(&mut buffer)?;
            self.unread.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ConnectionError> {
        match self.stream.read(buffer)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => Ok(read),
        }
    }
}
