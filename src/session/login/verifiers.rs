//! Passwords that a server has accepted: a verifier to check a client's scramble with, and, if it may be
//! kept, the secret to log in with on its behalf.
//!
//! An account may have two passwords at a time (`ALTER USER ... RETAIN CURRENT PASSWORD`), so two are
//! remembered. A server's no removes the one it was about.
//!
//! Never here: a decision to let someone in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_protocol::auth::{Attempt, Credential, PasswordHash, Verifier};
use tokio::time::Instant;

use crate::backend::Secret;

/// Most accounts remembered. More than an application has; a storm of made-up names can't get in, since
/// only what a server accepted is remembered.
const MAX_ACCOUNTS: usize = 4096;
/// Passwords of one account at a time: MySQL's own limit.
const PASSWORDS: usize = 2;
/// How long a password is kept after a client proved it last.
const LIFE: Duration = Duration::from_hours(24);

#[derive(Debug)]
struct Accepted {
    verifier: Verifier,
    /// `None` if it may not be kept.
    secret: Option<Secret>,
    accepted_at: Instant,
    used_at: Instant,
}

impl Accepted {
    fn is_of(&self, hash: &PasswordHash) -> bool {
        self.verifier.is_of_hash(hash)
    }
}

/// The remembered passwords of a process, by account name.
#[derive(Debug, Default)]
pub(super) struct Verifiers {
    accounts: Mutex<HashMap<Box<[u8]>, Vec<Accepted>>>,
}

/// A password that is remembered and was proved.
#[derive(Debug)]
pub(super) struct Known {
    /// To log in with: the password if it was kept, else the hash that the proof has told.
    pub(super) secret: Secret,
    /// How long ago a server accepted it.
    pub(super) age: Duration,
}

impl Verifiers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Vec<Accepted>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The password that `attempt` proves, if it is remembered.
    pub(super) fn check(&self, user: &[u8], attempt: &Attempt) -> Option<Known> {
        let mut accounts = self.lock();
        let now = Instant::now();
        accounts.get_mut(user)?.iter_mut().find_map(|accepted| {
            let hash = attempt.proved(&accepted.verifier)?;
            if now.duration_since(accepted.used_at) >= LIFE {
                return None;
            }
            accepted.used_at = now;
            let secret = accepted.secret.clone().unwrap_or_else(|| Secret::new(Credential::Hash(hash)));
            Some(Known { secret, age: now.duration_since(accepted.accepted_at) })
        })
    }

    /// A server has just accepted this password. Beyond two of an account the one accepted longest ago goes.
    pub(super) fn remember(&self, user: &[u8], secret: &Secret, keep: Keep) {
        let (now, hash) = (Instant::now(), secret.hash());
        let mut accounts = self.lock();
        if let Some(list) = accounts.get_mut(user) {
            if let Some(accepted) = list.iter_mut().find(|accepted| accepted.is_of(&hash)) {
                accepted.accepted_at = now;
                return;
            }
            if list.len() >= PASSWORDS {
                let oldest = list.iter().enumerate().min_by_key(|(_, accepted)| accepted.accepted_at);
                if let Some((oldest, _)) = oldest {
                    list.swap_remove(oldest);
                }
            }
        } else {
            make_room(&mut accounts, now);
        }
        let secret = match keep {
            Keep::Secret => Some(secret.clone()),
            Keep::Verifier => None,
        };
        let accepted =
            Accepted { verifier: Verifier::of_hash(&hash), secret, accepted_at: now, used_at: now };
        accounts.entry(user.into()).or_default().push(accepted);
    }

    /// A server has refused this password. Another one of the same account stays.
    pub(super) fn forget(&self, user: &[u8], secret: &Secret) {
        let hash = secret.hash();
        let mut accounts = self.lock();
        if let Some(list) = accounts.get_mut(user) {
            list.retain(|accepted| !accepted.is_of(&hash));
            if list.is_empty() {
                accounts.remove(user);
            }
        }
    }

    /// The password of `user` that a server accepted last, other than `secret`.
    pub(super) fn newer(&self, user: &[u8], secret: &Secret) -> Option<Secret> {
        let hash = secret.hash();
        let accounts = self.lock();
        let others = accounts.get(user)?.iter().filter(|accepted| !accepted.is_of(&hash));
        others.max_by_key(|accepted| accepted.accepted_at)?.secret.clone()
    }

    /// What clients have proved within `max_age`, and a server has accepted longer ago than half of that.
    pub(super) fn due(&self, max_age: Duration) -> Vec<(Box<[u8]>, Secret)> {
        let now = Instant::now();
        let due = |accepted: &&Accepted| {
            now.duration_since(accepted.used_at) <= max_age
                && now.duration_since(accepted.accepted_at) > max_age / 2
        };
        let accounts = self.lock();
        accounts
            .iter()
            .flat_map(|(user, list)| list.iter().filter(due).map(move |accepted| (user, accepted)))
            .filter_map(|(user, accepted)| Some((user.clone(), accepted.secret.clone()?)))
            .collect()
    }

    /// Drops every kept password (the verifiers stay): for a configuration that keeps them no longer.
    pub(super) fn drop_secrets(&self) {
        for accepted in self.lock().values_mut().flatten() {
            accepted.secret = None;
        }
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Drops what nobody has used for its life.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        expire(&mut self.lock(), now);
    }
}

