//! Reading `[hooks]`.

use std::path::Path;
use std::time::Duration;

use super::section::Section;
use super::{Hook, Hooks};

/// Clients wait while it runs.
const BEFORE_FENCE: Duration = Duration::from_secs(2);
const BEFORE_FENCE_MOST: Duration = Duration::from_secs(10);
/// Nobody waits for the others.
const AFTERWARDS: Duration = Duration::from_secs(30);
const AFTERWARDS_MOST: Duration = Duration::from_secs(600);
/// Less is no time to start a program in.
const LEAST: Duration = Duration::from_millis(100);

/// Reads `[hooks]`.
pub(super) fn hooks(section: Section<'_>) -> Hooks {
    let hooks = Hooks {
        before_fence: hook(section.child("before_fence"), BEFORE_FENCE, BEFORE_FENCE_MOST),
        after_promote: hook(section.child("after_promote"), AFTERWARDS, AFTERWARDS_MOST),
        after_switchover: hook(section.child("after_switchover"), AFTERWARDS, AFTERWARDS_MOST),
        on_alarm: hook(section.child("on_alarm"), AFTERWARDS, AFTERWARDS_MOST),
    };
    section.finish();
    hooks
}

fn hook(section: Section<'_>, timeout: Duration, most: Duration) -> Option<Hook> {
    let command = section.texts("command");
    let timeout = section.duration("timeout", LEAST..=most, timeout);
    if section.is_present() && command.is_none() && !section.has("command") {
        section.missing(
            "command",
            "the program and its arguments, such as [\"/usr/local/bin/tell\", \"team-db\"]",
        );
    }
    let command = command.filter(|command| {
        let absolute = command.value.first().is_some_and(|program| Path::new(program).is_absolute());
        if !absolute {
            let message = "must begin with the absolute path of a program (no shell is involved)";
            section.bad("command", command.line, message);
        }
        absolute
    });
    section.finish();
    Some(Hook { command: command?.value, timeout })
}
