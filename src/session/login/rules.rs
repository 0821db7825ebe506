//! Who is denied by configuration, whatever password is given.
//!
//! Servers see Sluice's address, so what their host patterns forbade would be open without these rules.
//!
//! Never here: passwords.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::config::{Allow, Config};

/// `[login] deny_users`, `[login] allow`, and Sluice's own accounts.
#[derive(Debug)]
pub(super) struct Rules {
    denied: HashSet<String>,
    allow: Vec<Allow>,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Self {
        let accounts = &config.accounts;
        let own = [Some(&accounts.control), Some(&accounts.replication), accounts.clone.as_ref()];
        let mut denied: HashSet<String> = config.login.deny_users.iter().cloned().collect();
        denied.extend(own.into_iter().flatten().map(|account| account.user.clone()));
        Self { denied, allow: config.login.allow.clone() }
    }

    /// Whether `user` may come from `peer`. To be asked with the name the client gives, before anything is
    /// opened, and again with the name of the account that the server chose.
    pub(super) fn admit(&self, user: &[u8], peer: IpAddr) -> bool {
        let user = unquoted(user);
        if self.denied.iter().any(|denied| denied.as_bytes() == user) {
            return false;
        }
        let mut rules = self.allow.iter().filter(|rule| rule.user.as_bytes() == user).peekable();
        rules.peek().is_none() || rules.flat_map(|rule| &rule.from).any(|network| network.contains(peer))
    }
}

/// MySQL takes one pair of quotes off a user name, so `'root'` is root.
fn unquoted(user: &[u8]) -> &[u8] {
    user.strip_prefix(b"'").and_then(|user| user.strip_suffix(b"'")).unwrap_or(user)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let from = ["10.1.0.0/16", "fd00::/8", "192.0.2.7"].map(|text| text.parse().unwrap()).to_vec();
        Rules {
            denied: HashSet::from(["root".to_owned(), "sluice".to_owned()]),
            allow: vec![Allow { user: "app".to_owned(), from }],
        }
    }

    #[test]
    fn denied_names_are_denied_also_in_quotes() {
        let peer = "10.1.2.3".parse().unwrap();
        for user in ["root", "'root'", "sluice", "'sluice'"] {
            assert!(!rules().admit(user.as_bytes(), peer), "{user}");
        }
        for user in ["Root", "root ", "x", "", "'"] {
            assert!(rules().admit(user.as_bytes(), peer), "{user}");
        }
    }

    #[test]
    fn a_listed_user_comes_from_its_networks_only() {
        for (peer, admitted) in [
            ("10.1.255.255", true),
            ("::ffff:10.1.0.1", true),
            ("10.2.0.1", false),
            ("fdff::1", true),
            ("fe00::1", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
        ] {
            assert_eq!(rules().admit(b"app", peer.parse().unwrap()), admitted, "{peer}");
        }
    }
}
