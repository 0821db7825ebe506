//! The client's side of a connection: how a socket becomes a stream, with or without TLS.
//!
//! Never here: authentication, commands.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_protocol::proxy_header::{Progress, ProxiedPeer, ProxyHeaderError, progress};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::backend::Stream;

/// Does the TLS handshake with a client that asked for it. The caller has the deadline.
pub async fn accept_tls(stream: Stream, acceptor: &TlsAcceptor) -> io::Result<Stream> {
    match stream {
        Stream::Tcp(tcp) => Ok(Stream::Tls(Box::new(acceptor.accept(tcp).await?.into()))),
        Stream::Tls(_) | Stream::Compressed(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS within TLS"))
        }
    }
}

/// How long a load balancer may take to send its PROXY header, which it does at once.
const PROXY_HEADER: Duration = Duration::from_secs(5);

/// Why there is no PROXY header where one has to be.
#[derive(Debug, Error)]
pub(crate) enum NoProxyHeader {
    /// It is none.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
    /// The connection failed or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not come in time.
    #[error("no PROXY header within {PROXY_HEADER:?}")]
    Deadline,
}

/// Reads a PROXY header and not a byte more: whom it names, else `proxy`, from whom the connection comes.
pub(crate) async fn proxied_peer(
    tcp: &mut TcpStream,
    proxy: SocketAddr,
) -> Result<SocketAddr, NoProxyHeader> {
    let read = async {
        let mut bytes = Vec::new();
        loop {
            match progress(&bytes)? {
                Progress::Done(ProxiedPeer::Client(peer)) => return Ok(peer),
                Progress::Done(ProxiedPeer::Itself) => return Ok(proxy),
                Progress::Need(count) => {
                    let begin = bytes.len();
                    bytes.resize(begin + count, 0);
                    tcp.read_exact(bytes.get_mut(begin..).unwrap_or_default()).await?;
                }
            }
        }
    };
    timeout(PROXY_HEADER, read).await.unwrap_or(Err(NoProxyHeader::Deadline))
}
