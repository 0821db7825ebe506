//! A connection whose login is under way, and what becomes of it: complete, or handed to the client to be proved.
//!
//! Accounts of LDAP, Kerberos, WebAuthn and the like are proved by an exchange that nobody can hold in the client's
//! place. The server's packets go to the client, the client's to the server, until the server says yes or no.
//!
//! Never here: a byte of that exchange looked into, the client's connection.

use std::sync::Arc;

use sluice_protocol::{Capabilities, ErrPacket};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::dial::{BackendConnection, DialError, Phase, Target};
use super::first;
use super::handshake::{LOGIN_PACKET, unread};
use super::identity::Identity;
use super::places::Permit;
use super::stream::{PacketStream, ReadError};

/// A connection on which a login has begun.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) target: Target,
    pub(super) permit: Permit,
    pub(super) io: PacketStream,
    pub(super) thread_id: u32,
    pub(super) version: Arc<str>,
    pub(super) capabilities: Capabilities,
    pub(super) identity: Option<Identity>,
}

impl Opened {
    /// The server has said OK with this payload: the first statements make a connection of it.
    pub(super) async fn complete(mut self, login_ok: Vec<u8>) -> Result<BackendConnection, DialError> {
        let identity = first::run(&mut self.io, self.capabilities).await?;
        if let (Some(expected), Some(found)) = (self.target.expected_uuid, identity.server_uuid)
            && expected != found
        {
            return Err(DialError::WrongServer { expected, found });
        }
        self.io.set_sequence(0);
        self.io.release_all();
        Ok(BackendConnection {
            instance: self.target.instance,
            thread_id: self.thread_id,
            server_uuid: identity.server_uuid,
            capabilities: self.capabilities,
            version: self.version,
            // In the sandbox of an expired password only changing it works, and then it is another one.
            identity: self.identity.filter(|_| identity.server_uuid.is_some()),
            account: identity.account,
            mode: identity.mode,
            charset: identity.charset,
            role: identity.role,
            wait_timeout: identity.wait_timeout,
            opened_at: Instant::now(),
            read_only: identity.read_only,
            login_ok: login_ok.into(),
            io: self.io,
            _permit: self.permit,
        })
    }
}

/// A login that waits for the client's part. Dropping it ends the login with an empty packet, which no proof is: a
/// server counts a connection that merely ends here against the limit of errors of our address
/// (`max_connect_errors`, seen on 9.7.4).
#[derive(Debug)]
pub struct Handover {
    target: Target,
    /// `None` once the server has had the last word.
    opened: Option<Opened>,
    asked: Option<Vec<u8>>,
}

/// What the server says within a handed-over login.
#[derive(Debug)]
pub enum Said {
    /// For the client, as it is.
    ForClient(Vec<u8>),
    /// The client is in: the payload of the OK.
    Ok(Vec<u8>),
    /// It is not.
    Refused(ErrPacket<'static>),
}

impl Handover {
    pub(super) fn new(opened: Opened, asked: Vec<u8>) -> Self {
        let target = opened.target;
        Self { target, opened: Some(Opened { identity: None, ..opened }), asked: Some(asked) }
    }

    /// Where it leads.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// What the server asks for, until it was [heard](Self::hear).
    #[must_use]
    pub fn asked(&self) -> Option<&[u8]> {
        self.asked.as_deref()
    }

    /// Whether what is sent to the server is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.io.stream().is_tls())
    }

    /// Waits for the server's next packet. Safe to cancel.
    pub async fn hear(&mut self) -> Result<Said, DialError> {
        let payload = match self.asked.take() {
            Some(asked) => asked,
            None => {
                let packet = self.io()?.next_packet(LOGIN_PACKET).await;
                packet.map_err(|error: ReadError| unread(error, Phase::Authenticate))?.to_vec()
            }
        };
        match payload.first() {
            Some(0x00) => Ok(Said::Ok(payload)),
            Some(0xff) => {
                self.opened = None;
                match ErrPacket::parse(&payload) {
                    Ok(error) => Ok(Said::Refused(error.into_owned())),
                    Err(error) => Err(DialError::Protocol(error.to_string())),
                }
            }
            Some(_) | None => Ok(Said::ForClient(payload)),
        }
    }

    /// Passes on a packet of the client.
    pub async fn say(&mut self, payload: &Zeroizing<Vec<u8>>) -> Result<(), DialError> {
        let lost = |source| DialError::Network { phase: Phase::Authenticate, source };
        self.io()?.write_packet(payload).await.map_err(lost)
    }

    /// The server has said OK: makes a connection of it, which belongs to this client alone.
    pub async fn complete(mut self, login_ok: Vec<u8>) -> Result<BackendConnection, DialError> {
        match self.opened.take() {
            Some(opened) => opened.complete(login_ok).await,
            None => Err(over()),
        }
    }

    fn io(&mut self) -> Result<&mut PacketStream, DialError> {
        self.opened.as_mut().map(|opened| &mut opened.io).ok_or_else(over)
    }
}

fn over() -> DialError {
    DialError::Protocol("the login is over".to_owned())
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(opened) = &mut self.opened {
            let sequence = opened.io.sequence();
            opened.io.write_now(&[0, 0, 0, sequence]);
        }
    }
}
