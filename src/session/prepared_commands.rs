//! The commands on prepared statements.
//!
//! The client's ids are ours; a statement is prepared on a server when it is first executed there. What a
//! client attaches to a statement on one server (long data, a cursor) pins the session until it is gone.
//!
//! Never here: the choice of a server, a packet's layout.

use bytes::BytesMut;
use sluice_protocol::command::{BoundTypes, ExecuteView, build, replace_statement};
use sluice_protocol::packet::HEADER_LEN;
use sluice_protocol::response::Expect;
use sluice_protocol::{StatusFlags, frame_payload};
use sluice_routing::intent::{Intent, PrimaryNeed, Statement};
use sluice_routing::topology::InstanceId;

use super::backends::NotReady;
use super::command::ClientCommand;
use super::failure::{ClientFault, Failure};
use super::memory::OF_CLIENT;
use super::prepared::{Attached, Prepared, StatementKey};
use super::relay::Told;
use super::statement::{Body, Job};
use super::{End, Session};
use crate::backend::buffers::Lent;

impl Session {
    /// COM_STMT_PREPARE
    pub(super) async fn prepare(&mut self, command: &ClientCommand, text: &[u8]) -> Result<(), End> {
        let Ok(client_id) = self.statements.next_id(text.len()) else {
            return self.fail(&Failure::Client(ClientFault::TooManyStatements)).await;
        };
        if !self.cover_texts(text.len()) {
            return self.fail(&Failure::Client(ClientFault::NoMemory)).await;
        }
        let mut statement = self.classify(text);
        let mut framed = BytesMut::new();
        let own_text = self.with_own_id(text, &statement);
        if let Some(own) = &own_text {
            statement = self.classify(own);
            frame_payload(&mut framed, &mut 0, &build::stmt_prepare(own));
        }
        let text = own_text.as_deref().unwrap_or(text);
        let frames = if own_text.is_some() { &framed } else { command.frames() };
        // Preparing runs nothing: it goes where an execution would go and has no effects.
        let mut preparing = Statement::of(prepare_intent(statement.intent));
        preparing.wishes(statement.wish);
        let expect = Expect::Prepare { client_statement_id: client_id };
        let job = Job::text(frames, expect, &preparing);
        let mut told = Told::default();
        if self.run_job_told(&job, &mut told).await?
            && let Some(prepared) = told.prepared
        {
            let meaning = std::sync::Arc::clone(self.state.settings());
            let key = StatementKey::new(text, &meaning);
            let limit = self.context.statements_per_connection();
            if let Some(instance) = self.last
                && let Some(backend) = self.backends.get_mut(instance)
            {
                backend.statements.insert(key, prepared.server_statement_id, false, limit);
            }
            let parameters = prepared.parameters;
            let text = text.into();
            let attached = Attached::Nothing;
            self.statements.insert(
                client_id,
                Prepared { text, meaning, key, statement, parameters, types: None, attached },
            );
        }
        Ok(())
    }

    /// Takes memory for the texts of all prepared statements and one of `more` bytes, beyond what is in every client's
    /// share. What was closed meanwhile is given back.
    fn cover_texts(&mut self, more: usize) -> bool {
        let bytes = self.statements.text_bytes().saturating_add(more).saturating_sub(OF_CLIENT);
        if bytes == 0 {
            self.texts = None;
            return true;
        }
        let memory = self.context.login.memory();
        let texts = self.texts.get_or_insert_with(|| memory.begin());
        texts.shrink_to(bytes);
        texts.cover_or_refuse(bytes).is_ok()
    }

