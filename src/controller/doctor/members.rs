//! Members beside each other: whether they answer, can be told apart, and are alike.
//!
//! Never here: a finding about one server alone, but that it does not answer.

use std::collections::BTreeMap;

use super::{Facts, Finding, Member, Server};
use crate::controller::statements::version_number;

/// A clock further off than this is worth a word: logs of several machines can't be laid beside each other.
const SKEW_MS: u64 = 1_000;
/// Older servers lack statements that the controller needs.
const OLDEST: (u16, u16, u16) = (8, 0, 22);

/// Settings in which members have to be alike, or clients notice on which one they are.
const ALIKE: [&str; 12] = [
    "lower_case_table_names",
    "sql_mode",
    "time_zone",
    "character_set_server",
    "collation_server",
    "transaction_isolation",
    "max_allowed_packet",
    "default_storage_engine",
    "explicit_defaults_for_timestamp",
    "auto_increment_increment",
    "innodb_page_size",
    "group_concat_max_len",
];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.members.iter().filter_map(silent).collect();
    findings.extend(same(facts, "server_uuid", "members are told apart by it, also by each other"));
    findings.extend(same(facts, "server_id", "a replica ignores what carries its own server_id"));
    for (member, server) in facts.answering() {
        findings.extend(version(member, server, facts));
        findings.extend(skew(member, server));
    }
    findings.extend(ALIKE.iter().filter_map(|name| differing(facts, name)));
    findings.extend(no_primary(facts));
    findings.extend(unguarded(facts));
    findings.extend(clone_plugin(facts));
    findings
}

/// Nothing is wrong with it; whoever looks for what may be lost has to find it.
fn unguarded(facts: &Facts) -> Option<Finding> {
    let allowance = facts.wanted.without_acker.allowance().filter(|_| facts.wanted.wait_count > 0)?;
    let what = format!(
        "[durability] without_acker = \"continue\": after {} without any acker commits wait for none, for {} at most",
        humantime::format_duration(allowance.after),
        humantime::format_duration(allowance.longest)
    );
    let why = "what clients are told OK in such a time is lost if the primary is lost then";
    let finding = Finding::advisable("cluster", "without_acker", what, why);
    Some(finding.act("leave it if that is meant; if not: without_acker = \"stall\", and sluice reload"))
}

fn silent(member: &Member) -> Option<Finding> {
    let error = member.server.as_ref().err()?;
    let what = format!("it can't be examined at {}: {error}", member.address);
    let finding = Finding::required(&member.name, "reachable", what, "nothing is known of it");
    Some(if error.contains("1045") || error.contains("1227") || error.contains("1142") {
        finding.act("run what `sluice grants --for control` prints, on the primary")
    } else {
        finding.act("start it, or mend its address in Sluice's configuration")
    })
}

fn same(facts: &Facts, name: &str, why: &str) -> Vec<Finding> {
    let mut holders: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for (member, server) in facts.answering() {
        holders.entry(server.variables.get(name).unwrap_or_default()).or_default().push(member);
    }
    let mut findings = Vec::new();
    for (value, members) in holders {
        let names = || members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
        for member in members.iter().skip(1) {
            let what = format!("{name} is {value} on {}", names());
            let finding = Finding::required(&member.name, name, what, why);
            findings.push(if name == "server_id" {
                finding.run("SET PERSIST server_id=<a number that no other member has>")
            } else {
                finding.act("stop it, delete auto.cnf in its data directory, start it; or take an instance out that is \
                             configured twice")
            });
        }
        if name == "server_id" && value == "0" {
            for member in members {
                findings.push(
                    Finding::required(
                        &member.name,
                        name,
                        "server_id is 0".into(),
                        "a server with 0 can't replicate",
                    )
                    .run("SET PERSIST server_id=<a number that no other member has>"),
                );
            }
        }
    }
    findings
}

