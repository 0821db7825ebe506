//! Wrong passwords: how many of them an address may try for a user, and which were wrong a moment ago.
//!
//! Each (address, user) has a bucket of tokens that refills by and by; a password that a server refused takes
//! one. With an empty bucket nobody is asked any more, neither the client for its password nor a server.
//! Clients that prove a remembered password are never stopped, so an address that many share (a load
//! balancer, a gateway) can't be locked out by one of them; connecting and leaving costs nothing.
//!
//! Never here: a password, a decision about what the client is told.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_protocol::ErrPacket;
use tokio::time::Instant;

use crate::backend::identity::{Identity, Tag};

/// Wrong passwords in a row before an address has to wait; a person at a keyboard or a deployment with an old
/// password makes fewer.
const BURST: u32 = 20;
/// Time for one more try.
const REFILL: Duration = Duration::from_secs(3);
/// From so many tokens missing on, a password that was wrong a moment ago is not taken to a server again.
const STORM: u32 = BURST / 4;
/// Most (address, user) pairs remembered, about 2 MB. Beyond that the ones closest to full are forgotten.
const MAX_BUCKETS: usize = 16_384;
/// Most refused passwords remembered.
const MAX_REFUSED: usize = 1024;
/// How long a refused password is not taken to a server again.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Leading bits of an IPv6 address that count: one customer has at least as many addresses as share these.
const V6_PREFIX: u32 = 64;

/// Wrong passwords of a process.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    buckets: Mutex<HashMap<Key, Bucket>>,
    refused: Mutex<HashMap<Tag, Refused>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    from: IpAddr,
    user: Box<[u8]>,
}

impl Key {
    fn new(peer: IpAddr, user: &[u8]) -> Self {
        let from = match peer.to_canonical() {
            IpAddr::V6(v6) => {
                let kept = u128::MAX.checked_shl(u128::BITS - V6_PREFIX).unwrap_or(u128::MAX);
                IpAddr::V6((v6.to_bits() & kept).into())
            }
            v4 @ IpAddr::V4(_) => v4,
        };
        Self { from, user: user.into() }
    }
}

/// When the bucket is full again: it lacks a token for each [`REFILL`] until then.
#[derive(Debug)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Tokens that it lacks.
    fn missing(&self, now: Instant) -> u32 {
        let left = self.full_at.saturating_duration_since(now);
        u32::try_from(left.as_millis().div_ceil(REFILL.as_millis())).unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
struct Refused {
    until: Instant,
    error: ErrPacket<'static>,
}

/// Whether a password may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leave {
    /// Yes.
    Try,
    /// Yes, unless it was refused a moment ago: there have been several wrong ones.
    TryUnlessKnown,
    /// No: there have been too many wrong ones.
    Wait,
}

impl Guesses {
    /// Whether `user` may try a password from `peer`.
    pub(super) fn leave(&self, peer: IpAddr, user: &[u8]) -> Leave {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.get(&Key::new(peer, user)).map_or(0, |bucket| bucket.missing(Instant::now())) {
            BURST.. => Leave::Wait,
            STORM.. => Leave::TryUnlessKnown,
            _ => Leave::Try,
        }
    }

