//! Looks at every instance: one persistent session each, a look every second, a pulse in between, and a
//! fresh login every five seconds.
//!
//! A probe is always a full login, never a bare connect, with one deadline over all of it. An instance has
//! one look and one fresh login under way at most, so a hung server collects nothing. The persistent session
//! also holds the cluster's lock on its server.
//!
//! Never here: a verdict, a statement that changes anything but the lock and the host cache.

mod group;
mod sight;

use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::board::Board;
use super::clock;
use super::control_session::{ControlSession, Rows, SqlError, Target};
use super::events::EventsView;
use super::record::EpochRow;
use super::statements;
use super::view::{
    BootView, ChannelView, LockView, PROBE_EVERY, Reach, SemiSyncView, ServerView, Switch, Thread,
};
use crate::config::Config;
use crate::feed::Feed;
pub(super) use group::Observers;
use sight::Woken;

/// One deadline over name, connect, greeting, TLS, login and all queries of a look.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// Between two pulses: how old what the controller sees of a server may be.
const PULSE_EVERY: Duration = Duration::from_millis(250);
/// A server that leaves one of the looks in between unanswered for so long missed it.
const PULSE_DEADLINE: Duration = Duration::from_millis(1500);
/// Between two fresh logins.
const LOGIN_EVERY: Duration = Duration::from_secs(5);
/// Between the dials after a refusal: two refusals this far apart are not a restart of a listener.
const REFUSED_AGAIN: Duration = Duration::from_millis(200);
/// Commands waiting for one observer; more than the run loop can have outstanding.
const COMMANDS: usize = 8;
/// Error codes that say "not with this login".
const SATURATED: u16 = 1040;
/// The server stops.
const STOPPING: u16 = 1053;
/// How the error of a fresh login begins when `max_connect_errors` has blocked our address.
const HOST_BLOCKED: &str = "error 1129";
/// No such table, no such schema: a server without epoch rows.
const NO_EPOCH_TABLE: [u16; 2] = [1146, 1049];

/// What can be asked of the observer of one instance.
enum Command {
    Look,
    TakeLock(oneshot::Sender<bool>),
    ReleaseLock(oneshot::Sender<bool>),
}

/// The name of the lock that a Sluice holds on every server of its cluster.
pub(super) fn lock_name(config: &Config) -> String {
    format!("sluice:{}", config.cluster.name)
}

struct Watcher {
    index: usize,
    target: Target,
    admin: Option<Target>,
    lock: String,
    board: Arc<Board>,
    feed: Arc<Feed>,
    commands: mpsc::Receiver<Command>,
    session: Option<ControlSession>,
    refused: u32,
    /// Connection ids of former sessions: a lock held by one of them is a zombie of ours.
    former: Vec<u64>,
}

/// Former connection ids remembered; a server clears a dead connection long before so many follow.
const FORMER: usize = 16;

impl Watcher {
    async fn watch(mut self) {
        loop {
            let next = match timeout(LOOK_DEADLINE, self.look()).await {
                Ok(Ok(server)) => {
                    self.refused = 0;
                    self.note_seen(server);
                    match self.sight().await {
                        Ok(()) => PROBE_EVERY,
                        Err(error) => {
                            self.note_missed(&error);
                            Duration::ZERO
                        }
                    }
                }
                Ok(Err(error)) => self.note_failed(&error),
                Err(_) => self.note_failed(&SqlError::Timeout(LOOK_DEADLINE)),
            };
            if self.pause(next).await.is_none() {
                return;
            }
        }
    }

    fn id(&self) -> InstanceId {
        InstanceId(u16::try_from(self.index).unwrap_or(u16::MAX))
    }

    /// Waits for the next look, with sights and pulses in between; obeys commands. `None` when nobody is left to
    /// ask.
    async fn pause(&mut self, next: Duration) -> Option<()> {
        let until = Instant::now() + next;
        let mut pulse = Instant::now() + PULSE_EVERY;
        loop {
            match self.woken(until).await {
                Woken::By(None) => return None,
                Woken::By(Some(Command::Look)) => return Some(()),
                Woken::By(Some(Command::TakeLock(answer))) => {
                    let _ = answer.send(self.take_lock().await);
                    return Some(());
                }
                Woken::By(Some(Command::ReleaseLock(answer))) => {
                    let _ = answer.send(self.release_lock().await);
                    return Some(());
                }
                Woken::ToSee if Instant::now() >= until => return Some(()),
                Woken::ToSee => {
                    let mut seen = self.sight().await;
                    if seen.is_ok() && Instant::now() >= pulse {
                        pulse = Instant::now() + PULSE_EVERY;
                        seen = self.pulse().await;
                    }
                    if let Err(error) = seen {
                        self.note_missed(&error);
                        return Some(());
                    }
                }
            }
        }
    }

