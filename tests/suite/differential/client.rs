//! One session of a case: it logs in, sends any command, and writes down everything that comes back.
//!
//! Never here: comparing, choosing a server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_protocol::auth::{ChannelSecurity, ClientAuth, ClientStep, Credential, Password};
use sluice_protocol::handshake::{ExpectGreeting, Greeting, HandshakeError, LoginRequest, change_user};
use sluice_protocol::{Capabilities, WireAppend as _};
use tokio::time::{Instant, interval};

use super::decode::{Answers, Fields, Prepared, Rows};
use super::script::{Action, PreparedAction};
use super::values::{Types, Value, bytes_of, write_values};
use super::wire::{Broken, Wire};

/// Password of every account of the suite.
pub(super) const PASSWORD: &str = "differential-password";
/// utf8mb4_general_ci, whose number fits into the login's one byte.
const COLLATION: u8 = 45;
/// Longest wait for what a case awaits.
const AWAIT: Duration = Duration::from_secs(15);
/// Pause between two looks at it.
const PACE: Duration = Duration::from_millis(20);

/// Who logs in where.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) address: SocketAddr,
    pub(super) user: String,
    pub(super) schema: String,
    pub(super) capabilities: Capabilities,
}

/// A logged-in session.
pub(super) struct Client {
    wire: Wire,
    agreed: Capabilities,
    greeting: Greeting,
    statements: BTreeMap<String, Prepared>,
}

fn request<'a>(
    user: &'a str,
    schema: &'a str,
    credential: &'a Credential,
    wanted: Capabilities,
) -> LoginRequest<'a> {
    LoginRequest {
        user: user.as_bytes(),
        credential,
        database: (!schema.is_empty()).then_some(schema.as_bytes()),
        capabilities: wanted,
        collation: COLLATION,
        max_packet: 1 << 26,
        attributes: &[],
    }
}

fn password() -> Credential {
    Credential::Password(Password::new(PASSWORD.as_bytes().to_vec()))
}

impl Client {
    /// Logs in; what the login's answer says is in `seen`. `None` when there is no session.
    pub(super) async fn connect(who: &Who, seen: &mut Fields) -> Option<Self> {
        match Self::log_in(who, seen).await {
            Ok(client) => client,
            Err(broken) => {
                seen.put("", "end", broken.to_string());
                None
            }
        }
    }

    async fn log_in(who: &Who, seen: &mut Fields) -> Result<Option<Self>, Broken> {
        let mut wire = Wire::connect(who.address).await.map_err(|_| Broken::Closed)?;
        let first = wire.read().await?;
        let ready = match ExpectGreeting.on(&first, ChannelSecurity::Plain) {
            Ok(ready) => ready,
            Err(HandshakeError::Refused(error)) => {
                seen.put("", "error", error.code.to_string());
                return Ok(None);
            }
            Err(_) => return Err(Broken::Malformed("greeting")),
        };
        let greeting = ready.greeting().clone();
        let secret = password();
        let (mut payload, auth, agreed) =
            ready.log_in(&request(&who.user, &who.schema, &secret, who.capabilities));
        let compress = who.capabilities & greeting.capabilities & Capabilities::COMPRESS;
        // Its bit is in the first byte.
        payload[0] |= u8::try_from(compress.bits()).unwrap_or_default();
        wire.write(&payload).await?;
        seen.put("", "agreed", format!("{agreed:?}"));
        let mut client = Self { wire, agreed, greeting, statements: BTreeMap::new() };
        let let_in = client.authenticate(auth, seen).await?;
        if compress == Capabilities::COMPRESS {
            client.wire.compress();
        }
        Ok(let_in.then_some(client))
    }

    /// Whether the server said OK.
    async fn authenticate(&mut self, mut auth: ClientAuth, seen: &mut Fields) -> Result<bool, Broken> {
        loop {
            let packet = self.wire.read().await?;
            match auth.on(&packet).map_err(|_| Broken::Malformed("authentication"))? {
                ClientStep::Send { payload, next } => {
                    self.wire.write(&payload).await?;
                    auth = next;
                }
                ClientStep::Wait(next) => auth = next,
                ClientStep::Done(ok) => {
                    let mut answers = Answers { wire: &mut self.wire, agreed: self.agreed, seen };
                    return answers.ok("", &ok).map(|_| true);
                }
                ClientStep::Refused(error) => {
                    let state = error.sql_state.map(|state| String::from_utf8_lossy(&state).into_owned());
                    seen.put("", "error", format!("{} ({})", error.code, state.unwrap_or_default()));
                    seen.put("", "message", String::from_utf8_lossy(&error.message));
                    return Ok(false);
                }
            }
        }
    }

