//! The observers of all instances, which come and go with the configuration.
//!
//! Never here: what an observer sees.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_routing::topology::InstanceId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::board::Board;
use super::super::control_session::{Servers, Target};
use super::{COMMANDS, Command, LOOK_DEADLINE, Watcher, fresh_logins, lock_name};
use crate::config::{Config, Instance, Standing};
use crate::feed::Feed;

/// The observers of all instances; dropping it ends them.
#[derive(Debug)]
pub(in crate::controller) struct Observers {
    servers: Arc<dyn Servers>,
    board: Arc<Board>,
    feed: Arc<Feed>,
    /// By place.
    each: Mutex<Vec<Observer>>,
}

/// The observer of one instance.
#[derive(Debug)]
struct Observer {
    commands: mpsc::Sender<Command>,
    tasks: JoinSet<()>,
}

impl Observers {
    /// Starts looking.
    pub(in crate::controller) fn start(
        config: &Arc<Config>,
        servers: &Arc<dyn Servers>,
        board: &Arc<Board>,
        feed: &Arc<Feed>,
    ) -> Self {
        let observers = Self {
            servers: Arc::clone(servers),
            board: Arc::clone(board),
            feed: Arc::clone(feed),
            each: Mutex::default(),
        };
        observers.regroup(config);
        observers
    }

    /// Begins with instances that it does not know yet, and ends with those that are gone, whose locks are free then.
    pub(in crate::controller) fn regroup(&self, config: &Config) {
        let mut each = self.each();
        for (index, instance) in config.instances.iter().enumerate().skip(each.len()) {
            each.push(self.observe(index, instance, config));
        }
        for (index, (observer, instance)) in each.iter_mut().zip(&config.instances).enumerate() {
            if instance.standing == Standing::Removed && !observer.tasks.is_empty() {
                observer.tasks = JoinSet::new();
                let id = InstanceId(u16::try_from(index).unwrap_or(u16::MAX));
                self.board.remove(index, Arc::clone(&instance.name));
                self.feed.progress().forget(id);
                self.feed.receipts().forget(id);
            }
        }
    }

    fn observe(&self, index: usize, instance: &Instance, config: &Config) -> Observer {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let target = Target::control(&self.servers, instance);
        let watcher = Watcher {
            index,
            admin: Target::control_admin(&self.servers, instance),
            target: target.clone(),
            lock: lock_name(config),
            board: Arc::clone(&self.board),
            feed: Arc::clone(&self.feed),
            commands: receiver,
            session: None,
            refused: 0,
            former: Vec::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(watcher.watch());
        tasks.spawn(fresh_logins(index, target, Arc::clone(&self.board)));
        Observer { commands, tasks }
    }

    fn each(&self) -> MutexGuard<'_, Vec<Observer>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places at which somebody looks.
    fn observed(&self) -> Vec<usize> {
        let each = self.each();
        let observed = each.iter().enumerate().filter(|(_, observer)| !observer.tasks.is_empty());
        observed.map(|(index, _)| index).collect()
    }

    /// Looks at all instances at once.
    pub(in crate::controller) async fn look_at_all(&self, deadline: Instant) {
        self.look_at(&self.observed(), deadline).await;
    }

    /// Looks at some instances at once.
    pub(in crate::controller) async fn look_at(&self, which: &[usize], deadline: Instant) {
        let observed = self.observed();
        let which = which.iter().filter(|index| observed.contains(index));
        let before: Vec<(usize, u64)> = which.map(|index| (*index, self.board.looks(*index))).collect();
        before.iter().for_each(|(index, _)| self.ask_twice(*index));
        for (index, looks) in before {
            let _ = timeout_at(deadline, self.board.looked(index, looks + 1)).await;
        }
    }

    /// Asks for a look and does not wait for it.
    pub(in crate::controller) fn look_soon(&self, index: usize) {
        self.send(index, Command::Look);
    }

    /// The look under way may have read too early; the one after it has not.
    fn ask_twice(&self, index: usize) {
        self.send(index, Command::Look);
        self.send(index, Command::Look);
    }

    /// Takes the cluster's lock on an instance, if it is free.
    pub(in crate::controller) async fn take_lock(&self, index: usize) -> bool {
        self.asked(index, Command::TakeLock).await
    }

    /// Gives the lock back.
    pub(in crate::controller) async fn release_lock(&self, index: usize) -> bool {
        self.asked(index, Command::ReleaseLock).await
    }

    async fn asked(&self, index: usize, command: impl FnOnce(oneshot::Sender<bool>) -> Command) -> bool {
        let (answer, answered) = oneshot::channel();
        self.send(index, command(answer));
        matches!(timeout(2 * LOOK_DEADLINE, answered).await, Ok(Ok(true)))
    }

    fn send(&self, index: usize, command: Command) {
        // A full queue means that a look is about to happen anyway.
        let _ = self.each().get(index).map(|observer| observer.commands.try_send(command));
    }
}
