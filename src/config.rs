//! The configuration file: every setting, its default and its meaning.
//!
//! [`Config`] is the checked value; nothing downstream validates again. Parsing reports every mistake of a
//! file at once.
//!
//! Never here: reading the environment or files outside of loading, defaults hidden in other rooms.

mod difference;
mod durability;
mod hooks;
mod instances;
mod members;
mod networks;
mod problem;
mod read;
mod rules;
mod secrets;
mod section;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sluice_routing::vouched::Vouched;
use toml::de::DeTable;
use zeroize::Zeroizing;

pub use difference::{Difference, TakesEffect, differences};
pub use durability::{Allowance, Durability, WithoutAcker};
pub use problem::Problem;
pub use secrets::read_secret_file;
use section::{Notes, Section, Surroundings};

/// A longer file is not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[[instance]]`: an `InstanceId` is an index into this list. In file order at first; a reload adds to the end,
    /// and leaves what it takes out at its place ([`Standing::Removed`]).
    pub instances: Vec<Instance>,
    /// `[accounts]`
    pub accounts: Accounts,
    /// `[listen]`
    pub listen: Listen,
    /// `[admin]`: the token that a request beyond loopback has to carry.
    pub admin_token: Option<Secret>,
    /// `[login]`
    pub login: Login,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[tls.client]`
    pub tls_client: ClientTls,
    /// `[tls.instance]`
    pub tls_instance: InstanceTls,
    /// `[durability]`
    pub durability: Durability,
    /// `[switchover]`
    pub switchover: Switchover,
    /// `[failover]`
    pub failover: Failover,
    /// `[rebuild]`
    pub rebuild: Rebuild,
    /// `[hooks]`
    pub hooks: Hooks,
    /// `[log]`
    pub log_format: LogFormat,
}

impl Config {
    /// Reads and checks the text of a configuration file. Relative paths in it begin at `base_dir`. The
    /// error has every mistake, in the order of the file.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, Vec<Problem>> {
        let environment = |name: &str| std::env::var(name).ok();
        parse(text, Surroundings { base_dir, environment: &environment }).0
    }

    /// Reads and checks a configuration file; one that everybody may read must not hold a password.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        let unreadable = |reason: &dyn std::fmt::Display| {
            vec![Problem { line: None, message: format!("can't read {}: {reason}", path.display()) }]
        };
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err(unreadable(&"not a configuration file"));
        }
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| unreadable(&error))?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        let environment = |name: &str| std::env::var(name).ok();
        let (parsed, inline_secret) = parse(&text, Surroundings { base_dir, environment: &environment });
        let exposed = inline_secret.and_then(|line| {
            let message = secrets::readable_by_all(path, metadata.permissions().mode())?;
            Some(Problem { line: Some(line), message })
        });
        match (parsed, exposed) {
            (parsed, None) => parsed,
            (parsed, Some(exposed)) => {
                let mut problems = parsed.err().unwrap_or_default();
                problems.push(exposed);
                Err(problems)
            }
        }
    }
}

/// The checked configuration or every mistake, and the line of the first password in the text.
fn parse(text: &str, surroundings: Surroundings<'_>) -> (Result<Config, Vec<Problem>>, Option<usize>) {
    let notes = Notes::new(text, surroundings);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map(|span| notes.line(span.start));
        notes.report(line, error.message().replace('\n', ", "));
    }
    // A broken file is not searched for more: what a parser guessed would only confuse.
    let config = if errors.is_empty() {
        let root = Section::root(&notes, table.get_ref());
        let draft = read::draft(&root);
        root.finish();
        rules::check(&notes, draft)
    } else {
        None
    };
    let inline_secret = notes.inline_secret.get();
    match (config, notes.into_problems()) {
        (Some(config), problems) if problems.is_empty() => (Ok(config), inline_secret),
        (_, problems) => (Err(problems), inline_secret),
    }
}

/// A password or token: never printed, wiped when dropped. Clones share it, so that a reload reaches whoever
/// holds one.
#[derive(Clone)]
pub struct Secret(Arc<ArcSwap<Zeroizing<String>>>);

impl Secret {
    /// Takes over a text.
    #[must_use]
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(text.into())))
    }

    /// The text as it is now.
    #[must_use]
    pub fn read(&self) -> Arc<Zeroizing<String>> {
        self.0.load_full()
    }

    /// Has this and every clone of it hold what `other` holds now.
    pub(crate) fn become_equal_to(&self, other: &Self) {
        self.0.store(other.read());
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[cluster]`
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name of the cluster; part of the lock name `sluice:<name>` on every instance.
    pub name: String,
    /// The store folder (`file:///...`).
    pub store: PathBuf,
}

