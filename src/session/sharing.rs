//! Connections come and go between the session and the pool: a statement gets one, and what is not tied to
//! the session goes back after each command.
//!
//! Nobody gets a connection with an open transaction, unread bytes or a half-done command of ours: such a one
//! is never parked, it stays with its session or is closed.
//!
//! Never here: where a statement runs, what is set on a connection.

use std::sync::Arc;

use sluice_routing::topology::{InstanceId, Reads, ReadsStopped, Topology};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, timeout};

use super::backends::{Backend, Hidden, LastUser, NotReady, UseAs, Users};
use super::place::{Held, client_gone};
use super::state::Settings;
use super::{Session, SessionContext, Triggers};
use crate::backend::places::{Grant, Wanted};
use crate::backend::pool::{Kept, Key, Pools};
use crate::backend::{DialError, Target};
use crate::config::Pooling;

/// Longest wait for one backend connection to be opened.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// How often a worker looks after its idle connections, at the latest.
const SWEEP: Duration = Duration::from_secs(1);

/// How a connection for a statement was come by. A metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Borrowed {
    /// It is the session's own, parked after an earlier command.
    Own,
    /// Another session's, with the same state.
    SameState,
    /// Another session's, with another state.
    OtherState,
    /// Another session's, that had to be reset.
    Reset,
    /// It was handed over while waiting for a place.
    HandedOver,
    /// A new one was opened.
    Dialled,
}

/// Which connections will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Any.
    Any,
    /// Only one fresh from its login.
    Fresh,
}

impl Session {
    /// A living connection to `instance`, in step with the session's state. Most statements find it so.
    pub(super) async fn ready(
        &mut self,
        instance: InstanceId,
        topology: &Topology,
        use_as: UseAs,
        deadline: Instant,
    ) -> Result<(), NotReady> {
        if self.take_if_in_step(instance, topology, use_as) {
            return Ok(());
        }
        Box::pin(self.make_ready(instance, topology, use_as, deadline)).await
    }

    /// Takes the session's own connection if it is alive and in step with its state, without a word to the server. One to
    /// another server than is meant is dropped.
    fn take_if_in_step(&mut self, instance: InstanceId, topology: &Topology, use_as: UseAs) -> bool {
        if self.backends.living(instance).is_none() {
            let Some(target) = topology.instance(instance).map(Target::of) else { return false };
            if !self.own(instance).is_some_and(|backend| is_of(backend, target)) {
                self.backends.drop_connection(instance);
                return false;
            }
            self.context.metrics.borrowed(Borrowed::Own);
        }
        let finds = self.finds_traces(use_as);
        let Some(backend) = self.backends.get_mut(instance) else { return false };
        if (finds && backend.users == Users::Others) || backend.differs(&self.state) {
            return false;
        }
        backend.keep_up(&mut self.state, use_as);
        true
    }

    /// As [`Session::ready`], where something has to be done for it.
    async fn make_ready(
        &mut self,
        instance: InstanceId,
        topology: &Topology,
        use_as: UseAs,
        deadline: Instant,
    ) -> Result<(), NotReady> {
        let how = self.take_connection(instance, topology, Source::Any, deadline).await?;
        self.clear_traces(instance, use_as).await?;
        let result = self.restore(instance, use_as).await;
        let Err(NotReady::Refused(_) | NotReady::Lost | NotReady::RefusedFirst | NotReady::Unfit) = result
        else {
            return result;
        };
        self.backends.drop_connection(instance);
        if how == Some(Borrowed::Dialled) {
            return result;
        }
        // What another session has left is our problem. What is refused on a fresh connection is the client's.
        self.take_connection(instance, topology, Source::Fresh, deadline).await?;
        let result = self.restore(instance, use_as).await;
        if let Err(NotReady::Refused(_) | NotReady::Lost | NotReady::Unfit) = result {
            self.backends.drop_connection(instance);
        }
        result
    }

    /// Whether what others left without a trace in the answers could be found.
    fn finds_traces(&self, use_as: UseAs) -> bool {
        match use_as {
            UseAs::Finder => true,
            UseAs::Writer => self.context.triggers() == Triggers::MayLeaveAnything,
            UseAs::Reader => false,
        }
    }

    /// Takes away what other sessions may have left without a trace in the answers, if it could be found.
    async fn clear_traces(&mut self, instance: InstanceId, use_as: UseAs) -> Result<(), NotReady> {
        let finds = self.finds_traces(use_as);
        let Some(backend) = self.backends.get_mut(instance) else { return Err(NotReady::Lost) };
        if !finds || backend.users != Users::Others {
            return Ok(());
        }
        if backend.last_user == LastUser::ThisSession {
            self.read_off(instance).await;
        }
        let Some(backend) = self.backends.get_mut(instance) else { return Err(NotReady::Lost) };
        let cleansed = backend.cleanse().await;
        if cleansed.is_err() {
            self.backends.drop_connection(instance);
        }
        cleansed
    }