    /// What a server said a moment ago to this very password.
    pub(super) fn known(&self, identity: &Identity) -> Option<ErrPacket<'static>> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refused.get(&identity.tag())?;
        (known.until > Instant::now()).then(|| known.error.clone())
    }

    /// The password was wrong: `error` is the server's word, if it was asked.
    pub(super) fn wrong(&self, peer: IpAddr, user: &[u8], said: Option<(Identity, &ErrPacket<'static>)>) {
        let now = Instant::now();
        if let Some((identity, error)) = said {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if refused.len() >= MAX_REFUSED {
                refused.retain(|_, known| known.until > now);
            }
            if refused.len() < MAX_REFUSED {
                refused.insert(identity.tag(), Refused { until: now + REFUSED_FOR, error: error.clone() });
            }
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key::new(peer, user);
        if !buckets.contains_key(&key) && buckets.len() >= MAX_BUCKETS {
            make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(key).or_insert(Bucket { full_at: now });
        if bucket.missing(now) < BURST {
            bucket.full_at = bucket.full_at.max(now) + REFILL;
        }
    }

    /// The password was right.
    pub(super) fn right(&self, peer: IpAddr, user: &[u8]) {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).remove(&Key::new(peer, user));
    }
}

/// Forgets buckets that are full, or else the half that is closest to it.
fn make_room(buckets: &mut HashMap<Key, Bucket>, now: Instant) {
    buckets.retain(|_, bucket| bucket.full_at > now);
    if buckets.len() < MAX_BUCKETS {
        return;
    }
    let mut times: Vec<Instant> = buckets.values().map(|bucket| bucket.full_at).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    buckets.retain(|_, bucket| bucket.full_at > median);
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use sluice_protocol::auth::{Password, PasswordHash};

    use super::*;
    use crate::backend::Identities;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test(start_paused = true)]
    async fn after_twenty_wrong_passwords_one_more_every_three_seconds() {
        let guesses = Guesses::default();
        for number in 0..BURST {
            assert_ne!(guesses.leave(PEER, b"app"), Leave::Wait, "{number}");
            guesses.wrong(PEER, b"app", None);
        }
        assert_eq!(guesses.leave(PEER, b"app"), Leave::Wait);
        assert_eq!(guesses.leave(PEER, b"other"), Leave::Try, "another user is not concerned");
        assert_eq!(guesses.leave(Ipv4Addr::LOCALHOST.into(), b"app"), Leave::Try, "nor another address");
        for _ in 0..1000 {
            guesses.wrong(PEER, b"app", None);
        }
        tokio::time::advance(REFILL).await;
        assert_eq!(guesses.leave(PEER, b"app"), Leave::TryUnlessKnown, "it never waits longer");
        guesses.wrong(PEER, b"app", None);
        assert_eq!(guesses.leave(PEER, b"app"), Leave::Wait);
        tokio::time::advance(REFILL * (BURST - 2)).await;
        assert_eq!(guesses.leave(PEER, b"app"), Leave::Try);
        guesses.right(PEER, b"app");
        assert!(guesses.buckets.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_password_is_known_for_five_seconds() {
        let (guesses, identities) = (Guesses::default(), Identities::default());
        let identity = |text: &str| identities.of(b"app", &PasswordHash::of(&Password::new(text.into())));
        let error = ErrPacket::access_denied(b"app", "host", true);
        guesses.wrong(PEER, b"app", Some((identity("a"), &error)));
        assert_eq!(guesses.known(&identity("a")), Some(error));
        assert_eq!(guesses.known(&identity("b")), None);
        tokio::time::advance(REFUSED_FOR).await;
        assert_eq!(guesses.known(&identity("a")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_worst_are_remembered() {
        let guesses = Guesses::default();
        for _ in 0..BURST {
            guesses.wrong(PEER, b"app", None);
        }
        for number in 0..2 * MAX_BUCKETS {
            guesses.wrong(PEER, format!("u{number}").as_bytes(), None);
        }
        assert!(guesses.buckets.lock().unwrap_or_else(PoisonError::into_inner).len() <= MAX_BUCKETS);
        assert_eq!(guesses.leave(PEER, b"app"), Leave::Wait);
    }

    #[test]
    fn addresses_of_one_ipv6_network_and_mapped_ones_are_one() {
        let v6 = |text: &str| text.parse::<Ipv6Addr>().map(IpAddr::V6).unwrap_or(PEER);
        assert_eq!(Key::new(v6("2001:db8::1"), b"u"), Key::new(v6("2001:db8::ffff"), b"u"));
        assert_ne!(Key::new(v6("2001:db8::1"), b"u"), Key::new(v6("2001:db8:0:1::1"), b"u"));
        assert_eq!(Key::new(v6("::ffff:192.0.2.1"), b"u"), Key::new(PEER, b"u"));
    }
}
