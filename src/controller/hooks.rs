//! Programs that are told of what happens: `[hooks]`.
//!
//! What a program does, or fails to do, changes nothing: its end is in the history. Only `before_fence` is waited for,
//! for its own short time; all others run beside.
//!
//! Never here: how a program is run, a step of an operation.

mod program;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::api::{OperationState, StepView};
use super::clock;
use super::desk::{Desk, HOOK};
use super::view::InstanceView;
use crate::config::{Hook, Hooks};

/// Programs that run beside at once; one more is not started.
const AT_ONCE: usize = 8;

/// What a program is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A failover is about to stop the receivers of the ackers.
    BeforeFence,
    /// It has released the clients to the new primary.
    AfterPromote,
    /// So has a switchover.
    AfterSwitchover,
    /// There is an alarm that was not there before.
    OnAlarm,
}

impl Event {
    /// As in the configuration.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeFence => "before_fence",
            Self::AfterPromote => "after_promote",
            Self::AfterSwitchover => "after_switchover",
            Self::OnAlarm => "on_alarm",
        }
    }

    fn hook(self, hooks: &Hooks) -> Option<&Hook> {
        match self {
            Self::BeforeFence => hooks.before_fence.as_ref(),
            Self::AfterPromote => hooks.after_promote.as_ref(),
            Self::AfterSwitchover => hooks.after_switchover.as_ref(),
            Self::OnAlarm => hooks.on_alarm.as_ref(),
        }
    }
}

/// How many run beside.
#[derive(Debug, Default)]
pub(super) struct Beside(AtomicUsize);

/// One of them; counted as long as it lives.
struct Running(Arc<Beside>);

impl Beside {
    fn begin(self: &Arc<Self>) -> Option<Running> {
        let fits = |running: usize| (running < AT_ONCE).then_some(running + 1);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(Running(Arc::clone(self)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An instance as programs are told of it.
pub(super) fn of_instance(desk: &Desk, view: Option<&InstanceView>) -> Value {
    let Some(view) = view else { return Value::Null };
    let address = desk.config.instances.get(view.id.index()).map(|instance| instance.address.to_string());
    let uuid = view.server.as_ref().map(|server| server.uuid.to_string());
    json!({ "name": view.name.to_string(), "address": address, "server_uuid": uuid })
}

fn message(desk: &Desk, event: Event, operation: Option<&str>, more: Value) -> Vec<u8> {
    let mut message = json!({
        "event": event.as_str(),
        "cluster": desk.config.cluster.name,
        "epoch": desk.record().map(|record| record.epoch),
        "operation": operation,
        "time": humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string(),
    });
    if let (Some(message), Value::Object(more)) = (message.as_object_mut(), more) {
        message.extend(more);
    }
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Runs the program and waits for it, for its timeout at most. `None`: there is none. Else how it ended and what it said.
pub(super) async fn run(
    desk: &Desk,
    event: Event,
    operation: &str,
    more: Value,
) -> Option<(String, Result<String, String>)> {
    let hook = event.hook(&desk.config.hooks)?;
    let ran = program::run(hook, message(desk, event, Some(operation), more)).await;
    Some((ran.output, ran.how))
}

/// Runs the program beside everything else; its end becomes an operation of its own in the history.
pub(super) fn run_beside(desk: &Arc<Desk>, event: Event, operation: Option<&str>, more: Value) {
    let Some(hook) = event.hook(&desk.config.hooks).cloned() else { return };
    let message = message(desk, event, operation, more);
    let id = desk.begin(HOOK, Some(event.as_str().to_owned()), operation.unwrap_or("alarm"));
    let Some(running) = desk.hooks.begin() else {
        let outcome = format!("{AT_ONCE} programs run already: it was not started");
        desk.end(&id, OperationState::Refused, outcome, None);
        return;
    };
    let (desk, began) = (Arc::clone(desk), clock::now());
    tokio::spawn(async move {
        let ran = program::run(&hook, message).await;
        drop(running);
        desk.step(&id, step(began, &hook, &ran));
        let (state, outcome) = match ran.how {
            Ok(how) => (OperationState::Done, how),
            Err(how) => (OperationState::Failed, how),
        };
        if state == OperationState::Failed {
            tracing::warn!(hook = event.as_str(), %outcome, "a hook failed");
        }
        desk.end(&id, state, outcome, None);
    });
}

fn step(began: Instant, hook: &Hook, ran: &program::Ran) -> StepView {
    let how = ran.how.as_ref().map_or_else(|how| format!("failed: {how}"), Clone::clone);
    StepView {
        // Arguments may be secrets of somebody.
        name: hook.command.first().cloned().unwrap_or_default(),
        detail: ran.output.clone(),
        at_us: 0,
        took_us: u64::try_from(clock::since(began).as_micros()).ok(),
        result: Some(how),
    }
}
