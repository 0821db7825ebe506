//! Logins that only the client itself can prove: the server's own exchange, passed through between the two.
//!
//! Nobody knows beforehand which accounts those are. The first login of one begins like any other, and its server
//! then asks for something else than a password; from there on packets pass through. The account is remembered, and
//! its next logins pass through from their first packet, which is what all drivers can follow.
//!
//! Never here: a look into the packets beyond who has the last word.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_protocol::auth::AuthPlugin;
use sluice_protocol::{ErrPacket, ErrorCode};
use sluice_routing::decide::Listener;
use sluice_routing::topology::InstanceId;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::exchange::Applicant;
use super::guesses::Leave;
use super::refusal::Failure;
use super::{LoginContext, LoginEnd};
use crate::backend::handover::{Handover, Said};
use crate::backend::{BackendConnection, BackendLogin, DialError};
use crate::feed::registry::Entry;

/// Exchanges under way at once. Each holds a connection to an instance for as long as its client likes to think, at
/// most [`EXCHANGE`]; there must be connections left for the others.
const EXCHANGES: usize = 16;
/// How long an exchange may take. Servers wait ten seconds (`connect_timeout`) for each packet; somebody has to touch
/// a key, or types a second password.
const EXCHANGE: Duration = Duration::from_secs(60);
/// Most packets of an exchange, either way; Kerberos and SASL take a handful.
const PACKETS: u32 = 64;
/// Largest packet of a client within it; a Kerberos ticket of Active Directory has up to 64 KiB.
const PACKET: usize = 80 * 1024;
/// What MariaDB's C library names while it has no plugin at hand, for instance because another thread is just loading
/// it (`dummy_fallback_auth` in its `my_auth.c`).
const NO_PLUGIN: &[u8] = b"dummy_fallback_auth";
/// Most account names remembered.
const MAX_ACCOUNTS: usize = 1024;
/// How long an account is remembered since it was met last.
const LIFE: Duration = Duration::from_hours(24);

/// What is known of accounts that only their clients can log in to; one per process.
#[derive(Debug)]
pub(super) struct Relayed {
    accounts: Mutex<HashMap<Box<[u8]>, Instant>>,
    exchanges: Semaphore,
}

impl Default for Relayed {
    fn default() -> Self {
        Self { accounts: Mutex::default(), exchanges: Semaphore::new(EXCHANGES) }
    }
}

impl Relayed {
    fn is_known(&self, user: &[u8]) -> bool {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(user).is_some_and(|met_at| met_at.elapsed() < LIFE)
    }

    fn note(&self, user: &[u8]) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.retain(|_, met_at| met_at.elapsed() < LIFE);
        }
        if accounts.len() < MAX_ACCOUNTS || accounts.contains_key(user) {
            accounts.insert(user.into(), Instant::now());
        }
    }

    fn forget(&self, user: &[u8]) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

impl LoginContext {
    /// Whether a login may have to pass through from its first packet: its account was met before, or its client has
    /// come with a plugin that is not about a password. Its server knows.
    fn is_likely(&self, user: &[u8], plugin: &AuthPlugin) -> bool {
        let own_plugin = match plugin {
            AuthPlugin::Other(name) => !name.is_empty() && name != NO_PLUGIN,
            AuthPlugin::CachingSha2
            | AuthPlugin::NativePassword
            | AuthPlugin::Sha256Password
            | AuthPlugin::ClearPassword => false,
        };
        own_plugin || self.relayed.is_known(user)
    }

