//! The byte stream of a connection, to a client as well as to an instance, and its read buffer.
//!
//! During a login packets are read one by one and never a byte too many, so that what follows a TLS request
//! belongs to TLS. Afterwards the relay works on the buffer itself.
//!
//! Never here: what a packet means, a deadline (the caller has one), a decision to reconnect.

mod compressed;
mod layers;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, BytesMut};
pub use compressed::Compressed;
pub use layers::Stream;
use sluice_protocol::compression::Algorithm;
use sluice_protocol::packet::HEADER_LEN;
use sluice_protocol::{Header, Packet, PacketError, PayloadAssembler, frame_payload};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWrite as _, AsyncWriteExt};
use zeroize::{Zeroize, Zeroizing};

use super::buffers;

/// Room made in the read buffer for one read.
const READ_CHUNK: usize = buffers::ROOM;

/// Why no packet could be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The peer closed between two packets.
    #[error("the connection was closed")]
    Closed,
    /// The peer closed within a packet.
    #[error("the connection was closed within a packet")]
    Cut,
    /// What came is no packet, or too large a one.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What an idle connection has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: it can be used.
    Quiet,
    /// Bytes nobody asked for, in the buffer or before it (such as error 4031, then the end).
    Unread,
    /// The peer has closed it, or it failed.
    Closed,
}

/// A stream with its read buffer and the number of the next packet.
#[derive(Debug)]
pub struct PacketStream {
    stream: Stream,
    input: BytesMut,
    sequence: u8,
}

