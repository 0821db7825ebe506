//! The world of a run: servers, the network between them, and what happens when.
//!
//! Nothing here knows time but as microseconds since the beginning; who drives the world says how late it is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use sluice::controller::api::ControllerHandle;
use tokio::sync::Notify;

use crate::ledger::Ledger;
use crate::random::Random;
use crate::server::{Run, Server};
use crate::trace::Trace;

/// Microseconds since the beginning.
pub(crate) type Time = u64;
pub(crate) const MS: Time = 1000;
pub(crate) const SECOND: Time = 1_000_000;

/// Something that happens.
pub(crate) type Action = Box<dyn FnOnce(&mut World) + Send>;

/// What a message finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The process works on it.
    Met,
    /// There is no such process: the machine answers for it.
    Reset,
}

/// A message to a server's process.
pub(crate) type Message = Box<dyn FnOnce(&mut World, Arrival) + Send>;

struct Planned {
    at: Time,
    number: u64,
    action: Action,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// One direction between two machines. What is sent while it is cut arrives when it is mended, as TCP does it.
#[derive(Default)]
struct Link {
    cut: bool,
    latest: Time,
    waiting: VecDeque<Action>,
}

/// See the module's documentation.
pub(crate) struct World {
    pub(crate) now: Time,
    numbers: u64,
    planned: BinaryHeap<Reverse<Planned>>,
    pub(crate) random: Random,
    pub(crate) servers: Vec<Server>,
    links: Vec<Vec<Link>>,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    /// The Sluice that runs, to compare with what it holds true.
    pub(crate) sluice: Option<ControllerHandle>,
    /// The folder of its store.
    pub(crate) store: PathBuf,
    /// Control statements that were sent, and at which of them Sluice is killed.
    pub(crate) statements: u64,
    pub(crate) kill_at: Option<u64>,
    pub(crate) killed: Arc<Notify>,
    /// How often everything was healed: what was to happen later is not to happen then.
    pub(crate) heals: u64,
    wake: Arc<Notify>,
}

/// The world as all tasks of a run hold it.
#[derive(Clone)]
pub(crate) struct Shared {
    world: Arc<Mutex<World>>,
    wake: Arc<Notify>,
    began: tokio::time::Instant,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a simulated world")
    }
}

impl Shared {
    pub(crate) fn new(seed: u64, servers: Vec<Server>, store: PathBuf, trace: Trace) -> Self {
        let wake = Arc::new(Notify::new());
        let machines = servers.len() + 1;
        let links = (0..machines).map(|_| (0..machines).map(|_| Link::default()).collect()).collect();
        let world = World {
            now: 0,
            numbers: 0,
            planned: BinaryHeap::new(),
            random: Random::new(seed),
            servers,
            links,
            ledger: Ledger::default(),
            trace,
            sluice: None,
            store,
            statements: 0,
            kill_at: None,
            killed: Arc::new(Notify::new()),
            heals: 0,
            wake: Arc::clone(&wake),
        };
        Self { world: Arc::new(Mutex::new(world)), wake, began: tokio::time::Instant::now() }
    }

    /// The world as it is now.
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap();
        world.now = world.now.max(now);
        world
    }

    /// Lets happen what is due, for ever.
    pub(crate) async fn drive(self) {
        loop {
            let next = self.lock().happen();
            let woken = self.wake.notified();
            match next {
                Some(at) => {
                    let until = self.began + std::time::Duration::from_micros(at);
                    tokio::select! {
                        biased;
                        () = woken => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                None => woken.await,
            }
        }
    }
}

impl World {
    /// Lets happen what is due; says when the next is.
    fn happen(&mut self) -> Option<Time> {
        let late = self.now;
        while let Some(Reverse(next)) = self.planned.peek() {
            if next.at > late {
                return Some(next.at);
            }
            if let Some(Reverse(next)) = self.planned.pop() {
                (next.action)(self);
            }
        }
        None
    }

    /// The machine that Sluice and its clients run on.
    pub(crate) fn sluice_machine(&self) -> usize {
        self.servers.len()
    }

    /// Has something happen later.
    pub(crate) fn after(&mut self, delay: Time, action: impl FnOnce(&mut Self) + Send + 'static) {
        self.at(self.now + delay, Box::new(action));
    }

    fn at(&mut self, at: Time, action: Action) {
        self.numbers += 1;
        if self.planned.peek().is_none_or(|Reverse(first)| at < first.at) {
            self.wake.notify_one();
        }
        self.planned.push(Reverse(Planned { at, number: self.numbers, action }));
    }

    /// Has the process of a server do something later: not if it was started again meanwhile, and later still if
    /// it is frozen then.
    pub(crate) fn server_after(
        &mut self,
        server: usize,
        delay: Time,
        action: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        let boot = self.servers[server].boot;
        self.after(delay, move |world| {
            world.arrive(
                server,
                Some(boot),
                Box::new(|world, arrival| {
                    if arrival == Arrival::Met {
                        action(world);
                    }
                }),
            );
        });
    }

    fn arrive(&mut self, server: usize, boot: Option<u64>, message: Message) {
        let there = &mut self.servers[server];
        if boot.is_some_and(|boot| boot != there.boot) {
            return message(self, Arrival::Reset);
        }
        match there.run {
            Run::Frozen => there.inbox.push(message),
            Run::Down => message(self, Arrival::Reset),
            Run::Up | Run::Stopping => message(self, Arrival::Met),
        }
    }

    /// Sends something from one machine to another.
    pub(crate) fn send(&mut self, from: usize, to: usize, action: impl FnOnce(&mut Self) + Send + 'static) {
        let action: Action = Box::new(action);
        if self.links[from][to].cut {
            self.links[from][to].waiting.push_back(action);
            return;
        }
        let at = self.now + self.random.between(100, 900);
        let link = &mut self.links[from][to];
        link.latest = link.latest.max(at);
        let at = link.latest;
        self.at(at, action);
    }

    /// Sends something to the process of a server: to this run of it, if one is named.
    pub(crate) fn send_to_server(
        &mut self,
        from: usize,
        server: usize,
        boot: Option<u64>,
        message: impl FnOnce(&mut Self, Arrival) + Send + 'static,
    ) {
        self.send(from, server, move |world| world.arrive(server, boot, Box::new(message)));
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.trace.note(self.now, || format!("network: {from} -> {to} cut"));
        self.links[from][to].cut = true;
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.links[from][to].cut
    }

    pub(crate) fn mend(&mut self, from: usize, to: usize) {
        let link = &mut self.links[from][to];
        if !link.cut {
            return;
        }
        link.cut = false;
        let waiting = std::mem::take(&mut link.waiting);
        self.trace.note(self.now, || format!("network: {from} -> {to} mended, {} arrive", waiting.len()));
        for action in waiting {
            self.send(from, to, action);
        }
    }

    /// Mends every direction.
    pub(crate) fn mend_all(&mut self) {
        for from in 0..self.links.len() {
            for to in 0..self.links.len() {
                self.mend(from, to);
            }
        }
    }

    /// Says what must not be.
    pub(crate) fn violated(&mut self, what: String) {
        self.trace.note(self.now, || format!("VIOLATION: {what}"));
        self.ledger.violations.push(what);
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        self.trace.note(self.now, text);
    }
}
