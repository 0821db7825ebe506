//! A simulated server: what it keeps on disk, what it forgets with its process, and its life.
//!
//! Modelled after what was measured on 9.7.4, in as much detail as it takes to lose data.

pub(crate) mod applier;
mod clone;
pub(crate) mod commit;
pub(crate) mod dump;
pub(crate) mod receiver;
mod shown;
mod statement;
mod text;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sluice::controller::SqlError;
use sluice::controller::record::EpochRow;
use sluice_protocol::{Gtid, GtidSet};
use uuid::Uuid;

use crate::world::{Arrival, MS, Message, SECOND, Time, World};
use clone::Cloning;
use commit::{Commit, SourceSide, Write};
use dump::Dump;
use receiver::Channel;
use statement::{Reply, Wait};

/// A session idle for longer is ended: `wait_timeout` of the control sessions.
const IDLE: Time = 20 * SECOND;
/// After a SIGTERM commits that wait for acknowledgements are told OK after this time.
const STOP_ANSWERS: Time = 450 * MS;

/// What the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Up,
    /// SIGSTOP.
    Frozen,
    /// After SIGTERM.
    Stopping,
    Down,
}

/// A transaction as the binary log has it.
#[derive(Debug)]
pub(crate) struct Trx {
    pub(crate) gtid: Gtid,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A client's write, by its number in the ledger.
    Write(usize),
    Epoch(EpochRow),
    Ddl,
}

/// Who logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Control,
    Client,
}

#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) who: Who,
    used: Time,
    logs: bool,
}

/// See the module's documentation.
pub(crate) struct Server {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    pub(crate) run: Run,
    /// Counts starts.
    pub(crate) boot: u64,
    pub(crate) booted_at: Time,
    /// What arrived while it was frozen.
    pub(crate) inbox: Vec<Message>,

    // On disk.
    pub(crate) log: Vec<Arc<Trx>>,
    /// So much of the log is committed in the engine.
    pub(crate) committed: usize,
    pub(crate) written: GtidSet,
    pub(crate) executed: GtidSet,
    pub(crate) epoch: Option<EpochRow>,
    pub(crate) channel: Option<Channel>,
    /// Whether it boots fenced.
    pub(crate) persisted: bool,
    /// The latest copy into it.
    pub(crate) cloning: Option<Cloning>,

    // In memory.
    pub(crate) read_only: bool,
    /// No client gets in.
    pub(crate) offline: bool,
    /// Sessions whose `SET GLOBAL super_read_only` waits for commits.
    pub(crate) closing: Vec<(u64, Reply)>,
    pub(crate) source_side: SourceSide,
    pub(crate) acking: bool,
    pub(crate) net_timeout: u32,
    pub(crate) sessions: BTreeMap<u64, Login>,
    next_session: u64,
    pub(crate) locks: BTreeMap<String, u64>,
    pub(crate) commits: VecDeque<Commit>,
    pub(crate) queued: Vec<Write>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) dumps: Vec<Dump>,

    // Faults.
    /// How long the applier takes for a transaction.
    pub(crate) apply_takes: Time,
    /// Its receiver can't write until then.
    pub(crate) stalled_until: Time,
    /// Its acknowledgements are lost until then.
    pub(crate) mute_until: Time,
}

impl Server {
    /// A server of a cluster whose first member is the primary.
    pub(crate) fn new(index: usize, tuned: bool) -> Self {
        let channel = (index > 0).then(|| Channel::new(address(0), tuned));
        Self {
            index,
            name: format!("db{}", index + 1),
            uuid: Uuid::from_u128(0x1111_0000_0000_0000_0000 * u128::try_from(index + 1).unwrap()),
            run: Run::Up,
            boot: 1,
            booted_at: 0,
            inbox: Vec::new(),
            log: Vec::new(),
            committed: 0,
            written: GtidSet::new(),
            executed: GtidSet::new(),
            epoch: None,
            channel,
            persisted: false,
            cloning: None,
            read_only: index > 0,
            offline: false,
            closing: Vec::new(),
            source_side: SourceSide::default(),
            acking: false,
            net_timeout: if tuned { 4 } else { 60 },
            sessions: BTreeMap::new(),
            next_session: 8,
            locks: BTreeMap::new(),
            commits: VecDeque::new(),
            queued: Vec::new(),
            waits: Vec::new(),
            dumps: Vec::new(),
            apply_takes: MS,
            stalled_until: 0,
            mute_until: 0,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.run, Run::Up | Run::Frozen)
    }

    /// Everything it has executed or received.
    pub(crate) fn has(&self) -> GtidSet {
        match &self.channel {
            Some(channel) => self.executed.union(&channel.received),
            None => self.executed.clone(),
        }
    }

    /// Writes of clients that are committed here.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.log.iter().take(self.committed).filter_map(|trx| match trx.content {
            Content::Write(write) => Some(write),
            Content::Epoch(_) | Content::Ddl => None,
        })
    }
}

/// Where a server is reached.
pub(crate) fn address(index: usize) -> (String, u16) {
    (format!("10.0.0.{}", index + 1), 3306)
}

/// The server at an address.
pub(crate) fn at_address(host: &str) -> Option<usize> {
    host.strip_prefix("10.0.0.")?.parse::<usize>().ok()?.checked_sub(1)
}

impl World {
    /// A login. `reply` gets the connection id.
    pub(crate) fn log_in(&mut self, index: usize, who: Who) -> u64 {
        let now = self.now;
        let server = &mut self.servers[index];
        let id = server.next_session;
        server.next_session += 1;
        server.sessions.insert(id, Login { who, used: now, logs: true });
        id
    }

