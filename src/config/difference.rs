//! What a changed configuration file would change, and when it takes effect.

use std::fmt::{Debug, Display, Write as _};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::members;
use super::section::size_text;
use super::{Account, Config, Durability, Hook, Promotion, Secret};

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// As in the file: `[login] max_age`.
    pub setting: String,
    /// Its value now; secrets are not told.
    pub from: String,
    /// Its value in the file.
    pub to: String,
    /// When.
    pub takes_effect: TakesEffect,
}

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakesEffect {
    /// At the reload, without dropping anyone.
    Now,
    /// When the process is started again.
    AtRestart,
}

/// A setting as text, to be compared and shown.
struct Shown {
    setting: String,
    value: String,
    secret: bool,
    takes_effect: TakesEffect,
}

/// Where there is no value.
const NONE: &str = "(none)";
/// How the place of an instance is called.
const MEMBER: &str = "[[instance]] ";

/// Whether this is the place of an instance itself and not another setting of it.
fn is_member(shown: &Shown) -> bool {
    shown.setting.strip_prefix(MEMBER).is_some_and(|name| !name.contains(' '))
}

/// Every setting that differs, in the order of the README.
#[must_use]
pub fn differences(now: &Config, file: &Config) -> Vec<Difference> {
    let (before, after) = (settings(now), settings(file));
    let value = |list: &[Shown], setting: &str| {
        let found = list.iter().find(|shown| shown.setting == setting);
        found.map_or_else(|| NONE.to_owned(), |shown| shown.value.clone())
    };
    let gone = before.iter().filter(|old| !after.iter().any(|new| new.setting == old.setting));
    after
        .iter()
        .chain(gone)
        .filter_map(|shown| {
            let (from, to) = (value(&before, &shown.setting), value(&after, &shown.setting));
            let told = |value: String| if shown.secret { "(secret)".to_owned() } else { value };
            let member = is_member(shown) && (from == NONE || to == NONE);
            (from != to).then(|| Difference {
                setting: shown.setting.clone(),
                from: told(from),
                to: told(to),
                // A member comes and goes; only one that stays can't move.
                takes_effect: if member { TakesEffect::Now } else { shown.takes_effect },
            })
        })
        .collect()
}

struct List(Vec<Shown>);

impl List {
    fn add(&mut self, takes_effect: TakesEffect, setting: &str, value: impl Debug) {
        // Debug is how every type here has a text; quotes and paths read well enough.
        let value = format!("{value:?}");
        self.0.push(Shown { setting: setting.to_owned(), value, secret: false, takes_effect });
    }

    fn add_text(&mut self, takes_effect: TakesEffect, setting: &str, value: impl Display) {
        let value = value.to_string();
        self.0.push(Shown { setting: setting.to_owned(), value, secret: false, takes_effect });
    }

    fn add_secret(&mut self, setting: &str, secret: &Secret) {
        let mut value = String::new();
        for byte in digest(&SHA256, secret.read().as_bytes()).as_ref() {
            let _ = write!(value, "{byte:02x}");
        }
        let takes_effect = TakesEffect::Now;
        self.0.push(Shown { setting: setting.to_owned(), value, secret: true, takes_effect });
    }
}

fn settings(config: &Config) -> Vec<Shown> {
    let mut list = List(Vec::new());
    fixed(&mut list, config);
    accounts(&mut list, config);
    reloadable(&mut list, config);
    list.0
}

/// What parts of the process are built from.
fn fixed(list: &mut List, config: &Config) {
    use TakesEffect::AtRestart;
    list.add_text(AtRestart, "[cluster] name", &config.cluster.name);
    list.add_text(AtRestart, "[cluster] store", config.cluster.store.display());
    for instance in config.members() {
        list.add_text(AtRestart, &format!("{MEMBER}{}", instance.name), instance.reach());
    }
    let listen = &config.listen;
    for (name, address) in [
        ("split", listen.split),
        ("primary", listen.primary),
        ("replica", listen.replica),
        ("admin", Some(listen.admin)),
        ("health", listen.health),
    ] {
        let text = address.map_or_else(|| NONE.to_owned(), |address| address.to_string());
        list.add_text(AtRestart, &format!("[listen] {name}"), text);
    }
    list.add_text(AtRestart, "[listen] workers", listen.workers);
    list.add_text(AtRestart, "[listen] compression", listen.compression);
    list.add(AtRestart, "[listen] slot", listen.slot);
    list.add_text(AtRestart, "[sessions] max_backend", config.sessions.max_backend);
    list.add(AtRestart, "[sessions] pooling", config.sessions.pooling);
    list.add_text(AtRestart, "[sessions] max_lag", shown(config.sessions.max_lag));
    list.add(AtRestart, "[tls.instance] mode", config.tls_instance.mode);
    list.add(AtRestart, "[tls.instance] ca", &config.tls_instance.ca);
    list.add(AtRestart, "[tls.instance] cert, key", &config.tls_instance.files);
    list.add(AtRestart, "[durability] acks", config.durability.acks);
    list.add_text(AtRestart, "[switchover] drain", shown(config.switchover.drain));
    list.add_text(AtRestart, "[switchover] hold", shown(config.switchover.hold));
    list.add(AtRestart, "[switchover] on_leftover", config.switchover.on_leftover);
    list.add(AtRestart, "[log] format", config.log_format);
}

