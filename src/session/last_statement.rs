//! Questions about the statement before: SHOW WARNINGS, ROW_COUNT() and their like.
//!
//! As long as the session still has the connection on which that statement ran, the question goes there as it is. A
//! session that has lent it away, or that a switchover has moved, is answered with what is known ([`Left`]): SHOW
//! WARNINGS from what was read off the connection, queries with the numbers put in.
//!
//! Never here: what a statement leaves (that is [`super::left`]'s), a choice of server.

use bytes::BytesMut;
use sluice_protocol::command::{QueryView, build};
use sluice_protocol::ok_packet::{OkKind, OkPacket};
use sluice_protocol::response::{Answer, Expect};
use sluice_protocol::{Capabilities, WireAppend as _, frame_payload};
use sluice_routing::effects::Effect;
use sluice_routing::intent::{Intent, Statement};
use sluice_routing::last_statement::{Page, Question, Which, counts_rows, put_in};
use sluice_routing::topology::InstanceId;
use tokio::time::{Duration, timeout};

use super::backends::{Backend, LastUser, NotReady};
use super::failure::Failure;
use super::left::{Captured, Conditions, FoundRows, Left, MAX_CONDITIONS};
use super::relay::Told;
use super::statement::{Body, Job, Next};
use super::{End, Session};

/// Longest wait for what is being read off a connection that was lent: as long as one of our own commands may take.
const HAND_OVER: Duration = Duration::from_secs(5);
/// How much of a text is searched for a query inside of it.
const SEARCHED: usize = 1024;

impl Session {
    /// The instance of the last statement, if its connection is still this session's and nobody used it meanwhile.
    pub(super) fn last_at_hand(&mut self) -> Option<InstanceId> {
        let last = self.last?;
        let elsewhere = matches!(self.left.conditions, Conditions::Here(_) | Conditions::Lost);
        if elsewhere || self.context.feed.is_disowned(last) {
            return None;
        }
        let backend = self.own(last)?;
        (backend.last_user == LastUser::ThisSession).then_some(last)
    }

    /// Runs a query about the last statement, or answers it.
    pub(super) async fn ask_about_last(&mut self, job: &Job<'_>, view: &QueryView<'_>) -> Result<(), End> {
        let question = Question::read(view.text, self.facts.mode());
        let mut at_hand = self.last_at_hand();
        let Some(question) = question else { return self.run_job(job).await };
        if self.is_known_there(question, at_hand) {
            self.asking = Some(question);
            self.asks_only_there = true;
            let asked = self.try_job(job, &mut Told::default()).await;
            self.asks_only_there = false;
            self.asking = None;
            match asked {
                // A switchover came in between, or its server ended the connection.
                Err(Next::Fail(Failure::AskedTooLate)) => at_hand = None,
                Err(next) => return self.answer_failure(next).await,
                Ok(()) => return Ok(()),
            }
        }
        self.bring_here(at_hand).await;
        match question {
            Question::Conditions(which, page) => self.show_conditions(job, which, page).await,
            Question::Count(which) => {
                let values = self.left.values();
                let (count, name) = match which {
                    Which::All => (values.warnings, "warning_count"),
                    Which::Errors => (values.errors, "error_count"),
                };
                let count = count.unwrap_or_default();
                let text = format!("SELECT CAST(IF(TRUE, {count}, NULL) AS UNSIGNED) AS `@@session.{name}`");
                self.asking = Some(question);
                let asked = self.own_text(text.as_bytes(), job.statement).await;
                self.asking = None;
                asked
            }
            Question::Values(_) | Question::Diagnostics => {
                let text = put_in(view.text, self.facts.mode(), &self.left.values());
                let view = QueryView { attributes: view.attributes, text: &text };
                self.run_job(&Job { body: Body::Query { view, frames: None }, ..*job }).await
            }
        }
    }

    /// Whether the server of the last statement knows the answer.
    fn is_known_there(&self, question: Question, at_hand: Option<InstanceId>) -> bool {
        let Some(instance) = at_hand else {
            return false;
        };
        match question {
            Question::Values(asked) if asked.found_rows => match self.left.found_rows {
                FoundRows::Known(_, at) | FoundRows::OnConnection(at) => at == instance,
                FoundRows::Unknown => true,
            },
            Question::Conditions(..) | Question::Count(_) | Question::Values(_) | Question::Diagnostics => {
                true
            }
        }
    }

    /// Has what the last statement left read off its connection, or waits until that is done.
    async fn bring_here(&mut self, at_hand: Option<InstanceId>) {
        if !matches!(self.left.conditions, Conditions::OnConnection)
            && !matches!(self.left.found_rows, FoundRows::OnConnection(_))
        {
            return;
        }
        if let Some(instance) = at_hand {
            self.read_off(instance).await;
            return;
        }
        let captured = match self.left.handed_over.take() {
            Some(handed_over) => timeout(HAND_OVER, handed_over).await.ok().and_then(Result::ok),
            None => None,
        };
        self.left.take_in(captured);
    }

