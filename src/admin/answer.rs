//! How refusals and mistakes become HTTP answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::controller::api::{Refusal, RefusalCode};

/// A refusal with its status.
#[derive(Debug)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) Refusal);

impl Refused {
    pub(super) fn bad_request(reason: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, refusal(RefusalCode::BadRequest, reason))
    }

    pub(super) fn not_found(reason: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, refusal(RefusalCode::BadRequest, reason))
    }

    pub(super) fn with_status(status: StatusCode, reason: impl Into<String>) -> Self {
        Self(status, refusal(RefusalCode::BadRequest, reason))
    }
}

fn refusal(code: RefusalCode, reason: impl Into<String>) -> Refusal {
    Refusal { code, reason: reason.into(), hint: None }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            RefusalCode::UnknownInstance => StatusCode::NOT_FOUND,
            RefusalCode::BadRequest => StatusCode::BAD_REQUEST,
            RefusalCode::NotNow => StatusCode::CONFLICT,
            RefusalCode::Busy => StatusCode::TOO_MANY_REQUESTS,
        };
        Self(status, refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}
