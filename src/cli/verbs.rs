//! The verbs that ask a running Sluice.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Client, Reach};
use super::{
    CliError, FailoverArgs, Leftover, MarkArgs, Output, Rule, SwitchoverArgs, TermsArgs, doctor, explain,
    operation, status, tables,
};
use crate::admin::{Explanation, SessionView};
use crate::config::Config;
use crate::controller::api::{InstanceStatus, Status, SwitchoverRequest};
use crate::controller::doctor::Report;
use crate::reload::Reloaded;

pub(super) fn status(reach: &Reach, output: Output) -> Result<(), CliError> {
    let status: Status = Client::new(reach)?.get("/status")?;
    show(output, &status, || status::render(&status));
    Ok(())
}

pub(super) fn instances(reach: &Reach, output: Output) -> Result<(), CliError> {
    let instances: Vec<InstanceStatus> = Client::new(reach)?.get("/instances")?;
    show(output, &instances, || tables::instances(&instances));
    Ok(())
}

pub(super) fn sessions(reach: &Reach, output: Output) -> Result<(), CliError> {
    let sessions: Vec<SessionView> = Client::new(reach)?.get("/sessions")?;
    show(output, &sessions, || tables::sessions(&sessions));
    Ok(())
}

pub(super) fn ask_doctor(reach: &Reach, output: Output) -> Result<(), CliError> {
    diagnosed(output, &Client::new(reach)?.get("/doctor")?)
}

/// Without a running Sluice.
pub(super) fn doctor_alone(config: &Config, output: Output) -> Result<(), CliError> {
    let report = crate::examine::examine_alone(config);
    diagnosed(output, &report.map_err(|error| CliError::NotDone(error.to_string()))?)
}

fn diagnosed(output: Output, report: &Report) -> Result<(), CliError> {
    show(output, report, || doctor::render(report));
    if report.is_well() {
        Ok(())
    } else {
        Err(CliError::NotDone("something that is required is missing".into()))
    }
}

pub(super) fn explain_failover(reach: &Reach, output: Output) -> Result<(), CliError> {
    let status: Status = Client::new(reach)?.get("/status")?;
    show(output, &status.failover, || explain::failover(&status.failover));
    Ok(())
}

pub(super) fn explain_route(
    reach: &Reach,
    output: Output,
    statement: &str,
    sql_mode: &str,
    charset: &str,
    schema: &str,
) -> Result<(), CliError> {
    let body = json!({ "statement": statement, "sql_mode": sql_mode, "charset": charset, "schema": schema });
    let explanation: Explanation = Client::new(reach)?.ask("/explain/route", &body)?;
    show(output, &explanation, || explain::render(&explanation));
    Ok(())
}

pub(super) fn reload(reach: &Reach, output: Output) -> Result<(), CliError> {
    let reloaded: Reloaded = Client::new(reach)?.ask("/reload", &json!({}))?;
    show(output, &reloaded, || reloaded.lines().join("\n") + "\n");
    Ok(())
}

pub(super) fn history(reach: &Reach, output: Output, limit: usize) -> Result<(), CliError> {
    let entries: Vec<Value> = Client::new(reach)?.get(&format!("/history?limit={limit}"))?;
    show(output, &entries, || tables::history(&entries));
    Ok(())
}

pub(super) fn switchover(reach: &Reach, output: Output, args: SwitchoverArgs) -> Result<(), CliError> {
    let request = SwitchoverRequest {
        to: args.to,
        dry_run: args.dry_run,
        drain_ms: args.drain.map(millis),
        on_leftover: args.on_leftover.map(|leftover| match leftover {
            Leftover::Abort => "abort".to_owned(),
            Leftover::Kill => "kill".to_owned(),
        }),
        wait_ms: args.wait.map(millis),
        expect_epoch: args.expect_epoch,
        // Told by a header, as of every verb.
        who: String::new(),
    };
    ask(reach, output, "/switchover", &json!(request))
}

pub(super) fn failover(reach: &Reach, output: Output, args: &FailoverArgs) -> Result<(), CliError> {
    let body = json!({ "to": args.to, "accept_loss": args.accept_loss });
    ask(reach, output, "/failover", &body)
}

pub(super) fn mark(reach: &Reach, output: Output, verb: &str, args: &MarkArgs) -> Result<(), CliError> {
    let path = format!("/instances/{}/{verb}", path_segment(&args.name));
    ask(reach, output, &path, &terms(&args.terms))
}

pub(super) fn unmark(reach: &Reach, output: Output, verb: &str, name: &str) -> Result<(), CliError> {
    ask(reach, output, &format!("/instances/{}/{verb}", path_segment(name)), &json!({}))
}

pub(super) fn promotion(
    reach: &Reach,
    output: Output,
    name: &str,
    rule: Rule,
    terms: &TermsArgs,
) -> Result<(), CliError> {
    let for_ms = terms.duration.map(millis);
    let body = json!({ "promotion": rule.promotion(), "reason": terms.reason, "for_ms": for_ms });
    ask(reach, output, &format!("/instances/{}/promotion", path_segment(name)), &body)
}

pub(super) fn pause(reach: &Reach, output: Output, args: &TermsArgs) -> Result<(), CliError> {
    ask(reach, output, "/pause", &terms(args))
}

pub(super) fn resume(reach: &Reach, output: Output) -> Result<(), CliError> {
    ask(reach, output, "/resume", &json!({}))
}

fn terms(terms: &TermsArgs) -> Value {
    json!({ "reason": terms.reason, "for_ms": terms.duration.map(millis) })
}

pub(super) fn rebuild(
    reach: &Reach,
    output: Output,
    name: &str,
    from: Option<&str>,
    discard_own: bool,
) -> Result<(), CliError> {
    let body = json!({ "from": from, "discard_own": discard_own });
    ask(reach, output, &format!("/instances/{}/rebuild", path_segment(name)), &body)
}

pub(super) fn adopt(reach: &Reach, output: Output, primary: &str) -> Result<(), CliError> {
    ask(reach, output, "/adopt", &json!({ "primary": primary }))
}

/// Starts an operation (or joins the one under way) and follows it to its end.
fn ask(reach: &Reach, output: Output, path: &str, body: &Value) -> Result<(), CliError> {
    let client = Client::new(reach)?;
    let id = client.post(path, body)?;
    let mut print: Box<dyn FnMut(&str)> = match output {
        Output::Text => Box::new(write_out),
        Output::Json => Box::new(|_| {}),
    };
    let ended = operation::follow(&client, &id, &mut *print)?;
    if output == Output::Json {
        write_out(&pretty(&ended));
    }
    operation::succeeded(&ended)
}

fn show<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    match output {
        Output::Text => write_out(&text()),
        Output::Json => write_out(&pretty(value)),
    }
}

fn pretty<T: Serialize>(value: &T) -> String {
    // These types always serialize: they have no maps with odd keys and no floats.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// A reader that went away (`| head`) is no reason to complain.
fn write_out(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A name as one segment of a URL path.
fn path_segment(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_leave_their_path_segment() {
        assert_eq!(path_segment("db-1.a_b"), "db-1.a_b");
        assert_eq!(path_segment("../x y"), "..%2Fx%20y");
    }
}
