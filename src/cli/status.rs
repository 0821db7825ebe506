//! `sluice status`: the cluster as a tree.

use std::fmt::Write;

use super::figures::{count, millis, or_dash};
use super::operation;
use crate::controller::api::{InstanceStatus, Status};

/// The tree: the verdict first, then the primary with its replicas below it, then what needs a person.
pub(super) fn render(status: &Status) -> String {
    let mut text = String::new();
    let _ = head(&mut text, status);
    let _ = tree(&mut text, &status.instances);
    for alarm in &status.alarms {
        let _ = writeln!(text, "ALARM: {alarm}");
    }
    if let Some(operation) = &status.operation {
        let _ = write!(text, "\nunder way: {}", operation::render(operation));
    }
    if let Some(rebuild) = &status.rebuild {
        let _ = write!(text, "\nunder way: {}", operation::render(rebuild));
    }
    text
}

fn head(text: &mut String, status: &Status) -> std::fmt::Result {
    let age = millis(status.verdict_age_s.saturating_mul(1000));
    writeln!(text, "cluster {}: {} for {age}", status.cluster, status.verdict)?;
    if !status.evidence.is_empty() {
        writeln!(text, "  {}", status.evidence)?;
    }
    if let Some(hint) = &status.hint {
        writeln!(text, "  next: {hint}")?;
    }
    let primary = status.primary.as_deref().unwrap_or("none");
    writeln!(text, "  epoch {}, primary {primary}, guarantee: {}", status.epoch, status.guarantee)?;
    if !status.ackers.is_empty() {
        let ackers = status.ackers.join(", ");
        writeln!(text, "  a commit waits for {} of {ackers}", count(status.wait_count.into(), "ack"))?;
    }
    match &status.failover.winner {
        Some(winner) => writeln!(text, "  automatic failover: ready, to {winner}")?,
        None if status.failover.state.is_empty() => {}
        None => {
            let state = status.failover.state.replace('_', " ");
            writeln!(text, "  automatic failover: {state} ({})", status.failover.sentence)?;
        }
    }
    for budget in status.budgets.iter().filter(|budget| budget.left < budget.of) {
        let next = budget.refills_in_s.map_or_else(String::new, |seconds| {
            format!(", one more in {}", millis(seconds.saturating_mul(1000)))
        });
        writeln!(text, "  by itself: {} of {} {}s left{next}", budget.left, budget.of, budget.class)?;
    }
    let gate = &status.gate;
    writeln!(
        text,
        "  gate {}: {}, {} held, {} pinned; {}",
        gate.state,
        count(gate.open_units, "open transaction"),
        gate.held,
        gate.pinned,
        count(status.sessions, "session"),
    )
}

/// Replicas stand below their source; whoever follows nobody known stands at the root. Replication in a ring
/// would never be reached from a root, so what was not written by then is written last.
fn tree(text: &mut String, instances: &[InstanceStatus]) -> std::fmt::Result {
    let mut written = vec![false; instances.len()];
    let is_root = |instance: &InstanceStatus| {
        instance.role == "primary" || !instances.iter().any(|other| follows(instance, other))
    };
    let mut roots: Vec<usize> =
        (0..instances.len()).filter(|i| instances.get(*i).is_some_and(is_root)).collect();
    roots.sort_by_key(|index| instances.get(*index).is_none_or(|instance| instance.role != "primary"));
    for root in roots {
        branch(text, instances, root, "", &mut written)?;
    }
    for index in 0..instances.len() {
        branch(text, instances, index, "", &mut written)?;
    }
    Ok(())
}

fn follows(instance: &InstanceStatus, other: &InstanceStatus) -> bool {
    let source = instance.source.as_deref();
    instance.name != other.name && (source == Some(&other.name) || source == Some(&other.address))
}

/// Writes one instance and everything below it. The depth is bounded: each instance is written once.
fn branch(
    text: &mut String,
    instances: &[InstanceStatus],
    index: usize,
    indent: &str,
    written: &mut [bool],
) -> std::fmt::Result {
    let (Some(instance), Some(done)) = (instances.get(index), written.get_mut(index)) else { return Ok(()) };
    if std::mem::replace(done, true) {
        return Ok(());
    }
    if indent.is_empty() {
        writeln!(text, "{}", line(instance))?;
    }
    let below: Vec<usize> = instances
        .iter()
        .enumerate()
        .filter(|(i, other)| {
            follows(other, instance) && other.role != "primary" && !written.get(*i).is_some_and(|w| *w)
        })
        .map(|(i, _)| i)
        .collect();
    detail(text, instance, indent, !below.is_empty())?;
    for (place, child) in below.iter().enumerate() {
        let last = place + 1 == below.len();
        let Some(child_instance) = instances.get(*child) else { continue };
        writeln!(text, "{indent}{} {}", if last { "└─" } else { "├─" }, line(child_instance))?;
        let deeper = format!("{indent}{}", if last { "   " } else { "│  " });
        branch(text, instances, *child, &deeper, written)?;
    }
    Ok(())
}

