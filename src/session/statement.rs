//! Running one statement: place, send, relay, learn; and a second try where that is certainly safe.
//!
//! A write that was sent is never sent again unless a server answered that it did not take it.
//!
//! Never here: the choice of a server, a packet's layout, words for a client.

use sluice_protocol::command::QueryView;
use sluice_protocol::response::{Expect, ResponseRelay};
use sluice_routing::decide::Listener;
use sluice_routing::effects::Effect;
use sluice_routing::intent::{End as TransactionEnd, Intent, PrimaryNeed, Statement, WriteKind};
use sluice_routing::prediction::Misprediction;
use sluice_routing::topology::InstanceId;
use tokio::time::{Instant, sleep};

use super::backends::NotReady;
use super::failure::{Cause, Failure};
use super::interrupt::{Interrupt, Obey, ServerWatch, ServesAs};
use super::place::RETRY_PAUSE;
use super::prepared::StatementKey;
use super::put_off::unsent;
use super::relay::{Cut, Delivered, HoldBack, Shown, Told, relay_answer};
use super::{End, Session};
use crate::backend::buffers::Lent;
use crate::feed::registry::Order;

/// Something to run: bytes for a server, and what is known of them.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    /// What to send.
    pub(super) body: Body<'a>,
    /// What kind of answer comes.
    pub(super) expect: Expect,
    /// What the statement is.
    pub(super) statement: &'a Statement,
}

/// The bytes of a job.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    /// These frames, the same for every server.
    Frames(&'a [u8]),
    /// A COM_QUERY: servers that take no attributes get it without.
    Query {
        /// What is in it.
        view: QueryView<'a>,
        /// The frames as they came, if nothing was taken out of them.
        frames: Option<&'a [u8]>,
    },
    /// An execution of a prepared statement: the id differs from server to server.
    Execute {
        /// The id the client knows.
        client_id: u32,
        /// What it is found by on a connection.
        key: StatementKey,
        /// The client's payload.
        payload: &'a [u8],
    },
    /// Another command on a prepared statement that must be there already.
    OnPrepared {
        /// The id the client knows.
        client_id: u32,
        /// The client's payload.
        payload: &'a [u8],
    },
}

impl<'a> Job<'a> {
    /// A job of frames that are sent as they are.
    pub(super) fn text(frames: &'a [u8], expect: Expect, statement: &'a Statement) -> Self {
        Self { body: Body::Frames(frames), expect, statement }
    }

    /// Whether the statement is executed by it, not only prepared or asked about.
    fn runs(&self) -> bool {
        matches!(self.expect, Expect::Query | Expect::Execute)
    }
}

/// Whether a server has refused the statement before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tries {
    First,
    Second,
}

/// What comes after a try that did not end in an answer.
pub(super) enum Next {
    Retry,
    Fail(Failure),
    End(End),
}

impl Session {
    /// Runs a job to its answer, or answers with what went wrong.
    pub(super) async fn run_job(&mut self, job: &Job<'_>) -> Result<(), End> {
        self.run_job_told(job).await.map(drop)
    }

    /// As [`Session::run_job`], and returns what the answer told (`None`: a failure was answered).
    pub(super) async fn run_job_told(&mut self, job: &Job<'_>) -> Result<Option<Told>, End> {
        let tried = self.try_job(job).await;
        self.answer_failure(tried).await
    }

    /// Answers with what went wrong, if something did.
    pub(super) async fn answer_failure(&mut self, tried: Result<Told, Next>) -> Result<Option<Told>, End> {
        match tried {
            Ok(told) => Ok(Some(told)),
            Err(Next::Fail(failure)) => {
                self.let_go_if_idle();
                self.fail(&failure).await.map(|()| None)
            }
            Err(Next::End(end)) => Err(end),
            // try_job retries by itself and never hands this out.
            Err(Next::Retry) => Err(End::Failed),
        }
    }

