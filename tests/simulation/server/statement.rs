//! What a server does with a control statement.

use sluice::controller::{Rows, SqlError};
use sluice_protocol::GtidSet;
use tokio::sync::oneshot;

use super::commit::{Write, short_set};
use super::receiver::Receiver;
use super::text::{Meaning, meaning};
use super::{Content, Run, Who};
use crate::world::{Arrival, MS, SECOND, Time, World};

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Rows, SqlError>>;

/// A session that waits until a set is executed.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) session: u64,
    pub(crate) set: GtidSet,
    pub(crate) reply: Reply,
}

pub(super) fn failed(code: u16, message: &str) -> Result<Rows, SqlError> {
    Err(SqlError::Server { code, message: message.to_owned() })
}

pub(super) fn done() -> Result<Rows, SqlError> {
    Ok(Vec::new())
}

pub(super) fn row(cells: &[&str]) -> Result<Rows, SqlError> {
    Ok(vec![cells.iter().map(|cell| Some((*cell).to_owned())).collect()])
}

pub(super) fn digit(on: bool) -> &'static str {
    if on { "1" } else { "0" }
}

impl World {
    /// Sends an answer back to Sluice's machine.
    pub(crate) fn answer(&mut self, index: usize, reply: Reply, answer: Result<Rows, SqlError>) {
        let sluice = self.sluice_machine();
        self.send(index, sluice, move |_| {
            // Whoever asked may have given up.
            let _ = reply.send(answer);
        });
    }

    fn answer_after(&mut self, index: usize, delay: Time, reply: Reply, answer: Result<Rows, SqlError>) {
        self.server_after(index, delay, move |world| world.answer(index, reply, answer));
    }

    /// A statement arrived on a session.
    pub(crate) fn statement(&mut self, index: usize, session: u64, sql: &str, reply: Reply) {
        let now = self.now;
        let server = &mut self.servers[index];
        let Some(login) = server.sessions.get_mut(&session) else {
            return self.answer(index, reply, Err(SqlError::Lost("connection reset".into())));
        };
        login.used = now;
        if server.run == Run::Stopping {
            self.answer(index, reply, failed(1053, "Server shutdown in progress"));
            return self.end_session(index, session);
        }
        let Some(meaning) = meaning(sql) else {
            self.violated(format!("the simulated server does not know the statement: {sql}"));
            return self.answer(index, reply, failed(1064, "You have an error in your SQL syntax"));
        };
        if !matches!(
            meaning,
            Meaning::Pulse
                | Meaning::Progress
                | Meaning::Received
                | Meaning::Vouch
                | Meaning::Channels
                | Meaning::Settings
                | Meaning::EpochRow
                | Meaning::Events
                | Meaning::LockHolder(_)
                | Meaning::WaitExecuted(..)
                | Meaning::WaitingState
                | Meaning::Cloning(_)
                | Meaning::Working
        ) {
            self.note(|| format!("db{} #{session}: {meaning:?}", index + 1));
        }
        self.run_statement(index, session, meaning, reply);
    }

    fn run_statement(&mut self, index: usize, session: u64, meaning: Meaning, reply: Reply) {
        match meaning {
            Meaning::SetReadOnly => self.set_read_only(index, session, reply),
            Meaning::Create => self.write_control(index, session, Content::Ddl, reply),
            Meaning::WriteEpoch(row) => self.write_control(index, session, Content::Epoch(row), reply),
            Meaning::WaitExecuted(set, limit) => self.wait_executed(index, session, set, limit, reply),
            Meaning::Clone(host) => self.clone_from(index, session, &host, reply),
            Meaning::StopReceiver => self.stop_receiver_statement(index, reply),
            Meaning::Waiting { enabled, strict, count } => {
                let clients = self.servers[index].clients();
                self.set_waiting(index, enabled, strict, count);
                // The thread that reads acknowledgements looks up once a second.
                let takes = if !enabled && clients > 0 { 830 * MS } else { MS / 4 };
                self.answer_after(index, takes, reply, done());
            }
            meaning => {
                let answer = self.quick(index, session, meaning);
                self.answer(index, reply, answer);
            }
        }
    }

