//! The little HTTP that tests speak to the admin port.
//!
//! HTTP/1.0, one request per connection: the answer ends where the connection ends. Must never be used to measure.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ClusterError;

/// Longest wait for one answer; long polling of `/operations/ID?wait=` stays below it.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 16 << 20;

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code, such as 200.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// GET `path` from a loopback port.
///
/// # Errors
/// [`ClusterError::Io`] if nobody listens or the answer is not HTTP, [`ClusterError::Timeout`] after 60 s.
pub async fn http_get(port: u16, path: &str) -> Result<Response, ClusterError> {
    request(port, "GET", path, "").await
}

/// POST a JSON text to `path` at a loopback port.
///
/// # Errors
/// As [`http_get`].
pub async fn http_post(port: u16, path: &str, json: &str) -> Result<Response, ClusterError> {
    request(port, "POST", path, json).await
}

async fn request(port: u16, method: &str, path: &str, json: &str) -> Result<Response, ClusterError> {
    let what = format!("{method} {path} at port {port}");
    match tokio::time::timeout(ANSWER_LIMIT, exchange(port, method, path, json)).await {
        Ok(answer) => answer.map_err(ClusterError::io(what)),
        Err(_) => Err(ClusterError::Timeout { what, limit: ANSWER_LIMIT, detail: String::new() }),
    }
}

async fn exchange(port: u16, method: &str, path: &str, json: &str) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).await?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        json.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(json.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_told_apart() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nno\r\n\r\n");
        assert_eq!(answer, Some(Response { status: 503, body: "no\r\n\r\n".into() }));
        assert_eq!(parse("5.7.0-garbage"), None);
    }
}