    async fn session(&mut self) -> Result<&mut ControlSession, SqlError> {
        if self.session.as_ref().is_none_or(|session| !session.is_usable()) {
            let opened = match (ControlSession::open(&self.target, LOOK_DEADLINE).await, &self.admin) {
                (Err(error), Some(admin)) if error.code() == Some(SATURATED) => {
                    ControlSession::open(admin, LOOK_DEADLINE).await?
                }
                (outcome, _) => outcome?,
            };
            self.session = Some(opened);
        }
        self.session.as_mut().ok_or(SqlError::Answer("no session"))
    }

    async fn look(&mut self) -> Result<ServerView, SqlError> {
        let lock = statements::lock_holder(&self.lock);
        let session = self.session().await?;
        let asked = clock::now();
        let pulse = session.rows(statements::PULSE, LOOK_DEADLINE).await?;
        let looked = clock::now();
        let channels = session.rows(statements::CHANNELS, LOOK_DEADLINE).await?;
        let settings = session.rows(statements::SETTINGS, LOOK_DEADLINE).await?;
        let epoch = match session.rows(statements::EPOCH_ROW, LOOK_DEADLINE).await {
            Err(error) if error.code().is_some_and(|code| NO_EPOCH_TABLE.contains(&code)) => Vec::new(),
            outcome => outcome?,
        };
        let events = session.rows(statements::events::EVENTS, LOOK_DEADLINE).await?;
        let holder = session.rows(&lock, LOOK_DEADLINE).await?;
        let mut server = read_pulse(&pulse)?;
        read_channels(&mut server, &channels);
        read_settings(&mut server, &settings);
        server.executed_in_look = Arc::clone(&server.executed);
        (server.executed_asked, server.executed_read) = (Some(asked), Some(looked));
        server.looked = Some(looked);
        server.events = Arc::new(EventsView::of(&events, server.read_only));
        server.epoch_row = epoch.first().and_then(|cells| EpochRow::parse(cells));
        server.lock = read_lock(&holder, server.connection);
        if let LockView::Elsewhere { connection, .. } = server.lock
            && self.former.contains(&connection)
        {
            // The session is lost, but the server has not noticed yet.
            self.session().await?.run(&statements::kill(connection), LOOK_DEADLINE).await?;
            server.lock = LockView::Free;
        }
        if self.board.view(self.index).is_some_and(|view| view.login.is_err_and(|e| e.contains(HOST_BLOCKED)))
        {
            // Whoever ran up max_connect_errors from our address: this session can still take the block away.
            self.session().await?.run(statements::UNBLOCK_HOSTS, LOOK_DEADLINE).await?;
        }
        if !self.former.contains(&server.connection) {
            let surplus = (self.former.len() + 1).saturating_sub(FORMER);
            self.former.drain(..surplus);
            self.former.push(server.connection);
        }
        Ok(server)
    }

    /// The cheap refresh between two looks.
    async fn pulse(&mut self) -> Result<(), SqlError> {
        let Some(session) = self.session.as_mut() else { return Ok(()) };
        let asked = clock::now();
        let fresh = read_pulse(&session.rows(statements::PULSE, PULSE_DEADLINE).await?)?;
        let read = clock::now();
        self.board.update(self.index, |view| {
            let Some(server) = view.server.as_mut().filter(|server| server.uuid == fresh.uuid) else {
                return;
            };
            let server = Arc::make_mut(server);
            server.executed_before = std::mem::replace(&mut server.executed, fresh.executed);
            server.executed_before_read = server.executed_read.replace(read);
            server.executed_asked = Some(asked);
            server.read_only = fresh.read_only;
            server.super_read_only = fresh.super_read_only;
            view.seen = Some(clock::now());
        });
        Ok(())
    }

