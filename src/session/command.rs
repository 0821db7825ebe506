//! Taking commands from the client and handing each to who runs it.
//!
//! Never here: a choice of server, what an answer means.

use bytes::BytesMut;
use sluice_protocol::command::{Attributes, Command, QueryView};
use sluice_protocol::ok_packet::OkPacket;
use sluice_protocol::packet::HEADER_LEN;
use sluice_protocol::response::Expect;
use sluice_protocol::{Header, frame_payload};
use sluice_routing::intent::{AfterEnd, Intent, Statement, classify};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::failure::{AfterAnswer, ClientFault, Failure, answer};
use super::hints::Hints;
use super::lull::{Lull, Waited};
use super::memory::{NoMemory, OF_CLIENT};
use super::questions::PATIENCE;
use super::relay::Told;
use super::statement::{Body, Job};
use super::{End, Session};
use crate::backend::buffers;
use crate::feed::registry::{Activity, Order};

/// Largest command, payload bytes: MySQL's own upper limit for max_allowed_packet.
const MAX_COMMAND: usize = 1 << 30;
/// Longest wait of a large command for memory, before the session is closed rather than left hanging.
const MEMORY_DEADLINE: Duration = Duration::from_secs(60);
/// The same for one that holds some already: others may wait for that, so one of them has to give way.
const MEMORY_DEADLINE_HOLDING: Duration = Duration::from_secs(10);
/// Memory is taken in steps of this, in bytes.
const MEMORY_STEP: usize = 1 << 20;
/// While others wait for memory, a large command has to bring [`QUICK_BYTES`] in this time or gives its own back.
const QUICK: Duration = Duration::from_secs(5);
/// A fraction of what the slowest network between servers brings in [`QUICK`].
const QUICK_BYTES: usize = 1 << 20;

/// Longest pause within a command; MySQL's `net_read_timeout` is half of it.
const STALL: Duration = Duration::from_secs(60);

/// One command of the client.
pub(super) struct ClientCommand {
    /// The frames as they came.
    frames: BytesMut,
    /// The payload, put together, if it spans several frames.
    assembled: Option<Vec<u8>>,
}

impl Drop for ClientCommand {
    fn drop(&mut self) {
        buffers::take_back(std::mem::take(&mut self.frames));
    }
}

impl ClientCommand {
    /// The payload.
    pub(super) fn payload(&self) -> &[u8] {
        match &self.assembled {
            Some(payload) => payload,
            None => self.frames.get(HEADER_LEN..).unwrap_or_default(),
        }
    }

    /// The frames, ready to be sent.
    pub(super) fn frames(&self) -> &[u8] {
        &self.frames
    }
}

/// How far into the client's buffer a command reaches.
enum Scan {
    /// It is all there: this many bytes, in one frame or several.
    Whole { bytes: usize, frames: usize },
    /// More is to come.
    Partial,
    /// It is over the limit.
    TooLarge,
}

fn scan(buffer: &[u8]) -> Scan {
    let (mut at, mut frames) = (0, 0);
    loop {
        let Some(header) = buffer.get(at..).and_then(Header::parse) else {
            return Scan::Partial;
        };
        let length = header.length as usize;
        if at + length > MAX_COMMAND {
            return Scan::TooLarge;
        }
        let end = at + HEADER_LEN + length;
        if buffer.len() < end {
            return Scan::Partial;
        }
        (at, frames) = (end, frames + 1);
        if header.is_last() {
            return Scan::Whole { bytes: end, frames };
        }
    }
}

/// How a command arrives.
struct Progress {
    buffered: usize,
    arrived_at: Instant,
    /// How much there was when it was last looked whether it comes quickly.
    looked_at_bytes: usize,
    looked_at: Instant,
}

impl Progress {
    fn begin() -> Self {
        let now = Instant::now();
        Self { buffered: 0, arrived_at: now, looked_at_bytes: 0, looked_at: now }
    }

