//! Stopping the receivers of everybody who can be reached, and holding them stopped.
//!
//! Each member is held by one session that is never replaced: as long as it answers, the server was not started
//! again. A member whose session broke, whose receiver runs again or whose sets went backwards counts no more.
//!
//! Never here: who wins, starting anything but what was stopped here.

use std::time::Duration;

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Takeover;
use crate::controller::control_session::{ControlSession, SqlError};
use crate::controller::execute::StepError;
use crate::controller::failover;
use crate::controller::plan::Address;
use crate::controller::statements::{self, Grammar};
use crate::controller::view::{LockView, ServerView, Thread};

/// Login and first statement of the session that holds a member.
const LOGIN: Duration = Duration::from_secs(2);
/// STOP REPLICA IO_THREAD: 2 s where the receiver was just connecting to a frozen source.
const STOP: Duration = Duration::from_secs(4);
/// Reading what a member has.
const READ: Duration = Duration::from_secs(2);
/// All of that for all members, side by side.
const ALL: Duration = Duration::from_secs(6);
/// How long the rest may take when there are enough.
const REST: Duration = Duration::from_millis(500);
/// The server is not configured as a replica.
const NO_SOURCE: u16 = 1200;

/// A member whose receiver is stopped.
#[derive(Debug)]
pub(super) struct Held {
    /// Which.
    pub(super) id: InstanceId,
    /// Its name.
    pub(super) name: String,
    /// Its `server_uuid`.
    pub(super) uuid: Uuid,
    /// What it has executed or received, read after the stop.
    pub(super) has: GtidSet,
    /// What it had executed then.
    pub(super) executed: GtidSet,
    session: ControlSession,
    grammar: Grammar,
}

/// A reading of a member.
struct Reading {
    uuid: Uuid,
    executed: GtidSet,
    received: GtidSet,
    receiver: Thread,
    source: Address,
}

async fn read(session: &mut ControlSession) -> Result<Reading, SqlError> {
    let unreadable = SqlError::Answer("what it has can't be read");
    let pulse = session.rows(statements::PULSE, READ).await?;
    let channels = session.rows(statements::CHANNELS, READ).await?;
    let text = |row: Option<&Vec<Option<String>>>, column: usize| {
        row.and_then(|row| row.get(column)).and_then(Option::as_deref).unwrap_or_default().to_owned()
    };
    let pulse = pulse.first();
    // The default channel is the only one that a member may have.
    let channel = channels.iter().find(|row| text(Some(row), 0).is_empty());
    Ok(Reading {
        uuid: text(pulse, 0).parse().map_err(|_| unreadable.clone())?,
        executed: text(pulse, 4).parse().map_err(|_| unreadable.clone())?,
        received: text(channel, 7).parse().map_err(|_| unreadable)?,
        receiver: Thread::of(&text(channel, 6)),
        source: (text(channel, 1), text(channel, 2).parse().unwrap_or_default()),
    })
}

impl Held {
    /// Whether it still is what it was when it was stopped: the same start of the server, nothing lost, and
    /// nothing received from anybody but `source`.
    async fn holds(&mut self, source: Option<&Address>) -> Result<(), String> {
        let name = &self.name;
        let seen = read(&mut self.session).await.map_err(|error| format!("{name}: {error}"))?;
        if seen.uuid != self.uuid {
            return Err(format!("{name} is another server now"));
        }
        if seen.receiver != Thread::Stopped && Some(&seen.source) != source {
            return Err(format!("{name} receives again"));
        }
        if !seen.executed.union(&seen.received).contains_set(&self.has) {
            return Err(format!("{name} lost something that it had"));
        }
        Ok(())
    }

    /// Whether the server is still the one that was stopped, whoever it receives from.
    async fn alive(&mut self) -> Result<(), String> {
        let seen = read(&mut self.session).await.map_err(|error| format!("{}: {error}", self.name))?;
        if seen.uuid == self.uuid { Ok(()) } else { Err(format!("{} is another server now", self.name)) }
    }

    /// Takes the stop back; one without a source received nothing.
    pub(super) async fn start_again(&mut self) -> Result<(), SqlError> {
        match self.session.run(&self.grammar.start_receiver(), STOP).await {
            Err(error) if error.code() == Some(NO_SOURCE) => Ok(()),
            outcome => outcome,
        }
    }
}

/// What is asked of those that are held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check<'a> {
    /// That they are there: the winner may be fetching from others.
    Alive,
    /// That they receive nothing, or from this source.
    Holds(Option<&'a Address>),
}

