//! A backend connection with what sessions left on it, and bringing it in step with a session's state.
//!
//! Never here: which instance a statement goes to, an answer to the client.

mod asking;
mod marks;
mod not_ready;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::command::{SetOption, build};
use sluice_protocol::response::{
    Advance, Answer, AnswerLimits, AnswerReader, Expect, Prepared, ResponseEvent, ResponseRelay,
};
use sluice_protocol::{Capabilities, StatusFlags, TrackerFilter, frame_payload};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub(crate) use marks::{Hidden, LastUser, Roles, Trackers, Users};
pub(crate) use not_ready::NotReady;
use not_ready::unsettled;

use super::left::Captured;
use super::prepared::{Prepared as ClientStatement, ServerStatements, StatementKey};
use super::state::{LoginState, Restore, SessionState, Settings, difference, distance};
use crate::backend::pool::Pooled;
use crate::backend::{BackendConnection, DialError, tracker_statement};

/// A command up to this size is copied behind what is sent before it, to be one write.
const MAX_COPIED: usize = 16 * 1024;
/// Longest wait for the answer to one of our own commands on a session's connection. They do next to nothing
/// on the server; longer means that it is stuck.
const OWN_COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// How many texts that a connection has accepted are remembered. What it accepted before is sent together
/// with a statement; anything else is confirmed before it.
const MAX_ACCEPTED: usize = 32;
/// What a reset of the connection costs, in changes: it also forgets all prepared statements.
const RESET_COST: u32 = 24;
/// A server's answer to COM_INIT_DB of a schema that is not there.
const UNKNOWN_DATABASE: u16 = 1049;

static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A backend connection with what is set on it.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The connection.
    pub(crate) connection: BackendConnection,
    /// What sessions have set on it.
    pub(crate) has: Arc<Settings>,
    /// The last insert id it knows.
    pub(crate) insert_id: u64,
    /// What is prepared on it.
    pub(crate) statements: ServerStatements,
    /// Whether code ran on it that no text shows.
    pub(crate) hidden: Hidden,
    /// Whose last statement was the last on it.
    pub(crate) last_user: LastUser,
    /// Who has used it since it was opened or reset.
    pub(crate) users: Users,
    /// How many CREATE TABLE and SET ROLE ran on it, as the server counts; `None`: some more since it was asked.
    pub(crate) created: Option<u64>,
    /// Whose session trackers are on.
    pub(crate) trackers: Trackers,
    /// Takes to its owner what his last statement left on it, once somebody else gets the connection.
    pub(crate) left: Option<oneshot::Sender<Captured>>,
    /// To be sent before the next command.
    first: BytesMut,
    /// How many answers come for that.
    first_answers: u32,
    accepted: HashSet<u64>,
}

impl Pooled for Box<Backend> {
    type Wanted = Arc<Settings>;

    fn connection(&self) -> &BackendConnection {
        &self.connection
    }

    fn connection_mut(&mut self) -> &mut BackendConnection {
        &mut self.connection
    }

    fn distance(&self, wanted: &Arc<Settings>) -> Option<u32> {
        match self.hidden {
            Hidden::Nothing => distance(&self.has, wanted),
            Hidden::OfTriggers | Hidden::Possible => {
                distance(&self.has, wanted).map(|distance| distance + RESET_COST)
            }
        }
    }

    fn outlives_owner(&self) -> bool {
        match self.hidden {
            Hidden::Nothing | Hidden::OfTriggers => true,
            Hidden::Possible => false,
        }
    }

    fn let_go(mut self) {
        if self.left.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return;
        }
        tokio::spawn(async move {
            // It may have been another worker's.
            if self.connection.io.move_here().is_ok() {
                // One that has failed goes all the same.
                let _ = self.hand_over_left().await;
            }
        });
    }
}

impl Backend {
    /// A connection fresh from its login, on which `has` is set.
    pub(crate) fn new(connection: BackendConnection, has: Arc<Settings>) -> Box<Self> {
        Box::new(Self {
            connection,
            has,
            insert_id: 0,
            statements: ServerStatements::default(),
            hidden: Hidden::Nothing,
            last_user: LastUser::ThisSession,
            users: Users::Nobody,
            created: Some(0),
            trackers: Trackers::Ours,
            left: None,
            first: BytesMut::new(),
            first_answers: 0,
            accepted: HashSet::new(),
        })
    }

