//! Yes-or-no questions of load balancers: 200 or 503, with the reason in the body.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use sluice_routing::topology::{Instance, Reads};

use super::AdminState;
use super::answer::Refused;
use crate::feed::gate::Closed;
use crate::lifecycle::Lifecycle;

#[derive(Serialize)]
struct Verdict {
    ok: bool,
    reason: String,
}

fn answer(verdict: Result<String, String>) -> Response {
    let (status, ok) =
        if verdict.is_ok() { (StatusCode::OK, true) } else { (StatusCode::SERVICE_UNAVAILABLE, false) };
    let reason = verdict.unwrap_or_else(|reason| reason);
    (status, Json(Verdict { ok, reason })).into_response()
}

pub(super) async fn live(State(state): State<AdminState>) -> Response {
    let turning = (state.live)();
    answer(if turning { Ok("workers turn over".into()) } else { Err("a worker does not turn over".into()) })
}

/// A lost primary does not change readiness: taking the endpoint away is wrong exactly while statements
/// should wait at the gate.
pub(super) async fn ready(State(state): State<AdminState>) -> Response {
    let phase = *state.phase.borrow();
    let reason = format!("phase: {}", phase.as_str());
    answer(if phase == Lifecycle::Serving { Ok(reason) } else { Err(reason) })
}

pub(super) async fn primary(State(state): State<AdminState>) -> Response {
    let topology = state.feed.topology();
    answer(match (topology.primary(), state.feed.gate().closed()) {
        (None, _) | (_, Some(Closed::NoPrimary)) => Err("there is no primary to send writes to".into()),
        (Some(primary), Some(Closed::Switchover) | None) => Ok(format!("writes go to {}", primary.name)),
    })
}

#[derive(Deserialize)]
pub(super) struct ReplicaQuery {
    max_lag: Option<String>,
}

impl ReplicaQuery {
    fn limit(&self) -> Result<Option<Duration>, Refused> {
        let Some(text) = &self.max_lag else { return Ok(None) };
        let parsed = humantime::parse_duration(text);
        parsed.map(Some).map_err(|_| Refused::bad_request("max_lag is not a duration such as 1s"))
    }
}

pub(super) async fn replica(
    State(state): State<AdminState>,
    Query(query): Query<ReplicaQuery>,
) -> Result<Response, Refused> {
    let limit = query.limit()?;
    let topology = state.feed.topology();
    let names: Vec<&str> = topology
        .serving_replicas()
        .filter(|instance| within(instance, limit))
        .map(|instance| &*instance.name)
        .collect();
    Ok(answer(if names.is_empty() {
        Err("no replica serves reads within that lag".into())
    } else {
        Ok(format!("reads are served by {}", names.join(", ")))
    }))
}

pub(super) async fn instance_primary(
    State(state): State<AdminState>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let topology = state.feed.topology();
    let instance = topology.by_name(&name).ok_or_else(|| unknown(&name))?;
    let is_primary = topology.is_primary(instance.id);
    Ok(answer(if is_primary { Ok("is the primary".into()) } else { Err("is not the primary".into()) }))
}

pub(super) async fn instance_replica(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    Query(query): Query<ReplicaQuery>,
) -> Result<Response, Refused> {
    let limit = query.limit()?;
    let topology = state.feed.topology();
    let instance = topology.by_name(&name).ok_or_else(|| unknown(&name))?;
    Ok(answer(match instance.reads {
        _ if topology.is_primary(instance.id) => Err("is the primary".into()),
        Reads::Stopped(reason) => Err(format!("serves no reads: {reason}")),
        Reads::Serving if !within(instance, limit) => Err("its lag is unknown or above max_lag".into()),
        Reads::Serving => Ok("serves reads".into()),
    }))
}

fn within(instance: &Instance, limit: Option<Duration>) -> bool {
    limit.is_none_or(|limit| instance.lag.is_some_and(|lag| lag <= limit))
}

fn unknown(name: &str) -> Refused {
    Refused::not_found(format!("no instance is called {name}"))
}
