//! One client: its login, the loop over its commands, and what of it survives a change of the primary.
//!
//! The life of a statement: [`command`] takes it from the client, [`statement`] runs it: [`place`] decides
//! where (asking `sluice_routing`), waits at the gate and makes the connection ready, [`relay`] passes the
//! bytes both ways, [`settle`] learns from the answer. [`failure`] is the one place where something that went
//! wrong becomes an answer to the client.
//!
//! Never here: a word with the controller (sessions only read the topology feed), SQL of our own beyond what
//! restores a session, a packet's layout.

mod about_session;
mod backends;
mod binlog;
pub mod client_stream;
mod command;
mod failure;
mod freshness;
mod hints;
mod holding;
mod interrupt;
mod kill;
mod kill_target;
mod last_statement;
mod left;
pub mod login;
mod lull;
pub mod memory;
mod metrics;
mod moves;
mod own_trackers;
mod place;
mod prepared;
mod prepared_commands;
mod put_off;
mod questions;
mod read_only;
mod reads;
mod relay;
mod repeat;
mod second_try;
mod settle;
mod sharing;
mod state;
mod statement;
mod stream_watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sluice_protocol::{Capabilities, StatusFlags};
use sluice_routing::decide::{Fallback, Listener};
use sluice_routing::intent::{Statement, classify_vouching};
use sluice_routing::last_statement::Question;
use sluice_routing::lexer::LexMode;
use sluice_routing::pin::PinReason;
use sluice_routing::read_only::Seen;
use sluice_routing::session_facts::SessionFacts;
use sluice_routing::topology::InstanceId;
use sluice_routing::vouched::{Vouched, Vouching};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::backend::{BackendLogin, PacketStream};
use crate::config::{Pooling, ReadScope, Sessions};
use crate::feed::Feed;
use crate::feed::gate::Seat;
use crate::feed::registry::{self, Activity, Registration};
use backends::{Backend, DialTask};
use command::ClientCommand;
use failure::Failure;
use freshness::Reading;
use hints::Hints;
use holding::Backends;
use left::Left;
use login::{LoggedIn, LoginContext, Place};
use lull::{LULL, Lull};
use memory::Charge;
pub use metrics::Metrics;
use prepared::Statements;
use sharing::SessionPools;
pub use sharing::keep_pool;
use state::SessionState;

/// What all sessions of the process share.
pub struct SessionContext {
    /// The topology feed.
    pub feed: Arc<Feed>,
    /// Greeting, accounts and dialling.
    pub login: LoginContext,
    /// Longest time a statement waits at the gate or for a primary.
    pub hold: Duration,
    live: ArcSwap<Live>,
    /// Counters.
    pub metrics: Metrics,
    /// KILLs that may be under way at once; see [`kill`].
    kills: Semaphore,
    /// Whether connections are shared.
    pub pooling: Pooling,
    pools: Arc<SessionPools>,
}

/// Prepared statements that all our connections to one instance may have together: MySQL's default
/// `max_prepared_stmt_count` is 16382, for all clients of the server.
const STATEMENTS_PER_INSTANCE: usize = 16_000;
/// Bounds of what follows from it for one connection.
const STATEMENTS_PER_CONNECTION: std::ops::RangeInclusive<usize> = 16..=256;

impl SessionContext {
    /// A context with the default scope of fresh reads and empty pools.
    pub fn new(feed: Arc<Feed>, login: LoginContext, hold: Duration, replica_fallback: Fallback) -> Self {
        let pools = SessionPools::new(feed.gate().workers(), Arc::clone(login.backend_places()));
        Self {
            feed,
            login,
            hold,
            live: ArcSwap::from_pointee(Live {
                replica_fallback,
                freshness: ReadScope::User,
                triggers: Triggers::MayLeaveAnything,
                harmless_functions: Vouched::default(),
            }),
            metrics: Metrics::new(),
            kills: Semaphore::new(kill::KILLS_AT_ONCE),
            pooling: Pooling::Transaction,
            pools,
        }
    }

