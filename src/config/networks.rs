//! Networks in CIDR form: reading them, and whether an address is in one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::section::Section;
use super::{Allow, Network};

impl Network {
    /// Whether `address` is in it; an IPv4 address may come in IPv6 form.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |bits: u32| bits.saturating_sub(u32::from(self.prefix));
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(other)) => {
                (first.to_bits() ^ other.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(other)) => {
                (first.to_bits() ^ other.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The network of this prefix that holds `address`.
    fn around(address: IpAddr, prefix: u8) -> Self {
        let kept = |bits: u32| bits.saturating_sub(u32::from(prefix));
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(kept(32)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(kept(128)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, prefix }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    /// `10.0.0.0/8`, `fd00::/8`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let form = || format!("\"{text}\" is no network such as \"10.0.0.0/8\"");
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |prefix| prefix.parse().map_err(|_| form()))?;
        if prefix > longest {
            return Err(format!("\"{text}\": a prefix has at most {longest} bits"));
        }
        let network = Self::around(address, prefix);
        if network.address == address {
            Ok(network)
        } else {
            Err(format!("\"{text}\" begins within the network {network}; write that, or a single address"))
        }
    }
}

/// A list of networks; what is none has been noted.
pub(super) fn list(section: &Section<'_>, key: &'static str) -> Vec<Network> {
    let Some(texts) = section.texts(key) else { return Vec::new() };
    let read = |text: &String| match text.parse::<Network>() {
        Ok(network) => Some(network),
        Err(message) => {
            section.bad(key, texts.line, &message);
            None
        }
    };
    texts.value.iter().filter_map(read).collect()
}

/// `[login] allow`.
pub(super) fn allow(login: &Section<'_>) -> Vec<Allow> {
    let mut rules = Vec::new();
    for entry in login.children("allow") {
        let user = entry.required_text("user", "the user that may only come from these networks");
        let from = list(&entry, "from");
        if !entry.has("from") {
            entry.missing("from", "networks such as [\"10.0.0.0/8\"]");
        }
        if let Some(user) = user {
            rules.push(Allow { user: user.value, from });
        }
        entry.finish();
    }
    rules
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, inside) in [
            ("10.1.0.0/16", "10.1.255.255", true),
            ("10.1.0.0/16", "::ffff:10.1.0.1", true),
            ("10.1.0.0/16", "10.2.0.1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_said() {
        for (text, part) in [
            ("10.0.0.0/33", "at most 32"),
            ("::/129", "at most 128"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("fd00::1/8", "fd00::/8"),
            ("localhost", "no network"),
            ("10.0.0.0/", "no network"),
            ("10.0.0.0/-1", "no network"),
        ] {
            let message = text.parse::<Network>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