    fn note(&mut self, buffered: usize) {
        let now = Instant::now();
        if self.buffered == 0 {
            // It begins.
            (self.looked_at, self.looked_at_bytes) = (now, 0);
        }
        if self.buffered != buffered {
            (self.buffered, self.arrived_at) = (buffered, now);
        }
    }

    fn is_slow(&self, buffered: usize) -> bool {
        buffered.saturating_sub(self.looked_at_bytes) < QUICK_BYTES
    }

    fn look_again(&mut self, buffered: usize) {
        (self.looked_at, self.looked_at_bytes) = (Instant::now(), buffered);
    }
}

impl Session {
    /// Waits for the next command; meanwhile obeys orders and follows the topology. `None`: the client is in a lull.
    pub(super) async fn next_command(
        &mut self,
        mut lull: Option<&mut Lull<'_>>,
    ) -> Result<Option<ClientCommand>, End> {
        let mut progress = None;
        loop {
            if self.registration.entry().peek_order() != Order::None {
                Box::pin(self.obey_while_idle()).await?;
            }
            // A statement of our own (a ROLLBACK that was ordered, a question) may have heard what was rung for.
            self.look_around();
            self.park();
            match scan(self.client.buffer()) {
                Scan::Whole { bytes, frames } => {
                    if frames > 1 {
                        // It is put together in a second place.
                        Box::pin(self.cover_memory(self.client.buffer().len() + bytes)).await?;
                    }
                    let mut frames_bytes = self.client.take(bytes);
                    if frames > 1 && self.client.stream().is_compressed() {
                        number(&mut frames_bytes);
                    }
                    // One more for each frame; they are counted modulo 256.
                    self.answer_sequence = frames.to_le_bytes().first().copied().unwrap_or(1);
                    let assembled = (frames > 1).then(|| assemble(&frames_bytes));
                    return Ok(Some(ClientCommand { frames: frames_bytes, assembled }));
                }
                Scan::TooLarge => {
                    return Err(Box::pin(self.refuse_and_close(ClientFault::PacketTooLarge)).await);
                }
                Scan::Partial if self.client.buffer().is_empty() => {
                    self.client.release_all();
                    if self.wait_for_client(lull.as_deref_mut()).await? == Waited::InLull {
                        return Ok(None);
                    }
                }
                // For what has arrived: what a header announces costs its sender nothing, and takes nothing.
                Scan::Partial => {
                    Box::pin(self.cover_memory(self.client.buffer().len())).await?;
                    let progress = progress.get_or_insert_with(Progress::begin);
                    Box::pin(self.wait_for_more(progress)).await?;
                }
            }
        }
    }

    /// As [`Self::wait_for_client`]; within a command no longer than [`STALL`] without a byte of it, and no slower than
    /// [`QUICK`] says while others wait for the memory that it holds.
    async fn wait_for_more(&mut self, progress: &mut Progress) -> Result<Waited, End> {
        let buffered = self.client.buffer().len();
        progress.note(buffered);
        loop {
            let stalled = progress.arrived_at + STALL;
            let look = progress.looked_at + QUICK;
            let until = if self.large_command.is_some() { stalled.min(look) } else { stalled };
            match timeout_at(until, self.wait_for_client(None)).await {
                Ok(waited) => return waited,
                Err(_) if Instant::now() >= stalled => return Err(End::ClientLost),
                Err(_) if self.context.login.memory().is_short() && progress.is_slow(buffered) => {
                    return Err(self.refuse_and_close(ClientFault::NoMemory).await);
                }
                Err(_) => progress.look_again(buffered),
            }
        }
    }