    /// The idle connections.
    pub(crate) fn pools(&self) -> &Arc<SessionPools> {
        &self.pools
    }

    /// Most statements that are kept prepared on one backend connection.
    pub(crate) fn statements_per_connection(&self) -> usize {
        let share = STATEMENTS_PER_INSTANCE / self.pools.places().limit().max(1);
        share.clamp(*STATEMENTS_PER_CONNECTION.start(), *STATEMENTS_PER_CONNECTION.end())
    }
}

/// What a reload may change.
#[derive(Clone, Debug)]
struct Live {
    replica_fallback: Fallback,
    freshness: ReadScope,
    triggers: Triggers,
    harmless_functions: Vouched,
}

/// What triggers may leave on a connection without a word of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Triggers {
    MayLeaveAnything,
    /// The owner vouches for it.
    LeaveNothing,
}

impl SessionContext {
    /// Whether reads of the replica listener fall back to the primary.
    pub fn replica_fallback(&self) -> Fallback {
        self.live.load().replica_fallback
    }

    /// What reads must be able to see.
    pub fn freshness(&self) -> ReadScope {
        self.live.load().freshness
    }

    fn triggers(&self) -> Triggers {
        self.live.load().triggers
    }

    /// Lets other settings take effect: `freshness` for sessions that begin from now on.
    pub fn apply(&self, settings: &Sessions) {
        let replica_fallback = if settings.replica_fallback { Fallback::ToPrimary } else { Fallback::Refuse };
        let triggers = match settings.triggers_leave_nothing {
            true => Triggers::LeaveNothing,
            false => Triggers::MayLeaveAnything,
        };
        let harmless_functions = settings.harmless_functions.clone();
        let freshness = settings.freshness;
        self.live.store(Arc::new(Live { replica_fallback, freshness, triggers, harmless_functions }));
    }
}

/// Why a session ended. A metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// COM_QUIT, or the client closed its connection between commands.
    ClientLeft,
    /// The client's connection failed.
    ClientLost,
    /// An answer was given after which nothing true could follow.
    Failed,
    /// Ordered from outside: KILL or shutdown.
    Ordered,
    /// COM_CHANGE_USER was refused.
    ChangeUserRefused,
}

/// One logged-in client.
struct Session {
    context: Arc<SessionContext>,
    client: PacketStream,
    login: BackendLogin,
    /// The worker that serves it.
    worker: usize,
    registration: Registration,
    listener: Listener,
    seat: Seat,
    shape: watch::Receiver<u64>,
    state: SessionState,
    facts: SessionFacts,
    status: StatusFlags,
    statements: Statements,
    backends: Backends,
    /// How the open transaction, if there is one, began.
    transaction: Transaction,
    /// What it has seen of its server.
    seen: Seen,
    /// Where an open transaction or other state that can't move lives.
    home: Option<InstanceId>,
    /// Where the last statement ran: SHOW WARNINGS and its like belong there.
    last: Option<InstanceId>,
    /// What it left for questions about it.
    left: Left,
    /// The question about it that is under way.
    asking: Option<Question>,
    /// Whether that is of use only on the connection that it is about.
    asks_only_there: bool,
    /// A BEGIN that was answered and waits for the statement after it.
    put_off: Option<Box<put_off::PutOff>>,
    /// How it can be run again elsewhere.
    repeatable: repeat::Repeatable,
    /// A procedure was called, and it is not known yet whether it has left a temporary table behind.
    called_procedure: bool,
    /// The replica this session stays on.
    replica: Option<InstanceId>,
    /// Replicas that could not be used, and until when each is left alone.
    shunned: Vec<(InstanceId, Instant)>,
    /// What it must be able to read.
    reading: Reading,
    /// A failure that happened while no command was under way; the next one gets it.
    owed: Option<Failure>,
    /// What the client asked of us for the current statement.
    hints: Hints,
    /// The session trackers that the client switched on for itself.
    own_trackers: own_trackers::OwnTrackers,
    /// Boxed, as most of the time there is none.
    warming: Option<Box<Warming>>,
    /// The number of the packet that begins the answer to the current command.
    answer_sequence: u8,
    /// Memory of a large command under way.
    large_command: Option<Charge>,
    /// Memory of the texts of prepared statements.
    texts: Option<Charge>,
    /// Its place among the clients, given back at its end.
    _place: Place,
}

