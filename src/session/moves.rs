//! What a session does beside its client's commands: following the topology, opening a connection ahead of a
//! switchover, obeying orders.
//!
//! Never here: bytes of a statement, a decision about roles.

use sluice_routing::decide::Listener;
use sluice_routing::topology::{InstanceId, Reads, Topology};
use tokio::time::{Duration, Instant};

use super::backends::{Backend, LastUser, NotReady, UseAs};
use super::failure::{Cause, Failure};
use super::{End, Session, Warming};
use crate::backend::Target;
use crate::config::Pooling;
use crate::feed::registry::Order;

/// Longest wait for a connection opened ahead of a switchover. A target that is slower than this makes the
/// session dial again after the switchover.
const WARM_DEADLINE: Duration = Duration::from_secs(3);

/// Waits for a running warm-up to end and puts its result back for `finish_warming`; for ever if there is
/// none. Safe to cancel: a join handle keeps its result until it is taken.
pub(super) async fn finished(warming: &mut Option<Box<Warming>>) {
    match warming.as_deref_mut() {
        Some(Warming { opened: Some(_), .. }) => {}
        Some(Warming { dial, opened, .. }) => *opened = Some(dial.await.ok().and_then(Result::ok)),
        None => std::future::pending().await,
    }
}

/// Sessions with more prepared statements than this prepare them again one by one as they execute them.
const MAX_PREPARED_AHEAD: usize = 64;

impl Session {
    /// Looks at everything that may have changed while a command ran.
    pub(super) async fn after_command(&mut self) {
        self.look_around();
        if self.warming.as_ref().is_some_and(|warming| warming.dial.is_finished()) {
            Box::pin(self.finish_warming()).await;
        }
    }

    /// Follows the topology if its shape has changed.
    pub(super) fn look_around(&mut self) {
        if self.shape.has_changed().unwrap_or(false) {
            self.shape.mark_unchanged();
            self.follow_shape(true);
        }
    }

    /// The epoch, the primary or the warm-up target changed.
    pub(super) fn follow_shape(&mut self, feed_alive: bool) {
        if !feed_alive {
            return;
        }
        let topology = self.context.feed.topology().clone();
        if let Some(target) = topology.warm.filter(|_| self.listener != Listener::Replica) {
            let generation = topology.epoch + 1;
            if self.warming.as_ref().is_none_or(|warming| warming.generation != generation) {
                self.begin_warming(generation, target, &topology);
            }
        }
        if let Some(replica) = self.replica
            && topology.is_primary(replica)
        {
            self.replica = None;
            self.publish_facts();
        }
        self.leave_disowned();
        // A connection is kept whatever role its instance has, unless an operator wants the instance empty.
        let (primary, home) = (topology.primary, self.home);
        let draining = |instance: InstanceId| {
            topology
                .instance(instance)
                .is_some_and(|known| matches!(known.reads, Reads::Stopped(why) if why.is_by_operator()))
        };
        self.backends.end(|instance| draining(instance) && ![primary, home].contains(&Some(instance)));
    }

    /// Lets go of a primary that was replaced: a stopping one waits for its clients to leave, a frozen one must not
    /// find them when it is thawed. The next statement hears what that means for it.
    fn leave_disowned(&mut self) {
        let feed = std::sync::Arc::clone(&self.context.feed);
        self.backends.end(|instance| feed.is_disowned(instance));
        if let Some(home) = self.home.filter(|home| feed.is_disowned(*home)) {
            let failure = self.lost_home(home, Cause::InstanceLost);
            self.owed = self.owed.take().or(failure);
        }
    }

    fn begin_warming(&mut self, generation: u64, target: InstanceId, topology: &Topology) {
        let on_primary = topology.primary.is_some_and(|primary| self.has_own(primary));
        if self.has_own(target) || !(on_primary || self.context.pooling == Pooling::Session) {
            // Who shares its connection to the primary with others will share theirs to the target.
            self.registration.set_warmed(generation);
            return;
        }
        let Some(target_server) = topology.instance(target).map(Target::of) else { return };
        let context = std::sync::Arc::clone(&self.context);
        let login = self.login.clone();
        let dial = tokio::spawn(async move {
            let deadline = Instant::now() + WARM_DEADLINE;
            context.login.connect(target_server, &login, deadline).await
        });
        self.warming = Some(Box::new(Warming { generation, target, dial, opened: None }));
    }

    /// Takes over the connection of a warm-up that has ended. One that failed is no harm: the session dials
    /// when it needs to.
    pub(super) async fn finish_warming(&mut self) {
        let Some(warming) = self.warming.take() else { return };
        let connection = match warming.opened {
            Some(connection) => connection,
            None => warming.dial.await.ok().and_then(Result::ok),
        };
        if let Some(connection) = connection
            && !self.backends.has(warming.target)
        {
            let mut backend = Backend::new(connection, Default::default());
            if self.bring_along(&mut backend).await.is_ok() {
                // The last statement may have run at this instance, on a connection that was lent since.
                backend.last_user = LastUser::Another;
                self.backends.insert(backend);
            }
        }
        self.registration.set_warmed(warming.generation);
    }

    /// Gives a connection opened ahead all that the session would have to send after the switchover, when
    /// everybody else sends it, too.
    async fn bring_along(&mut self, backend: &mut Backend) -> Result<(), NotReady> {
        backend.restore(&mut self.state, UseAs::Writer).await?;
        let limit = self.context.statements_per_connection();
        if self.statements.len() <= MAX_PREPARED_AHEAD {
            for (_, prepared) in self.statements.iter() {
                match backend.prepared(prepared, prepared.key, limit).await {
                    // Refused (its table is gone): the client hears of it when it executes the statement.
                    Ok(_) | Err(NotReady::Refused(_)) => {}
                    Err(lost) => return Err(lost),
                }
            }
        }
        Ok(())
    }

    /// Obeys orders that have come while no command is under way.
    pub(super) async fn obey_while_idle(&mut self) -> Result<(), End> {
        match self.registration.entry().take_order() {
            Order::None => Ok(()),
            Order::Close => Err(End::Ordered),
            Order::CloseAtBoundary if self.home.is_none() => {
                self.fail(&Failure::NotExecuted(Cause::Shutdown)).await.and(Err(End::Ordered))
            }
            Order::CloseAtBoundary => Ok(()),
            Order::RollBack => {
                if let Some(home) = self.home {
                    self.backends.drop_connection(home);
                    self.owed = self.lost_home(home, Cause::Switchover);
                }
                Ok(())
            }
        }
    }
}