    /// Waits for bytes of the client, an order, a change of the topology's shape, the end of a warm-up or a lull.
    async fn wait_for_client(&mut self, lull: Option<&mut Lull<'_>>) -> Result<Waited, End> {
        let questions = self.has_questions();
        tokio::select! {
            biased;
            read = self.client.fill() => match read {
                Ok(0) => Err(End::ClientLeft),
                Ok(_) => Ok(Waited::ForSomething),
                Err(_) => Err(End::ClientLost),
            },
            () = self.registration.entry().called() => {
                self.look_around();
                Ok(Waited::ForSomething)
            }
            () = super::moves::finished(&mut self.warming) => {
                Box::pin(self.finish_warming()).await;
                Ok(Waited::ForSomething)
            }
            () = async { Box::pin(sleep(PATIENCE)).await }, if questions => {
                Box::pin(self.ask_questions()).await;
                Ok(Waited::ForSomething)
            }
            () = super::lull::begun(lull) => Ok(Waited::InLull),
        }
    }

    /// Takes memory for so many bytes of a command and the next read, beyond the client's share, waiting for it if need
    /// be: meanwhile nothing more is read.
    async fn cover_memory(&mut self, bytes: usize) -> Result<(), End> {
        if bytes <= OF_CLIENT / 2 {
            return Ok(());
        }
        let beyond = (bytes + OF_CLIENT / 2).next_multiple_of(MEMORY_STEP);
        let limit = if self.large_command.is_some() { MEMORY_DEADLINE_HOLDING } else { MEMORY_DEADLINE };
        let memory = self.context.login.memory();
        let charge = self.large_command.get_or_insert_with(|| memory.begin());
        match charge.cover_until(beyond, Instant::now() + limit).await {
            Ok(()) => Ok(()),
            Err(NoMemory) => Err(self.refuse_and_close(ClientFault::NoMemory).await),
        }
    }

    async fn refuse_and_close(&mut self, fault: ClientFault) -> End {
        match self.fail(&Failure::Client(fault)).await {
            Ok(()) => End::Failed,
            Err(end) => end,
        }
    }

    /// Runs one command.
    pub(super) async fn execute(&mut self, command: ClientCommand) -> Result<(), End> {
        let entry = self.registration.entry();
        entry.count_statement();
        entry.set_activity(Activity::Running);
        self.hints = Hints::default();
        if entry.peek_order() == Order::Close {
            return Err(End::Ordered);
        }
        let Ok(decoded) = Command::decode(command.payload()) else {
            return Err(self.refuse_and_close(ClientFault::MalformedPacket).await);
        };
        if let Command::Quit = decoded {
            return Err(End::ClientLeft);
        }
        if self.owed.is_some() && !decoded.is_unanswered() && !self.is_rollback(&decoded) {
            return self.pay_owed().await;
        }
        self.dispatch(&command, decoded).await
    }

    async fn dispatch(&mut self, command: &ClientCommand, decoded: Command<'_>) -> Result<(), End> {
        match decoded {
            Command::Query(body) => self.query(command, body).await,
            Command::StmtPrepare(text) => self.prepare(command, text).await,
            Command::StmtExecute { statement, payload } => {
                self.execute_prepared(self.statements.resolve(statement), payload).await
            }
            Command::StmtFetch { statement, .. } => {
                self.fetch(self.statements.resolve(statement), command).await
            }
            Command::StmtSendLongData { statement, .. } => {
                self.send_long_data(self.statements.resolve(statement), command).await
            }
            Command::StmtReset(statement) => self.reset_statement(self.statements.resolve(statement)).await,
            Command::StmtClose(statement) => self.close_statement(self.statements.resolve(statement)).await,
            Command::Ping => self.ping().await,
            Command::InitDb(_) => self.plain(command, Expect::Plain, Intent::SessionState).await,
            Command::SetOption(option) => self.set_option(command, option).await,
            Command::FieldList(_) => self.plain(command, Expect::FieldList, Intent::LastStatement).await,
            Command::Statistics => self.plain(command, Expect::Statistics, Intent::LastStatement).await,
            Command::ProcessInfo => self.plain(command, Expect::Query, Intent::LastStatement).await,
            Command::Debug => self.plain(command, Expect::Plain, Intent::LastStatement).await,
            Command::ProcessKill(id) => self.kill_command(id).await,
            Command::ResetConnection => self.reset_connection().await,
            Command::ChangeUser(payload) => self.change_user(payload).await,
            Command::RegisterReplica(_) => self.register_replica(command).await,
            Command::BinlogDump(_) | Command::BinlogDumpGtid(_) => {
                Box::pin(self.stream_binlog(command)).await
            }
            Command::Quit => Err(End::ClientLeft),
            Command::Sleep
            | Command::CreateDb(_)
            | Command::DropDb(_)
            | Command::Refresh(_)
            | Command::Shutdown
            | Command::Connect
            | Command::Time
            | Command::DelayedInsert
            | Command::TableDump(_)
            | Command::ConnectOut
            | Command::Daemon
            | Command::Clone
            | Command::SubscribeGroupReplicationStream
            | Command::Unknown(_) => {
                let byte = command.payload().first().copied().unwrap_or_default();
                self.fail(&Failure::Client(ClientFault::UnknownCommand(byte))).await
            }
        }
    }

