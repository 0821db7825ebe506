//! The client's side of a connection: how a socket becomes a stream, with or without TLS.
//!
//! Never here: authentication, commands.

use std::io;

use tokio_rustls::TlsAcceptor;

use crate::backend::Stream;

/// Does the TLS handshake with a client that asked for it. The caller has the deadline.
pub async fn accept_tls(stream: Stream, acceptor: &TlsAcceptor) -> io::Result<Stream> {
    match stream {
        Stream::Tcp(tcp) => Ok(Stream::Tls(Box::new(acceptor.accept(tcp).await?.into()))),
        Stream::Tls(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS within TLS")),
    }
}
