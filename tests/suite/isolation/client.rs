//! One client connection of the isolation suite: sends any command, gives back every result with its flags.
//!
//! It does nothing by itself (no statements of its own at the login, no cache, no reset, no reconnect), so that what a
//! server sees is what the test said. Its packets are cut and read here, apart from the proxy's own code.
//!
//! Never here: what an answer should have been.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sluice_protocol::auth::{ChannelSecurity, ClientAuth, ClientStep, Credential, Password};
use sluice_protocol::handshake::{ExpectGreeting, Greeting, HandshakeError, LoginRequest, change_user};
use sluice_protocol::{Capabilities, Reader, StatusFlags, WireAppend as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::operations::NAMES_EACH;

/// Longest wait for one packet: longer than the hold limit and any queue.
const PACKET_DEADLINE: Duration = Duration::from_secs(25);
/// No packet of this suite has more.
const FULL_FRAME: usize = 0xff_ffff;
/// utf8mb4_0900_ai_ci.
const COLLATION: u8 = 255;

/// An account and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: String,
}

impl Account {
    pub(super) fn new(user: &str, password: &str) -> Self {
        Self { user: user.into(), password: password.into() }
    }
}

/// Whether affected rows are the ones found or the ones changed (CLIENT_FOUND_ROWS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Changed,
    Found,
}

/// An ERR packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerError {
    pub(super) code: u16,
    pub(super) message: String,
}

/// An OK packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) affected: u64,
    pub(super) insert_id: u64,
    pub(super) status: StatusFlags,
    pub(super) warnings: u16,
}

/// One value as text; `None` is NULL.
pub(super) type Cell = Option<String>;

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done(Done),
    Rows { rows: Vec<Vec<Cell>>, end: Done },
    Error(ServerError),
}

impl Answer {
    /// The error's code; 0 is none.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Error(error) => error.code,
            Self::Done(_) | Self::Rows { .. } => 0,
        }
    }

    /// What the last packet said, if it was no error.
    pub(super) fn end(&self) -> Option<Done> {
        match self {
            Self::Done(done) | Self::Rows { end: done, .. } => Some(*done),
            Self::Error(_) => None,
        }
    }

    /// The rows; none if there is no result set.
    pub(super) fn rows(&self) -> &[Vec<Cell>] {
        match self {
            Self::Rows { rows, .. } => rows,
            Self::Done(_) | Self::Error(_) => &[],
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer closed the connection, or it failed.
    Closed,
    /// Nothing came within [`PACKET_DEADLINE`].
    Late,
    /// A packet that has not the form or the number of its place.
    Malformed(&'static str),
    /// The login was refused.
    Refused(ServerError),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection was closed"),
            Self::Late => write!(f, "no answer in {PACKET_DEADLINE:?}"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
            Self::Refused(error) => write!(f, "login refused: {} {}", error.code, error.message),
        }
    }
}

impl From<sluice_protocol::Malformed> for Broken {
    fn from(_: sluice_protocol::Malformed) -> Self {
        Self::Malformed("packet")
    }
}

/// A protocol prepared statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    id: u32,
    pub(super) parameters: u16,
}

/// A logged-in connection. Dropping it closes the socket without COM_QUIT.
pub(super) struct Client {
    stream: TcpStream,
    sequence: u8,
    agreed: Capabilities,
    greeting: Greeting,
    /// Room for whoever uses it to keep its statements.
    pub(super) prepared: [Option<Prepared>; NAMES_EACH],
}

fn wanted(counts: Counts) -> Capabilities {
    let base = Capabilities::MULTI_STATEMENTS
        | Capabilities::MULTI_RESULTS
        | Capabilities::PS_MULTI_RESULTS
        | Capabilities::TRANSACTIONS
        | Capabilities::DEPRECATE_EOF;
    match counts {
        Counts::Changed => base,
        Counts::Found => base | Capabilities::FOUND_ROWS,
    }
}

fn credential(account: &Account) -> Credential {
    Credential::Password(Password::new(account.password.clone().into_bytes()))
}

fn login<'a>(
    account: &'a Account,
    credential: &'a Credential,
    schema: Option<&'a str>,
    capabilities: Capabilities,
) -> LoginRequest<'a> {
    LoginRequest {
        user: account.user.as_bytes(),
        credential,
        database: schema.map(str::as_bytes),
        capabilities,
        collation: COLLATION,
        max_packet: 1 << 24,
        attributes: &[],
    }
}