    /// The end of a session. What it waits for goes on without it.
    pub(crate) fn end_session(&mut self, index: usize, id: u64) {
        let server = &mut self.servers[index];
        if server.sessions.remove(&id).is_none() {
            return;
        }
        server.locks.retain(|_, holder| *holder != id);
        let mut lost = Vec::new();
        for commit in &mut server.commits {
            if commit.session == Some(id) {
                lost.extend(commit.reply.take());
            }
        }
        let (ended, closing): (Vec<_>, Vec<_>) =
            std::mem::take(&mut server.closing).into_iter().partition(|(session, _)| *session == id);
        server.closing = closing;
        lost.extend(ended.into_iter().map(|(_, reply)| reply));
        let (ended, waits): (Vec<_>, Vec<_>) =
            std::mem::take(&mut server.waits).into_iter().partition(|wait| wait.session == id);
        server.waits = waits;
        lost.extend(ended.into_iter().map(|wait| wait.reply));
        let (ended, queued): (Vec<_>, Vec<_>) =
            std::mem::take(&mut server.queued).into_iter().partition(|write| write.session == id);
        server.queued = queued;
        lost.extend(ended.into_iter().map(|write| write.reply));
        for reply in lost {
            self.answer(index, reply, Err(SqlError::Lost("the server ended the connection".into())));
        }
        self.start_queued(index);
    }

    /// Ends sessions that were idle for too long.
    fn end_idle(&mut self, index: usize) {
        let (now, server) = (self.now, &self.servers[index]);
        let busy = |id: u64| {
            server.waits.iter().any(|wait| wait.session == id)
                || server.commits.iter().any(|commit| commit.session == Some(id))
                || server.clones_for(id)
        };
        let idle = |(id, login): &(&u64, &Login)| {
            login.who == Who::Control && login.used + IDLE < now && !busy(**id)
        };
        let idle: Vec<u64> = server.sessions.iter().filter(idle).map(|(id, _)| *id).collect();
        for id in idle {
            self.end_session(index, id);
        }
    }

    /// Ends every session of a client.
    fn end_clients(&mut self, index: usize) {
        let clients = self.servers[index].sessions.iter().filter(|(_, login)| login.who == Who::Client);
        let clients: Vec<u64> = clients.map(|(id, _)| *id).collect();
        for id in clients {
            self.end_session(index, id);
        }
    }

    /// SIGKILL, or the end of a stop.
    pub(crate) fn kill(&mut self, index: usize) {
        if self.servers[index].run == Run::Down {
            return;
        }
        self.note(|| format!("db{}: killed", index + 1));
        self.servers[index].run = Run::Down;
        let sessions: Vec<u64> = self.servers[index].sessions.keys().copied().collect();
        for id in sessions {
            self.end_session(index, id);
        }
        let server = &mut self.servers[index];
        server.break_cloning();
        server.commits.clear();
        server.queued.clear();
        let inbox = std::mem::take(&mut server.inbox);
        // Crash recovery commits what the log has.
        while server.committed < server.log.len() {
            let trx = Arc::clone(&server.log[server.committed]);
            server.commit_next(&trx);
        }
        self.drop_dumps(index);
        self.drop_receiver(index);
        for message in inbox {
            message(self, Arrival::Reset);
        }
    }

    /// Starts a server that is down.
    pub(crate) fn start(&mut self, index: usize) {
        let now = self.now;
        let server = &mut self.servers[index];
        if server.run != Run::Down {
            return;
        }
        server.run = Run::Up;
        server.boot += 1;
        server.booted_at = now;
        server.read_only = server.persisted;
        server.offline = false;
        server.source_side = SourceSide::default();
        server.acking = false;
        server.net_timeout = 60;
        server.next_session = 8;
        server.dumps.clear();
        let replicates = !server.persisted;
        if let Some(channel) = &mut server.channel {
            channel.applying = false;
        }
        self.note(|| format!("db{}: started", index + 1));
        if replicates && self.servers[index].channel.is_some() {
            self.start_receiver(index);
            self.start_applier(index);
        }
    }

    pub(crate) fn freeze(&mut self, index: usize) {
        if self.servers[index].run == Run::Up {
            self.note(|| format!("db{}: frozen", index + 1));
            self.servers[index].run = Run::Frozen;
        }
    }

    pub(crate) fn thaw(&mut self, index: usize) {
        if self.servers[index].run != Run::Frozen {
            return;
        }
        self.servers[index].run = Run::Up;
        let inbox = std::mem::take(&mut self.servers[index].inbox);
        self.note(|| format!("db{}: thawed, {} messages wait", index + 1, inbox.len()));
        for message in inbox {
            message(self, Arrival::Met);
        }
    }

    /// SIGTERM: nobody gets in, statements get 1053, and commits that wait for acknowledgements get OK.
    pub(crate) fn stop(&mut self, index: usize) {
        if self.servers[index].run != Run::Up {
            return;
        }
        self.note(|| format!("db{}: stopping", index + 1));
        self.servers[index].run = Run::Stopping;
        self.server_after(index, STOP_ANSWERS, move |world| {
            world.release_all(index, commit::Why::Shutdown);
            world.drop_dumps(index);
        });
        let ends = self.random.between(800 * MS, 2500 * MS);
        self.server_after(index, ends, move |world| world.kill(index));
    }
}