/// `[[instance]]`
#[derive(Clone, Debug)]
pub struct Instance {
    /// Unique name.
    pub name: Arc<str>,
    /// `host:port` of the MySQL protocol; resolved at each dial.
    pub address: Arc<str>,
    /// `host:port` of the server's admin port, needed to tell error 1040 from death.
    pub admin: Option<Arc<str>>,
    /// `host:port` at which replicas reach it, when that differs from `address`.
    pub replication_address: Option<Arc<str>>,
    /// Failure zone.
    pub zone: Option<Arc<str>>,
    /// Whether it may become the primary.
    pub promotion: Promotion,
    /// Whether it may acknowledge for semi-sync.
    pub acker: bool,
    /// Whether it is still one.
    pub standing: Standing,
}

/// Whether an instance of this process is in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    #[default]
    Member,
    /// A reload took it out; only its place is kept, so that those behind it keep theirs.
    Removed,
}

/// `promotion`
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promotion {
    /// First choice.
    Prefer,
    /// No opinion.
    Neutral,
    /// Only if nothing better is there.
    PreferNot,
    /// Never.
    MustNot,
}

impl Promotion {
    /// As in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prefer => "prefer",
            Self::Neutral => "neutral",
            Self::PreferNot => "prefer-not",
            Self::MustNot => "must-not",
        }
    }
}

/// `[accounts]`
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Observes and operates.
    pub control: Account,
    /// Used by replicas to follow their source.
    pub replication: Account,
    /// Used for CLONE; `None`: control.
    pub clone: Option<Account>,
}

/// One MySQL account of ours.
#[derive(Clone, Debug)]
pub struct Account {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret,
}

/// `[listen]`
#[derive(Clone, Debug)]
pub struct Listen {
    /// Writes to the primary, harmless reads to replicas.
    pub split: Option<SocketAddr>,
    /// Everything to the primary.
    pub primary: Option<SocketAddr>,
    /// Reads only.
    pub replica: Option<SocketAddr>,
    /// Operations.
    pub admin: SocketAddr,
    /// Probes and metrics, read-only.
    pub health: Option<SocketAddr>,
    /// Worker threads; already resolved, at least 1.
    pub workers: usize,
    /// What tells connection ids of this Sluice from those of others; `None`: by the machine's name.
    pub slot: Option<u8>,
    /// Whether clients may use the compressed protocol.
    pub compression: bool,
}

/// `[login]`
#[derive(Clone, Debug)]
pub struct Login {
    /// Users refused with 1045 on client listeners, besides Sluice's own accounts.
    pub deny_users: Vec<String>,
    /// Networks to which a user is narrowed.
    pub allow: Vec<Allow>,
    /// Networks whose connections begin with a PROXY header, and have to.
    pub proxy_protocol_from: Vec<Network>,
    /// How long a password may be kept.
    pub retention: Retention,
    /// Age after which a remembered login is verified again.
    pub max_age: Duration,
}

/// `[login] allow` entry.
#[derive(Clone, Debug)]
pub struct Allow {
    /// User name.
    pub user: String,
    /// CIDR networks the user may come from.
    pub from: Vec<Network>,
}

/// A CIDR network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// First address.
    pub address: std::net::IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// `[login] retention`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Only as long as the session lives.
    Session,
    /// In memory, shared by later logins of the same user.
    Memory,
    /// Not at all.
    None,
}

