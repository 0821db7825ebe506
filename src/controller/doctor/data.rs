//! What lies in the tables, as far as it matters for replication.
//!
//! Never here: a client's data.

use super::{Facts, Finding, Member, Server};

/// Names that a finding lists; the rest is counted.
const NAMED: usize = 10;

pub(super) fn findings(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !facts.is_primary(server) {
        return findings;
    }
    if !server.keyless.is_empty() {
        let what = format!("tables without a primary key: {}", list(&server.keyless));
        let why = "a replica reads the whole table for each changed row: one large UPDATE makes it lag for hours, and a \
                   failover waits for it";
        findings.push(
            Finding::advisable(&member.name, "primary_key", what, why)
                .run("ALTER TABLE ... ADD COLUMN my_row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY FIRST")
                .run("SET PERSIST sql_generate_invisible_primary_key=ON"),
        );
    }
    if !server.foreign.is_empty() {
        let what = format!("tables of other engines than InnoDB: {}", list(&server.foreign));
        let why = "they know no transactions: what a client was told to be rolled back stays, and after a crash primary \
                   and replicas differ";
        findings.push(
            Finding::advisable(&member.name, "engine", what, why)
                .run("ALTER TABLE ... ENGINE=InnoDB")
                .my_cnf("disabled_storage_engines=MyISAM,CSV,ARCHIVE,BLACKHOLE,FEDERATED"),
        );
    }
    if !server.resting.is_empty() {
        let what = format!("scheduled events that the primary does not run: {}", list(&server.resting));
        let why = "they are disabled there as on a replica, as after a change of the primary that nobody moved them with; sluice                    moves those with the role that run at the former primary";
        findings.push(
            Finding::advisable(&member.name, "events", what, why)
                .run("ALTER DEFINER=... EVENT ... ENABLE")
                .act("or ALTER EVENT ... DISABLE, if it is not to run"),
        );
    }
    findings
}

fn list(names: &[String]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(|name| name.replace('/', ".")).collect();
    let more = names.len().saturating_sub(NAMED);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}
