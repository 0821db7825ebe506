//! A login and statements on it, and nothing else: no place under a limit, no trackers, no pool. For Sluice's own
//! sessions.
//!
//! Never here: a client's statement, a deadline over a statement (the caller has one).

mod dump;

use sluice_protocol::command::build;
use sluice_protocol::{Answer, AnswerLimits, AnswerReader, Capabilities, frame_payload};
use tokio::time::Instant;

use super::dial::{DialError, Phase};
use super::handshake::{Proved, greet, open, prove, request};
use super::login::BackendLogin;
use super::stream::PacketStream;
use super::tls::Tls;
use crate::config::InstanceTls;

/// A logged-in connection. Dropping it says COM_QUIT and closes the socket.
#[derive(Debug)]
pub struct DirectConnection {
    io: PacketStream,
    capabilities: Capabilities,
}

impl DirectConnection {
    /// Logs in at `host:port`, with TLS as `tls` says; its files are read now. Connecting ends at `deadline`.
    pub async fn log_in(
        address: &str,
        login: &BackendLogin,
        tls: &InstanceTls,
        deadline: Instant,
    ) -> Result<Self, DialError> {
        let tls = Tls::new(tls).map_err(|error| DialError::Tls(error.to_string()))?;
        let secret = login.secret.as_ref().ok_or(DialError::NoSecret)?;
        let request = request(login, secret.credential());
        let mut phase = Phase::Resolve;
        let tcp = open(address, deadline, &mut phase).await?;
        let (mut io, ready) = greet(tcp, address, &request, &tls, &mut phase).await?;
        let (payload, auth, capabilities) = ready.log_in(&request);
        match prove(&mut io, &payload, auth, capabilities).await? {
            Proved::Accepted(_) => Ok(Self { io, capabilities }),
            Proved::AsksClient(_) => {
                Err(DialError::Protocol("the account needs another proof than a password".to_owned()))
            }
        }
    }

    /// Runs one statement. After an error, or when it was dropped before its end, the connection is of no more use.
    pub async fn query(&mut self, sql: &str, limits: AnswerLimits) -> Result<Answer, DialError> {
        let lost = |source| DialError::Network { phase: Phase::FirstStatement, source };
        let mut bytes = bytes::BytesMut::new();
        frame_payload(&mut bytes, &mut 0, &build::query(sql.as_bytes(), self.capabilities));
        self.io.write_all(&bytes).await.map_err(lost)?;
        self.io.flush().await.map_err(lost)?;
        let mut reader = AnswerReader::new(limits);
        loop {
            let (used, answer) =
                reader.advance(self.io.buffer()).map_err(|error| DialError::Protocol(error.to_string()))?;
            self.io.consume(used);
            if let Some(answer) = answer {
                self.io.release_all();
                return Ok(answer);
            }
            if self.io.fill().await.map_err(lost)? == 0 {
                return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl Drop for DirectConnection {
    fn drop(&mut self) {
        let [command] = build::quit();
        self.io.write_now(&[1, 0, 0, 0, command]);
    }
}
