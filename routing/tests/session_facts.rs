//! Pins begin with their cause and end with it, and only with it.
#![allow(clippy::unwrap_used, missing_docs)]

use sluice_protocol::StatusFlags;
use sluice_routing::lexer::{ClientCharset, DoubleQuotes, Strings};
use sluice_routing::session_facts::LastRoute;
use sluice_routing::{InstanceId, LexMode, Outcome, PinReason, Route, SessionFacts, classify};

/// A session that ran these statements, each answered OK outside a transaction.
fn after(statements: &[&str]) -> SessionFacts {
    let mut facts = SessionFacts::default();
    for sql in statements {
        run(&mut facts, sql, Outcome::Done);
    }
    facts
}

fn run(facts: &mut SessionFacts, sql: &str, outcome: Outcome) {
    let statement = classify(sql.as_bytes(), facts.mode());
    facts.observe_statement(&statement, outcome);
}

fn pins(statements: &[&str]) -> Vec<PinReason> {
    after(statements).pins().collect()
}

#[test]
fn a_fresh_session_is_free() {
    let facts = SessionFacts::default();
    assert!(facts.autocommit() && !facts.in_transaction() && !facts.unit_open() && !facts.needs_reset());
}

#[test]
fn pins_end_with_their_cause() {
    let pairs = [
        ("CREATE TEMPORARY TABLE a (b INT)", "DROP TABLE a", PinReason::TemporaryTable),
        ("CREATE TEMPORARY TABLE s.a (b INT)", "DROP TEMPORARY TABLE `s`.`a`", PinReason::TemporaryTable),
        ("SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('A')", PinReason::NamedLock),
        ("SELECT GET_LOCK(?, 1)", "SELECT RELEASE_ALL_LOCKS()", PinReason::NamedLock),
        ("LOCK TABLES a READ", "UNLOCK TABLES", PinReason::TableLocks),
        ("LOCK TABLES a READ", "START TRANSACTION", PinReason::TableLocks),
        ("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES", PinReason::GlobalReadLock),
        ("LOCK INSTANCE FOR BACKUP", "UNLOCK INSTANCE", PinReason::InstanceLock),
        ("HANDLER a OPEN AS h", "HANDLER h CLOSE", PinReason::Handler),
        ("XA START 'x'", "XA COMMIT 'x'", PinReason::Xa),
        ("PREPARE s FROM 'SELECT 1'", "DEALLOCATE PREPARE S", PinReason::TextStatement),
        ("SET TRANSACTION READ ONLY", "COMMIT", PinReason::NextTransaction),
    ];
    for (begin, end, reason) in pairs {
        assert_eq!(pins(&[begin]), [reason], "{begin}");
        assert_eq!(pins(&[begin, end]), [], "{begin}; {end}");
        let mut facts = after(&[begin]);
        run(&mut facts, end, Outcome::Failed);
        assert_eq!(facts.pin(), Some(reason), "{end} failed");
        facts.observe_reset();
        assert_eq!(facts.pin(), None);
    }
}

#[test]
fn what_cannot_be_counted_lasts_until_a_reset() {
    let lasting: [&[&str]; 9] = [
        &["CREATE TEMPORARY TABLE a (b INT)", "CREATE TEMPORARY TABLE c (b INT)", "DROP TABLE a"],
        &["CREATE TEMPORARY TABLE a (b INT)", "USE other", "DROP TABLE a"],
        &["CREATE TEMPORARY TABLE a (b INT)", "ALTER TABLE a RENAME TO c", "DROP TABLE a"],
        &["CREATE TEMPORARY TABLE `a.b` (b INT)", "DROP TABLE `a.b`"],
        &["SELECT GET_LOCK('a', 1)", "SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('a')"],
        &["SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('a') FROM t"],
        &["SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('b')"],
        &["SELECT @x := 1", "SET @x = 1"],
        &["SELECT 1; CREATE TEMPORARY TABLE a (b INT)", "DROP TABLE c", "SELECT 1; DROP TABLE a"],
    ];
    for statements in lasting {
        let mut facts = after(statements);
        assert!(facts.unit_open(), "{statements:?}");
        facts.observe_reset();
        assert!(!facts.unit_open());
    }
}

