//! Accounts that only their clients can log in to: a server with a plugin that nobody knows, and a client that has it.
//!
//! The server is a real one behind a door of ours. The door holds an exchange of its own with who logs in as
//! [`USER`], and then lets him in as an account without a password; everybody else it lets through.
//!
//! Never here: a plugin that the product knows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice::backend::{PacketStream, Stream};
use sluice::feed::registry::{Entry, Order};
use sluice_cluster::{Accounts, Cluster, wait_until};
use sluice_protocol::auth::{AuthPlugin, ChannelSecurity, ClientAuthError, ClientStep, Credential, Password};
use sluice_protocol::handshake::{ExpectGreeting, Greeting, HandshakeResponse, LoginRequest, Ready};
use sluice_protocol::{Answer, Capabilities, ErrPacket};
use sluice_routing::pin::PinReason;
use tokio::net::{TcpListener, TcpStream};

use super::front::{CLIENT, Front, Place, attempt, configuration};
use super::{ask, change, one_node};
use crate::data_path::{DataPath, topology};

/// The account of the unknown plugin.
const USER: &str = "exotic";
const PLUGIN: &[u8] = b"exotic_client";
const NONCE: &[u8; 20] = b"nonce-of-the-plugin!";
const SOON: Duration = Duration::from_secs(10);

/// A door in front of `server`.
async fn door(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // Either side may leave when it likes.
                let _ = receive(PacketStream::new(Stream::from_tcp(tcp)), server).await;
            });
        }
    });
    address
}

type Left = Box<dyn std::error::Error + Send + Sync>;

async fn receive(mut near: PacketStream, server: SocketAddr) -> Result<(), Left> {
    let mut far = PacketStream::new(Stream::from_tcp(TcpStream::connect(server).await?));
    let mut greeting = Greeting::parse(&far.read_packet(1 << 16).await?.payload)?;
    greeting.capabilities = greeting.capabilities - Capabilities::SSL;
    near.write_packet(&greeting.encode()).await?;
    let said = near.read_packet(1 << 16).await?.payload;
    let mut response = HandshakeResponse::parse(&said, greeting.capabilities)?;
    if response.user != USER.as_bytes() {
        far.write_packet(&said).await?;
    } else if exchange(&mut near).await? {
        response.plugin = Some(AuthPlugin::CachingSha2);
        response.auth_response.clear();
        far.write_packet(&response.encode()).await?;
        let verdict = far.read_packet(1 << 16).await?.payload;
        near.write_packet(&verdict).await?;
    } else {
        let refusal = ErrPacket::access_denied(USER.as_bytes(), "the door", true);
        near.write_packet(&refusal.encode(greeting.capabilities)).await?;
        return Ok(());
    }
    let (mut near, _) = near.into_stream().map_err(|_| "read ahead")?;
    let (mut far, _) = far.into_stream().map_err(|_| "read ahead")?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// The plugin's server side: two rounds, the second with two packets in a row.
async fn exchange(near: &mut PacketStream) -> Result<bool, Left> {
    near.write_packet(&[b"\xfe", PLUGIN, b"\0", NONCE, b"\0"].concat()).await?;
    let first = near.read_packet(1 << 16).await?.payload;
    near.write_packet(b"\x01wait").await?;
    near.write_packet(b"\x01more").await?;
    let second = near.read_packet(1 << 16).await?.payload;
    Ok(first == answer("right") && second == b"two")
}

fn answer(password: &str) -> Vec<u8> {
    [password.as_bytes(), NONCE].concat()
}

async fn greeted(address: SocketAddr) -> (PacketStream, Ready) {
    let mut io = PacketStream::new(Stream::from_tcp(TcpStream::connect(address).await.unwrap()));
    let greeting = io.read_packet(1 << 16).await.unwrap();
    (io, ExpectGreeting.on(&greeting.payload, ChannelSecurity::Plain).unwrap())
}

fn request<'a>(user: &'a str, credential: &'a Credential, database: Option<&'a [u8]>) -> LoginRequest<'a> {
    LoginRequest {
        user: user.as_bytes(),
        credential,
        database,
        capabilities: CLIENT,
        collation: 45,
        max_packet: 1 << 24,
        attributes: &[],
    }
}