    async fn query(&mut self, command: &ClientCommand, body: &[u8]) -> Result<(), End> {
        let Ok(view) = QueryView::parse_body(body, self.client_capabilities()) else {
            return self.fail(&Failure::Client(ClientFault::MalformedPacket)).await;
        };
        self.hints.take_from_query(&view);
        let mut statement = self.classify(view.text);
        statement.wishes(self.hints.wish);
        if self.put_off(&statement, &view).await? {
            return Ok(());
        }
        match statement.intent {
            Intent::Kill { kind, target } => self.kill_text(kind, target, view.text).await,
            Intent::ConnectionId { .. } => {
                let text = self.with_own_id(view.text, &statement).unwrap_or_default();
                self.own_text(&text, &statement).await
            }
            Intent::LastStatement => {
                let frames = (!self.hints.taken).then(|| command.frames());
                let body = Body::Query { view, frames };
                let job = Job { body, expect: Expect::Query, statement: &statement };
                Box::pin(self.ask_about_last(&job, &view)).await
            }
            Intent::HarmlessRead
            | Intent::NeedsPrimary(_)
            | Intent::TransactionStart { .. }
            | Intent::TransactionEnd { .. }
            | Intent::Savepoint
            | Intent::SessionState
            | Intent::Write(_) => {
                // The frames that came are sent on unless something of them was for us.
                let frames = (!self.hints.taken).then(|| command.frames());
                let body = Body::Query { view, frames };
                let job = Job { body, expect: Expect::Query, statement: &statement };
                let mut told = Told::default();
                let answered = self.run_job_told(&job, &mut told).await?;
                let released = answered && told.error.is_none() && releases(&statement);
                if released { Err(End::ClientLeft) } else { Ok(()) }
            }
        }
    }

    /// What is run in place of `SELECT CONNECTION_ID()`; `None` for other statements.
    pub(super) fn with_own_id(&self, text: &[u8], statement: &Statement) -> Option<Vec<u8>> {
        let Intent::ConnectionId { column } = statement.intent else { return None };
        let name = text.get(column.start..column.end).unwrap_or(b"CONNECTION_ID()");
        Some(connection_id_query(self.registration.entry().id, name))
    }

    /// Runs a text in place of the client's.
    pub(super) async fn own_text(&mut self, text: &[u8], statement: &Statement) -> Result<(), End> {
        let view = QueryView { attributes: Attributes::default(), text };
        let body = Body::Query { view, frames: None };
        self.run_job(&Job { body, expect: Expect::Query, statement }).await
    }

    /// Runs a command that is no statement where statements of this intent run.
    pub(super) async fn plain(
        &mut self,
        command: &ClientCommand,
        expect: Expect,
        intent: Intent,
    ) -> Result<(), End> {
        let statement = Statement::of(intent);
        self.run_job(&Job::text(command.frames(), expect, &statement)).await
    }

