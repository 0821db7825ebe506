//! Members that are filled by themselves: what they have is surely of no use, or nothing.
//!
//! Never here: I/O, a member whose data somebody might miss.

use uuid::Uuid;

use super::{acting, own_transactions};
use crate::controller::assess::Assessment;
use crate::controller::record::{RebuildCause, Record, Tail};
use crate::controller::view::{BootView, ClusterView, InstanceView, ServerView};

/// A member that is to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its name.
    pub member: String,
    /// Why.
    pub cause: RebuildCause,
}

/// Members that are to be filled by themselves, in configuration order. Those that an operator has marked are left
/// alone, and those that are not fenced yet wait.
pub fn due(view: &ClusterView, record: &Record, assessment: &Assessment) -> Vec<Due> {
    let Some(primary) = view.by_uuid(record.primary).and_then(InstanceView::live) else { return Vec::new() };
    if record.rebuild.is_some() || record.operation.is_some() || primary.executed.is_empty() {
        return Vec::new();
    }
    let marked = |instance: &InstanceView| record.marks.iter().any(|mark| *mark.name == *instance.name);
    view.live()
        .filter(|(instance, server)| server.uuid != record.primary && !marked(instance))
        .filter(|(_, server)| !server.is_writable() && server.boot == BootView::Fenced)
        .filter(|(_, server)| acting(assessment, record.is_acker(server.uuid)).is_ok())
        .filter_map(|(instance, server)| {
            Some(Due { member: instance.name.to_string(), cause: cause(record, server, primary)? })
        })
        .collect()
}

fn cause(record: &Record, server: &ServerView, primary: &ServerView) -> Option<RebuildCause> {
    if server.executed.is_empty() {
        let received = server.channel.as_ref().is_some_and(|channel| !channel.received.is_empty());
        return (!received).then_some(RebuildCause::Empty);
    }
    let (own, unapplied) = own_transactions(server, primary);
    if own.is_empty() && unapplied.is_empty() && !server.forgot(primary).is_empty() {
        return Some(RebuildCause::Forgot);
    }
    // Two looks in a row: one alone may have been taken while the primary went on.
    let still = server.executed.subtract(&primary.executed);
    let proven = |deposed: &&crate::controller::record::Deposed| {
        deposed.uuid == server.uuid && deposed.tail == Tail::Unacknowledged
    };
    let of_its_own = own.of(server.uuid) == own && still.contains_set(&own);
    let proven = record.deposed.iter().any(|deposed| proven(&deposed));
    (!own.is_empty() && unapplied.is_empty() && of_its_own && proven).then_some(RebuildCause::Tail)
}

/// Former primaries that follow the present one again with nothing of their own: what they do from now on by
/// themselves is no tail of theirs.
pub fn settled(view: &ClusterView, record: &Record) -> Vec<Uuid> {
    let Some(primary) = view.by_uuid(record.primary).and_then(InstanceView::live) else { return Vec::new() };
    let follows = |server: &ServerView| {
        server.uuid == record.primary
            || (server.replicates_from(record.primary) && server.errant(primary).is_empty())
    };
    let settled = |uuid: &Uuid| view.live().any(|(_, server)| server.uuid == *uuid && follows(server));
    record.deposed.iter().map(|deposed| deposed.uuid).filter(settled).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::*;
    use crate::controller::assess::Verdict;
    use crate::controller::pictures::{healthy, record, set, spoil, spoil_channel, uuid};
    use crate::controller::record::{Deposed, Mark, MarkKind};

    fn well() -> Assessment {
        Assessment { verdict: Verdict::Healthy, evidence: String::new(), hint: None, primary: None }
    }

    /// db1 is the primary, db3 was it and has a commit of its own.
    fn returned(tail: Tail) -> (ClusterView, Record) {
        let mut view = healthy(3);
        spoil(&mut view, 3, |server| {
            server.executed = set("1:1-10,3:1-2");
            server.executed_before = set("1:1-10,3:1-2");
        });
        let deposed = vec![Deposed { uuid: uuid(3), epoch: 2, tail }];
        (view, Record { deposed, ..record(3) })
    }

    fn found(view: &ClusterView, record: &Record) -> Vec<RebuildCause> {
        due(view, record, &well()).into_iter().map(|due| due.cause).collect()
    }

    #[test]
    fn an_empty_member_is_filled_unless_somebody_works_on_it() {
        let mut view = healthy(3);
        assert_eq!(found(&view, &record(3)), []);
        spoil(&mut view, 3, |server| {
            server.executed = Arc::default();
            server.channel = None;
        });
        assert_eq!(found(&view, &record(3)), [RebuildCause::Empty]);
        let mark = Mark {
            name: "db3".into(),
            kind: MarkKind::Maintenance,
            who: "ann".into(),
            reason: None,
            until: None,
        };
        let marked = Record { marks: vec![mark], ..record(3) };
        assert_eq!(found(&view, &marked), []);
        spoil(&mut view, 3, |server| server.read_only = crate::controller::view::Switch::Off);
        assert_eq!(found(&view, &record(3)), [], "it is fenced first");
    }

    #[test]
    fn only_a_tail_that_nobody_was_told_ok_for_is_replaced_by_itself() {
        let (view, proven) = returned(Tail::Unacknowledged);
        assert_eq!(found(&view, &proven), [RebuildCause::Tail]);
        let (view, unknown) = returned(Tail::Unknown);
        assert_eq!(found(&view, &unknown), []);
        assert_eq!(found(&view, &record(3)), [], "it never was a primary that Sluice knew");
        let (mut foreign, proven) = returned(Tail::Unacknowledged);
        spoil(&mut foreign, 3, |server| {
            server.executed = set("1:1-10,3:1-2,7:1");
            server.executed_before = set("1:1-10,3:1-2,7:1");
        });
        assert_eq!(found(&foreign, &proven), [], "somebody else's transactions are among them");
        let (mut unapplied, proven) = returned(Tail::Unacknowledged);
        spoil_channel(&mut unapplied, 3, |channel| channel.received = (*set("1:1-10,2:5")).clone());
        assert_eq!(found(&unapplied, &proven), []);
    }

    #[test]
    fn who_lost_what_it_had_written_is_filled_and_never_attached() {
        let mut view = healthy(3);
        let looked = std::time::Instant::now();
        spoil(&mut view, 1, |server| {
            server.executed = set("1:1-10,3:1-5");
            server.executed_before = set("1:1-10,3:1-5");
            server.look_before = Some((set("1:1-10,3:1-5"), looked));
        });
        spoil(&mut view, 2, |server| server.executed = set("1:1-10,3:1-5"));
        spoil(&mut view, 3, |server| {
            server.executed = set("1:1-10,3:1-2");
            server.executed_asked = Some(looked);
        });
        assert_eq!(found(&view, &record(3)), [RebuildCause::Forgot]);
        spoil(&mut view, 3, |server| server.executed = set("1:1-10,3:1-5"));
        assert_eq!(found(&view, &record(3)), [], "it only had to be looked at again");
    }

    #[test]
    fn a_former_primary_that_follows_cleanly_is_a_member_like_any_other() {
        let (view, record) = returned(Tail::Unacknowledged);
        assert!(settled(&view, &record).is_empty());
        assert_eq!(settled(&healthy(3), &record), [uuid(3)]);
    }
}
