//! `sluice explain`: where a statement would go, and who would be the next primary, for people.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::figures::or_dash;
use crate::admin::{Explanation, PinChangeView};
use crate::controller::api::FailoverStatus;

/// What it is, what it leaves behind, and where it would go from each listener.
pub(super) fn render(explanation: &Explanation) -> String {
    let mut text = format!("{} ({})\n", explanation.sentence, explanation.intent);
    if explanation.hint != "any" {
        text += &format!("  a comment asks for: {}\n", explanation.hint);
    }
    if !explanation.effects.is_empty() {
        text += &format!("  does beside answering: {}\n", explanation.effects.join(", "));
    }
    for pin in &explanation.pins {
        text += &format!("  {}\n", pin_line(pin));
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["LISTENER", "SESSION", "TO", "INSTANCE", "BECAUSE"]);
    for route in &explanation.routes {
        table.add_row([
            route.listener.clone(),
            route.situation.replace('_', " "),
            route.to.clone(),
            or_dash(route.instance.as_deref()),
            route.because.clone(),
        ]);
    }
    text.push('\n');
    text.extend(table.to_string().lines().map(|line| format!("{}\n", line.trim())));
    text
}

/// Who would win, and why not the others.
pub(super) fn failover(status: &FailoverStatus) -> String {
    let mut text = match &status.winner {
        Some(winner) => format!("ready: {winner} would be the primary ({})\n", status.sentence),
        None => format!("{}: {}\n", status.state.replace('_', " "), status.sentence),
    };
    for other in &status.rejected {
        text += &format!("  not {}: {}\n", other.name, other.why);
    }
    text
}

fn pin_line(pin: &PinChangeView) -> String {
    let verb = if pin.begins { "pins" } else { "ends the pin" };
    let name = pin.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{verb} {}{name}: {}", pin.reason, pin.sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::RouteView;

    #[test]
    fn an_explanation_is_a_sentence_and_a_table() {
        let pin = PinChangeView {
            begins: true,
            reason: "temporary_table".into(),
            sentence: "A temporary table exists.".into(),
            name: Some("t".into()),
        };
        let route = RouteView {
            listener: "split".into(),
            situation: "in_transaction".into(),
            to: "primary".into(),
            instance: Some("db1".into()),
            reason: "statement".into(),
            because: "Because.".into(),
        };
        let text = render(&Explanation {
            intent: "write:temporary_table".into(),
            sentence: "It creates or drops a temporary table.".into(),
            hint: "primary".into(),
            effects: vec!["may_commit".into()],
            pins: vec![pin],
            routes: vec![route],
        });
        let expected = "\
It creates or drops a temporary table. (write:temporary_table)
  a comment asks for: primary
  does beside answering: may_commit
  pins temporary_table t: A temporary table exists.

LISTENER  SESSION         TO       INSTANCE  BECAUSE
split     in transaction  primary  db1       Because.
";
        assert_eq!(text, expected);
    }
}
