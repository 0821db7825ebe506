//! Commits: written to the binary log, waiting for acknowledgements (AFTER_SYNC), committed in the engine, answered.

use std::sync::Arc;

use sluice::controller::SqlError;
use sluice_protocol::{Gtid, GtidSet};

use super::statement::Reply;
use super::{Content, Run, Server, Trx};
use crate::world::{MS, World};

/// A statement that writes.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) session: u64,
    pub(crate) content: Content,
    pub(crate) reply: Reply,
}

/// A transaction that is in the binary log and not yet committed in the engine.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) place: usize,
    /// `None`: the applier's.
    pub(crate) session: Option<u64>,
    pub(crate) reply: Option<Reply>,
}

/// The waiting side of semi-sync.
#[derive(Debug, Default)]
pub(crate) struct SourceSide {
    pub(crate) enabled: bool,
    /// It works now.
    pub(crate) status: bool,
    pub(crate) strict: bool,
    pub(crate) count: u16,
    /// By server: everything up to this place of the log was acknowledged.
    pub(crate) acked: Vec<Option<usize>>,
    pub(crate) unacknowledged: u64,
}

/// Why commits go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// They are acknowledged, or need not be.
    Due,
    /// A statement changed what they wait for.
    Changed,
    /// The server stops.
    Shutdown,
}

impl SourceSide {
    /// Who acknowledged a place of the log.
    pub(crate) fn acks(&self, place: usize) -> usize {
        self.acked.iter().filter(|acked| acked.is_some_and(|acked| acked >= place)).count()
    }
}

impl Server {
    /// The next transaction of the log is committed in the engine.
    pub(super) fn commit_next(&mut self, trx: &Trx) {
        self.committed += 1;
        self.executed.insert(&trx.gtid);
        if let Content::Epoch(row) = &trx.content
            && self.epoch.as_ref().is_none_or(|known| known.epoch <= row.epoch)
        {
            self.epoch = Some(row.clone());
        }
    }

    fn next_gtid(&self) -> Gtid {
        let last = self.written.of(self.uuid).intervals().map(|(_, _, interval)| interval.last).max();
        Gtid::new(self.uuid, None, last.unwrap_or(0) + 1).unwrap()
    }
}

impl World {
    /// A statement that writes, of a session.
    pub(crate) fn write(&mut self, index: usize, write: Write) {
        let server = &mut self.servers[index];
        if !server.closing.is_empty() {
            server.queued.push(write);
        } else if server.read_only {
            let message = "The MySQL server is running with the --super-read-only option".to_owned();
            self.answer(index, write.reply, Err(SqlError::Server { code: 1290, message }));
        } else {
            let gtid = server.next_gtid();
            self.append(index, Trx { gtid, content: write.content }, Some(write.session), Some(write.reply));
        }
    }

    /// Statements that queued behind a pending `super_read_only`.
    pub(crate) fn start_queued(&mut self, index: usize) {
        if self.servers[index].closing.is_empty() {
            for write in std::mem::take(&mut self.servers[index].queued) {
                self.write(index, write);
            }
        }
    }

    /// A transaction into the binary log, and from there to replicas.
    pub(crate) fn append(&mut self, index: usize, trx: Trx, session: Option<u64>, reply: Option<Reply>) {
        let trx = Arc::new(trx);
        self.same_everywhere(index, &trx);
        let server = &mut self.servers[index];
        server.written.insert(&trx.gtid);
        server.log.push(Arc::clone(&trx));
        server.commits.push_back(Commit { place: server.log.len() - 1, session, reply });
        self.note(|| format!("db{}: wrote {} {:?}", index + 1, short(&trx.gtid), trx.content));
        self.feed_dumps(index);
        // The log is synced, then it is looked whether anybody has to be waited for.
        self.server_after(index, MS / 2, move |world| world.go_on(index, Why::Due));
    }

    /// The same number must never mean two transactions.
    fn same_everywhere(&mut self, index: usize, trx: &Trx) {
        let other = self.servers.iter().find_map(|server| {
            let known = server.written.contains(&trx.gtid) && server.index != index;
            let found = known.then(|| server.log.iter().rfind(|other| other.gtid == trx.gtid)).flatten();
            found.filter(|other| other.content != trx.content).map(|_| server.name.clone())
        });
        if let Some(other) = other {
            self.violated(format!(
                "{} means one transaction on {other} and another on db{}",
                trx.gtid,
                index + 1
            ));
        }
    }