    async fn restore(&mut self, instance: InstanceId, use_as: UseAs) -> Result<(), NotReady> {
        match self.backends.get_mut(instance) {
            Some(backend) => backend.restore(&mut self.state, use_as).await,
            None => Err(NotReady::Lost),
        }
    }

    /// A connection to `instance` on which no schema is selected, because the session's is gone.
    pub(super) async fn without_schema(
        &mut self,
        instance: InstanceId,
        topology: &Topology,
        deadline: Instant,
    ) -> Result<(), super::failure::Failure> {
        use super::failure::{Cause, Failure};
        let in_none = |backend: &mut Backend| backend.has.schema().is_none();
        if self.backends.get_mut(instance).is_some_and(in_none) {
            return Ok(());
        }
        self.backends.drop_connection(instance);
        if self.take_connection(instance, topology, Source::Fresh, deadline).await.is_err() {
            return Err(Failure::NotExecuted(Cause::Unreachable));
        }
        match self.restore(instance, UseAs::Writer).await {
            Ok(()) | Err(NotReady::NoSchema(_)) => Ok(()),
            Err(NotReady::Refused(error)) => Err(Failure::Server(error)),
            Err(
                NotReady::Dial(_)
                | NotReady::Lost
                | NotReady::RefusedFirst
                | NotReady::Unfit
                | NotReady::ClientGone,
            ) => Err(Failure::NotExecuted(Cause::Unreachable)),
        }
    }

    /// The session's own connection to `instance`, held or parked, if there is a living one.
    pub(super) fn own(&mut self, instance: InstanceId) -> Option<&mut Backend> {
        if self.backends.living(instance).is_none()
            && let Some(tag) = self.backends.take_tag(instance)
            && let Some(backend) = self.context.pools().take(tag)
        {
            self.backends.insert(backend);
        }
        let backend = self.backends.get_mut(instance)?;
        if backend.left.take().is_some() {
            self.left.handed_over = None;
        }
        Some(backend)
    }

    /// Whether the session has a connection of its own to `instance`, held or parked.
    pub(super) fn has_own(&self, instance: InstanceId) -> bool {
        self.backends.has(instance)
            || self.backends.tag(instance).is_some_and(|tag| self.context.pools().has(tag))
    }

    /// Sees to it that the session holds a connection to `instance` that can take its state. Returns how it
    /// was come by, `None` if it was held already.
    async fn take_connection(
        &mut self,
        instance: InstanceId,
        topology: &Topology,
        source: Source,
        deadline: Instant,
    ) -> Result<Option<Borrowed>, NotReady> {
        let target = topology.instance(instance).map(Target::of).ok_or(DialError::UnknownInstance)?;
        if source == Source::Any {
            if self.backends.living(instance).is_some() {
                return Ok(None);
            }
            if let Some(how) = self.borrow_nearest(target).await {
                return Ok(Some(how));
            }
        }
        self.open_or_wait(target, source, deadline).await.map(Some)
    }

    /// Takes over an idle connection of the pool.
    async fn borrow_nearest(&mut self, target: Target) -> Option<Borrowed> {
        // Once a server has refused the password, what it had opened is for nobody any more.
        let key = Key::wanted(target.instance, &self.login)?;
        if !self.context.login.is_current(&key.identity) {
            return None;
        }
        let pools = Arc::clone(self.context.pools());
        // Ends: each round takes one out of the pool.
        while let Some((backend, distance)) = pools.take_nearest(self.worker, key, self.state.settings()) {
            if !is_of(&backend, target) {
                continue;
            }
            let how = if distance == 0 { Borrowed::SameState } else { Borrowed::OtherState };
            if let Some(how) = self.take_over(backend, how).await {
                return Some(how);
            }
        }
        None
    }

    /// Makes another session's connection this one's.
    async fn take_over(&mut self, mut backend: Box<Backend>, how: Borrowed) -> Option<Borrowed> {
        if backend.hand_over_left().await.is_err() {
            return None;
        }
        let reset = backend.hidden != Hidden::Nothing;
        if reset && backend.cleanse().await.is_err() {
            return None;
        }
        backend.hand_on();
        let how = if reset { Borrowed::Reset } else { how };
        self.context.metrics.borrowed(how);
        self.backends.insert(backend);
        Some(how)
    }

