//! Settings that every member has to have, whatever its role is.
//!
//! Never here: a setting that depends on another member.

use super::{Facts, Finding, Member, Server, Severity};
use crate::controller::statements::GTID_MODE_ON;

/// How a setting is changed.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// At once, and kept.
    Dynamic,
    /// From the next start.
    NextStart,
    /// Only by the server's own file.
    File,
}

/// One setting and its value.
struct Wish {
    name: &'static str,
    value: &'static str,
    change: Change,
    severity: Severity,
    why: &'static str,
}

const ACKNOWLEDGED: &str =
    "a transaction that clients were told OK for has to survive a crash of the server's machine";

const WISHES: [Wish; 11] = [
    Wish {
        name: "log_bin",
        value: "ON",
        change: Change::File,
        severity: Severity::Required,
        why: "without a binary log it can't be a primary, and what it applied can't be fetched from it",
    },
    Wish {
        name: "log_replica_updates",
        value: "ON",
        change: Change::NextStart,
        severity: Severity::Required,
        why: "what it applied as a replica has to be in its own binary log, or nobody can follow it after it is promoted",
    },
    Wish {
        name: "enforce_gtid_consistency",
        value: "ON",
        change: Change::Dynamic,
        severity: Severity::Required,
        why: "GTIDs need it; set it to WARN first and look at the error log for statements that it will refuse",
    },
    Wish {
        name: "binlog_format",
        value: "ROW",
        change: Change::Dynamic,
        severity: Severity::Required,
        why: "statements can have other results on a replica than on the primary: the data would drift apart unseen",
    },
    Wish {
        name: "sync_binlog",
        value: "1",
        change: Change::Dynamic,
        severity: Severity::Required,
        why: ACKNOWLEDGED,
    },
    Wish {
        name: "innodb_flush_log_at_trx_commit",
        value: "1",
        change: Change::Dynamic,
        severity: Severity::Required,
        why: ACKNOWLEDGED,
    },
    Wish {
        name: "innodb_doublewrite",
        value: "ON",
        change: Change::NextStart,
        severity: Severity::Advisable,
        why: "without it a crash of the machine in the middle of a page leaves a server that does not start",
    },
    Wish {
        name: "sync_relay_log",
        value: "1",
        change: Change::Dynamic,
        severity: Severity::Advisable,
        why: "an acker acknowledges what is in its relay log: only synced it survives a crash of the acker's machine as \
              well. It costs a sync per event; with binlog_transaction_compression=ON that is two per transaction",
    },
    Wish {
        name: "performance_schema",
        value: "ON",
        change: Change::File,
        severity: Severity::Required,
        why: "replication state, locks and sessions are read from it",
    },
    Wish {
        name: "persisted_globals_load",
        value: "ON",
        change: Change::File,
        severity: Severity::Required,
        why: "what Sluice persists has to be read at the next start, or the server comes back writable and acknowledging",
    },
    Wish {
        name: "offline_mode",
        value: "OFF",
        change: Change::Dynamic,
        severity: Severity::Required,
        why: "it turns away clients and replicas",
    },
];

pub(super) fn findings(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        WISHES.iter().filter_map(|wish| unfulfilled(member, server, wish)).collect();
    findings.extend(gtid_mode(member, server));
    findings.extend(connections(member, server, facts));
    findings.extend(binlogs(member, server));
    findings.extend(host_cache(member, server));
    findings
}

fn unfulfilled(member: &Member, server: &Server, wish: &Wish) -> Option<Finding> {
    let value = server.variables.get(wish.name)?;
    let on = matches!(wish.value, "ON") && matches!(value, "1" | "ON" | "YES" | "DETECT_AND_RECOVER");
    if value == wish.value || on {
        return None;
    }
    let name = server.variables.name(wish.name);
    let finding = Finding::new(
        &member.name,
        wish.name,
        wish.severity,
        format!("{name} is {value}, not {}", wish.value),
        wish.why,
    );
    Some(match wish.change {
        Change::Dynamic => finding.run(format!("SET PERSIST {name}={}", wish.value)),
        Change::NextStart => finding.run(format!("SET PERSIST_ONLY {name}={}", wish.value)).restart(),
        Change::File if wish.name == "log_bin" => finding.my_cnf("log_bin=binlog"),
        Change::File => finding.my_cnf(format!("{name}={}", wish.value)),
    })
}