#[test]
fn many_names_stay_bounded_and_pinned() {
    let mut facts = SessionFacts::default();
    for n in 0..1000 {
        run(&mut facts, &format!("CREATE TEMPORARY TABLE t{n} (a INT)"), Outcome::Done);
        run(&mut facts, &format!("SET @v{n} = {n}"), Outcome::Done);
    }
    for n in 0..1000 {
        run(&mut facts, &format!("DROP TABLE t{n}"), Outcome::Done);
    }
    assert_eq!(facts.pins().collect::<Vec<_>>(), [PinReason::TemporaryTable, PinReason::UserVariable]);
    assert!(facts.user_variables().len() < 100);
}

#[test]
fn the_transaction_is_the_servers_word() {
    let mut facts = after(&["BEGIN"]);
    assert_eq!(facts.pin(), None);
    facts.observe_status(StatusFlags::AUTOCOMMIT | StatusFlags::IN_TRANS | StatusFlags::IN_TRANS_READONLY);
    assert!(facts.in_transaction() && facts.in_read_only_transaction());
    assert_eq!(facts.pin(), Some(PinReason::OpenTransaction));
    facts.observe_status(StatusFlags::empty());
    assert!(!facts.autocommit() && !facts.in_transaction());
}

#[test]
fn literals_are_kept_for_replaying() {
    let facts = after(&["SET @x = 5", "SET @y = 'a', @X = 6"]);
    let kept: Vec<_> = facts.user_variables().iter().map(|a| (&*a.name, &*a.literal)).collect();
    assert_eq!(kept, [(&b"@y"[..], &b"'a'"[..]), (b"@X", b"6")]);
    assert_eq!(facts.pin(), None);
}

#[test]
fn a_text_literal_does_not_survive_another_character_set() {
    assert_eq!(pins(&["SET @x = 5", "SET NAMES latin1"]), []);
    assert_eq!(pins(&["SET @x = 'a'", "SET NAMES latin1"]), [PinReason::UserVariable]);
}

#[test]
fn a_failed_list_of_assignments_pins() {
    let mut facts = SessionFacts::default();
    run(&mut facts, "SET @x = 5, wait_timeout = 'a'", Outcome::Failed);
    assert_eq!(facts.pin(), Some(PinReason::UserVariable));
}

#[test]
fn what_failed_as_a_whole_does_not_pin() {
    for sql in ["CREATE TEMPORARY TABLE a (b INT)", "PREPARE s FROM 'SELECT 1'"] {
        let mut facts = SessionFacts::default();
        run(&mut facts, sql, Outcome::Failed);
        assert_eq!(facts.pin(), None, "{sql}");
        run(&mut facts, &format!("{sql}; SELECT 1"), Outcome::Failed);
        assert!(facts.pin().is_some(), "{sql}: it may have been the other one that failed");
    }
    let mut facts = SessionFacts::default();
    run(&mut facts, "SELECT GET_LOCK('a', 1), (SELECT b FROM c)", Outcome::Failed);
    assert_eq!(facts.pin(), Some(PinReason::NamedLock), "the lock may have been taken before");
}

#[test]
fn a_savepoint_waits_for_its_transaction() {
    let mut facts = SessionFacts::default();
    run(&mut facts, "SAVEPOINT a", Outcome::Done);
    assert_eq!(facts.pin(), None, "with autocommit it does nothing");
    for ends in [Some(StatusFlags::IN_TRANS), None] {
        facts.observe_status(StatusFlags::empty());
        run(&mut facts, "SAVEPOINT a", Outcome::Done);
        run(&mut facts, "ROLLBACK TO a", Outcome::Done);
        assert_eq!(facts.pin(), Some(PinReason::Savepoint));
        if let Some(open) = ends {
            facts.observe_status(open);
            run(&mut facts, "SELECT 1", Outcome::Done);
            assert_eq!(facts.pins().collect::<Vec<_>>(), [PinReason::OpenTransaction]);
            facts.observe_status(StatusFlags::empty());
        }
        run(&mut facts, "ROLLBACK", Outcome::Done);
        assert_eq!(facts.pin(), None);
    }
}