/// How a transaction began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    /// By BEGIN or the like.
    Explicit,
    /// By a statement, while autocommit is off.
    Implicit,
}

/// A connection being opened ahead of a switchover.
struct Warming {
    generation: u64,
    target: InstanceId,
    dial: DialTask,
    /// What the dial brought, once it has ended (`None` inside: nothing).
    opened: Option<Option<crate::backend::BackendConnection>>,
}

/// Serves one client from its first byte to its last.
///
/// A task is as large as the largest state it ever waits in, and a client is idle most of its life: what is rare or short
/// is boxed where it is waited for.
pub fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    listener: Listener,
    worker: usize,
    context: Arc<SessionContext>,
) -> impl Future<Output = ()> + Send {
    let welcome = Box::pin(welcome(tcp, peer, listener, worker, context));
    async {
        let Some(mut session) = welcome.await else { return };
        let end = session.run().await;
        session.context.metrics.session_ended(end);
        tracing::debug!(session = session.registration.entry().id, ?end, "session ended");
    }
}

/// Logs one client in; `None` if it is not let in, which it has been told and the login has counted.
async fn welcome(
    mut tcp: TcpStream,
    mut peer: SocketAddr,
    listener: Listener,
    worker: usize,
    context: Arc<SessionContext>,
) -> Option<Box<Session>> {
    if context.login.is_proxy(peer.ip()) {
        match client_stream::proxied_peer(&mut tcp, peer).await {
            Ok(client) => peer = client,
            Err(error) => {
                context.login.without_header(peer, &error);
                return None;
            }
        }
    }
    let registration = registry::register(&context.feed, peer, listener);
    let logged_in = login::login(tcp, registration.entry(), &context.login).await.ok()?;
    context.metrics.session_began();
    let LoggedIn { client, login, mode, first_backend, place } = logged_in;
    let mut session = Box::new(Session::new(context, client, login, registration, place, worker));
    session.begin(mode, first_backend);
    Some(session)
}

impl Session {
    fn new(
        context: Arc<SessionContext>,
        client: PacketStream,
        mut login: BackendLogin,
        registration: Registration,
        place: Place,
        worker: usize,
    ) -> Self {
        let schema = login.database.take().map(|schema| schema.into_vec());
        let listener = registration.entry().listener;
        let reading = Reading::new(context.freshness(), &context.feed, &login.user);
        Self {
            client,
            login,
            worker,
            listener,
            seat: context.feed.gate().seat(worker),
            shape: context.feed.shape_changes(),
            state: SessionState::after_login(schema),
            facts: SessionFacts::default(),
            status: StatusFlags::AUTOCOMMIT,
            statements: Statements::default(),
            backends: Backends::default(),
            transaction: Transaction::Implicit,
            seen: Seen::default(),
            home: None,
            last: None,
            left: Left::default(),
            asking: None,
            asks_only_there: false,
            put_off: None,
            repeatable: repeat::Repeatable::No,
            called_procedure: false,
            replica: None,
            shunned: Vec::new(),
            reading,
            owed: None,
            hints: Hints::default(),
            own_trackers: own_trackers::OwnTrackers::default(),
            warming: None,
            answer_sequence: 1,
            large_command: None,
            texts: None,
            _place: place,
            registration,
            context,
        }
    }