/// `[sessions]`
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Whether sessions share backend connections.
    pub pooling: Pooling,
    /// Most client connections at once.
    pub max_connections: usize,
    /// Memory that clients may take together, in bytes.
    pub memory: usize,
    /// Most backend connections per instance.
    pub max_backend: usize,
    /// Whether writes leave nothing on a connection that servers do not tell of: it is lent as it is then.
    pub triggers_leave_nothing: bool,
    /// Stored functions that are as harmless as native ones.
    pub harmless_functions: Vouched,
    /// Whether the primary serves reads of the replica listener when no replica does.
    pub replica_fallback: bool,
    /// What reads on the split listener must be able to see.
    pub freshness: ReadScope,
    /// Replicas further behind than this serve no reads.
    pub max_lag: Duration,
}

/// `[sessions] freshness`: whose writes, acknowledged before a read began, the read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadScope {
    /// Nobody's: any serving replica will do.
    Off,
    /// The session's own.
    Session,
    /// Those of every session of the same account through this process.
    User,
    /// Everybody's: reads go to the primary.
    Strong,
}

/// `[sessions] pooling`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// A connection goes back when no transaction and nothing else ties the session to it.
    Transaction,
    /// A connection stays with its session for life.
    Session,
}

/// `[tls.client]`
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Mode.
    pub mode: ClientTlsMode,
    /// Certificate chain and key files (PEM); `None`: a self-made pair is kept in the store.
    pub files: Option<(PathBuf, PathBuf)>,
    /// CA file (PEM) that clients' certificates have to be signed by, for [`ClientTlsMode::VerifyCa`].
    pub ca: Option<PathBuf>,
}

/// `[tls.client] mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// TLS is not offered.
    Disabled,
    /// TLS is offered.
    Preferred,
    /// Clients without TLS are refused with 3159.
    Required,
    /// As required, and clients need a certificate of the CA.
    VerifyCa,
}

/// `[tls.instance]`
#[derive(Clone, Debug)]
pub struct InstanceTls {
    /// Mode, with the meaning of the mysql client's `--ssl-mode`.
    pub mode: InstanceTlsMode,
    /// CA file (PEM), for the verifying modes.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain and key (PEM), for servers that ask for one.
    pub files: Option<(PathBuf, PathBuf)>,
}

/// `[tls.instance] mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceTlsMode {
    /// Never TLS.
    Disabled,
    /// TLS if the server offers it.
    Preferred,
    /// TLS or failure; any certificate.
    Required,
    /// TLS with a certificate chain to the CA; any name.
    VerifyCa,
    /// TLS with a certificate chain to the CA and the right name.
    VerifyIdentity,
}

/// `[switchover]`
#[derive(Clone, Copy, Debug)]
pub struct Switchover {
    /// Budget for open transactions to end.
    pub drain: Duration,
    /// Longest time a statement waits at the gate.
    pub hold: Duration,
    /// What happens to what is still open after `drain`.
    pub on_leftover: OnLeftover,
}

/// `on_leftover`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLeftover {
    /// The switchover gives up and releases everyone.
    Abort,
    /// Transactions are rolled back, sessions that can't move are closed.
    Kill,
}

/// `[failover]`
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// Whether the controller may promote by itself.
    pub automatic: bool,
    /// How long a primary that can't commit is tolerated; zero: forever.
    pub stall: Duration,
}

/// `[rebuild]`
#[derive(Clone, Copy, Debug)]
pub struct Rebuild {
    /// Whether members whose data are surely of no use are filled with another member's by themselves.
    pub automatic: bool,
    /// Most bytes per second that a copy reads from the donor's disk and sends; `None`: as fast as it goes.
    pub max_speed: Option<usize>,
}

/// `[hooks]`: programs that are told of what happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// A failover is about to begin with what can't be seen any more; it waits for the program.
    pub before_fence: Option<Hook>,
    /// A failover has a new primary, and clients go on there.
    pub after_promote: Option<Hook>,
    /// So has a switchover.
    pub after_switchover: Option<Hook>,
    /// There is something somebody should know.
    pub on_alarm: Option<Hook>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path of the program, and its arguments.
    pub command: Vec<String>,
    /// After this time it is killed.
    pub timeout: Duration,
}

/// `[log] format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON objects.
    Json,
}
