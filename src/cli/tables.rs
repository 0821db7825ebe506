//! `sluice instances`, `sluice sessions` and `sluice history`: lists as tables.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;

use super::figures::{millis, or_dash};
use crate::admin::SessionView;
use crate::controller::api::InstanceStatus;

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

/// Without the spaces that fill the last column.
fn print(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("{}\n", line.trim().trim_end())).collect()
}

pub(super) fn instances(instances: &[InstanceStatus]) -> String {
    let mut table =
        table(["NAME", "ADDRESS", "ROLE", "STATE", "VERSION", "READS", "LAG", "GAP", "CONNECTIONS", "MARK"]);
    for instance in instances {
        table.add_row([
            instance.name.clone(),
            instance.address.clone(),
            instance.role.clone(),
            instance.verdict.clone(),
            or_dash(instance.version.as_deref()),
            instance.reads.clone(),
            or_dash(instance.lag_ms.map(millis)),
            or_dash(instance.gtid_gap),
            instance.connections.to_string(),
            or_dash(instance.mark.as_deref()),
        ]);
    }
    print(&table)
}

pub(super) fn sessions(sessions: &[SessionView]) -> String {
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let mut table = table([
        "ID",
        "USER",
        "PEER",
        "LISTENER",
        "STATE",
        "SINCE",
        "IN TRANSACTION",
        "STATEMENTS",
        "ROUTE",
        "INSTANCE",
        "THREAD",
        "PINNED BY",
    ]);
    for session in sessions {
        let pins: Vec<&str> = session.pins.iter().map(|pin| pin.reason.as_str()).collect();
        table.add_row([
            session.id.to_string(),
            or_dash(session.user.as_deref()),
            session.peer.clone(),
            session.listener.clone(),
            session.state.clone(),
            millis(session.age_ms),
            or_dash(session.in_transaction_ms.map(millis)),
            session.statements.to_string(),
            or_dash(route(session)),
            or_dash(session.instance.as_deref()),
            or_dash(session.thread),
            or_dash((!pins.is_empty()).then(|| pins.join(", "))),
        ]);
    }
    print(&table)
}

/// `primary (statement)`
fn route(session: &SessionView) -> Option<String> {
    Some(format!("{} ({})", session.route.as_ref()?, session.route_reason.as_deref().unwrap_or("?")))
}

/// One line per entry; the fields that every entry has come first, in this order.
pub(super) fn history(entries: &[Value]) -> String {
    const FIRST: [&str; 6] = ["at", "began", "kind", "event", "target", "state"];
    let mut text = String::new();
    for entry in entries {
        let Some(fields) = entry.as_object() else { continue };
        let mut parts: Vec<String> = FIRST.iter().filter_map(|name| fields.get(*name)).map(plain).collect();
        let rest = fields.iter().filter(|(name, value)| {
            !FIRST.contains(&name.as_str()) && !value.is_null() && !value.is_array() && !value.is_object()
        });
        parts.extend(rest.map(|(name, value)| format!("{name}={}", plain(value))));
        text += &parts.join("  ");
        text.push('\n');
    }
    if text.is_empty() { "no history\n".to_owned() } else { text }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    #[test]
    fn instances_are_a_table() {
        let text = instances(&invented::status().instances);
        let expected = "\
NAME  ADDRESS        ROLE     STATE    VERSION  READS     LAG    GAP  CONNECTIONS  MARK
db1   10.0.0.1:3306  primary  ok       9.7.4    primary   -      -    40           -
db2   10.0.0.2:3306  replica  ok       9.7.4    serving   12 ms  1    9            -
db3   10.0.0.3:3306  replica  refused  9.7.4    draining  -      -    0            drain: new disk
";
        assert_eq!(text, expected);
    }

    #[test]
    fn sessions_are_a_table() {
        let text = sessions(&[invented::session()]);
        assert!(text.contains("app   10.0.0.9:40000  split     held   5 min  2.5 s"), "{text}");
        assert!(text.contains("primary (pinned)"), "{text}");
        assert!(text.trim_end().ends_with("temporary_table, named_lock"), "{text}");
        assert_eq!(sessions(&[]), "no sessions\n");
    }

    #[test]
    fn history_is_a_line_per_entry() {
        let entry =
            serde_json::json!({"epoch": 3, "kind": "switchover", "at": "2026-01-01T00:00:00Z", "steps": []});
        assert_eq!(history(&[entry]), "2026-01-01T00:00:00Z  switchover  epoch=3\n");
        assert_eq!(history(&[]), "no history\n");
    }
}
