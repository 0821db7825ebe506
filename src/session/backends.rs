//! The backend connections a session owns, and bringing one in step with the session's state.
//!
//! At most one connection per instance. A connection is kept whatever role its instance has: after a
//! switchover yesterday's connection to a replica is today's connection to the primary.
//!
//! Never here: which instance a statement goes to, an answer to the client.

use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::command::{SetOption, build};
use sluice_protocol::response::{
    Advance, Answer, AnswerLimits, AnswerReader, Expect, Prepared, ResponseEvent, ResponseRelay,
};
use sluice_protocol::{Capabilities, ErrPacket, StatusFlags, TrackerFilter, frame_payload};
use sluice_routing::topology::InstanceId;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::prepared::ServerIds;
use super::state::{Restore, SessionState};
use crate::backend::{BackendConnection, DialError, Idle, tracker_statement};

/// Longest wait for the answer to one of our own commands on a session's connection. They do next to nothing
/// on the server; longer means that it is stuck.
const OWN_COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// What [`CHARSET_AFTER_RESET`] asks for, in its order.
const CHARSET_VARIABLES: [&str; 4] =
    ["character_set_client", "character_set_connection", "character_set_results", "collation_connection"];
const CHARSET_AFTER_RESET: &[u8] = b"SELECT @@character_set_client, @@character_set_connection, \
    @@character_set_results, @@collation_connection";

/// A backend connection with what it is in step with.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The connection.
    pub(crate) connection: BackendConnection,
    /// The version of the session state it has.
    pub(crate) in_step: u64,
    /// The last insert id it knows.
    pub(crate) insert_id: u64,
    /// Where the session's prepared statements are on it.
    pub(crate) ids: ServerIds,
}

/// Why a connection could not be brought to where the session needs it.
#[derive(Debug, Error)]
pub(crate) enum NotReady {
    /// It could not be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It broke, or did not answer in time.
    #[error("the connection to the instance was lost")]
    Lost,
    /// The server refused to take the session's state, or to prepare a statement again.
    #[error("the server refused the session's state: {} {}", .0.code, String::from_utf8_lossy(&.0.message))]
    Refused(ErrPacket<'static>),
}

impl Backend {
    /// A connection fresh from its login.
    pub(crate) fn new(connection: BackendConnection) -> Self {
        Self { connection, in_step: 0, insert_id: 0, ids: ServerIds::default() }
    }

    /// Sends what it lacks of `state` and confirms it. `writes` connections also get the last insert id.
    pub(crate) async fn restore(&mut self, state: &SessionState, use_as: UseAs) -> Result<(), NotReady> {
        let known_id = match use_as {
            UseAs::Writer => Some(self.insert_id),
            UseAs::Reader => None,
        };
        if self.in_step == state.version() && known_id.is_none_or(|known| known == state.last_insert_id()) {
            return Ok(());
        }
        let steps = state.restore_since(self.in_step, known_id);
        let mut bytes = BytesMut::new();
        for step in &steps {
            let payload = match step {
                Restore::Schema(schema) => build::init_db(schema),
                Restore::MultiStatements(true) => build::set_option(SetOption::MultiStatementsOn).to_vec(),
                Restore::MultiStatements(false) => build::set_option(SetOption::MultiStatementsOff).to_vec(),
                Restore::Statement(text) => build::query(text, self.connection.capabilities),
            };
            frame_payload(&mut bytes, &mut 0, &payload);
        }
        self.send(&bytes).await?;
        let mut refused = None;
        for _ in &steps {
            if let Answer::Error(error) = self.own_answer().await? {
                refused.get_or_insert(error);
            }
        }
        if let Some(error) = refused {
            return Err(NotReady::Refused(error));
        }
        self.in_step = state.version();
        if let UseAs::Writer = use_as {
            self.insert_id = state.last_insert_id();
        }
        Ok(())
    }

    /// Runs one of our own text statements.
    pub(crate) async fn query(&mut self, text: &[u8]) -> Result<Answer, NotReady> {
        self.command(&build::query(text, self.connection.capabilities)).await
    }

    /// Runs one of our own commands that is answered like a query.
    pub(crate) async fn command(&mut self, payload: &[u8]) -> Result<Answer, NotReady> {
        let mut bytes = BytesMut::new();
        frame_payload(&mut bytes, &mut 0, payload);
        self.send(&bytes).await?;
        self.own_answer().await
    }

    /// Resets the connection and switches the trackers on again. Returns the character set variables as they
    /// are afterwards.
    pub(crate) async fn reset(&mut self) -> Result<Vec<(&'static str, Vec<u8>)>, NotReady> {
        let refused = |answer| match answer {
            Answer::Ok(_) | Answer::Rows { .. } => Ok(()),
            Answer::Error(error) => Err(NotReady::Refused(error)),
        };
        refused(self.command(&build::reset_connection()).await?)?;
        refused(self.query(tracker_statement()).await?)?;
        self.ids = ServerIds::default();
        self.insert_id = 0;
        match self.query(CHARSET_AFTER_RESET).await? {
            Answer::Rows { rows, .. } => {
                let row = rows.into_iter().next().unwrap_or_default();
                Ok(CHARSET_VARIABLES
                    .into_iter()
                    .zip(row.into_iter().map(Option::unwrap_or_default))
                    .collect())
            }
            Answer::Error(error) => Err(NotReady::Refused(error)),
            Answer::Ok(_) => Err(NotReady::Lost),
        }
    }

