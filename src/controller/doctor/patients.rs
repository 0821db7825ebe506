//! Facts for the unit tests: three members that lack nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::facts::{Channel, Facts, Member, Server, Variables, Wanted};
use crate::config::WithoutAcker;
use crate::controller::grants::{Which, needs};
use crate::controller::view::BOOT;

/// What a member says that lacks nothing, beside what depends on its role.
const SETTINGS: [(&str, &str); 26] = [
    ("version", "9.7.4"),
    ("log_bin", "ON"),
    ("log_replica_updates", "ON"),
    ("gtid_mode", "ON"),
    ("enforce_gtid_consistency", "ON"),
    ("binlog_format", "ROW"),
    ("sync_binlog", "1"),
    ("innodb_flush_log_at_trx_commit", "1"),
    ("innodb_doublewrite", "ON"),
    ("sync_relay_log", "1"),
    ("performance_schema", "ON"),
    ("persisted_globals_load", "ON"),
    ("offline_mode", "OFF"),
    ("max_connections", "400"),
    ("max_user_connections", "0"),
    ("binlog_expire_logs_seconds", "2592000"),
    ("binlog_expire_logs_auto_purge", "ON"),
    ("skip_name_resolve", "ON"),
    ("replica_net_timeout", "4"),
    ("relay_log_recovery", "OFF"),
    ("replica_parallel_workers", "4"),
    ("replica_preserve_commit_order", "ON"),
    ("clone_buffer_size", "4194304"),
    ("rpl_semi_sync_source_timeout", "4294967295"),
    ("rpl_semi_sync_source_wait_point", "AFTER_SYNC"),
    ("rpl_semi_sync_source_wait_for_replica_count", "1"),
];

fn lines(which: Which) -> Vec<String> {
    needs(which).map(|need| format!("GRANT {} ON {} TO `x`@`%`", need.privilege, need.on)).collect()
}

fn member(number: u32) -> Member {
    let mut variables = Variables::default();
    SETTINGS.iter().for_each(|(name, value)| variables.note(name, value));
    let is_primary = number == 1;
    let switch = |on: bool| if on { "ON" } else { "OFF" };
    variables.note("server_uuid", &format!("uuid-{number}"));
    variables.note("server_id", &number.to_string());
    variables.note("super_read_only", switch(!is_primary));
    variables.note("rpl_semi_sync_source_enabled", switch(is_primary));
    variables.note("rpl_semi_sync_source_wait_no_replica", "ON");
    variables.note("rpl_semi_sync_replica_enabled", switch(!is_primary));
    let mut persisted = Variables::default();
    BOOT.iter().for_each(|(name, wanted)| persisted.note(name, switch(wanted.is_on())));
    let channel = Channel {
        source: "uuid-1".into(),
        receiver: "ON".into(),
        applier: "ON".into(),
        auto_position: true,
        heartbeat: 2.0,
        ..Channel::default()
    };
    let server = Server {
        variables,
        persisted,
        grants: lines(Which::Control),
        channels: if is_primary { Vec::new() } else { vec![channel] },
        ..Server::default()
    };
    Member {
        name: format!("db{number}"),
        address: format!("h{number}:3306"),
        acker: true,
        admin: Some(Ok(())),
        server: Ok(server),
        replication: Ok(lines(Which::Replication)),
        clone: None,
    }
}

/// Three members that lack nothing; db1 is the primary.
pub(super) fn healthy() -> Facts {
    Facts {
        members: (1..=3).map(member).collect(),
        wanted: Wanted {
            wait_count: 1,
            without_acker: WithoutAcker::Stall,
            max_backend: 200,
            control: "sluice".into(),
            replication: "repl".into(),
            clone: None,
        },
    }
}

/// Changes what a server says.
pub(super) fn spoil(facts: &mut Facts, number: usize, change: impl FnOnce(&mut Server)) {
    change(facts.members.get_mut(number - 1).unwrap().server.as_mut().unwrap());
}
