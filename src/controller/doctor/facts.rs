//! What the members say of themselves.
//!
//! Never here: a connection, an opinion.

use std::collections::BTreeMap;

use crate::config::WithoutAcker;

/// All members and what the configuration wants of them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// In the order of the configuration.
    pub members: Vec<Member>,
    /// What the configuration says.
    pub wanted: Wanted,
}

/// What the configuration says that servers have to go with.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Acknowledgements a commit needs; 0: semi-sync is no part of this cluster.
    pub wait_count: u16,
    /// `[durability] without_acker`
    pub without_acker: WithoutAcker,
    /// `[sessions] max_backend`
    pub max_backend: usize,
    /// User of the control account.
    pub control: String,
    /// User of the replication account.
    pub replication: String,
    /// User of the account for CLONE, if it has one of its own.
    pub clone: Option<String>,
}

/// One instance of the configuration.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `host:port`
    pub address: String,
    /// Whether its acknowledgement may count.
    pub acker: bool,
    /// How a login at its admin port went; `None`: the configuration has no such address.
    pub admin: Option<Result<(), String>>,
    /// What it said, or why it said nothing.
    pub server: Result<Server, String>,
    /// Lines of SHOW GRANTS of the replication account, or why it can't log in.
    pub replication: Result<Vec<String>, String>,
    /// The same of the account for CLONE, if it has one of its own.
    pub clone: Option<Result<Vec<String>, String>>,
}

/// A server that answered.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// `@@global` variables.
    pub variables: Variables,
    /// What it has persisted for its next start.
    pub persisted: Variables,
    /// Lines of SHOW GRANTS of the control account.
    pub grants: Vec<String>,
    /// Its replication channels.
    pub channels: Vec<Channel>,
    /// Its replication filters.
    pub filters: Vec<String>,
    /// Its clock less ours, milliseconds, as far as the round trip does not explain it.
    pub skew_ms: i64,
    /// Tables without a primary key, as `schema/table`; only asked of a server that replicates from nobody.
    pub keyless: Vec<String>,
    /// Tables of other engines than InnoDB, as far as the control account sees them.
    pub foreign: Vec<String>,
    /// Scheduled events that are disabled there as on a replica.
    pub resting: Vec<String>,
}

/// A replication channel.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// Its name; empty is the default one.
    pub name: String,
    /// `server_uuid` of the source that was last connected to.
    pub source: String,
    /// `SERVICE_STATE` of the receiver.
    pub receiver: String,
    /// Its last error.
    pub receiver_error: String,
    /// `SERVICE_STATE` of the applier.
    pub applier: String,
    /// Its last error.
    pub applier_error: String,
    /// `SOURCE_AUTO_POSITION`
    pub auto_position: bool,
    /// Heartbeat, seconds.
    pub heartbeat: f64,
    /// `SOURCE_DELAY`, seconds.
    pub delay: u64,
}

/// Variables by the names of the newest servers, each with the name that this server knows.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, (String, String)>);

impl Variables {
    /// Notes a variable under the name of the newest servers. Servers that know both names say the same under both.
    pub fn note(&mut self, name: &str, value: &str) {
        let name = name.to_lowercase();
        let canonical = name.replace("master", "source").replace("slave", "replica");
        if canonical == name || !self.0.contains_key(&canonical) {
            self.0.insert(canonical, (name, value.to_owned()));
        }
    }

    /// Its value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(_, value)| value.as_str())
    }

    /// Whether it is on; a variable that is not there is not.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "1" | "ON" | "YES"))
    }

    /// Its value as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The name that this server knows.
    pub fn name<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, |(own, _)| own)
    }
}

impl Facts {
    /// Members that answered, with what they said.
    pub fn answering(&self) -> impl Iterator<Item = (&Member, &Server)> {
        self.members.iter().filter_map(|member| Some((member, member.server.as_ref().ok()?)))
    }

    /// The primary, as far as it is plain: the only one that replicates from nobody and that others replicate from,
    /// or the only server there is.
    pub fn primary(&self) -> Option<(&Member, &Server)> {
        let followed = |server: &Server| {
            self.answering().any(|(_, other)| other.source().is_some_and(|source| source == server.uuid()))
        };
        let mut sources = self
            .answering()
            .filter(|(_, server)| server.source().is_none() && (self.members.len() == 1 || followed(server)));
        sources.next().filter(|_| sources.next().is_none())
    }

    /// Whether this server is the primary, as far as it is plain.
    pub fn is_primary(&self, server: &Server) -> bool {
        self.primary().is_some_and(|(_, primary)| primary.uuid() == server.uuid())
    }
}

impl Server {
    /// `server_uuid`
    pub fn uuid(&self) -> &str {
        self.variables.get("server_uuid").unwrap_or_default()
    }

    /// `version`
    pub fn version(&self) -> &str {
        self.variables.get("version").unwrap_or_default()
    }

    /// The source of its default channel.
    pub fn source(&self) -> Option<&str> {
        self.channels.iter().find(|channel| channel.name.is_empty()).map(|channel| channel.source.as_str())
    }

    /// Whether both semi-sync plugins are there.
    pub fn has_semi_sync(&self) -> bool {
        let there = |name| self.variables.get(name).is_some();
        there("rpl_semi_sync_source_enabled") && there("rpl_semi_sync_replica_enabled")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_found_under_new_ones_and_kept_for_the_remedy() {
        let mut variables = Variables::default();
        variables.note("log_slave_updates", "OFF");
        variables.note("replica_net_timeout", "4");
        variables.note("slave_net_timeout", "4");
        assert_eq!(variables.get("log_replica_updates"), Some("OFF"));
        assert_eq!(variables.name("log_replica_updates"), "log_slave_updates");
        assert_eq!(variables.name("replica_net_timeout"), "replica_net_timeout");
        assert_eq!(variables.number("replica_net_timeout"), Some(4));
    }
}