    /// Commits what may be committed, in the order of the log.
    pub(crate) fn go_on(&mut self, index: usize, why: Why) {
        let mut moved = false;
        while let Some(first) = self.servers[index].commits.front() {
            let place = first.place;
            let clients = self.servers[index].clients();
            let side = &mut self.servers[index].source_side;
            let needed = usize::from(side.count.max(1));
            // Without `wait_no_replica` nobody waits for ackers that are not there.
            side.status &= side.strict || clients >= u32::from(side.count);
            let acked = side.acks(place) >= needed;
            if side.enabled && side.status && !acked {
                break;
            }
            if side.enabled && !side.status {
                side.unacknowledged += 1;
            }
            self.commit_first(index, why);
            moved = true;
        }
        if moved {
            self.progressed(index);
        }
    }

    /// Commits everything, acknowledged or not.
    pub(crate) fn release_all(&mut self, index: usize, why: Why) {
        while !self.servers[index].commits.is_empty() {
            self.commit_first(index, why);
        }
        self.progressed(index);
    }

    fn commit_first(&mut self, index: usize, why: Why) {
        let server = &mut self.servers[index];
        let Some(commit) = server.commits.pop_front() else { return };
        let trx = Arc::clone(&server.log[commit.place]);
        server.commit_next(&trx);
        let acks = server.source_side.acks(commit.place);
        self.note(|| format!("db{}: committed {} with {acks} acks ({why:?})", index + 1, short(&trx.gtid)));
        if commit.session.is_none() {
            self.applied(index);
        }
        if let Content::Write(_) = trx.content {
            self.check_release(index, &trx, commit.place, commit.reply.is_some(), why);
        }
        if let Some(reply) = commit.reply {
            let cells = vec![vec![Some(trx.gtid.to_string())]];
            self.answer(index, reply, Ok(cells));
        }
    }

    /// Looks again at what waits for commits.
    pub(crate) fn progressed(&mut self, index: usize) {
        if self.servers[index].commits.is_empty() {
            let closing = std::mem::take(&mut self.servers[index].closing);
            if !closing.is_empty() {
                self.servers[index].read_only = true;
                self.note(|| format!("db{}: read-only", index + 1));
            }
            for (_, reply) in closing {
                self.answer(index, reply, Ok(Vec::new()));
            }
            self.start_queued(index);
        }
        let server = &mut self.servers[index];
        let (met, waits): (Vec<_>, Vec<_>) = std::mem::take(&mut server.waits)
            .into_iter()
            .partition(|wait| server.executed.contains_set(&wait.set));
        server.waits = waits;
        for wait in met {
            self.answer(index, wait.reply, Ok(vec![vec![Some("0".into())]]));
        }
    }

    /// An acknowledgement arrived.
    pub(crate) fn acknowledged(&mut self, index: usize, from: usize, place: usize) {
        let machines = self.servers.len();
        let server = &mut self.servers[index];
        if !matches!(server.run, Run::Up | Run::Stopping) {
            return;
        }
        let latest = server.log.len().saturating_sub(1);
        let side = &mut server.source_side;
        side.acked.resize(machines, None);
        side.acked[from] = side.acked[from].max(Some(place));
        // Whoever acknowledges the latest brings the waiting side to life.
        if side.enabled && !side.status && place >= latest && side.acks(place) >= usize::from(side.count) {
            side.status = true;
        }
        self.go_on(index, Why::Due);
    }

    /// The settings of the waiting side; what waits may go on by it.
    pub(crate) fn set_waiting(&mut self, index: usize, enabled: bool, strict: bool, count: u16) {
        let server = &mut self.servers[index];
        let clients = server.clients();
        let side = &mut server.source_side;
        let was = side.enabled;
        (side.enabled, side.strict) = (enabled, strict);
        side.count = if enabled { count } else { side.count };
        side.status = match (enabled, strict) {
            (false, _) => false,
            (true, true) => true,
            (true, false) => was && side.status && clients >= u32::from(count),
        };
        self.go_on(index, Why::Changed);
    }
}

/// A GTID for the trace.
pub(crate) fn short(gtid: &Gtid) -> String {
    format!("{:x}:{}", gtid.uuid().as_u128() >> 64 & 0xF, gtid.number())
}

/// A set for the trace.
pub(crate) fn short_set(set: &GtidSet) -> String {
    let one = |(uuid, _, interval): (uuid::Uuid, _, sluice_protocol::gtid::Interval)| {
        format!("{:x}:{}-{}", uuid.as_u128() >> 64 & 0xF, interval.first, interval.last)
    };
    set.intervals().map(one).collect::<Vec<_>>().join(",")
}