    /// Begins a login whose proof passes through from its first packet. `None` if it is one about a password: that is
    /// for us to ask for, since what the client and the server would say to each other depends on whether each
    /// hears the other over TLS, and the two sides may differ in that.
    pub(super) async fn begin_relayed(
        &self,
        login: &BackendLogin,
        plugin: &AuthPlugin,
        entry: &Entry,
    ) -> Result<Option<Box<Handover>>, Failure> {
        if !self.is_likely(&login.user, plugin) {
            return Ok(None);
        }
        if self.guesses.leave(entry.peer.ip(), &login.user) == Leave::Wait {
            return Err(Failure::throttled(&login.user, entry.peer));
        }
        let listener = entry.listener;
        let mut last = DialError::UnknownInstance;
        for target in super::verify::targets(self, listener).await {
            if !self.may_serve(target.instance, listener) {
                continue;
            }
            match self.dialer.begin(target, login, super::verify::deadline()).await {
                Ok(handover) if handover.asked().is_some_and(asks_for_password) => {
                    self.relayed.forget(&login.user);
                    return Ok(None);
                }
                Ok(handover) => return Ok(Some(Box::new(handover))),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Whether a session that can have one connection only may have it there.
    fn may_serve(&self, instance: InstanceId, listener: Listener) -> bool {
        let primary = self.feed.topology().is_primary(instance);
        match listener {
            Listener::Split | Listener::Primary => primary,
            // There a write would have to be refused, and on the primary nobody would.
            Listener::Replica => !primary,
        }
    }
}

/// Passes packets between the client and the server until that has the last word.
pub(super) async fn relay(
    applicant: &mut Applicant<'_>,
    handover: Box<Handover>,
    login: &BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<BackendConnection, Failure> {
    context.relayed.note(&login.user);
    if !context.may_serve(handover.target().instance, entry.listener) {
        let detail =
            "an account that only its client can log in to, and no instance for all of its statements";
        return Err(Failure::own(LoginEnd::NoInstance, ErrorCode::ServerShutdown, detail));
    }
    if applicant.client.stream().is_tls() && !handover.is_tls() {
        // What the client shows to nobody but its server must not go on in the clear.
        let detail = "the proof came over TLS and would go on without";
        return Err(Failure::own(LoginEnd::NoInstance, ErrorCode::ServerShutdown, detail));
    }
    let Ok(_one) = context.relayed.exchanges.try_acquire() else {
        let detail = "too many logins that only clients can prove are under way";
        return Err(Failure::own(LoginEnd::NoInstance, ErrorCode::TooManyConnections, detail));
    };
    applicant.deadline = Instant::now() + EXCHANGE;
    match timeout_at(applicant.deadline, pass(applicant, handover, login, entry, context)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::deadline()),
    }
}

async fn pass(
    applicant: &mut Applicant<'_>,
    mut handover: Box<Handover>,
    login: &BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Result<BackendConnection, Failure> {
    let mut passed = 0;
    loop {
        if passed >= PACKETS {
            let detail = "an endless login";
            return Err(Failure::own(LoginEnd::BadHandshake, ErrorCode::BadHandshake, detail));
        }
        passed += 1;
        tokio::select! {
            biased;
            said = handover.hear() => match said? {
                Said::ForClient(payload) => applicant.write(&payload).await?,
                Said::Ok(login_ok) => {
                    context.guesses.right(entry.peer.ip(), &login.user);
                    return Ok(handover.complete(login_ok).await?);
                }
                Said::Refused(error) => return Err(refused(error, login, entry, context)),
            },
            answer = applicant.client.next_packet(PACKET) => match answer {
                Ok(payload) => handover.say(&payload).await?,
                Err(error) => return Err(error.into()),
            },
        }
    }
}

/// Whether the server switches to a plugin that is about a password alone.
fn asks_for_password(payload: &[u8]) -> bool {
    let Some((0xfe, rest)) = payload.split_first() else { return false };
    let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    match AuthPlugin::from_name(name) {
        AuthPlugin::CachingSha2 | AuthPlugin::NativePassword | AuthPlugin::Sha256Password => true,
        // LDAP and PAM take the password in the clear: what proves it is still theirs.
        AuthPlugin::ClearPassword | AuthPlugin::Other(_) => false,
    }
}

fn refused(
    error: ErrPacket<'static>,
    login: &BackendLogin,
    entry: &Entry,
    context: &LoginContext,
) -> Failure {
    if error.code == ErrorCode::AccessDenied.number() {
        context.guesses.wrong(entry.peer.ip(), &login.user, None);
    }
    DialError::Server(Box::new(error)).into()
}