    /// Runs a job whose command has no answer: what goes wrong is owed to the next command that has one.
    /// `false`: it was not sent.
    pub(super) async fn run_unanswered(&mut self, job: &Job<'_>) -> Result<bool, End> {
        match self.try_job(job).await {
            Ok(_) => Ok(true),
            Err(Next::Fail(failure)) => {
                self.let_go_if_idle();
                self.owed = Some(failure);
                Ok(false)
            }
            Err(Next::End(end)) => Err(end),
            Err(Next::Retry) => Err(End::Failed),
        }
    }

    pub(super) async fn try_job(&mut self, job: &Job<'_>) -> Result<Told, Next> {
        let deadline = self.hold_deadline();
        self.ask_questions_before(job.statement).await;
        let mut tries = Tries::First;
        let mut corrected = None;
        loop {
            let statement = corrected.as_ref().unwrap_or(job.statement);
            let job = &Job { statement, ..*job };
            let instance = match self.place_in_transaction(job.statement, deadline).await {
                Ok(instance) => instance,
                // What it asks for has happened; the session gets its OK from where it goes on.
                Err(super::place::NoPlace::Fail(Failure::RolledBack(_))) if is_rollback(job.statement) => {
                    continue;
                }
                Err(super::place::NoPlace::Fail(failure)) => return Err(Next::Fail(failure)),
                Err(super::place::NoPlace::End(end)) => return Err(Next::End(end)),
            };
            match self.exchange(instance, job).await {
                Ok((told, Shown::ToClient)) => return Ok(told),
                Ok((told, Shown::HeldBack)) => {
                    let correction = self.correction(instance, job, &told);
                    match self.refused_by_server(instance, told, tries).await {
                        Err(Next::Fail(Failure::RolledBack(_))) if is_rollback(job.statement) => {}
                        refused => refused?,
                    }
                    tries = Tries::Second;
                    corrected = correction.or(corrected);
                }
                Err(next) => match next {
                    Next::Retry if Instant::now() < deadline => self.pause_before_retry().await,
                    Next::Retry => return Err(Next::Fail(Failure::NotExecuted(Cause::Unreachable))),
                    Next::Fail(Failure::RolledBack(_)) if is_rollback(job.statement) => {}
                    Next::Fail(_) | Next::End(_) => return Err(next),
                },
            }
        }
    }

    async fn pause_before_retry(&mut self) {
        self.let_go_if_idle();
        tokio::select! {
            changed = self.shape.changed() => self.follow_shape(changed.is_ok()),
            () = sleep(RETRY_PAUSE) => {}
        }
    }

    /// Gives the write unit back if nothing is open on a server.
    fn let_go_if_idle(&mut self) {
        if !self.facts.in_transaction() {
            self.seat.leave();
        }
    }