fn gtid_mode(member: &Member, server: &Server) -> Option<Finding> {
    let mode = server.variables.get("gtid_mode").unwrap_or("OFF");
    if mode == "ON" {
        return None;
    }
    let finding = Finding::required(
        &member.name,
        "gtid_mode",
        format!("gtid_mode is {mode}, not ON"),
        "everything that Sluice knows about who has which transaction, it knows by GTIDs",
    )
    .act(
        "one step at a time, each on all members before the next; before the last, wait until \
          SHOW GLOBAL STATUS LIKE 'Ongoing_anonymous_transaction_count' is 0 everywhere",
    );
    Some(GTID_MODE_ON.iter().fold(finding, |finding, statement| finding.run(*statement)))
}

/// Connections beyond those of clients: the controller's four, one at a time of the doctor, replicas', and some for
/// people and tools.
const BESIDE_CLIENTS: u64 = 20;

fn connections(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wanted = u64::try_from(facts.wanted.max_backend).unwrap_or(u64::MAX).saturating_add(BESIDE_CLIENTS);
    if let Some(there) = server.variables.number("max_connections").filter(|there| *there < wanted) {
        let what = format!(
            "max_connections is {there}, and [sessions] max_backend {} with {BESIDE_CLIENTS} for replicas, Sluice and \
             people need {wanted}",
            facts.wanted.max_backend
        );
        let why = "when it is reached, clients get error 1040 from the server instead of waiting at Sluice";
        findings.push(
            Finding::advisable(&member.name, "max_connections", what, why)
                .run(format!("SET PERSIST max_connections={wanted}"))
                .act(format!("or lower [sessions] max_backend to {}", there.saturating_sub(BESIDE_CLIENTS))),
        );
    }
    let why = "a server that is full (error 1040) can only be told from a dead one by its admin port";
    match &member.admin {
        None => findings.push(
            Finding::advisable(&member.name, "admin_port", "no admin address is configured".into(), why)
                .my_cnf("admin_address=<its address>")
                .act(format!("admin = \"<address>:33062\" for {} in Sluice's configuration", member.name)),
        ),
        Some(Err(error)) => findings.push(
            Finding::required(
                &member.name,
                "admin_port",
                format!("a login at its admin port fails: {error}"),
                why,
            )
            .my_cnf("admin_address=<its address>")
            .act(format!("or mend admin = \"...\" of {} in Sluice's configuration", member.name)),
        ),
        Some(Ok(())) => {}
    }
    if let Some(limit) = server.variables.number("max_user_connections").filter(|limit| *limit > 0) {
        let what = format!("max_user_connections is {limit}");
        let why =
            "applications that share an account get error 1226 from the server instead of waiting at Sluice";
        findings.push(
            Finding::advisable(&member.name, "max_user_connections", what, why)
                .run("SET PERSIST max_user_connections=0"),
        );
    }
    findings
}

/// A day: as long as a member may be away over a weekend night without needing a copy of everything.
const KEEP_BINLOGS_S: u64 = 86_400;

fn binlogs(member: &Member, server: &Server) -> Option<Finding> {
    let seconds = server.variables.number("binlog_expire_logs_seconds")?;
    if seconds == 0 || seconds >= KEEP_BINLOGS_S || !server.variables.is_on("binlog_expire_logs_auto_purge") {
        return None;
    }
    let what = format!("binlog_expire_logs_seconds is {seconds}");
    let why = "a member that was away for longer can't catch up and needs a copy of all data";
    Some(
        Finding::advisable(&member.name, "binlog_expire_logs_seconds", what, why)
            .run(format!("SET PERSIST binlog_expire_logs_seconds={}", 7 * KEEP_BINLOGS_S)),
    )
}

fn host_cache(member: &Member, server: &Server) -> Option<Finding> {
    if server.variables.is_on("skip_name_resolve") || server.variables.number("host_cache_size") == Some(0) {
        return None;
    }
    let what = "it resolves the names of its clients".into();
    let why = "a slow name service holds up each login, and connections that are broken off can block all of Sluice's \
               address (error 1129)";
    Some(
        Finding::advisable(&member.name, "skip_name_resolve", what, why)
            .run("SET PERSIST_ONLY skip_name_resolve=ON")
            .restart()
            .act("first see that no account is bound to a host name: SELECT user, host FROM mysql.user"),
    )
}