    /// Answers OK with the session's status.
    pub(super) async fn answer_ok(&mut self) -> Result<(), End> {
        let mut payload = Vec::new();
        OkPacket::answer(self.status).encode(self.client_capabilities(), &mut payload);
        self.answer_packet(&payload).await
    }

    /// Sends one packet as the whole answer to a command.
    pub(super) async fn answer_packet(&mut self, payload: &[u8]) -> Result<(), End> {
        let mut frames = BytesMut::new();
        frame_payload(&mut frames, &mut self.answer_sequence, payload);
        self.client.write_out(&frames).await.map_err(|_| End::ClientLost)
    }

    /// Tells the client of a failure; `Err` when the session ends by it.
    pub(super) async fn fail(&mut self, failure: &Failure) -> Result<(), End> {
        self.context.metrics.failed(failure);
        let (packet, after) = answer(failure);
        if let Some(packet) = packet {
            self.left.failed(&packet);
            self.answer_packet(&packet.encode(self.client_capabilities())).await?;
        }
        match after {
            AfterAnswer::Continue => Ok(()),
            AfterAnswer::Close => Err(End::Failed),
        }
    }

    async fn pay_owed(&mut self) -> Result<(), End> {
        match self.owed.take() {
            Some(failure) => self.fail(&failure).await,
            None => Ok(()),
        }
    }

    /// A ROLLBACK of a transaction that is gone already succeeds, as after MySQL's own deadlock error.
    fn is_rollback(&mut self, command: &Command<'_>) -> bool {
        use sluice_routing::intent::End as TransactionEnd;
        let Command::Query(body) = command else { return false };
        let Ok(view) = QueryView::parse_body(body, self.client_capabilities()) else { return false };
        let intent = classify(view.text, self.facts.mode()).intent;
        let rollback = matches!(intent, Intent::TransactionEnd { end: TransactionEnd::Rollback, .. });
        if rollback && matches!(self.owed, Some(Failure::RolledBack(_))) {
            self.owed = None;
        }
        rollback
    }

    /// How long the current statement may wait for a server.
    pub(super) fn hold_limit(&self) -> Duration {
        self.hints.timeout.map_or(self.context.hold, |wished| wished.min(self.context.hold))
    }

    /// When a wait of this session that begins now has to end.
    pub(super) fn hold_deadline(&self) -> Instant {
        Instant::now() + self.hold_limit()
    }
}

/// Whether the server ends the connection behind its answer.
fn releases(statement: &Statement) -> bool {
    matches!(statement.intent, Intent::TransactionEnd { next: AfterEnd::Release, .. })
}

/// `SELECT CONNECTION_ID()` with the id the client knows, under the same column name.
fn connection_id_query(id: u32, column: &[u8]) -> Vec<u8> {
    let mut text = format!("SELECT CAST({id} AS UNSIGNED) AS `").into_bytes();
    for &byte in column {
        if byte == b'`' {
            text.push(b'`');
        }
        text.push(byte);
    }
    text.push(b'`');
    text
}

/// Numbers the frames of a command from 0 on, as they have to be where nothing is packed. Behind packing the numbers of the
/// packed frames are the ones that count, and MariaDB's client library gives every frame inside the number 0.
fn number(mut frames: &mut [u8]) {
    let mut number = 0u8;
    while let Some(header) = Header::parse(frames) {
        if let Some(sequence) = frames.get_mut(HEADER_LEN - 1) {
            *sequence = number;
        }
        number = number.wrapping_add(1);
        frames = frames.get_mut(HEADER_LEN + header.length as usize..).unwrap_or_default();
    }
}

fn assemble(mut frames: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(frames.len());
    while let Some(header) = Header::parse(frames) {
        let end = HEADER_LEN + header.length as usize;
        payload.extend_from_slice(frames.get(HEADER_LEN..end).unwrap_or_default());
        frames = frames.get(end..).unwrap_or_default();
    }
    payload
}
