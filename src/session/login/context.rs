//! What logins share: settings that a reload may replace, and what is remembered of former logins.
//!
//! Never here: a client's connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use metrics::Counter;
use sluice_protocol::{Capabilities, ErrorCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::LoginEnd;
use super::admissions::{Admission, Admissions};
use super::guesses::Guesses;
use super::keys::{KeyError, Keys};
use super::places::Places;
use super::refusal::{Failure, FailureLog};
use super::relayed::Relayed;
use super::rules::Rules;
use super::verifiers::{Keep, Known, Verifiers};
use crate::backend::places::{Permit, Places as BackendPlaces};
use crate::backend::{
    BackendConnection, BackendLogin, DialError, Dialer, Identities, Identity, Secret, Target,
};
use crate::config::{ClientTlsMode, Config, Network, Retention};
use crate::feed::Feed;
use crate::session::client_stream::NoProxyHeader;
use crate::session::memory::Memory;

/// Greeted with while no instance's version is known.
pub(super) const UNKNOWN_VERSION: &str = "8.4.0";
/// Passwords told by clients that servers are asked about at once. Each is a full login at an instance; what
/// a storm of wrong ones may cost the servers is bounded by it.
const ASKING: usize = 64;

/// What logins share: one per process.
pub struct LoginContext {
    settings: ArcSwap<Settings>,
    pub(super) verifiers: Verifiers,
    pub(super) admissions: Admissions,
    remembered: Counter,
    pub(super) identities: Identities,
    pub(super) guesses: Guesses,
    pub(super) asking: Semaphore,
    pub(super) relayed: Relayed,
    pub(super) places: Places,
    pub(super) failures: FailureLog,
    pub(super) dialer: Arc<Dialer>,
    pub(super) feed: Arc<Feed>,
}

/// What the configuration says about logins.
pub(super) struct Settings {
    pub(super) keys: Keys,
    pub(super) tls_mode: ClientTlsMode,
    /// What of the compressed protocol is offered.
    pub(super) compression: Capabilities,
    pub(super) rules: Rules,
    pub(super) retention: Retention,
    pub(super) max_age: Duration,
    pub(super) max_connections: usize,
    pub(super) memory: usize,
    pub(super) replica_fallback: bool,
    pub(super) proxies: Vec<Network>,
}

impl Settings {
    fn load(config: &Config) -> Result<Self, KeyError> {
        Ok(Self {
            keys: Keys::load(&config.tls_client, &config.cluster.store)?,
            tls_mode: config.tls_client.mode,
            compression: match config.listen.compression {
                true => super::exchange::COMPRESSION,
                false => Capabilities::empty(),
            },
            rules: Rules::new(config),
            retention: config.login.retention,
            max_age: config.login.max_age,
            max_connections: config.sessions.max_connections,
            memory: config.sessions.memory,
            replica_fallback: config.sessions.replica_fallback,
            proxies: config.login.proxy_protocol_from.clone(),
        })
    }
}

impl Settings {
    /// Whether clients without TLS are refused.
    pub(super) fn demands_tls(&self) -> bool {
        match self.tls_mode {
            ClientTlsMode::Required | ClientTlsMode::VerifyCa => true,
            ClientTlsMode::Disabled | ClientTlsMode::Preferred => false,
        }
    }
}

/// Settings that were checked and can take effect without a further error.
pub struct NewSettings(Settings);

impl LoginContext {
    /// Loads (or makes, in the store folder) certificate and RSA key. Blocking; call it at start.
    pub fn new(config: &Config, dialer: Arc<Dialer>, feed: Arc<Feed>) -> Result<Self, KeyError> {
        Ok(Self {
            settings: ArcSwap::from_pointee(Settings::load(config)?),
            verifiers: Verifiers::default(),
            admissions: Admissions::default(),
            remembered: remembered_logins(),
            identities: Identities::default(),
            guesses: Guesses::default(),
            asking: Semaphore::new(ASKING),
            relayed: Relayed::default(),
            places: Places::new(Memory::new(config.sessions.memory)),
            failures: FailureLog::default(),
            dialer,
            feed,
        })
    }

    /// What the configuration says now.
    pub(super) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Reads everything that another configuration names, changing nothing. Blocking.
    pub fn check(config: &Config) -> Result<NewSettings, KeyError> {
        Settings::load(config).map(NewSettings)
    }

    /// Lets checked settings take effect for the logins that begin from now on. If clients meet another
    /// certificate from now on, returns what both are called.
    pub fn apply(&self, NewSettings(settings): NewSettings) -> Option<(String, String)> {
        let (retention, name) = (settings.retention, settings.keys.certificate.clone());
        self.memory().set_limit(settings.memory);
        let before = self.settings.swap(Arc::new(settings)).keys.certificate.clone();
        match retention {
            Retention::Memory => {}
            Retention::Session => self.verifiers.clear(),
            Retention::None => self.verifiers.drop_secrets(),
        }
        self.admissions.clear();
        (before != name).then_some((before, name))
    }

    /// Opens a further backend connection for a session, as [`Dialer::connect`]. A refused password (1045) has
    /// been changed since, or its account is gone: later logins begin from nothing. If a newer password of the
    /// account is known, the session goes on with it, as it would with one server.
    pub async fn connect(
        &self,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        let result = self.prove(target, login, deadline).await;
        self.or_newer(result, target, login, deadline).await
    }

    /// As [`Self::connect`], in a place that the caller has.
    pub async fn connect_at(
        &self,
        permit: Permit,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        let result = self.dialer.connect_at(permit, target, login, deadline).await;
        let result = self.proved(login, result);
        self.or_newer(result, target, login, deadline).await
    }

    async fn or_newer(
        &self,
        result: Result<BackendConnection, DialError>,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        if !is_denied(&result) {
            return result;
        }
        match self.newer(login) {
            Some(newer) => self.prove(target, &newer, deadline).await,
            None => result,
        }
    }

    /// The memory that clients take.
    pub fn memory(&self) -> &Arc<Memory> {
        self.places.memory()
    }

    /// The places that backend connections take.
    pub(in crate::session) fn backend_places(&self) -> &Arc<BackendPlaces> {
        self.dialer.places()
    }

    /// Has a server decide whether `login` is right. What it refuses is forgotten.
    pub(super) async fn prove(
        &self,
        target: Target,
        login: &BackendLogin,
        deadline: Instant,
    ) -> Result<BackendConnection, DialError> {
        let result = self.dialer.connect(target, login, deadline).await;
        self.proved(login, result)
    }

    /// Takes note of what a server said to `login`.
    fn proved(
        &self,
        login: &BackendLogin,
        mut result: Result<BackendConnection, DialError>,
    ) -> Result<BackendConnection, DialError> {
        if let Ok(connection) = &mut result {
            connection.identity = connection.identity.map(|identity| self.identities.accepted(identity));
        }
        if is_denied(&result) {
            if let Some(secret) = &login.secret {
                self.verifiers.forget(&login.user, secret);
            }
            if let Some(identity) = &login.identity {
                self.identities.end(identity);
            }
        }
        result
    }

    /// The same login with a password that a server accepted later, for a session whose own was changed.
    fn newer(&self, login: &BackendLogin) -> Option<BackendLogin> {
        let secret = self.verifiers.newer(&login.user, login.secret.as_ref()?)?;
        let identity = Some(self.identities.of(&login.user, &secret.hash()));
        Some(BackendLogin { secret: Some(secret), identity, ..login.clone() })
    }

    /// Whether idle connections opened under `identity` may still be handed to a session with an equal one.
    /// Not any more once a server has refused the password (1045): drop them.
    pub fn is_current(&self, identity: &Identity) -> bool {
        self.identities.is_current(identity)
    }

    /// What a server said to this login, with a password that the client has proved, a short while ago. `None`: a
    /// server has to be asked, which with another retention than `memory` is always so.
    pub(super) fn admitted(&self, login: &BackendLogin, known: &Known) -> Option<Admission> {
        let (retention, max_age) = {
            let settings = self.settings();
            (settings.retention, settings.max_age)
        };
        let current = login.identity.as_ref().is_some_and(|identity| self.is_current(identity));
        if retention != Retention::Memory || known.age >= max_age || !current {
            return None;
        }
        let admission = self.admissions.check(login, max_age)?;
        self.remembered.increment(1);
        Some(admission)
    }

    /// A statement begins that changes accounts, privileges, schemas or the servers' defaults. As long as what is
    /// returned lives every login asks a server, and what servers said before is forgotten.
    pub(in crate::session) fn access_changes(&self) -> AccessChange<'_> {
        self.admissions.begin_change();
        AccessChange(self)
    }

    /// Keeps of an accepted password what the configuration allows.
    pub(super) fn remember(&self, user: &[u8], secret: &Secret) {
        match self.settings().retention {
            _ if secret.is_empty() => {}
            Retention::Memory => self.verifiers.remember(user, secret, Keep::Secret),
            Retention::None => self.verifiers.remember(user, secret, Keep::Verifier),
            Retention::Session => {}
        }
    }

    /// Whether connections from this address have to begin with a PROXY header.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.settings().proxies.iter().any(|network| network.contains(peer))
    }

    /// Notes that a connection from such an address did not.
    pub(in crate::session) fn without_header(&self, peer: SocketAddr, error: &NoProxyHeader) {
        let failure = Failure::silent(LoginEnd::NoProxyHeader, error.to_string());
        metrics::counter!("sluice_logins_total", "result" => failure.end.as_str()).increment(1);
        self.failures.write(&failure, 0, peer, b"");
    }

    /// The version to greet with: the primary's, so that drivers choose the features it has.
    pub(super) fn version(&self) -> String {
        let topology = self.feed.topology();
        let known = topology.primary().into_iter().chain(topology.instances.iter());
        let version = known.filter_map(|instance| instance.version.as_deref()).next();
        format!("{}-sluice", version.unwrap_or(UNKNOWN_VERSION))
    }
}

/// Such a statement is under way.
pub(in crate::session) struct AccessChange<'a>(&'a LoginContext);

impl Drop for AccessChange<'_> {
    fn drop(&mut self) {
        self.0.admissions.end_change();
    }
}

fn remembered_logins() -> Counter {
    metrics::describe_counter!(
        "sluice_logins_remembered_total",
        "Logins let in by what a server said to the same login within max_age."
    );
    metrics::counter!("sluice_logins_remembered_total")
}

/// Whether a server has refused the password itself.
fn is_denied(result: &Result<BackendConnection, DialError>) -> bool {
    matches!(result, Err(DialError::Server(refusal)) if refusal.code == ErrorCode::AccessDenied.number())
}
