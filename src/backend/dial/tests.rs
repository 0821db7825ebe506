//! The dialer against peers that are silent or talk nonsense.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use sluice_protocol::auth::{Nonce, Password};
use sluice_protocol::frame_payload;
use sluice_protocol::handshake::Greeting;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::super::handshake::host_of;
use super::*;
use crate::backend::Secret;
use crate::config::{InstanceTls, InstanceTlsMode};

/// Dials a server that says `words` and nothing more.
async fn dial(words: &[u8], mode: InstanceTlsMode) -> DialError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let words = words.to_vec();
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(&words).await.unwrap();
        tcp
    });
    let error = dial_at(&address.to_string(), mode).await;
    drop(server.await.unwrap());
    error
}

async fn dial_at(address: &str, mode: InstanceTlsMode) -> DialError {
    let tls = Arc::new(Tls::new(&InstanceTls { mode, ca: None, files: None }).unwrap());
    let endpoints = vec![Endpoint { address: address.into() }];
    let dialer =
        Dialer { endpoints: ArcSwap::from_pointee(endpoints), places: Places::new(1, 1), tls: tls.into() };
    let login = BackendLogin {
        user: (*b"app").into(),
        secret: Some(Secret::new(Password::new(b"x".to_vec()))),
        identity: None,
        database: None,
        collation: 45,
        client_capabilities: Capabilities::empty(),
        attributes: Box::default(),
    };
    let target = Target { instance: InstanceId(0), expected_uuid: None };
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = dialer.connect(target, &login, deadline).await.unwrap_err();
    assert_eq!(dialer.connections(InstanceId(0)), 0);
    error
}

/// The greeting of a server without TLS.
fn greeting() -> Vec<u8> {
    let nonce = Nonce::from_random([7; 20]);
    let payload = Greeting::new("9.7.4", 7, nonce, crate::backend::login::ALWAYS, 45).encode();
    let mut framed = Vec::new();
    frame_payload(&mut framed, &mut 0, &payload);
    framed
}

#[tokio::test]
async fn every_silence_and_nonsense_has_its_error() {
    let off = InstanceTlsMode::Disabled;
    assert!(matches!(dial(b"", off).await, DialError::Deadline { phase: Phase::Greeting }));
    assert!(matches!(dial(b"HTTP/1.1 400\r\n", off).await, DialError::Protocol(_)));
    assert!(matches!(dial(b"\x01\0\0\0\x09", off).await, DialError::Protocol(_)));
    let refused = dial(b"\x17\0\0\0\xff\x10\x04Too many connections", off).await;
    assert!(matches!(refused, DialError::Server(error) if error.code == 1040));
    let silent = dial(&greeting(), off).await;
    assert!(matches!(silent, DialError::Deadline { phase: Phase::Authenticate }), "{silent}");
    let tls = dial(&greeting(), InstanceTlsMode::Required).await;
    assert!(matches!(&tls, DialError::Tls(text) if text.contains("offers no TLS")), "{tls}");
}

#[tokio::test]
async fn nobody_there_is_not_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let off = InstanceTlsMode::Disabled;
    assert!(matches!(dial_at(&address.to_string(), off).await, DialError::Refused));
    assert!(matches!(dial_at("no-port", off).await, DialError::Resolve(_)));
}

#[test]
fn hosts_are_taken_from_addresses() {
    for (address, host) in [("db1:3306", "db1"), ("10.0.0.1:3306", "10.0.0.1"), ("[::1]:3306", "::1")] {
        assert_eq!(host_of(address), host);
    }
}
