//! Reading the sections of the file into checked values, each with its default.

use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use sluice_routing::vouched::{MAX_VOUCHED, Vouched};

use super::instances::is_name;
use super::section::Section;
use super::{
    Accounts, ClientTls, Cluster, Failover, Hooks, InstanceTls, LogFormat, Login, OnLeftover, Pooling,
    ReadScope, Rebuild, Retention, Sessions, Switchover, durability, hooks, instances, networks, rules,
    secrets, tls,
};

/// `GET_LOCK` names have at most 64 characters; ours is `sluice:<cluster>`.
const MAX_CLUSTER_CHARS: usize = 57;
/// More worker threads than any machine we know has cores.
const MAX_WORKERS: usize = 512;
/// Client connections are bounded by file descriptors well before this.
const MAX_CONNECTIONS: usize = 1_000_000;
/// MySQL's own upper limit of max_connections.
const MAX_BACKEND: usize = 100_000;

const MIB: usize = 1 << 20;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Everything that was readable; what was not has been noted.
pub(super) struct Draft {
    pub(super) cluster: Option<Cluster>,
    pub(super) instances: instances::InstancesDraft,
    pub(super) accounts: Option<Accounts>,
    pub(super) listen: rules::ListenDraft,
    pub(super) admin_token: Option<super::Secret>,
    pub(super) login: Login,
    pub(super) sessions: Sessions,
    pub(super) tls_client: ClientTls,
    pub(super) tls_instance: InstanceTls,
    pub(super) durability: rules::DurabilityDraft,
    pub(super) switchover: Switchover,
    pub(super) switchover_line: Option<usize>,
    pub(super) failover: Failover,
    pub(super) rebuild: Rebuild,
    pub(super) hooks: Hooks,
    pub(super) log_format: LogFormat,
}

pub(super) fn draft(root: &Section<'_>) -> Draft {
    let switchover = root.child("switchover");
    let switchover_line = switchover.line();
    let (tls_client, tls_instance) = tls::tls(root.child("tls"));
    Draft {
        cluster: cluster(root.child("cluster")),
        instances: instances::read(root),
        accounts: accounts(root.child("accounts")),
        listen: listen(root.child("listen")),
        admin_token: admin(root.child("admin")),
        login: login(root.child("login")),
        sessions: sessions(root.child("sessions")),
        tls_client,
        tls_instance,
        durability: durability::read(root.child("durability")),
        switchover: self::switchover(switchover),
        switchover_line,
        failover: failover(root.child("failover")),
        rebuild: rebuild(root.child("rebuild")),
        hooks: hooks::hooks(root.child("hooks")),
        log_format: log(root.child("log")),
    }
}

fn cluster(section: Section<'_>) -> Option<Cluster> {
    let name = section.required_text("name", "the name of the cluster, such as \"shop\"");
    let name = name.filter(|name| {
        let fits = is_name(&name.value, MAX_CLUSTER_CHARS);
        if !fits {
            let message = format!("up to {MAX_CLUSTER_CHARS} letters, digits, '-', '_' or '.'");
            section.bad("name", name.line, &message);
        }
        fits
    });
    let store = section.required_text("store", "a folder, such as \"file:///var/lib/sluice/shop\"");
    let store = store.and_then(|store| {
        let path = store.value.strip_prefix("file://").map(Path::new).filter(|path| path.is_absolute());
        if path.is_none() {
            let later = store.value.starts_with("etcd") || store.value.starts_with("kube");
            let wrong = "must be file:// and an absolute path, such as \"file:///var/lib/sluice/shop\"";
            section.bad("store", store.line, if later { super::section::NOT_YET } else { wrong });
        }
        path.map(Path::to_path_buf)
    });
    section.finish();
    Some(Cluster { name: name?.value, store: store? })
}

fn accounts(section: Section<'_>) -> Option<Accounts> {
    let (control, replication, clone) =
        (section.child("control"), section.child("replication"), section.child("clone"));
    let accounts = (
        secrets::account(&control, "the account that observes and operates"),
        secrets::account(&replication, "the account that replicas follow their source with"),
        if clone.is_present() { secrets::account(&clone, "") } else { None },
    );
    for child in [control, replication, clone, section] {
        child.finish();
    }
    let (control, replication, clone) = accounts;
    Some(Accounts { control: control?, replication: replication?, clone })
}