    /// COM_STMT_EXECUTE
    pub(super) async fn execute_prepared(&mut self, client_id: u32, payload: &[u8]) -> Result<(), End> {
        let capabilities = self.client_capabilities();
        let Some(prepared) = self.statements.get_mut(client_id) else {
            return self.fail(&Failure::Client(ClientFault::UnknownStatement(client_id))).await;
        };
        let Ok(view) = ExecuteView::parse(payload, prepared.parameters, capabilities) else {
            return self.fail(&Failure::Client(ClientFault::MalformedPacket)).await;
        };
        if let Some(types) = view.types {
            let types = types.first(prepared.parameters);
            if prepared.types.as_ref().map(BoundTypes::view) != Some(types) {
                prepared.types = Some(types.to_bound());
            }
        }
        let mut statement = prepared.statement.clone();
        // Parameters whose long data was sent have no value in the packet, so attributes can't be found behind them.
        let readable = prepared.attached != Attached::LongData;
        let Ok(own) = self.hints.take_from_execute(&view, payload, readable) else {
            return self.fail(&Failure::Client(ClientFault::MalformedPacket)).await;
        };
        let payload = own.as_deref().unwrap_or(payload);
        statement.wishes(self.hints.wish);
        if let Intent::Kill { kind, target } = statement.intent {
            return self.kill_prepared(client_id, kind, target).await;
        }
        if view.wants_cursor() && statement.intent == Intent::HarmlessRead {
            // Its rows are fetched from this very connection; on the primary every pin lives in one place.
            statement.intent = Intent::NeedsPrimary(PrimaryNeed::Attached);
        }
        let wants_cursor = view.wants_cursor();
        // Only what answers with rows can have a cursor.
        let may_have_cursor = wants_cursor && !matches!(statement.intent, Intent::Write(_));
        let alone = may_have_cursor || prepared.attached != Attached::Nothing;
        let key = if alone { prepared.key.alone(client_id) } else { prepared.key };
        let job = Job {
            body: Body::Execute { client_id, key, payload },
            expect: Expect::Execute,
            statement: &statement,
        };
        let mut told = Told::default();
        let answered = self.run_job_told(&job, &mut told).await?;
        let cursor = answered
            && wants_cursor
            && told.status.is_some_and(|status| status.contains(StatusFlags::CURSOR_EXISTS));
        let attached = if cursor { Attached::Cursor } else { Attached::Nothing };
        self.attach(client_id, attached);
        if alone && !cursor {
            self.close_alone(key);
        }
        Ok(())
    }

    /// COM_STMT_FETCH
    pub(super) async fn fetch(&mut self, client_id: u32, command: &ClientCommand) -> Result<(), End> {
        let fault = match self.statements.get(client_id) {
            Some(known) if known.attached == Attached::Cursor => None,
            Some(_) => Some(ClientFault::NoOpenCursor(client_id)),
            None => Some(ClientFault::UnknownStatement(client_id)),
        };
        if let Some(fault) = fault {
            return self.fail(&Failure::Client(fault)).await;
        }
        let statement = Statement::of(Intent::NeedsPrimary(PrimaryNeed::Attached));
        let body = Body::OnPrepared { client_id, payload: command.payload() };
        let job = Job { body, expect: Expect::Fetch, statement: &statement };
        let mut told = Told::default();
        let over = !self.run_job_told(&job, &mut told).await?
            || told.error.is_some()
            || told.status.is_some_and(|status| status.contains(StatusFlags::LAST_ROW_SENT));
        if over {
            self.attach(client_id, Attached::Nothing);
        }
        Ok(())
    }

    /// COM_STMT_SEND_LONG_DATA: no answer; what goes wrong shows at the execution, as with MySQL.
    pub(super) async fn send_long_data(
        &mut self,
        client_id: u32,
        command: &ClientCommand,
    ) -> Result<(), End> {
        let Some(known) = self.statements.get(client_id) else { return Ok(()) };
        if self.owed.is_some() {
            // An earlier part is lost, and the execution will fail: a later part must not be left behind.
            return Ok(());
        }
        let statement = known.statement.clone();
        // The data stays on the connection where the execution will come, so a read is pinned to the primary.
        let harmless = matches!(statement.intent, Intent::HarmlessRead);
        let attached = Intent::NeedsPrimary(PrimaryNeed::Attached);
        let intent = if harmless { attached } else { statement.intent };
        let statement = Statement::of(intent);
        let body = Body::OnPrepared { client_id, payload: command.payload() };
        if self.run_unanswered(&Job { body, expect: Expect::Nothing, statement: &statement }).await? {
            self.attach(client_id, Attached::LongData);
        }
        Ok(())
    }

    /// COM_STMT_RESET: forgets long data and closes the cursor, wherever they are.
    pub(super) async fn reset_statement(&mut self, client_id: u32) -> Result<(), End> {
        let Some(known) = self.statements.get(client_id) else {
            return self.fail(&Failure::Client(ClientFault::UnknownStatement(client_id))).await;
        };
        if known.attached != Attached::Nothing
            && let Some(home) = self.home
            && let Some(backend) = self.backends.get_mut(home)
            && let Some(server_id) = backend.statements.get(known.key.alone(client_id))
            && backend.command(&build::stmt_reset(server_id)).await.is_err()
        {
            self.backends.drop_connection(home);
            if let Some(failure) = self.lost_home(home, super::failure::Cause::InstanceLost) {
                return self.fail(&failure).await;
            }
        }
        self.attach(client_id, Attached::Nothing);
        self.answer_ok().await
    }

    /// COM_STMT_CLOSE: no answer. What servers have prepared stays for the next one with the same text, until
    /// it is the least recently used.
    pub(super) async fn close_statement(&mut self, client_id: u32) -> Result<(), End> {
        self.attach(client_id, Attached::Nothing);
        self.statements.remove(client_id);
        Ok(())
    }

