//! A way to a server that can be shut in several manners.
//!
//! Never here: a look at what passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Of packets on a lossy way.
const LOST: f64 = 0.3;
/// After which TCP (on Linux, in a network without delays) sends again what was not acknowledged, and after twice as
/// long each time from there on.
const AGAIN: Duration = Duration::from_millis(200);
/// The same for the first packets of a connection.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);
/// TCP waits no longer than so between two attempts.
const LONGEST: Duration = Duration::from_secs(120);

/// Between two buffers on a narrow way: of 64 KiB each.
const NARROW: Duration = Duration::from_millis(20);

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
    /// Three of ten packets are lost: all of it arrives, but late, as TCP repeats what is lost.
    Lossy,
    /// It passes slowly: a few MiB a second on each connection.
    Narrow,
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
                    // Of the first packet and its answer both have to arrive.
                    late(&mut states.clone(), CONNECT_AGAIN, LOST.mul_add(2.0, -LOST * LOST)).await;
                    let socket = TcpSocket::new_v4().unwrap();
                    socket.bind((from, 0).into()).unwrap();
                    let Ok(far) = socket.connect(server).await else { return };
                    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                    let mut cut = states.clone();
                    tokio::select! {
                        () = pass(from_near, to_far, states.clone(), |way| matches!(way, Way::Open | Way::Lossy | Way::Narrow)) => {}
                        () = pass(from_far, to_near, states, |way| way != Way::Silent && way != Way::Shut) => {}
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

/// On a lossy way, waits for as long as TCP needs to get something through; `lost` is the share that is lost.
async fn late(states: &mut watch::Receiver<State>, again: Duration, lost: f64) {
    let (mut pause, mut late) = (again, Duration::ZERO);
    while states.borrow().way == Way::Lossy && rand::rng().random_bool(lost) {
        late += pause;
        pause = (pause * 2).min(LONGEST);
    }
    if !late.is_zero() {
        // What waits for its repetition comes at once when the way is well again.
        let _ = timeout(late, states.wait_for(|state| state.way != Way::Lossy)).await;
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
        late(&mut states, AGAIN, LOST).await;
        if states.borrow().way == Way::Narrow {
            let _ = timeout(NARROW, states.wait_for(|state| state.way != Way::Narrow)).await;
        }
        let open = states.wait_for(|state| passes(state.way)).await.is_ok();
        if !open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Longer than Sluice takes to be sure of a frozen primary.
pub(super) const SURE: Duration = Duration::from_secs(6);
