//! Running one statement: place, send, relay, learn; and a second try where that is certainly safe.
//!
//! A write that was sent is never sent again unless a server answered that it did not take it.
//!
//! Never here: the choice of a server, a packet's layout, words for a client.

use sluice_protocol::TrackerFilter;
use sluice_protocol::command::QueryView;
use sluice_protocol::response::{Expect, ResponseRelay};
use sluice_routing::decide::Listener;
use sluice_routing::effects::Effect;
use sluice_routing::intent::{End as TransactionEnd, Intent, PrimaryNeed, Statement, WriteKind};
use sluice_routing::topology::InstanceId;
use tokio::time::{Instant, sleep};

use super::backends::{Backend, NotReady};
use super::failure::{Cause, Failure};
use super::interrupt::{Interrupt, Obey, ServerWatch, ServesAs};
use super::own_trackers::borrows;
use super::place::RETRY_PAUSE;
use super::prepared::StatementKey;
use super::put_off::unsent;
use super::relay::{Cut, Delivered, HoldBack, Shown, Told, relay_answer};
use super::{End, Session};
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

    /// The frames as the client sent them, if they may go on as they are.
    fn came_as(&self) -> &'a [u8] {
        match self.body {
            Body::Frames(frames) => frames,
            Body::Query { frames, .. } => frames.unwrap_or_default(),
            Body::Execute { .. } | Body::OnPrepared { .. } => &[],
        }
    }

    /// Whether the statement is executed by it, not only prepared or asked about.
    fn runs(&self) -> bool {
        matches!(self.expect, Expect::Query | Expect::Execute)
    }
}