    /// Brings it in step with `state`. What this connection has accepted before goes out together with the
    /// next command; anything else is confirmed.
    pub(crate) async fn restore(&mut self, state: &mut SessionState, use_as: UseAs) -> Result<(), NotReady> {
        if self.differs(state) {
            self.set(state.settings()).await?;
        }
        self.keep_up(state, use_as);
        Ok(())
    }

    /// Whether something other than the last insert id has to be set.
    pub(crate) fn differs(&self, state: &SessionState) -> bool {
        !Arc::ptr_eq(&self.has, state.settings()) && self.has != *state.settings()
    }

    /// Takes up what needs no answer, once nothing [differs](Self::differs). `Writer` connections get the last insert id.
    pub(crate) fn keep_up(&mut self, state: &mut SessionState, use_as: UseAs) {
        if !Arc::ptr_eq(&self.has, state.settings()) {
            self.unify(state);
        }
        if !self.has.user_variables().is_empty() {
            self.users = self.users.used();
        }
        if use_as != UseAs::Reader && self.insert_id != state.last_insert_id() {
            // Any number is accepted.
            let text = format!("SET last_insert_id={}", state.last_insert_id());
            self.send_first(&build::query(text.as_bytes(), self.connection.capabilities), 1);
            self.insert_id = state.last_insert_id();
        }
    }

    /// Another session takes it over.
    pub(crate) fn hand_on(&mut self) {
        self.last_user = LastUser::Another;
        self.users = self.users.handed_on();
    }

    /// Makes equal values the same, always keeping the one with the lower address, so that all who share
    /// connections end up with one.
    fn unify(&mut self, state: &mut SessionState) {
        if Arc::as_ptr(&self.has) < Arc::as_ptr(state.settings()) {
            state.unify(&self.has);
        } else {
            self.has = Arc::clone(state.settings());
        }
    }

    /// Sets what `want` has and takes back what it has not. After an error only the schema may differ from
    /// what [`Self::has`] says, and then the error is about it; or the connection must be dropped.
    pub(crate) async fn set(&mut self, want: &Arc<Settings>) -> Result<(), NotReady> {
        let connection = &self.connection;
        let login = LoginState {
            charset: &connection.charset,
            role: &connection.role,
            multi_statements: connection.capabilities.contains(Capabilities::MULTI_STATEMENTS),
        };
        let steps = difference(&self.has, want, login).ok_or(NotReady::Unfit)?.steps;
        let hashes: Vec<u64> = steps.iter().map(|step| SECRET.hash_one(step)).collect();
        let payloads = steps.iter().map(|step| match step {
            Restore::Schema(schema) => build::init_db(schema),
            Restore::MultiStatements(true) => build::set_option(SetOption::MultiStatementsOn).to_vec(),
            Restore::MultiStatements(false) => build::set_option(SetOption::MultiStatementsOff).to_vec(),
            Restore::Settings(text) | Restore::Role(text) => build::query(text, connection.capabilities),
        });
        let payloads: Vec<Vec<u8>> = payloads.collect();
        let proven = |(step, hash): (&Restore, &u64)| match step {
            Restore::Settings(_) => self.accepted.contains(hash),
            Restore::Schema(_) | Restore::MultiStatements(_) | Restore::Role(_) => false,
        };
        if steps.iter().zip(&hashes).all(proven) {
            for payload in &payloads {
                self.send_first(payload, 1);
            }
            self.has = Arc::clone(want);
            return Ok(());
        }
        self.set_and_confirm(want, &steps, &hashes, &payloads).await
    }

