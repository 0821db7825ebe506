//! One run: a cluster is adopted, struck by faults, healed, and held to its invariants all the while.

use std::sync::Arc;
use std::time::Duration;

use sluice::config::Config;
use sluice::controller::api::Status;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use crate::client::{write_directly_for_ever, write_for_ever};
use crate::faults::{Copy, Fault, duration};
use crate::ledger::Outcome;
use crate::operator::Operator;
use crate::random::Random;
use crate::server::Server;
use crate::sluice::{Sluice, config, store_folder};
use crate::trace::{Kept, Trace};
use crate::world::{MS, SECOND, Shared, World};

/// How long a cluster may take to be adopted and fully set up.
const ADOPTION: Duration = Duration::from_secs(40);
/// How long it may take to be well when nothing is wrong any more.
const RECOVERY: Duration = Duration::from_secs(90);
/// Between two looks at the invariants.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an operator takes to rebuild a member.
const OPERATOR: Duration = Duration::from_secs(3);

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcomes {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) events: u64,
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) epochs: u64,
    pub(crate) virtual_seconds: f64,
}

struct Stage {
    world: Shared,
    config: Arc<Config>,
    sluice: Option<Sluice>,
    clients: Vec<JoinHandle<()>>,
    writers: usize,
    pace: Duration,
    /// The record as it was when the cluster was set up.
    former: Option<Vec<u8>>,
    /// A second Sluice, with a store of its own, started by mistake.
    stranger: Option<Sluice>,
    /// Whether no server carried an epoch when the Sluice that counts was killed last.
    wordless: bool,
    /// Whether a program writes to the first server without Sluice.
    bypassed: bool,
}

/// Plays a seed.
pub(crate) fn play(seed: u64, kept: Kept) -> Outcomes {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let folder = store_folder();
    let local = LocalSet::new();
    let outcomes = runtime.block_on(local.run_until(async {
        let mut dice = Random::new(seed.rotate_left(17));
        let members = [3, 3, 3, 3, 3, 4, 5, 5][dice.below(8)];
        let tuned = dice.chance(80);
        let servers = (0..members).map(|index| Server::new(index, tuned)).collect();
        let world = Shared::new(seed, servers, folder.clone(), Trace::new(kept));
        let driver = tokio::spawn(world.clone().drive());
        let mut stage = Stage {
            config: config(members, &folder, &mut dice),
            sluice: None,
            clients: Vec::new(),
            writers: 1 + dice.below(4),
            pace: Duration::from_millis(dice.between(20, 300)),
            bypassed: dice.chance(50),
            former: None,
            stranger: None,
            wordless: false,
            world,
        };
        stage.perform(&mut dice).await;
        driver.abort();
        stage.outcomes(seed, kept)
    }));
    drop(local);
    drop(runtime);
    let _ = std::fs::remove_dir_all(folder);
    outcomes
}

impl Stage {
    async fn perform(&mut self, dice: &mut Random) {
        {
            let mut world = self.world.lock();
            for index in 1..world.servers.len() {
                world.start_receiver(index);
                world.start_applier(index);
            }
        }
        self.start();
        if dice.chance(10) {
            // What goes wrong while a cluster is adopted.
            self.pass(duration(dice.between(0, 4 * SECOND))).await;
        } else if !self.until("set up", ADOPTION, is_ready).await {
            return;
        }
        self.former = std::fs::read(self.config.cluster.store.join("record.json")).ok();
        if self.former.is_some() && dice.chance(10) {
            let elsewhere = self.config.cluster.store.join("stranger");
            let config = config(self.config.instances.len(), &elsewhere, dice);
            self.stranger = Some(Sluice::second(&self.world, &config));
        }
        let direct = self
            .bypassed
            .then(|| tokio::task::spawn_local(write_directly_for_ever(self.world.clone(), self.pace * 2)));
        self.spoil(dice).await;
        // Its last write may be on its way still: it stays open in the ledger.
        direct.inspect(JoinHandle::abort);
        self.world.lock().note(|| "everything is to be healed".into());
        if self.broken() || !self.recover().await {
            return;
        }
        self.last_look();
    }

