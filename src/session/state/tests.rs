#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use super::difference::variable_literal;
use super::*;
use crate::backend::LoginCharset;

fn statement(text: &str) -> Restore {
    Restore::Settings(text.as_bytes().to_vec())
}

fn role(text: &str) -> Restore {
    Restore::Role(text.as_bytes().to_vec())
}

fn steps(has: &SessionState, want: &SessionState) -> Option<Vec<Restore>> {
    let charset = LoginCharset {
        client: (*b"latin1").into(),
        connection: (*b"latin1").into(),
        results: (*b"latin1").into(),
        collation: (*b"latin1_bin").into(),
    };
    let login = LoginState { charset: &charset, role: b"NONE", multi_statements: false };
    let found = difference(has.settings(), want.settings(), login).map(|difference| difference.steps);
    let between = distance(has.settings(), want.settings());
    assert_eq!(between.is_none(), found.is_none());
    assert_eq!(between == Some(0), found.as_ref().is_some_and(Vec::is_empty), "{between:?} {found:?}");
    found
}

fn fresh() -> SessionState {
    SessionState::default()
}

fn with(change: impl Fn(&mut SessionState)) -> SessionState {
    let mut state = fresh();
    change(&mut state);
    state
}

#[test]
fn what_differs_is_sent_and_nothing_else() {
    let mut state = SessionState::after_login(Some(b"app".to_vec()));
    assert_eq!(steps(&fresh(), &state), Some(vec![Restore::Schema((*b"app").into())]));
    let before = state.clone();
    state.set_variable("sql_mode", b"ANSI_QUOTES").unwrap();
    state.set_variable("group_concat_max_len", b"4096").unwrap();
    state.set_user_variable(b"@x", b"'it''s'").unwrap();
    let expected = vec![
        statement("SET sql_mode='ANSI_QUOTES',group_concat_max_len=4096"),
        statement("SET @`x`='it''s'"),
    ];
    assert_eq!(steps(&before, &state), Some(expected));
    let same = Arc::clone(state.settings());
    state.set_variable("sql_mode", b"ANSI_QUOTES").unwrap();
    state.set_user_variable(b"@`X`", b"'it''s'").unwrap();
    assert!(Arc::ptr_eq(&same, state.settings()), "the same value again is no change");
}

#[test]
fn what_the_other_session_has_is_taken_back() {
    let other = with(|state| {
        state.set_variable("sql_mode", b"").unwrap();
        state.set_variable("foreign_key_checks", b"OFF").unwrap();
        state.set_user_variable(b"@a", b"1").unwrap();
        state.set_user_variable(b"@b", b"2").unwrap();
        state.set_role(b"SET ROLE r");
        state.set_multi_statements(true);
    });
    let mine = with(|state| state.set_user_variable(b"@B", b"3").unwrap());
    let expected = vec![
        Restore::MultiStatements(false),
        // The text of a role is read under the mode of its own session.
        statement("SET sql_mode=DEFAULT"),
        role("SET ROLE NONE"),
        statement("SET foreign_key_checks=@@global.foreign_key_checks"),
        statement("SET @`a`=NULL,@`b`=3"),
    ];
    assert_eq!(steps(&other, &mine), Some(expected));
}

#[test]
fn no_schema_can_be_had_only_on_a_connection_without_one() {
    let with_schema = SessionState::after_login(Some(b"app".to_vec()));
    assert_eq!(steps(&with_schema, &fresh()), None);
    let mut dropped = with_schema;
    dropped.set_schema(b"");
    assert_eq!(steps(&dropped, &fresh()), Some(vec![]));
}

