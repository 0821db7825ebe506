//! Whether a commit that was answered late is where it has to be: at as many recorded ackers as it waited for.
//!
//! A primary that stops, or whose semi-sync is switched off, says OK to every commit that was still waiting (seen
//! 0.4 s after SIGTERM, three times out of three), and nobody else has them. So an OK that took long, or came while
//! the primary was in doubt, is shown to the client only once its GTIDs were seen at the ackers, or once the primary,
//! asked afterwards, vouches for it: it serves, it waits for acknowledgements, and has answered nothing without one. It
//! counts from its start, so it is asked through a session that was open before the statement was sent: one that has
//! been started again meanwhile knows nothing of what it answered before. While somebody waits for that, the observers
//! ask at once and then every few milliseconds; one question serves all who wait.
//!
//! Never here: a statement to a server, what a client is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use tokio::sync::Notify;
use uuid::Uuid;

/// A commit that waits longer than this for its acknowledgement is not a usual one (they take 2 to 5 ms), and shorter
/// than what a stopping server needs to answer those that wait.
pub const LATE: Duration = Duration::from_millis(300);
/// Pace of the looks while somebody waits for one.
const WANTED: Duration = Duration::from_millis(2);

/// What makes an OK true in this epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `server_uuid` of the recorded ackers.
    pub ackers: Vec<Uuid>,
    /// At how many of them a commit has to be.
    pub count: usize,
    /// The primary and its count of commits without an acknowledgement, while it keeps the guarantee.
    pub kept: Option<(Uuid, u64)>,
}

/// What the primary says of its own commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vouch {
    /// When the session was opened in which it was asked.
    pub since: Instant,
    /// When it was asked.
    pub asked: Instant,
    /// Which server.
    pub server: Uuid,
    /// Commits without an acknowledgement since its start, while it waits for them (`Rpl_semi_sync_source_no_tx`).
    pub unacknowledged: u64,
}

/// What one server was seen to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which server.
    pub server: Uuid,
    /// Executed or received.
    pub has: GtidSet,
}

/// What is known of all instances. See the module's documentation.
#[derive(Debug)]
pub struct Receipts {
    rule: ArcSwapOption<Rule>,
    doubted: AtomicBool,
    slots: Box<[Slot]>,
    vouch: ArcSwapOption<Vouch>,
    waiters: AtomicUsize,
    news: Notify,
}

#[derive(Debug, Default)]
struct Slot {
    receipt: ArcSwapOption<Receipt>,
    wanted: Notify,
}

impl Receipts {
    pub(super) fn new(instances: usize) -> Self {
        Self {
            rule: ArcSwapOption::empty(),
            doubted: AtomicBool::new(false),
            slots: (0..instances).map(|_| Slot::default()).collect(),
            vouch: ArcSwapOption::empty(),
            waiters: AtomicUsize::new(0),
            news: Notify::new(),
        }
    }

    /// `None`: commits wait for nobody, so there is nothing to prove.
    pub(super) fn set_rule(&self, rule: Option<Rule>) {
        let known = self.rule.load();
        if known.as_deref() != rule.as_ref() {
            self.rule.store(rule.map(Arc::new));
            self.news.notify_waiters();
        }
    }

    pub(super) fn set_doubted(&self, doubted: bool) {
        self.doubted.store(doubted, Ordering::SeqCst);
    }

    /// Whether a commit answered after `took` has to be seen at the ackers before the client hears of it.
    pub fn must_be_seen(&self, took: Duration) -> bool {
        (took > LATE || self.doubted.load(Ordering::SeqCst)) && self.rule.load().is_some()
    }

