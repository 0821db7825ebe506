//! Reading `[[instance]]` tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_routing::topology::MAX_INSTANCES;

use super::section::{Located, Section};
use super::{Instance, Promotion, Standing};

/// Instance names become part of MySQL user names (`<replication user>_<name>`).
const MAX_NAME_CHARS: usize = 24;

const PROMOTIONS: [(&str, Option<Promotion>); 4] = [
    ("prefer", Some(Promotion::Prefer)),
    ("neutral", Some(Promotion::Neutral)),
    ("prefer-not", Some(Promotion::PreferNot)),
    ("must-not", Some(Promotion::MustNot)),
];

/// Instances with the line of each, for rules across sections.
pub(super) struct InstancesDraft {
    /// Those that were readable.
    pub(super) readable: Vec<Located<Instance>>,
    /// How many the file names.
    pub(super) declared: usize,
}

/// Reads all instances; what was wrong has been noted.
pub(super) fn read(root: &Section<'_>) -> InstancesDraft {
    let sections = root.children("instance");
    if sections.is_empty() {
        root.notes().report(None, "no [[instance]]: name at least one MySQL server");
    }
    if let Some(excess) = sections.get(MAX_INSTANCES) {
        excess.notes().report(excess.line(), format!("more than {MAX_INSTANCES} instances"));
    }
    let declared = sections.len();
    let instances: Vec<_> = sections.into_iter().filter_map(one).collect();
    unique(root, &instances, "name", |instance| Some(instance.name.to_lowercase()));
    unique(root, &instances, "address", |instance| Some(instance.address.to_lowercase()));
    unique(root, &instances, "admin", |instance| instance.admin.as_deref().map(str::to_lowercase));
    InstancesDraft { readable: instances, declared }
}

fn one(section: Section<'_>) -> Option<Located<Instance>> {
    let line = section.line().unwrap_or(1);
    let name = section.required_text("name", "a short unique name, such as \"db1\"");
    let address = match section.required_text("address", "host:port of the server") {
        Some(text) => endpoint(&section, "address", text),
        None => None,
    };
    let admin = section.text("admin").and_then(|text| endpoint(&section, "admin", text));
    let replication = section.text("replication_address");
    let replication = replication.and_then(|text| endpoint(&section, "replication_address", text));
    let zone = section.text("zone").map(|zone| Arc::from(zone.value));
    let promotion = section.choice("promotion", &PROMOTIONS, Promotion::Neutral);
    let acker = section.flag("acker", true);
    let name = name.filter(|name| {
        let fits = is_name(&name.value, MAX_NAME_CHARS);
        if !fits {
            let message = format!(
                "\"{}\" is not a name: up to {MAX_NAME_CHARS} letters, digits, '-', '_' or '.'",
                name.value
            );
            section.bad("name", name.line, &message);
        }
        fits
    });
    section.finish();
    let value = Instance {
        name: Arc::from(name?.value),
        address: address?,
        admin,
        replication_address: replication,
        zone,
        promotion,
        acker,
        standing: Standing::Member,
    };
    Some(Located { value, line })
}

/// Whether `text` may name something that also becomes part of MySQL names and of URLs.
pub(super) fn is_name(text: &str, max_chars: usize) -> bool {
    let good = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    text.len() <= max_chars && text.chars().all(good) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn endpoint(section: &Section<'_>, key: &str, text: Located<String>) -> Option<Arc<str>> {
    if is_endpoint(&text.value) {
        return Some(Arc::from(text.value));
    }
    let message = format!("\"{}\" is not host:port, such as \"10.0.0.1:3306\"", text.value);
    section.bad(key, text.line, &message);
    None
}

/// `host:port`, an IPv6 address in brackets.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_fits = port.parse::<u16>().is_ok_and(|port| port != 0);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !host.is_empty() && host.chars().all(good)
        }
    };
    port_fits && host_fits
}

fn unique(
    root: &Section<'_>,
    instances: &[Located<Instance>],
    key: &str,
    value_of: impl Fn(&Instance) -> Option<String>,
) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for instance in instances {
        let Some(value) = value_of(&instance.value) else { continue };
        if let Some(first) = seen.get(&value) {
            let message = format!("[[instance]] {key}: \"{value}\" is already the {key} of {first}");
            root.notes().report(Some(instance.line), message);
        } else {
            seen.insert(value, &instance.value.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for good in ["10.0.0.1:3306", "db1.example.org:3306", "[::1]:3306", "db_1:1"] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in ["db1", "db1:", ":3306", "db1:0", "db1:66000", "::1:3306", "[::1:3306", "db 1:3306"] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }
}
