//! What servers said to logins a short while ago, so that the same login need not ask again.
//!
//! A proved password says who a client is; whether its schema is there and open to it, and what its welcome
//! carries, only a server knows. What a server said to one login holds for those with the same account,
//! password, schema, collation and capabilities for `[login] max_age`, unless accounts, privileges or schemas
//! were changed through this Sluice meanwhile.
//!
//! Never here: a password, a refusal (those are always a server's).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_protocol::Capabilities;
use sluice_routing::lexer::LexMode;
use tokio::time::Instant;

use crate::backend::login::MIRRORED;
use crate::backend::{BackendConnection, BackendLogin, Identity};

/// Most logins remembered, about 3 MB. An application has a handful; one with more schemas than this asks a
/// server for those it has not used lately.
const MAX_ADMISSIONS: usize = 8192;

/// What servers said lately; one per process.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Key, Entry>,
    generation: u64,
    /// Statements under way that change what is remembered.
    changes: usize,
}

/// Logins that a server can't tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    identity: Identity,
    database: Option<Box<[u8]>>,
    capabilities: Capabilities,
    collation: u8,
}

impl Key {
    fn of(login: &BackendLogin) -> Option<Self> {
        Some(Self {
            identity: login.identity?,
            database: login.database.clone(),
            capabilities: login.client_capabilities & MIRRORED,
            collation: login.collation,
        })
    }
}

#[derive(Debug)]
struct Entry {
    admission: Admission,
    accepted_at: Instant,
    /// Somebody is asking a server again.
    asked_at: Option<Instant>,
}

/// What a server said to a login.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    /// The name of the account that it chose.
    pub(super) account: Box<[u8]>,
    /// The payload of its OK.
    pub(super) login_ok: Box<[u8]>,
    /// How it reads the texts of the session.
    pub(super) mode: LexMode,
}

impl Admission {
    /// What `connection` was told at its login.
    pub(super) fn of(connection: &BackendConnection) -> Self {
        Self {
            account: connection.account.clone(),
            login_ok: connection.login_ok.clone(),
            mode: connection.mode,
        }
    }
}

/// The time before which a server was asked; see [`Admissions::remember`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

