//! What the controller does on one instance: one method per statement, each with a deadline.
//!
//! A *main* session runs the statements one after the other; an *aside* session is for what has to be said
//! while the main one waits. Both are opened when first needed and again after a loss.
//!
//! Never here: policy, a statement's text, a decision about roles.

mod cloning;

use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::GtidSet;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::control_session::{ControlSession, Rows, SqlError, Target};
use super::record::EpochRow;
use super::statements::{self, First, Grammar, Source};
use super::view::{Switch, Thread};

/// Full login of a session that has to be opened first.
const LOGIN: Duration = Duration::from_secs(2);
/// Reading and setting variables.
const QUICK: Duration = Duration::from_secs(2);
/// On top of what a statement waits for by its own limit.
const ANSWER: Duration = Duration::from_secs(1);
/// Starting, stopping and pointing receivers: 2 s was measured where the source is frozen.
const REPLICATION: Duration = Duration::from_secs(4);
/// A receiver's login and the source's first heartbeat, 2 s after it.
const ATTACHED: Duration = Duration::from_secs(6);
/// `super_read_only` gives up by itself after `lock_wait_timeout` = 1 s.
const READ_ONLY: Duration = Duration::from_secs(2);
/// Switching the waiting side off polls in the server for up to 1 s.
const STOP_WAITING: Duration = Duration::from_secs(5);
/// A logged write waits for acknowledgements.
const LOGGED: Duration = Duration::from_secs(5);

/// The statements of one instance.
#[derive(Debug)]
pub(super) struct InstanceOperations {
    target: Target,
    main: Mutex<Option<ControlSession>>,
    aside: Mutex<Option<ControlSession>>,
}

/// Which session of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// The one that does things in order.
    Main,
    /// The one beside it.
    Aside,
}

/// State of the waiting side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaitingState {
    /// `Rpl_semi_sync_source_status`
    pub(super) status: Switch,
    /// `Rpl_semi_sync_source_clients`
    pub(super) clients: u32,
}

/// A session with an open transaction, or in the way of one of our statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocker {
    /// Connection id.
    pub(super) id: u64,
    /// `user@host`
    pub(super) account: String,
    /// Age of its transaction or statement, seconds.
    pub(super) seconds: u64,
    /// State and statement.
    pub(super) what: String,
}

impl InstanceOperations {
    /// Nothing is opened yet.
    pub(super) fn new(target: Target) -> Self {
        Self { target, main: Mutex::new(None), aside: Mutex::new(None) }
    }

    /// Runs one statement on a session, which is opened if need be.
    async fn rows(&self, via: Via, sql: &str, deadline: Duration) -> Result<Rows, SqlError> {
        let mut slot = match via {
            Via::Main => self.main.lock().await,
            Via::Aside => self.aside.lock().await,
        };
        if slot.as_ref().is_none_or(|session| !session.is_usable()) {
            *slot = Some(ControlSession::open(&self.target, LOGIN).await?);
        }
        match slot.as_mut() {
            Some(session) => session.rows(sql, deadline).await,
            None => Err(SqlError::Answer("no session")),
        }
    }

    async fn run(&self, sql: &str, deadline: Duration) -> Result<(), SqlError> {
        self.rows(Via::Main, sql, deadline).await.map(drop)
    }

    /// A further session, for who has to notice its end.
    pub(super) async fn open(&self, deadline: Duration) -> Result<ControlSession, SqlError> {
        ControlSession::open(&self.target, deadline).await
    }

    /// The receiver, and its error if it has one.
    pub(super) async fn receiver(&self) -> Result<(Thread, Option<String>), SqlError> {
        let channels = self.rows(Via::Main, statements::CHANNELS, QUICK).await?;
        let error = Some(text(&channels, 0, 9)).filter(|error| !error.is_empty());
        Ok((Thread::of(text(&channels, 0, 6)), error.map(str::to_owned)))
    }

