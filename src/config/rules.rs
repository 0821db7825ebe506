//! Rules that look at more than one setting.

use std::net::{IpAddr, SocketAddr};

use super::read::Draft;
use super::section::{Located, Notes};
use super::{Config, Durability, Instance, Listen, Promotion};

/// Longest MySQL user name.
pub(super) const MAX_USER_CHARS: usize = 32;
/// Where the admin API listens if nothing is said.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3380);
/// From this many members on, `acks = "auto"` means two.
const TWO_ACKS_FROM: usize = 5;

/// `[listen]` as read.
pub(super) struct ListenDraft {
    pub(super) line: Option<usize>,
    pub(super) split: Option<Located<SocketAddr>>,
    pub(super) primary: Option<Located<SocketAddr>>,
    pub(super) replica: Option<Located<SocketAddr>>,
    pub(super) admin: Option<Located<SocketAddr>>,
    pub(super) health: Option<Located<SocketAddr>>,
    pub(super) workers: usize,
    pub(super) slot: Option<u8>,
    pub(super) compression: bool,
}

/// `[durability]` as read.
pub(super) struct DurabilityDraft {
    pub(super) line: Option<usize>,
    pub(super) acks_line: Option<usize>,
    pub(super) without_acker_chosen: bool,
    pub(super) value: Durability,
}

impl Durability {
    /// Acknowledgements a commit needs in a cluster of `members` instances: the number given, or what
    /// `auto` means.
    pub fn wait_count(&self, members: usize) -> u16 {
        self.acks.unwrap_or(match members {
            0 | 1 => 0,
            _ if members >= TWO_ACKS_FROM => 2,
            _ => 1,
        })
    }
}

/// Notes every broken rule; the configuration, if nothing is missing.
pub(super) fn check(notes: &Notes<'_>, draft: Draft) -> Option<Config> {
    let instances = draft.instances.readable;
    let members: Vec<&Instance> = instances.iter().map(|instance| &instance.value).collect();
    listeners(notes, &draft.listen, &instances);
    if let Some(admin) = draft.listen.admin.as_ref().filter(|admin| !admin.value.ip().is_loopback())
        && draft.admin_token.is_none()
    {
        let message = "[listen] admin: beyond loopback it needs [admin] token_file";
        notes.report(Some(admin.line), message);
    }
    // With an unreadable instance the number of members is not known.
    if members.len() == draft.instances.declared {
        durability(notes, &draft.durability, &members);
    }
    if draft.switchover.drain >= draft.switchover.hold {
        let message =
            "[switchover] drain must be shorter than hold: statements wait while transactions drain";
        notes.report(draft.switchover_line, message);
    }
    if !members.is_empty() && members.iter().all(|member| member.promotion == Promotion::MustNot) {
        notes.report(None, "every [[instance]] has promotion = \"must-not\": none may be the primary");
    }
    if let Some(accounts) = &draft.accounts {
        replication_user_names(notes, &accounts.replication.user, &instances);
    }
    let listen = draft.listen;
    Some(Config {
        cluster: draft.cluster?,
        accounts: draft.accounts?,
        instances: instances.into_iter().map(|instance| instance.value).collect(),
        listen: Listen {
            split: listen.split.map(|split| split.value),
            primary: listen.primary.map(|primary| primary.value),
            replica: listen.replica.map(|replica| replica.value),
            admin: listen.admin.map_or(DEFAULT_ADMIN, |admin| admin.value),
            health: listen.health.map(|health| health.value),
            workers: listen.workers,
            slot: listen.slot,
            compression: listen.compression,
        },
        admin_token: draft.admin_token,
        login: draft.login,
        sessions: draft.sessions,
        tls_client: draft.tls_client,
        tls_instance: draft.tls_instance,
        durability: draft.durability.value,
        switchover: draft.switchover,
        failover: draft.failover,
        rebuild: draft.rebuild,
        hooks: draft.hooks,
        log_format: draft.log_format,
    })
}

fn listeners(notes: &Notes<'_>, listen: &ListenDraft, instances: &[Located<Instance>]) {
    if listen.split.is_none() && listen.primary.is_none() && listen.replica.is_none() {
        notes.report(listen.line, "[listen] needs at least one of split, primary, replica");
    }
    let default_admin = Located { value: DEFAULT_ADMIN, line: listen.line.unwrap_or(1) };
    let all = [
        ("split", listen.split.as_ref()),
        ("primary", listen.primary.as_ref()),
        ("replica", listen.replica.as_ref()),
        ("admin", listen.admin.as_ref().or(Some(&default_admin))),
        ("health", listen.health.as_ref()),
    ];
    let all: Vec<_> = all.into_iter().filter_map(|(name, at)| at.map(|at| (name, at))).collect();
    for (index, (name, at)) in all.iter().enumerate() {
        let clash = all.iter().take(index).find(|(_, other)| overlaps(other.value, at.value));
        if let Some((other, _)) = clash {
            let message = format!("[listen] {name}: {} is already taken by {other}", at.value);
            notes.report(Some(at.line), message);
        }
        let own = instances.iter().find(|i| i.value.address.parse().is_ok_and(|a| overlaps(at.value, a)));
        if let Some(own) = own.filter(|own| exact_or_local(at.value, &own.value.address)) {
            let message =
                format!("[[instance]] address: \"{}\" is Sluice's own [listen] {name}", own.value.address);
            notes.report(Some(own.line), message);
        }
    }
}

/// Whether the two can't be bound at once. Port 0 takes any free port and never clashes.
fn overlaps(left: SocketAddr, right: SocketAddr) -> bool {
    let same_ip = left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && same_ip
}

/// A wildcard listener only meets the instance address if that address is this machine's loopback; other
/// addresses may well be other machines.
fn exact_or_local(listener: SocketAddr, address: &str) -> bool {
    address
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip() == listener.ip() || address.ip().is_loopback())
}

fn durability(notes: &Notes<'_>, draft: &DurabilityDraft, members: &[&Instance]) {
    let line = draft.acks_line.or(draft.line);
    let wait_count = usize::from(draft.value.wait_count(members.len()));
    match members.len() {
        0 => return,
        1 if wait_count > 0 => {
            notes
                .report(line, "[durability] acks: a single instance has nobody to acknowledge; leave it out");
            return;
        }
        1 => return,
        2 if !draft.without_acker_chosen => {
            let message = "[durability] without_acker is missing: with two instances you have to choose what writes do \
                 while the only replica is away: \"stall\" (wait), or \"continue\" (go on for a time, recorded, and be lost if the primary is)";
            notes.report(draft.line, message);
        }
        _ => {}
    }
    if wait_count == 0 {
        notes.report(line, "[durability] acks: 0 is only for a single instance");
        return;
    }
    // Whoever is the primary can't acknowledge to itself.
    let ackers = members.iter().filter(|member| member.acker).count();
    let primary_uses_one = members.iter().any(|m| m.acker && m.promotion != Promotion::MustNot);
    let left = ackers.saturating_sub(usize::from(primary_uses_one));
    if wait_count > left {
        let message = format!(
            "[durability] acks: a commit would wait for {wait_count} of {left} ackers beside the primary and never end"
        );
        notes.report(line, message);
    }
}

fn replication_user_names(notes: &Notes<'_>, user: &str, instances: &[Located<Instance>]) {
    for instance in instances {
        let name = format!("{user}_{}", instance.value.name);
        if name.chars().count() > MAX_USER_CHARS {
            let message = format!(
                "[[instance]] name: its replication account would be \"{name}\", longer than MySQL's {MAX_USER_CHARS} characters"
            );
            notes.report(Some(instance.line), message);
        }
    }
}
