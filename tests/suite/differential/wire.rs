//! Packets on a socket, and nothing else: framing and sequence numbers of a client.
//!
//! Written apart from the proxy's own framing, so that a fault there is not repeated here.
//!
//! Never here: what a packet means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_protocol::compression::{Algorithm, Packer, Unpacker};
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
    packed: Option<Packed>,
}

/// The compressed protocol, with zlib. That both sides of it are right is shown by the server that this client talks to
/// directly.
#[derive(Debug)]
struct Packed {
    packer: Packer,
    unpacker: Unpacker,
    /// What came and is still packed.
    input: Vec<u8>,
    /// The number of the next frame, where that does not follow from the peer's last one.
    first: Option<u8>,
}

/// How much is read at once.
const READ: usize = 16 * 1024;

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, sequence: 0, packed: None })
    }

    /// From now on everything is compressed.
    pub(super) fn compress(&mut self) {
        let (packer, unpacker) = (Packer::default(), Unpacker::new(Algorithm::Zlib));
        self.packed = Some(Packed { packer, unpacker, input: Vec::new(), first: None });
    }

    async fn read_exact(&mut self, out: &mut [u8]) -> Result<(), Broken> {
        let Some(packed) = &mut self.packed else {
            return self.stream.read_exact(out).await.map(drop).map_err(|_| Broken::Closed);
        };
        let mut filled = 0;
        loop {
            let mut rest = packed.input.as_slice();
            let room = &mut out[filled..];
            filled += packed.unpacker.advance(&mut rest, room).map_err(|_| Broken::Malformed("frame"))?;
            let used = packed.input.len() - rest.len();
            packed.input.drain(..used);
            if filled == out.len() {
                return Ok(());
            }
            let mut bytes = vec![0; READ];
            match self.stream.read(&mut bytes).await {
                Ok(count @ 1..) => packed.input.extend_from_slice(&bytes[..count]),
                Ok(_) | Err(_) => return Err(Broken::Closed),
            }
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut out = Vec::new();
        let bytes = match &mut self.packed {
            None => bytes,
            Some(packed) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let follows = packed.unpacker.take_sequence();
                    let number = packed.first.map_or(follows, |first| first);
                    packed.first = packed.first.map(|first| first.wrapping_add(1));
                    let used = packed.packer.frame(Algorithm::Zlib, rest, number, &mut out);
                    rest = &rest[used..];
                }
                packed.first = None;
                &out
            }
        };
        self.stream.write_all(bytes).await.map_err(|_| Broken::Closed)
    }

    /// The next packet, put together from its frames. Each frame has to carry the number that follows.
    pub(super) async fn read(&mut self) -> Result<Vec<u8>, Broken> {
        timeout(PACKET_DEADLINE, self.read_frames()).await.unwrap_or(Err(Broken::Late))
    }

    async fn read_frames(&mut self) -> Result<Vec<u8>, Broken> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; HEADER];
            self.read_exact(&mut header).await?;
            let [a, b, c, found] = header;
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            // Within frames that are compressed servers number packets by the frames (seen on 9.7.4).
            if found != self.sequence && self.packed.is_none() {
                return Err(Broken::Sequence { expected: self.sequence, found });
            }
            self.sequence = found.wrapping_add(1);
            let begin = payload.len();
            payload.resize(begin + length, 0);
            self.read_exact(&mut payload[begin..]).await?;
            if length < FULL_FRAME {
                return Ok(payload);
            }
        }
    }

    /// Begins a command: numbers start at 0. `Err` names bytes that nobody has asked for.
    pub(super) async fn begin(&mut self, payload: &[u8]) -> Result<(), Broken> {
        self.sequence = 0;
        if let Some(packed) = &mut self.packed {
            packed.first = Some(0);
        }
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
        self.write_all(&framed).await
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
