//! What a node's defaults file says.
//!
//! A node always has a real file: `--no-defaults` would make it ignore what SET PERSIST wrote. Must never say
//! anything that depends on a node's role: that is what replication setup and Sluice are for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How a node starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Boot {
    /// As a server straight from its package: writable, and a replica starts replicating at once.
    #[default]
    Stock,
    /// As Sluice wants its members: super_read_only=ON, skip_replica_start=ON, relay_log_recovery=OFF, both
    /// semi-sync sides off.
    Fenced,
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Each commit is synced: sync_binlog=1, innodb_flush_log_at_trx_commit=1.
    #[default]
    Full,
    /// A killed process loses nothing, a lost machine may: for tests that are not about durability.
    Relaxed,
}

/// Where a cluster's data lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// In /dev/shm where there is room, else on disk. A killed server loses nothing by it, starts are faster, and
    /// tests beside each other don't wait for one disk.
    #[default]
    Memory,
    /// In the folder for temporary files: for figures that include what a sync costs.
    Disk,
}

/// Whether the server resolves clients' names, and with that has a host cache that can block them (error 1129).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NameResolution {
    /// skip_name_resolve=ON.
    #[default]
    Off,
    /// MySQL's own default.
    On,
}

/// The settings of all nodes of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) boot: Boot,
    pub(crate) durability: Durability,
    pub(crate) storage: Storage,
    pub(crate) names: NameResolution,
    pub(crate) bind_address: String,
    pub(crate) max_connections: u32,
    pub(crate) extra: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            boot: Boot::default(),
            durability: Durability::default(),
            storage: Storage::default(),
            names: NameResolution::default(),
            bind_address: "127.0.0.1".into(),
            max_connections: 400,
            extra: Vec::new(),
        }
    }
}

/// One node's identity and places.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) folder: PathBuf,
    pub(crate) server_id: u32,
    pub(crate) uuid: uuid::Uuid,
    pub(crate) port: u16,
    pub(crate) admin_port: u16,
}

impl Identity {
    pub(crate) fn defaults_file(&self) -> PathBuf {
        self.folder.join("my.cnf")
    }
    pub(crate) fn datadir(&self) -> PathBuf {
        self.folder.join("data")
    }
    pub(crate) fn error_log(&self) -> PathBuf {
        self.folder.join("error.log")
    }
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }
}

/// InnoDB's shape, the same at initialisation and at every start: another redo capacity would be resized then.
pub(crate) const INNODB: &str = "\
innodb_redo_log_capacity = 64M
innodb_log_buffer_size = 4M
innodb_buffer_pool_size = 64M
innodb_buffer_pool_dump_at_shutdown = OFF
innodb_buffer_pool_load_at_startup = OFF
";

/// Small and the same for every node. Performance schema stays on (metadata locks and replication tables are
/// what Sluice reads) without the statement history and the room that costs CPU and 200 MB of memory at each start.
const COMMON: &str = "\
bind_address = {bind}
admin_address = 127.0.0.1
mysqlx = OFF
secure_file_priv = NULL
gtid_mode = ON
enforce_gtid_consistency = ON
log_bin = binlog
relay_log = relay
log_replica_updates = ON
report_host = 127.0.0.1
plugin_load_add = semisync_source.so
plugin_load_add = semisync_replica.so
plugin_load_add = mysql_clone.so
table_open_cache = 400
table_definition_cache = 400
performance_schema = ON
performance_schema_consumer_events_statements_current = OFF
performance_schema_consumer_events_statements_history = OFF
performance_schema_consumer_events_transactions_current = OFF
performance_schema_consumer_events_transactions_history = OFF
performance_schema_consumer_statements_digest = OFF
performance_schema_instrument = 'wait/lock/metadata/sql/mdl=ON'
performance_schema_max_digest_length = 0
performance_schema_digests_size = 0
performance_schema_error_size = 0
performance_schema_max_sql_text_length = 0
performance_schema_max_thread_instances = 800
performance_schema_events_waits_history_size = 0
performance_schema_events_waits_history_long_size = 0
performance_schema_events_stages_history_size = 0
performance_schema_events_stages_history_long_size = 0
performance_schema_events_statements_history_size = 0
performance_schema_events_statements_history_long_size = 0
performance_schema_events_transactions_history_size = 0
performance_schema_events_transactions_history_long_size = 0
";

impl Settings {
    /// The text of the defaults file. Later lines win, so `extra` comes last.
    pub(crate) fn defaults_file(&self, node: &Identity) -> String {
        let mut text = String::from("[mysqld]\n");
        text += &run_as();
        text += &COMMON.replace("{bind}", &self.bind_address);
        text += INNODB;
        let path = |path: &Path| path.display().to_string();
        for (name, value) in [
            ("datadir", path(&node.datadir())),
            ("socket", path(&node.socket())),
            ("pid_file", path(&node.folder.join("pid"))),
            ("log_error", path(&node.error_log())),
            ("tmpdir", path(&node.folder)),
            ("server_id", node.server_id.to_string()),
            ("port", node.port.to_string()),
            ("report_port", node.port.to_string()),
            ("admin_port", node.admin_port.to_string()),
            ("max_connections", self.max_connections.to_string()),
        ] {
            let _ = writeln!(text, "{name} = {value}");
        }
        text += match self.boot {
            Boot::Stock => "",
            Boot::Fenced => {
                "super_read_only = ON\nskip_replica_start = ON\nrelay_log_recovery = OFF\n\
                 rpl_semi_sync_source_enabled = OFF\nrpl_semi_sync_replica_enabled = OFF\n"
            }
        };
        text += match self.durability {
            Durability::Full => "sync_binlog = 1\ninnodb_flush_log_at_trx_commit = 1\n",
            Durability::Relaxed => {
                "sync_binlog = 0\ninnodb_flush_log_at_trx_commit = 2\ninnodb_doublewrite = OFF\n"
            }
        };
        text += match self.names {
            NameResolution::Off => "skip_name_resolve = ON\n",
            NameResolution::On => "", // said OFF, the host cache would stay inactive all the same
        };
        for line in &self.extra {
            text += line;
            text.push('\n');
        }
        text
    }
}

/// mysqld refuses to run as root unless it is told so.
pub(crate) fn run_as() -> String {
    if rustix::process::geteuid().is_root() { "user = root\n".into() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(settings: &Settings) -> String {
        let folder = PathBuf::from("/t/n1");
        settings.defaults_file(&Identity {
            folder,
            server_id: 1,
            uuid: uuid::Uuid::nil(),
            port: 7,
            admin_port: 8,
        })
    }

    #[test]
    fn settings_end_up_as_lines_and_extra_lines_win() {
        let stock = text(&Settings::default());
        assert!(stock.contains("\nskip_name_resolve = ON\n") && stock.contains("\nsync_binlog = 1\n"));
        assert!(!stock.contains("super_read_only"));
        let other = text(&Settings {
            boot: Boot::Fenced,
            durability: Durability::Relaxed,
            names: NameResolution::On,
            extra: vec!["max_connect_errors=5".into()],
            ..Settings::default()
        });
        assert!(other.contains("\nsuper_read_only = ON\n") && !other.contains("skip_name_resolve"));
        assert!(other.ends_with("\nmax_connect_errors=5\n"));
    }
}