    /// Waits until enough ackers have all of `written`, until the primary vouches for what was sent to it after `begun` and
    /// answered before `now`, or until nothing has to be proved any more. Has no end of its own.
    pub async fn seen(&self, written: &GtidSet, begun: Instant, now: Instant) {
        let _waiting = Waiting::begin(self);
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on no news is missed.
            news.as_mut().enable();
            if self.is_vouched(begun, now) || self.are_at_ackers(written) {
                return;
            }
            news.await;
        }
    }

    fn is_vouched(&self, begun: Instant, answered: Instant) -> bool {
        let (rule, vouch) = (self.rule.load(), self.vouch.load());
        let (Some(rule), Some(vouch)) = (rule.as_ref(), vouch.as_ref()) else { return false };
        let in_one_life = vouch.since <= begun && vouch.asked >= answered;
        in_one_life && rule.kept == Some((vouch.server, vouch.unacknowledged))
    }

    fn are_at_ackers(&self, written: &GtidSet) -> bool {
        let Some(rule) = self.rule.load_full() else { return true };
        let has = |slot: &&Slot| {
            let receipt = slot.receipt.load();
            receipt.as_ref().is_some_and(|receipt| {
                rule.ackers.contains(&receipt.server) && receipt.has.contains_set(written)
            })
        };
        self.slots.iter().filter(has).count() >= rule.count
    }

    /// Takes note of what an observer saw.
    pub fn note(&self, instance: InstanceId, receipt: Receipt) {
        let Some(slot) = self.slots.get(instance.index()) else { return };
        slot.receipt.store(Some(Arc::new(receipt)));
        self.news.notify_waiters();
    }

    /// Takes note of what a server that waits for acknowledgements said.
    pub fn note_vouch(&self, vouch: Vouch) {
        self.vouch.store(Some(Arc::new(vouch)));
        self.news.notify_waiters();
    }

    /// Nothing is known of an instance any more.
    pub fn forget(&self, instance: InstanceId) {
        if let Some(slot) = self.slots.get(instance.index()) {
            slot.receipt.store(None);
        }
    }

    /// Whether somebody waits, and how long an observer pauses between two looks then.
    pub fn pace(&self) -> Option<Duration> {
        (self.waiters.load(Ordering::SeqCst) > 0).then_some(WANTED)
    }

    /// Ends when somebody begins to wait.
    pub async fn wanted(&self, instance: InstanceId) {
        match self.slots.get(instance.index()) {
            Some(slot) => slot.wanted.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// A commit waiting to be seen; counted for as long as it lives.
struct Waiting<'r>(&'r Receipts);

impl<'r> Waiting<'r> {
    fn begin(receipts: &'r Receipts) -> Self {
        receipts.waiters.fetch_add(1, Ordering::SeqCst);
        receipts.slots.iter().for_each(|slot| slot.wanted.notify_one());
        Self(receipts)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
    use super::*;

    const SOURCE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(last: u64) -> GtidSet {
        format!("{SOURCE}:1-{last}").parse().unwrap()
    }

    fn receipt(server: u128, last: u64) -> Receipt {
        Receipt { server: Uuid::from_u128(server), has: set(last) }
    }

    fn two_of_three() -> Receipts {
        let receipts = Receipts::new(4);
        let ackers = (1..=3).map(Uuid::from_u128).collect();
        receipts.set_rule(Some(Rule { ackers, count: 2, kept: Some((Uuid::from_u128(9), 7)) }));
        receipts
    }

    #[test]
    fn only_what_is_late_or_in_doubt_is_looked_for() {
        let receipts = two_of_three();
        assert!(!receipts.must_be_seen(LATE) && receipts.must_be_seen(LATE + Duration::from_millis(1)));
        receipts.set_doubted(true);
        assert!(receipts.must_be_seen(Duration::ZERO));
        receipts.set_rule(None);
        assert!(!receipts.must_be_seen(2 * LATE));
    }

    #[tokio::test]
    async fn so_many_recorded_ackers_must_have_it() {
        let receipts = two_of_three();
        let (waited, written) = (set(5), set(5));
        let mut seen = std::pin::pin!(receipts.seen(&waited, Instant::now(), Instant::now()));
        let mut ended = || is_ready(seen.as_mut());
        assert!(!ended() && receipts.pace() == Some(WANTED));
        receipts.note(InstanceId(0), receipt(9, 9));
        receipts.note(InstanceId(1), receipt(1, 5));
        receipts.note(InstanceId(2), receipt(2, 4));
        assert!(!ended(), "a stranger does not count, nor one who has less");
        receipts.forget(InstanceId(1));
        receipts.note(InstanceId(2), receipt(2, 6));
        assert!(!ended(), "what was forgotten does not count");
        receipts.note(InstanceId(3), receipt(3, 5));
        assert!(ended());
        assert!(receipts.are_at_ackers(&written));
    }

    #[tokio::test]
    async fn the_primary_may_vouch_for_what_it_answered_before() {
        let receipts = two_of_three();
        let (written, now) = (set(5), Instant::now());
        let before = now.checked_sub(Duration::from_millis(1)).unwrap();
        let mut seen = std::pin::pin!(receipts.seen(&written, before, now));
        let mut ended = || is_ready(seen.as_mut());
        let vouch = Vouch { since: before, asked: now, server: Uuid::from_u128(9), unacknowledged: 7 };
        for wrong in [
            Vouch { server: Uuid::from_u128(1), ..vouch },
            Vouch { unacknowledged: 8, ..vouch },
            Vouch { asked: before, ..vouch },
            // It may have been started again since the statement was sent.
            Vouch { since: now, ..vouch },
        ] {
            receipts.note_vouch(wrong);
            assert!(!ended(), "{wrong:?}");
        }
        receipts.note_vouch(vouch);
        assert!(ended());
    }

    /// Polls once.
    fn is_ready<F: Future<Output = ()>>(future: std::pin::Pin<&mut F>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.poll(&mut context).is_ready()
    }
}