    fn start(&mut self) {
        let sluice = Sluice::start(&self.world, &self.config);
        for _ in 0..self.writers {
            let writer = write_for_ever(
                self.world.clone(),
                Arc::clone(&sluice.feed),
                Arc::clone(&sluice.reshaped),
                self.pace,
            );
            self.clients.push(tokio::task::spawn_local(writer));
        }
        self.sluice = Some(sluice);
    }

    fn kill(&mut self) {
        let mut world = self.world.lock();
        world.kill_at = None;
        world.sluice = None;
        self.wordless = world.servers.iter().all(|server| server.epoch.is_none());
        world.note(|| "sluice: killed".into());
        drop(world);
        for client in self.clients.drain(..) {
            client.abort();
        }
        if let Some(sluice) = self.sluice.take() {
            sluice.kill();
        }
    }

    fn end(&mut self) {
        self.kill();
        if let Some(stranger) = self.stranger.take() {
            stranger.kill();
        }
    }

    fn broken(&self) -> bool {
        !self.world.lock().ledger.violations.is_empty()
    }

    /// A second Sluice must not touch a cluster that has one. Where the first was killed before it had left a word on any
    /// server, it can't know; somebody notices, and ends it.
    fn watch_stranger(&mut self) {
        let Some(stranger) = self.stranger.take_if(|stranger| stranger.handle.status().epoch > 0) else {
            return;
        };
        let epoch = stranger.handle.status().epoch;
        let mut world = self.world.lock();
        if self.wordless {
            world.note(|| format!("operator: ends the second Sluice, which has made epoch {epoch}"));
        } else {
            world.violated(format!("a second Sluice has made epoch {epoch}"));
        }
        drop(world);
        stranger.kill();
    }