fn line(instance: &InstanceStatus) -> String {
    let mut parts = vec![format!("{} {} ({})", instance.name, instance.role, instance.address)];
    if let Some(version) = &instance.version {
        parts.push(version.clone());
    }
    parts.push(match instance.writable {
        Some(true) => "writable".to_owned(),
        Some(false) => "read-only".to_owned(),
        None => "read_only unknown".to_owned(),
    });
    if instance.verdict != "ok" {
        parts.push(instance.verdict.to_uppercase());
    }
    if let Some(mark) = &instance.mark {
        parts.push(format!("[{mark}]"));
    }
    if let Some(rule) = &instance.promotion {
        parts.push(format!("[promotion {rule}]"));
    }
    parts.join(", ")
}

fn detail(
    text: &mut String,
    instance: &InstanceStatus,
    indent: &str,
    has_children: bool,
) -> std::fmt::Result {
    let bar = format!("{indent}{}", if has_children { "│  " } else { "  " });
    if !instance.reachable {
        let seen = instance
            .seen_ms
            .map_or_else(|| "never seen".to_owned(), |ms| format!("last seen {} ago", millis(ms)));
        let error = instance.error.as_deref().unwrap_or("no answer");
        writeln!(text, "{bar}{seen}: {error}")?;
        return Ok(());
    }
    let mut parts = Vec::new();
    if let Some(replication) = &instance.replication {
        parts.push(replication.clone());
        parts.push(format!("lag {}", or_dash(instance.lag_ms.map(millis))));
        parts.push(format!("gap {}", or_dash(instance.gtid_gap.map(|gap| count(gap, "transaction")))));
    }
    let acker = if instance.acker { ", acker" } else { "" };
    parts.push(format!("semi-sync {}{acker}", or_dash(instance.semi_sync.as_deref())));
    if !instance.reads.is_empty() {
        parts.push(format!("reads {}", instance.reads));
    }
    parts.push(count(instance.connections, "connection"));
    writeln!(text, "{bar}{}", parts.join(", "))?;
    if let Some(errant) = &instance.errant {
        writeln!(text, "{bar}ERRANT, only here: {errant}")?;
    }
    if let Some(error) = &instance.error {
        writeln!(text, "{bar}error: {error}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::invented::status;
    use super::*;

    #[test]
    fn a_healthy_cluster() {
        let expected = "\
cluster shop: healthy for 5 min
  all 3 instances answer
  epoch 7, primary db1, guarantee: acknowledged by a replica
  a commit waits for 1 ack of db2, db3
  gate open: 2 open transactions, 0 held, 1 pinned; 41 sessions
db1 primary (10.0.0.1:3306), 9.7.4, writable
│  semi-sync source, 2 clients, reads primary, 40 connections
├─ db2 replica (10.0.0.2:3306), 9.7.4, read-only
│    receiving+applying, lag 12 ms, gap 1 transaction, semi-sync acking, acker, reads serving, 9 connections
└─ db3 replica (10.0.0.3:3306), 9.7.4, read-only, REFUSED, [drain: new disk]
     last seen 3.2 s ago: Connection refused
ALARM: db3 does not answer
";
        assert_eq!(render(&status()), expected);
    }

    #[test]
    fn nothing_is_known_yet() {
        let text =
            render(&Status { cluster: "shop".into(), verdict: "starting".into(), ..Status::default() });
        assert!(text.starts_with("cluster shop: starting for 0 ms\n  epoch 0, primary none"), "{text}");
    }

    #[test]
    fn a_ring_is_written_once_each() {
        let mut status = status();
        for (index, source) in [(0, "db3"), (1, "db1"), (2, "db2")] {
            if let Some(instance) = status.instances.get_mut(index) {
                instance.role = "unknown".into();
                instance.source = Some(source.into());
            }
        }
        let text = render(&status);
        for name in ["db1 unknown", "db2 unknown", "db3 unknown"] {
            assert_eq!(text.matches(name).count(), 1, "{text}");
        }
    }
}
