//! Passwords that a server has accepted: a verifier to check a client's scramble with, and the secret to
//! log in with on its behalf.
//!
//! A remembered password spares the client the full exchange and nothing else: a server is still asked at
//! every login, and its no removes the entry.
//!
//! Never here: a decision to let someone in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_protocol::auth::{Attempt, Verifier};
use tokio::time::Instant;

use crate::backend::Secret;

/// Most accounts remembered. More than an application has; a storm of made-up names can't get in, since
/// only what a server accepted is remembered.
const MAX_ACCOUNTS: usize = 4096;
/// How long a password is kept after a server accepted it last.
const LIFE: Duration = Duration::from_hours(24);

#[derive(Debug)]
struct Remembered {
    verifier: Verifier,
    secret: Secret,
    accepted_at: Instant,
}

/// The remembered passwords of a process, by account name.
#[derive(Debug, Default)]
pub(super) struct Verifiers {
    accounts: Mutex<HashMap<Box<[u8]>, Remembered>>,
}

impl Verifiers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Box<[u8]>, Remembered>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The password that `attempt` proves, if it is remembered, and how long ago a server accepted it.
    pub(super) fn check(&self, user: &[u8], attempt: &Attempt) -> Option<(Secret, Duration)> {
        let accounts = self.lock();
        let remembered = accounts.get(user)?;
        let age = remembered.accepted_at.elapsed();
        (age < LIFE && attempt.matches(&remembered.verifier)).then(|| (remembered.secret.clone(), age))
    }

    /// A server has just accepted this password. Replaces another one of the same account.
    pub(super) fn remember(&self, user: &[u8], secret: &Secret) {
        let now = Instant::now();
        let mut accounts = self.lock();
        if let Some(remembered) = accounts.get_mut(user)
            && remembered.verifier.is_of(secret.password())
        {
            remembered.accepted_at = now;
            return;
        }
        accounts.retain(|_, remembered| now.duration_since(remembered.accepted_at) < LIFE);
        if accounts.len() >= MAX_ACCOUNTS {
            let oldest = accounts.iter().min_by_key(|(_, remembered)| remembered.accepted_at);
            if let Some(user) = oldest.map(|(user, _)| user.clone()) {
                accounts.remove(&user);
            }
        }
        let verifier = Verifier::of(secret.password());
        let remembered = Remembered { verifier, secret: secret.clone(), accepted_at: now };
        accounts.insert(user.into(), remembered);
    }

    /// A server has refused this password. Another, newer one of the same account stays.
    pub(super) fn forget(&self, user: &[u8], secret: &Secret) {
        let mut accounts = self.lock();
        if accounts.get(user).is_some_and(|remembered| remembered.verifier.is_of(secret.password())) {
            accounts.remove(user);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]
mod tests {
    use sluice_protocol::auth::{AuthPlugin, ChannelSecurity, Nonce, Password, ServerAuth, scramble};

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(Password::new(text.as_bytes().to_vec()))
    }

    fn attempt(text: &str) -> Attempt {
        let nonce = Nonce::from_random([7; 20]);
        let data = scramble::caching_sha2(secret(text).password(), &nonce);
        match ServerAuth::begin(&AuthPlugin::CachingSha2, &data, nonce, nonce, ChannelSecurity::Plain) {
            Ok(ServerAuth::Attempt(attempt)) => attempt,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_remembered_password_lets_only_itself_pass_and_ends() {
        let verifiers = Verifiers::default();
        assert!(verifiers.check(b"app", &attempt("a")).is_none());
        verifiers.remember(b"app", &secret("a"));
        tokio::time::advance(Duration::from_mins(1)).await;
        let (found, age) = verifiers.check(b"app", &attempt("a")).unwrap();
        assert_eq!((found.password().as_bytes(), age), (&b"a"[..], Duration::from_mins(1)));
        assert!(verifiers.check(b"app", &attempt("b")).is_none());
        assert!(verifiers.check(b"other", &attempt("a")).is_none());
        tokio::time::advance(LIFE).await;
        assert!(verifiers.check(b"app", &attempt("a")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_removes_the_refused_password_only() {
        let verifiers = Verifiers::default();
        verifiers.remember(b"app", &secret("new"));
        verifiers.forget(b"app", &secret("old"));
        assert!(verifiers.check(b"app", &attempt("new")).is_some());
        verifiers.forget(b"app", &secret("new"));
        assert!(verifiers.check(b"app", &attempt("new")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_accounts_is_bounded_and_the_oldest_goes() {
        let verifiers = Verifiers::default();
        for number in 0..=MAX_ACCOUNTS {
            verifiers.remember(format!("u{number}").as_bytes(), &secret("x"));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(verifiers.lock().len(), MAX_ACCOUNTS);
        assert!(verifiers.check(b"u0", &attempt("x")).is_none());
        assert!(verifiers.check(b"u1", &attempt("x")).is_some());
    }
}