/// What is remembered of an accepted password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Verifier and secret.
    Secret,
    /// The verifier only.
    Verifier,
}

fn expire(accounts: &mut HashMap<Box<[u8]>, Vec<Accepted>>, now: Instant) {
    accounts.retain(|_, list| {
        list.retain(|accepted| now.duration_since(accepted.used_at) < LIFE);
        !list.is_empty()
    });
}

fn make_room(accounts: &mut HashMap<Box<[u8]>, Vec<Accepted>>, now: Instant) {
    if accounts.len() < MAX_ACCOUNTS {
        return;
    }
    expire(accounts, now);
    if accounts.len() >= MAX_ACCOUNTS {
        let used = |list: &[Accepted]| list.iter().map(|accepted| accepted.used_at).max();
        let oldest = accounts.iter().min_by_key(|(_, list)| used(list)).map(|(user, _)| user.clone());
        if let Some(user) = oldest {
            accounts.remove(&user);
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
        let data = scramble::caching_sha2_of(&secret(text).hash(), &nonce);
        match ServerAuth::begin(&AuthPlugin::CachingSha2, &data, nonce, nonce, ChannelSecurity::Plain) {
            Ok(ServerAuth::Attempt(attempt)) => attempt,
            other => panic!("{other:?}"),
        }
    }

    fn clear(secret: &Secret) -> Option<&[u8]> {
        match secret.credential() {
            Credential::Password(password) => Some(password.as_bytes()),
            Credential::Hash(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_remembered_password_lets_only_itself_pass_and_ends() {
        let verifiers = Verifiers::default();
        assert!(verifiers.check(b"app", &attempt("a")).is_none());
        verifiers.remember(b"app", &secret("a"), Keep::Secret);
        tokio::time::advance(Duration::from_mins(1)).await;
        let known = verifiers.check(b"app", &attempt("a")).unwrap();
        assert_eq!((clear(&known.secret), known.age), (Some(&b"a"[..]), Duration::from_mins(1)));
        assert!(verifiers.check(b"app", &attempt("b")).is_none());
        assert!(verifiers.check(b"other", &attempt("a")).is_none());
        tokio::time::advance(LIFE).await;
        assert!(verifiers.check(b"app", &attempt("a")).is_none());
        verifiers.expire();
        assert!(verifiers.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_kept_secret_the_proof_tells_the_hash() {
        let verifiers = Verifiers::default();
        verifiers.remember(b"app", &secret("a"), Keep::Verifier);
        let known = verifiers.check(b"app", &attempt("a")).unwrap();
        assert_eq!(clear(&known.secret), None);
        assert!(Verifier::of_hash(&known.secret.hash()).is_of_hash(&secret("a").hash()));
        verifiers.remember(b"other", &secret("b"), Keep::Secret);
        verifiers.drop_secrets();
        assert_eq!(clear(&verifiers.check(b"other", &attempt("b")).unwrap().secret), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_removes_the_refused_password_only() {
        let verifiers = Verifiers::default();
        verifiers.remember(b"app", &secret("new"), Keep::Secret);
        verifiers.forget(b"app", &secret("old"));
        assert!(verifiers.check(b"app", &attempt("new")).is_some());
        verifiers.forget(b"app", &secret("new"));
        assert!(verifiers.check(b"app", &attempt("new")).is_none());
        assert!(verifiers.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn two_passwords_of_an_account_are_remembered_and_a_third_replaces_the_oldest() {
        let verifiers = Verifiers::default();
        for text in ["first", "second"] {
            verifiers.remember(b"app", &secret(text), Keep::Secret);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(["first", "second"].iter().all(|text| verifiers.check(b"app", &attempt(text)).is_some()));
        assert_eq!(clear(&verifiers.newer(b"app", &secret("first")).unwrap()), Some(&b"second"[..]));
        verifiers.remember(b"app", &secret("third"), Keep::Secret);
        assert!(verifiers.check(b"app", &attempt("first")).is_none());
        assert!(["second", "third"].iter().all(|text| verifiers.check(b"app", &attempt(text)).is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn due_is_what_is_in_use_and_was_accepted_some_time_ago() {
        let (verifiers, second) = (Verifiers::default(), Duration::from_secs(1));
        verifiers.remember(b"idle", &secret("a"), Keep::Secret);
        verifiers.remember(b"busy", &secret("a"), Keep::Secret);
        let due =
            || verifiers.due(second * 2).into_iter().map(|(user, _)| user.into_vec()).collect::<Vec<_>>();
        tokio::time::advance(second).await;
        assert!(due().is_empty(), "accepted within half of it");
        assert!(verifiers.check(b"busy", &attempt("a")).is_some());
        tokio::time::advance(second * 2).await;
        assert_eq!(due(), [b"busy".to_vec()]);
        verifiers.remember(b"busy", &secret("a"), Keep::Secret);
        assert!(due().is_empty());
        tokio::time::advance(second * 2).await;
        assert!(due().is_empty(), "not in use any more");
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_accounts_is_bounded_and_the_oldest_goes() {
        let verifiers = Verifiers::default();
        for number in 0..=MAX_ACCOUNTS {
            verifiers.remember(format!("u{number}").as_bytes(), &secret("x"), Keep::Secret);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(verifiers.lock().len(), MAX_ACCOUNTS);
        assert!(verifiers.check(b"u0", &attempt("x")).is_none());
        assert!(verifiers.check(b"u1", &attempt("x")).is_some());
    }
}
