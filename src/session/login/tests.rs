//! Logins without any instance: what must be over before one is asked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::sync::Arc;

use sluice_routing::decide::Listener;
use sluice_routing::topology::Topology;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::context::UNKNOWN_VERSION;
use super::*;
use crate::backend::Dialer;
use crate::config::Config;
use crate::feed::{self, Feed, registry};

/// A context without instances and with `[login]` and `[sessions]` as given.
fn context(store: &std::path::Path, settings: &str) -> (LoginContext, Arc<Feed>) {
    let text = format!(
        "[cluster]\nname = 'test'\nstore = 'file://{}'\n\
         [[instance]]\nname = 'db1'\naddress = '127.0.0.1:1'\n\
         [accounts.control]\nuser = 'sluice'\npassword = 'x'\n\
         [accounts.replication]\nuser = 'repl'\npassword = 'x'\n\
         [listen]\nprimary = '127.0.0.1:0'\n{settings}",
        store.display()
    );
    let config = Config::parse(&text, store).unwrap_or_else(|problems| panic!("{problems:?}"));
    let (_publisher, feed) = feed::channel(1, Topology::unknown([]));
    let dialer = Arc::new(Dialer::new(&config).unwrap());
    (LoginContext::new(&config, dialer, Arc::clone(&feed)).unwrap(), feed)
}

/// Serves one client that does nothing but read; what it has read, and how its login ended.
async fn mute_client(context: &LoginContext, feed: &Arc<Feed>) -> (Vec<u8>, LoginEnd) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, peer) = listener.accept().await.unwrap();
    let registration = registry::register(feed, peer, Listener::Primary);
    let reading = async {
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        seen
    };
    let (seen, end) = tokio::join!(reading, login(tcp, registration.entry(), context));
    (seen, end.unwrap_err())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_has_ten_seconds() {
    let store = tempfile::tempdir().unwrap();
    let (context, feed) = context(store.path(), "");
    let begun = Instant::now();
    let (seen, end) = mute_client(&context, &feed).await;
    assert_eq!(end, LoginEnd::Deadline);
    assert_eq!(begun.elapsed().as_secs(), HANDSHAKE.as_secs());
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains(&format!("{UNKNOWN_VERSION}-sluice")), "{seen}");
    assert!(seen.contains("#08S01Bad handshake"), "{seen}");
}

#[tokio::test]
async fn over_the_limit_the_greeting_is_an_error() {
    let store = tempfile::tempdir().unwrap();
    let (context, feed) = context(store.path(), "[sessions]\nmax_connections = 1\n");
    let _taken = context.places.enter(1).unwrap();
    let (seen, end) = mute_client(&context, &feed).await;
    assert_eq!(end, LoginEnd::TooManyConnections);
    assert_eq!(seen, b"\x17\0\0\0\xff\x10\x04Too many connections");
}
