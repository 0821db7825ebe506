//! The compressed protocol as a layer over a client's stream.
//!
//! An idle connection owns no buffer and no compressor; one compressor serves all connections of a worker.
//!
//! Never here: the form of a frame.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sluice_protocol::compression::{Algorithm, Packer, Unpacker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;

/// Read at once from the stream below, in bytes.
const READ_CHUNK: usize = 16 * 1024;
/// The most that is packed into one frame, in bytes: packing holds up the other sessions of the worker for a fraction of a
/// millisecond, and more would hardly get shorter.
const WRITE_CHUNK: usize = 64 * 1024;

thread_local! {
    static PACKER: RefCell<Packer> = RefCell::default();
}

/// A stream in whose frames other bytes travel packed.
#[derive(Debug)]
pub struct Compressed {
    below: Stream,
    algorithm: Algorithm,
    unpacker: Unpacker,
    /// Read and not yet unpacked.
    input: Vec<u8>,
    taken: usize,
    /// Whether the last read filled all its room: then there may be more without further input.
    more: Pending,
    /// Packed and not yet written.
    output: Vec<u8>,
    written: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    Perhaps,
}

impl Compressed {
    pub(super) fn new(below: Stream, algorithm: Algorithm) -> Self {
        Self {
            below,
            algorithm,
            unpacker: Unpacker::new(algorithm),
            input: Vec::new(),
            taken: 0,
            more: Pending::Nothing,
            output: Vec::new(),
            written: 0,
        }
    }

    /// The stream below.
    pub(super) fn below(&self) -> &Stream {
        &self.below
    }

    /// Whether a read may bring something without anything being read below.
    pub(super) fn holds_input(&self) -> bool {
        self.taken < self.input.len() || self.more == Pending::Perhaps
    }

    /// Unpacks what there is; returns how much.
    fn unpack(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.input.get(self.taken..).unwrap_or_default();
        let filled = self.unpacker.advance(&mut rest, room);
        self.taken = self.input.len() - rest.len();
        if rest.is_empty() {
            self.input = Vec::new();
            self.taken = 0;
        }
        let filled = filled.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.more = if filled == room.len() { Pending::Perhaps } else { Pending::Nothing };
        Ok(filled)
    }

    /// Reads below; 0 at the end.
    fn poll_below(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = vec![0; READ_CHUNK];
        let mut buf = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.below).poll_read(cx, &mut buf))?;
        let count = buf.filled().len();
        chunk.truncate(count);
        (self.input, self.taken) = (chunk, 0);
        Poll::Ready(Ok(count))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.below).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.output = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Compressed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.holds_input() {
                let filled = this.unpack(buf.initialize_unfilled())?;
                if filled > 0 {
                    buf.advance(filled);
                    return Poll::Ready(Ok(()));
                }
            }
            if ready!(this.poll_below(cx))? == 0 {
                let clean = this.unpacker.is_between_frames();
                return Poll::Ready(if clean { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            }
        }
    }
}

impl AsyncWrite for Compressed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let content = buf.get(..WRITE_CHUNK).unwrap_or(buf);
        let sequence = this.unpacker.take_sequence();
        let output = &mut this.output;
        let count = PACKER.with_borrow_mut(|packer| packer.frame(this.algorithm, content, sequence, output));
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What could not be written yet is written by the next call.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.below).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.below).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::super::PacketStream;
    use super::*;

    async fn pair(algorithm: Algorithm) -> (PacketStream, PacketStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let [near, far] =
            [near, far].map(|tcp| PacketStream::new(Stream::from_tcp(tcp)).compressed(algorithm));
        (near.unwrap(), far.unwrap())
    }

    #[tokio::test]
    async fn packets_of_all_sizes_pass_in_both_directions() {
        for algorithm in [Algorithm::Zlib, Algorithm::Zstd(3)] {
            let (mut near, mut far) = pair(algorithm).await;
            for size in [0usize, 1, 49, 50, 5_000, 70_000, 3_000_000, (1 << 24) + 10] {
                let payload: Vec<u8> = (0..251u8).flat_map(|byte| [byte; 7]).cycle().take(size).collect();
                near.set_sequence(0);
                let (sent, read) = tokio::join!(near.write_packet(&payload), far.read_packet(1 << 25));
                sent.unwrap();
                assert!(read.unwrap().payload == payload, "{algorithm:?} {size}");
                let (sent, read) = tokio::join!(far.write_packet(&payload), near.read_packet(1 << 25));
                sent.unwrap();
                assert!(read.unwrap().payload == payload, "{algorithm:?} {size}");
            }
            drop(near);
            assert_eq!(far.fill().await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn an_answer_goes_on_from_the_number_of_the_question() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut client = PacketStream::new(Stream::from_tcp(client));
        let (server, _) = listener.accept().await.unwrap();
        let mut server = PacketStream::new(Stream::from_tcp(server)).compressed(Algorithm::Zlib).unwrap();
        for number in [0, 9, 255] {
            client.write_all(&[5, 0, 0, number, 0, 0, 0, 1, 0, 0, 0, 0x0e]).await.unwrap();
            server.fill().await.unwrap();
            assert_eq!(server.take(5)[..], [1, 0, 0, 0, 0x0e]);
            for step in 1u8..3 {
                server.write_all(b"abc").await.unwrap();
                server.flush().await.unwrap();
                while client.buffer().len() < 10 {
                    client.fill().await.unwrap();
                }
                let frame = [3, 0, 0, number.wrapping_add(step), 0, 0, 0, b'a', b'b', b'c'];
                assert_eq!(client.take(10)[..], frame);
            }
        }
        client.write_all(&[5, 0, 0]).await.unwrap();
        drop(client);
        assert!(server.fill().await.is_err(), "the end within a frame is an error");
    }
}
