//! Sluice's admin port, as an outside program uses it.
//!
//! Never here: the CLI's output. The demo reads the same JSON that any script would.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

/// One HTTP request, at most; following an operation takes as many as needed.
const REQUEST_SECONDS: u64 = 15;

/// Talks to one Sluice.
#[derive(Clone, Debug)]
pub struct Admin {
    base: String,
}

/// An operation as Sluice shows it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// Target instance.
    pub target: Option<String>,
    /// `running`, `done`, `refused`, `undone` or `failed`.
    pub state: String,
    /// Steps so far.
    pub steps: Vec<Step>,
    /// How long the gate stayed closed after the last open transaction had ended, microseconds.
    pub stall_us: Option<u64>,
    /// Why it ended as it did.
    pub outcome: Option<String>,
}

/// One step of an operation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it did.
    pub detail: String,
    /// Begin, microseconds after the begin of the operation.
    pub at_us: u64,
    /// Duration, microseconds.
    pub took_us: Option<u64>,
    /// `ok` or what failed.
    pub result: Option<String>,
}

/// The admin port did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No answer, or none that HTTP allows.
    #[error("{url}: {source}")]
    Http {
        /// What was asked.
        url: String,
        /// What came back.
        source: Box<ureq::Error>,
    },
    /// Sluice refused.
    #[error("{url} answered {status}: {body}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The reason it gave.
        body: String,
    },
    /// An operation did not end in time.
    #[error("operation {id} is still {state} after {after:?}")]
    Late {
        /// Its id.
        id: String,
        /// Its state.
        state: String,
        /// How long it was followed.
        after: Duration,
    },
    /// The thread of a request was lost.
    #[error("a request to the admin port was lost")]
    Lost,
}

impl Admin {
    /// For the admin address `host:port`.
    pub fn new(address: &str) -> Self {
        Self { base: format!("http://{address}") }
    }

    /// The URL that `SLUICE_ADMIN` takes.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// `GET` of a path as text.
    pub async fn get_text(&self, path: &str) -> Result<String, AdminError> {
        let url = format!("{}{path}", self.base);
        blocking(move || exchange(&url, None)).await
    }

    /// `GET` of a path as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, AdminError> {
        Ok(serde_json::from_str(&self.get_text(path).await?).unwrap_or(Value::Null))
    }

    /// Begins a switchover (`None`: Sluice picks the target) and follows it to its end.
    pub async fn switchover(&self, to: Option<&str>, deadline: Duration) -> Result<Operation, AdminError> {
        let body = to.map_or(json!({}), |name| json!({ "to": name }));
        self.operate("/switchover", body, deadline).await
    }

    /// Begins the operation that this path and this body ask for, and follows it to its end.
    pub async fn operate(
        &self,
        path: &str,
        body: Value,
        deadline: Duration,
    ) -> Result<Operation, AdminError> {
        let url = format!("{}{path}", self.base);
        let answer = blocking(move || exchange(&url, Some(body))).await?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
        let id = ["id", "operation"].iter().find_map(|key| answer.get(key)?.as_str()).unwrap_or_default();
        self.follow(id, deadline).await
    }

    /// Waits until an operation has ended, however it did.
    pub async fn follow(&self, id: &str, deadline: Duration) -> Result<Operation, AdminError> {
        let began = Instant::now();
        loop {
            let text = self.get_text(&format!("/operations/{id}?wait=1s")).await?;
            let operation: Operation = serde_json::from_str(&text).unwrap_or_default();
            if !matches!(operation.state.as_str(), "running" | "") {
                return Ok(operation);
            }
            if began.elapsed() > deadline {
                return Err(AdminError::Late {
                    id: id.into(),
                    state: operation.state,
                    after: began.elapsed(),
                });
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
) -> Result<T, AdminError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| AdminError::Lost)?
}

fn exchange(url: &str, body: Option<Value>) -> Result<String, AdminError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(REQUEST_SECONDS)))
        .http_status_as_error(false)
        .build()
        .into();
    let http = |source| AdminError::Http { url: url.into(), source: Box::new(source) };
    let answer = match body {
        None => agent.get(url).call(),
        Some(body) => agent.post(url).send_json(&body),
    };
    let mut answer = answer.map_err(http)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_to_string().map_err(http)?;
    if (200..300).contains(&status) {
        Ok(body)
    } else {
        Err(AdminError::Refused { url: url.into(), status, body })
    }
}