    async fn open_or_wait(
        &mut self,
        target: Target,
        source: Source,
        deadline: Instant,
    ) -> Result<Borrowed, NotReady> {
        let pools = Arc::clone(self.context.pools());
        let key = Key::wanted(target.instance, &self.login)
            .filter(|key| source == Source::Any && self.context.login.is_current(&key.identity));
        let wants = key.map(|key| Wanted { key, worker: self.worker });
        loop {
            let grant = match pools.places().try_acquire(target.instance) {
                Some(permit) => Grant::Place(permit),
                None => {
                    self.context.metrics.waited_for_place();
                    let _held = Held::begin(Arc::clone(self.registration.entry()));
                    // Who waits for a place at a primary that is no more has to look again.
                    let mut shape = self.shape.clone();
                    shape.mark_unchanged();
                    tokio::select! {
                        granted = pools.places().acquire(target.instance, wants, deadline) => {
                            granted.map_err(|_| DialError::Busy)?
                        }
                        Ok(()) = shape.changed() => return Err(DialError::Busy.into()),
                        // What is granted in the same moment goes to the next in the queue.
                        () = client_gone(&mut self.client) => return Err(NotReady::ClientGone),
                    }
                }
            };
            let permit = match grant {
                Grant::Place(permit) => permit,
                Grant::Idle(tag) => {
                    if let Some(backend) = pools.take_promised(self.worker, tag)
                        && is_of(&backend, target)
                        && super::state::distance(&backend.has, self.state.settings()).is_some()
                        && let Some(how) = self.take_over(backend, Borrowed::HandedOver).await
                    {
                        return Ok(how);
                    }
                    continue;
                }
            };
            let dial_deadline = deadline.min(Instant::now() + DIAL_DEADLINE);
            let connection =
                self.context.login.connect_at(permit, target, &self.login, dial_deadline).await?;
            if self.login.identity.is_some() && connection.identity.is_some() {
                // Another one than before if the account's password was changed meanwhile.
                self.login.identity = connection.identity;
            }
            self.context.metrics.borrowed(Borrowed::Dialled);
            self.backends.insert(Backend::new(connection, Arc::new(Settings::default())));
            return Ok(Borrowed::Dialled);
        }
    }

    /// Gives back what is not tied to this session, after a command.
    pub(super) fn park(&mut self) {
        let home = self.home;
        // Without its password the session could not get another one.
        let alone = self.context.pooling == Pooling::Session || self.login.secret.is_none();
        if alone || self.has_questions() {
            return;
        }
        let at_home = home.and_then(|home| self.backends.get_mut(home));
        let thread = at_home.map(|backend| (backend.connection.instance, backend.connection.thread_id));
        let entry = self.registration.entry();
        entry.set_backend(thread);
        // A KILL that began before may still be on its way to the server thread.
        if entry.is_being_killed() {
            return;
        }
        let shared = |backend: &Backend| backend.connection.identity.is_some();
        let leaves = |it: &Backend| shared(it) && home != Some(it.connection.instance);
        // Ends: each round takes one out.
        while let Some(mut backend) = self.backends.release(leaves) {
            let instance = backend.connection.instance;
            let Some(key) = Key::opened(&backend.connection, &self.login) else { continue };
            if !backend.connection.io.buffer().is_empty() {
                // One answer too many: nobody knows whose.
                continue;
            }
            let own = backend.last_user == LastUser::ThisSession && self.last == Some(instance);
            let kept = if own && self.left.is_on(instance) {
                let (left, handed_over) = oneshot::channel();
                backend.left = Some(left);
                self.left.handed_over = Some(handed_over);
                Kept::ForLastStatement
            } else {
                Kept::Freely
            };
            let tag = self.context.pools().park(self.worker, key, backend, kept);
            if let Some(former) = self.backends.take_tag(instance) {
                self.context.pools().abandon(former);
            }
            self.backends.parked(instance, tag);
        }
    }

    /// The session is over: nobody comes back to what it has parked.
    pub(super) fn abandon_parked(&mut self) {
        for tag in self.backends.take_tags() {
            self.context.pools().abandon(tag);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.abandon_parked();
    }
}

/// Whether a connection leads to the server that the topology means.
fn is_of(backend: &Backend, target: Target) -> bool {
    match (target.expected_uuid, backend.connection.server_uuid) {
        (Some(expected), Some(found)) => expected == found,
        (None, _) | (_, None) => true,
    }
}

/// Looks after the idle connections of one worker until the feed ends.
pub async fn keep_pool(worker: usize, context: Arc<SessionContext>) {
    let mut shape = context.feed.shape_changes();
    loop {
        let topology = Arc::clone(&context.feed.topology());
        context.pools().sweep(worker, |connection| {
            let Some(instance) = topology.instance(connection.instance) else { return true };
            let replaced = instance.server_uuid.is_some_and(|uuid| connection.server_uuid != Some(uuid));
            let left = match instance.reads {
                Reads::Stopped(
                    ReadsStopped::Draining | ReadsStopped::Unreachable | ReadsStopped::WrongServer,
                ) => !topology.is_primary(instance.id),
                Reads::Serving
                | Reads::Stopped(
                    ReadsStopped::NotYetChecked
                    | ReadsStopped::NotReplicating
                    | ReadsStopped::Lagging
                    | ReadsStopped::Maintenance
                    | ReadsStopped::Quarantined
                    | ReadsStopped::Rebuilding
                    | ReadsStopped::Writable,
                ) => false,
            };
            let ended = connection.identity.is_none_or(|identity| !context.login.is_current(&identity));
            replaced || left || ended
        });
        if matches!(timeout(SWEEP, shape.changed()).await, Ok(Err(_))) {
            return;
        }
    }
}

/// The pools of a process's sessions.
pub(crate) type SessionPools = Pools<Box<Backend>>;