/// A login as [`USER`] by a client that has the plugin: it begins as drivers do, with `password` under the plugin of
/// the greeting, and answers to the other plugin as it is asked. Shows what it was asked before that.
async fn log_in(
    address: SocketAddr,
    password: &str,
    database: Option<&str>,
) -> (Vec<u8>, Result<PacketStream, ErrPacket<'static>>) {
    let (mut io, ready) = greeted(address).await;
    let credential = Credential::Password(Password::new(password.into()));
    let database = database.map(str::as_bytes);
    let (payload, auth, _) = ready.log_in(&request(USER, &credential, database));
    io.write_packet(&payload).await.unwrap();
    let (mut auth, mut asked) = (Some(auth), Vec::new());
    loop {
        let packet = io.read_packet(1 << 16).await.unwrap();
        match (&packet.payload[..], auth.take()) {
            ([0x00, ..], _) => {
                io.set_sequence(0);
                return (asked, Ok(io));
            }
            ([0xff, ..], _) => return (asked, Err(ErrPacket::parse(&packet.payload).unwrap().into_owned())),
            (payload, Some(state)) => match state.on(payload) {
                Ok(ClientStep::Send { payload: reply, next }) => {
                    asked.push(payload[0]);
                    io.write_packet(&reply).await.unwrap();
                    auth = Some(next);
                }
                Err(ClientAuthError::Plugin(plugin)) => {
                    assert_eq!(plugin.name(), PLUGIN);
                    assert_eq!(&payload[payload.len() - 21..payload.len() - 1], NONCE);
                    io.write_packet(&answer(password)).await.unwrap();
                }
                other => panic!("{other:?}"),
            },
            (b"\x01wait", None) => {}
            (b"\x01more", None) => io.write_packet(b"two").await.unwrap(),
            (other, None) => panic!("{other:?}"),
        }
    }
}

async fn two_nodes_behind_doors() -> (Cluster, Vec<SocketAddr>) {
    let accounts = Accounts::replication_only();
    let cluster = Cluster::builder().nodes(2).start().await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    for sql in [
        "CREATE USER exotic@'%' IDENTIFIED BY ''",
        "GRANT ALL ON app.* TO exotic@'%'",
        "CREATE TABLE app.t (id INT PRIMARY KEY)",
    ] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    cluster.wait_caught_up(0).await.unwrap();
    let mut doors = Vec::new();
    for node in cluster.nodes() {
        doors.push(door(node.address().into()).await);
    }
    (cluster, doors)
}

/// The only session of [`USER`], once it has begun.
async fn entry(path: &DataPath) -> Arc<Entry> {
    let find = || {
        let of_user = |entry: &Arc<Entry>| entry.user().is_some_and(|user| **user == *USER);
        path.feed.registry().all().into_iter().find(|entry| of_user(entry) && entry.pins() != 0)
    };
    wait_until("the session", SOON, || std::future::ready(find().is_some())).await.unwrap();
    find().unwrap()
}

async fn value(io: &mut PacketStream, sql: &str) -> String {
    match ask(io, sql).await {
        Answer::Rows { rows, .. } => String::from_utf8(rows[0][0].clone().unwrap()).unwrap(),
        other @ (Answer::Ok(_) | Answer::Error(_)) => panic!("{sql}: {other:?}"),
    }
}

const PLAIN_INSTANCES: &str = "[tls.instance]\nmode = 'disabled'\n[durability]\nwithout_acker = 'stall'";

#[tokio::test]
async fn an_account_of_an_unknown_plugin_is_proved_to_its_server_and_keeps_its_connection() {
    let (cluster, doors) = two_nodes_behind_doors().await;
    let path = DataPath::start_at(&cluster, &doors, SOON, PLAIN_INSTANCES);
    let split = path.split_address();
    let (asked, first) = log_in(split, "right", Some("app")).await;
    assert_eq!(asked, [0x01, 0x01], "asked for its password, in vain, and given the key for it");
    drop(first.unwrap());
    let left = || async { path.feed.registry().is_empty() };
    wait_until("the first to be gone", SOON, left).await.unwrap();

    let (asked, second) = log_in(split, "right", Some("app")).await;
    assert!(asked.is_empty(), "known: the server asks from the first packet on");
    let mut io = second.unwrap();
    let ours = 1 << PinReason::ClientLogin as u32;
    assert_eq!(entry(&path).await.pins(), ours);
    let thread = value(&mut io, "SELECT @@server_id * 1000000 + PS_CURRENT_THREAD_ID()").await;
    for sql in ["INSERT INTO t VALUES (1)", "BEGIN", "INSERT INTO t VALUES (2)", "COMMIT", "USE app"] {
        assert!(matches!(ask(&mut io, sql).await, Answer::Ok(_)), "{sql}");
    }
    assert_eq!(value(&mut io, "SELECT COUNT(*) FROM t").await, "2");
    assert_eq!(value(&mut io, "SELECT DATABASE()").await, "app");
    io.set_sequence(0);
    io.write_packet(&[0x1f]).await.unwrap();
    assert!(matches!(super::answer(&mut io).await, Answer::Ok(_)), "COM_RESET_CONNECTION");
    assert_eq!(entry(&path).await.pins(), ours, "a reset doesn't end it");
    let now = value(&mut io, "SELECT @@server_id * 1000000 + PS_CURRENT_THREAD_ID()").await;
    assert_eq!(now, thread, "all on one connection");

    // A move it can't follow.
    entry(&path).await.order(Order::RollBack);
    let Answer::Error(error) = ask(&mut io, "SELECT 1").await else { panic!("no error") };
    assert_eq!((error.code, error.sql_state), (1053, Some(*b"08S01")));
    assert_eq!(io.fill().await.unwrap(), 0, "the session ends");

    // So is the end of its connection.
    let mut io = log_in(split, "right", None).await.1.unwrap();
    cluster.node(0).exec(&format!("KILL {}", entry(&path).await.backend().unwrap().1)).await.unwrap();
    let Answer::Error(error) = ask(&mut io, "SELECT 1").await else { panic!("no error") };
    assert_eq!(error.code, 1053);
}