impl PacketStream {
    /// Nothing read yet, next packet number 0.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), sequence: 0 }
    }

    /// The stream below, for its properties.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The stream below, for a TLS upgrade. `Err` gives everything back if bytes have been read ahead: they
    /// would be lost, or worse, be taken for encrypted ones.
    pub fn into_stream(self) -> Result<(Stream, u8), Box<Self>> {
        if self.input.is_empty() { Ok((self.stream, self.sequence)) } else { Err(Box::new(self)) }
    }

    /// A stream in the middle of an exchange: the next packet written has number `sequence`.
    #[must_use]
    pub fn resume(stream: Stream, sequence: u8) -> Self {
        Self { stream, input: BytesMut::new(), sequence }
    }

    /// The same stream with everything from now on packed in both directions. `Err` gives it back if bytes have been read
    /// ahead.
    pub fn compressed(self, algorithm: Algorithm) -> Result<Self, Box<Self>> {
        let (stream, sequence) = self.into_stream()?;
        let stream = Stream::Compressed(Box::new(Compressed::new(stream, algorithm)));
        Ok(Self::resume(stream, sequence))
    }

    /// The number the next written packet gets.
    #[must_use]
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Sets the number the next written packet gets; 0 begins a command.
    pub fn set_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// Reads one whole packet of at most `limit` bytes of payload, and not a byte more from the stream. For
    /// logins and small answers; not safe to cancel.
    pub async fn read_packet(&mut self, limit: usize) -> Result<Packet, ReadError> {
        let mut assembler = PayloadAssembler::new(limit);
        loop {
            let first = assembler.is_idle();
            let header = match self.want(HEADER_LEN).await {
                Err(ReadError::Cut) if first && self.input.is_empty() => return Err(ReadError::Closed),
                arrived => arrived.map(|()| Header::parse(&self.input))?,
            };
            if let Some(packet) = self.feed(&mut assembler, HEADER_LEN)? {
                return Ok(packet);
            }
            let length = header.map_or(0, |header| header.length as usize);
            self.want(length).await?;
            if let Some(packet) = self.feed(&mut assembler, length)? {
                return Ok(packet);
            }
        }
    }

    /// The next packet, of one frame and at most `limit` bytes of payload; more may be read ahead. It may be a
    /// password. Safe to cancel.
    pub async fn next_packet(&mut self, limit: usize) -> Result<Zeroizing<Vec<u8>>, ReadError> {
        loop {
            if let Some(header) = Header::parse(&self.input) {
                let length = header.length as usize;
                if length > limit {
                    return Err(PacketError::TooLarge { announced: length, limit }.into());
                }
                if self.input.len() >= HEADER_LEN + length {
                    let mut frame = self.take(HEADER_LEN + length);
                    let payload = Zeroizing::new(frame.get(HEADER_LEN..).unwrap_or_default().to_vec());
                    frame[..].zeroize();
                    self.sequence = header.sequence.wrapping_add(1);
                    return Ok(payload);
                }
            }
            if self.fill().await? == 0 {
                return Err(if self.input.is_empty() { ReadError::Closed } else { ReadError::Cut });
            }
        }
    }

    /// Reads until `count` bytes are in the buffer and no further. Memory grows with what really arrives.
    async fn want(&mut self, count: usize) -> Result<(), ReadError> {
        while let Some(missing) = count.checked_sub(self.input.len()).filter(|missing| *missing > 0) {
            let part = missing.min(READ_CHUNK);
            self.input.reserve(part);
            if (&mut self.stream).take(part as u64).read_buf(&mut self.input).await? == 0 {
                return Err(ReadError::Cut);
            }
        }
        Ok(())
    }

    /// Gives the first `count` bytes of the buffer to `assembler`, and wipes them: they may be a password.
    fn feed(
        &mut self,
        assembler: &mut PayloadAssembler,
        count: usize,
    ) -> Result<Option<Packet>, PacketError> {
        let mut bytes = self.take(count);
        let packet = assembler.feed(&mut &bytes[..]);
        bytes[..].zeroize();
        let packet = packet?;
        if let Some(packet) = &packet {
            self.sequence = packet.next_sequence;
        }
        Ok(packet)
    }

    /// Writes `payload` as one packet with the number that is due, and flushes. No copy of it is left here: it may
    /// be a password.
    pub async fn write_packet(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut framed = BytesMut::with_capacity(payload.len() + HEADER_LEN);
        frame_payload(&mut framed, &mut self.sequence, payload);
        let written = self.write_out(&framed).await;
        framed[..].zeroize();
        written
    }

    /// Registers an idle connection that another runtime has used with the current one.
    pub fn move_here(&mut self) -> io::Result<()> {
        self.stream.move_here()
    }

    /// What has been read and not consumed.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.input
    }

    /// What has been read and not consumed, for the relay, which renumbers and narrows packets in place.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.input
    }

    /// Drops `count` bytes (at most all) off the front of the buffer.
    pub fn consume(&mut self, count: usize) {
        self.input.advance(count.min(self.input.len()));
    }

    /// Takes `count` bytes (at most all) off the front of the buffer, without copying.
    pub fn take(&mut self, count: usize) -> BytesMut {
        if count >= self.input.len() {
            return std::mem::take(&mut self.input);
        }
        self.input.split_to(count)
    }

    /// Reads at most [`READ_CHUNK`] bytes behind those in the buffer; returns how many, 0 at the end of the stream. Memory
    /// is taken only when bytes are there. Safe to cancel.
    pub async fn fill(&mut self) -> io::Result<usize> {
        let mut asked = false;
        poll_fn(|cx| self.poll_fill(cx, &mut asked)).await
    }

    /// `asked`: whether the stream has been asked, and wakes the task when there are bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>, asked: &mut bool) -> Poll<io::Result<usize>> {
        if self.input.capacity() == 0 {
            // Who wakes up has most likely been woken by it, and reads at once.
            if !std::mem::replace(asked, true) {
                ready!(self.stream.poll_readable(cx))?;
            }
            self.input = buffers::lend();
        }
        self.input.reserve(READ_CHUNK);
        // A buffer that has grown has room for as much again, of which nobody has asked whether there is memory for it.
        let mut room = (&mut self.input).limit(READ_CHUNK);
        let read = pin!(self.stream.read_buf(&mut room)).poll(cx);
        if read.is_pending() {
            self.release_all();
        }
        read
    }

    /// Brings to the kernel what it takes of `bytes` without a wait: how many bytes, none over TLS.
    pub fn write_at_once(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(0),
        }
    }

    /// Writes all of `bytes` and brings them to the kernel. Most fit into the socket's buffer, and take no future to get there.
    pub async fn write_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        let rest = bytes.get(self.write_at_once(bytes)?..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        self.write_all(rest).await?;
        self.flush().await
    }

    /// Writes all of `bytes`; with TLS they may stay buffered until [`Self::flush`].
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Brings everything written to the kernel.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Ends the sending side, with TLS's goodbye where there is TLS.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Writes `bytes` as far as that is possible without waiting; for a word of farewell before a drop.
    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(_)) = Pin::new(&mut self.stream).poll_write(&mut cx, bytes) {
            let _ = Pin::new(&mut self.stream).poll_flush(&mut cx);
        }
    }

    /// Gives a read buffer that has grown back if it is empty; `fill` takes a new one.
    pub fn release(&mut self) {
        if self.input.is_empty() && self.input.capacity() > buffers::KEPT {
            self.input = BytesMut::new();
        }
    }

    /// Gives the read buffer back if it is empty, whatever its size: for a connection that will be idle.
    pub fn release_all(&mut self) {
        if self.input.is_empty() {
            buffers::take_back(std::mem::take(&mut self.input));
        }
    }

    /// Looks, without waiting, whether an idle connection has something to say. Costs no system call while
    /// it has not.
    pub fn idle(&mut self) -> Idle {
        if !self.input.is_empty() {
            return Idle::Unread;
        }
        let mut byte = [0];
        match self.stream.read_now(&mut byte) {
            Poll::Pending => Idle::Quiet,
            Poll::Ready(Err(_) | Ok(0)) => Idle::Closed,
            Poll::Ready(Ok(_)) => {
                self.input.extend_from_slice(&byte);
                Idle::Unread
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (PacketStream, PacketStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (PacketStream::new(Stream::from_tcp(near)), PacketStream::new(Stream::from_tcp(far)))
    }

    #[tokio::test]
    async fn a_packet_is_read_and_not_a_byte_more() {
        let (mut near, mut far) = pair().await;
        near.write_all(b"\x02\0\0\x07ab\x16\x03").await.unwrap();
        let packet = far.read_packet(10).await.unwrap();
        assert_eq!((&*packet.payload, packet.sequence, far.sequence()), (&b"ab"[..], 7, 8));
        let (Stream::Tcp(mut rest), 8) = far.into_stream().unwrap() else { unreachable!() };
        let mut behind = [0; 2];
        rest.read_exact(&mut behind).await.unwrap();
        assert_eq!(behind, *b"\x16\x03", "what follows a TLS request is TLS's");
    }

    #[tokio::test]
    async fn packets_over_the_limit_and_ends_are_told_apart() {
        let (mut near, mut far) = pair().await;
        near.write_all(b"\x0b\0\0\0").await.unwrap();
        assert!(matches!(far.read_packet(10).await, Err(ReadError::Packet(_))));
        let (mut near, mut far) = pair().await;
        near.write_all(b"\x0b\0\0\0abc").await.unwrap();
        drop(near);
        assert!(matches!(far.read_packet(100).await, Err(ReadError::Cut)));
        let (near, mut far) = pair().await;
        drop(near);
        assert!(matches!(far.read_packet(100).await, Err(ReadError::Closed)));
    }

    #[tokio::test]
    async fn an_idle_connection_owns_no_buffer_and_tells_of_its_end() {
        let (mut near, mut far) = pair().await;
        assert_eq!(far.idle(), Idle::Quiet);
        let waiting = tokio::time::timeout(Duration::from_millis(20), far.fill()).await;
        assert!(waiting.is_err());
        assert_eq!(far.input.capacity(), 0, "memory is taken when bytes are there");
        near.write_packet(b"hello").await.unwrap();
        far.fill().await.unwrap();
        assert_eq!(far.take(9), &b"\x05\0\0\0hello"[..]);
        far.release_all();
        assert_eq!(far.input.capacity(), 0);
        near.write_packet(b"unasked").await.unwrap();
        poll_fn(|cx| far.stream.poll_readable(cx)).await.unwrap();
        assert_eq!(far.idle(), Idle::Unread);
        assert_eq!(far.read_packet(100).await.unwrap().payload, b"unasked");
        drop(near);
        poll_fn(|cx| far.stream.poll_readable(cx)).await.unwrap();
        assert_eq!(far.idle(), Idle::Closed);
    }

    #[tokio::test]
    async fn what_does_not_fit_at_once_arrives_whole_and_in_order() {
        let (mut near, mut far) = pair().await;
        // More than the buffers of both sockets take.
        let sent: Vec<u8> = (0..32 << 20).map(|number: u32| number.to_le_bytes()[1]).collect();
        let read = async {
            let mut arrived = Vec::new();
            while arrived.len() < sent.len() && far.fill().await.unwrap() > 0 {
                arrived.extend_from_slice(far.buffer());
                far.consume(far.buffer().len());
            }
            arrived
        };
        let write = async {
            near.write_out(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let ((), arrived) = tokio::join!(write, read);
        assert!(arrived == sent, "{} of {} bytes, or others", arrived.len(), sent.len());
    }

    #[tokio::test]
    async fn who_is_woken_for_something_else_keeps_no_buffer() {
        let (mut near, mut far) = pair().await;
        let (mut asked, mut cx) = (false, Context::from_waker(Waker::noop()));
        for _ in 0..2 {
            assert!(far.poll_fill(&mut cx, &mut asked).is_pending());
            assert_eq!(far.input.capacity(), 0);
        }
        near.write_out(b"abc").await.unwrap();
        assert_eq!(poll_fn(|cx| far.poll_fill(cx, &mut asked)).await.unwrap(), 3);
        assert_eq!(far.buffer(), b"abc");
    }
}
