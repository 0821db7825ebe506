//! The replica's side of replication: the channel, its receiver and the relay log.

use std::collections::VecDeque;
use std::sync::Arc;

use sluice_protocol::GtidSet;
use uuid::Uuid;

use super::commit::{short, short_set};
use super::{Trx, at_address};
use crate::world::{Arrival, MS, SECOND, Time, World};

/// `SOURCE_CONNECT_RETRY`
const RETRY: Time = SECOND;
/// An acker that comes back to the source it has just left waits for the old dump thread to go.
const BACK: Time = SECOND;

/// What a receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Off,
    Connecting,
    On,
}

/// The replication channel of a server.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) heartbeat: f64,
    pub(crate) source: Option<Uuid>,
    pub(crate) receiver: Receiver,
    pub(crate) error: Option<String>,
    /// Counts starts of the receiver and losses of its source: what belongs to a former one is dropped.
    pub(crate) attachment: u64,
    pub(crate) received: GtidSet,
    /// Received and not yet applied.
    pub(crate) relay: VecDeque<Arc<Trx>>,
    pub(crate) applying: bool,
    /// Whether the first of the relay log is being committed.
    pub(crate) committing: bool,
    /// When something came from the source last.
    pub(crate) heard: Time,
    /// It acknowledges, by this start.
    pub(crate) acking_now: bool,
    /// The source it has left last, and when.
    left: Option<(usize, Time)>,
}

impl Channel {
    /// Never started.
    pub(crate) fn new((host, port): (String, u16), tuned: bool) -> Self {
        Self {
            host,
            port,
            heartbeat: if tuned { 2.0 } else { 30.0 },
            source: None,
            receiver: Receiver::Off,
            error: None,
            attachment: 0,
            received: GtidSet::new(),
            relay: VecDeque::new(),
            applying: false,
            committing: false,
            heard: 0,
            acking_now: false,
            left: None,
        }
    }
}

impl World {
    pub(crate) fn start_receiver(&mut self, index: usize) {
        let Some(channel) = self.servers[index].channel.as_mut() else { return };
        if channel.receiver != Receiver::Off {
            return;
        }
        channel.receiver = Receiver::Connecting;
        channel.attachment += 1;
        channel.error = None;
        self.connect(index);
    }

    /// One attempt to attach, and the next if it comes to nothing.
    fn connect(&mut self, index: usize) {
        let (now, acking, takes) =
            (self.now, self.servers[index].acking, self.random.between(15 * MS, 60 * MS));
        let timeout = Time::from(self.servers[index].net_timeout) * SECOND;
        let Some(channel) = self.servers[index].channel.as_mut() else { return };
        let attachment = channel.attachment;
        let Some(source) = at_address(&channel.host) else { return };
        let back = channel.left.is_some_and(|(left, at)| left == source && at + BACK > now);
        let takes = if back { BACK } else { takes };
        self.server_after(index, takes, move |world| {
            if !world.is_attaching(index, attachment) {
                return;
            }
            let has = world.servers[index].has();
            world.send_to_server(index, source, None, move |world, arrival| {
                let outcome = match arrival {
                    Arrival::Met => world.attach(source, index, attachment, acking, has),
                    Arrival::Reset => Err("error 2003: connection refused".into()),
                };
                let boot = world.servers[source].boot;
                let uuid = world.servers[source].uuid;
                world.send_to_server(source, index, None, move |world, arrival| {
                    if arrival == Arrival::Met && world.servers[source].boot == boot {
                        world.attached(index, attachment, uuid, acking, outcome);
                    }
                });
            });
            world.server_after(index, timeout, move |world| world.give_up_attaching(index, attachment));
        });
    }

    fn is_attaching(&self, index: usize, attachment: u64) -> bool {
        let channel = self.servers[index].channel.as_ref();
        channel.is_some_and(|c| c.attachment == attachment && c.receiver == Receiver::Connecting)
    }

    fn give_up_attaching(&mut self, index: usize, attachment: u64) {
        if self.is_attaching(index, attachment) {
            self.lose_source(
                index,
                attachment,
                "error 2013: lost connection at 'waiting for initial communication'",
            );
        }
    }

    fn attached(
        &mut self,
        index: usize,
        attachment: u64,
        uuid: Uuid,
        acking: bool,
        outcome: Result<(), String>,
    ) {
        if !self.is_attaching(index, attachment) {
            return;
        }
        let now = self.now;
        let Some(channel) = self.servers[index].channel.as_mut() else { return };
        match outcome {
            Ok(()) => {
                channel.receiver = Receiver::On;
                channel.source = Some(uuid);
                channel.error = None;
                channel.heard = now;
                channel.acking_now = acking;
                self.listen(index, attachment);
            }
            Err(error) if error.contains("1236") => {
                channel.receiver = Receiver::Off;
                channel.source = Some(uuid);
                channel.error = Some(error);
            }
            Err(error) => self.lose_source(index, attachment, &error),
        }
    }

