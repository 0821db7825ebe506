#![allow(clippy::unwrap_used)]
use super::*;

const SOURCE: Source<'_> =
    Source { host: "10.0.0.2", port: 3306, user: "repl", password: Cow::Borrowed("it's"), tls: true };

#[test]
fn versions_have_a_grammar() {
    for (version, grammar) in [
        ("8.0.17", Grammar::Master),
        ("8.0.25-debug", Grammar::Master),
        ("8.0.26", Grammar::Source),
        ("8.4.3-0ubuntu1", Grammar::Source),
        ("9.7.4-2", Grammar::Source),
        ("strange", Grammar::Source),
    ] {
        assert_eq!(Grammar::of_version(version), grammar, "{version}");
    }
}

#[test]
fn literals_are_quoted() {
    assert_eq!(quoted(r"a'b\c"), r"'a''b\\c'");
}

#[test]
fn current_grammar_is_as_measured() {
    let g = Grammar::Source;
    assert_eq!(
        g.follow(&SOURCE, First::Yes),
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='10.0.0.2', SOURCE_PORT=3306, SOURCE_USER='repl', \
         SOURCE_PASSWORD='it''s', SOURCE_SSL=1, GET_SOURCE_PUBLIC_KEY=1, \
         SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, SOURCE_HEARTBEAT_PERIOD=2, SOURCE_AUTO_POSITION=1"
    );
    assert!(!g.follow(&SOURCE, First::No).contains("AUTO_POSITION"));
    assert_eq!(g.stop_receiver(), "STOP REPLICA IO_THREAD");
    assert_eq!(g.start_applier(), "START REPLICA SQL_THREAD");
    assert_eq!(g.reset_replica_all(), "RESET REPLICA ALL");
    assert_eq!(g.set_acking(true), "SET GLOBAL rpl_semi_sync_replica_enabled=1");
    assert_eq!(g.net_timeout(), "SET GLOBAL replica_net_timeout=4");
    assert_eq!(
        g.set_waiting_on(1, true),
        "SET GLOBAL rpl_semi_sync_source_timeout=4294967295, \
         GLOBAL rpl_semi_sync_source_wait_point=AFTER_SYNC, \
         GLOBAL rpl_semi_sync_source_wait_for_replica_count=1, \
         GLOBAL rpl_semi_sync_source_wait_no_replica=1, GLOBAL rpl_semi_sync_source_enabled=1"
    );
}

#[test]
fn old_grammar_says_master_and_slave() {
    let g = Grammar::Master;
    assert_eq!(
        g.follow(&SOURCE, First::Yes),
        "CHANGE MASTER TO MASTER_HOST='10.0.0.2', MASTER_PORT=3306, MASTER_USER='repl', \
         MASTER_PASSWORD='it''s', MASTER_SSL=1, GET_MASTER_PUBLIC_KEY=1, \
         MASTER_CONNECT_RETRY=1, MASTER_RETRY_COUNT=86400, MASTER_HEARTBEAT_PERIOD=2, MASTER_AUTO_POSITION=1"
    );
    assert_eq!(g.start_receiver(), "START SLAVE IO_THREAD");
    assert_eq!(g.stop_applier(), "STOP SLAVE SQL_THREAD");
    assert_eq!(g.heartbeat(), "CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD=2");
    assert_eq!(g.set_waiting_off(), "SET GLOBAL rpl_semi_sync_master_enabled=0");
    assert_eq!(g.net_timeout(), "SET GLOBAL slave_net_timeout=4");
    assert!(g.set_waiting_on(2, false).contains("rpl_semi_sync_master_wait_for_slave_count=2"));
    assert!(g.set_waiting_on(2, false).contains("rpl_semi_sync_master_wait_no_slave=0"));
    assert!(g.waiting_state().contains("Rpl_semi_sync_master_clients"));
}
