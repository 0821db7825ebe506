//! Whether somebody has made another member the primary while the recorded one was away.
//!
//! It is told from a replica that is merely not fenced, and from a former primary of ours that is back, by what only
//! a primary has: members that receive from it, or writes of its own that nobody else knows.
//!
//! Never here: I/O, what follows from it.

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;

use super::{Assessment, Verdict};
use crate::controller::record::Record;
use crate::controller::view::{ClusterView, InstanceView, ServerView, Thread};

/// The member that somebody has opened, and how that is known. Never while the recorded primary takes writes: then a
/// second writable server is fenced.
pub fn opened_by_hand(view: &ClusterView, record: &Record) -> Option<(InstanceId, String)> {
    let recorded = view.by_uuid(record.primary).and_then(InstanceView::live);
    if recorded.is_some_and(ServerView::is_writable) {
        return None;
    }
    let from = record.operation.as_ref().map(|operation| operation.from);
    let mut opened = view.live().filter(|(_, server)| {
        let receives = server.channel.as_ref().is_some_and(|channel| channel.receiver == Thread::Running);
        server.uuid != record.primary
            && server.is_writable()
            && !receives
            && from != Some(server.uuid)
            && !record.is_taken_apart(server.uuid)
    });
    opened.find_map(|(instance, server)| {
        let why = followers(view, record, server).or_else(|| own_writes(view, record, server))?;
        Some((instance.id, format!("{} is writable, and {why}", instance.name)))
    })
}

/// Members that receive from it: those that the record counts on have been pointed there.
fn followers(view: &ClusterView, record: &Record, opened: &ServerView) -> Option<String> {
    let followers: Vec<&str> = view
        .live()
        .filter(|(_, server)| record.is_acker(server.uuid) || server.uuid == record.primary)
        .filter(|(_, server)| server.receives_from(opened.uuid))
        .map(|(instance, _)| &*instance.name)
        .collect();
    let verb = if followers.len() == 1 { "replicates" } else { "replicate" };
    (!followers.is_empty()).then(|| format!("{} {verb} from it", followers.join(" and ")))
}

/// Transactions that were written there and that no other member has. Those of a primary that a failover of ours
/// replaced are what it had left when it was lost.
fn own_writes(view: &ClusterView, record: &Record, opened: &ServerView) -> Option<String> {
    if record.deposed.iter().any(|one| one.uuid == opened.uuid) {
        return None;
    }
    let mut known = GtidSet::new();
    let others = view.instances.iter().filter_map(|instance| instance.server.as_deref());
    others.filter(|server| server.uuid != opened.uuid).for_each(|server| known.extend(&server.has()));
    let own = opened.executed.of(opened.uuid).subtract(&known);
    (!own.is_empty()).then(|| format!("it has writes that no other member has ({own})"))
}

/// The verdict, if it is so.
pub(super) fn judge(view: &ClusterView, record: &Record) -> Option<Assessment> {
    let (id, why) = opened_by_hand(view, record)?;
    let name = view.instances.get(id.index()).map_or("?", |instance| &*instance.name);
    let recorded = match view.by_uuid(record.primary) {
        Some(primary) => primary.name.to_string(),
        None => record.primary_name.clone(),
    };
    let assessment = Assessment::new(
        Verdict::OpenedByHand(id),
        format!(
            "somebody has made {name} the primary instead of {recorded}: {why}; nothing is changed and no write is sent"
        ),
    );
    Some(assessment.hint(format!(
        "if it is to be the primary: sluice adopt --primary {name}; if not: SET GLOBAL super_read_only=ON on {name}, and \
         Sluice goes on with {recorded}"
    )))
}