#[test]
fn roles_are_kept_for_replaying() {
    let facts = after(&["SET ROLE 'app'"]);
    assert_eq!(facts.role(), Some(&b"SET ROLE 'app'"[..]));
    assert_eq!(facts.pin(), None);
}

#[test]
fn hidden_code_wants_a_reset_and_pins_when_the_server_reports_state() {
    let mut facts = after(&["CALL p()"]);
    assert!(facts.needs_reset() && !facts.unit_open());
    facts.observe_state_change();
    run(&mut facts, "CALL p()", Outcome::Done);
    assert_eq!(facts.pin(), Some(PinReason::Unprovable));
    let mut facts = SessionFacts::default();
    run(&mut facts, "INSERT INTO t VALUES (1)", Outcome::Done);
    assert_eq!(facts.pin(), None);
    facts.observe_state_change();
    run(&mut facts, "INSERT INTO t VALUES (1)", Outcome::Done);
    assert_eq!(facts.pin(), Some(PinReason::Unprovable), "a trigger");
    let mut facts = SessionFacts::default();
    facts.observe_state_change();
    run(&mut facts, "SET sql_mode = ''", Outcome::Done);
    run(&mut facts, "CALL p()", Outcome::Done);
    assert_eq!(facts.pin(), None, "the state change was that of SET");
}

#[test]
fn trackers_set_how_text_is_read() {
    let mut facts = SessionFacts::default();
    facts.observe_variable(b"sql_mode", b"ANSI_QUOTES,NO_BACKSLASH_ESCAPES");
    assert_eq!(facts.mode().double_quotes, DoubleQuotes::Identifier);
    assert_eq!(facts.mode().strings, Strings::BackslashIsPlain);
    facts.observe_status(StatusFlags::AUTOCOMMIT | StatusFlags::NO_BACKSLASH_ESCAPES);
    assert_eq!(facts.mode().strings, Strings::BackslashIsPlain);
    facts.observe_variable(b"character_set_client", b"gbk");
    assert_eq!(facts.mode().charset, ClientCharset::TrailBytes);
    facts.observe_variable(b"character_set_client", b"utf8mb4");
    assert_eq!(facts.mode().charset, ClientCharset::Plain);
}

#[test]
fn a_reset_returns_to_how_the_server_reads() {
    let ansi = LexMode::default().with_sql_mode(b"ANSI_QUOTES");
    let mut facts = SessionFacts::new(ansi);
    assert_eq!(facts.mode(), ansi);
    facts.observe_variable(b"sql_mode", b"");
    assert_eq!(facts.mode(), LexMode::default());
    facts.observe_reset();
    assert_eq!(facts.mode(), ansi);
}

#[test]
fn schemas_of_the_server_are_known() {
    let mut facts = SessionFacts::default();
    facts.observe_schema(b"Performance_Schema");
    assert!(facts.in_server_schema());
    facts.observe_schema(b"shop");
    assert!(!facts.in_server_schema());
}

#[test]
fn cursors_and_long_data_pin_by_statement_id() {
    let mut facts = SessionFacts::default();
    let (one, two) = (Box::from(&b"1"[..]), Box::from(&b"2"[..]));
    facts.hold(PinReason::OpenCursor, Some(Box::clone(&one)));
    facts.hold(PinReason::OpenCursor, Some(Box::clone(&one)));
    facts.hold(PinReason::OpenCursor, Some(Box::clone(&two)));
    facts.release(PinReason::OpenCursor, Some(&one));
    assert_eq!(facts.pin(), Some(PinReason::OpenCursor));
    facts.release(PinReason::OpenCursor, Some(&two));
    assert_eq!(facts.pin(), None);
}

#[test]
fn the_last_route_is_remembered() {
    let mut facts = SessionFacts::default();
    let id = InstanceId(2);
    facts.observe_route(&Route::Replica(id, sluice_routing::decide::ReplicaReason::Chosen));
    assert_eq!(facts.last(), LastRoute::Replica(id));
    facts.observe_route(&Route::Primary(sluice_routing::decide::PrimaryReason::Statement));
    assert_eq!(facts.last(), LastRoute::Primary);
}
