//! What goes wrong, and how it is mended.

use std::sync::Arc;
use std::time::Duration;

use crate::operator::Command;
use crate::server::{Run, Server};
use crate::world::{MS, SECOND, Time, World};

/// Everything that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start after the time.
    Kill(usize, Time),
    /// SIGTERM, and a start after the time.
    Stop(usize, Time),
    /// SIGSTOP, SIGCONT after the time.
    Freeze(usize, Time),
    /// Nothing gets from one machine to another.
    Cut(usize, usize, Time),
    /// Nothing gets to or from a machine.
    Isolate(usize, Time),
    /// An applier takes so long for a transaction.
    SlowApply(usize, Time, Time),
    /// The acknowledgements of a replica are lost.
    Mute(usize, Time),
    /// A replica's receiver can't write.
    Stall(usize, Time),
    /// Nobody acknowledges anything any more for the second time, and after the first one the primary gets SIGTERM:
    /// it says OK to everybody who waits. It is started again after the third.
    StopStarved(usize, Time, Time, Time),
    /// Sluice is killed after so many more statements.
    KillSluice(u64),
    /// An operator types something.
    Command(Command),
    /// Sluice is started again with the store as it was long ago, or with an empty one. Nothing else is wrong just
    /// then: a store and a server lost at once is more than is promised to be noticed.
    OldStore(Copy),
}

/// What becomes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    /// As it was when the cluster was set up.
    Old,
    Empty,
}

impl Fault {
    /// One that fits the moment.
    pub(crate) fn draw(world: &mut World) -> Self {
        let members = world.servers.len();
        let primary = world.recorded_primary();
        let random = &mut world.random;
        let target = match primary {
            Some(primary) if random.chance(50) => primary,
            Some(_) | None => random.below(members),
        };
        let short = random.between(100 * MS, 4 * SECOND);
        let long = random.between(200 * MS, 12 * SECOND);
        match random.below(51) / 2 {
            0..=3 => Self::Kill(target, long),
            4..=5 => Self::Stop(target, long),
            6..=8 => Self::Freeze(target, if random.chance(50) { short } else { long }),
            9..=10 => {
                let other = random.below(members + 1);
                let (from, to) = if random.chance(50) { (target, other) } else { (other, target) };
                Self::Cut(from, to, long)
            }
            11 => Self::Isolate(target, long),
            12..=13 => Self::SlowApply(random.below(members), random.between(5 * MS, 800 * MS), long),
            14 => Self::Mute(random.below(members), short),
            15 => Self::Stall(random.below(members), long),
            16..=17 => Self::KillSluice(random.between(1, 60)),
            18..=19 => Self::Command(Command::Switchover(random.chance(50).then(|| random.below(members)))),
            20..=21 => {
                let first = random.between(100 * MS, SECOND);
                Self::StopStarved(target, first, first + random.between(SECOND, 4 * SECOND), long)
            }
            22..=24 => Self::Command(Command::draw(random, members)),
            _ => Self::OldStore(if random.chance(50) { Copy::Old } else { Copy::Empty }),
        }
    }
}

impl World {
    /// The server that Sluice takes for the primary.
    pub(crate) fn recorded_primary(&self) -> Option<usize> {
        let name = self.sluice.as_ref()?.status().primary.clone()?;
        self.servers.iter().position(|server| server.name == name)
    }

    /// Lets a fault of a server or of the network happen.
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.note(|| format!("fault: {fault:?}"));
        let now = self.now;
        match fault {
            Fault::Kill(server, time) => {
                self.kill(server);
                self.after(time, move |world| world.start(server));
            }
            Fault::Stop(server, time) => {
                self.stop(server);
                self.after(time.max(3 * SECOND), move |world| world.start(server));
            }
            Fault::Freeze(server, time) => {
                self.freeze(server);
                self.after(time, move |world| world.thaw(server));
            }
            Fault::Cut(from, to, time) => {
                self.cut(from, to);
                self.after(time, move |world| world.mend(from, to));
            }
            Fault::Isolate(server, time) => {
                for other in (0..=self.servers.len()).filter(|other| *other != server) {
                    self.cut(server, other);
                    self.cut(other, server);
                    self.after(time, move |world| {
                        world.mend(server, other);
                        world.mend(other, server);
                    });
                }
            }
            Fault::SlowApply(server, takes, time) => {
                self.servers[server].apply_takes = takes;
                self.after(time, move |world| world.servers[server].apply_takes = MS);
            }
            Fault::StopStarved(primary, first, muted, away) => {
                for server in self.servers.iter_mut().enumerate().filter(|(index, _)| *index != primary) {
                    server.1.mute_until = now + muted;
                }
                let heals = self.heals;
                self.after(first, move |world| {
                    if world.heals > heals {
                        return;
                    }
                    world.stop(primary);
                    world.after(away.max(3 * SECOND), move |world| world.start(primary));
                });
            }
            Fault::Mute(server, time) => self.servers[server].mute_until = now + time,
            Fault::Stall(server, time) => self.servers[server].stalled_until = now + time,
            Fault::OldStore(_) => self.heal(),
            Fault::KillSluice(_) | Fault::Command(_) => {}
        }
    }

    /// Ends every fault; servers that are down are started.
    pub(crate) fn heal(&mut self) {
        self.heals += 1;
        self.mend_all();
        let now = self.now;
        for index in 0..self.servers.len() {
            self.thaw(index);
            self.start(index);
            let server = &mut self.servers[index];
            server.apply_takes = MS;
            server.stalled_until = server.stalled_until.min(now);
            server.mute_until = server.mute_until.min(now);
        }
    }

    /// What an operator does with a member in quarantine: CLONE from the primary.
    pub(crate) fn rebuild(&mut self, index: usize, donor: usize) {
        if self.servers[index].run != Run::Up || self.servers[donor].run != Run::Up {
            return;
        }
        self.note(|| format!("operator: db{} is rebuilt from db{}", index + 1, donor + 1));
        self.kill(index);
        let from = &self.servers[donor];
        let log: Vec<_> = from.log.iter().take(from.committed).map(Arc::clone).collect();
        let (executed, epoch) = (from.executed.clone(), from.epoch.clone());
        let fresh = Server::new(0, true);
        let server = &mut self.servers[index];
        server.committed = log.len();
        server.log = log;
        server.written = executed.clone();
        server.executed = executed;
        server.epoch = epoch;
        server.channel = fresh.channel;
        server.persisted = true;
        self.start(index);
    }
}

/// For tokio's clock.
pub(crate) fn duration(time: Time) -> Duration {
    Duration::from_micros(time)
}
