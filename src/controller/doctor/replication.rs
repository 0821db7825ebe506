//! A member as a replica: its channel, its threads, and what they need.
//!
//! Never here: a setting that a primary needs as well.

use super::{Channel, Facts, Finding, Member, Server};
use crate::controller::statements::{HEARTBEAT, NET_TIMEOUT};

pub(super) fn findings(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !server.filters.is_empty() {
        let what = format!("it has replication filters: {}", server.filters.join(", "));
        let why = "it holds less than its primary: it may acknowledge what it does not apply, and can't be promoted";
        findings.push(
            Finding::required(&member.name, "replication_filters", what, why)
                .my_cnf("take out replicate_* lines")
                .run("CHANGE REPLICATION FILTER REPLICATE_DO_DB=(), REPLICATE_IGNORE_DB=(), REPLICATE_DO_TABLE=(), \
                      REPLICATE_IGNORE_TABLE=(), REPLICATE_WILD_DO_TABLE=(), REPLICATE_WILD_IGNORE_TABLE=(), \
                      REPLICATE_REWRITE_DB=()")
                .act(format!("then give {} a copy of another member's data: what was left out is missing", member.name)),
        );
    }
    for channel in &server.channels {
        findings.extend(if channel.name.is_empty() {
            own_channel(member, server, channel, facts)
        } else {
            vec![foreign_channel(member, channel)]
        });
    }
    if server.source().is_some() {
        findings.extend(as_replica(member, server));
    } else if facts.members.len() > 1 && facts.primary().is_some() && !facts.is_primary(server) {
        let what = "it does not replicate, and is not the primary".into();
        let why = "it neither acknowledges nor serves reads, and can't take over";
        findings.push(
            Finding::required(&member.name, "replication", what, why)
                .act("if its data are its primary's, Sluice points it there; `sluice status` says what keeps it from that")
                .by_sluice(),
        );
    }
    findings
}

fn foreign_channel(member: &Member, channel: &Channel) -> Finding {
    let what = format!("it has a further replication channel, {}", channel.name);
    let why = "a member follows its primary and nobody else; Sluice leaves such a server alone";
    Finding::required(&member.name, "channels", what, why)
        .run(format!("STOP REPLICA FOR CHANNEL '{0}'", channel.name))
        .run(format!("RESET REPLICA ALL FOR CHANNEL '{0}'", channel.name))
}

fn own_channel(member: &Member, server: &Server, channel: &Channel, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !channel.auto_position {
        let why = "after a change of the primary only GTIDs tell where it has to go on";
        findings.push(
            Finding::required(&member.name, "auto_position", "SOURCE_AUTO_POSITION is 0".into(), why)
                .run("STOP REPLICA IO_THREAD")
                .act("wait until everything received is applied, or the next statement deletes it")
                .run("STOP REPLICA SQL_THREAD")
                .run("CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1")
                .run("START REPLICA"),
        );
    }
    if let Some((primary, at)) = facts.primary()
        && channel.source != at.uuid()
        && !channel.source.is_empty()
    {
        let what = format!(
            "it follows {}, which is not the primary {}",
            name_of(facts, &channel.source),
            primary.name
        );
        let why = "what it has is late twice, and it does not acknowledge for the primary";
        findings.push(
            Finding::required(&member.name, "source", what, why)
                .act("Sluice points it at the primary")
                .by_sluice(),
        );
    }
    for (thread, state, error, start) in [
        ("receiver", &channel.receiver, &channel.receiver_error, "START REPLICA IO_THREAD"),
        ("applier", &channel.applier, &channel.applier_error, "START REPLICA SQL_THREAD"),
    ] {
        if state != "ON" {
            let error = if error.is_empty() { String::new() } else { format!(": {error}") };
            let what = format!("its {thread} is {}{error}", state.to_lowercase());
            let why = "it falls behind, neither acknowledges nor serves fresh reads";
            let finding = Finding::required(&member.name, thread, what, why);
            findings.push(if error.is_empty() {
                finding.run(start).by_sluice()
            } else {
                finding.act("mend what the error names").run(start)
            });
        }
    }
    findings.extend(pace(member, server, channel));
    findings
}

