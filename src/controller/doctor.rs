//! What the servers lack: findings from facts, each with what is wrong, why it matters and what mends it.
//!
//! `ask` gathers the facts, with sessions of its own; everything else here is pure.
//!
//! Never here: a statement that changes anything, a finding without a remedy.

mod accounts;
mod ask;
mod data;
mod facts;
mod members;
#[cfg(test)]
mod patients;
mod replication;
mod semi_sync;
mod settings;

use serde::{Deserialize, Serialize};

pub use ask::{Logins, ask};
pub use facts::{Channel, Facts, Member, Server, Variables, Wanted};

/// Everything that was found, the most pressing first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Report {
    /// Names of the members that were examined.
    pub examined: Vec<String>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing that is required is missing.
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Required)
    }
}

/// One thing that is missing or wrong.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Finding {
    /// The instance, or `cluster`.
    pub instance: String,
    /// For programs: the setting's name, or a word for the state.
    pub check: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is.
    pub what: String,
    /// Why it should be otherwise.
    pub why: String,
    /// What mends it, in this order.
    pub remedies: Vec<Remedy>,
    /// A running Sluice that has adopted the cluster does it by itself.
    pub by_sluice: bool,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Without it, one of Sluice's promises does not hold, or Sluice can't work.
    Required,
    /// Without it, something is slower or harder than it has to be.
    Advisable,
}

/// What mends a finding.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// A statement to run on that instance.
    Statement(String),
    /// A line of its `my.cnf`, and a restart.
    MyCnf(String),
    /// A restart of the server.
    Restart,
    /// Something else to do.
    Do(String),
}

impl Finding {
    fn new(instance: &str, check: &str, severity: Severity, what: String, why: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            check: check.to_owned(),
            severity,
            what,
            why: why.to_owned(),
            remedies: Vec::new(),
            by_sluice: false,
        }
    }

    fn required(instance: &str, check: &str, what: String, why: &str) -> Self {
        Self::new(instance, check, Severity::Required, what, why)
    }

    fn advisable(instance: &str, check: &str, what: String, why: &str) -> Self {
        Self::new(instance, check, Severity::Advisable, what, why)
    }

    fn run(mut self, statement: impl Into<String>) -> Self {
        self.remedies.push(Remedy::Statement(statement.into()));
        self
    }

    /// A fenced server refuses to install anything; without `super_read_only` it is still read-only for applications.
    fn install(self, server: &Server, plugin: &str, library: &str) -> Self {
        let install = format!("INSTALL PLUGIN {plugin} SONAME '{library}.so'");
        if server.variables.is_on("super_read_only") {
            return self
                .run("SET GLOBAL super_read_only=OFF")
                .run(install)
                .run("SET GLOBAL super_read_only=ON");
        }
        self.run(install)
    }

    fn my_cnf(mut self, line: impl Into<String>) -> Self {
        self.remedies.push(Remedy::MyCnf(line.into()));
        self
    }

    fn restart(mut self) -> Self {
        self.remedies.push(Remedy::Restart);
        self
    }

    fn act(mut self, what: impl Into<String>) -> Self {
        self.remedies.push(Remedy::Do(what.into()));
        self
    }

    fn by_sluice(mut self) -> Self {
        self.by_sluice = true;
        self
    }
}

/// Examines.
pub fn examine(facts: &Facts) -> Report {
    let mut findings = members::findings(facts);
    for (member, server) in facts.answering() {
        findings.extend(settings::findings(member, server, facts));
        findings.extend(semi_sync::findings(member, server, facts));
        findings.extend(replication::findings(member, server, facts));
        findings.extend(accounts::findings(member, server, facts));
        findings.extend(data::findings(member, server, facts));
    }
    // Stable: within a severity they stay by member.
    findings.sort_by_key(|finding| finding.severity);
    Report { examined: facts.members.iter().map(|member| member.name.clone()).collect(), findings }
}

#[cfg(test)]
mod tests;