impl Client {
    /// Logs in on this port of loopback.
    pub(super) async fn connect(
        port: u16,
        account: &Account,
        schema: Option<&str>,
        counts: Counts,
    ) -> Result<Self, Broken> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect(address).await.map_err(|_| Broken::Closed)?;
        let _ = stream.set_nodelay(true);
        let mut sequence = 0;
        let first = read(&mut stream, &mut sequence).await?;
        let ready = match ExpectGreeting.on(&first, ChannelSecurity::Plain) {
            Ok(ready) => ready,
            Err(HandshakeError::Refused(error)) => {
                let message = String::from_utf8_lossy(&error.message).into_owned();
                return Err(Broken::Refused(ServerError { code: error.code, message }));
            }
            Err(_) => return Err(Broken::Malformed("greeting")),
        };
        let greeting = ready.greeting().clone();
        let credential = credential(account);
        let (payload, auth, agreed) = ready.log_in(&login(account, &credential, schema, wanted(counts)));
        let mut client = Self { stream, sequence, agreed, greeting, prepared: [None; NAMES_EACH] };
        client.write(&payload).await?;
        client.authenticate(auth).await?;
        Ok(client)
    }

    /// The connection id that the greeting told.
    pub(super) fn id(&self) -> u32 {
        self.greeting.connection_id
    }

    async fn authenticate(&mut self, mut auth: ClientAuth) -> Result<(), Broken> {
        loop {
            let packet = self.read().await?;
            match auth.on(&packet).map_err(|_| Broken::Malformed("authentication"))? {
                ClientStep::Send { payload, next } => {
                    self.write(&payload).await?;
                    auth = next;
                }
                ClientStep::Wait(next) => auth = next,
                ClientStep::Done(_) => return Ok(()),
                ClientStep::Refused(error) => {
                    let message = String::from_utf8_lossy(&error.message).into_owned();
                    return Err(Broken::Refused(ServerError { code: error.code, message }));
                }
            }
        }
    }

    /// COM_QUERY; all its results.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Answer>, Broken> {
        self.send_query(sql).await?;
        self.answers().await
    }

    /// COM_QUERY of a text that has one result.
    pub(super) async fn one(&mut self, sql: &str) -> Result<Answer, Broken> {
        let mut answers = self.query(sql).await?;
        match answers.pop() {
            Some(answer) if answers.is_empty() => Ok(answer),
            Some(_) | None => Err(Broken::Malformed("not one result")),
        }
    }

    /// Sends a COM_QUERY; [`Client::answers`] takes its results.
    pub(super) async fn send_query(&mut self, sql: &str) -> Result<(), Broken> {
        self.begin(&[&[0x03], sql.as_bytes()].concat()).await
    }

    /// COM_INIT_DB.
    pub(super) async fn init_db(&mut self, schema: &str) -> Result<Answer, Broken> {
        self.begin(&[&[0x02], schema.as_bytes()].concat()).await?;
        self.answer(Rows::Text).await.map(|(answer, _)| answer)
    }

    /// COM_RESET_CONNECTION.
    pub(super) async fn reset(&mut self) -> Result<Answer, Broken> {
        self.begin(&[0x1f]).await?;
        self.answer(Rows::Text).await.map(|(answer, _)| answer)
    }

    /// COM_CHANGE_USER. Afterwards the connection is gone if it was refused.
    pub(super) async fn change_user(&mut self, account: &Account, schema: &str) -> Result<(), Broken> {
        let credential = credential(account);
        let request = login(account, &credential, Some(schema), self.agreed);
        let (payload, auth) = change_user(&request, &self.greeting, self.agreed, ChannelSecurity::Plain);
        self.begin(&payload).await?;
        self.authenticate(auth).await
    }

    /// COM_STMT_PREPARE.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Result<Prepared, ServerError>, Broken> {
        self.begin(&[&[0x16], sql.as_bytes()].concat()).await?;
        let packet = self.read().await?;
        if packet.first() == Some(&0xff) {
            return Ok(Err(error(&packet)?));
        }
        let mut reader = Reader::new(&packet);
        let (_, id, columns, parameters) = (reader.u8()?, reader.u32()?, reader.u16()?, reader.u16()?);
        for _ in 0..u32::from(columns) + u32::from(parameters) {
            self.read().await?;
        }
        Ok(Ok(Prepared { id, parameters }))
    }

    /// COM_STMT_EXECUTE with texts as values. All columns of its result have to be texts.
    pub(super) async fn execute(&mut self, prepared: Prepared, values: &[&str]) -> Result<Answer, Broken> {
        let mut payload = vec![0x17];
        payload.push_u32(prepared.id);
        payload.push_u8(0);
        payload.push_u32(1);
        if prepared.parameters > 0 {
            assert!(values.len() == usize::from(prepared.parameters) && values.len() <= 8, "{values:?}");
            payload.push_u8(0); // none is NULL
            payload.push_u8(1); // types follow
            for _ in values {
                payload.push_u16(0xfd); // VAR_STRING
            }
            for value in values {
                payload.push_lenenc_bytes(value.as_bytes());
            }
        }
        self.begin(&payload).await?;
        self.answer(Rows::Binary).await.map(|(answer, _)| answer)
    }

    /// COM_STMT_CLOSE; no answer comes.
    pub(super) async fn close_statement(&mut self, prepared: Prepared) -> Result<(), Broken> {
        self.begin(&[&[0x19], &prepared.id.to_le_bytes()[..]].concat()).await
    }

    /// COM_QUIT, and waits until the peer has closed.
    pub(super) async fn quit(mut self) -> Result<(), Broken> {
        self.begin(&[0x01]).await?;
        match self.read().await {
            Err(Broken::Closed) => Ok(()),
            Err(other) => Err(other),
            Ok(_) => Err(Broken::Malformed("an answer to COM_QUIT")),
        }
    }

    /// All results of a command, in order; an error is the last.
    pub(super) async fn answers(&mut self) -> Result<Vec<Answer>, Broken> {
        let mut answers = Vec::new();
        loop {
            let (answer, more) = self.answer(Rows::Text).await?;
            answers.push(answer);
            if !more {
                return Ok(answers);
            }
        }
    }

    async fn answer(&mut self, form: Rows) -> Result<(Answer, bool), Broken> {
        let packet = self.read().await?;
        let more = |done: &Done| done.status.contains(StatusFlags::MORE_RESULTS_EXISTS);
        match packet.first() {
            Some(0xff) => return Ok((Answer::Error(error(&packet)?), false)),
            Some(0x00) => {
                let done = done(&packet)?;
                return Ok((Answer::Done(done), more(&done)));
            }
            Some(_) => {}
            None => return Err(Broken::Malformed("empty packet")),
        }
        let columns = usize::try_from(Reader::new(&packet).lenenc_int()?).unwrap_or(0);
        for _ in 0..columns {
            self.read().await?;
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.read().await?;
            match packet.first() {
                Some(0xff) => return Ok((Answer::Error(error(&packet)?), false)),
                Some(0xfe) if packet.len() < FULL_FRAME => {
                    let end = done(&packet)?;
                    return Ok((Answer::Rows { rows, end }, more(&end)));
                }
                Some(_) | None => rows.push(row(&packet, columns, form)?),
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<u8>, Broken> {
        read(&mut self.stream, &mut self.sequence).await
    }

    /// Begins a command: packet numbers start at 0.
    async fn begin(&mut self, payload: &[u8]) -> Result<(), Broken> {
        self.sequence = 0;
        self.write(payload).await
    }

    async fn write(&mut self, payload: &[u8]) -> Result<(), Broken> {
        assert!(payload.len() < FULL_FRAME, "too large for this suite");
        let [a, b, c, _] = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
        let framed = [&[a, b, c, self.sequence], payload].concat();
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&framed).await.map_err(|_| Broken::Closed)
    }
}

/// How the values of a row are written.
#[derive(Clone, Copy)]
enum Rows {
    Text,
    Binary,
}

async fn read(stream: &mut TcpStream, sequence: &mut u8) -> Result<Vec<u8>, Broken> {
    let packet = async {
        let mut header = [0; 4];
        stream.read_exact(&mut header).await.map_err(|_| Broken::Closed)?;
        let [a, b, c, number] = header;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        if number != *sequence || length == FULL_FRAME {
            return Err(Broken::Malformed("packet number"));
        }
        *sequence = sequence.wrapping_add(1);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.map_err(|_| Broken::Closed)?;
        Ok(payload)
    };
    timeout(PACKET_DEADLINE, packet).await.unwrap_or(Err(Broken::Late))
}

fn done(packet: &[u8]) -> Result<Done, Broken> {
    let mut reader = Reader::new(packet);
    reader.u8()?;
    let (affected, insert_id) = (reader.lenenc_int()?, reader.lenenc_int()?);
    let (status, warnings) = (StatusFlags::from_bits(reader.u16()?), reader.u16()?);
    Ok(Done { affected, insert_id, status, warnings })
}

fn error(packet: &[u8]) -> Result<ServerError, Broken> {
    let mut reader = Reader::new(packet);
    reader.u8()?;
    let code = reader.u16()?;
    let rest = reader.rest();
    let message = if rest.first() == Some(&b'#') { rest.get(6..).unwrap_or_default() } else { rest };
    Ok(ServerError { code, message: String::from_utf8_lossy(message).into_owned() })
}

fn row(packet: &[u8], columns: usize, form: Rows) -> Result<Vec<Cell>, Broken> {
    let mut reader = Reader::new(packet);
    let nulls = match form {
        Rows::Text => &[],
        Rows::Binary => {
            reader.u8()?;
            reader.take((columns + 9) / 8)?
        }
    };
    let mut cells = Vec::with_capacity(columns);
    for column in 0..columns {
        let null = match form {
            Rows::Text => reader.peek() == Some(0xfb),
            Rows::Binary => {
                nulls.get((column + 2) / 8).is_some_and(|byte| byte & 1 << ((column + 2) % 8) != 0)
            }
        };
        if null {
            if matches!(form, Rows::Text) {
                reader.u8()?;
            }
            cells.push(None);
        } else {
            cells.push(Some(String::from_utf8_lossy(reader.lenenc_bytes()?).into_owned()));
        }
    }
    Ok(cells)
}