    /// Sends the job to the connection at `instance` and relays the answer.
    async fn exchange(&mut self, instance: InstanceId, job: &Job<'_>) -> Result<(Told, Shown), Next> {
        if job.runs() {
            self.before_call(instance, job.statement).await;
        }
        let frames = self.frames_for(instance, job).await?;
        let hold_back = self.hold_back(instance, job.statement);
        let in_transaction = self.facts.in_transaction();
        let filter = self.trackers_for(instance, job.statement, job.runs()).await;
        let filter = filter.map_err(|not_ready| self.after_not_ready(instance, not_ready))?;
        let capabilities = self.client_capabilities();
        let harmless = in_transaction && !self.may_have_committed(job);
        let effects = &job.statement.effects;
        // Until the answer has been settled, since logins may follow as soon as the client has it.
        let changes = effects.has(Effect::ChangesAccess) || effects.has(Effect::SetsGlobal);
        let context = changes.then(|| std::sync::Arc::clone(&self.context));
        let _change = context.as_ref().map(|context| context.login.access_changes());
        let obey = if harmless { Obey::CloseAndRollBack } else { Obey::Close };
        let on_replica = !harmless && self.replica == Some(instance) && self.home.is_none();
        let serves_as = if on_replica { ServesAs::Replica } else { ServesAs::Primary };
        let (feed, entry) = (&*self.context.feed, &**self.registration.entry());
        let server = ServerWatch { feed, instance, serves_as, begun: std::time::Instant::now() };
        let mut interrupt = Interrupt::OfStatement(entry, obey, server);
        let Some(backend) = self.backends.get_mut(instance) else {
            return Err(self.after_not_sent(instance));
        };
        entry.set_backend(Some((instance, backend.connection.thread_id)));
        let bytes = frames.as_deref().unwrap_or(match job.body {
            Body::Frames(frames) => frames,
            Body::Query { frames, .. } => frames.unwrap_or_default(),
            Body::Execute { .. } | Body::OnPrepared { .. } => &[],
        });
        let about_last = job.statement.intent == Intent::LastStatement;
        let sending =
            async { if about_last { backend.send_alone(bytes).await } else { backend.send(bytes).await } };
        let sent = tokio::select! {
            biased;
            sent = sending => sent.map_err(|error| unsent(&error, in_transaction)),
            // A frozen server takes no more than fits into its socket.
            cut = interrupt.cut(Delivered::Nothing) => Err(cut),
        };
        if let Err(cut) = sent {
            return Err(self.after_cut(instance, job, &cut));
        }
        drop(frames); // who waits for an answer needs no room for the command
        let mut relay = ResponseRelay::new(job.expect, capabilities, filter, self.status);
        let (mut told, ledger) = (Told::default(), self.reading.ledger());
        let server = &mut backend.connection.io;
        let relayed =
            relay_answer(server, &mut self.client, &mut relay, &mut told, ledger, hold_back, &mut interrupt)
                .await;
        match relayed {
            Ok(Shown::ToClient) => {}
            Ok(Shown::HeldBack) => {
                self.take_trackers_back(instance).await;
                return Ok((told, Shown::HeldBack));
            }
            Err(cut) => return Err(self.after_cut(instance, job, &cut)),
        }
        if let Body::Execute { client_id, key, .. } = job.body {
            self.executed(instance, client_id, key, &told);
        }
        if !told.changes.system_variables.is_empty() {
            (told.by_names, told.may_collate) = charset_words(job);
        }
        self.last = Some(instance);
        self.note_left(instance, job, &told);
        self.note_repeatable(instance, job, &told);
        self.settle(instance, job.statement, &told).await;
        Ok((told, Shown::ToClient))
    }

    /// Which errors of this server mean "not here, not now" rather than an answer for the client.
    fn hold_back(&self, instance: InstanceId, statement: &Statement) -> HoldBack {
        let effects = &statement.effects;
        let split = self.listener == Listener::Split;
        if split && self.at_home_on_replica() && self.facts.in_read_only_transaction() {
            return HoldBack::AsReadOnlyTransaction(self.client_capabilities());
        }
        if effects.has(Effect::SeveralStatements) || effects.has(Effect::Unprovable) {
            return HoldBack::Nothing;
        }
        // A primary that stops may have lost its role by now, and what is open there still gets its answers.
        let on_primary =
            || self.replica != Some(instance) || self.context.feed.topology().is_primary(instance);
        if self.home.is_some() {
            let in_transaction = self.facts.in_transaction() && on_primary();
            return if in_transaction { HoldBack::Stopping } else { HoldBack::Nothing };
        }
        match statement.intent {
            // The primary's, or those of the replica that was chosen.
            Intent::HarmlessRead | Intent::TransactionStart { .. } => HoldBack::ReadOnlyOrStopping,
            Intent::SessionState if on_primary() => HoldBack::ReadOnlyOrStopping,
            // What a stopping server broke off is not for us to repeat: 1053 is the client's to hear.
            Intent::NeedsPrimary(_) | Intent::Write(_) if on_primary() => HoldBack::ReadOnlyOrUncommitted,
            Intent::SessionState
            | Intent::NeedsPrimary(_)
            | Intent::Write(_)
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint => HoldBack::Nothing,
        }
    }

