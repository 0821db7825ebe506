//! The admin API: health, status, operations and metrics over HTTP. The CLI is its client.
//!
//! It shows what the controller and the feed publish and hands requests to the controller. It runs on the
//! controller's thread, so that load on the workers can't starve it.
//!
//! Never here: a decision about the cluster, state that a request changes, a wait without a limit.

mod answer;
mod connections;
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
use tokio::sync::watch;

use crate::config::Secret;
use crate::controller::api::ControllerHandle;
use crate::feed::Feed;
use crate::lifecycle::Lifecycle;

pub use connections::serve;
pub use sessions::{PinView, SessionView};

/// Whether all workers turn over: asked at each `GET /live`.
pub type Liveness = Arc<dyn Fn() -> bool + Send + Sync>;

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
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// The history of operations: a file of JSON lines in the store.
    pub history: PathBuf,
    /// The token that every request has to carry, probes of `/live` and `/ready` excepted.
    pub token: Option<Secret>,
}

/// What a listener of the API offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Everything.
    Operations,
    /// Probes and metrics, without a token.
    Health,
}
