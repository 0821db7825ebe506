//! The source's side of replication: one dump thread for each replica that is attached.

use std::sync::Arc;

use sluice_protocol::GtidSet;

use super::{Run, Server};
use crate::world::{Arrival, SECOND, Time, World};

/// How often a dump thread with nothing to send says that it is there; it notices then that nobody listens.
const HEARTBEAT: Time = 2 * SECOND;

/// A replica that is attached.
#[derive(Debug)]
pub(crate) struct Dump {
    pub(crate) replica: usize,
    /// The start of the replica's receiver that it belongs to.
    pub(crate) attachment: u64,
    /// It acknowledges.
    pub(crate) semi_sync: bool,
    /// Its receiver is gone; the source does not know yet.
    pub(crate) left: bool,
    /// The next place of the log to send.
    next: usize,
    /// What the replica had when it attached.
    has: GtidSet,
}

impl Server {
    /// `Rpl_semi_sync_source_clients`: a stale number.
    pub(crate) fn clients(&self) -> u32 {
        u32::try_from(self.dumps.iter().filter(|dump| dump.semi_sync).count()).unwrap()
    }
}

impl World {
    /// A replica asks for everything that it does not have. `Err`: what the source says instead.
    pub(crate) fn attach(
        &mut self,
        index: usize,
        replica: usize,
        attachment: u64,
        semi_sync: bool,
        has: GtidSet,
    ) -> Result<(), String> {
        let server = &mut self.servers[index];
        if server.run == Run::Stopping {
            return Err("error 2003: can't connect".into());
        }
        if !server.written.contains_set(&has.of(server.uuid)) {
            return Err("error 1236: the replica has more GTIDs than the source has".into());
        }
        // A new dump thread ends the zombie of the same replica.
        server.dumps.retain(|dump| dump.replica != replica);
        server.dumps.push(Dump { replica, attachment, semi_sync, left: false, next: 0, has });
        self.note(|| format!("db{}: db{} attached, semi-sync {semi_sync}", index + 1, replica + 1));
        self.heartbeat(index, replica, attachment);
        self.feed_dumps(index);
        Ok(())
    }

    /// Sends replicas what they have not been sent.
    pub(crate) fn feed_dumps(&mut self, index: usize) {
        let server = &mut self.servers[index];
        if server.run != Run::Up {
            return;
        }
        // Writing to a connection that the other side has closed fails.
        server.dumps.retain(|dump| !dump.left);
        let mut parcels = Vec::new();
        for dump in &mut server.dumps {
            for (place, trx) in server.log.iter().enumerate().skip(dump.next) {
                if !dump.has.contains(&trx.gtid) {
                    parcels.push((dump.replica, dump.attachment, dump.semi_sync, place, Arc::clone(trx)));
                }
            }
            dump.next = server.log.len();
        }
        for (replica, attachment, semi_sync, place, trx) in parcels {
            self.send_to_server(index, replica, None, move |world, arrival| {
                if arrival == Arrival::Met {
                    let ack = semi_sync.then_some(place);
                    world.receive(replica, attachment, index, trx, ack);
                }
            });
        }
    }

    fn heartbeat(&mut self, index: usize, replica: usize, attachment: u64) {
        let is_it = move |dump: &Dump| dump.replica == replica && dump.attachment == attachment;
        self.server_after(index, HEARTBEAT, move |world| {
            let server = &mut world.servers[index];
            server.dumps.retain(|dump| !(is_it(dump) && dump.left));
            if !server.dumps.iter().any(is_it) || server.run != Run::Up {
                return;
            }
            world.send_to_server(index, replica, None, move |world, arrival| {
                if arrival == Arrival::Met {
                    world.hear(replica, attachment);
                } else {
                    world.leave(replica, index, attachment);
                }
            });
            world.heartbeat(index, replica, attachment);
        });
    }

    /// A replica closed its connection: the source learns of it, and notices when it writes.
    pub(crate) fn leave(&mut self, replica: usize, source: usize, attachment: u64) {
        self.send_to_server(replica, source, None, move |world, _| {
            let dumps = &mut world.servers[source].dumps;
            for dump in dumps.iter_mut().filter(|one| one.replica == replica && one.attachment == attachment)
            {
                dump.left = true;
            }
        });
    }

    /// The source's process ends: its replicas are told.
    pub(crate) fn drop_dumps(&mut self, index: usize) {
        for dump in std::mem::take(&mut self.servers[index].dumps) {
            let (replica, attachment) = (dump.replica, dump.attachment);
            self.send_to_server(index, replica, None, move |world, arrival| {
                if arrival == Arrival::Met {
                    world.lose_source(replica, attachment, "error 2013: lost connection to the source");
                }
            });
        }
    }
}
