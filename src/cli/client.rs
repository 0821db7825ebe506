//! Talking to the admin API of a running Sluice.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::config::Secret;
use crate::controller::api::Refusal;

/// Longest time to connect: the API is on this machine or near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one answer, long polls included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Where the API listens if nothing is said.
const DEFAULT_ADMIN: &str = "http://127.0.0.1:3380";

/// How to reach the admin API.
#[derive(Clone, Debug, Args)]
pub(super) struct Reach {
    /// URL of the admin API.
    #[arg(long, env = "SLUICE_ADMIN", default_value = DEFAULT_ADMIN, global = true)]
    admin: String,
    /// File with the admin token; SLUICE_TOKEN can hold the token itself.
    #[arg(long, global = true)]
    token_file: Option<PathBuf>,
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Nobody answers.
    #[error(
        "can't reach Sluice's admin API at {admin}: {reason}\n\
         Check that `sluice run` is running there, that [listen] admin of its configuration is this address, \
         and --admin or SLUICE_ADMIN."
    )]
    Unreachable { admin: String, reason: String },
    /// Something answers, but not with what was expected.
    #[error("{admin} answered {status} and not like Sluice's admin API: {body}")]
    Stranger { admin: String, status: StatusCode, body: String },
    /// Sluice said no.
    #[error("{}{}", .0.reason, .0.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default())]
    Refused(Refusal),
    /// The token file can't be used.
    #[error("{0}")]
    Token(String),
    /// The operation ended without reaching its goal; the text says why.
    #[error("{0}")]
    NotDone(String),
}

/// A client of one admin API.
pub(super) struct Client {
    agent: Agent,
    admin: String,
    token: Option<Secret>,
}

/// The answer to an accepted request.
#[derive(Deserialize)]
struct Accepted {
    operation: String,
}

impl Client {
    pub(super) fn new(reach: &Reach) -> Result<Self, CliError> {
        let token = match &reach.token_file {
            Some(path) => Some(crate::config::read_secret_file(path).map_err(CliError::Token)?),
            None => std::env::var("SLUICE_TOKEN").ok().map(Secret::new),
        };
        let agent = Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .build()
            .new_agent();
        Ok(Self { agent, admin: reach.admin.trim_end_matches('/').to_owned(), token })
    }

    fn authorization(&self) -> String {
        self.token.as_ref().map(|token| format!("Bearer {}", token.read().as_str())).unwrap_or_default()
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        let mut request = self.agent.get(format!("{}{path}", self.admin));
        if self.token.is_some() {
            request = request.header("authorization", self.authorization());
        }
        self.read(request.call())
    }

    /// Posts a request and returns the id of its operation.
    pub(super) fn post(&self, path: &str, body: &serde_json::Value) -> Result<String, CliError> {
        self.ask::<Accepted>(path, body).map(|accepted| accepted.operation)
    }

    /// Posts a question and returns its answer.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, CliError> {
        let mut request = self.agent.post(format!("{}{path}", self.admin)).header("sluice-who", who());
        if self.token.is_some() {
            request = request.header("authorization", self.authorization());
        }
        self.read(request.send_json(body))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, CliError> {
        let unreachable = |reason: ureq::Error| CliError::Unreachable {
            admin: self.admin.clone(),
            reason: reason.to_string(),
        };
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.body_mut().read_to_string().map_err(unreachable)?;
        let stranger = || CliError::Stranger {
            admin: self.admin.clone(),
            status,
            body: body.chars().take(200).collect(),
        };
        if status.is_success() {
            serde_json::from_str(&body).map_err(|_| stranger())
        } else {
            Err(serde_json::from_str(&body).map_or_else(|_| stranger(), CliError::Refused))
        }
    }
}

/// Who types, for the history: header values are ASCII.
fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let user: String = user.chars().filter(char::is_ascii_graphic).collect();
    if user.is_empty() { "somebody".to_owned() } else { user }
}