/// Whether a server has refused the statement before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tries {
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
        self.run_job_told(job, &mut Told::default()).await.map(drop)
    }

    /// As [`Session::run_job`]; `told` becomes what the answer told. Whether a server answered: else a failure was
    /// answered.
    pub(super) async fn run_job_told(&mut self, job: &Job<'_>, told: &mut Told) -> Result<bool, End> {
        match self.try_job(job, told).await {
            Ok(()) => Ok(true),
            Err(next) => self.answer_failure(next).await.map(|()| false),
        }
    }

    /// Answers with what went wrong.
    pub(super) async fn answer_failure(&mut self, next: Next) -> Result<(), End> {
        match next {
            Next::Fail(failure) => {
                self.let_go_if_idle();
                self.fail(&failure).await
            }
            Next::End(end) => Err(end),
            // try_job retries by itself and never hands this out.
            Next::Retry => Err(End::Failed),
        }
    }

    /// Runs a job whose command has no answer: what goes wrong is owed to the next command that has one.
    /// `false`: it was not sent.
    pub(super) async fn run_unanswered(&mut self, job: &Job<'_>) -> Result<bool, End> {
        match self.try_job(job, &mut Told::default()).await {
            Ok(()) => Ok(true),
            Err(Next::Fail(failure)) => {
                self.let_go_if_idle();
                self.owed = Some(failure);
                Ok(false)
            }
            Err(Next::End(end)) => Err(end),
            Err(Next::Retry) => Err(End::Failed),
        }
    }

    /// Runs a job until a server has answered it or trying again is of no use; `told` becomes what the answer told.
    /// It is written in place: handed back through the futures around it, it would be copied by each.
    pub(super) async fn try_job(&mut self, job: &Job<'_>, told: &mut Told) -> Result<(), Next> {
        let deadline = self.hold_deadline();
        if self.has_questions() {
            Box::pin(self.ask_questions_before(job.statement)).await;
        }
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
            *told = Told::default();
            match self.exchange(instance, job, told).await {
                Ok(Shown::ToClient) => return Ok(()),
                Ok(Shown::HeldBack) => {
                    let correction = self.correction(instance, job, told);
                    match self.refused_by_server(instance, told.error.take(), tries).await {
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

    pub(super) async fn pause_before_retry(&mut self) {
        self.let_go_if_idle();
        tokio::select! {
            changed = self.shape.changed() => self.follow_shape(changed.is_ok()),
            () = sleep(RETRY_PAUSE) => {}
        }
    }

    /// Gives the write unit back if nothing is open on a server.
    pub(super) fn let_go_if_idle(&mut self) {
        if !self.facts.in_transaction() {
            self.seat.leave();
        }
    }

    /// Sends the job to the connection at `instance` and relays the answer.
    async fn exchange(
        &mut self,
        instance: InstanceId,
        job: &Job<'_>,
        told: &mut Told,
    ) -> Result<Shown, Next> {
        let frames = match job.body {
            Body::Frames(_) => None,
            Body::Query { view, frames } => self.query_frames(instance, &view, frames),
            Body::Execute { client_id, key, payload } => {
                let frames = self.execute_frames(instance, client_id, key, payload).await;
                Some(frames.map_err(|not_ready| self.after_not_ready(instance, not_ready))?)
            }
            Body::OnPrepared { client_id, payload } => {
                let frames = Box::pin(self.on_prepared_frames(instance, client_id, payload)).await;
                Some(frames.map_err(|not_ready| self.after_not_ready(instance, not_ready))?)
            }
        };
        let hold_back = self.hold_back(instance, job.statement);
        let in_transaction = self.facts.in_transaction();
        let asks_before = job.statement.intent == Intent::Write(WriteKind::Call) || borrows(job.statement);
        let filter = if job.runs() && asks_before {
            Box::pin(self.ask_before(instance, job.statement)).await?
        } else {
            self.tracker_filter()
        };
        let capabilities = self.client_capabilities();
        let (obey, serves_as) = self.interrupted_as(instance, job);
        let effects = &job.statement.effects;
        // Until the answer has been settled, since logins may follow as soon as the client has it.
        let changes = effects.has(Effect::ChangesAccess) || effects.has(Effect::SetsGlobal);
        let context = changes.then(|| std::sync::Arc::clone(&self.context));
        let _change = context.as_ref().map(|context| context.login.access_changes());
        let (feed, entry) = (&*self.context.feed, &**self.registration.entry());
        let server = ServerWatch { feed, instance, serves_as, begun: std::time::Instant::now() };
        let mut interrupt = Interrupt::OfStatement(entry, obey, server);
        let Some(backend) = self.backends.get_mut(instance) else {
            return Err(self.after_not_sent(instance));
        };
        entry.set_backend(Some((instance, backend.connection.thread_id)));
        let bytes = frames.as_deref().unwrap_or(job.came_as());
        let about_last = job.statement.intent == Intent::LastStatement;
        let at_once = if about_last { Ok(0) } else { backend.send_at_once(bytes) };
        let sent = match at_once {
            Ok(all) if all == bytes.len() => Ok(()),
            Ok(part) => {
                let rest = bytes.get(part..).unwrap_or_default();
                send_rest(backend, rest, about_last, in_transaction, &mut interrupt).await
            }
            Err(error) => Err(unsent(&error, in_transaction)),
        };
        if let Err(cut) = sent {
            return Err(self.after_cut(instance, job, &cut));
        }
        drop(frames); // who waits for an answer needs no room for the command
        let mut relay = ResponseRelay::new(job.expect, capabilities, filter, self.status);
        let ledger = self.reading.ledger();
        let server = &mut backend.connection.io;
        let relayed =
            relay_answer(server, &mut self.client, &mut relay, told, ledger, hold_back, &mut interrupt).await;
        let shown = relayed.map_err(|cut| self.after_cut(instance, job, &cut))?;
        match shown {
            Shown::ToClient => {
                self.note_answered(instance, job, told);
                self.settle(instance, job.statement, told).await;
            }
            Shown::HeldBack => Box::pin(self.take_trackers_back(instance)).await,
        }
        Ok(shown)
    }

    /// Which orders break such a statement off, and what its server is while it runs.
    fn interrupted_as(&self, instance: InstanceId, job: &Job<'_>) -> (Obey, ServesAs) {
        let harmless = self.facts.in_transaction() && !self.may_have_committed(job);
        let obey = if harmless { Obey::CloseAndRollBack } else { Obey::Close };
        let on_replica = !harmless && self.replica == Some(instance) && self.home.is_none();
        (obey, if on_replica { ServesAs::Replica } else { ServesAs::Primary })
    }

    /// What has to be asked of a connection, or set on it, right before such a statement. What of the trackers in its
    /// answer the client is to see.
    async fn ask_before(
        &mut self,
        instance: InstanceId,
        statement: &Statement,
    ) -> Result<TrackerFilter, Next> {
        if statement.intent == Intent::Write(WriteKind::Call) {
            self.before_call(instance).await;
        }
        if !borrows(statement) {
            return Ok(self.tracker_filter());
        }
        let filter = self.lend_trackers_to(instance, statement).await;
        filter.map_err(|not_ready| self.after_not_ready(instance, not_ready))
    }

    /// What an answer that the client has means for the next statement, before that is settled with the server.
    fn note_answered(&mut self, instance: InstanceId, job: &Job<'_>, told: &mut Told) {
        if let Body::Execute { client_id, key, .. } = job.body {
            self.executed(instance, client_id, key, told);
        }
        if !told.changes.system_variables.is_empty() {
            (told.by_names, told.may_collate) = charset_words(job);
        }
        self.last = Some(instance);
        self.note_left(instance, job, told);
        self.note_repeatable(instance, job, told);
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
    pub(super) fn after_not_sent(&mut self, instance: InstanceId) -> Next {
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

/// Sends what the kernel did not take at once. A frozen server takes no more than fits into its socket.
async fn send_rest(
    backend: &mut Backend,
    rest: &[u8],
    about_last: bool,
    in_transaction: bool,
    interrupt: &mut Interrupt<'_>,
) -> Result<(), Cut> {
    let sending =
        async { if about_last { backend.send_alone(rest).await } else { backend.send(rest).await } };
    tokio::select! {
        biased;
        sent = sending => sent.map_err(|error| unsent(&error, in_transaction)),
        cut = interrupt.cut(Delivered::Nothing) => Err(cut),
    }
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
