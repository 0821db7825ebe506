//! Whether the instance of a binlog stream is still what the listener promises.
//!
//! Never here: the stream.

use sluice_routing::decide::Listener;
use sluice_routing::topology::{InstanceId, Reads, ReadsStopped};
use tokio::sync::watch;

use crate::feed::Feed;

/// Tells when a binlog stream has to end.
#[derive(Debug)]
pub(crate) struct StreamWatch<'a> {
    pub(crate) feed: &'a Feed,
    pub(crate) shape: watch::Receiver<u64>,
    pub(crate) instance: InstanceId,
    pub(crate) listener: Listener,
}

impl StreamWatch<'_> {
    fn is_served(&self) -> bool {
        let topology = self.feed.topology();
        match self.listener {
            Listener::Primary | Listener::Split => topology.is_primary(self.instance),
            Listener::Replica => topology.instance(self.instance).is_some_and(|known| match known.reads {
                Reads::Serving => true,
                // What is in its binlog stays true while it lags or waits for its source.
                Reads::Stopped(
                    ReadsStopped::Lagging | ReadsStopped::NotReplicating | ReadsStopped::NotYetChecked,
                ) => true,
                Reads::Stopped(
                    ReadsStopped::Unreachable
                    | ReadsStopped::Draining
                    | ReadsStopped::Maintenance
                    | ReadsStopped::Quarantined
                    | ReadsStopped::Rebuilding
                    | ReadsStopped::WrongServer
                    | ReadsStopped::Writable,
                ) => topology.is_primary(self.instance),
            }),
        }
    }

    pub(super) async fn ended(&mut self) {
        while self.is_served() && self.shape.changed().await.is_ok() {}
    }
}