    /// What is done at once.
    fn quick(&mut self, index: usize, session: u64, meaning: Meaning) -> Result<Rows, SqlError> {
        match meaning {
            Meaning::Log(on) => {
                if let Some(login) = self.servers[index].sessions.get_mut(&session) {
                    login.logs = on;
                }
                done()
            }
            Meaning::SetWritable => {
                if !self.servers[index].offline {
                    self.check_opening(index);
                }
                self.servers[index].read_only = false;
                done()
            }
            Meaning::StartReceiver => {
                if self.servers[index].channel.is_none() {
                    return failed(1200, "The server is not configured as replica");
                }
                self.start_receiver(index);
                done()
            }
            Meaning::StartApplier => {
                if self.servers[index].channel.is_none() {
                    return failed(1200, "The server is not configured as replica");
                }
                self.start_applier(index);
                done()
            }
            Meaning::StopApplier => {
                self.stop_applier(index);
                done()
            }
            Meaning::ResetReplicaAll => self.reset_replica(index),
            Meaning::Offline(offline) => {
                self.set_offline(index, offline);
                done()
            }
            Meaning::NetTimeout => {
                self.servers[index].net_timeout = 4;
                done()
            }
            Meaning::PersistBoot => {
                self.servers[index].persisted = true;
                done()
            }
            Meaning::Heartbeat => self.change_source(index, None),
            Meaning::Follow { host, port, auto_position } => {
                self.change_source(index, Some((host, port, auto_position)))
            }
            Meaning::SetAcking(on) => {
                self.servers[index].acking = on;
                done()
            }
            meaning @ (Meaning::GetLock(_) | Meaning::ReleaseLock(_) | Meaning::LockHolder(_)) => {
                self.lock_statement(index, session, meaning)
            }
            Meaning::Kill(id) => {
                if !self.servers[index].sessions.contains_key(&id) {
                    return failed(1094, "Unknown thread id");
                }
                self.end_session(index, id);
                done()
            }
            meaning => self.shown(index, session, &meaning),
        }
    }

    /// The locks that die with their sessions.
    fn lock_statement(&mut self, index: usize, session: u64, meaning: Meaning) -> Result<Rows, SqlError> {
        self.end_idle(index);
        let locks = &mut self.servers[index].locks;
        match meaning {
            Meaning::GetLock(lock) => {
                let holder = *locks.entry(lock).or_insert(session);
                row(&[digit(holder == session)])
            }
            Meaning::ReleaseLock(lock) => {
                locks.retain(|name, holder| *name != lock || *holder != session);
                done()
            }
            Meaning::LockHolder(lock) => match locks.get(&lock) {
                Some(holder) => row(&[&holder.to_string(), "sluice@proxy:1"]),
                None => done(),
            },
            _ => done(),
        }
    }

    fn set_read_only(&mut self, index: usize, session: u64, reply: Reply) {
        let server = &mut self.servers[index];
        if server.commits.is_empty() {
            server.read_only = true;
            return self.answer(index, reply, done());
        }
        server.closing.push((session, reply));
        // lock_wait_timeout = 1
        self.server_after(index, SECOND, move |world| {
            let closing = &mut world.servers[index].closing;
            if let Some(at) = closing.iter().position(|(id, _)| *id == session) {
                let (_, reply) = closing.remove(at);
                world.answer(index, reply, failed(1205, "Lock wait timeout exceeded"));
                world.start_queued(index);
            }
        });
    }

    fn write_control(&mut self, index: usize, session: u64, content: Content, reply: Reply) {
        let server = &self.servers[index];
        let known = server.epoch.is_some() || server.log.iter().any(|trx| trx.content == Content::Ddl);
        match server.sessions.get(&session) {
            Some(login) if !login.logs => {
                self.violated(format!("db{}: a write of the controller that is not logged", index + 1));
                self.answer(index, reply, done());
            }
            _ if content == Content::Ddl && known => self.answer(index, reply, done()),
            _ if matches!(content, Content::Epoch(_)) && !known => {
                self.answer(index, reply, failed(1146, "Table 'sluice.epoch' doesn't exist"));
            }
            _ => self.write(index, Write { session, content, reply }),
        }
    }

    fn wait_executed(&mut self, index: usize, session: u64, set: GtidSet, limit: Time, reply: Reply) {
        if self.servers[index].executed.contains_set(&set) {
            return self.answer(index, reply, row(&["0"]));
        }
        self.servers[index].waits.push(Wait { session, set, reply });
        self.server_after(index, limit, move |world| {
            let waits = &mut world.servers[index].waits;
            if let Some(at) = waits.iter().position(|wait| wait.session == session) {
                let wait = waits.remove(at);
                world.answer(index, wait.reply, row(&["1"]));
            }
        });
    }