    /// A server answered that it is read-only or stopping. If it really is, the statement goes back to the
    /// gate, once; otherwise the error has another cause and is the client's. A transaction ends with its
    /// server.
    async fn refused_by_server(
        &mut self,
        instance: InstanceId,
        told: Told,
        tries: Tries,
    ) -> Result<(), Next> {
        let Some(error) = told.error else { return Err(Next::End(End::Failed)) };
        if self.home.is_some() {
            return Err(self.after_not_sent(instance));
        }
        if error.code == 3100 {
            // The server stops and has rolled the write back: its own error would say less.
            self.backends.drop_connection(instance);
            return Err(Next::Fail(Failure::NotExecuted(Cause::InstanceLost)));
        }
        let stopping = error.code == 1053;
        let really = stopping || self.reads_only(instance).await;
        if really && tries == Tries::First {
            self.context.metrics.retried_refusal();
            if self.replica == Some(instance) {
                if stopping {
                    self.shun(instance);
                }
                return Ok(());
            }
            if stopping {
                self.backends.drop_connection(instance);
            }
            self.pause_before_retry().await;
            return Ok(());
        }
        self.let_go_if_idle();
        self.left.failed(&error);
        match self.answer_packet(&error.encode(self.client_capabilities())).await {
            Ok(()) if stopping => Err(Next::End(End::Failed)),
            Ok(()) => Err(Next::Fail(Failure::AlreadyAnswered)),
            Err(end) => Err(Next::End(end)),
        }
    }

    /// What a statement is that a replica refused as a write: not the harmless read it was taken for. A view can call
    /// a function that writes.
    fn correction(&self, instance: InstanceId, job: &Job<'_>, told: &Told) -> Option<Statement> {
        let refused = told.error.as_ref().is_some_and(|error| matches!(error.code, 1290 | 1836));
        if !refused || self.replica != Some(instance) || job.statement.intent != Intent::HarmlessRead {
            return None;
        }
        self.context.metrics.mispredicted(Misprediction::ReadRefused);
        Some(job.statement.refused_as_write())
    }

    async fn reads_only(&mut self, instance: InstanceId) -> bool {
        let Some(backend) = self.backends.get_mut(instance) else { return false };
        match backend.query(b"SELECT @@global.read_only").await {
            Ok(sluice_protocol::response::Answer::Rows { rows, .. }) => {
                rows.first().and_then(|row| row.first()).is_some_and(|value| value.as_deref() == Some(b"1"))
            }
            Ok(_) => false,
            Err(_) => {
                self.backends.drop_connection(instance);
                false
            }
        }
    }

    /// The job's frames for this connection, if they differ from what the client sent.
    async fn frames_for(&mut self, instance: InstanceId, job: &Job<'_>) -> Result<Option<Lent>, Next> {
        match job.body {
            Body::Frames(_) => Ok(None),
            Body::Query { view, frames } => Ok(self.query_frames(instance, &view, frames)),
            Body::Execute { client_id, key, payload } => {
                self.execute_frames(instance, client_id, key, payload).await.map(Some)
            }
            Body::OnPrepared { client_id, payload } => {
                self.on_prepared_frames(instance, client_id, payload).await.map(Some)
            }
        }
        .map_err(|not_ready| self.after_not_ready(instance, not_ready))
    }

    fn after_not_ready(&mut self, instance: InstanceId, not_ready: NotReady) -> Next {
        match not_ready {
            NotReady::Refused(error) | NotReady::NoSchema(error) => Next::Fail(Failure::Server(error)),
            NotReady::ClientGone => Next::End(End::ClientLeft),
            NotReady::Lost | NotReady::RefusedFirst | NotReady::Dial(_) | NotReady::Unfit => {
                self.backends.drop_connection(instance);
                self.after_not_sent(instance)
            }
        }
    }

    /// The connection was lost before the statement went out: certainly not executed.
    fn after_not_sent(&mut self, instance: InstanceId) -> Next {
        self.backends.drop_connection(instance);
        match self.lost_home(instance, Cause::InstanceLost) {
            Some(failure) => Next::Fail(failure),
            None => Next::Retry,
        }
    }