    /// Whether commits there would wait for acknowledgements.
    pub(super) async fn waits(&self, grammar: Grammar) -> Result<bool, SqlError> {
        let rows = self.rows(Via::Main, &grammar.is_waiting(), QUICK).await?;
        Ok(Switch::of(text(&rows, 0, 0)).is_on())
    }

    /// Ends every client connection: their sockets close, also of those that wait for an acknowledgement.
    pub(super) async fn kill_clients(&self) -> Result<(), SqlError> {
        let rows = self.rows(Via::Aside, statements::CLIENTS, QUICK).await?;
        for row in 0..rows.len() {
            if let Ok(connection) = text(&rows, row, 0).parse::<u64>() {
                match self.rows(Via::Aside, &statements::kill(connection), QUICK).await {
                    // 1094: it ended by itself meanwhile.
                    Err(error) if error.code() != Some(1094) => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Opens both sessions, or replaces them when the server has ended them meanwhile.
    pub(super) async fn ready(&self) -> Result<(), SqlError> {
        for via in [Via::Main, Via::Aside] {
            if self.rows(via, statements::READ_ONLY_FLAGS, QUICK).await.is_err() {
                self.rows(via, statements::READ_ONLY_FLAGS, QUICK).await?;
            }
        }
        Ok(())
    }

    /// `super_read_only` on; its own OK is the proof. Gives up after a second.
    pub(super) async fn set_read_only(&self) -> Result<(), SqlError> {
        self.run(statements::SET_READ_ONLY, READ_ONLY).await
    }

    /// Both read-only switches off.
    pub(super) async fn set_writable(&self) -> Result<(), SqlError> {
        self.run(statements::SET_WRITABLE, QUICK).await
    }

    /// `(read_only, super_read_only)`
    pub(super) async fn read_only_flags(&self, via: Via) -> Result<(Switch, Switch), SqlError> {
        let rows = self.rows(via, statements::READ_ONLY_FLAGS, QUICK).await?;
        Ok((Switch::of(text(&rows, 0, 0)), Switch::of(text(&rows, 0, 1))))
    }

    /// `gtid_executed`, as the server prints it.
    pub(super) async fn executed(&self) -> Result<String, SqlError> {
        let rows = self.rows(Via::Main, statements::PULSE, QUICK).await?;
        Ok(text(&rows, 0, 4).to_owned())
    }

    /// What the server has executed or received.
    pub(super) async fn has(&self) -> Result<GtidSet, SqlError> {
        let unreadable = |_| SqlError::Answer("a GTID set can't be read");
        let executed: GtidSet = self.executed().await?.parse().map_err(unreadable)?;
        let channels = self.rows(Via::Main, statements::CHANNELS, QUICK).await?;
        channels.iter().try_fold(executed, |all, row| {
            let received: GtidSet =
                row.get(7).and_then(Option::as_deref).unwrap_or_default().parse().map_err(unreadable)?;
            Ok(all.union(&received))
        })
    }

    /// Waits until `set` is executed; `false` when the time is over.
    pub(super) async fn wait_executed(&self, set: &str, limit: Duration) -> Result<bool, SqlError> {
        let sql = statements::wait_executed(set, limit.as_secs_f64());
        let rows = self.rows(Via::Main, &sql, limit + ANSWER).await?;
        Ok(text(&rows, 0, 0) == "0")
    }

    /// Stops the receiver and sees it stopped.
    pub(super) async fn stop_receiver(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.run(&grammar.stop_receiver(), REPLICATION).await
    }

    /// Starts the receiver.
    pub(super) async fn start_receiver(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.run(&grammar.start_receiver(), REPLICATION).await
    }

    /// Starts the applier. A server without a source has nothing to apply, and is not told to: it would say 1200 or
    /// 1871, or start an applier of nothing, under which no source can be given to it (seen on 9.7.4).
    pub(super) async fn start_applier(&self, grammar: Grammar) -> Result<(), SqlError> {
        if self.rows(Via::Main, statements::CHANNELS, QUICK).await?.is_empty() {
            return Ok(());
        }
        self.run(&grammar.start_applier(), REPLICATION).await
    }

    /// Points the replica at a source and starts its receiver. The only place that changes a source: with
    /// both threads stopped that deletes relay logs, which may be the only copy of something acknowledged.
    /// So it is refused unless the applier runs or everything received is executed.
    pub(super) async fn follow(&self, grammar: Grammar, source: &Source<'_>) -> Result<(), SqlError> {
        let first = if self.would_keep_what_it_received().await? {
            self.stop_receiver(grammar).await?;
            // Something may have come between the look and the stop.
            if let Err(error) = self.would_keep_what_it_received().await {
                self.start_receiver(grammar).await?;
                return Err(error);
            }
            First::No
        } else {
            // An applier of nothing, whoever started it.
            self.run(&grammar.stop_applier(), REPLICATION).await?;
            First::Yes
        };
        // Set here, so that no restart of the receiver is needed for it later.
        self.run(&grammar.net_timeout(), QUICK).await?;
        self.run(&grammar.follow(source, first), REPLICATION).await?;
        self.start_receiver(grammar).await
    }

    /// Whether it has a source at all; an error where what it has received would be deleted with that source.
    async fn would_keep_what_it_received(&self) -> Result<bool, SqlError> {
        let channels = self.rows(Via::Main, statements::CHANNELS, QUICK).await?;
        let own = |row: &&Vec<Option<String>>| matches!(row.first(), Some(Some(name)) if name.is_empty());
        let Some(channel) = channels.iter().find(own) else { return Ok(false) };
        let applier = Thread::of(channel.get(10).and_then(Option::as_deref).unwrap_or_default());
        if applier == Thread::Stopped && !self.all_applied(channel).await? {
            return Err(SqlError::Answer("the applier is stopped and has not applied what was received"));
        }
        Ok(true)
    }

    async fn all_applied(&self, channel: &[Option<String>]) -> Result<bool, SqlError> {
        let unreadable = |_| SqlError::Answer("a GTID set can't be read");
        let received = channel.get(7).and_then(Option::as_deref).unwrap_or_default();
        let received: GtidSet = received.parse().map_err(unreadable)?;
        let executed: GtidSet = self.executed().await?.parse().map_err(unreadable)?;
        Ok(executed.contains_set(&received))
    }

    /// Forgets the source. Refused while something received is not executed.
    pub(super) async fn forget_source(&self, grammar: Grammar) -> Result<(), SqlError> {
        let channels = self.rows(Via::Main, statements::CHANNELS, QUICK).await?;
        for channel in &channels {
            self.stop_receiver(grammar).await?;
            if !self.all_applied(channel).await? {
                return Err(SqlError::Answer("something received is not applied yet"));
            }
            self.run(&grammar.stop_applier(), REPLICATION).await?;
        }
        self.run(&grammar.reset_replica_all(), REPLICATION).await
    }

    /// Sets the network timeout and the heartbeat; the receiver is restarted, the applier runs on.
    pub(super) async fn tune(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.run(&grammar.net_timeout(), QUICK).await?;
        let channels = self.rows(Via::Main, statements::CHANNELS, QUICK).await?;
        let applier = channels.first().and_then(|row| row.get(10)).and_then(Option::as_deref);
        if Thread::of(applier.unwrap_or_default()) != Thread::Running {
            return Err(SqlError::Answer("the applier does not run"));
        }
        self.stop_receiver(grammar).await?;
        let now = self.rows(Via::Main, statements::NOW, QUICK).await?;
        let changed = self.run(&grammar.heartbeat(), REPLICATION).await;
        self.start_receiver(grammar).await?;
        self.receiving_again(text(&now, 0, 0)).await?;
        changed
    }

    /// Makes the replica acknowledge, or stop it; the receiver is restarted so that it takes effect. One that does not
    /// run acknowledges nothing, and is not started to be told so.
    pub(super) async fn set_acking(&self, grammar: Grammar, on: bool) -> Result<(), SqlError> {
        self.run(&grammar.set_acking(on), QUICK).await?;
        let channels = self.rows(Via::Main, statements::CHANNELS, QUICK).await?;
        if !channels.is_empty() && (on || Thread::of(text(&channels, 0, 6)) != Thread::Stopped) {
            self.stop_receiver(grammar).await?;
            self.start_receiver(grammar).await?;
        }
        Ok(())
    }

    /// Waits until a receiver that was restarted has got something, at the latest a heartbeat: only that proves
    /// that the source's side of the connection is up. The next acker is not touched before: with none attached,
    /// an account statement waits for its acknowledgement under the lock that the login of a returning replica
    /// needs, and hangs the whole primary for good (seen on 9.7.4).
    async fn receiving_again(&self, stopped: &str) -> Result<(), SqlError> {
        let until = Instant::now() + ATTACHED;
        let sql = statements::received_since(stopped);
        while text(&self.rows(Via::Main, &sql, QUICK).await?, 0, 0) != "1" {
            if Instant::now() >= until {
                return Err(SqlError::Answer("nothing comes from the source after the receiver's restart"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Sets the acknowledging flag and leaves the receiver alone.
    pub(super) async fn set_acking_flag(&self, grammar: Grammar, on: bool) -> Result<(), SqlError> {
        self.run(&grammar.set_acking(on), QUICK).await
    }

    /// Makes the server start fenced the next time.
    pub(super) async fn persist_boot(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.run(&grammar.persist_boot(), QUICK).await
    }

    /// Makes commits wait.
    pub(super) async fn start_waiting(
        &self,
        grammar: Grammar,
        count: u16,
        strict: bool,
    ) -> Result<(), SqlError> {
        self.run(&grammar.set_waiting_on(count, strict), QUICK).await
    }

    /// Makes commits not wait. Never on a server that clients write to.
    pub(super) async fn stop_waiting(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.run(&grammar.set_waiting_off(), STOP_WAITING).await
    }

    /// The same while the main session waits for something.
    pub(super) async fn stop_waiting_aside(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.rows(Via::Aside, &grammar.set_waiting_off(), STOP_WAITING).await.map(drop)
    }

    /// State of the waiting side.
    pub(super) async fn waiting_state(&self, grammar: Grammar) -> Result<WaitingState, SqlError> {
        let rows = self.rows(Via::Main, &grammar.waiting_state(), QUICK).await?;
        Ok(WaitingState {
            status: Switch::of(text(&rows, 0, 0)),
            clients: text(&rows, 0, 1).parse().unwrap_or_default(),
        })
    }

    /// Makes what the epoch rows live in, and what the write probe writes to. Logged.
    pub(super) async fn create_tables(&self) -> Result<(), SqlError> {
        self.logged(&[
            statements::CREATE_SCHEMA,
            statements::CREATE_EPOCH_TABLE,
            statements::CREATE_PROBE_TABLE,
        ])
        .await
    }

    /// Writes the row of an epoch. Logged, so its OK means acknowledged where commits wait.
    pub(super) async fn write_epoch_row(&self, row: &EpochRow) -> Result<(), SqlError> {
        self.logged(&[&statements::epoch_row(row)]).await
    }

    /// Takes this session into the binary log and out again. A session on which that failed is closed: it
    /// must never write to the history by accident.
    async fn logged(&self, statements: &[&str]) -> Result<(), SqlError> {
        let mut slot = self.main.lock().await;
        if slot.as_ref().is_none_or(|session| !session.is_usable()) {
            *slot = Some(ControlSession::open(&self.target, LOGIN).await?);
        }
        let Some(session) = slot.as_mut() else { return Err(SqlError::Answer("no session")) };
        let until = Instant::now() + LOGGED;
        let mut outcome = session.run(statements::LOG_ON, QUICK).await;
        for statement in statements {
            if outcome.is_ok() {
                let left = until.saturating_duration_since(Instant::now());
                outcome = session.run(statement, left).await;
            }
        }
        let off = session.run(statements::LOG_OFF, QUICK).await;
        if off.is_err() {
            *slot = None;
        }
        outcome
    }

    /// What a session is doing, and whether commits wait for acknowledgements; `None`: it does nothing any more.
    pub(super) async fn waiting_for(&self, connection: u64) -> Result<Option<(String, bool)>, SqlError> {
        let rows = self.rows(Via::Aside, &statements::waiting_for(connection), QUICK).await?;
        Ok(rows.first().map(|_| (text(&rows, 0, 0).to_owned(), text(&rows, 0, 1) != "0")))
    }

    /// Who holds a lock on the whole server.
    pub(super) async fn server_lock(&self) -> Result<Option<Blocker>, SqlError> {
        let rows = self.rows(Via::Aside, statements::SERVER_LOCKS, QUICK).await?;
        Ok(blockers(&rows).into_iter().next())
    }

    /// Ends a connection and waits until it is gone.
    pub(super) async fn kill(&self, connection: u64, deadline: Instant) -> Result<(), SqlError> {
        match self.rows(Via::Aside, &statements::kill(connection), QUICK).await {
            // 1094: no such connection, so it is gone.
            Err(error) if error.code() == Some(1094) => return Ok(()),
            outcome => drop(outcome?),
        }
        let sql = statements::connection_exists(connection);
        while text(&self.rows(Via::Aside, &sql, QUICK).await?, 0, 0) != "0" {
            if Instant::now() >= deadline {
                return Err(SqlError::Answer("the connection did not end"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Transactions that have written and are still open, of sessions that are not ours.
    pub(super) async fn open_writes(&self) -> Result<Vec<Blocker>, SqlError> {
        let rows = self.rows(Via::Aside, statements::OPEN_WRITES, QUICK).await?;
        Ok(blockers(&rows))
    }

    /// What keeps `super_read_only` waiting.
    pub(super) async fn read_only_blockers(&self) -> Result<Vec<Blocker>, SqlError> {
        let rows = self.rows(Via::Aside, statements::READ_ONLY_BLOCKERS, QUICK).await?;
        Ok(blockers(&rows))
    }

    /// Connections in which `super_read_only` is still pending.
    pub(super) async fn pending_read_only(&self) -> Result<Vec<u64>, SqlError> {
        let rows = self.rows(Via::Aside, statements::PENDING_READ_ONLY, QUICK).await?;
        Ok((0..rows.len()).filter_map(|row| text(&rows, row, 0).parse().ok()).collect())
    }

    /// Number of prepared XA transactions.
    pub(super) async fn prepared_xa(&self) -> Result<usize, SqlError> {
        Ok(self.rows(Via::Aside, statements::XA_RECOVER, QUICK).await?.len())
    }

    /// Replication filters.
    pub(super) async fn filters(&self) -> Result<Vec<String>, SqlError> {
        let rows = self.rows(Via::Aside, statements::FILTERS, QUICK).await?;
        Ok((0..rows.len()).map(|row| format!("{} {}", text(&rows, row, 0), text(&rows, row, 1))).collect())
    }
}

/// Between two looks at a condition that nothing announces.
pub(super) const POLL: Duration = Duration::from_millis(5);

fn text(rows: &Rows, row: usize, column: usize) -> &str {
    rows.get(row).and_then(|row| row.get(column)).and_then(Option::as_deref).unwrap_or_default()
}

fn blockers(rows: &Rows) -> Vec<Blocker> {
    (0..rows.len())
        .filter_map(|row| {
            Some(Blocker {
                id: text(rows, row, 0).parse().ok()?,
                account: text(rows, row, 1).to_owned(),
                seconds: text(rows, row, 2).parse().unwrap_or_default(),
                what: format!("{} {}", text(rows, row, 4), text(rows, row, 3)),
            })
        })
        .collect()
}

/// Shared by the run loop and the operation under way.
pub(super) type AllOperations = Arc<[Arc<InstanceOperations>]>;
