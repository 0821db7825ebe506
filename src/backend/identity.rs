//! Which account and password a backend connection was opened with, as a value that is no secret.
//!
//! Connections are shared among sessions with equal identities only. A password that a server refuses ends
//! the generation of its identity: what was opened before is not for anybody who proves the password later.
//!
//! Never here: a password, or anything a password could be guessed from outside of this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use sluice_protocol::auth::PasswordHash;

/// Bytes of a tag; half of what the HMAC gives is more than enough to tell accounts apart.
const TAG_LEN: usize = 16;
/// Most identities alive. Beyond that one is forgotten: its connections are not shared any more until somebody
/// logs in with it again.
const MAX_ALIVE: usize = 8192;

/// What an account with a password looks like within one process.
pub type Tag = [u8; TAG_LEN];

/// An account name with one of its passwords, of one generation. Equal only within one process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    tag: Tag,
    generation: u64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(generation {})", self.generation)
    }
}

impl Identity {
    /// Account and password without the generation.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.tag
    }
}

/// Makes identities and knows which of them are alive; one per process.
pub struct Identities {
    key: hmac::Key,
    alive: Mutex<Alive>,
}

#[derive(Default)]
struct Alive {
    /// Accepted by a server and not refused since.
    generations: HashMap<Tag, u64>,
    begun: u64,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").finish_non_exhaustive()
    }
}

impl Default for Identities {
    fn default() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
        Self { key, alive: Mutex::default() }
    }
}

impl Identities {
    fn lock(&self) -> MutexGuard<'_, Alive> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of an account's name with the password of this hash: the one that is alive, or one that no
    /// server has accepted yet.
    #[must_use]
    pub fn of(&self, user: &[u8], password: &PasswordHash) -> Identity {
        let mut context = hmac::Context::with_key(&self.key);
        // A user name holds no zero byte: the protocol ends it with one.
        for part in [user, &[0], password.as_bytes()] {
            context.update(part);
        }
        let mut tag = [0; TAG_LEN];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        let generation = self.lock().generations.get(&tag).copied().unwrap_or_default();
        Identity { tag, generation }
    }

    /// A server has accepted it: the same identity, alive.
    #[must_use]
    pub fn accepted(&self, Identity { tag, .. }: Identity) -> Identity {
        let alive = &mut *self.lock();
        if !alive.generations.contains_key(&tag) && alive.generations.len() >= MAX_ALIVE {
            let forgotten = alive.generations.iter().min_by_key(|(_, generation)| **generation);
            if let Some(tag) = forgotten.map(|(tag, _)| *tag) {
                alive.generations.remove(&tag);
            }
        }
        let generation = *alive.generations.entry(tag).or_insert_with(|| {
            alive.begun += 1;
            alive.begun
        });
        Identity { tag, generation }
    }

    /// Whether connections of this identity may be handed on.
    #[must_use]
    pub fn is_current(&self, identity: &Identity) -> bool {
        self.lock().generations.get(&identity.tag) == Some(&identity.generation)
    }

    /// A server has refused it: its generation ends.
    pub fn end(&self, identity: &Identity) {
        let mut alive = self.lock();
        if alive.generations.get(&identity.tag) == Some(&identity.generation) {
            alive.generations.remove(&identity.tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::auth::Password;

    use super::*;

    fn password(text: &str) -> PasswordHash {
        PasswordHash::of(&Password::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn an_identity_is_an_account_with_a_password() {
        let identities = Identities::default();
        let app = identities.of(b"app", &password("a"));
        assert_eq!(app, identities.of(b"app", &password("a")));
        assert_ne!(app, identities.of(b"app", &password("b")));
        assert_ne!(app, identities.of(b"other", &password("a")));
        assert_ne!(identities.of(b"ab", &password("c")), identities.of(b"a", &password("bc")));
        assert_ne!(app, Identities::default().of(b"app", &password("a")), "only within a process");
    }

    #[test]
    fn a_refused_identity_never_comes_back() {
        let identities = Identities::default();
        let accept = |text| identities.accepted(identities.of(b"app", &password(text)));
        assert!(!identities.is_current(&identities.of(b"app", &password("a"))), "nobody has accepted it");
        let (old, other) = (accept("a"), accept("b"));
        assert_eq!(identities.of(b"app", &password("a")), old);
        identities.end(&old);
        assert!(!identities.is_current(&old) && identities.is_current(&other));
        let again = accept("a");
        assert!(again != old && identities.is_current(&again));
        identities.end(&old);
        assert!(identities.is_current(&again), "it has ended once");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let identities = Identities::default();
        let accept = |user: &str| identities.accepted(identities.of(user.as_bytes(), &password("a")));
        let first = accept("first");
        for number in 0..MAX_ALIVE {
            assert!(identities.is_current(&accept(&number.to_string())));
        }
        assert!(!identities.is_current(&first));
        assert_eq!(identities.lock().generations.len(), MAX_ALIVE);
        assert!(identities.is_current(&accept("first")));
    }
}