    /// The connection to the source is gone: the receiver tries again.
    pub(crate) fn lose_source(&mut self, index: usize, attachment: u64, error: &str) {
        let Some(channel) = self.servers[index].channel.as_mut() else { return };
        if channel.attachment != attachment || channel.receiver == Receiver::Off {
            return;
        }
        channel.receiver = Receiver::Connecting;
        channel.acking_now = false;
        channel.error = Some(error.to_owned());
        channel.attachment += 1;
        let (attachment, source) = (channel.attachment, at_address(&channel.host));
        if let Some(source) = source {
            self.leave(index, source, attachment - 1);
        }
        self.server_after(index, RETRY, move |world| {
            if world.is_attaching(index, attachment) {
                world.connect(index);
            }
        });
    }

    /// Nothing for `replica_net_timeout` is a lost source.
    fn listen(&mut self, index: usize, attachment: u64) {
        let timeout = Time::from(self.servers[index].net_timeout) * SECOND;
        self.server_after(index, SECOND, move |world| {
            let now = world.now;
            let Some(channel) = world.servers[index].channel.as_ref() else { return };
            if channel.attachment != attachment || channel.receiver != Receiver::On {
                return;
            }
            if channel.heard + timeout < now {
                world.lose_source(index, attachment, "error 2013: lost connection to the source");
            } else {
                world.listen(index, attachment);
            }
        });
    }

    /// A heartbeat.
    pub(crate) fn hear(&mut self, index: usize, attachment: u64) {
        let now = self.now;
        if let Some(channel) = self.servers[index].channel.as_mut().filter(|c| c.attachment == attachment) {
            channel.heard = now;
        }
    }

    /// A transaction from the source: into the relay log, then acknowledged if it is asked for.
    pub(crate) fn receive(
        &mut self,
        index: usize,
        attachment: u64,
        source: usize,
        trx: Arc<Trx>,
        ack: Option<usize>,
    ) {
        let now = self.now;
        let server = &mut self.servers[index];
        if server.stalled_until > now {
            let later = server.stalled_until - now;
            return self.server_after(index, later, move |world| {
                world.receive(index, attachment, source, trx, ack);
            });
        }
        let mute = server.mute_until > now;
        let Some(channel) = server.channel.as_mut().filter(|c| c.attachment == attachment) else { return };
        if channel.receiver == Receiver::Off {
            return;
        }
        channel.heard = now;
        channel.received.insert(&trx.gtid);
        channel.relay.push_back(Arc::clone(&trx));
        self.note(|| format!("db{}: received {} (ack {ack:?}, mute {mute})", index + 1, short(&trx.gtid)));
        if let Some(place) = ack.filter(|_| !mute) {
            let boot = self.servers[source].boot;
            self.send_to_server(index, source, Some(boot), move |world, arrival| {
                if arrival == Arrival::Met {
                    world.acknowledged(source, index, place);
                }
            });
        }
        self.apply_next(index);
    }

    /// The receiver ends.
    pub(crate) fn stop_receiver(&mut self, index: usize) {
        let now = self.now;
        let Some(channel) = self.servers[index].channel.as_mut() else { return };
        if channel.receiver == Receiver::Off {
            return;
        }
        let (was, attachment) = (channel.receiver, channel.attachment);
        channel.receiver = Receiver::Off;
        channel.acking_now = false;
        channel.error = None;
        channel.attachment += 1;
        if let Some(source) = at_address(&channel.host) {
            if was == Receiver::On {
                channel.left = Some((source, now));
            }
            self.leave(index, source, attachment);
        }
    }

    /// The process ends, and its connection to the source.
    pub(crate) fn drop_receiver(&mut self, index: usize) {
        self.stop_receiver(index);
        if let Some(channel) = self.servers[index].channel.as_mut() {
            channel.applying = false;
            channel.committing = false;
            channel.left = None;
        }
    }

    /// The relay log is deleted, with what nobody may have but it.
    pub(crate) fn delete_relay_log(&mut self, index: usize, by: &str) {
        let server = &mut self.servers[index];
        let Some(channel) = server.channel.as_mut() else { return };
        let unapplied = channel.received.subtract(&server.executed);
        channel.relay.clear();
        channel.received = GtidSet::new();
        if !unapplied.is_empty() {
            let set = short_set(&unapplied);
            self.violated(format!(
                "db{}: {by} deleted received transactions not applied yet: {set}",
                index + 1
            ));
        }
    }
}
