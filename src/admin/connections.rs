//! Accepting HTTP connections within limits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{AdminState, Face, gauges, routes};

/// Connections per listener; more wait in the backlog. Scrapers, probes and people need a handful.
const MAX_CONNECTIONS: usize = 128;
/// A peer that doesn't finish its request's head in this time is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of a connection: nobody holds one of the few places by reading slowly.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// Longest head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Pause after a failed accept (out of file descriptors): trying at once would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may go on after the shutdown began.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Serves the API on `listener` until `shutdown` ends.
pub async fn serve(listener: TcpListener, state: AdminState, face: Face, shutdown: impl Future<Output = ()>) {
    gauges::describe();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        while connections.try_join_next().is_some() {}
        let place = async {
            // The semaphore is never closed; without a place nothing is accepted.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await?))
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = place => accepted,
        };
        match accepted {
            Ok((place, (stream, peer))) => {
                let state = state.clone();
                connections.spawn(async move {
                    connection(stream, peer, state, face).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin: can't accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let ended = timeout(SHUTDOWN_GRACE, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, state: AdminState, face: Face) {
    let service = TowerToHyperService::new(routes::router(state, face, peer));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "admin: connection ended"),
        Err(_) => tracing::debug!(%peer, "admin: connection reached its longest life"),
    }
}