fn accounts(list: &mut List, config: &Config) {
    let accounts = &config.accounts;
    let all = [
        ("control", Some(&accounts.control)),
        ("replication", Some(&accounts.replication)),
        ("clone", accounts.clone.as_ref()),
    ];
    for (role, account) in all {
        let Some(Account { user, password }) = account else { continue };
        list.add_text(TakesEffect::AtRestart, &format!("[accounts.{role}] user"), user);
        list.add_secret(&format!("[accounts.{role}] password"), password);
    }
    if let Some(token) = &config.admin_token {
        list.add_secret("[admin] token_file", token);
    }
}

/// What [`Config::take_over`] takes over.
fn reloadable(list: &mut List, config: &Config) {
    use TakesEffect::Now;
    for instance in config.members() {
        // What is as if not written is not shown, so that a member that comes is told in one line.
        let name = &instance.name;
        if let Some(address) = &instance.replication_address {
            list.add_text(Now, &format!("{MEMBER}{name} replication_address"), address);
        }
        if let Some(zone) = &instance.zone {
            list.add_text(Now, &format!("{MEMBER}{name} zone"), zone);
        }
        if instance.promotion != Promotion::Neutral {
            list.add_text(Now, &format!("{MEMBER}{name} promotion"), instance.promotion.as_str());
        }
        if !instance.acker {
            list.add_text(Now, &format!("{MEMBER}{name} acker"), false);
        }
    }
    list.add_text(Now, "[durability] without_acker", config.durability.without_acker.as_str());
    if let Some(allowance) = config.durability.without_acker.allowance() {
        list.add_text(Now, "[durability] continue_after", shown(allowance.after));
        list.add_text(Now, "[durability] continue_for", shown(allowance.longest));
    }
    list.add_text(Now, "[failover] automatic", config.failover.automatic);
    list.add_text(Now, "[failover] stall", shown(config.failover.stall));
    list.add_text(Now, "[rebuild] automatic", config.rebuild.automatic);
    let speed = config.rebuild.max_speed.map_or_else(|| NONE.to_owned(), size_text);
    list.add_text(Now, "[rebuild] max_speed", speed);
    let hooks = &config.hooks;
    for (name, hook) in [
        ("before_fence", &hooks.before_fence),
        ("after_promote", &hooks.after_promote),
        ("after_switchover", &hooks.after_switchover),
        ("on_alarm", &hooks.on_alarm),
    ] {
        let text = |hook: &Hook| format!("{:?} within {}", hook.command, shown(hook.timeout));
        list.add_text(Now, &format!("[hooks] {name}"), hook.as_ref().map_or_else(|| NONE.to_owned(), text));
    }
    let login = &config.login;
    list.add(Now, "[login] deny_users", &login.deny_users);
    let allow: Vec<String> = login
        .allow
        .iter()
        .map(|rule| {
            let from: Vec<String> = rule.from.iter().map(ToString::to_string).collect();
            format!("{} from {}", rule.user, from.join(", "))
        })
        .collect();
    list.add(Now, "[login] allow", allow);
    let proxies: Vec<String> = login.proxy_protocol_from.iter().map(ToString::to_string).collect();
    list.add(Now, "[login] proxy_protocol_from", proxies);
    list.add(Now, "[login] retention", login.retention);
    list.add_text(Now, "[login] max_age", shown(login.max_age));
    list.add_text(Now, "[sessions] max_connections", config.sessions.max_connections);
    list.add_text(Now, "[sessions] memory", size_text(config.sessions.memory));
    list.add_text(Now, "[sessions] replica_fallback", config.sessions.replica_fallback);
    list.add_text(Now, "[sessions] triggers_leave_nothing", config.sessions.triggers_leave_nothing);
    list.add(Now, "[sessions] freshness", config.sessions.freshness);
    let harmless: Vec<String> = config.sessions.harmless_functions.names().collect();
    list.add(Now, "[sessions] harmless_functions", harmless);
    list.add(Now, "[tls.client] mode", config.tls_client.mode);
    list.add(Now, "[tls.client] cert, key", &config.tls_client.files);
    list.add(Now, "[tls.client] ca", &config.tls_client.ca);
}

fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

impl Config {
    /// What the controller is to work with from now on: its own, with the instances and the rules of `file`. Fails if
    /// there are no places left for further instances.
    pub(crate) fn regrouped(&self, file: &Self) -> Result<Self, String> {
        Ok(Self {
            instances: members::placed(&self.instances, &file.instances)?,
            // How many acknowledgements a commit needs is in the record.
            durability: Durability { acks: self.durability.acks, ..file.durability },
            failover: file.failover,
            rebuild: file.rebuild,
            hooks: file.hooks.clone(),
            ..self.clone()
        })
    }

    /// Takes from `file` what takes effect without a restart; the rest stays as the process runs with it.
    pub(crate) fn take_over(&mut self, file: &Self) {
        let own =
            [Some(&self.accounts.control), Some(&self.accounts.replication), self.accounts.clone.as_ref()];
        let new =
            [Some(&file.accounts.control), Some(&file.accounts.replication), file.accounts.clone.as_ref()];
        for (own, new) in own.into_iter().zip(new) {
            if let (Some(own), Some(new)) = (own, new) {
                own.password.become_equal_to(&new.password);
            }
        }
        if let (Some(own), Some(new)) = (&self.admin_token, &file.admin_token) {
            own.become_equal_to(new);
        }
        self.login = file.login.clone();
        self.sessions.max_connections = file.sessions.max_connections;
        self.sessions.memory = file.sessions.memory;
        self.sessions.replica_fallback = file.sessions.replica_fallback;
        self.sessions.triggers_leave_nothing = file.sessions.triggers_leave_nothing;
        self.sessions.freshness = file.sessions.freshness;
        self.sessions.harmless_functions = file.sessions.harmless_functions.clone();
        self.tls_client = file.tls_client.clone();
    }
}
