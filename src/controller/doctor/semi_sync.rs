//! Semi-sync: plugins, both sides, and what a server starts with.
//!
//! Never here: who should acknowledge.

use super::{Facts, Finding, Member, Server};
use crate::controller::statements::{self, ACK_TIMEOUT_MS};
use crate::controller::view::{BOOT, Switch};

const GUARANTEE: &str =
    "an OK to a client means that enough ackers have the transaction, or it may be lost with the primary";

pub(super) fn findings(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.wanted.wait_count == 0 {
        return findings;
    }
    findings.extend(plugins(member, server));
    findings.extend(boot(member, server));
    if !server.has_semi_sync() {
        return findings;
    }
    if facts.is_primary(server) {
        findings.extend(waiting_side(member, server, facts));
    } else if server.source().is_some() {
        findings.extend(acknowledging_side(member, server));
    }
    findings
}

fn plugins(member: &Member, server: &Server) -> Vec<Finding> {
    let new_names = !matches!(statements::Grammar::of_version(server.version()), statements::Grammar::Master);
    let plugins = if new_names { ["source", "replica"] } else { ["master", "slave"] };
    let variables = ["rpl_semi_sync_source_enabled", "rpl_semi_sync_replica_enabled"];
    let lacking =
        variables.iter().zip(plugins).filter(|(variable, _)| server.variables.get(variable).is_none());
    lacking
        .map(|(_, plugin)| {
            let what = format!("the plugin rpl_semi_sync_{plugin} is missing");
            let (name, library) = (format!("rpl_semi_sync_{plugin}"), format!("semisync_{plugin}"));
            Finding::required(&member.name, &name, what, GUARANTEE).install(server, &name, &library)
        })
        .collect()
}

fn boot(member: &Member, server: &Server) -> Vec<Finding> {
    BOOT.iter()
        .filter(|(name, wanted)| {
            let there = server.persisted.get(name).map(Switch::of);
            there != Some(*wanted)
        })
        .map(|(name, wanted)| {
            let own = server.variables.name(name);
            let value = if wanted.is_on() { "ON" } else { "OFF" };
            let finding = Finding::required(
                &member.name,
                &format!("boot {name}"),
                format!("{own}={value} is not persisted for its next start"),
                why_boot(name),
            );
            finding.run(format!("SET PERSIST_ONLY {own}={value}")).by_sluice()
        })
        .collect()
}

fn why_boot(name: &str) -> &'static str {
    match name {
        "super_read_only" => {
            "a server that restarts must not take writes until Sluice has seen that it is the primary"
        }
        "relay_log_recovery" => {
            "it throws away what was received and not applied, which may be the only copy of an acknowledged transaction"
        }
        "skip_replica_start" => {
            "a member that restarts must not receive, and so acknowledge, what Sluice does not know of"
        }
        _ => "a member that restarts must not acknowledge or wait by itself: Sluice counts who may",
    }
}

fn waiting_side(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let variables = &server.variables;
    let mut findings = Vec::new();
    let mut wrong = |name: &str, is: String, wanted: String, why: &str| {
        let own = variables.name(name);
        let finding = Finding::required(&member.name, name, format!("{own} is {is}, not {wanted}"), why);
        findings.push(finding.run(format!("SET GLOBAL {own}={wanted}")).by_sluice());
    };
    let value = |name: &str| variables.get(name).unwrap_or("unknown").to_owned();
    let count = u64::from(facts.wanted.wait_count);
    let name = "rpl_semi_sync_source_timeout";
    if variables.number(name).is_none_or(|timeout| timeout < ACK_TIMEOUT_MS) {
        let why = "when it passes, commits silently go on without acknowledgement";
        wrong(name, format!("{} ms", value(name)), ACK_TIMEOUT_MS.to_string(), why);
    }
    let name = "rpl_semi_sync_source_wait_point";
    if variables.get(name) != Some("AFTER_SYNC") {
        let why = "others would read transactions that are not acknowledged yet and may be lost";
        wrong(name, value(name), "AFTER_SYNC".into(), why);
    }
    let name = "rpl_semi_sync_source_wait_no_replica";
    if !variables.is_on(name) {
        wrong(name, value(name), "ON".into(), "commits would not wait while no acker is attached");
    }
    let name = "rpl_semi_sync_source_wait_for_replica_count";
    if variables.number(name) != Some(count) {
        wrong(
            name,
            value(name),
            count.to_string(),
            "[durability] acks wants so many acknowledgements per commit",
        );
    }
    let name = "rpl_semi_sync_source_enabled";
    if !variables.is_on(name) {
        wrong(name, value(name), "ON".into(), GUARANTEE);
    }
    findings
}

fn acknowledging_side(member: &Member, server: &Server) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = "rpl_semi_sync_replica_enabled";
    let own = server.variables.name(name);
    if member.acker && !server.variables.is_on(name) {
        let what = format!("{own} is OFF on an acker");
        findings.push(
            Finding::required(&member.name, name, what, GUARANTEE)
                .run(format!("SET GLOBAL {own}=ON"))
                .act("then STOP REPLICA IO_THREAD; START REPLICA IO_THREAD (never both threads)")
                .by_sluice(),
        );
    }
    let name = "rpl_semi_sync_source_enabled";
    if server.variables.is_on(name) {
        let own = server.variables.name(name);
        let why = "its applier waits for acknowledgements that nobody gives";
        findings.push(
            Finding::required(&member.name, name, format!("{own} is ON on a replica"), why)
                .run(format!("SET GLOBAL {own}=OFF"))
                .by_sluice(),
        );
    }
    findings
}