    /// The status flags of the session on this connection now.
    pub(crate) async fn status(&mut self) -> Result<StatusFlags, NotReady> {
        match self.command(&build::ping()).await? {
            Answer::Ok(summary) | Answer::Rows { end: summary, .. } => Ok(summary.status),
            Answer::Error(error) => Err(NotReady::Refused(error)),
        }
    }

    /// Prepares one of the client's statements again; the client knows it as `client_id`.
    pub(crate) async fn prepare(&mut self, client_id: u32, text: &[u8]) -> Result<Prepared, NotReady> {
        let mut bytes = BytesMut::new();
        frame_payload(&mut bytes, &mut 0, &build::stmt_prepare(text));
        self.send(&bytes).await?;
        let expect = Expect::Prepare { client_statement_id: client_id };
        let mut relay = ResponseRelay::new(
            expect,
            Capabilities::DEPRECATE_EOF,
            TrackerFilter::nothing(),
            StatusFlags::empty(),
        );
        let mut result = Err(NotReady::Lost);
        loop {
            match relay.advance(self.connection.io.buffer_mut()).map_err(|_| NotReady::Lost)? {
                Advance::Forward { bytes, skip, event } => {
                    self.connection.io.consume(bytes + skip);
                    match event {
                        Some(ResponseEvent::Prepared(prepared)) => result = Ok(prepared),
                        Some(ResponseEvent::Error(error)) => result = Err(NotReady::Refused(error)),
                        Some(ResponseEvent::Ok { .. }) | None => {}
                    }
                }
                Advance::NeedMore => self.fill().await?,
                Advance::Insert { .. } => {}
                Advance::LocalInfile { .. } => return Err(NotReady::Lost),
                Advance::Complete => break,
            }
        }
        if let Ok(prepared) = &result {
            self.ids.insert(client_id, prepared.server_statement_id);
        }
        result
    }

    /// Sends bytes without waiting for an answer.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), NotReady> {
        super::relay::write_out(&mut self.connection.io, bytes).await.map_err(|_| NotReady::Lost)
    }

    async fn own_answer(&mut self) -> Result<Answer, NotReady> {
        let mut reader = AnswerReader::new(AnswerLimits::default());
        loop {
            let (consumed, answer) =
                reader.advance(self.connection.io.buffer()).map_err(|_| NotReady::Lost)?;
            self.connection.io.consume(consumed);
            if let Some(answer) = answer {
                return Ok(answer);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), NotReady> {
        match timeout_at(Instant::now() + OWN_COMMAND_DEADLINE, self.connection.io.fill()).await {
            Ok(Ok(1..)) => Ok(()),
            Ok(Ok(_) | Err(_)) | Err(_) => Err(NotReady::Lost),
        }
    }
}

/// What a connection is brought in step for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UseAs {
    /// Statements that may write, or ask for the last insert id.
    Writer,
    /// Reads only.
    Reader,
}

/// The connections of one session, at most one per instance.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    list: Vec<Backend>,
}

impl Backends {
    /// The connection to this instance.
    pub(crate) fn get_mut(&mut self, instance: InstanceId) -> Option<&mut Backend> {
        self.list.iter_mut().find(|backend| backend.connection.instance == instance)
    }

    /// Whether there is a connection to this instance, as far as is known.
    pub(crate) fn has(&self, instance: InstanceId) -> bool {
        self.list.iter().any(|backend| backend.connection.instance == instance)
    }

    /// The connection to this instance if it is alive; a dead one is dropped.
    pub(crate) fn living(&mut self, instance: InstanceId) -> Option<&mut Backend> {
        let at = self.list.iter().position(|backend| backend.connection.instance == instance)?;
        let alive = matches!(self.list.get_mut(at)?.connection.io.idle(), Idle::Quiet);
        if !alive {
            self.list.swap_remove(at);
            return None;
        }
        self.list.get_mut(at)
    }

    /// Adds a connection; an older one to the same instance is dropped.
    pub(crate) fn insert(&mut self, backend: Backend) {
        self.drop_connection(backend.connection.instance);
        self.list.push(backend);
    }

    /// Drops the connection to this instance: the server rolls back what is open.
    pub(crate) fn drop_connection(&mut self, instance: InstanceId) {
        self.list.retain(|backend| backend.connection.instance != instance);
    }

    /// Every connection.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Backend> {
        self.list.iter_mut()
    }

    /// Ends every connection that `leaves` picks.
    pub(crate) fn end(&mut self, leaves: impl Fn(InstanceId) -> bool) {
        self.list.retain(|backend| !leaves(backend.connection.instance));
    }
}

/// A dial running beside the session, for a warm-up.
pub(crate) type DialTask = tokio::task::JoinHandle<Result<BackendConnection, DialError>>;