#[tokio::test]
async fn what_its_server_refuses_is_told_in_its_words_and_other_users_change_to_it() {
    let (cluster, doors) = two_nodes_behind_doors().await;
    let path = DataPath::start_at(&cluster, &doors, SOON, PLAIN_INSTANCES);
    let split = path.split_address();
    for (password, database, code) in
        [("", None, 1045), ("wrong", None, 1045), ("wrong", None, 1045), ("right", Some("nowhere"), 1044)]
    {
        let direct = log_in(doors[0], password, database).await.1.unwrap_err();
        let through = log_in(split, password, database).await.1.unwrap_err();
        assert_eq!((through.code, &through), (code, &direct), "{password} {database:?}");
    }
    // A primary that is away means no session: there would be no connection for its writes.
    path.publisher.publish(sluice_routing::topology::Topology { primary: None, ..topology(&cluster, 1, 0) });
    assert_eq!(log_in(split, "right", None).await.1.unwrap_err().code, 1053);
    // Through the replica listener it is tied to a replica, which refuses writes.
    path.publisher.publish(topology(&cluster, 1, 0));
    cluster.node(1).exec("SET GLOBAL super_read_only = ON").await.unwrap();
    let mut io = log_in(path.replica_address(), "right", Some("app")).await.1.unwrap();
    let on = value(&mut io, "SELECT @@server_uuid").await;
    assert_eq!(on, cluster.node(1).uuid().to_string());
    let Answer::Error(error) = ask(&mut io, "INSERT INTO t VALUES (1)").await else { panic!("no error") };
    assert_eq!(error.code, 1290);
    // It becomes another user, whose connections are shared.
    let app = sluice_cluster::Login::app();
    assert_eq!(change(&mut io, &app.user, &app.password).await, None);
    assert_eq!(value(&mut io, "SELECT USER() LIKE 'exotic%'").await, "0");
    let unpinned = || async { path.feed.registry().all().iter().all(|entry| entry.pins() == 0) };
    wait_until("nothing to tie it", SOON, unpinned).await.unwrap();
}

/// A client that names a plugin of its own comes to an account of a real server that is about a password. The server
/// is spoken to over TLS and the client without, so that neither would understand the other: it is asked as any client.
#[tokio::test]
async fn a_password_is_asked_for_whatever_plugin_the_client_names() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let places = [Place::of(cluster.node(0))];
    let config = configuration(&places, store.path());
    let front = Front::start(&config, &places).await;
    let server: SocketAddr = cluster.node(0).address().into();
    // The second is what MariaDB's library names while a thread of it loads another.
    let names = [PLUGIN, b"dummy_fallback_auth"];
    let passwords = [("right", None), ("wrong", Some(1045)), ("right", None)];
    for (name, (password, code)) in names.into_iter().flat_map(|name| passwords.map(|with| (name, with))) {
        let through = with_own_plugin(front.address, name, password).await;
        let direct = with_own_plugin(server, name, password).await;
        assert_eq!(through.as_ref().err(), direct.as_ref().err());
        assert_eq!(through.as_ref().err().map(|error| error.code), code, "{password}");
        if let Ok(mut io) = through {
            let Answer::Rows { rows, .. } = ask(&mut io, "SELECT CURRENT_USER()").await else {
                panic!("no rows")
            };
            assert_eq!(rows[0], [Some(b"app@%".to_vec())]);
        }
    }
    assert_eq!(attempt(front.address, "app", "right", None, CLIENT).await.steps, super::FAST);
}

async fn with_own_plugin(
    address: SocketAddr,
    name: &[u8],
    password: &str,
) -> Result<PacketStream, ErrPacket<'static>> {
    let (mut io, ready) = greeted(address).await;
    let credential = Credential::Password(Password::new(password.into()));
    let (payload, mut auth, agreed) = ready.log_in(&request("app", &credential, None));
    let mut response = HandshakeResponse::parse(&payload, agreed).unwrap();
    response.plugin = Some(AuthPlugin::Other(name.to_vec()));
    response.auth_response.clear();
    io.write_packet(&response.encode()).await.unwrap();
    loop {
        let packet = io.read_packet(1 << 16).await.unwrap();
        match auth.on(&packet.payload).unwrap() {
            ClientStep::Send { payload, next } => {
                io.write_packet(&payload).await.unwrap();
                auth = next;
            }
            ClientStep::Wait(next) => auth = next,
            ClientStep::Done(_) => {
                io.set_sequence(0);
                return Ok(io);
            }
            ClientStep::Refused(error) => return Err(error),
        }
    }
}
