//! An operation: its steps as they happen, and how it ended.

use std::fmt::Write;

use super::client::{CliError, Client};
use super::figures::{bytes, micros, millis};
use crate::controller::api::{CopyView, OperationState, OperationView, StepView};

/// Follows an operation to its end and hands each new piece of text to `print`.
pub(super) fn follow(
    client: &Client,
    id: &str,
    print: &mut dyn FnMut(&str),
) -> Result<OperationView, CliError> {
    let mut shown = Shown::default();
    let mut operation: OperationView = client.get(&format!("/operations/{id}"))?;
    loop {
        print(&shown.news(&operation));
        if operation.state != OperationState::Running {
            print(&ending(&operation));
            return Ok(operation);
        }
        operation = client.get(&format!("/operations/{id}?wait=1s&seen={}", operation.progress()))?;
    }
}

/// What has been printed of an operation.
#[derive(Debug, Default)]
pub(super) struct Shown {
    headed: bool,
    steps: usize,
    /// The latest stage of a copy, and its tenths.
    copied: Option<(String, u64)>,
}

impl Shown {
    /// The text for what is new: ended steps, in their order.
    pub(super) fn news(&mut self, operation: &OperationView) -> String {
        let mut text = String::new();
        if !self.headed {
            self.headed = true;
            text += &headline(operation);
        }
        let ended = operation
            .steps
            .iter()
            .skip(self.steps)
            .take_while(|step| step.took_us.is_some() || operation.state != OperationState::Running);
        for step in ended {
            self.steps += 1;
            text += &step_line(step);
        }
        if let Some(copy) = operation.copy.as_ref().filter(|_| operation.state == OperationState::Running) {
            let mark = (copy.stage.clone(), tenths(copy));
            if self.copied.as_ref() != Some(&mark) {
                self.copied = Some(mark);
                text += &copy_line(copy);
            }
        }
        text
    }
}

/// How many tenths of a copy are done.
fn tenths(copy: &CopyView) -> u64 {
    let part = u128::from(copy.done_bytes.min(copy.total_bytes)) * 10;
    part.checked_div(copy.total_bytes.into()).and_then(|tenths| u64::try_from(tenths).ok()).unwrap_or(0)
}

/// A bar, the bytes, and how long it will take.
fn copy_line(copy: &CopyView) -> String {
    let done = usize::try_from(tenths(copy)).unwrap_or(10).min(10);
    let mut line = format!("{:>21}  [{}{}] {}", "", "#".repeat(done), ".".repeat(10 - done), copy.stage);
    if copy.total_bytes > 0 {
        let _ = write!(line, ", {} of {}", bytes(copy.done_bytes), bytes(copy.total_bytes));
    }
    if copy.bytes_per_s > 0 {
        let _ = write!(line, ", {} per second", bytes(copy.bytes_per_s));
    }
    if let Some(seconds) = copy.seconds_left.filter(|_| copy.done_bytes < copy.total_bytes) {
        let _ = write!(line, ", about {} left", millis(seconds.saturating_mul(1000)));
    }
    line + "\n"
}

/// The result of a step in a dry run.
const WOULD_BE_DONE: &str = "would be done";

fn headline(operation: &OperationView) -> String {
    let to = if operation.kind.starts_with("switchover") { "to " } else { "" };
    let target = operation.target.as_deref().map(|target| format!(" {to}{target}")).unwrap_or_default();
    let who = if operation.who.is_empty() { String::new() } else { format!(", asked by {}", operation.who) };
    format!("{}{target} ({}), began {}{who}\n", operation.kind, operation.id, operation.began)
}

fn step_line(step: &StepView) -> String {
    // A dry run's step has no times of its own.
    let planned = step.result.as_deref() == Some(WOULD_BE_DONE);
    let took = step.took_us.map_or_else(|| "...".to_owned(), micros);
    let mut line = if planned {
        format!("{:>21}  {}", "would", step.name)
    } else {
        format!("{:>10}  {:>9}  {}", format!("+{}", micros(step.at_us)), took, step.name)
    };
    if !step.detail.is_empty() {
        let _ = write!(line, ": {}", step.detail);
    }
    match step.result.as_deref() {
        None | Some("ok" | WOULD_BE_DONE) => {}
        Some(result) => {
            let _ = write!(line, " -> {result}");
        }
    }
    line + "\n"
}

