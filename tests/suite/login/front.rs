//! What the login tests are made of: a listener that logs clients in and passes bytes on, and a client that
//! shows every packet.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::backend::{BackendConnection, BackendLogin, Dialer, PacketStream, Stream, Target};
use sluice::config::Config;
use sluice::feed::{self, Feed, registry};
use sluice::session::login::{LoginContext, LoginEnd, change_user, keep_verified, login};
use sluice_cluster::Node;
use sluice_protocol::auth::{ChannelSecurity, ClientStep, Credential, Password};
use sluice_protocol::handshake::{ExpectGreeting, HandshakeError, LoginRequest};
use sluice_protocol::{Capabilities, ErrPacket};
use sluice_routing::decide::Listener;
use sluice_routing::topology::{Instance, InstanceId, Reads, Topology};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// One instance of a test's topology; the first is the primary, the others serve reads.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) uuid: Uuid,
}

impl Place {
    pub(crate) fn of(node: &Node) -> Self {
        Self { address: node.address().into(), uuid: node.uuid() }
    }
}

/// A configuration for these instances; adjusted by the test before [`Front::start`].
pub(crate) fn configuration(places: &[Place], store: &Path) -> Config {
    let mut text = format!(
        "[cluster]\nname = 'test'\nstore = 'file://{}'\n\
         [accounts.control]\nuser = 'sluice'\npassword = 'unused'\n\
         [accounts.replication]\nuser = 'repl'\npassword = 'unused'\n\
         [listen]\nprimary = '127.0.0.1:0'\n\
         [durability]\nwithout_acker = 'stall'\n",
        store.display()
    );
    for (number, place) in places.iter().enumerate() {
        let _ = writeln!(text, "[[instance]]\nname = 'db{}'\naddress = '{}'", number + 1, place.address);
    }
    Config::parse(&text, store).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A listener in front of instances.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) ends: mpsc::UnboundedReceiver<LoginEnd>,
    /// End with it.
    _tasks: tokio::task::JoinSet<()>,
}

impl Front {
    pub(crate) async fn start(config: &Config, places: &[Place]) -> Self {
        let instances: Vec<Instance> = config
            .instances
            .iter()
            .zip(places)
            .zip(0..)
            .map(|((instance, place), id)| Instance {
                server_uuid: Some(place.uuid),
                version: Some("9.7.4".into()),
                reads: Reads::Serving,
                ..Instance::unchecked(InstanceId(id), instance.name.clone(), instance.address.clone())
            })
            .collect();
        let topology = Topology { epoch: 1, primary: Some(InstanceId(0)), ..Topology::unknown(instances) };
        let (_publisher, feed) = feed::channel(1, topology);
        let dialer = Arc::new(Dialer::new(config).unwrap());
        let context = Arc::new(LoginContext::new(config, dialer, Arc::clone(&feed)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, ends) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        let verifying = Arc::clone(&context);
        tasks.spawn(async move { keep_verified(&verifying).await });
        tasks.spawn(async move {
            loop {
                let (tcp, peer) = listener.accept().await.unwrap();
                let (context, feed, tell) = (Arc::clone(&context), Arc::clone(&feed), tell.clone());
                tokio::spawn(async move {
                    if let Err(end) = serve(tcp, peer, &context, &feed).await {
                        let _ = tell.send(end);
                    }
                });
            }
        });
        Self { address, ends, _tasks: tasks }
    }

    /// Why the next client that fails was not let in.
    pub(crate) async fn end(&mut self) -> LoginEnd {
        tokio::time::timeout(Duration::from_secs(30), self.ends.recv()).await.unwrap().unwrap()
    }
}

const COM_QUIT: u8 = 0x01;
const COM_CHANGE_USER: u8 = 0x11;

async fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    context: &LoginContext,
    feed: &Arc<Feed>,
) -> Result<(), LoginEnd> {
    let registration = registry::register(feed, peer, Listener::Primary);
    let session = login(tcp, registration.entry(), context).await?;
    let (mut client, mut who) = (session.client, session.login);
    let mut backend = session.first_backend;
    loop {
        tokio::select! {
            read = client.fill() => match (read, client.buffer().get(4)) {
                (Ok(0) | Err(_), _) | (_, Some(&COM_QUIT)) => return Ok(()),
                (Ok(_), Some(&COM_CHANGE_USER)) => {
                    let command = client.read_packet(1 << 16).await.unwrap();
                    let changed =
                        change_user(&mut client, &command.payload, &who, registration.entry(), context).await?;
                    (who, backend) = (changed.login, changed.first_backend);
                }
                (Ok(count), _) => {
                    let io = match &mut backend {
                        Some(connection) => &mut connection.io,
                        None => match open(&who, context, feed).await {
                            Some(connection) => &mut backend.insert(connection).io,
                            None => return Ok(()),
                        },
                    };
                    pass(&mut client, io, count).await;
                }
            },
            read = from(&mut backend) => match (read, &mut backend) {
                (Ok(count @ 1..), Some(connection)) => pass(&mut connection.io, &mut client, count).await,
                _ => return Ok(()),
            },
        }
    }
}

