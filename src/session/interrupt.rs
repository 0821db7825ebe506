//! What may break a statement off before its answer: orders to the session, and servers that are gone or have lost
//! their role.
//!
//! Never here: bytes, what the break means for the client.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Instant;

use sluice_routing::topology::{InstanceId, Reads, ReadsStopped};

use super::relay::{Cut, Delivered};
use super::stream_watch::StreamWatch;
use crate::feed::Feed;
use crate::feed::registry::{Entry, Order};

/// What may break a statement off before its answer.
#[derive(Debug)]
pub(crate) enum Interrupt<'a> {
    /// A statement: the orders that count, and the end of the role in which the server runs it.
    OfStatement(&'a Entry, Obey, ServerWatch<'a>),
    /// A binlog stream: also when its instance is no longer what the listener promises, when the process is to end, and
    /// when the client leaves.
    OfStream(&'a Entry, StreamWatch<'a>),
}

/// Tells when a server's answer is not worth waiting for any more.
#[derive(Debug)]
pub(crate) struct ServerWatch<'a> {
    pub(crate) feed: &'a Feed,
    pub(crate) instance: InstanceId,
    pub(crate) serves_as: ServesAs,
    /// When the statement had not been sent yet.
    pub(crate) begun: Instant,
}

/// In which role a server runs a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServesAs {
    /// The primary, or where state is held. A frozen one may still answer, as long as it has its role.
    Primary,
    /// A replica: a frozen one never answers, and a read can be repeated elsewhere.
    Replica,
}

impl ServerWatch<'_> {
    /// Whether what it says counts no more: another server is, or will be, the primary in its place.
    fn is_disowned(&self) -> bool {
        self.feed.is_disowned(self.instance)
    }

    fn is_lost(&self) -> bool {
        let unreachable = Reads::Stopped(ReadsStopped::Unreachable);
        let serves =
            || self.feed.topology().instance(self.instance).is_some_and(|known| known.reads != unreachable);
        self.is_disowned() || (self.serves_as == ServesAs::Replica && !serves())
    }
}

/// Why a statement was broken off.
enum Broken {
    Ordered(Order),
    ServerLost,
}

impl<'a> Interrupt<'a> {
    /// Whether what the server says counts no more.
    pub(super) fn is_disowned(&self) -> bool {
        match self {
            Self::OfStatement(_, _, server) => server.is_disowned(),
            Self::OfStream(..) => false,
        }
    }

    /// Where to look whether a commit is at the ackers, and when it began; `None` for what commits nothing.
    pub(super) fn statement(&self) -> Option<(&'a Feed, Instant)> {
        match self {
            Self::OfStatement(_, _, server) => Some((server.feed, server.begun)),
            Self::OfStream(..) => None,
        }
    }

    /// Waits for what breaks the statement off.
    async fn broken(&mut self) -> Broken {
        match self {
            Self::OfStatement(entry, obey, server) => {
                poll_fn(|cx| {
                    loop {
                        if let Some(order) = due(entry, *obey) {
                            return Poll::Ready(Broken::Ordered(order));
                        }
                        if server.is_lost() {
                            return Poll::Ready(Broken::ServerLost);
                        }
                        // Rung for everything that may have changed one of them.
                        ready!(entry.poll_called(cx));
                    }
                })
                .await
            }
            Self::OfStream(entry, stream) => tokio::select! {
                broken = ordered(entry, Obey::CloseAtBoundary) => broken,
                () = stream.ended() => Broken::Ordered(Order::CloseAtBoundary),
            },
        }
    }

    /// The same, as what becomes of the answer.
    pub(crate) async fn cut(&mut self, delivered: Delivered) -> Cut {
        match self.broken().await {
            Broken::Ordered(order) => Cut::Ordered(order, delivered),
            Broken::ServerLost => Cut::Server(delivered),
        }
    }
}

/// Which orders break a statement off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obey {
    /// Only one to close the session.
    Close,
    /// Also one to close it at the next boundary.
    CloseAtBoundary,
    /// Also one to roll the transaction back.
    CloseAndRollBack,
}

/// The order that breaks off what obeys these.
fn due(entry: &Entry, obey: Obey) -> Option<Order> {
    let order = match obey {
        Obey::Close | Obey::CloseAtBoundary => entry.peek_order(),
        Obey::CloseAndRollBack => entry.take_order(),
    };
    match order {
        Order::Close => Some(order),
        Order::CloseAtBoundary => (obey == Obey::CloseAtBoundary).then_some(order),
        Order::RollBack => (obey == Obey::CloseAndRollBack).then_some(order),
        Order::None => None,
    }
}

async fn ordered(entry: &Entry, obey: Obey) -> Broken {
    loop {
        if let Some(order) = due(entry, obey) {
            return Broken::Ordered(order);
        }
        entry.called().await;
    }
}