#[test]
fn character_sets_go_together() {
    let utf8 = with(|state| state.set_variable("character_set_connection", b"utf8mb4").unwrap());
    let set = "SET NAMES 'latin1' COLLATE 'latin1_bin',character_set_connection='utf8mb4'";
    assert_eq!(steps(&fresh(), &utf8), Some(vec![statement(set)]));
    let back = "SET NAMES 'latin1' COLLATE 'latin1_bin'";
    assert_eq!(steps(&utf8, &fresh()), Some(vec![statement(back)]));
    let names = with(|state| {
        for name in ["character_set_client", "character_set_connection", "character_set_results"] {
            state.set_variable(name, b"utf8mb4").unwrap();
        }
        state.set_names();
    });
    assert_eq!(steps(&utf8, &names), Some(vec![statement("SET NAMES 'utf8mb4'")]));
    let mut binary = names.clone();
    binary.set_collation(Some(b"utf8mb4_bin"));
    let set = "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'";
    assert_eq!(steps(&names, &binary), Some(vec![statement(set)]));
    assert_eq!(steps(&binary, &names), Some(vec![statement("SET NAMES 'utf8mb4'")]));
    let mut apart = binary.clone();
    apart.set_variable("character_set_results", b"utf8mb4").unwrap();
    let set = "SET NAMES 'latin1' COLLATE 'latin1_bin',character_set_client='utf8mb4',\
               character_set_connection='utf8mb4',character_set_results='utf8mb4',\
               collation_connection='utf8mb4_bin'";
    let all_set = set.replace("NAMES 'latin1' COLLATE 'latin1_bin',", "");
    assert_eq!(steps(&binary, &apart), Some(vec![statement(&all_set)]));
}

#[test]
fn a_reset_leaves_schema_role_and_the_servers_charset() {
    let mut state = SessionState::after_login(Some(b"app".to_vec()));
    state.set_variable("sql_mode", b"").unwrap();
    state.set_role(b"SET ROLE r");
    state.set_last_insert_id(7);
    state.reset();
    assert_eq!(state.last_insert_id(), 0);
    let expected = vec![
        Restore::Schema((*b"app").into()),
        statement(
            "SET character_set_client=DEFAULT,character_set_connection=DEFAULT,character_set_results=DEFAULT,\
             collation_connection=DEFAULT",
        ),
        role("SET ROLE r"),
    ];
    assert_eq!(steps(&fresh(), &state), Some(expected));
}

#[test]
fn values_are_quoted_so_that_every_sql_mode_reads_them_alike() {
    assert_eq!(variable_literal("init_connect", b"a'b"), b"'a''b'");
    assert_eq!(variable_literal("x", br"a\b"), b"CONVERT(x'615c62' USING utf8mb4)");
    assert_eq!(variable_literal("character_set_results", b""), b"NULL");
    assert_eq!(variable_literal("long_query_time", b"0.5"), b"0.5");
    assert_eq!(variable_literal("time_zone", b"+00:00"), b"'+00:00'");
}

#[test]
fn user_variables_have_one_name_each() {
    for name in [&b"@Abc"[..], b"@`ABC`", b"@'abc'", b"@\"abC\""] {
        assert_eq!(user_variable_name(name).unwrap(), b"@`abc`");
    }
    assert_eq!(user_variable_name(b"@'a`b'").unwrap(), b"@`a``b`");
    assert_eq!(user_variable_name(br"@'a\'b'"), None);
    assert_eq!(user_variable_name(b"@'a''b'"), None);
}

#[test]
fn the_maps_are_bounded() {
    let mut state = fresh();
    for n in 0..MAX_ENTRIES {
        state.set_user_variable(format!("@v{n}").as_bytes(), b"1").unwrap();
    }
    assert_eq!(state.set_user_variable(b"@more", b"1"), Err(StateFull));
}

#[test]
fn to_read_a_text_as_before_takes_nothing_else_from_before() {
    let mut then = SessionState::after_login(Some(b"old".to_vec()));
    then.set_variable("sql_mode", b"ANSI_QUOTES").unwrap();
    then.set_variable("autocommit", b"ON").unwrap();
    then.set_user_variable(b"@x", b"'then'").unwrap();
    let mut now = SessionState::after_login(Some(b"new".to_vec()));
    now.set_variable("autocommit", b"OFF").unwrap();
    now.set_variable("character_set_client", b"latin1").unwrap();
    now.set_user_variable(b"@x", b"'now'").unwrap();
    let reading = now.settings().reading_like(then.settings());
    assert!(reading.reads_like(then.settings()));
    assert_eq!(reading.user_variables(), now.settings().user_variables());
    assert_eq!(reading.variable("autocommit"), now.settings().variable("autocommit"));
}