/// A connection for a client that was let in without one.
async fn open(who: &BackendLogin, context: &LoginContext, feed: &Feed) -> Option<BackendConnection> {
    let target = Target::of(feed.topology().primary()?);
    context.connect(target, who, Instant::now() + Duration::from_secs(10)).await.ok()
}

async fn from(backend: &mut Option<BackendConnection>) -> std::io::Result<usize> {
    match backend {
        Some(connection) => connection.io.fill().await,
        None => std::future::pending().await,
    }
}

async fn pass(from: &mut PacketStream, to: &mut PacketStream, count: usize) {
    let bytes = from.take(count);
    to.write_all(&bytes).await.unwrap();
    to.flush().await.unwrap();
}

/// A login as a client sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The first bytes of the server's packets between the login and its end: `0x0103` and so on.
    pub(crate) steps: Vec<u16>,
    /// The payload of the OK at the end.
    pub(crate) welcome: Vec<u8>,
    /// The client, logged in, or the server's error.
    pub(crate) result: Result<PacketStream, ErrPacket<'static>>,
}

impl Seen {
    /// Number, SQLSTATE and text of the error.
    pub(crate) fn error(self) -> (u16, String, String) {
        let error = self.result.expect_err("the login should have failed");
        let state = error.sql_state.map_or_else(String::new, |s| String::from_utf8_lossy(&s).into_owned());
        (error.code, state, String::from_utf8_lossy(&error.message).into_owned())
    }
}

/// What the test's client speaks, like a current driver.
pub(crate) const CLIENT: Capabilities =
    Capabilities::CONNECT_ATTRS.union(Capabilities::SESSION_TRACK).union(Capabilities::DEPRECATE_EOF);

/// Logs in without TLS.
pub(crate) async fn attempt(
    address: SocketAddr,
    user: &str,
    password: &str,
    database: Option<&str>,
    capabilities: Capabilities,
) -> Seen {
    let password = Password::new(password.as_bytes().to_vec());
    let request = LoginRequest {
        user: user.as_bytes(),
        credential: &Credential::Password(password),
        database: database.map(str::as_bytes),
        capabilities,
        collation: 45,
        max_packet: 1 << 24,
        attributes: &[],
    };
    let mut io = PacketStream::new(Stream::from_tcp(TcpStream::connect(address).await.unwrap()));
    let mut steps = Vec::new();
    let greeting = io.read_packet(1 << 16).await.unwrap();
    let ready = match ExpectGreeting.on(&greeting.payload, ChannelSecurity::Plain) {
        Ok(ready) => ready,
        Err(HandshakeError::Refused(error)) => {
            return Seen { steps, welcome: Vec::new(), result: Err(error) };
        }
        Err(error) => panic!("{error}"),
    };
    let (mut payload, mut auth, _) = ready.log_in(&request);
    if capabilities.contains(Capabilities::COMPRESS) {
        // Sluice itself never asks for it, so its client's side leaves it out.
        payload[0] |= 1 << 5;
    }
    io.write_packet(&payload).await.unwrap();
    loop {
        let packet = io.read_packet(1 << 16).await.unwrap();
        let at = |index: usize| packet.payload.get(index).copied().unwrap_or_default();
        steps.push(u16::from_be_bytes([at(0), at(1)]));
        match auth.on(&packet.payload).unwrap() {
            ClientStep::Send { payload, next } => {
                io.write_packet(&payload).await.unwrap();
                auth = next;
            }
            ClientStep::Wait(next) => auth = next,
            ClientStep::Done(welcome) => {
                io.set_sequence(0);
                return Seen { steps, welcome, result: Ok(io) };
            }
            ClientStep::Refused(error) => {
                steps.pop();
                return Seen { steps, welcome: Vec::new(), result: Err(error) };
            }
        }
    }
}