    /// What an answer that broke off means.
    fn after_cut(&mut self, instance: InstanceId, job: &Job<'_>, cut: &Cut) -> Next {
        self.backends.drop_connection(instance);
        let (cause, delivered) = match *cut {
            Cut::Client => return Next::End(End::ClientLost),
            Cut::Ordered(Order::Close, _) => return Next::End(End::Ordered),
            Cut::Ordered(Order::RollBack | Order::None | Order::CloseAtBoundary, delivered) => {
                (Cause::Switchover, delivered)
            }
            Cut::Server(delivered) | Cut::Unseen(delivered) => (Cause::InstanceLost, delivered),
        };
        // What told its GTID has committed something, whatever it looked like.
        let may_commit = self.may_have_committed(job) || matches!(cut, Cut::Unseen(_));
        let lost_home = self.lost_home(instance, cause);
        if may_commit {
            return match delivered {
                Delivered::Nothing => Next::Fail(Failure::OutcomeUnknown),
                Delivered::Something => Next::Fail(Failure::AnswerCut),
            };
        }
        match (delivered, lost_home) {
            (Delivered::Something, _) => Next::Fail(Failure::AnswerCut),
            (Delivered::Nothing, Some(failure)) => Next::Fail(failure),
            // The first write of a transaction that begins by itself (autocommit=0).
            (Delivered::Nothing, None) if matches!(job.statement.intent, Intent::Write(_)) && job.runs() => {
                Next::Fail(Failure::RolledBack(cause))
            }
            (Delivered::Nothing, None) => Next::Retry,
        }
    }

    /// Whether a statement that was sent and not answered may have left something committed.
    fn may_have_committed(&self, job: &Job<'_>) -> bool {
        let statement = job.statement;
        if !job.runs() || is_rollback(statement) {
            return false;
        }
        if statement.effects.has(Effect::Unprovable) || statement.effects.has(Effect::SetsGlobal) {
            return true;
        }
        if self.facts.in_transaction() || !self.facts.autocommit() {
            let of_transaction = matches!(statement.intent, Intent::Write(WriteKind::Data))
                && !statement.effects.has(Effect::SeveralStatements);
            return statement.effects.has(Effect::MayCommit) && !of_transaction;
        }
        match statement.intent {
            Intent::HarmlessRead
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::SessionState
            | Intent::NeedsPrimary(
                PrimaryNeed::Attached
                | PrimaryNeed::ConnectionId
                | PrimaryNeed::ServerFunction
                | PrimaryNeed::SystemVariable
                | PrimaryNeed::ServerSchema,
            )
            | Intent::TransactionStart { .. } => false,
            Intent::NeedsPrimary(_)
            | Intent::Kill { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::Write(_) => true,
        }
    }
}

/// Of a statement that set variables: whether it is a SET NAMES, and whether it may have set a collation that
/// is not its character set's default.
fn charset_words(job: &Job<'_>) -> (bool, bool) {
    let text = match job.body {
        _ if job.statement.effects.has(Effect::Unprovable) => return (false, true),
        Body::Frames(frames) => frames,
        Body::Query { view, .. } => view.text,
        Body::Execute { .. } | Body::OnPrepared { .. } => return (false, true),
    };
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    let other = has(b"CHARACTER") || has(b"CHARSET");
    (has(b"NAMES") && !other, has(b"COLLATE") || other)
}

/// Whether losing the connection does to the transaction what the statement asks for.
fn is_rollback(statement: &Statement) -> bool {
    match statement.intent {
        Intent::TransactionEnd { end, .. } => end == TransactionEnd::Rollback,
        Intent::HarmlessRead
        | Intent::NeedsPrimary(_)
        | Intent::LastStatement
        | Intent::ConnectionId { .. }
        | Intent::Kill { .. }
        | Intent::TransactionStart { .. }
        | Intent::Savepoint
        | Intent::SessionState
        | Intent::Write(_) => false,
    }
}