fn version(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let text = server.version();
    let Some(number) = version_number(text).filter(|_| !text.to_lowercase().contains("mariadb")) else {
        let why = "its replication and its GTIDs are other ones";
        let what = format!("{text} is not a MySQL server");
        return vec![
            Finding::required(&member.name, "version", what, why).act("put MySQL 8.0.22 or newer there"),
        ];
    };
    if number < OLDEST {
        let why = "it lacks statements that Sluice needs";
        let what = format!("its version is {text}");
        findings.push(
            Finding::required(&member.name, "version", what, why).act("upgrade to MySQL 8.0.22 or newer"),
        );
    }
    let series = |number: (u16, u16, u16)| (number.0, number.1);
    if let Some((primary, at)) = facts.primary()
        && let Some(theirs) = version_number(at.version())
    {
        let (what, remedy) = match series(number).cmp(&series(theirs)) {
            std::cmp::Ordering::Equal => return findings,
            std::cmp::Ordering::Less => (
                format!("it is {text}, older than its primary {} ({})", primary.name, at.version()),
                format!("upgrade {}, or switch over to it before anything newer is the primary", member.name),
            ),
            std::cmp::Ordering::Greater => (
                format!("it is {text}, newer than its primary {} ({})", primary.name, at.version()),
                "upgrade the other replicas, switch over, then upgrade the former primary".to_owned(),
            ),
        };
        let why = "an older server can't be relied on to follow a newer one: after a failover to the newer one it may be left \
                   out";
        findings.push(Finding::advisable(&member.name, "versions", what, why).act(remedy));
    }
    findings
}

fn skew(member: &Member, server: &Server) -> Option<Finding> {
    if server.skew_ms.unsigned_abs() < SKEW_MS {
        return None;
    }
    let what = format!("its clock is {} ms off Sluice's", server.skew_ms);
    let why = "lag, NOW() after a change of the primary, and logs laid beside each other are wrong by that";
    Some(Finding::advisable(&member.name, "clock", what, why).act("let chrony or systemd-timesyncd keep it"))
}

fn differing(facts: &Facts, name: &str) -> Option<Finding> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (member, server) in facts.answering() {
        values.entry(server.variables.get(name)?).or_default().push(&member.name);
    }
    if values.len() < 2 {
        return None;
    }
    let sides: Vec<String> =
        values.iter().map(|(value, names)| format!("'{value}' on {}", names.join(", "))).collect();
    let what = format!("{name} differs: {}", sides.join("; "));
    let why =
        "clients notice on which member they are: reads differ, and everything after a change of the primary";
    let finding = Finding::advisable("cluster", name, what, why);
    Some(match name {
        "lower_case_table_names" | "innodb_page_size" => {
            finding.act("it is fixed when a server is initialised: rebuild the odd one")
        }
        _ => finding.run(format!("SET PERSIST {name}=<the same everywhere>")),
    })
}

fn no_primary(facts: &Facts) -> Option<Finding> {
    let answering = facts.answering().count();
    if facts.primary().is_some() || answering < facts.members.len() || facts.members.len() < 2 {
        return None;
    }
    let what = "the members do not all replicate from one of them".into();
    let why = "Sluice takes a cluster in by itself only if it is plain who the primary is";
    Some(
        Finding::required("cluster", "topology", what, why)
            .act("point the others at the primary (CHANGE REPLICATION SOURCE TO ...), or `sluice adopt --primary NAME`"),
    )
}

fn clone_plugin(facts: &Facts) -> Vec<Finding> {
    let lacking = facts.answering().filter(|(_, server)| server.variables.get("clone_buffer_size").is_none());
    let why = "a member that can't catch up is rebuilt by CLONE, from any other one";
    lacking
        .map(|(member, server)| {
            Finding::advisable(&member.name, "clone", "the plugin clone is missing".into(), why).install(
                server,
                "clone",
                "mysql_clone",
            )
        })
        .collect()
}
