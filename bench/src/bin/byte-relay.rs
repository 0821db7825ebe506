//! A proxy that understands nothing: bytes from one socket to the other, on the same runtimes as Sluice's workers. What
//! Sluice costs beyond it is about what understanding the protocol costs.
//!
//! Its file of settings has two lines, `listen ADDRESS` and `server ADDRESS`.
//!
//! Never here: a protocol, a limit, a retry.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::thread;

use clap::Parser;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// As many as Sluice gets workers from the harness.
const THREADS: usize = 2;
/// The kernel cuts it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// What one read takes at most, bytes.
const ROOM: usize = 32 * 1024;

/// Relays bytes between clients and one server.
#[derive(Debug, Parser)]
#[command(name = "byte-relay")]
struct Options {
    /// The file of settings.
    #[arg(long)]
    config: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = std::fs::read_to_string(Options::parse().config)?;
    let address = |key: &str| -> Result<SocketAddr, Box<dyn Error>> {
        let line = settings.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        Ok(line.ok_or_else(|| format!("the line '{key} ADDRESS' is missing"))?.parse()?)
    };
    let (listen, server) = (address("listen")?, address("server")?);
    let sockets = (0..THREADS).map(|_| open(listen)).collect::<io::Result<Vec<_>>>()?;
    let threads: Vec<_> =
        sockets.into_iter().map(|socket| thread::spawn(move || worker(socket, server))).collect();
    for thread in threads {
        thread.join().map_err(|_| "a worker panicked")??;
    }
    Ok(())
}

fn open(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn worker(socket: StdListener, server: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(socket)?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(relay(client, server));
        }
    })
}

/// Relays until one side has closed.
async fn relay(mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut asked, mut answered) = (vec![0; ROOM], vec![0; ROOM]);
    loop {
        tokio::select! {
            biased;
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                read => server.write_all(asked.get(..read).unwrap_or_default()).await?,
            },
            read = server.read(&mut answered) => match read? {
                0 => return Ok(()),
                read => client.write_all(answered.get(..read).unwrap_or_default()).await?,
            },
        }
    }
}
