//! Where the observers write what they see and everybody else in the controller reads it.
//!
//! Never here: I/O, a verdict.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_routing::topology::InstanceId;
use tokio::sync::watch;

use super::view::{ClusterView, InstanceView, Reach};
use crate::config::Config;

/// The latest view of every instance.
#[derive(Debug)]
pub(super) struct Board {
    views: Mutex<Vec<InstanceView>>,
    changes: watch::Sender<u64>,
}

impl Board {
    /// Nothing seen yet.
    pub(super) fn new(config: &Config) -> Self {
        let views = config.instances.iter().enumerate().map(|(index, instance)| {
            let id = InstanceId(u16::try_from(index).unwrap_or(u16::MAX));
            InstanceView::unseen(id, instance.name.clone())
        });
        Self { views: Mutex::new(views.collect()), changes: watch::Sender::new(0) }
    }

    /// Makes places for the instances that have none yet.
    pub(super) fn grow(&self, config: &Config) {
        let mut views = self.lock();
        for (index, instance) in config.instances.iter().enumerate().skip(views.len()) {
            let id = InstanceId(u16::try_from(index).unwrap_or(u16::MAX));
            views.push(InstanceView::unseen(id, Arc::clone(&instance.name)));
        }
    }

    /// Forgets an instance; its place stays, under this name.
    pub(super) fn remove(&self, index: usize, name: Arc<str>) {
        self.update(index, |view| {
            *view = InstanceView { reach: Reach::Removed, ..InstanceView::unseen(view.id, name) };
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<InstanceView>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything as it is now.
    pub(super) fn snapshot(&self) -> ClusterView {
        ClusterView { instances: self.lock().clone() }
    }

    /// One instance as it is now.
    pub(super) fn view(&self, index: usize) -> Option<InstanceView> {
        self.lock().get(index).cloned()
    }

    /// How often an instance was looked at.
    pub(super) fn looks(&self, index: usize) -> u64 {
        self.lock().get(index).map_or(0, |view| view.looks)
    }

    /// Changes a view.
    pub(super) fn update(&self, index: usize, change: impl FnOnce(&mut InstanceView)) {
        if let Some(view) = self.lock().get_mut(index) {
            change(view);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes a view after a look.
    pub(super) fn looked_at(&self, index: usize, change: impl FnOnce(&mut InstanceView)) {
        self.update(index, |view| {
            change(view);
            view.looks += 1;
        });
    }

    /// Waits until an instance was looked at more than `looks` times.
    pub(super) async fn looked(&self, index: usize, looks: u64) {
        let mut changes = self.changes.subscribe();
        // An error would mean that the board is gone; it can't be while it is borrowed.
        let _ = changes.wait_for(|_| self.looks(index) > looks).await;
    }

    /// Wakes at every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
