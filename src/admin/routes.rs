//! Which path is answered by what.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};

use super::answer::Refused;
use super::{AdminState, Face, explain, gauges, history, operations, probes, sessions, token};
use crate::controller::api::{InstanceStatus, Status};
use crate::controller::doctor::Report;
use crate::reload::Reloaded;

/// Longest body of a request.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Longest time for one request: body, long poll and answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The content type of Prometheus text.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where the request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The routes of one connection from `peer`.
pub(super) fn router(state: AdminState, face: Face, peer: SocketAddr) -> Router {
    let probes = Router::new()
        .route("/live", get(probes::live))
        .route("/ready", get(probes::ready))
        .route("/primary", get(probes::primary))
        .route("/replica", get(probes::replica))
        .route("/instances/{name}/primary", get(probes::instance_primary))
        .route("/instances/{name}/replica", get(probes::instance_replica))
        .route("/metrics", get(metrics));
    let all = match face {
        Face::Health => probes,
        Face::Operations => probes
            .merge(operator_routes())
            .layer(from_fn_with_state(state.clone(), token::check))
            .layer(Extension(Peer(peer))),
    };
    all.fallback(|| async { Refused::not_found("no such path") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(bounded))
        .with_state(state)
}

fn operator_routes() -> Router<AdminState> {
    Router::new()
        .route("/status", get(status))
        .route("/instances", get(instances))
        .route("/sessions", get(sessions::list))
        .route("/explain/route", post(explain::route))
        .route("/history", get(history::list))
        .route("/operations", get(operations::list))
        .route("/operations/{id}", get(operations::follow))
        .route("/switchover", post(operations::switchover))
        .route("/failover", post(operations::failover))
        .route("/adopt", post(operations::adopt))
        .route("/reload", post(reload))
        .route("/doctor", get(doctor))
        .route("/pause", post(operations::pause))
        .route("/resume", post(operations::resume))
        .route("/instances/{name}/promotion", post(operations::promotion))
        .route("/instances/{name}/rebuild", post(operations::rebuild))
        .route("/instances/{name}/{mark}", post(operations::mark))
}

async fn bounded(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Refused::with_status(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
        }
    }
}

async fn status(State(state): State<AdminState>) -> Json<Status> {
    Json(state.status())
}

async fn instances(State(state): State<AdminState>) -> Json<Vec<InstanceStatus>> {
    Json(state.status().instances)
}

/// Answered when it is done: that takes milliseconds, so there is no operation to follow.
async fn reload(State(state): State<AdminState>) -> Result<Json<Reloaded>, Refused> {
    match (state.reload)().await {
        Ok(Ok(reloaded)) => Ok(Json(reloaded)),
        Ok(Err(mistakes)) => Err(Refused::with_status(StatusCode::UNPROCESSABLE_ENTITY, mistakes)),
        Err(_) => Err(Refused::with_status(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the reload broke off; this is a bug",
        )),
    }
}

/// Takes seconds when a member does not answer.
async fn doctor(State(state): State<AdminState>) -> Result<Json<Report>, Refused> {
    let busy = || Refused::with_status(StatusCode::TOO_MANY_REQUESTS, "another examination is under way");
    (state.examine)().await.map(Json).ok_or_else(busy)
}

async fn metrics(State(state): State<AdminState>) -> Response {
    gauges::refresh(&state);
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], state.metrics.render()).into_response()
}
