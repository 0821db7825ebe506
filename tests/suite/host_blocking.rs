//! Clients that never finish their handshake do not get Sluice's address blocked by a server (error 1129),
//! though the same attempts made directly do block the one who makes them.
//!
//! Never here: connections from 127.0.0.1, which servers exempt: everything passes through a relay that
//! connects from 127.0.0.2.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

use std::net::SocketAddr;
use std::time::Duration;

use sluice::backend::{PacketStream, Stream};
use sluice_cluster::{Cluster, NameResolution, wait_until};
use sluice_protocol::auth::AuthPlugin;
use sluice_protocol::handshake::{Greeting, HandshakeResponse};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::login::front::{CLIENT, Front, Place, attempt, configuration};

/// Half-open clients thrown at Sluice.
const HALF_OPEN: usize = 200;
/// The server's limit; a fortieth of the attempts.
const MAX_CONNECT_ERRORS: u32 = 5;
const SOON: Duration = Duration::from_secs(20);
const BLOCKED: u16 = 1129;

/// Relays connections to `server` from 127.0.0.2.
async fn relay_from_elsewhere(server: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut relays = JoinSet::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            relays.spawn(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
                if let Ok(mut far) = socket.connect(server).await {
                    // Either side may end the connection as it likes.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    (address, task)
}

/// Reads the greeting, or what comes instead, and hangs up. Returns the error if one came.
async fn greet_and_hang_up(address: SocketAddr) -> Option<u16> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let mut packet = [0; 7];
    tcp.read_exact(&mut packet).await.unwrap();
    (packet[4] == 0xff).then(|| u16::from_le_bytes([packet[5], packet[6]]))
}

/// Comes with a plugin of its own, so that the server's own exchange is passed on, and hangs up in the middle of it.
async fn leave_within_relayed_login(address: SocketAddr) {
    let mut io = PacketStream::new(Stream::from_tcp(TcpStream::connect(address).await.unwrap()));
    let greeting = Greeting::parse(&io.read_packet(1 << 16).await.unwrap().payload).unwrap();
    let response = HandshakeResponse {
        capabilities: (Greeting::REQUIRED | CLIENT) & greeting.capabilities,
        max_packet: 1 << 24,
        collation: 45,
        user: b"app".to_vec(),
        auth_response: Vec::new().into(),
        database: None,
        plugin: Some(AuthPlugin::Other(b"exotic_client".to_vec())),
        attributes: Vec::new(),
        zstd_level: None,
    };
    io.write_packet(&response.encode()).await.unwrap();
    assert_eq!(io.read_packet(1 << 16).await.unwrap().payload[0], 0xfe, "the server's own question");
}

async fn connections_of(cluster: &Cluster, user: &str) -> u64 {
    let sql = format!("SELECT COUNT(*) FROM performance_schema.processlist WHERE user = '{user}'");
    cluster.node(0).value(&sql).await.unwrap()
}

async fn counted_errors(cluster: &Cluster) -> u64 {
    let sql = "SELECT CAST(COALESCE(SUM(sum_connect_errors), 0) AS UNSIGNED) FROM performance_schema.host_cache \
               WHERE ip = '127.0.0.2'";
    cluster.node(0).value(sql).await.unwrap()
}

#[tokio::test]
async fn half_open_clients_do_not_get_sluice_blocked() {
    let cluster = Cluster::builder()
        .nodes(1)
        .name_resolution(NameResolution::On)
        .option(&format!("max_connect_errors={MAX_CONNECT_ERRORS}"))
        .start()
        .await
        .unwrap();
    let node = cluster.node(0);
    for sql in
        ["CREATE DATABASE app", "CREATE USER app@'%' IDENTIFIED BY 'right'", "GRANT ALL ON app.* TO app@'%'"]
    {
        node.exec(sql).await.unwrap();
    }
    let (elsewhere, relay) = relay_from_elsewhere(node.address().into()).await;

    // Direct: the server blocks the address.
    let mut attempts = 0;
    while greet_and_hang_up(elsewhere).await != Some(BLOCKED) {
        attempts += 1;
        assert!(attempts < HALF_OPEN, "the server never blocked anybody: this test would prove nothing");
    }
    node.exec("TRUNCATE TABLE performance_schema.host_cache").await.unwrap();
    wait_until("the address may connect again", SOON, || async {
        greet_and_hang_up(elsewhere).await.is_none()
    })
    .await
    .unwrap();
    node.exec("TRUNCATE TABLE performance_schema.host_cache").await.unwrap();

    // Through Sluice: nothing reaches the server.
    let store = tempfile::tempdir().unwrap();
    let places = [Place { address: elsewhere, uuid: node.uuid() }];
    let mut config = configuration(&places, store.path());
    config.sessions.max_connections = HALF_OPEN + 10;
    let front = Front::start(&config, &places).await;
    for _ in 0..HALF_OPEN {
        assert_eq!(greet_and_hang_up(front.address).await, None);
    }
    assert_eq!(counted_errors(&cluster).await, 0);
    let served = attempt(front.address, "app", "right", Some("app"), CLIENT).await;
    assert!(served.result.is_ok(), "{served:?}");

    // Nor do clients whose login a server has to hear from the first packet on, and that leave within it.
    for _ in 0..4 * MAX_CONNECT_ERRORS {
        leave_within_relayed_login(front.address).await;
    }
    let over = || async { connections_of(&cluster, "unauthenticated user").await == 0 };
    wait_until("their ends to be seen", SOON, over).await.unwrap();
    assert_eq!(counted_errors(&cluster).await, 0);
    let served = attempt(front.address, "app", "right", None, CLIENT).await;
    assert!(served.result.is_ok(), "{served:?}");
    relay.abort();
}
