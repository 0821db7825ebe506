//! The admin API: health, status, operations and metrics over HTTP. The CLI is its client.
//!
//! It shows what the controller and the feed publish and hands requests to the controller. It runs on the
//! controller's thread, so that load on the workers can't starve it.
//!
//! Never here: a decision about the cluster, state that a request changes, a wait without a limit.

mod answer;
mod connections;
mod explain;
mod gauges;
mod history;
mod operations;
mod probes;
mod routes;
mod sessions;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use sluice_routing::topology::InstanceId;
use sluice_routing::vouched::Vouched;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Secret;
use crate::controller::api::{ControllerHandle, Status};
use crate::examine::Examine;
use crate::feed::Feed;
use crate::lifecycle::Lifecycle;
use crate::reload::Reloaded;

pub use connections::serve;
pub use explain::{Explanation, PinChangeView, RouteView};
pub use sessions::{PinView, SessionView};

/// Whether all workers turn over: asked at each `GET /live`.
pub type Liveness = Arc<dyn Fn() -> bool + Send + Sync>;

/// Backend connections of this process to an instance.
pub type Connections = Arc<dyn Fn(InstanceId) -> ConnectionCount + Send + Sync>;

/// The stored functions that the configuration vouches for, as of now.
pub type HarmlessFunctions = Arc<dyn Fn() -> Vouched + Send + Sync>;

/// How many there are, by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCount {
    /// With a session, or being opened for one.
    pub lent: usize,
    /// Waiting for their session or another one.
    pub idle: usize,
}

/// Begins a reload of the configuration.
pub type Reload = Arc<dyn Fn() -> JoinHandle<Result<Reloaded, String>> + Send + Sync>;

/// What the API shows and whom it asks.
#[derive(Clone)]
pub struct AdminState {
    /// Takes requests and publishes the status.
    pub controller: ControllerHandle,
    /// The topology, the gate and the sessions of this process.
    pub feed: Arc<Feed>,
    /// The phase of the process.
    pub phase: watch::Receiver<Lifecycle>,
    /// Whether the workers turn over.
    pub live: Liveness,
    /// Counts the backend connections; what the controller publishes knows nothing of them.
    pub connections: Connections,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// The history of operations: a file of JSON lines in the store.
    pub history: PathBuf,
    /// Reloads the configuration.
    pub reload: Reload,
    /// Examines the members.
    pub examine: Examine,
    /// The stored functions that the owner vouches for.
    pub harmless_functions: HarmlessFunctions,
    /// The token that every request has to carry, probes of `/live` and `/ready` excepted.
    pub token: Option<Secret>,
}

impl AdminState {
    /// The published status, with what only this process knows filled in.
    fn status(&self) -> Status {
        let mut status = (*self.controller.status()).clone();
        // Both lists are in the order of the configuration.
        for (instance, id) in status.instances.iter_mut().zip(0..) {
            let ConnectionCount { lent, idle } = (self.connections)(InstanceId(id));
            instance.connections = u64::try_from(lent + idle).unwrap_or(u64::MAX);
        }
        status
    }
}

/// What a listener of the API offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Everything.
    Operations,
    /// Probes and metrics, without a token.
    Health,
}