fn listen(section: Section<'_>) -> rules::ListenDraft {
    let listen = rules::ListenDraft {
        line: section.line(),
        split: section.listen_address("split"),
        primary: section.listen_address("primary"),
        replica: section.listen_address("replica"),
        admin: section.listen_address("admin"),
        health: section.listen_address("health"),
        workers: match section.number("workers", 0..=MAX_WORKERS, 0) {
            0 => available_parallelism().map_or(1, usize::from),
            workers => workers,
        },
        slot: slot(&section),
        compression: section.flag("compression", true),
    };
    section.finish();
    listen
}

fn slot(section: &Section<'_>) -> Option<u8> {
    let written = section.number_or_auto("slot")?;
    let slot = u8::try_from(written.value);
    if slot.is_err() {
        section.bad("slot", written.line, "must be from 0 to 255");
    }
    slot.ok()
}

fn admin(section: Section<'_>) -> Option<super::Secret> {
    let token = secrets::admin_token(&section);
    section.finish();
    token
}

fn login(section: Section<'_>) -> Login {
    let deny_users = section.texts("deny_users").map_or_else(|| vec!["root".to_owned()], |users| users.value);
    let retention = [
        ("session", Some(Retention::Session)),
        ("memory", Some(Retention::Memory)),
        ("none", Some(Retention::None)),
    ];
    let login = Login {
        deny_users,
        allow: networks::allow(&section),
        proxy_protocol_from: networks::list(&section, "proxy_protocol_from"),
        retention: section.choice("retention", &retention, Retention::Memory),
        max_age: section.duration("max_age", SECOND..=DAY, MINUTE),
    };
    section.finish();
    login
}

fn sessions(section: Section<'_>) -> Sessions {
    let pooling = [("transaction", Some(Pooling::Transaction)), ("session", Some(Pooling::Session))];
    let freshness = [
        ("off", Some(ReadScope::Off)),
        ("session", Some(ReadScope::Session)),
        ("user", Some(ReadScope::User)),
        ("strong", Some(ReadScope::Strong)),
    ];
    let sessions = Sessions {
        pooling: section.choice("pooling", &pooling, Pooling::Transaction),
        max_connections: section.number("max_connections", 1..=MAX_CONNECTIONS, 10_000),
        memory: section.size("memory", 64 * MIB..=1024 * 1024 * MIB, 2048 * MIB),
        max_backend: section.number("max_backend", 1..=MAX_BACKEND, 200),
        triggers_leave_nothing: section.flag("triggers_leave_nothing", false),
        harmless_functions: harmless_functions(&section),
        replica_fallback: section.flag("replica_fallback", true),
        freshness: section.choice("freshness", &freshness, ReadScope::User),
        max_lag: section.duration("max_lag", Duration::from_millis(500)..=HOUR, 10 * SECOND),
    };
    section.finish();
    sessions
}

fn harmless_functions(section: &Section<'_>) -> Vouched {
    const KEY: &str = "harmless_functions";
    let mut functions = Vouched::default();
    let Some(texts) = section.texts(KEY) else { return functions };
    for text in &texts.value {
        if let Err(error) = functions.add(text) {
            section.bad(KEY, texts.line, &format!("{text:?} {error}"));
        }
    }
    if functions.len() > MAX_VOUCHED {
        section.bad(KEY, texts.line, &format!("at most {MAX_VOUCHED} functions"));
    }
    functions
}

fn switchover(section: Section<'_>) -> Switchover {
    let words = [("abort", Some(OnLeftover::Abort)), ("kill", Some(OnLeftover::Kill))];
    let switchover = Switchover {
        drain: section.duration("drain", Duration::ZERO..=10 * MINUTE, 2 * SECOND),
        hold: section.duration("hold", Duration::from_millis(100)..=HOUR, 10 * SECOND),
        on_leftover: section.choice("on_leftover", &words, OnLeftover::Abort),
    };
    section.finish();
    switchover
}

fn failover(section: Section<'_>) -> Failover {
    let failover = Failover {
        automatic: section.flag("automatic", true),
        // Nothing is promoted by itself in this version, so another time would be a promise not kept.
        stall: section.duration("stall", Duration::ZERO..=DAY, 30 * SECOND),
    };
    section.finish();
    failover
}

fn rebuild(section: Section<'_>) -> Rebuild {
    // Servers count in MiB per second.
    let max_speed = section.size("max_speed", MIB..=1024 * 1024 * MIB, 0);
    let rebuild = Rebuild {
        automatic: section.flag("automatic", true),
        max_speed: (max_speed > 0).then_some(max_speed),
    };
    section.finish();
    rebuild
}

fn log(section: Section<'_>) -> LogFormat {
    let formats = [("text", Some(LogFormat::Text)), ("json", Some(LogFormat::Json))];
    let format = section.choice("format", &formats, LogFormat::Text);
    section.finish();
    format
}