    async fn set_and_confirm(
        &mut self,
        want: &Arc<Settings>,
        steps: &[Restore],
        hashes: &[u64],
        payloads: &[Vec<u8>],
    ) -> Result<(), NotReady> {
        let mut bytes = BytesMut::new();
        for payload in payloads {
            frame_payload(&mut bytes, &mut 0, payload);
        }
        self.send(&bytes).await?;
        let mut refused = None;
        for (step, hash) in steps.iter().zip(hashes) {
            match (self.own_answer().await?, step) {
                (Answer::Error(error), Restore::Schema(_)) if refused.is_none() => {
                    let schema = error.code == UNKNOWN_DATABASE;
                    let error = Box::new(error);
                    refused = Some(if schema { NotReady::NoSchema(error) } else { NotReady::Refused(error) });
                }
                (Answer::Error(error), _) => refused = Some(NotReady::Refused(Box::new(error))),
                (Answer::Ok(_) | Answer::Rows { .. }, _) => {
                    if self.accepted.len() >= MAX_ACCEPTED {
                        self.accepted.clear();
                    }
                    self.accepted.insert(*hash);
                    self.created = self.created.filter(|_| !matches!(step, Restore::Role(_)));
                }
            }
        }
        match refused {
            None => self.has = Arc::clone(want),
            Some(NotReady::NoSchema(error)) => {
                self.has = Arc::new(want.in_schema(self.has.schema()));
                return Err(NotReady::NoSchema(error));
            }
            Some(other) => return Err(other),
        }
        Ok(())
    }

    /// Has `payload` sent before the next command.
    fn send_first(&mut self, payload: &[u8], answers: u32) {
        frame_payload(&mut self.first, &mut 0, payload);
        self.first_answers += answers;
    }