    /// A pulse failed: what that says by itself is noted, and a look follows at once.
    fn note_missed(&mut self, error: &SqlError) {
        self.session = None;
        let (stopping, silent) = (error.code() == Some(STOPPING), matches!(error, SqlError::Timeout(_)));
        if stopping || silent {
            self.board.update(self.index, |view| {
                view.stopping |= stopping;
                view.failing_since.get_or_insert_with(clock::now);
                if silent {
                    view.reach = Reach::Silent;
                }
            });
        }
    }

    async fn take_lock(&mut self) -> bool {
        let sql = statements::get_lock(&self.lock);
        let Some(session) = self.session.as_mut() else { return false };
        matches!(session.rows(&sql, LOOK_DEADLINE).await, Ok(rows) if cell(&rows, 0, 0) == Some("1"))
    }

    async fn release_lock(&mut self) -> bool {
        let sql = statements::release_lock(&self.lock);
        let Some(session) = self.session.as_mut() else { return true };
        session.run(&sql, LOOK_DEADLINE).await.is_ok()
    }

    fn note_seen(&self, mut server: ServerView) {
        self.board.looked_at(self.index, |view| {
            let younger = |before: &Arc<ServerView>| {
                before.uptime > server.uptime || before.connection > server.connection
            };
            if view.server.as_ref().is_some_and(younger) {
                view.interrupted += 1;
            }
            server.follow_up(view.server.as_deref());
            view.seen = Some(clock::now());
            view.failing_since = None;
            view.stopping = false;
            view.reach = Reach::Answers;
            view.server = Some(Arc::new(server));
        });
    }

    /// Records a failed look and says when to look again.
    fn note_failed(&mut self, error: &SqlError) -> Duration {
        self.session = None;
        // Who can't be asked is not known to be fresh, and may come back with less.
        self.feed.progress().forget(self.id());
        self.feed.receipts().forget(self.id());
        let (reach, next) = match error {
            SqlError::Refused => {
                self.refused += 1;
                // A new run of the server gives the ids to others.
                self.former.clear();
                (Reach::Refused(self.refused), REFUSED_AGAIN)
            }
            SqlError::Timeout(_) => (Reach::Silent, REFUSED_AGAIN),
            SqlError::Server { code: SATURATED, .. } => (Reach::Saturated, PROBE_EVERY),
            SqlError::Server { code: STOPPING, .. } => (Reach::Broken(error.to_string()), REFUSED_AGAIN),
            SqlError::Server { .. } => (Reach::LoginFailed(error.to_string()), PROBE_EVERY),
            SqlError::Lost(_) | SqlError::Answer(_) => (Reach::Broken(error.to_string()), REFUSED_AGAIN),
        };
        self.board.looked_at(self.index, |view| {
            if reach == Reach::Refused(1) {
                view.interrupted += 1;
            }
            view.reach = reach;
            view.stopping |= error.code() == Some(STOPPING);
            view.failing_since.get_or_insert_with(clock::now);
        });
        next
    }
}