    /// The receiver stops when the statement is answered, and acknowledges until then.
    fn stop_receiver_statement(&mut self, index: usize, reply: Reply) {
        let Some(channel) = self.servers[index].channel.as_ref() else {
            // With a note only (3084).
            return self.answer(index, reply, done());
        };
        let frozen = super::at_address(&channel.host).is_some_and(|at| self.servers[at].run == Run::Frozen);
        let takes = match channel.receiver {
            Receiver::Connecting if frozen => 2 * SECOND,
            Receiver::Off => MS / 4,
            Receiver::Connecting | Receiver::On => self.random.between(3 * MS, 12 * MS),
        };
        self.server_after(index, takes, move |world| {
            world.stop_receiver(index);
            world.answer(index, reply, done());
        });
    }

    fn change_source(&mut self, index: usize, to: Option<(String, u16, bool)>) -> Result<Rows, SqlError> {
        let first = self.servers[index].channel.is_none();
        if first {
            let Some((host, port, _)) = to else {
                return failed(1200, "The server is not configured as replica");
            };
            let mut channel = super::Channel::new((host, port), true);
            channel.source = None;
            self.servers[index].channel = Some(channel);
            return done();
        }
        let Some(channel) = self.servers[index].channel.as_mut() else { return done() };
        if channel.receiver != Receiver::Off {
            return failed(3021, "This operation cannot be performed with a running replica io thread");
        }
        if channel.applying && to.as_ref().is_some_and(|(_, _, auto_position)| *auto_position) {
            return failed(3081, "This operation cannot be performed with running replication threads");
        }
        channel.heartbeat = 2.0;
        if let Some((host, port, _)) = to {
            (channel.host, channel.port) = (host, port);
            channel.source = None;
        }
        if !channel.applying {
            self.delete_relay_log(index, "CHANGE REPLICATION SOURCE");
        }
        done()
    }

    fn reset_replica(&mut self, index: usize) -> Result<Rows, SqlError> {
        let Some(channel) = self.servers[index].channel.as_ref() else { return done() };
        if channel.receiver != Receiver::Off || channel.applying {
            return failed(3081, "This operation cannot be performed with running replication threads");
        }
        self.delete_relay_log(index, "RESET REPLICA");
        self.servers[index].channel = None;
        done()
    }

    /// A statement of a client: one write.
    pub(crate) fn client_write(&mut self, index: usize, session: u64, write: usize, reply: Reply) {
        let server = &self.servers[index];
        if server.sessions.get(&session).is_none_or(|login| login.who != Who::Client) {
            return self.answer(index, reply, Err(SqlError::Lost("connection reset".into())));
        }
        if server.run == Run::Stopping {
            return self.answer(index, reply, failed(1053, "Server shutdown in progress"));
        }
        self.write(index, Write { session, content: Content::Write(write), reply });
    }

    /// Sends a statement to one run of a server; `what` gets it there.
    pub(crate) fn ask(
        &mut self,
        index: usize,
        boot: u64,
        reply: Reply,
        what: impl FnOnce(&mut Self, Reply) + Send + 'static,
    ) {
        let sluice = self.sluice_machine();
        self.send_to_server(sluice, index, Some(boot), move |world, arrival| match arrival {
            Arrival::Met => what(world, reply),
            Arrival::Reset => {
                world.answer(index, reply, Err(SqlError::Lost("connection reset by peer".into())))
            }
        });
    }

    /// For the trace.
    pub(crate) fn describe(&self, index: usize) -> String {
        let server = &self.servers[index];
        let channel = server.channel.as_ref().map_or_else(String::new, |channel| {
            format!(
                " from {} {:?} applying {} received {} error {:?}",
                channel.host,
                channel.receiver,
                channel.applying,
                short_set(&channel.received),
                channel.error
            )
        });
        format!(
            "{} {:?} read_only {} written {} executed {} waiting {:?} acking {}{channel}",
            server.name,
            server.run,
            server.read_only,
            short_set(&server.written),
            short_set(&server.executed),
            server.source_side,
            server.acking
        )
    }
}
