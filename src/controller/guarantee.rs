//! Whether the primary still waits for acknowledgements as the record says, and what an OK is worth then.
//!
//! Semi-sync ends silently: somebody switches it off to get a hanging primary going, or its timeout is set and
//! passes. Then everybody is told OK for commits that may be on the primary alone, and a failover would lose them.
//!
//! Never here: I/O, what is done about it.

use uuid::Uuid;

use super::record::{Guarantee, Record};
use super::unguarded;
use super::view::ServerView;
use crate::config::{Allowance, WithoutAcker};

/// A reading of the primary while it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Which server.
    pub server: Uuid,
    /// Commits without an acknowledgement since its start (`Rpl_semi_sync_source_no_tx`).
    pub unacknowledged: u64,
}

/// What a look at the primary says about the guarantee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It waits, and nothing was committed without an acknowledgement since the reading before.
    Yes(Waited),
    /// It does not, or did not for a while: why.
    No(String),
}

/// Holds a look at the answering primary against the one before, `before`.
pub fn watch(server: &ServerView, before: Option<Waited>) -> Kept {
    let Some(semi_sync) = &server.semi_sync else {
        return Kept::No("the semi-sync plugins are gone".into());
    };
    if !semi_sync.waiting.is_on() {
        return Kept::No("semi-sync was switched off".into());
    }
    let unacknowledged = semi_sync.unacknowledged;
    // Another server, or another start of this one, counts from 0.
    let before =
        before.filter(|before| before.server == server.uuid && before.unacknowledged <= unacknowledged);
    match before.map(|before| unacknowledged - before.unacknowledged) {
        None | Some(0) => Kept::Yes(Waited { server: server.uuid, unacknowledged }),
        Some(alone) => Kept::No(format!("{alone} commits were answered without an acknowledgement")),
    }
}

/// The guarantee, for people.
pub fn words(record: &Record, rule: WithoutAcker) -> String {
    if let Some(words) = unguarded::words(record) {
        return words;
    }
    match (record.guarantee, record.wait_count) {
        (_, 0) => "none: commits wait for no acknowledgement".into(),
        (Guarantee::None, _) => "none: the first acknowledged write of this epoch is still missing".into(),
        (Guarantee::Broken, _) => {
            "broken: the primary committed without waiting; OKs are passed on only after their commits were seen at the \
             ackers"
                .into()
        }
        (Guarantee::Acknowledged, count) => {
            let received = format!("every OK is received by {count} of {} ackers", record.ackers.len());
            let may_end = |allowance: Allowance| {
                format!(
                    "{received}; without any acker for {} writes would go on without guarantee, for {} at most",
                    humantime::format_duration(allowance.after),
                    humantime::format_duration(allowance.longest)
                )
            };
            rule.allowance().map_or(received.clone(), may_end)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a failed step fails the test")]
    use super::*;
    use crate::controller::pictures::healthy;
    use crate::controller::view::{SemiSyncView, Switch};

    fn primary(change: impl FnOnce(&mut SemiSyncView)) -> ServerView {
        let mut view = healthy(3);
        let mut server = view.instances.remove(0).server.map(|server| (*server).clone()).unwrap_or_default();
        if let Some(semi_sync) = server.semi_sync.as_mut() {
            change(semi_sync);
        }
        server
    }

    fn reading(server: &ServerView) -> Waited {
        match watch(server, None) {
            Kept::Yes(waited) => waited,
            Kept::No(why) => panic!("{why}"),
        }
    }

    #[test]
    fn commits_without_an_acknowledgement_break_it() {
        let before = reading(&primary(|s| s.unacknowledged = 7));
        assert_eq!(watch(&primary(|s| s.unacknowledged = 7), Some(before)), Kept::Yes(before));
        let alone = watch(&primary(|s| s.unacknowledged = 9), Some(before));
        assert_eq!(alone, Kept::No("2 commits were answered without an acknowledgement".into()));
        let restarted = primary(|s| s.unacknowledged = 0);
        assert_eq!(watch(&restarted, Some(before)), Kept::Yes(reading(&restarted)));
    }

    #[test]
    fn so_does_semi_sync_switched_off_or_gone() {
        let off = primary(|s| s.waiting = Switch::Off);
        assert!(matches!(watch(&off, None), Kept::No(why) if why.contains("switched off")));
        let gone = ServerView { semi_sync: None, ..off };
        assert!(matches!(watch(&gone, None), Kept::No(why) if why.contains("gone")));
    }
}
