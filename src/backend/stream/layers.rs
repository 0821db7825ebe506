//! What a connection's bytes go through: TCP, TLS and compression.
//!
//! Never here: a buffer of what was read, a packet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::Compressed;
use crate::backend::socket::Socket;

/// Idle time before the kernel asks whether the peer is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer before the connection is given up.
const KEEPALIVE_RETRIES: u32 = 3;

/// A TCP connection, with or without TLS and compression on it.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(Socket),
    /// TLS over TCP, either side of it.
    Tls(Box<TlsStream<Socket>>),
    /// The compressed protocol over either of them.
    Compressed(Box<Compressed>),
}

impl Stream {
    /// Takes over a connected socket and sets what every connection of ours has: no delay and keepalive. A
    /// socket that refuses an option is used without it.
    #[must_use]
    pub fn from_tcp(tcp: TcpStream) -> Self {
        let socket = socket2::SockRef::from(&tcp);
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        for result in [tcp.set_nodelay(true), socket.set_tcp_keepalive(&keepalive)] {
            if let Err(error) = result {
                tracing::debug!(%error, "socket option not set");
            }
        }
        Self::Tcp(tcp.into())
    }

    /// Whether the bytes are encrypted on the wire.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(_) => true,
            Self::Compressed(compressed) => compressed.below().is_tls(),
        }
    }

    /// Whether the bytes are packed on the wire.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Tls(_) => false,
            Self::Compressed(_) => true,
        }
    }

    /// Registers the socket with the current runtime; see [`Socket::move_here`].
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.move_here(),
            Self::Tls(tls) => tls.get_mut().0.move_here(),
            // Only clients speak it, and they stay on their worker.
            Self::Compressed(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Reads without waiting.
    pub(super) fn read_now(&mut self, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Self::Tcp(tcp) = self {
            return now(tcp.try_read(into));
        }
        let mut into = ReadBuf::new(into);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut cx, &mut into).map_ok(|()| into.filled().len())
    }

    /// Writes without waiting and without a future what TCP takes; TLS and compression take nothing this way.
    pub(super) fn try_write(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => now(tcp.try_write(bytes)),
            Self::Tls(_) | Self::Compressed(_) => Poll::Pending,
        }
    }

    /// Waits until a read would probably not wait.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.awaited().map_or(Poll::Ready(Ok(())), |tcp| tcp.poll_read_ready(cx))
    }
}

fn now(done: io::Result<usize>) -> Poll<io::Result<usize>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl Stream {
    /// The socket that has to bring more before a read can; `None`: there is something already.
    fn awaited(&self) -> Option<&Socket> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls(tls) => match tls.get_ref() {
                (tcp, session) if session.wants_read() => Some(tcp),
                // Decrypted bytes, or the end, are there already.
                _ => None,
            },
            Self::Compressed(compressed) if compressed.holds_input() => None,
            Self::Compressed(compressed) => compressed.below().awaited(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Compressed(compressed) => Pin::new(compressed).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Compressed(compressed) => Pin::new(compressed).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Self::Compressed(compressed) => Pin::new(compressed).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
            Self::Compressed(compressed) => compressed.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Compressed(compressed) => Pin::new(compressed).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Compressed(compressed) => Pin::new(compressed).poll_shutdown(cx),
        }
    }
}