impl Admissions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a server said to such a login less than `max_age` ago. When half of that has passed, one login in as
    /// many is told `None`, so that it asks, while others need not wait for the answer.
    pub(super) fn check(&self, login: &BackendLogin, max_age: Duration) -> Option<Admission> {
        let key = Key::of(login)?;
        let now = Instant::now();
        let mut state = self.lock();
        if state.changes > 0 {
            return None;
        }
        let entry = state.known.get_mut(&key)?;
        let age = now.duration_since(entry.accepted_at);
        if age >= max_age {
            state.known.remove(&key);
            return None;
        }
        let asked = entry.asked_at.is_some_and(|asked_at| now.duration_since(asked_at) < max_age / 2);
        if age >= max_age / 2 && !asked {
            entry.asked_at = Some(now);
            return None;
        }
        Some(entry.admission.clone())
    }

    /// To be taken before a server is asked.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.lock().generation)
    }

    /// A server that was asked after `since` has let `login` in.
    pub(super) fn remember(&self, login: &BackendLogin, admission: Admission, since: Generation) {
        let Some(key) = Key::of(login) else { return };
        let mut state = self.lock();
        if state.generation != since.0 || state.changes > 0 {
            // It may have answered before a change that came through here.
            return;
        }
        if state.known.len() >= MAX_ADMISSIONS && !state.known.contains_key(&key) {
            let oldest = state.known.iter().min_by_key(|(_, entry)| entry.accepted_at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                state.known.remove(&oldest);
            }
        }
        let entry = Entry { admission, accepted_at: Instant::now(), asked_at: None };
        state.known.insert(key, entry);
    }

    /// A server has just refused `login`.
    pub(super) fn forget(&self, login: &BackendLogin) {
        if let Some(key) = Key::of(login) {
            self.lock().known.remove(&key);
        }
    }

    /// A statement that changes accounts, privileges or schemas is under way: until it is over, every login asks.
    pub(super) fn begin_change(&self) {
        self.lock().changes += 1;
    }

    /// It is over.
    pub(super) fn end_change(&self) {
        let mut state = self.lock();
        state.changes = state.changes.saturating_sub(1);
        drop(state);
        self.clear();
    }

    /// What is remembered holds no more: every login asks again.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.known.clear();
    }

    /// Drops what is too old to be of use.
    pub(super) fn expire(&self, max_age: Duration) {
        let now = Instant::now();
        self.lock().known.retain(|_, entry| now.duration_since(entry.accepted_at) < max_age);
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::auth::{Password, PasswordHash};

    use super::*;
    use crate::backend::Identities;

    const MAX_AGE: Duration = Duration::from_secs(60);

    fn login(identities: &Identities, database: Option<&str>) -> BackendLogin {
        let hash = PasswordHash::of(&Password::new(b"right".to_vec()));
        BackendLogin {
            user: (*b"app").into(),
            secret: None,
            identity: Some(identities.of(b"app", &hash)),
            database: database.map(|name| name.as_bytes().into()),
            collation: 45,
            client_capabilities: Capabilities::MULTI_STATEMENTS | Capabilities::COMPRESS,
            attributes: Box::default(),
        }
    }

    fn admission() -> Admission {
        Admission { account: (*b"app").into(), login_ok: Box::default(), mode: LexMode::default() }
    }

    fn knows(admissions: &Admissions, login: &BackendLogin) -> bool {
        admissions.check(login, MAX_AGE).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn it_holds_for_logins_that_a_server_cannot_tell_apart() {
        let (admissions, identities) = (Admissions::default(), Identities::default());
        let plain = login(&identities, Some("shop"));
        admissions.remember(&plain, admission(), admissions.generation());
        assert!(knows(&admissions, &plain));
        let compressed_no_more =
            BackendLogin { client_capabilities: Capabilities::MULTI_STATEMENTS, ..plain.clone() };
        assert!(knows(&admissions, &compressed_no_more), "a matter between the client and us");
        let others = [
            BackendLogin { client_capabilities: Capabilities::empty(), ..plain.clone() },
            BackendLogin { collation: 8, ..plain.clone() },
            BackendLogin { identity: None, ..plain.clone() },
            login(&identities, None),
            login(&identities, Some("Shop")),
            login(&Identities::default(), Some("shop")),
        ];
        assert!(others.iter().all(|other| !knows(&admissions, other)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_login_asks_again_at_half_of_the_age_and_all_of_them_at_the_whole() {
        let (admissions, identities) = (Admissions::default(), Identities::default());
        let login = login(&identities, None);
        admissions.remember(&login, admission(), admissions.generation());
        tokio::time::advance(MAX_AGE / 2).await;
        assert!(!knows(&admissions, &login), "this one asks");
        assert!(knows(&admissions, &login) && knows(&admissions, &login), "these need not");
        tokio::time::advance(MAX_AGE / 2).await;
        assert!(!knows(&admissions, &login) && !knows(&admissions, &login), "nobody answered");
        admissions.remember(&login, admission(), admissions.generation());
        tokio::time::advance(MAX_AGE).await;
        admissions.expire(MAX_AGE);
        assert!(admissions.lock().known.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_accounts_ends_all_also_answers_under_way() {
        let (admissions, identities) = (Admissions::default(), Identities::default());
        let login = login(&identities, None);
        let before = admissions.generation();
        admissions.remember(&login, admission(), before);
        admissions.clear();
        assert!(!knows(&admissions, &login));
        admissions.remember(&login, admission(), before);
        assert!(!knows(&admissions, &login), "asked before the change");
        admissions.remember(&login, admission(), admissions.generation());
        admissions.begin_change();
        assert!(!knows(&admissions, &login), "it may have happened already");
        admissions.remember(&login, admission(), admissions.generation());
        admissions.end_change();
        assert!(!knows(&admissions, &login), "asked before the end of the change");
        admissions.remember(&login, admission(), admissions.generation());
        assert!(knows(&admissions, &login));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_is_bounded_and_the_oldest_goes() {
        let (admissions, identities) = (Admissions::default(), Identities::default());
        let of = |number: usize| login(&identities, Some(&number.to_string()));
        for number in 0..=MAX_ADMISSIONS {
            admissions.remember(&of(number), admission(), admissions.generation());
            tokio::time::advance(Duration::from_micros(1)).await;
        }
        assert_eq!(admissions.lock().known.len(), MAX_ADMISSIONS);
        assert!(!knows(&admissions, &of(0)) && knows(&admissions, &of(1)));
    }
}
