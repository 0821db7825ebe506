//! What a server says about the copy into it: from the rows of `clone_status` and `clone_progress` to one word.
//!
//! Never here: I/O, a clock.

/// The latest copy into a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloneState {
    /// When it began, as the server says; `None`: there was none.
    pub begun: Option<String>,
    state: String,
    error: String,
    /// How far it is.
    pub progress: Progress,
}

/// How far a copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The stage that runs, in words; `None`: none does.
    pub stage: Option<String>,
    /// Bytes copied.
    pub done: u64,
    /// Bytes to copy.
    pub total: u64,
    /// Bytes per second at the moment.
    pub speed: u64,
}

impl Progress {
    /// Seconds until everything is copied, at the speed of the moment.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.total.saturating_sub(self.done);
        (self.speed > 0 && self.total > 0).then(|| left.div_ceil(self.speed))
    }
}

/// What is to be made of a server's latest copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It began before ours: ours has not begun, or the server knows nothing of it.
    NotBegun,
    /// Under way.
    Running,
    /// It says that it runs, and no stage does: between two stages, or broken off with the server.
    Still,
    /// The server runs on the copied data.
    Done,
    /// It failed.
    Failed(String),
}

impl CloneState {
    /// From the rows of both tables. An unknown form is a copy that never was.
    pub fn read(status: &[Vec<Option<String>>], stages: &[Vec<Option<String>>]) -> Self {
        let cell =
            |row: &[Option<String>], column: usize| row.get(column).cloned().flatten().unwrap_or_default();
        let Some(row) = status.first() else { return Self::default() };
        let number = |row: &[Option<String>], column: usize| cell(row, column).parse().unwrap_or(0);
        let mut progress = Progress::default();
        for stage in stages {
            // Pages and redo are small; what they copy besides is not in the estimate of the files.
            progress.done += number(stage, 3);
            progress.total += number(stage, 2);
            if cell(stage, 1) == "In Progress" {
                progress.stage = Some(cell(stage, 0).to_lowercase());
                progress.speed = number(stage, 4);
            }
        }
        Self {
            begun: Some(cell(row, 1)).filter(|text| !text.is_empty()),
            state: cell(row, 0),
            error: format!("error {}: {}", cell(row, 2), cell(row, 3)),
            progress,
        }
    }

    /// What it says of the copy that began after the one of `before`.
    pub fn seen(&self, before: Option<&str>) -> Seen {
        if self.begun.is_none() || self.begun.as_deref() == before {
            return Seen::NotBegun;
        }
        match self.state.as_str() {
            "Completed" => Seen::Done,
            "Failed" => Seen::Failed(self.error.clone()),
            _ if self.progress.stage.is_some() => Seen::Running,
            _ => Seen::Still,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| Some((*cell).to_owned())).collect()
    }

    fn state(word: &str, stage: &str) -> CloneState {
        let status = [row(&[word, "2026-01-01 00:00:00.123", "1317", "interrupted", "10.0.0.2:3306"])];
        let stages = [
            row(&["DROP DATA", "Completed", "0", "0", "0"]),
            row(&["FILE COPY", stage, "1000", "400", "200"]),
            row(&["RESTART", "Not Started", "0", "0", "0"]),
        ];
        CloneState::read(&status, &stages)
    }

    #[test]
    fn a_copy_is_told_from_the_one_before() {
        let running = state("In Progress", "In Progress");
        assert_eq!(running.seen(None), Seen::Running);
        assert_eq!(running.seen(Some("2026-01-01 00:00:00.123")), Seen::NotBegun);
        assert_eq!(running.seen(Some("2025-01-01 00:00:00.123")), Seen::Running);
        assert_eq!(CloneState::read(&[], &[]).seen(None), Seen::NotBegun);
    }

    #[test]
    fn in_progress_without_a_stage_is_not_known_to_run() {
        assert_eq!(state("In Progress", "Failed").seen(None), Seen::Still);
        assert_eq!(state("Completed", "Completed").seen(None), Seen::Done);
        assert_eq!(state("Failed", "Failed").seen(None), Seen::Failed("error 1317: interrupted".into()));
    }

    #[test]
    fn the_time_left_follows_from_the_speed() {
        let progress = state("In Progress", "In Progress").progress;
        assert_eq!(progress.stage.as_deref(), Some("file copy"));
        assert_eq!((progress.done, progress.total, progress.seconds_left()), (400, 1000, Some(3)));
        assert_eq!(state("In Progress", "Failed").progress.seconds_left(), None);
    }
}
