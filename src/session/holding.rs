//! The connections that a session holds now, and where it has parked others.
//!
//! At most one connection per instance. A connection is kept whatever role its instance has: after a
//! switchover yesterday's connection to a replica is today's connection to the primary.
//!
//! Never here: I/O.

use sluice_routing::topology::InstanceId;

use super::backends::Backend;
use crate::backend::Idle;
use crate::backend::pool::Tag;

/// The connections that one session holds now, at most one per instance, and the tags of those it has parked.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    #[allow(clippy::vec_box, reason = "a connection goes to the pool and back with every statement")]
    list: Vec<Box<Backend>>,
    parked: Vec<(InstanceId, Tag)>,
}

impl Backends {
    /// The connection to this instance.
    pub(crate) fn get_mut(&mut self, instance: InstanceId) -> Option<&mut Backend> {
        let mut list = self.list.iter_mut();
        list.find(|backend| backend.connection.instance == instance).map(Box::as_mut)
    }

    /// Whether there is a connection to this instance, as far as is known.
    pub(crate) fn has(&self, instance: InstanceId) -> bool {
        self.list.iter().any(|backend| backend.connection.instance == instance)
    }

    /// The connection to this instance if it is alive; a dead one is dropped.
    pub(crate) fn living(&mut self, instance: InstanceId) -> Option<&mut Backend> {
        let at = self.list.iter().position(|backend| backend.connection.instance == instance)?;
        let alive = matches!(self.list.get_mut(at)?.connection.io.idle(), Idle::Quiet);
        if !alive {
            self.list.swap_remove(at);
            return None;
        }
        self.list.get_mut(at).map(Box::as_mut)
    }

    /// Adds a connection; an older one to the same instance is dropped.
    pub(crate) fn insert(&mut self, backend: Box<Backend>) {
        self.drop_connection(backend.connection.instance);
        self.list.push(backend);
    }

    /// Drops the connection to this instance: the server rolls back what is open.
    pub(crate) fn drop_connection(&mut self, instance: InstanceId) {
        self.list.retain(|backend| backend.connection.instance != instance);
    }

    /// Every connection.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Backend> {
        self.list.iter_mut().map(Box::as_mut)
    }

    /// Ends every connection that `leaves` picks.
    pub(crate) fn end(&mut self, leaves: impl Fn(InstanceId) -> bool) {
        self.list.retain(|backend| !leaves(backend.connection.instance));
    }

    /// Takes out a connection that `leaves` picks.
    pub(crate) fn release(&mut self, leaves: impl Fn(&Backend) -> bool) -> Option<Box<Backend>> {
        let at = self.list.iter().position(|backend| leaves(backend))?;
        Some(self.list.swap_remove(at))
    }

    /// Remembers where the connection to this instance was parked.
    pub(crate) fn parked(&mut self, instance: InstanceId, tag: Tag) {
        self.parked.push((instance, tag));
    }

    /// Where the session's own connection to this instance was parked, and forgets it.
    pub(crate) fn take_tag(&mut self, instance: InstanceId) -> Option<Tag> {
        let at = self.parked.iter().position(|(known, _)| *known == instance)?;
        Some(self.parked.swap_remove(at).1)
    }

    /// Where the session's own connection to this instance was parked.
    pub(crate) fn tag(&self, instance: InstanceId) -> Option<Tag> {
        self.parked.iter().find(|(known, _)| *known == instance).map(|(_, tag)| *tag)
    }

    /// Forgets all tags.
    pub(crate) fn take_tags(&mut self) -> impl Iterator<Item = Tag> {
        std::mem::take(&mut self.parked).into_iter().map(|(_, tag)| tag)
    }
}
