//! The sessions of this process as others may see them.
//!
//! A session updates its own [`Entry`] with plain atomics; `sluice sessions`, the dry run of a switchover,
//! KILL and the drain read it. Nothing here locks on the path of a statement.
//!
//! Never here: a session's protocol state, a decision what to do with a session.

mod activity;
mod bell;
mod slot;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use sluice_routing::decide::Listener;
use sluice_routing::topology::InstanceId;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use activity::{Activity, RouteNote};
use bell::Bell;
pub use slot::{CONNECTION_ID_BASE, slot_of, slot_of_host};

/// All sessions by connection id.
#[derive(Debug, Default)]
pub struct Registry {
    sessions: Mutex<BTreeMap<u32, Arc<Entry>>>,
    next_id: AtomicU32,
    slot: AtomicU8,
    warmed: Notify,
    left: Notify,
}

/// What somebody else asks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Order {
    /// Nothing.
    None = 0,
    /// End the open transaction on the server; the client is told *rolled back* (1213). A session that holds
    /// state that cannot move is closed as *not executed* (1053).
    RollBack = 1,
    /// Close as soon as no transaction is open (process shutdown).
    CloseAtBoundary = 2,
    /// Close now (KILL CONNECTION of a session without a backend connection; end of a grace period).
    Close = 3,
}

/// One session as others see it.
#[derive(Debug)]
pub struct Entry {
    /// The connection id the client was greeted with.
    pub id: u32,
    /// Where the client connected from.
    pub peer: SocketAddr,
    /// The listener it came through.
    pub listener: Listener,
    /// When it connected.
    pub connected_at: Instant,
    user: ArcSwapOption<Box<str>>,
    transaction_since: AtomicU64,
    begin_waits: AtomicBool,
    pins: AtomicU32,
    activity: AtomicU8,
    route: AtomicU16,
    statements: AtomicU64,
    backend: AtomicU64,
    warm_generation: AtomicU64,
    kills: AtomicU32,
    order: AtomicU8,
    bell: Bell,
}

/// A KILL for a session is under way. As long as this lives, the session keeps the connection it has, so that
/// the KILL can't hit anybody else.
#[derive(Debug)]
pub struct KillUnderWay {
    entry: Arc<Entry>,
}

impl Drop for KillUnderWay {
    fn drop(&mut self) {
        self.entry.kills.fetch_sub(1, Ordering::SeqCst);
        // It may now give its connection back.
        self.entry.bell.ring();
    }
}

/// Whether a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// No.
    No,
    /// Its BEGIN was answered and waits for the statement after it: no server has heard of it.
    ForClient,
    /// Yes.
    OnServer,
}

/// Server thread ids are 32 bits on the wire; the instance is kept above them, plus one so that 0 is none.
const INSTANCE_SHIFT: u32 = 32;