    /// The frames of an execution for one connection, preparing the statement there first if need be.
    pub(super) async fn execute_frames(
        &mut self,
        instance: InstanceId,
        client_id: u32,
        key: StatementKey,
        payload: &[u8],
    ) -> Result<Lent, NotReady> {
        let capabilities = self.client_capabilities();
        let limit = self.context.statements_per_connection();
        let (Some(backend), Some(prepared)) =
            (self.backends.get_mut(instance), self.statements.get(client_id))
        else {
            return Err(NotReady::Lost);
        };
        let server_id = backend.prepared(prepared, key, limit).await?;
        let view =
            ExecuteView::parse(payload, prepared.parameters, capabilities).map_err(|_| NotReady::Lost)?;
        let readable = prepared.attached != Attached::LongData;
        let without = super::hints::execute_for(&view, payload, backend.connection.capabilities, readable);
        let without = without.map_err(|_| NotReady::Lost)?;
        let (payload, view) = match without.as_deref() {
            Some(rest) => {
                let view = ExecuteView::parse(rest, prepared.parameters, capabilities);
                (rest, view.map_err(|_| NotReady::Lost)?)
            }
            None => (payload, view),
        };
        let same_form = super::hints::same_form(capabilities, backend.connection.capabilities);
        let knows_types = backend.statements.knows_types(key, prepared.types.as_ref());
        if same_form && (knows_types || view.types.is_some() || prepared.parameters == 0) {
            return framed_for(server_id, payload);
        }
        let head = view
            .rebuild(server_id, prepared.types.as_ref(), backend.connection.capabilities)
            .map_err(|_| NotReady::Lost)?;
        let mut rebuilt = head.head;
        rebuilt.extend_from_slice(payload.get(head.values_at..).unwrap_or_default());
        framed_for(server_id, &rebuilt)
    }

    /// An execution has been answered: the connection now knows the types that were bound, if it took them.
    pub(super) fn executed(&mut self, instance: InstanceId, client_id: u32, key: StatementKey, told: &Told) {
        let types = self.statements.get(client_id).and_then(|prepared| prepared.types.as_ref());
        if let Some(backend) = self.backends.get_mut(instance) {
            backend.statements.told_types(key, types.filter(|_| told.error.is_none()));
        }
    }

    /// The frames of another command on a statement, prepared on this connection first if need be.
    pub(super) async fn on_prepared_frames(
        &mut self,
        instance: InstanceId,
        client_id: u32,
        payload: &[u8],
    ) -> Result<Lent, NotReady> {
        let limit = self.context.statements_per_connection();
        let (Some(backend), Some(prepared)) =
            (self.backends.get_mut(instance), self.statements.get(client_id))
        else {
            return Err(NotReady::Lost);
        };
        let server_id = backend.prepared(prepared, prepared.key.alone(client_id), limit).await?;
        framed_for(server_id, payload)
    }

    fn attach(&mut self, client_id: u32, attached: Attached) {
        let Some(known) = self.statements.get_mut(client_id) else { return };
        if known.attached != attached {
            let key = known.key.alone(client_id);
            known.attached = attached;
            if attached == Attached::Nothing {
                self.close_alone(key);
            }
            self.observe_attached();
        }
    }

    /// Closes what was prepared for a cursor or long data only.
    fn close_alone(&mut self, key: StatementKey) {
        for backend in self.backends.iter_mut() {
            backend.statements.close(key);
        }
    }
}

/// A command on a statement, as frames for the server that knows it by this id.
fn framed_for(server_id: u32, payload: &[u8]) -> Result<Lent, NotReady> {
    let mut frames = Lent::framed(payload);
    // The id stands in the first frame, however many there are.
    let first = frames.get_mut(HEADER_LEN..).unwrap_or_default();
    replace_statement(first, server_id).map_err(|_| NotReady::Lost)?;
    Ok(frames)
}

/// Where to prepare: where the statement would be executed, for a statement about the last one where that ran; KILL and
/// the like are executed by us but prepared on the primary, which alone can say whether they are right.
fn prepare_intent(intent: Intent) -> Intent {
    match intent {
        Intent::HarmlessRead => Intent::HarmlessRead,
        Intent::LastStatement => Intent::LastStatement,
        Intent::NeedsPrimary(_)
        | Intent::ConnectionId { .. }
        | Intent::Kill { .. }
        | Intent::TransactionStart { .. }
        | Intent::TransactionEnd { .. }
        | Intent::Savepoint
        | Intent::SessionState
        | Intent::Write(_) => Intent::NeedsPrimary(PrimaryNeed::NotRecognised),
    }
}
