//! Packets on a socket, and nothing else: framing and sequence numbers of a client.
//!
//! Written apart from the proxy's own framing, so that a fault there is not repeated here.
//!
//! Never here: what a packet means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for one packet: longer than any statement of the cases and than the hold limit.
const PACKET_DEADLINE: Duration = Duration::from_secs(40);
/// A frame of this size is continued by the next one.
const FULL_FRAME: usize = 0xff_ffff;
const HEADER: usize = 4;

/// Why no packet came.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer closed the connection, or it failed.
    Closed,
    /// Nothing came within [`PACKET_DEADLINE`].
    Late,
    /// A packet came with the wrong number.
    Sequence { expected: u8, found: u8 },
    /// A packet that has not the form of its place.
    Malformed(&'static str),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Late => f.write_str("no answer"),
            Self::Sequence { expected, found } => write!(f, "packet {found} came where {expected} was due"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
        }
    }
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    sequence: u8,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, sequence: 0 })
    }

    /// The next packet, put together from its frames. Each frame has to carry the number that follows.
    pub(super) async fn read(&mut self) -> Result<Vec<u8>, Broken> {
        timeout(PACKET_DEADLINE, self.read_frames()).await.unwrap_or(Err(Broken::Late))
    }

    async fn read_frames(&mut self) -> Result<Vec<u8>, Broken> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; HEADER];
            self.stream.read_exact(&mut header).await.map_err(|_| Broken::Closed)?;
            let [a, b, c, found] = header;
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if found != self.sequence {
                return Err(Broken::Sequence { expected: self.sequence, found });
            }
            self.sequence = self.sequence.wrapping_add(1);
            let begin = payload.len();
            payload.resize(begin + length, 0);
            self.stream.read_exact(&mut payload[begin..]).await.map_err(|_| Broken::Closed)?;
            if length < FULL_FRAME {
                return Ok(payload);
            }
        }
    }

    /// Begins a command: numbers start at 0. `Err` names bytes that nobody has asked for.
    pub(super) async fn begin(&mut self, payload: &[u8]) -> Result<(), Broken> {
        self.sequence = 0;
        self.write(payload).await
    }

    /// Sends one packet within an exchange.
    pub(super) async fn write(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let mut framed = Vec::with_capacity(payload.len() + 2 * HEADER);
        let mut last = HEADER;
        for chunk in payload.chunks(FULL_FRAME) {
            self.frame(&mut framed, chunk);
            last = chunk.len();
        }
        if payload.is_empty() || last == FULL_FRAME {
            self.frame(&mut framed, &[]);
        }
        self.stream.write_all(&framed).await.map_err(|_| Broken::Closed)
    }

    fn frame(&mut self, framed: &mut Vec<u8>, chunk: &[u8]) {
        let length = u32::try_from(chunk.len()).unwrap().to_le_bytes();
        framed.extend_from_slice(&[length[0], length[1], length[2], self.sequence]);
        framed.extend_from_slice(chunk);
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Bytes that are there without a command having asked for them, as far as can be seen now. An idle
    /// connection that the server closed has the error it may have sent before.
    pub(super) fn unasked(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 512];
        match self.stream.try_read(&mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                bytes.truncate(count);
                Some(bytes)
            }
        }
    }
}