impl Takeover {
    /// Stops the receivers of all members that answer; enough of them have to be recorded ackers.
    pub(super) async fn revoke(&mut self) -> Result<(String, ()), StepError> {
        self.take_locks().await?;
        let view = self.desk.view();
        let mut tasks = JoinSet::new();
        let asked = |server: &ServerView| {
            server.uuid != self.before.primary && !self.before.is_taken_apart(server.uuid)
        };
        for (instance, server) in view.live().filter(|(_, server)| asked(server)) {
            let (id, name, uuid) = (instance.id, instance.name.to_string(), server.uuid);
            let (operations, grammar) = (self.desk.operations.clone(), server.grammar());
            tasks.spawn(async move {
                let operations = operations.get(id.index()).ok_or("there is no such instance".to_owned())?;
                let broken = |error: SqlError| format!("{name}: {error}");
                let mut session = operations.open(LOGIN).await.map_err(broken)?;
                session.run(&grammar.stop_receiver(), STOP).await.map_err(broken)?;
                let seen = read(&mut session).await.map_err(broken)?;
                if seen.receiver != Thread::Stopped || seen.uuid != uuid {
                    return Err(format!("{name}: its receiver is not seen stopped"));
                }
                // Sessions kept from before its last restart are found out now, not in the middle.
                operations.ready().await.map_err(broken)?;
                let has = seen.executed.union(&seen.received);
                if has.is_empty() {
                    return Err(format!("{name}: it is empty, whatever it had acknowledged is gone"));
                }
                Ok(Held { id, name, uuid, has, executed: seen.executed, session, grammar })
            });
        }
        let needed = self.needed();
        let mut until = Instant::now() + ALL;
        let mut failed: Vec<String> = Vec::new();
        while let Ok(Some(joined)) = timeout_at(until, tasks.join_next()).await {
            match joined {
                Ok(Ok(held)) => self.held.push(held),
                Ok(Err(why)) => failed.push(why),
                Err(lost) => failed.push(lost.to_string()),
            }
            if self.counted() >= needed {
                until = until.min(Instant::now() + REST);
            }
        }
        self.held.sort_by_key(|held| held.id);
        let names: Vec<&str> = self.held.iter().map(|held| held.name.as_str()).collect();
        let mut text = format!("{} stopped; {} of {needed} needed ackers", names.join(", "), self.counted());
        if !failed.is_empty() {
            text = format!("{text}; {}", failed.join("; "));
        }
        if self.counted() < needed {
            Err(StepError::Unmet(format!("lost quorum: {text}")))
        } else {
            Ok((text, ()))
        }
    }

    /// How many recorded ackers have to be held: the quorum, or one where a loss is accepted.
    fn needed(&self) -> usize {
        let quorum = failover::needed(&self.before);
        if self.terms.accept_loss { quorum.min(1) } else { quorum }
    }

    /// How many of the held members are recorded ackers.
    pub(super) fn counted(&self) -> usize {
        self.held.iter().filter(|held| self.before.is_acker(held.uuid)).count()
    }

    /// A member whose lock another Sluice holds is not ours to change.
    async fn take_locks(&self) -> Result<(), StepError> {
        for (instance, server) in self.desk.view().live() {
            match &server.lock {
                LockView::Ours => {}
                LockView::Free => {
                    if !self.desk.observers.take_lock(instance.id.index()).await {
                        return Err(StepError::Unmet(format!("{} does not give its lock", instance.name)));
                    }
                }
                LockView::Elsewhere { account, .. } => {
                    return Err(StepError::Unmet(format!("{account} holds the lock of {}", instance.name)));
                }
            }
        }
        Ok(())
    }

    /// Reads every held member again. What does not hold any more counts no more; fewer than the quorum is the
    /// end of this attempt.
    pub(super) async fn recheck(&mut self, check: Check<'_>) -> Result<(), StepError> {
        let mut lost = Vec::new();
        let mut still = Vec::new();
        for mut held in std::mem::take(&mut self.held) {
            let outcome = match check {
                Check::Alive => held.alive().await,
                Check::Holds(source) => held.holds(source).await,
            };
            match outcome {
                Ok(()) => still.push(held),
                Err(why) => lost.push(why),
            }
        }
        self.held = still;
        let needed = self.needed();
        if self.counted() < needed {
            return Err(StepError::Unmet(format!(
                "lost quorum: {} of {needed} needed ackers are held; {}",
                self.counted(),
                lost.join("; ")
            )));
        }
        Ok(())
    }
}