    /// The id that the greeting told.
    pub(super) fn id(&self) -> u32 {
        self.greeting.connection_id
    }

    /// Sends a command that is answered by a stream, and reads it up to the packet that `ends` it.
    pub(super) async fn stream(
        &mut self,
        command: &[u8],
        ends: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, Broken> {
        self.wire.begin(command).await?;
        let mut packets = Vec::new();
        loop {
            let packet = self.wire.read().await?;
            let last = packet.first() != Some(&0) || ends(&packet);
            packets.push(packet);
            if last {
                return Ok(packets);
            }
        }
    }

    /// Does one step; `false` when the connection is of no use any more.
    pub(super) async fn act(&mut self, action: &Action, seen: &mut Fields) -> bool {
        if !matches!(action, Action::Receive)
            && let Some(bytes) = self.wire.unasked()
        {
            seen.put("", "unasked", bytes.escape_ascii().to_string());
        }
        match self.perform(action, seen).await {
            Ok(()) => true,
            Err(broken) => {
                seen.put("", "end", broken.to_string());
                false
            }
        }
    }

    fn answers<'a>(&'a mut self, seen: &'a mut Fields) -> Answers<'a> {
        Answers { wire: &mut self.wire, agreed: self.agreed, seen }
    }

    async fn perform(&mut self, action: &Action, seen: &mut Fields) -> Result<(), Broken> {
        match action {
            Action::Query { sql, attributes } => {
                self.send_query(sql, attributes).await?;
                self.answers(seen).results(Rows::Text, &[]).await.map(drop)
            }
            Action::Infile { sql, data } => {
                self.send_query(sql, &[]).await?;
                let parts: Vec<Vec<u8>> =
                    data.split(';').map(|line| format!("{line}\n").into_bytes()).collect();
                self.answers(seen).results(Rows::Text, &parts).await.map(drop)
            }
            Action::Send(sql) => self.send_query(sql, &[]).await,
            Action::Receive => self.answers(seen).results(Rows::Text, &[]).await.map(drop),
            Action::Await(sql) => self.until(sql, seen).await,
            Action::Prepared(action) => self.prepared(action, seen).await,
            Action::Ping => self.plain(&[0x0e], seen).await,
            Action::Statistics => self.plain(&[0x09], seen).await,
            Action::Debug => self.plain(&[0x0d], seen).await,
            Action::Quit => {
                self.wire.begin(&[0x01]).await?;
                self.wire.read().await.map(drop)
            }
            Action::ResetConnection => self.plain(&[0x1f], seen).await,
            Action::ChangeUser { user, schema } => self.become_user(user, schema, seen).await,
            Action::InitDb(schema) => self.plain(&[&[0x02], schema.as_bytes()].concat(), seen).await,
            Action::SetOption(number) => {
                let [low, high] = number.to_le_bytes();
                self.plain(&[0x1b, low, high], seen).await
            }
            Action::FieldList { table, pattern } => {
                let payload = [&[0x04], table.as_bytes(), &[0], pattern.as_bytes()].concat();
                self.wire.begin(&payload).await?;
                self.answers(seen).field_list().await
            }
            Action::Kill(id) => {
                let id: u32 = id.parse().map_err(|_| Broken::Malformed("id to kill"))?;
                self.plain(&[&[0x0c], &id.to_le_bytes()[..]].concat(), seen).await
            }
            Action::Raw(hex) => {
                let payload = bytes_of(hex).ok_or(Broken::Malformed("hex"))?;
                self.plain(&payload, seen).await
            }
            Action::Greeting => {
                self.greeting(seen);
                Ok(())
            }
        }
    }

    fn greeting(&self, seen: &mut Fields) {
        let greeting = &self.greeting;
        seen.put("", "version", String::from_utf8_lossy(&greeting.server_version));
        seen.put("", "offered", format!("{:?}", greeting.capabilities));
        seen.put("", "collation", greeting.collation.to_string());
        seen.put("", "status", format!("{:?}", greeting.status));
        seen.put("", "plugin", String::from_utf8_lossy(greeting.plugin.name()));
    }

    async fn plain(&mut self, payload: &[u8], seen: &mut Fields) -> Result<(), Broken> {
        self.wire.begin(payload).await?;
        self.answers(seen).plain().await
    }

    async fn send_query(&mut self, sql: &str, attributes: &[(String, Value)]) -> Result<(), Broken> {
        let mut payload = vec![0x03];
        if self.agreed.contains(Capabilities::QUERY_ATTRIBUTES) {
            payload.push_lenenc_int(attributes.len() as u64);
            payload.push_lenenc_int(1);
            if !attributes.is_empty() {
                write_values(&mut payload, attributes, Types::Bound, true);
            }
        }
        payload.push_bytes(sql.as_bytes());
        self.wire.begin(&payload).await
    }

    async fn until(&mut self, sql: &str, seen: &mut Fields) -> Result<(), Broken> {
        let deadline = Instant::now() + AWAIT;
        let mut pace = interval(PACE);
        loop {
            pace.tick().await;
            let mut found = Fields::default();
            self.send_query(sql, &[]).await?;
            self.answers(&mut found).results(Rows::Text, &[]).await?;
            if found.get("rows") == Some("'1'\n") {
                return Ok(());
            }
            if Instant::now() > deadline {
                seen.put("", "awaited in vain", format!("{found:?}"));
                return Ok(());
            }
        }
    }

    async fn become_user(&mut self, user: &str, schema: &str, seen: &mut Fields) -> Result<(), Broken> {
        let secret = password();
        let login = request(user, schema, &secret, self.agreed);
        let (payload, auth) = change_user(&login, &self.greeting, self.agreed, ChannelSecurity::Plain);
        self.wire.begin(&payload).await?;
        self.statements.clear();
        self.authenticate(auth, seen).await.map(drop)
    }

    async fn prepared(&mut self, action: &PreparedAction, seen: &mut Fields) -> Result<(), Broken> {
        match action {
            PreparedAction::Prepare { name, sql } => {
                self.wire.begin(&[&[0x16], sql.as_bytes()].concat()).await?;
                if let Some(prepared) = self.answers(seen).prepared().await? {
                    self.statements.insert(name.clone(), prepared);
                }
                Ok(())
            }
            PreparedAction::Execute { name, values, cursor, typed, attributes } => {
                let prepared = self.statements.get(name).cloned().unwrap_or_default();
                let types = if *typed { Types::Bound } else { Types::AsBefore };
                let payload = self.execution(&prepared, values, *cursor, types, attributes);
                self.wire.begin(&payload).await?;
                let rows = if *cursor == 0 { Rows::Binary } else { Rows::Cursor };
                let columns = self.answers(seen).results(rows, &[]).await?;
                if let Some(prepared) = self.statements.get_mut(name)
                    && !columns.is_empty()
                {
                    prepared.columns = columns;
                }
                Ok(())
            }
            PreparedAction::Fetch { name, rows } => {
                let prepared = self.statements.get(name).cloned().unwrap_or_default();
                let payload = [&[0x1c], &prepared.id.to_le_bytes()[..], &rows.to_le_bytes()[..]].concat();
                self.wire.begin(&payload).await?;
                self.answers(seen).rows("", Rows::Binary, &prepared.columns).await.map(drop)
            }
            PreparedAction::Long { name, parameter, data } => {
                let id = self.statement_id(name);
                let head = [&[0x18], &id.to_le_bytes()[..], &parameter.to_le_bytes()[..]].concat();
                self.wire.begin(&[&head, data.as_bytes()].concat()).await
            }
            PreparedAction::Reset(name) => {
                let id = self.statement_id(name);
                self.plain(&[&[0x1a], &id.to_le_bytes()[..]].concat(), seen).await
            }
            PreparedAction::Close(name) => {
                let id = self.statement_id(name);
                self.wire.begin(&[&[0x19], &id.to_le_bytes()[..]].concat()).await
            }
        }
    }

    /// The id of a statement; one that is not there has the id 0, which no server gives away.
    fn statement_id(&self, name: &str) -> u32 {
        self.statements.get(name).map_or(0, |prepared| prepared.id)
    }

    fn execution(
        &self,
        prepared: &Prepared,
        values: &[Value],
        cursor: u8,
        types: Types,
        attributes: &[(String, Value)],
    ) -> Vec<u8> {
        let named = self.agreed.contains(Capabilities::QUERY_ATTRIBUTES);
        let mut payload = vec![0x17];
        payload.push_u32(prepared.id);
        payload.push_u8(cursor | if named { 0x08 } else { 0 });
        payload.push_u32(1);
        let mut all: Vec<(String, Value)> =
            values.iter().map(|value| (String::new(), value.clone())).collect();
        if named {
            all.extend(attributes.iter().cloned());
            payload.push_lenenc_int(all.len() as u64);
        }
        if !all.is_empty() || prepared.parameters > 0 {
            write_values(&mut payload, &all, types, named);
        }
        payload
    }
}
