//! A way to a server that can be shut in several manners.
//!
//! Never here: a look at what passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What becomes of what wants to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It passes.
    Open,
    /// New connections are closed at once.
    Shut,
    /// Nothing passes and nobody is told; when the way is open again it arrives, as TCP repeats it.
    Silent,
    /// What the server says passes; what it is told waits.
    Mute,
}

/// What all connections of a door look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    way: Way,
    /// Counts the times at which all connections were ended.
    cuts: u64,
}

/// A relay to one server.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    task: AbortHandle,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    /// Relays to `server`, which sees connections from `from`.
    pub(crate) async fn to(server: SocketAddr, from: Ipv4Addr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, states) = watch::channel(State { way: Way::Open, cuts: 0 });
        let task = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let states = states.clone();
                passing.spawn(async move {
                    let State { way, cuts } = *states.borrow();
                    if way == Way::Shut {
                        return;
                    }
                    let socket = TcpSocket::new_v4().unwrap();
                    socket.bind((from, 0).into()).unwrap();
                    let Ok(far) = socket.connect(server).await else { return };
                    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                    let mut cut = states.clone();
                    tokio::select! {
                        () = pass(from_near, to_far, states.clone(), |way| way == Way::Open) => {}
                        () = pass(from_far, to_near, states, |way| matches!(way, Way::Open | Way::Mute)) => {}
                        _ = cut.wait_for(|state| state.cuts != cuts) => {}
                    }
                });
            }
        });
        Self { address, state, task: task.abort_handle() }
    }

    /// From now on, also for what is connected.
    pub(crate) fn set(&self, way: Way) {
        self.state.send_modify(|state| state.way = way);
    }

    /// Ends every connection; what waits in it is lost.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut states: watch::Receiver<State>,
    passes: impl Fn(Way) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let open = states.wait_for(|state| passes(state.way)).await.is_ok();
        if !open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Longer than Sluice takes to be sure of a frozen primary.
pub(super) const SURE: Duration = Duration::from_secs(6);
