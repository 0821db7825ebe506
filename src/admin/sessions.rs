//! The sessions of this process, as the API shows them.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sluice_routing::decide::Listener;
use sluice_routing::pin::PinReason;
use sluice_routing::topology::Topology;
use std::time::Duration;
use tokio::time::Instant;

use super::AdminState;
use crate::feed::registry::{Activity, Entry};

/// `GET /sessions` entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct SessionView {
    /// The connection id that the client knows.
    pub id: u32,
    /// The account; `None` before login.
    pub user: Option<String>,
    /// Where the client connected from.
    pub peer: String,
    /// `split`, `primary` or `replica`.
    pub listener: String,
    /// `login`, `idle`, `running`, `held` (a statement waits at the gate or for a server) or `streaming` (a binlog).
    pub state: String,
    /// Where the current or last statement went: `primary`, `replica` or `refused`.
    pub route: Option<String>,
    /// Why there, for programs.
    pub route_reason: Option<String>,
    /// Why there, for people.
    pub route_sentence: Option<String>,
    /// Milliseconds since it connected.
    pub age_ms: u64,
    /// Milliseconds since its client began the open transaction.
    pub in_transaction_ms: Option<u64>,
    /// Why it can't move to another instance; empty when it can.
    pub pins: Vec<PinView>,
    /// Statements so far.
    pub statements: u64,
    /// Instance of its current or last statement.
    pub instance: Option<String>,
    /// Server thread of its current or last statement.
    pub thread: Option<u32>,
}

/// A reason why a session can't move.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct PinView {
    /// For programs.
    pub reason: String,
    /// For people.
    pub sentence: String,
}

pub(super) async fn list(State(state): State<AdminState>) -> Json<Vec<SessionView>> {
    let topology = state.feed.topology();
    Json(state.feed.registry().all().iter().map(|entry| view(entry, &topology)).collect())
}

fn view(entry: &Entry, topology: &Topology) -> SessionView {
    let backend = entry.backend();
    let route = entry.route();
    let instance = backend.and_then(|(id, _)| topology.instance(id));
    SessionView {
        id: entry.id,
        user: entry.user().map(|user| user.as_ref().to_string()),
        peer: entry.peer.to_string(),
        listener: listener_name(entry.listener).to_owned(),
        state: entry.activity().as_str().to_owned(),
        route: route.map(|route| route.to().to_owned()),
        route_reason: route.map(|route| route.reason().to_owned()),
        route_sentence: route.map(|route| route.sentence().to_owned()),
        age_ms: millis(entry.connected_at.elapsed()),
        in_transaction_ms: entry.begun_since().map(|since| millis(Instant::now() - since)),
        pins: pins(pin_bits(entry)),
        statements: entry.statements(),
        instance: instance.map(|instance| instance.name.to_string()),
        thread: backend.map(|(_, thread)| thread),
    }
}

/// Why the session can't move, its open transaction included.
pub(super) fn pin_bits(entry: &Entry) -> u32 {
    let open = entry.transaction_since().is_some();
    // No switchover waits for a stream, so it is not among the pins that are published.
    let streams = entry.activity() == Activity::Streaming;
    let bit = |set: bool, reason: PinReason| if set { 1 << reason as u32 } else { 0 };
    entry.pins() | bit(open, PinReason::OpenTransaction) | bit(streams, PinReason::ReplicationStream)
}

fn pins(bits: u32) -> Vec<PinView> {
    let set = |reason: &&PinReason| bits & (1 << (**reason as u32)) != 0;
    let view = |reason: &PinReason| PinView {
        reason: reason.as_str().to_owned(),
        sentence: reason.sentence().to_owned(),
    };
    PinReason::ALL.iter().filter(set).map(view).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn listener_name(listener: Listener) -> &'static str {
    match listener {
        Listener::Split => "split",
        Listener::Primary => "primary",
        Listener::Replica => "replica",
    }
}