/// Logs in afresh from time to time: the persistent session can't notice that nobody gets in any more.
async fn fresh_logins(index: usize, target: Target, board: Arc<Board>) {
    loop {
        sleep(LOGIN_EVERY).await;
        if board.view(index).is_none_or(|view| view.reach != Reach::Answers) {
            continue;
        }
        let outcome = match ControlSession::open(&target, LOOK_DEADLINE).await {
            Ok(session) => {
                session.close(LOOK_DEADLINE).await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        board.update(index, |view| view.login = outcome);
    }
}

fn cell(rows: &Rows, row: usize, column: usize) -> Option<&str> {
    rows.get(row)?.get(column)?.as_deref()
}

fn read_pulse(rows: &Rows) -> Result<ServerView, SqlError> {
    let text = |column| cell(rows, 0, column).ok_or(SqlError::Answer("a value is missing"));
    let executed = Arc::new(text(4)?.parse().map_err(|_| SqlError::Answer("gtid_executed can't be read"))?);
    Ok(ServerView {
        uuid: text(0)?.parse().map_err(|_| SqlError::Answer("server_uuid can't be read"))?,
        version: text(1)?.into(),
        read_only: Switch::of(text(2)?),
        super_read_only: Switch::of(text(3)?),
        executed,
        connection: text(5)?.parse().unwrap_or_default(),
        committing: GtidSet::parse_owned(text(6)?).unwrap_or_default(),
        ..ServerView::default()
    })
}

fn read_channels(server: &mut ServerView, rows: &Rows) {
    for row in rows {
        let text = |column: usize| row.get(column).and_then(Option::as_deref).unwrap_or_default();
        if !text(0).is_empty() {
            server.other_channels.push(text(0).to_owned());
            continue;
        }
        let error = |column: usize| Some(text(column).to_owned()).filter(|error| !error.is_empty());
        server.channel = Some(ChannelView {
            host: text(1).to_owned(),
            port: text(2).parse().unwrap_or_default(),
            heartbeat: text(4).parse().unwrap_or_default(),
            source: text(5).parse().ok(),
            receiver: Thread::of(text(6)),
            received: text(7).parse().unwrap_or_default(),
            receiver_error: error(9).map(|message| format!("error {}: {message}", text(8))),
            applier: Thread::of(text(10)),
            applier_error: error(11),
            lag_ms: text(12).parse().unwrap_or_default(),
            auto_position: Switch::of(text(13)),
        });
    }
}

fn read_settings(server: &mut ServerView, rows: &Rows) {
    let mut semi_sync = SemiSyncView::default();
    let mut plugins = 0;
    let mut boot = Vec::new();
    let (mut log_bin, mut log_updates, mut load) = (Switch::Off, Switch::Off, Switch::Off);
    for row in rows {
        let [Some(name), value] = row.as_slice() else { continue };
        let value = value.as_deref().unwrap_or_default();
        let name = name.replace("master", "source").replace("slave", "replica");
        match name.as_str() {
            "rpl_semi_sync_source_enabled" => {
                semi_sync.waiting = Switch::of(value);
                plugins += 1;
            }
            "rpl_semi_sync_replica_enabled" => {
                semi_sync.acking = Switch::of(value);
                plugins += 1;
            }
            "rpl_semi_sync_source_status" => semi_sync.status = Switch::of(value),
            "rpl_semi_sync_source_clients" => semi_sync.clients = value.parse().unwrap_or_default(),
            "rpl_semi_sync_source_wait_for_replica_count" => {
                semi_sync.count = value.parse().unwrap_or_default();
            }
            "rpl_semi_sync_source_wait_no_replica" => semi_sync.strict = Switch::of(value),
            "rpl_semi_sync_source_timeout" => semi_sync.timeout_ms = value.parse().unwrap_or_default(),
            "rpl_semi_sync_source_wait_sessions" => {
                semi_sync.waiters = value.parse().unwrap_or_default();
            }
            "rpl_semi_sync_source_no_tx" => semi_sync.unacknowledged = value.parse().unwrap_or_default(),
            "rpl_semi_sync_replica_status" => semi_sync.acking_now = Switch::of(value),
            "uptime" => server.uptime = value.parse().unwrap_or_default(),
            "sluice at work" => server.at_work = value.parse().unwrap_or_default(),
            "gtid_mode" => server.gtid_mode = Switch::of(value),
            name if name.starts_with("boot ") => boot.push((name.to_owned(), Switch::of(value))),
            "persisted_globals_load" => load = Switch::of(value),
            "log_bin" => log_bin = Switch::of(value),
            "log_replica_updates" => log_updates = Switch::of(value),
            "offline_mode" => server.offline = Switch::of(value),
            "sluice filters" => server.filters = value.parse().unwrap_or_default(),
            "sluice delay" => server.delay = value.parse().unwrap_or_default(),
            "replica_net_timeout" => server.net_timeout = value.parse().unwrap_or_default(),
            // The table of settings asks for a few names more than are needed.
            _ => {}
        }
    }
    server.logs = if log_bin.is_on() { log_updates } else { Switch::Off };
    server.boot = BootView::of(&boot, load);
    // Both plugins, or it is of no use.
    server.semi_sync = (plugins == 2).then_some(semi_sync);
}

fn read_lock(rows: &Rows, own: u64) -> LockView {
    let Some(connection) = cell(rows, 0, 0).and_then(|id| id.parse().ok()) else { return LockView::Free };
    if connection == own {
        return LockView::Ours;
    }
    let account = cell(rows, 0, 1).unwrap_or("an unknown account").to_owned();
    LockView::Elsewhere { connection, account }
}
