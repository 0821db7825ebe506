//! CLONE: a server's data are dropped and replaced by another server's, and it starts on them.

use std::sync::Arc;

use sluice::controller::{Rows, SqlError};
use sluice_protocol::GtidSet;

use super::receiver::Channel;
use super::statement::{Reply, digit, done, failed, row};
use super::{Content, Run, Server, at_address};
use crate::world::{Arrival, MS, SECOND, Time, World};

/// How long a donor that can't be reached is waited for.
const PATIENCE: Time = 10 * SECOND;
/// Between two attempts to get on with the copy.
const ATTEMPT: Time = 500 * MS;

/// What is asked of a server around a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Facts,
    Status,
    Progress,
}

/// How far the latest copy into a server came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Copying,
    /// The server died meanwhile: it says for ever that it copies, and no stage does.
    Broken,
    Failed,
    Completed,
}

/// The latest copy into a server.
#[derive(Debug)]
pub(crate) struct Cloning {
    begun: Time,
    stage: Stage,
    session: u64,
    reply: Option<Reply>,
}

impl Server {
    fn is_cloning(&self) -> bool {
        self.cloning.as_ref().is_some_and(|cloning| cloning.stage == Stage::Copying)
    }

    /// Whether the session waits for the end of a copy.
    pub(super) fn clones_for(&self, session: u64) -> bool {
        self.is_cloning() && self.cloning.as_ref().is_some_and(|cloning| cloning.session == session)
    }

    /// The process is gone.
    pub(super) fn break_cloning(&mut self) {
        if let Some(cloning) = self.cloning.as_mut().filter(|cloning| cloning.stage == Stage::Copying) {
            (cloning.stage, cloning.reply) = (Stage::Broken, None);
        }
    }

    fn drop_data(&mut self) {
        self.log.clear();
        self.committed = 0;
        (self.written, self.executed) = (GtidSet::new(), GtidSet::new());
        (self.epoch, self.channel) = (None, None);
    }

    pub(super) fn cloning_shown(&self, question: Question) -> Result<Rows, SqlError> {
        match question {
            Question::Facts => self.clone_facts(),
            Question::Status => self.clone_status(),
            Question::Progress => self.clone_progress(),
        }
    }

    /// What decides whether data fit: the same everywhere, but for the tables.
    fn clone_facts(&self) -> Result<Rows, SqlError> {
        let tables = self.log.iter().any(|trx| matches!(trx.content, Content::Write(_)));
        row(&["ACTIVE", "16384", "ibdata1", "0", "67108864", "Linux x86_64", "", "1000", digit(tables)])
    }

    fn clone_status(&self) -> Result<Rows, SqlError> {
        let Some(cloning) = &self.cloning else { return done() };
        let (state, error) = match cloning.stage {
            Stage::Copying => ("In Progress", "0"),
            Stage::Broken => ("In Progress", "1317"),
            Stage::Failed => ("Failed", "3862"),
            Stage::Completed => ("Completed", "0"),
        };
        row(&[state, &cloning.begun.to_string(), error, "", ""])
    }

    fn clone_progress(&self) -> Result<Rows, SqlError> {
        let Some(cloning) = &self.cloning else { return done() };
        let state = match cloning.stage {
            Stage::Copying => "In Progress",
            Stage::Broken | Stage::Failed => "Failed",
            Stage::Completed => "Completed",
        };
        row(&["FILE COPY", state, "1000", "500", "100"])
    }
}

impl World {
    /// Nobody but Sluice gets in, or everybody again.
    pub(super) fn set_offline(&mut self, index: usize, offline: bool) {
        self.servers[index].offline = offline;
        if offline {
            self.end_clients(index);
        }
    }

    /// `CLONE INSTANCE FROM`
    pub(super) fn clone_from(&mut self, index: usize, session: u64, host: &str, reply: Reply) {
        let server = &self.servers[index];
        let refused = if server.is_cloning() {
            Some((3634, "Too many concurrent clone operations"))
        } else if server.read_only || !server.closing.is_empty() {
            Some((1290, "The MySQL server is running with the --super-read-only option"))
        } else {
            None
        };
        if let Some((code, why)) = refused {
            return self.answer(index, reply, failed(code, why));
        }
        let Some(donor) = at_address(host) else {
            return self.answer(index, reply, failed(3869, "the donor is not in the list"));
        };
        let begun = self.now;
        self.servers[index].cloning =
            Some(Cloning { begun, stage: Stage::Copying, session, reply: Some(reply) });
        self.send_to_server(index, donor, None, move |world, arrival| {
            let boot = world.servers[donor].boot;
            world.send_to_server(donor, index, None, move |world, met| {
                if met != Arrival::Met || !world.is_this_copy(index, begun) {
                    return;
                }
                if arrival == Arrival::Reset {
                    return world.fail_cloning(index, begun);
                }
                // From here on what it had is gone.
                world.servers[index].drop_data();
                let takes = world.random.between(100 * MS, 4 * SECOND);
                let until = world.now + PATIENCE;
                world.server_after(index, takes, move |world| {
                    world.copy_data(index, begun, (donor, boot), until)
                });
            });
        });
        self.server_after(index, PATIENCE, move |world| {
            if !world.servers[index].log.is_empty() {
                world.fail_cloning(index, begun);
            }
        });
    }

    fn is_this_copy(&self, index: usize, begun: Time) -> bool {
        let server = &self.servers[index];
        server.is_cloning() && server.cloning.as_ref().is_some_and(|cloning| cloning.begun == begun)
    }

    fn fail_cloning(&mut self, index: usize, begun: Time) {
        if !self.is_this_copy(index, begun) {
            return;
        }
        self.note(|| format!("db{}: the copy has failed", index + 1));
        let Some(cloning) = self.servers[index].cloning.as_mut() else { return };
        cloning.stage = Stage::Failed;
        if let Some(reply) = cloning.reply.take() {
            self.answer(index, reply, failed(3862, "Clone Donor Error"));
        }
    }

    /// The donor's data as they are at the end of the copy.
    fn copy_data(&mut self, index: usize, begun: Time, (donor, boot): (usize, u64), until: Time) {
        if !self.is_this_copy(index, begun) {
            return;
        }
        let gives = &self.servers[donor];
        if gives.boot != boot || !gives.is_alive() || self.now >= until {
            return self.fail_cloning(index, begun);
        }
        if gives.run != Run::Up || self.is_cut(index, donor) || self.is_cut(donor, index) {
            return self.server_after(index, ATTEMPT, move |world| {
                world.copy_data(index, begun, (donor, boot), until)
            });
        }
        let log: Vec<_> = gives.log.iter().take(gives.committed).map(Arc::clone).collect();
        let (executed, epoch) = (gives.executed.clone(), gives.epoch.clone());
        // With it comes whom it follows, and nothing of its relay log.
        let channel = gives.channel.as_ref();
        let channel = channel.map(|channel| Channel::new((channel.host.clone(), channel.port), false));
        self.note(|| format!("db{}: has the data of db{}", index + 1, donor + 1));
        let server = &mut self.servers[index];
        server.committed = log.len();
        server.log = log;
        server.written = executed.clone();
        (server.executed, server.epoch, server.channel) = (executed, epoch, channel);
        let Some(cloning) = server.cloning.as_mut() else { return };
        cloning.stage = Stage::Completed;
        if let Some(reply) = cloning.reply.take() {
            self.answer(index, reply, done());
        }
        self.kill(index);
        // Its supervisor starts it.
        let away = self.random.between(300 * MS, 4 * SECOND);
        self.after(away, move |world| world.start(index));
    }
}
