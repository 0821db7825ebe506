//! What a human types, and what one does after a look at the status.

use std::time::Duration;

use sluice::controller::api::{
    ControllerHandle, MarkTerms, RebuildRequest, Request, Status, SwitchoverRequest,
};
use sluice::controller::record::MarkKind;
use tokio::time::timeout;

use crate::random::Random;
use crate::server::Server;
use crate::world::Shared;

/// What is typed while things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Another primary: the one with this number, if any.
    Switchover(Option<usize>),
    /// An instance is taken out.
    Mark(MarkKind, usize),
    /// It is given back.
    Unmark(usize),
    /// A member is filled with another's data.
    Rebuild(usize),
    /// Nobody is to be promoted.
    Pause,
    /// Somebody may be again.
    Resume,
}

impl Command {
    /// One that is no change of the primary.
    pub(crate) fn draw(random: &mut Random, members: usize) -> Self {
        let index = random.below(members);
        match random.below(13) {
            0..=2 => Self::Mark(MarkKind::Maintenance, index),
            3..=4 => Self::Mark(MarkKind::Drain, index),
            5 => Self::Mark(MarkKind::Quarantine, index),
            6..=7 => Self::Unmark(index),
            8 => Self::Pause,
            9..=11 => Self::Rebuild(index),
            _ => Self::Resume,
        }
    }
}

const WHO: &str = "operator";

/// A human in front of a Sluice, if one runs.
pub(crate) struct Operator {
    world: Shared,
    handle: Option<ControllerHandle>,
}

impl Operator {
    pub(crate) fn of(world: &Shared, handle: Option<ControllerHandle>) -> Self {
        Self { world: world.clone(), handle }
    }

    pub(crate) async fn types(&self, command: Command) {
        let Some(handle) = &self.handle else { return };
        let name = |index: usize| format!("db{}", index + 1);
        let request = match command {
            Command::Switchover(to) => {
                Request::Switchover(SwitchoverRequest { to: to.map(name), ..SwitchoverRequest::default() })
            }
            Command::Mark(kind, index) => Request::Mark { kind, name: name(index), terms: terms() },
            Command::Unmark(index) => unmark(name(index)),
            Command::Rebuild(index) => rebuild(name(index)),
            Command::Pause => Request::Pause(terms()),
            Command::Resume => Request::Resume { who: WHO.into() },
        };
        let answered = timeout(Duration::from_secs(1), handle.ask(request)).await;
        self.world.lock().note(|| format!("operator: {command:?}: {answered:?}"));
    }

    /// What a human types after a look at the status: what was marked or paused is taken back, and who has transactions of
    /// its own, or none any more, is filled anew.
    fn asks(&self, status: &Status) {
        let marked = status.instances.iter().filter(|instance| instance.mark.is_some());
        let marks = marked.map(|instance| unmark(instance.name.clone()));
        let pause = status.paused.is_some().then(|| Request::Resume { who: WHO.into() });
        let spoilt = status.instances.iter().filter(|instance| {
            let empty = instance.gtid_executed.as_ref().is_some_and(String::is_empty);
            instance.reachable && (empty || instance.errant.is_some())
        });
        let spoilt = spoilt.filter(|_| status.rebuild.is_none() && status.primary.is_some());
        let rebuilds = spoilt.map(|instance| rebuild(instance.name.clone()));
        let requests: Vec<Request> = marks.chain(pause).chain(rebuilds).collect();
        let Some(handle) = self.handle.clone().filter(|_| !requests.is_empty()) else { return };
        let world = self.world.clone();
        tokio::task::spawn_local(async move {
            for request in requests {
                let answered = handle.ask(request.clone()).await;
                world.lock().note(|| format!("operator: {request:?}: {answered:?}"));
            }
        });
    }