impl Entry {
    fn millis_since_connect(&self) -> u64 {
        u64::try_from(self.connected_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The account name the client logged in with last; `None` before login.
    pub fn user(&self) -> Option<Arc<Box<str>>> {
        self.user.load_full()
    }

    /// Records the account name, at login and at each change of user.
    pub fn set_user(&self, user: &str) {
        self.user.store(Some(Arc::new(user.into())));
    }

    /// Notes that a transaction is open (keeps the time of the first note) or that none is.
    pub fn set_transaction(&self, open: Open) {
        self.begin_waits.store(open == Open::ForClient, Ordering::Relaxed);
        if open == Open::No {
            self.transaction_since.store(0, Ordering::Relaxed);
        } else if self.transaction_since.load(Ordering::Relaxed) == 0 {
            self.transaction_since.store(self.millis_since_connect() + 1, Ordering::Relaxed);
        }
    }

    /// Since when a transaction has been open on a server, counted from the client's BEGIN.
    pub fn transaction_since(&self) -> Option<Instant> {
        self.begun_since().filter(|_| !self.begin_waits.load(Ordering::Relaxed))
    }

    /// Since when the client has been in a transaction, whether a server has heard of it or not.
    pub fn begun_since(&self) -> Option<Instant> {
        let at = self.transaction_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.connected_at + std::time::Duration::from_millis(at))
    }

    /// Records why the session can't move, as the bit set of `PinReason`s.
    pub fn set_pins(&self, bits: u32) {
        self.pins.store(bits, Ordering::Relaxed);
    }

    /// Why the session can't move, as the bit set of `PinReason`s; 0 when it can.
    pub fn pins(&self) -> u32 {
        self.pins.load(Ordering::Relaxed)
    }

    /// Says what the session does.
    pub fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// What the session does.
    pub fn activity(&self) -> Activity {
        Activity::from_number(self.activity.load(Ordering::Relaxed))
    }

    /// Says where the current statement goes, and why.
    pub fn set_route(&self, route: RouteNote) {
        self.route.store(route.number(), Ordering::Relaxed);
    }

    /// Where the current or last statement went, and why; `None` before the first.
    pub fn route(&self) -> Option<RouteNote> {
        RouteNote::from_number(self.route.load(Ordering::Relaxed))
    }

    /// Counts one more statement.
    pub fn count_statement(&self) {
        // Only the session's own task writes, so load and store suffice.
        self.statements.store(self.statements.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Statements so far.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Records on which server thread the current statement runs; this is what a KILL is sent to.
    pub fn set_backend(&self, backend: Option<(InstanceId, u32)>) {
        let word = backend.map_or(0, |(instance, thread)| {
            (u64::from(instance.0) + 1) << INSTANCE_SHIFT | u64::from(thread)
        });
        // In one order with `kills`: who kills counts first and looks then, the session clears first and counts
        // then.
        self.backend.store(word, Ordering::SeqCst);
    }

    /// Says that a KILL for this session begins; look at [`Self::backend`] only afterwards.
    pub fn begin_kill(self: &Arc<Self>) -> KillUnderWay {
        self.kills.fetch_add(1, Ordering::SeqCst);
        KillUnderWay { entry: Arc::clone(self) }
    }

    /// Whether a KILL may be on its way to the server thread that the session had last. Ask after
    /// [`Self::set_backend`].
    pub fn is_being_killed(&self) -> bool {
        self.kills.load(Ordering::SeqCst) > 0
    }

    /// The server thread of the current or last statement; `None` while the session has no connection.
    pub fn backend(&self) -> Option<(InstanceId, u32)> {
        let word = self.backend.load(Ordering::SeqCst);
        let instance = u16::try_from((word >> INSTANCE_SHIFT).checked_sub(1)?).ok()?;
        let thread = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        Some((InstanceId(instance), thread))
    }

    /// The epoch of the last warm-up that this session has finished.
    pub fn warm_generation(&self) -> u64 {
        self.warm_generation.load(Ordering::Acquire)
    }

    /// Asks the session for something. A stronger order replaces a weaker one; it is never taken back.
    pub fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::SeqCst);
        self.bell.ring();
    }

    /// What is asked of the session, taking back a [`Order::RollBack`], which is obeyed once.
    pub fn take_order(&self) -> Order {
        let (roll_back, none) = (Order::RollBack as u8, Order::None as u8);
        if self.order.compare_exchange(roll_back, none, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return Order::RollBack;
        }
        self.peek_order()
    }

    /// What is asked of the session, leaving it asked.
    pub fn peek_order(&self) -> Order {
        match self.order.load(Ordering::SeqCst) {
            1 => Order::RollBack,
            2 => Order::CloseAtBoundary,
            3 => Order::Close,
            _ => Order::None,
        }
    }

    /// Ready once somebody wants the session to look around: there is an order, a KILL is over, or the topology's
    /// shape has changed. Only the session's own task may ask.
    pub fn poll_called(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.bell.poll_rung(cx)
    }

    /// Waits for that.
    pub async fn called(&self) {
        std::future::poll_fn(|cx| self.poll_called(cx)).await;
    }
}

/// Takes the session out of the registry when dropped.
#[derive(Debug)]
pub struct Registration {
    entry: Arc<Entry>,
    feed: Arc<super::Feed>,
}

impl Registration {
    /// The entry of this session.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Says that this session has done what it can for warm-up `generation`.
    pub fn set_warmed(&self, generation: u64) {
        self.entry.warm_generation.store(generation, Ordering::Release);
        self.feed.registry.warmed.notify_one();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.feed.registry.lock().remove(&self.entry.id);
        self.feed.registry.warmed.notify_one();
        self.feed.registry.left.notify_waiters();
    }
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Entry>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the slot that stands in the ids of sessions from now on; once, at start.
    pub fn set_slot(&self, slot: u8) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The slot of this Sluice.
    pub fn slot(&self) -> u8 {
        self.slot.load(Ordering::Relaxed)
    }

    /// Sessions at this moment.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session with this connection id.
    pub fn get(&self, id: u32) -> Option<Arc<Entry>> {
        self.lock().get(&id).cloned()
    }

    /// All sessions, by connection id.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.lock().values().cloned().collect()
    }

    /// Has every session look around.
    pub(super) fn call_all(&self) {
        // Not under the lock: some of them may end at once and want it.
        for entry in self.all() {
            entry.bell.ring();
        }
    }

    /// Waits until there is no session.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Waits until there is no session, at most for `limit`.
    pub async fn emptied_or(&self, limit: std::time::Duration) {
        // Either way the caller goes on.
        let _ = tokio::time::timeout(limit, self.emptied()).await;
    }

    /// Waits until every session with a use for the primary has finished warm-up `generation`, or until
    /// `deadline`; returns how many have not.
    pub async fn warmed(&self, generation: u64, deadline: Instant) -> usize {
        loop {
            let cold = self
                .lock()
                .values()
                .filter(|entry| entry.listener != Listener::Replica && entry.user().is_some())
                .filter(|entry| entry.warm_generation() < generation)
                .count();
            if cold == 0 || tokio::time::timeout_at(deadline, self.warmed.notified()).await.is_err() {
                return cold;
            }
        }
    }
}

/// Registers a new session under a fresh connection id.
pub fn register(feed: &Arc<super::Feed>, peer: SocketAddr, listener: Listener) -> Registration {
    let registry = &feed.registry;
    let mut sessions = registry.lock();
    let id = loop {
        let count = registry.next_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let id = slot::connection_id(registry.slot(), count);
        if !sessions.contains_key(&id) {
            break id;
        }
    };
    let entry = Arc::new(Entry {
        id,
        peer,
        listener,
        connected_at: Instant::now(),
        user: ArcSwapOption::empty(),
        transaction_since: AtomicU64::new(0),
        begin_waits: AtomicBool::new(false),
        pins: AtomicU32::new(0),
        activity: AtomicU8::new(Activity::Login as u8),
        route: AtomicU16::new(0),
        statements: AtomicU64::new(0),
        backend: AtomicU64::new(0),
        warm_generation: AtomicU64::new(0),
        kills: AtomicU32::new(0),
        order: AtomicU8::new(Order::None as u8),
        bell: Bell::default(),
    });
    sessions.insert(id, Arc::clone(&entry));
    drop(sessions);
    Registration { entry, feed: Arc::clone(feed) }
}
