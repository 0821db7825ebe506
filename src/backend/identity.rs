//! Which account and password a backend connection was opened with, as a value that is no secret.
//!
//! Connections are shared among sessions with equal identities only. A password that a server refuses ends
//! the generation of its identity: what was opened before is not for anybody who proves the password later.
//!
//! Never here: a password, or anything a password could be guessed from outside of this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use sluice_protocol::auth::Password;

/// Bytes of a tag; half of what the HMAC gives is more than enough to tell accounts apart.
const TAG_LEN: usize = 16;
/// Most refused identities remembered one by one. Beyond that every identity gets a new generation: sharing
/// starts anew, and nothing old is ever handed on.
const MAX_ENDED: usize = 4096;

type Tag = [u8; TAG_LEN];

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

/// Makes identities and knows which of them have ended; one per process.
pub struct Identities {
    key: hmac::Key,
    /// Generations begun so far. 0: none has ended yet, which spares the lock.
    begun: AtomicU64,
    ended: Mutex<Ended>,
}

#[derive(Default)]
struct Ended {
    generations: HashMap<Tag, u64>,
    /// The generation of every tag that is not in the map.
    others: u64,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Default for Identities {
    fn default() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
        Self { key, begun: AtomicU64::new(0), ended: Mutex::default() }
    }
}

impl Identities {
    /// The identity of an account's name with this password, of the generation that lives now.
    #[must_use]
    pub fn of(&self, user: &[u8], password: &Password) -> Identity {
        let mut context = hmac::Context::with_key(&self.key);
        // A user name holds no zero byte: the protocol ends it with one.
        for part in [user, &[0], password.as_bytes()] {
            context.update(part);
        }
        let mut tag = [0; TAG_LEN];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        Identity { tag, generation: self.generation(&tag) }
    }

    fn generation(&self, tag: &Tag) -> u64 {
        if self.begun.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.generations.get(tag).copied().unwrap_or(ended.others)
    }

    /// Whether connections of this identity may still be handed on.
    #[must_use]
    pub fn is_current(&self, identity: &Identity) -> bool {
        identity.generation == self.generation(&identity.tag)
    }

    /// A server has refused this identity: its generation ends.
    pub fn end(&self, identity: &Identity) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.generations.get(&identity.tag).copied().unwrap_or(ended.others) != identity.generation {
            return;
        }
        let next = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        if ended.generations.len() >= MAX_ENDED {
            ended.generations.clear();
            ended.others = next;
        } else {
            ended.generations.insert(identity.tag, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes().to_vec())
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
        let (old, other) = (identities.of(b"app", &password("a")), identities.of(b"app", &password("b")));
        identities.end(&old);
        assert!(!identities.is_current(&old) && identities.is_current(&other));
        let again = identities.of(b"app", &password("a"));
        assert!(again != old && identities.is_current(&again));
        identities.end(&old);
        assert!(identities.is_current(&again), "it has ended once");
    }

    #[test]
    fn the_memory_of_refusals_is_bounded_and_forgets_towards_caution() {
        let identities = Identities::default();
        let (kept, last) = (identities.of(b"kept", &password("a")), identities.of(b"last", &password("a")));
        for number in 0..MAX_ENDED {
            identities.end(&identities.of(number.to_string().as_bytes(), &password("a")));
        }
        assert!(identities.is_current(&kept));
        identities.end(&last);
        assert!(!identities.is_current(&last) && !identities.is_current(&kept));
        assert!(identities.is_current(&identities.of(b"kept", &password("a"))));
        let ended = identities.ended.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(ended.generations.len() <= MAX_ENDED);
    }
}
