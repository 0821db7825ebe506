//! A TCP socket that can be handed from one runtime to another, also when it lies within TLS.
//!
//! Never here: a buffer, a protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected socket, registered with the reactor of the runtime that uses it.
#[derive(Debug)]
pub struct Socket(Option<TcpStream>);

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self(Some(tcp))
    }
}

impl Socket {
    fn tcp(&mut self) -> io::Result<&mut TcpStream> {
        self.0.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Reads what is there; `WouldBlock` if nothing is, which costs no system call once the reactor knows it.
    pub(super) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_read(into)
    }

    /// Writes what fits; `WouldBlock` if nothing does.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_write(bytes)
    }

    /// Waits until a read would probably not wait.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?.poll_read_ready(cx)
    }

    /// Registers the socket with the current runtime instead of the one it was used in. After an error it is
    /// closed.
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        let tcp = self.0.take().ok_or(io::ErrorKind::NotConnected)?;
        self.0 = Some(TcpStream::from_std(tcp.into_std()?)?);
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().tcp()?).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().tcp()?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().tcp()?).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().tcp()?).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().tcp()?).poll_shutdown(cx)
    }
}
