//! The first statements on a new backend connection: trackers on, then who the server is.
//!
//! Both are sent in one write; the server answers them one after the other.
//!
//! Never here: a judgement about the server's role.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::command::build;
use sluice_protocol::{Answer, AnswerLimits, AnswerReader, Capabilities, frame_payload};
use sluice_routing::lexer::LexMode;
use sluice_routing::variables::TRACKED;
use uuid::Uuid;

use super::dial::{DialError, Phase};
use super::stream::PacketStream;

/// Told by a server to an account whose password has expired: nothing works but changing it, and the trackers
/// stay as the server has them by default.
const MUST_CHANGE_PASSWORD: u16 = 1820;

/// Switches the trackers on, for the variables that routing counts on being told ([`TRACKED`]; any other one
/// pins a session that sets it). A name that a server does not know costs a warning (1231) and nothing else,
/// so one list serves all versions. Never `*`, which adds a counter to every OK.
static TRACKERS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SET SESSION session_track_gtids='OWN_GTID',session_track_transaction_info='CHARACTERISTICS',\
         session_track_state_change=ON,session_track_schema=ON,session_track_system_variables='{}'",
        TRACKED.join(",")
    )
});

/// The statement that switches the trackers on; needed again when a client has set them itself.
pub fn tracker_statement() -> &'static [u8] {
    TRACKERS.as_bytes()
}

/// Who answers, whether it takes writes, how it reads the texts of a fresh session, and what a session that
/// was changed has to be set back to.
const IDENTITY: &[u8] = b"SELECT @@server_uuid, @@read_only, CURRENT_USER(), @@sql_mode, CURRENT_ROLE(), \
    @@wait_timeout, @@character_set_client, @@character_set_connection, @@character_set_results, \
    @@collation_connection";

/// The value of `@@wait_timeout` where it can't be read: MySQL's default.
const DEFAULT_WAIT_TIMEOUT: Duration = Duration::from_hours(8);

/// The character sets that a login leaves a session with. They come from the collation in the handshake, and
/// no statement brings them back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginCharset {
    /// `character_set_client`
    pub client: Box<[u8]>,
    /// `character_set_connection`
    pub connection: Box<[u8]>,
    /// `character_set_results`; empty for NULL.
    pub results: Box<[u8]>,
    /// `collation_connection`
    pub collation: Box<[u8]>,
}

/// What the server said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `None` in the sandbox of an expired password.
    pub(super) server_uuid: Option<Uuid>,
    pub(super) read_only: bool,
    /// Without the host; empty in the sandbox.
    pub(super) account: Box<[u8]>,
    /// How texts are read: after `sql_mode` and `character_set_client`.
    pub(super) mode: LexMode,
    pub(super) charset: LoginCharset,
    /// The active roles as `SET ROLE` takes them; empty in the sandbox.
    pub(super) role: Box<[u8]>,
    pub(super) wait_timeout: Duration,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            server_uuid: None,
            read_only: false,
            account: Box::default(),
            mode: LexMode::default(),
            charset: LoginCharset::default(),
            role: Box::default(),
            wait_timeout: DEFAULT_WAIT_TIMEOUT,
        }
    }
}

/// Sends the first statements and reads their answers.
pub(super) async fn run(io: &mut PacketStream, caps: Capabilities) -> Result<Identity, DialError> {
    let mut out = BytesMut::with_capacity(TRACKERS.len() + 128);
    for text in [tracker_statement(), IDENTITY] {
        frame_payload(&mut out, &mut 0, &build::query(text, caps));
    }
    io.write_all(&out).await.map_err(lost)?;
    io.flush().await.map_err(lost)?;
    match answer(io).await? {
        Answer::Ok(_) => {}
        Answer::Error(error) if error.code == MUST_CHANGE_PASSWORD => {}
        Answer::Rows { .. } => return Err(DialError::Protocol("rows in answer to SET".to_owned())),
        Answer::Error(error) => return Err(DialError::Server(Box::new(error))),
    }
    let identity = match answer(io).await? {
        Answer::Rows { rows, .. } => identity(rows.first().map_or(&[], Vec::as_slice))?,
        Answer::Error(error) if error.code == MUST_CHANGE_PASSWORD => Identity::default(),
        Answer::Ok(_) => return Err(DialError::Protocol("no rows for @@server_uuid".to_owned())),
        Answer::Error(error) => return Err(DialError::Server(Box::new(error))),
    };
    if io.buffer().is_empty() {
        Ok(identity)
    } else {
        Err(DialError::Protocol("one answer too many".to_owned()))
    }
}

fn identity(row: &[Option<Vec<u8>>]) -> Result<Identity, DialError> {
    let [
        Some(uuid),
        Some(read_only),
        Some(account),
        Some(sql_mode),
        Some(role),
        Some(wait_timeout),
        Some(client),
        Some(connection),
        results,
        Some(collation),
    ] = row
    else {
        return Err(DialError::Protocol("an odd row for @@server_uuid".to_owned()));
    };
    let uuid = Uuid::try_parse_ascii(uuid)
        .map_err(|error| DialError::Protocol(format!("@@server_uuid is no UUID: {error}")))?;
    let seconds = std::str::from_utf8(wait_timeout).ok().and_then(|seconds| seconds.parse().ok());
    Ok(Identity {
        server_uuid: Some(uuid),
        read_only: read_only != b"0",
        account: name_of(account).into(),
        mode: LexMode::default().with_sql_mode(sql_mode).with_client_charset(client),
        charset: LoginCharset {
            client: client.as_slice().into(),
            connection: connection.as_slice().into(),
            results: results.as_deref().unwrap_or_default().into(),
            collation: collation.as_slice().into(),
        },
        role: role.as_slice().into(),
        wait_timeout: seconds.map_or(DEFAULT_WAIT_TIMEOUT, Duration::from_secs),
    })
}

/// `name` of `name@host`; the name may itself hold an `@`.
fn name_of(account: &[u8]) -> &[u8] {
    let at = account.iter().rposition(|byte| *byte == b'@').unwrap_or(account.len());
    account.get(..at).unwrap_or(account)
}

async fn answer(io: &mut PacketStream) -> Result<Answer, DialError> {
    let mut reader = AnswerReader::new(AnswerLimits::default());
    loop {
        let (used, answer) =
            reader.advance(io.buffer()).map_err(|error| DialError::Protocol(error.to_string()))?;
        io.consume(used);
        if let Some(answer) = answer {
            return Ok(answer);
        }
        if io.fill().await.map_err(lost)? == 0 {
            return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn lost(source: std::io::Error) -> DialError {
    DialError::Network { phase: Phase::FirstStatement, source }
}