    /// Looks at the status, and types. Before there is a record, closes what was started writable, and starts replicas that
    /// were persisted not to start by themselves.
    pub(crate) fn looks(&self) {
        let Some(handle) = &self.handle else { return };
        let status = handle.status();
        self.asks(&status);
        let mut world = self.world.lock();
        for index in 0..world.servers.len() {
            let name = format!("SET GLOBAL offline_mode=OFF on db{}", index + 1);
            if status.alarms.iter().any(|alarm| alarm.ends_with(&name)) {
                world.servers[index].offline = false;
            }
        }
        if status.verdict == "unadopted" {
            world.servers.iter_mut().skip(1).for_each(|server| server.read_only = true);
            if world.servers.iter().all(|server| server.read_only) {
                let fullest = world.servers.iter().max_by_key(|server| server.log.len());
                self.adopt(fullest.map(|server| server.name.clone()));
            }
            // Whom the status names, and nobody else: a former primary may have an old source.
            let named =
                |server: &Server| status.evidence.contains(&format!("START REPLICA on {}", server.name));
            if let Some(index) = world.servers.iter().position(named) {
                world.start_receiver(index);
                world.start_applier(index);
            }
        }
        if status.verdict == "opened_by_hand" {
            // A program wrote past Sluice to a server that was started writable: nobody meant that one to be the primary.
            let recorded = world.record().map(|record| record.primary);
            let others = world.servers.iter_mut().filter(|server| Some(server.uuid) != recorded);
            others.for_each(|server| server.read_only = true);
        }
        if status.verdict == "stale_record" {
            // Who is to be the primary has to apply what it has received.
            (0..world.servers.len()).for_each(|index| world.start_applier(index));
            let newest =
                world.servers.iter().filter_map(|server| server.epoch.as_ref()).max_by_key(|row| row.epoch);
            let primary =
                newest.and_then(|row| world.servers.iter().find(|server| server.uuid == row.primary));
            self.adopt(primary.map(|server| server.name.clone()));
        }
    }

    fn adopt(&self, primary: Option<String>) {
        if let (Some(primary), Some(handle)) = (primary, &self.handle) {
            tokio::task::spawn_local(adopt(self.world.clone(), handle.clone(), primary));
        }
    }
}

/// Without a time: wall clocks stand still here.
fn terms() -> MarkTerms {
    MarkTerms { who: WHO.into(), ..MarkTerms::default() }
}

fn rebuild(name: String) -> Request {
    Request::Rebuild(RebuildRequest { name, who: WHO.into(), ..RebuildRequest::default() })
}

fn unmark(name: String) -> Request {
    Request::Unmark { kind: None, name, who: WHO.into() }
}

/// A human adopts a primary, and does what it takes: what the refusal says is to be typed next; or else a member that has
/// more than it was in quarantine, and is rebuilt; another one that takes writes is closed.
async fn adopt(world: Shared, handle: ControllerHandle, primary: String) {
    let request = |primary: &str| Request::Adopt { primary: primary.into(), who: WHO.into() };
    let answered = handle.ask(request(&primary)).await;
    world.lock().note(|| format!("operator: adopt: {answered:?}"));
    let Err(refusal) = answered else { return };
    let hint = refusal.hint.as_deref().unwrap_or_default();
    if let Some(better) = after(hint, "sluice adopt --primary ").filter(|_| hint.starts_with("sluice")) {
        let answered = handle.ask(request(better)).await;
        let mut world = world.lock();
        world.note(|| format!("operator: adopt {better}: {answered:?}"));
        if let Err(refusal) = answered {
            world.violated(format!("{hint}; but then: {refusal}"));
        }
        return;
    }
    let mut world = world.lock();
    let names: Vec<String> = world.servers.iter().map(|server| server.name.clone()).collect();
    let place = |name: &str| names.iter().position(|one| one == name);
    if let Some(late) = after(hint, "START REPLICA SQL_THREAD on ").and_then(place) {
        return world.start_applier(late);
    }
    let writable = refusal.reason.split_once(" is writable: stop its writes");
    if let Some(writable) = writable.and_then(|(name, _)| place(name)) {
        world.servers[writable].read_only = true;
    }
    let more = after(&refusal.reason, "lacks transactions that ").and_then(place);
    if let (Some(errant), Some(donor)) = (more, place(&primary)) {
        world.rebuild(errant, donor);
    }
}

/// The name that follows these words.
fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(words)?;
    rest.split([' ', ',', ';']).next()
}
