//! The applier: one transaction after the other, each through the server's own binary log.

use std::sync::Arc;

use super::{Run, Trx};
use crate::world::{MS, World};

impl World {
    pub(crate) fn start_applier(&mut self, index: usize) {
        if let Some(channel) = self.servers[index].channel.as_mut() {
            channel.applying = true;
            self.apply_next(index);
        }
    }

    /// The applier ends; what it is committing it still commits.
    pub(crate) fn stop_applier(&mut self, index: usize) {
        if let Some(channel) = self.servers[index].channel.as_mut() {
            channel.applying = false;
        }
    }

    /// Takes the next transaction of the relay log in hand.
    pub(crate) fn apply_next(&mut self, index: usize) {
        let takes = self.servers[index].apply_takes;
        let server = &mut self.servers[index];
        let Some(channel) = server.channel.as_mut() else { return };
        if !channel.applying || channel.committing || server.run == Run::Stopping {
            return;
        }
        while channel.relay.front().is_some_and(|trx| server.written.contains(&trx.gtid)) {
            channel.relay.pop_front();
        }
        let Some(trx) = channel.relay.front() else { return };
        channel.committing = true;
        let (gtid, content) = (trx.gtid, trx.content.clone());
        let takes = takes + self.random.between(0, MS);
        self.server_after(index, takes, move |world| {
            let server = &mut world.servers[index];
            let Some(channel) = server.channel.as_mut() else { return };
            let same = channel.relay.front().is_some_and(|trx| trx.gtid == gtid);
            if !channel.applying || !same || server.written.contains(&gtid) {
                channel.committing = false;
                return world.apply_next(index);
            }
            world.append(index, Trx { gtid, content }, None, None);
        });
    }

    /// A transaction of the applier is committed.
    pub(crate) fn applied(&mut self, index: usize) {
        let server = &mut self.servers[index];
        if let Some(channel) = server.channel.as_mut() {
            channel.committing = false;
            let log = &server.written;
            while channel.relay.front().is_some_and(|trx: &Arc<Trx>| log.contains(&trx.gtid)) {
                channel.relay.pop_front();
            }
        }
        self.apply_next(index);
    }
}
