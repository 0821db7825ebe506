//! The latest entries of the store's history file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::AdminState;
use super::answer::Refused;

/// Only this much of the end of the file is read.
const TAIL_BYTES: u64 = 1 << 20;
/// Entries when nothing is said.
const DEFAULT_LIMIT: usize = 50;
/// Most entries of one answer.
const MAX_LIMIT: usize = 1000;

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    limit: Option<usize>,
}

pub(super) async fn list(
    State(state): State<AdminState>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Vec<Value>>, Refused> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let path = state.history.clone();
    let read = tokio::task::spawn_blocking(move || tail(&path, limit)).await;
    let failed = |error: &dyn std::fmt::Display| {
        Refused::with_status(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let entries = read.map_err(|error| failed(&error))?;
    entries.map(Json).map_err(|error| failed(&format!("can't read the history: {error}")))
}

/// The last `limit` entries, oldest first. A line that is not JSON (cut by a crash) is left out.
fn tail(path: &Path, limit: usize) -> io::Result<Vec<Value>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let mut entries: Vec<Value> = bytes
        .split(|byte| *byte == b'\n')
        .rev()
        .filter_map(|line| serde_json::from_slice(line).ok())
        .take(limit)
        .collect();
    entries.reverse();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_tail_is_read_and_broken_lines_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        assert!(tail(&path, 5).unwrap().is_empty());
        let text: String = (0..100_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        std::fs::write(&path, text + "{\"n\":").unwrap();
        let last = tail(&path, 2).unwrap();
        assert_eq!(last, [serde_json::json!({"n": 99_998}), serde_json::json!({"n": 99_999})]);
    }
}