    /// Begins as the login left it: with the connection that verified it, if there is one, which has the schema
    /// already.
    fn begin(&mut self, mode: LexMode, first: Option<crate::backend::BackendConnection>) {
        self.facts = SessionFacts::new(mode);
        if let Some(schema) = self.state.schema() {
            self.facts.observe_schema(schema);
        }
        if let Some(connection) = first {
            let instance = connection.instance;
            self.backends.insert(Backend::new(connection, Arc::clone(self.state.settings())));
            self.tie_to_login(instance);
        }
    }

    /// Without a secret there can be no other connection: the session belongs to the one on which its client has
    /// logged in.
    fn tie_to_login(&mut self, instance: InstanceId) {
        let backend = self.backends.get_mut(instance);
        let Some(backend) = backend.filter(|_| self.login.secret.is_none()) else { return };
        self.registration.entry().set_backend(Some((instance, backend.connection.thread_id)));
        self.facts.hold(PinReason::ClientLogin, None);
        self.home = Some(instance);
        let on_primary = self.context.feed.topology().is_primary(instance);
        self.replica = (!on_primary).then_some(instance);
        self.publish_facts();
    }

    /// What a text of the client is.
    fn classify(&self, text: &[u8]) -> Statement {
        let live = self.context.live.load();
        let vouching = Vouching { functions: &live.harmless_functions, schema: self.state.schema() };
        classify_vouching(text, self.facts.mode(), vouching)
    }

    fn client_capabilities(&self) -> Capabilities {
        self.login.client_capabilities
    }

    /// The loop over the client's commands.
    async fn run(&mut self) -> End {
        self.registration.entry().set_activity(Activity::Idle);
        // A switchover may have begun during the login.
        self.follow_shape(true);
        let mut last = None;
        loop {
            let command = match self.next_command(None).await {
                Ok(Some(command)) => command,
                // Without a timer there is no lull.
                Ok(None) => continue,
                Err(end) => return end,
            };
            let now = Instant::now();
            // Thousands of clients that log in, ask once and are idle must not have it all at a time.
            let busy = last.replace(now).is_some_and(|last| now.duration_since(last) < LULL);
            let ran = match busy {
                true => Box::pin(self.run_until_lull(command)).await,
                false => Box::pin(self.run_one(command)).await,
            };
            if let Err(end) = ran {
                return end;
            }
        }
    }

    async fn run_one(&mut self, command: ClientCommand) -> Result<(), End> {
        let ended = self.execute(command).await;
        self.registration.entry().set_activity(Activity::Idle);
        self.large_command = None;
        self.answer_sequence = 1;
        ended?;
        self.after_command().await;
        Ok(())
    }

    /// Runs this command and those after it, until the client sends none for a while.
    async fn run_until_lull(&mut self, first: ClientCommand) -> Result<(), End> {
        let mut timer = std::pin::pin!(lull::timer());
        let mut lull = Lull::new(timer.as_mut());
        let mut next = Some(first);
        while let Some(command) = next {
            lull.end();
            self.run_one(command).await?;
            next = self.next_command(Some(&mut lull)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that a function of five arguments returns, in bytes.
    fn task<A, B, C, D, E, R>(_: impl Fn(A, B, C, D, E) -> R) -> usize {
        size_of::<R>()
    }

    fn commands<'a, R>(_: impl Fn(&'a mut Session, ClientCommand) -> R) -> usize {
        size_of::<R>()
    }

    /// Beside them an idle client has an entry in the registry and what its login said. What runs its statements is boxed
    /// until it pauses.
    #[test]
    fn an_idle_session_owns_almost_nothing() {
        let (waiting, session) = (task(serve), size_of::<Session>());
        assert!(waiting <= 600, "what waits for a client's next command: {waiting} bytes");
        let running = commands(Session::run_until_lull);
        assert!(running <= 5500, "what runs commands until the next lull: {running} bytes");
        assert!(session <= 1000, "a session's state: {session} bytes");
    }
}