fn pace(member: &Member, server: &Server, channel: &Channel) -> Vec<Finding> {
    let mut findings = Vec::new();
    if channel.delay > 0 {
        let what = format!("it applies with a delay of {} s", channel.delay);
        let why = "it can't be promoted before that time, and serves no fresh reads";
        findings.push(
            Finding::advisable(&member.name, "source_delay", what, why)
                .run("STOP REPLICA SQL_THREAD")
                .run("CHANGE REPLICATION SOURCE TO SOURCE_DELAY=0")
                .run("START REPLICA SQL_THREAD")
                .act(format!(
                    "or, if the delay is wanted: promotion = \"must-not\" and acker = false for {}",
                    member.name
                )),
        );
    }
    let net_timeout = server.variables.number("replica_net_timeout");
    let heartbeat = (channel.heartbeat - HEARTBEAT).abs() < f64::EPSILON;
    if net_timeout != Some(u64::from(NET_TIMEOUT)) || !heartbeat {
        let name = server.variables.name("replica_net_timeout");
        let what = format!(
            "{name} is {} s and the heartbeat {} s, not {NET_TIMEOUT} and {HEARTBEAT}",
            net_timeout.unwrap_or_default(),
            channel.heartbeat
        );
        let why =
            "so long it takes until a replica notices that its source is gone; Sluice asks it as a witness";
        findings.push(
            Finding::advisable(&member.name, "replica_net_timeout", what, why)
                .run(format!("SET PERSIST {name}={NET_TIMEOUT}"))
                .run("STOP REPLICA IO_THREAD")
                .run(format!("CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD={HEARTBEAT}"))
                .run("START REPLICA IO_THREAD")
                .by_sluice(),
        );
    }
    findings
}

fn as_replica(member: &Member, server: &Server) -> Vec<Finding> {
    let variables = &server.variables;
    let mut findings = Vec::new();
    if !variables.is_on("super_read_only") {
        let why = "whatever writes there makes a transaction that the primary lacks: the replica would have to be rebuilt";
        findings.push(
            Finding::required(
                &member.name,
                "super_read_only",
                "super_read_only is OFF on a replica".into(),
                why,
            )
            .run("SET GLOBAL super_read_only=ON")
            .by_sluice(),
        );
    }
    if variables.is_on("relay_log_recovery") {
        let why = "at its next start it throws away what it received and has not applied, which may be the only copy of an \
                   acknowledged transaction";
        findings.push(
            Finding::required(&member.name, "relay_log_recovery", "relay_log_recovery is ON".into(), why)
                .run("SET PERSIST_ONLY relay_log_recovery=OFF")
                .my_cnf("take out relay_log_recovery"),
        );
    }
    let workers = variables.number("replica_parallel_workers").unwrap_or(1);
    let name = variables.name("replica_preserve_commit_order");
    if workers > 1 && !variables.is_on("replica_preserve_commit_order") {
        let why = "with several workers, readers of the replica see states that the primary never had";
        findings.push(
            Finding::required(&member.name, "replica_preserve_commit_order", format!("{name} is OFF"), why)
                .run("STOP REPLICA SQL_THREAD")
                .run(format!("SET PERSIST {name}=ON"))
                .run("START REPLICA SQL_THREAD"),
        );
    }
    if workers < 2 {
        let own = variables.name("replica_parallel_workers");
        let why =
            "one worker applies less than many clients write: the replica lags, and a failover waits for it";
        findings.push(
            Finding::advisable(&member.name, "replica_parallel_workers", format!("{own} is {workers}"), why)
                .run("STOP REPLICA SQL_THREAD")
                .run(format!("SET PERSIST {own}=4"))
                .run("START REPLICA SQL_THREAD"),
        );
    }
    findings
}

fn name_of(facts: &Facts, uuid: &str) -> String {
    let known = facts.answering().find(|(_, server)| server.uuid() == uuid);
    known.map_or_else(|| format!("server {uuid}"), |(member, _)| member.name.clone())
}