    /// Reads what the last statement left off its connection, before something of ours runs there.
    pub(super) async fn read_off(&mut self, instance: InstanceId) {
        if !self.left.is_on(instance) {
            return;
        }
        let Some(backend) = self.backends.get_mut(instance) else { return };
        let captured = backend.read_left().await;
        if captured.is_err() {
            self.backends.drop_connection(instance);
        }
        self.left.take_in(captured.ok());
    }

    /// Makes conditions out of the error that is known, in the form in which the server shows them.
    async fn rebuild_conditions(&mut self) -> Option<()> {
        let error = self.left.error.clone().filter(|_| matches!(self.left.conditions, Conditions::Lost))?;
        let deadline = self.hold_deadline();
        let instance = self.place(&Statement::of(Intent::LastStatement), deadline).await.ok()?;
        let columns = self.backends.get_mut(instance)?.columns_of_warnings().await;
        let Ok(columns) = columns else {
            self.backends.drop_connection(instance);
            return None;
        };
        let row = [b"Error".to_vec(), error.code.to_string().into_bytes(), error.message.to_vec()];
        let rows = vec![row.into_iter().map(Some).collect()];
        self.left.conditions =
            Conditions::Here(Box::new(Captured { columns, rows, warnings: 1, found_rows: None }));
        Some(())
    }

    async fn show_conditions(&mut self, job: &Job<'_>, which: Which, page: Page) -> Result<(), End> {
        // Without it there is nothing to show.
        let _ = self.rebuild_conditions().await;
        let Conditions::Here(captured) = &self.left.conditions else {
            // There is nothing to show, which any server says best.
            self.asking = Some(Question::Conditions(which, page));
            let asked = self.run_job(job).await;
            self.asking = None;
            return asked;
        };
        let frames = self.conditions_frames(captured, which, page);
        self.left.row_count = Some(-1);
        self.client.write_out(&frames).await.map_err(|_| End::ClientLost)
    }

    /// The answer to SHOW WARNINGS, as the server would have given it.
    fn conditions_frames(&self, captured: &Captured, which: Which, page: Page) -> BytesMut {
        let capabilities = self.client_capabilities();
        let mut frames = BytesMut::new();
        let mut sequence = self.answer_sequence;
        let mut count = Vec::new();
        count.push_lenenc_int(captured.columns.len() as u64);
        frame_payload(&mut frames, &mut sequence, &count);
        for column in &captured.columns {
            frame_payload(&mut frames, &mut sequence, column);
        }
        let ok = OkPacket { kind: OkKind::ResultEnd, ..OkPacket::answer(self.status) };
        let mut end = Vec::new();
        if !capabilities.contains(Capabilities::DEPRECATE_EOF) {
            ok.encode(capabilities, &mut end);
            frame_payload(&mut frames, &mut sequence, &end);
            end.clear();
        }
        let rows: Box<dyn Iterator<Item = &Vec<Option<Vec<u8>>>> + Send> = match which {
            Which::All => Box::new(captured.rows.iter()),
            Which::Errors => Box::new(captured.errors()),
        };
        for row in rows.skip(page.offset).take(page.count) {
            let mut payload = Vec::new();
            for value in row {
                payload.push_lenenc_bytes(value.as_deref().unwrap_or_default());
            }
            frame_payload(&mut frames, &mut sequence, &payload);
        }
        OkPacket { warnings: captured.warnings, ..ok }.encode(capabilities, &mut end);
        frame_payload(&mut frames, &mut sequence, &end);
        frames
    }

    /// Takes note of what a statement left, from its answer.
    pub(super) fn note_left(&mut self, instance: InstanceId, job: &Job<'_>, told: &Told) {
        let about_last = job.statement.intent == Intent::LastStatement;
        match job.expect {
            Expect::Query | Expect::Execute => {}
            // A prepared question leaves what it asks about.
            Expect::Prepare { .. } if about_last && told.error.is_none() => return,
            Expect::Prepare { .. } => return self.note_conditions(job.statement, told),
            Expect::Plain if about_last => return self.left.row_count = Some(-1),
            Expect::Plain => {
                self.left.row_count = Some(if told.error.is_some() { -1 } else { 0 });
                return self.note_conditions(job.statement, told);
            }
            Expect::Fetch
            | Expect::BinlogStream
            | Expect::FieldList
            | Expect::Statistics
            | Expect::Nothing => return,
        }
        if let Some(question) = self.asking.filter(|_| about_last && told.error.is_none())
            && question.keeps_conditions()
        {
            return match question {
                Question::Diagnostics => {}
                Question::Count(_) => {
                    self.left.row_count = Some(-1);
                    self.left.found_rows = FoundRows::Known(1, instance);
                }
                Question::Conditions(..) | Question::Values(_) => self.left.row_count = Some(-1),
            };
        }
        self.left.row_count = match (&told.error, told.rows) {
            (None, None) => i64::try_from(told.affected_rows).ok(),
            (Some(_), _) | (_, Some(_)) => Some(-1),
        };
        if told.error.is_none() {
            self.left.found_rows = self.found_rows(instance, job, told);
        }
        self.note_conditions(job.statement, told);
    }

