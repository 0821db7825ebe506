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
    if server.events > 0 {
        let what = format!("{} events have run there since its start", server.events);
        let why = "an event runs where it was enabled: replicas have it as disabled, and a change of the primary does not \
                   change that; on the former primary it goes on, and its writes fail";
        findings.push(
            Finding::advisable(&member.name, "events", what, why)
                .act("let applications or cron do it through Sluice; or, after each change of the primary, ALTER EVENT ... \
                      ENABLE on the new one and ALTER EVENT ... DISABLE ON REPLICA on the former one (with sql_log_bin=0)"),
        );
    }
    findings
}

fn list(names: &[String]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(|name| name.replace('/', ".")).collect();
    let more = names.len().saturating_sub(NAMED);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}
