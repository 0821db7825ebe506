//! Who may use the API: the bearer token, and never a web page.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AdminState;
use super::answer::Refused;

/// Paths that load balancers and Kubernetes ask without a token.
const OPEN_PATHS: [&str; 2] = ["/live", "/ready"];

pub(super) async fn check(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    // A page in somebody's browser on this machine could otherwise post to loopback.
    if request.method() == Method::POST && request.headers().contains_key(ORIGIN) {
        return Refused::with_status(StatusCode::FORBIDDEN, "requests from web pages are refused")
            .into_response();
    }
    let open = OPEN_PATHS.contains(&request.uri().path());
    let allowed =
        state.token.as_ref().is_none_or(|token| carries(request.headers(), token.read().as_bytes()));
    if open || allowed {
        return next.run(request).await;
    }
    let reason = "a token is needed: the header `Authorization: Bearer ...`, or --token-file of the CLI";
    Refused::with_status(StatusCode::UNAUTHORIZED, reason).into_response()
}

fn carries(headers: &HeaderMap, token: &[u8]) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| verify_slices_are_equal(given, token).is_ok())
}