    /// Begins a transaction with the next command, by this text.
    pub(crate) fn begin_first(&mut self, text: &[u8]) {
        self.send_first(&build::query(text, self.connection.capabilities), 1);
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

    /// Resets the connection, so that nothing of a session is left but the schema, and switches the trackers
    /// on again. It does not reset roles and COM_SET_OPTION (seen on 9.7.4).
    pub(crate) async fn reset(&mut self, roles: Roles) -> Result<(), NotReady> {
        let connection = &self.connection;
        let role = super::state::set_role(&connection.role);
        let multi = connection.capabilities.contains(Capabilities::MULTI_STATEMENTS);
        let option = if multi { SetOption::MultiStatementsOn } else { SetOption::MultiStatementsOff };
        let mut payloads = vec![
            build::reset_connection().to_vec(),
            build::query(tracker_statement(), connection.capabilities),
            build::set_option(option).to_vec(),
        ];
        let sets_role = roles == Roles::OfLogin && !connection.role.is_empty();
        if sets_role {
            payloads.push(build::query(&role, connection.capabilities));
        }
        let mut bytes = BytesMut::new();
        for payload in &payloads {
            frame_payload(&mut bytes, &mut 0, payload);
        }
        self.send(&bytes).await?;
        for _ in &payloads {
            if let Answer::Error(error) = self.own_answer().await? {
                return Err(NotReady::Refused(Box::new(error)));
            }
        }
        self.note_reset(match roles {
            Roles::OfLogin => Hidden::Nothing,
            Roles::AsTheyAre => Hidden::Possible,
        });
        self.created = self.created.filter(|_| !sets_role);
        Ok(())
    }

    /// The same before another session's first statement on it: together with that statement, if nothing of it can be
    /// refused.
    pub(crate) async fn cleanse(&mut self) -> Result<(), NotReady> {
        if self.hidden == Hidden::Possible || self.has.changes_role() || self.has.multi_statements().is_some()
        {
            return self.reset(Roles::OfLogin).await;
        }
        // Nothing that still waits to be sent outlasts the reset.
        self.first.clear();
        self.first_answers = 0;
        self.send_first(&build::reset_connection(), 1);
        self.send_first(&build::query(tracker_statement(), self.connection.capabilities), 1);
        self.note_reset(Hidden::Nothing);
        Ok(())
    }

    fn note_reset(&mut self, hidden: Hidden) {
        self.has = Arc::new(Settings::fresh_after_reset(self.has.schema()));
        self.statements = ServerStatements::default();
        self.insert_id = 0;
        self.hidden = hidden;
        self.last_user = LastUser::Another;
        self.trackers = Trackers::Ours;
        self.created = Some(0);
        self.users = Users::Nobody;
    }

    /// The server's id of one of the client's statements, which is prepared if need be: in the state that the
    /// session had when it prepared it.
    pub(crate) async fn prepared(
        &mut self,
        statement: &ClientStatement,
        key: StatementKey,
        limit: usize,
    ) -> Result<u32, NotReady> {
        if let Some(id) = self.statements.get(key) {
            return Ok(id);
        }
        let now = Arc::clone(&self.has);
        let mut meaning = now.reading_like(&statement.meaning);
        if meaning.schema().is_none() && now.schema().is_some() {
            // Prepared without a schema, it names all of them; and a schema can't be unselected.
            meaning = meaning.in_schema(now.schema());
        }
        let meant = match now.reads_like(&meaning) {
            true => Ok(()),
            false => self.set(&Arc::new(meaning)).await.map_err(unsettled),
        };
        let prepared = match meant {
            Ok(()) => self.prepare(&statement.text).await,
            // The rest was set all the same.
            Err(error @ NotReady::NoSchema(_)) => Err(error),
            Err(lost) => return Err(lost),
        };
        if !Arc::ptr_eq(&now, &self.has) {
            self.set(&now).await.map_err(unsettled)?;
        }
        let id = prepared?.server_statement_id;
        self.statements.insert(key, id, key != statement.key, limit);
        Ok(id)
    }

    async fn prepare(&mut self, text: &[u8]) -> Result<Prepared, NotReady> {
        let mut bytes = BytesMut::new();
        frame_payload(&mut bytes, &mut 0, &build::stmt_prepare(text));
        self.send(&bytes).await?;
        let expect = Expect::Prepare { client_statement_id: 1 };
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
                        Some(ResponseEvent::Error(error)) => result = Err(NotReady::Refused(Box::new(error))),
                        Some(ResponseEvent::Ok { .. }) | None => {}
                    }
                }
                Advance::NeedMore => self.fill().await?,
                Advance::Insert { .. } => {}
                Advance::LocalInfile { .. } => return Err(NotReady::Lost),
                Advance::Complete => break,
            }
        }
        result
    }

    /// Sends of a command what the kernel takes at once, if nothing has to go before it. How many bytes that are.
    pub(crate) fn send_at_once(&mut self, bytes: &[u8]) -> Result<usize, NotReady> {
        if !self.first.is_empty() || self.statements.has_closing() {
            return Ok(0);
        }
        self.connection.io.write_at_once(bytes).map_err(|_| NotReady::Lost)
    }

    /// Sends a command, and in the same write whatever was put off until the next one; when this returns, the
    /// command's own answer is what comes next.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), NotReady> {
        for id in self.statements.take_closing() {
            self.send_first(&build::stmt_close(id), 0);
        }
        let io = &mut self.connection.io;
        if self.first.is_empty() {
            return io.write_out(bytes).await.map_err(|_| NotReady::Lost);
        }
        let mut first = std::mem::take(&mut self.first);
        let answers = std::mem::take(&mut self.first_answers);
        if bytes.len() <= MAX_COPIED {
            first.extend_from_slice(bytes);
            io.write_out(&first).await.map_err(|_| NotReady::Lost)?;
        } else {
            io.write_all(&first).await.map_err(|_| NotReady::Lost)?;
            io.write_out(bytes).await.map_err(|_| NotReady::Lost)?;
        }
        for _ in 0..answers {
            if let Answer::Error(error) = self.own_answer().await? {
                // It was accepted before, so nobody expected this; the command behind it has run all the same.
                tracing::warn!(code = error.code, "a server refused what it had accepted before");
                return Err(NotReady::RefusedFirst);
            }
        }
        Ok(())
    }

    /// Sends a command about the statement before it, with nothing in between.
    pub(crate) async fn send_alone(&mut self, bytes: &[u8]) -> Result<(), NotReady> {
        if self.last_user == LastUser::Another || !self.first.is_empty() {
            // What another session's statement left is not for this one.
            self.query(b"DO 0").await?;
        }
        self.connection.io.write_out(bytes).await.map_err(|_| NotReady::Lost)
    }

    pub(super) async fn own_answer(&mut self) -> Result<Answer, NotReady> {
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
    /// Statements that may read user variables or run hidden code: they would find what others have left.
    Finder,
    /// Statements that may write, begin a transaction or ask for the last insert id: triggers and later statements would.
    Writer,
    /// Reads only, and settings.
    Reader,
}

/// A dial running beside the session, for a warm-up.
pub(crate) type DialTask = tokio::task::JoinHandle<Result<BackendConnection, DialError>>;