    /// Lets time pass, with a look at the invariants every now and then.
    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let killed = Arc::clone(&self.world.lock().killed);
        while Instant::now() < end && !self.broken() {
            self.world.lock().check_epoch();
            self.watch_stranger();
            let left = end.saturating_duration_since(Instant::now());
            if timeout(left.min(LOOK_EVERY), killed.notified()).await.is_ok() && self.sluice.is_some() {
                self.kill();
                let away = self.world.lock().random.between(50 * MS, 4 * SECOND);
                sleep(duration(away)).await;
                self.start();
            }
        }
    }

    /// Faults, one after the other and some at the same time.
    async fn spoil(&mut self, dice: &mut Random) {
        for _ in 0..1 + dice.below(7) {
            let pause = if dice.chance(30) { dice.between(0, 400 * MS) } else { dice.between(0, 6 * SECOND) };
            self.pass(duration(pause)).await;
            if self.broken() {
                return;
            }
            let fault = Fault::draw(&mut self.world.lock());
            self.world.lock().strike(fault);
            match fault {
                Fault::KillSluice(statements) => {
                    let mut world = self.world.lock();
                    world.kill_at = Some(world.statements + statements);
                }
                Fault::Command(command) => self.operator().types(command).await,
                Fault::OldStore(copy) => self.replace_store(copy).await,
                Fault::Kill(..)
                | Fault::Stop(..)
                | Fault::Freeze(..)
                | Fault::Cut(..)
                | Fault::Isolate(..)
                | Fault::SlowApply(..)
                | Fault::StopStarved(..)
                | Fault::Mute(..)
                | Fault::Stall(..) => {}
            }
        }
        let rest = dice.between(0, 8 * SECOND);
        self.pass(duration(rest)).await;
    }

    /// Another Sluice begins where this one was long ago.
    async fn replace_store(&mut self, copy: Copy) {
        self.kill();
        self.pass(duration(SECOND)).await;
        let record = self.config.cluster.store.join("record.json");
        // Without a former copy there is nothing to lose.
        let _ = match (copy, &self.former) {
            (Copy::Empty, _) => std::fs::remove_file(record),
            (Copy::Old, Some(former)) => std::fs::write(record, former),
            (Copy::Old, None) => Ok(()),
        };
        {
            let ledger = &mut self.world.lock().ledger;
            (ledger.epoch, ledger.stale) = (0, true);
        }
        self.start();
    }

    /// The human in front of this Sluice.
    fn operator(&self) -> Operator {
        Operator::of(&self.world, self.sluice.as_ref().map(|sluice| sluice.handle.clone()))
    }

    fn status(&self) -> Option<Arc<Status>> {
        self.sluice.as_ref().map(|sluice| sluice.handle.status())
    }

    /// Waits until the status is as wanted.
    async fn until(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Status) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !self.broken() {
            if self.status().is_some_and(|status| wanted(&status)) {
                return true;
            }
            if Instant::now() >= end {
                let shown = self.shown();
                self.world.lock().violated(format!("not {what} within {limit:?}: {shown}"));
                return false;
            }
            self.pass(LOOK_EVERY).await;
        }
        false
    }

    /// What Sluice says of the cluster, for a violation.
    fn shown(&self) -> String {
        self.status().map_or_else(String::new, |status| {
            format!("{}: {}; alarms {:?}", status.verdict, status.evidence, status.alarms)
        })
    }

    /// Everything is healed: the cluster has to become well by itself, but for members that a human rebuilds.
    async fn recover(&mut self) -> bool {
        self.world.lock().kill_at = None;
        let healed = Instant::now();
        let mut operator = Instant::now() + OPERATOR;
        while healed.elapsed() < RECOVERY && !self.broken() {
            self.world.lock().heal();
            // Twice: the first status may be from before the latest fault was noticed.
            if self.is_well() {
                if !self.writes_go_on().await {
                    return false;
                }
                if self.is_well() {
                    return true;
                }
            }
            if Instant::now() >= operator {
                self.operator().looks();
                operator = Instant::now() + OPERATOR;
            }
            self.pass(LOOK_EVERY).await;
        }
        self.until("well again", Duration::ZERO, is_ready).await
    }

    /// Whether Sluice says so, and sends writes somewhere.
    fn is_well(&self) -> bool {
        let published = self.sluice.as_ref().is_some_and(|sluice| sluice.feed.topology().primary().is_some());
        published && self.status().is_some_and(|status| is_ready(&status))
    }

    async fn writes_go_on(&mut self) -> bool {
        let acknowledged = |world: &World| world.ledger.count(Outcome::Acknowledged);
        let before = acknowledged(&self.world.lock());
        let end = Instant::now() + Duration::from_secs(20);
        while acknowledged(&self.world.lock()) < before + self.writers && !self.broken() {
            if Instant::now() >= end {
                let shown = self.shown();
                self.world.lock().violated(format!("said to be well, but no write is acknowledged: {shown}"));
                return false;
            }
            self.pass(LOOK_EVERY).await;
        }
        !self.broken()
    }

    fn last_look(&mut self) {
        let Some(sluice) = &self.sluice else { return };
        let topology = sluice.feed.topology();
        let mut world = self.world.lock();
        let Some(primary) = topology.primary().map(|one| one.id.index()) else {
            return world.violated("no primary is published in the end".into());
        };
        world.check_ledger(primary);
        let readers: Vec<usize> = topology
            .instances
            .iter()
            .filter(|one| one.reads == sluice_routing::topology::Reads::Serving && one.id.index() != primary)
            .map(|one| one.id.index())
            .collect();
        world.check_readers(primary, &readers);
    }

    fn outcomes(mut self, seed: u64, kept: Kept) -> Outcomes {
        self.end();
        let mut world = self.world.lock();
        if kept == Kept::Latest {
            for index in 0..world.servers.len() {
                let text = world.describe(index);
                world.note(|| text);
            }
            world.trace.print();
        }
        Outcomes {
            seed,
            violations: std::mem::take(&mut world.ledger.violations),
            events: world.trace.events,
            acknowledged: world.ledger.count(Outcome::Acknowledged),
            unknown: world.ledger.count(Outcome::Unknown),
            epochs: world.ledger.epoch,
            virtual_seconds: world.now as f64 / 1e6,
        }
    }
}

fn is_ready(status: &Status) -> bool {
    status.verdict == "healthy"
        && status.guarantee.starts_with("every OK")
        && status.gate.state == "open"
        && status.operation.is_none()
        && status.rebuild.is_none()
        && status.failover.state == "ready"
}
