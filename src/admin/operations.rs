//! Starting operations and following them.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::AdminState;
use super::answer::Refused;
use super::routes::Peer;
use crate::config::Promotion;
use crate::controller::api::{
    FailoverRequest, MarkTerms, OperationState, OperationView, RebuildRequest, Request, SwitchoverRequest,
};
use crate::controller::record::MarkKind;

/// Longest wait of one long poll.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The header in which the CLI says who types.
const WHO: &str = "sluice-who";
/// Longer names are cut: they are shown in tables and kept in the history.
const MAX_WHO_CHARS: usize = 80;

/// The answer to an accepted request.
#[derive(Serialize)]
pub(super) struct Accepted {
    operation: String,
}

type Answer = Result<(StatusCode, Json<Accepted>), Refused>;

async fn ask(state: &AdminState, request: Request) -> Answer {
    tracing::info!(?request, "admin: asked");
    let operation = state.controller.ask(request).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { operation })))
}

/// Reads a JSON body; an empty one is an empty object.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refused> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| Refused::bad_request(format!("the body: {error}")))
}

pub(super) async fn switchover(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let request: SwitchoverRequest = body(&bytes)?;
    ask(&state, Request::Switchover(SwitchoverRequest { who: who(&headers, peer), ..request })).await
}

pub(super) async fn failover(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let request: FailoverRequest = body(&bytes)?;
    ask(&state, Request::Failover(FailoverRequest { who: who(&headers, peer), ..request })).await
}

#[derive(Deserialize)]
struct AdoptBody {
    primary: String,
}

pub(super) async fn adopt(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let AdoptBody { primary } = body(&bytes)?;
    ask(&state, Request::Adopt { primary, who: who(&headers, peer) }).await
}

fn who(headers: &HeaderMap, peer: Peer) -> String {
    let said = headers.get(WHO).and_then(|value| value.to_str().ok()).unwrap_or("somebody");
    let said: String = said.chars().take(MAX_WHO_CHARS).collect();
    format!("{said} from {}", peer.0.ip())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TermsBody {
    reason: Option<String>,
    for_ms: Option<u64>,
}

fn terms(bytes: &Bytes, who: String) -> Result<MarkTerms, Refused> {
    let TermsBody { reason, for_ms } = body(bytes)?;
    Ok(MarkTerms { reason, duration: for_ms.map(Duration::from_millis), who })
}

/// `POST /instances/NAME/MARK`: `undrain` takes back only a drain, `clear` any mark.
pub(super) async fn mark(
    State(state): State<AdminState>,
    Path((name, mark)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let who = who(&headers, peer);
    let kind = match mark.as_str() {
        "drain" => MarkKind::Drain,
        "maintenance" => MarkKind::Maintenance,
        "quarantine" => MarkKind::Quarantine,
        "undrain" => return ask(&state, Request::Unmark { kind: Some(MarkKind::Drain), name, who }).await,
        "clear" => return ask(&state, Request::Unmark { kind: None, name, who }).await,
        _ => return Err(Refused::not_found("no such path")),
    };
    let terms = terms(&bytes, who)?;
    ask(&state, Request::Mark { kind, name, terms }).await
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromotionBody {
    /// Missing: that of the configuration.
    promotion: Option<Promotion>,
    reason: Option<String>,
    for_ms: Option<u64>,
}

pub(super) async fn promotion(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let PromotionBody { promotion, reason, for_ms } = body(&bytes)?;
    let terms = MarkTerms { reason, duration: for_ms.map(Duration::from_millis), who: who(&headers, peer) };
    ask(&state, Request::Promotion { name, promotion, terms }).await
}

pub(super) async fn pause(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    ask(&state, Request::Pause(terms(&bytes, who(&headers, peer))?)).await
}

pub(super) async fn resume(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Answer {
    ask(&state, Request::Resume { who: who(&headers, peer) }).await
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RebuildBody {
    from: Option<String>,
    discard_own: bool,
}

pub(super) async fn rebuild(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let RebuildBody { from, discard_own } = body(&bytes)?;
    let who = who(&headers, peer);
    ask(&state, Request::Rebuild(RebuildRequest { name, from, discard_own, who })).await
}

pub(super) async fn list(State(state): State<AdminState>) -> Json<Vec<OperationView>> {
    Json(state.controller.operations().borrow().to_vec())
}

#[derive(Deserialize)]
pub(super) struct FollowQuery {
    /// Longest wait for news, a duration.
    wait: Option<String>,
    /// The `progress` the asker has seen; without it, news is whatever happens after the question.
    seen: Option<u64>,
}

/// Answers at once if the operation has ended, without `wait`, or if there is news; otherwise when there is,
/// or when `wait` is over.
pub(super) async fn follow(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    Query(query): Query<FollowQuery>,
) -> Result<Json<OperationView>, Refused> {
    let wait = match &query.wait {
        None => Duration::ZERO,
        Some(text) => humantime::parse_duration(text)
            .map_err(|_| Refused::bad_request("wait is not a duration such as 1s"))?,
    };
    let deadline = Instant::now() + wait.min(MAX_WAIT);
    let mut operations = state.controller.operations();
    let mut seen = query.seen;
    loop {
        let found = operations.borrow_and_update().iter().find(|operation| operation.id == id).cloned();
        let operation = found.ok_or_else(|| Refused::not_found(format!("no operation {id} here")))?;
        let known = *seen.get_or_insert(operation.progress());
        let ended = operation.state != OperationState::Running;
        if ended || wait.is_zero() || operation.progress() != known {
            return Ok(Json(operation));
        }
        match timeout_at(deadline, operations.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(Json(operation)),
        }
    }
}