/// The last lines of an ended operation.
pub(super) fn ending(operation: &OperationView) -> String {
    let mut text = match operation.state {
        OperationState::Running => return String::new(),
        OperationState::Done => "done".to_owned(),
        OperationState::Refused => "refused, nothing was changed".to_owned(),
        OperationState::Undone => "undone, everything is as before".to_owned(),
        OperationState::Failed => "FAILED".to_owned(),
    };
    if let Some(outcome) = &operation.outcome {
        let _ = write!(text, ": {outcome}");
    }
    text.push('\n');
    if let Some(stall) = operation.stall_us {
        let _ = writeln!(text, "clients' writes were stalled for {}", micros(stall));
    }
    if let Some(hint) = &operation.hint {
        let _ = writeln!(text, "next: {hint}");
    }
    text
}

/// The whole operation at once, for `sluice status`.
pub(super) fn render(operation: &OperationView) -> String {
    let steps: String = operation.steps.iter().map(step_line).collect();
    let running = operation.copy.as_ref().filter(|_| operation.state == OperationState::Running);
    headline(operation) + &steps + &running.map(copy_line).unwrap_or_default() + &ending(operation)
}

/// Whether the exit code is 0.
pub(super) fn succeeded(operation: &OperationView) -> Result<(), CliError> {
    match operation.state {
        OperationState::Done | OperationState::Running => Ok(()),
        OperationState::Refused | OperationState::Undone | OperationState::Failed => {
            let outcome = operation.outcome.clone().unwrap_or_else(|| "no reason was given".to_owned());
            Err(CliError::NotDone(format!("the {} did not reach its goal: {outcome}", operation.kind)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    #[test]
    fn steps_are_printed_once_each_as_they_end() {
        let mut operation = invented::switchover();
        let mut shown = Shown::default();
        operation.state = OperationState::Running;
        let last = operation.steps.pop();
        let expected = "\
switchover to db2 (7-1), began 2026-01-01T00:00:00Z, asked by ann from 127.0.0.1
   +0.0 ms     4.0 ms  preflight: nothing blocks
   +4.0 ms     3.1 ms  drain: 2 open transactions ended
";
        assert_eq!(shown.news(&operation), expected);
        assert_eq!(shown.news(&operation), "");
        operation.steps.extend(last);
        operation.state = OperationState::Done;
        assert_eq!(shown.news(&operation), "   +7.1 ms     2.0 ms  promote -> failed: refused\n");
        let ending = ending(&operation);
        assert_eq!(ending, "done: db2 is the primary in epoch 8\nclients' writes were stalled for 9.2 ms\n");
    }

    #[test]
    fn a_copy_is_shown_by_tenths() {
        let copy = |done: u64| CopyView {
            stage: "file copy".into(),
            done_bytes: done << 20,
            total_bytes: 2048 << 20,
            bytes_per_s: 200 << 20,
            seconds_left: Some(5),
            looks: done,
        };
        let mut operation =
            OperationView { kind: "rebuild".into(), target: Some("db3".into()), ..OperationView::default() };
        let mut shown = Shown::default();
        operation.copy = Some(copy(1024));
        let text = shown.news(&operation);
        let line = "[#####.....] file copy, 1.0 GiB of 2.0 GiB, 200.0 MiB per second, about 5.0 s left\n";
        assert!(text.starts_with("rebuild db3 ") && text.ends_with(line), "{text}");
        operation.copy = Some(copy(1030));
        assert_eq!(shown.news(&operation), "");
        assert!(render(&operation).contains("1.0 GiB of 2.0 GiB"));
        operation.copy = Some(copy(1300));
        assert!(shown.news(&operation).contains("[######....]"));
    }

    #[test]
    fn a_dry_run_shows_no_times() {
        let mut operation = invented::switchover();
        operation.steps.iter_mut().for_each(|step| step.result = Some(WOULD_BE_DONE.into()));
        let text = render(&operation);
        assert!(text.contains("\n                would  preflight: nothing blocks\n"), "{text}");
    }

    #[test]
    fn only_done_is_success() {
        let mut operation = invented::switchover();
        assert!(succeeded(&operation).is_ok());
        operation.state = OperationState::Undone;
        let error = succeeded(&operation).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("the switchover did not reach its goal"), "{error}");
    }
}