    fn note_conditions(&mut self, statement: &Statement, told: &Told) {
        let hidden = statement.effects.has(Effect::Unprovable);
        let any = told.warnings > 0 || told.error.is_some() || hidden;
        self.left = Left {
            row_count: self.left.row_count,
            found_rows: self.left.found_rows,
            conditions: if any { Conditions::OnConnection } else { Conditions::Nothing },
            error: told.error.clone().map(Box::new),
            warnings: told.warnings,
            handed_over: None,
        };
    }

    fn found_rows(&self, instance: InstanceId, job: &Job<'_>, told: &Told) -> FoundRows {
        let effects = &job.statement.effects;
        let text = match job.body {
            Body::Query { view, .. } => view.text,
            Body::Execute { client_id, .. } => {
                self.statements.get(client_id).map_or(&[][..], |prepared| &prepared.text)
            }
            Body::Frames(_) | Body::OnPrepared { .. } => &[],
        };
        let own_ways = [Effect::CountsFoundRows, Effect::SeveralStatements, Effect::Unprovable];
        if own_ways.iter().any(|&effect| effects.has(effect)) {
            return FoundRows::OnConnection(instance);
        }
        if let Some(rows) = told.rows {
            let counts = counts_rows(text, self.facts.mode());
            return if counts { FoundRows::Known(rows, instance) } else { FoundRows::OnConnection(instance) };
        }
        match job.statement.intent {
            Intent::HarmlessRead
            | Intent::NeedsPrimary(_)
            | Intent::LastStatement
            | Intent::ConnectionId { .. }
            | Intent::Kill { .. } => FoundRows::OnConnection(instance),
            // INSERT ... SELECT counts like its query; others leave what was there.
            Intent::SessionState | Intent::Write(_) if has_query(text) => FoundRows::OnConnection(instance),
            Intent::SessionState
            | Intent::Write(_)
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint => self.left.found_rows,
        }
    }
}

impl Backend {
    /// Reads what the last statement left: SHOW WARNINGS leaves it in place and says nothing of FOUND_ROWS().
    pub(crate) async fn read_left(&mut self) -> Result<Captured, NotReady> {
        let capabilities = self.connection.capabilities;
        let show = format!("SHOW WARNINGS LIMIT {MAX_CONDITIONS}");
        let mut bytes = BytesMut::new();
        for text in [show.as_bytes(), b"SELECT FOUND_ROWS()"] {
            frame_payload(&mut bytes, &mut 0, &build::query(text, capabilities));
        }
        // Nothing that was put off may come before it.
        self.connection.io.write_out(&bytes).await.map_err(|_| NotReady::Lost)?;
        self.last_user = LastUser::Another;
        let (shown, found) = (self.own_answer().await?, self.own_answer().await?);
        let Answer::Rows { columns, rows, end } = shown else { return Err(NotReady::Lost) };
        let found = match &found {
            Answer::Rows { rows, .. } => rows.first().and_then(|row| row.first()).and_then(Option::as_deref),
            Answer::Ok(_) | Answer::Error(_) => None,
        };
        let found = found.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
        Ok(Captured::new(columns, rows, &end, found))
    }

    /// The definitions of the columns of SHOW WARNINGS.
    pub(crate) async fn columns_of_warnings(&mut self) -> Result<Vec<Vec<u8>>, NotReady> {
        self.last_user = LastUser::Another;
        match self.query(b"SHOW WARNINGS LIMIT 0").await? {
            Answer::Rows { columns, .. } => Ok(columns),
            Answer::Error(error) => Err(NotReady::Refused(Box::new(error))),
            Answer::Ok(_) => Err(NotReady::Lost),
        }
    }

    /// Takes to its owner what his last statement left, before anybody else's runs.
    pub(crate) async fn hand_over_left(&mut self) -> Result<(), NotReady> {
        let Some(left) = self.left.take().filter(|left| !left.is_closed()) else { return Ok(()) };
        let captured = self.read_left().await?;
        // He may have gone meanwhile.
        let _ = left.send(captured);
        Ok(())
    }
}

/// Whether there may be a query inside a text.
fn has_query(text: &[u8]) -> bool {
    const QUERY: &[u8] = b"SELECT";
    let searched = text.get(..SEARCHED).unwrap_or(text);
    text.len() > SEARCHED || searched.windows(QUERY.len()).any(|part| part.eq_ignore_ascii_case(QUERY))
}
