//! Connections shared by sessions, on a real server: nothing of one session is seen by another, and few
//! connections are enough for many sessions.

mod waiters;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use sluice_cluster::{Accounts, Cluster, wait_until};
use tokio::time::timeout;

use crate::data_path::DataPath;

const SOON: Duration = Duration::from_secs(10);
const HOLD: Duration = Duration::from_secs(10);

async fn one_node() -> Cluster {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    cluster.setup_replication(0, &Accounts::replication_only()).await.unwrap();
    cluster
}

fn code(error: &Error) -> u16 {
    let Error::Server(error) = error else { panic!("no server error: {error}") };
    error.code
}

async fn all(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap();
    }
}

/// Connections of the application on the server.
async fn connections(cluster: &Cluster) -> u64 {
    let sql = "SELECT COUNT(*) FROM performance_schema.processlist WHERE user='app'";
    cluster.node(0).value(sql).await.unwrap()
}

/// One session's own settings, which it checks again and again.
async fn keep_own_settings(mut conn: Conn, number: u64, rounds: u64) {
    let length = 1000 + number;
    conn.query_drop(format!("SET group_concat_max_len={length}, @mine={number}")).await.unwrap();
    if number.is_multiple_of(3) {
        conn.query_drop("SET NAMES latin1 COLLATE latin1_bin").await.unwrap();
    }
    for round in 0..rounds {
        let value = number * 1000 + round;
        conn.query_drop("BEGIN").await.unwrap();
        conn.exec_drop("INSERT INTO t (session, v) VALUES (?, ?)", (number, value)).await.unwrap();
        let own = conn.last_insert_id();
        conn.query_drop("COMMIT").await.unwrap();
        let sql = "SELECT @@group_concat_max_len, @mine, @other, @@collation_connection, LAST_INSERT_ID()";
        let found: (u64, u64, Option<u64>, String, u64) = conn.query_first(sql).await.unwrap().unwrap();
        let collation = if number.is_multiple_of(3) { "latin1_bin" } else { "utf8mb4_general_ci" };
        assert_eq!(found, (length, number, None, collation.to_owned(), own.unwrap()));
        let sum: u64 =
            conn.exec_first("SELECT MAX(v) FROM t WHERE session = ?", (number,)).await.unwrap().unwrap();
        assert_eq!(sum, value);
    }
}

async fn sessions_over_few_connections(sessions: u64, max_backend: u64, rounds: u64) {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, &format!("max_backend = {max_backend}"));
    let mut first = path.primary().await;
    let table = "CREATE TABLE t (id BIGINT PRIMARY KEY AUTO_INCREMENT, session INT, v BIGINT, KEY (session))";
    all(&mut first, &[table, "SET @other=1"]).await;
    let mut conns = Vec::new();
    for _ in 0..sessions {
        conns.push(path.primary().await);
    }
    let tasks = conns
        .into_iter()
        .zip(1..)
        .map(|(conn, number)| tokio::spawn(async move { keep_own_settings(conn, number, rounds).await }));
    for task in tasks.collect::<Vec<_>>() {
        timeout(Duration::from_secs(60), task).await.expect("a session hangs").unwrap();
    }
    assert!(connections(&cluster).await <= max_backend);
    let rows: u64 = first.query_first("SELECT COUNT(*) FROM t").await.unwrap().unwrap();
    assert_eq!(rows, sessions * rounds);
}

#[tokio::test]
async fn many_sessions_share_few_connections() {
    sessions_over_few_connections(24, 3, 20).await;
}

#[tokio::test]
async fn one_connection_is_enough_for_two_workers() {
    sessions_over_few_connections(6, 1, 10).await;
}

#[tokio::test]
async fn a_statement_waits_for_a_place_and_not_for_ever() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, Duration::from_secs(2), "max_backend = 1");
    let (mut holder, mut waiter) = (path.primary().await, path.primary().await);
    all(&mut holder, &["CREATE TABLE t (id INT)", "BEGIN", "INSERT INTO t VALUES (1)"]).await;
    let waiting = tokio::spawn(async move {
        waiter.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
        waiter
    });
    holder.query_drop("COMMIT").await.unwrap();
    let mut waiter = timeout(SOON, waiting).await.expect("it waits for ever").unwrap();
    all(&mut holder, &["BEGIN", "INSERT INTO t VALUES (3)"]).await;
    let refused = timeout(SOON, waiter.query_drop("INSERT INTO t VALUES (4)")).await;
    assert_eq!(code(&refused.expect("it waits for ever").unwrap_err()), 1053);
    holder.query_drop("COMMIT").await.unwrap();
    let rows: Vec<u8> = holder.query("SELECT id FROM t ORDER BY id").await.unwrap();
    assert_eq!(rows, [1, 2, 3]);
}

#[tokio::test]
async fn a_schema_dropped_between_two_statements_is_missed_and_no_other_is_used() {
    let cluster = one_node().await;
    for sql in ["CREATE DATABASE other", "GRANT ALL ON other.* TO 'app'@'%'", "CREATE TABLE other.t (id INT)"]
    {
        cluster.node(0).exec(sql).await.unwrap();
    }
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
    let (mut in_other, mut in_app) = (path.primary().await, path.primary().await);
    all(&mut in_app, &["CREATE TABLE t (id INT)", "INSERT INTO t VALUES (1)"]).await;
    all(&mut in_other, &["USE other", "INSERT INTO t VALUES (1)"]).await;
    in_app.query_drop("SELECT 1").await.unwrap();
    cluster.node(0).exec("DROP DATABASE other").await.unwrap();
    let gone = in_other.query_drop("DELETE FROM t").await.unwrap_err();
    assert_eq!(code(&gone), 1049);
    all(&mut in_other, &["SET @x=1"]).await;
    let gone = in_other.query_drop("DELETE FROM t").await.unwrap_err();
    assert!([1046, 1049].contains(&code(&gone)), "{gone}");
    let rows: u64 = in_app.query_first("SELECT COUNT(*) FROM t").await.unwrap().unwrap();
    assert_eq!(rows, 1);
    all(&mut in_other, &["USE app", "DELETE FROM t"]).await;
    let x: Option<u8> = in_other.query_first("SELECT @x").await.unwrap();
    assert_eq!(x, Some(1));
}

#[tokio::test]
async fn a_role_revoked_between_two_statements_is_missed_and_never_lent() {
    let cluster = one_node().await;
    for sql in [
        "CREATE DATABASE secret",
        "CREATE TABLE secret.t AS SELECT 1 AS id",
        "CREATE ROLE reader",
        "GRANT SELECT ON secret.* TO reader",
        "GRANT reader TO 'app'@'%'",
    ] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
    let (mut with_role, mut without) = (path.primary().await, path.primary().await);
    with_role.query_drop("SET ROLE reader").await.unwrap();
    for _ in 0..3 {
        let seen: Option<u8> = with_role.query_first("SELECT id FROM secret.t").await.unwrap();
        assert_eq!(seen, Some(1));
        let denied = without.query_drop("SELECT id FROM secret.t").await.unwrap_err();
        assert_eq!(code(&denied), 1142);
    }
    cluster.node(0).exec("REVOKE reader FROM 'app'@'%'").await.unwrap();
    let denied = with_role.query_drop("SELECT id FROM secret.t").await.unwrap_err();
    assert!([1142, 3530].contains(&code(&denied)), "{denied}");
    without.query_drop("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_role_set_among_several_statements_outlives_a_reset_and_is_lent_to_nobody() {
    let cluster = one_node().await;
    for sql in ["CREATE ROLE r", "GRANT r TO app"] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 2");
    let (mut conn, mut other) = (path.primary().await, path.primary().await);
    conn.query_drop("SET ROLE ALL; SELECT 1").await.unwrap();
    conn.reset().await.unwrap();
    for (conn, role) in [(&mut conn, "`r`@`%`"), (&mut other, "NONE")] {
        let found: String = conn.query_first("SELECT CURRENT_ROLE()").await.unwrap().unwrap();
        assert_eq!(found, role);
    }
    drop(conn);
    let mut third = path.primary().await;
    let found: String = third.query_first("SELECT CURRENT_ROLE()").await.unwrap().unwrap();
    assert_eq!(found, "NONE");
}

#[tokio::test]
async fn what_cannot_move_stays_with_its_session() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 2");
    let (mut mine, mut other) = (path.primary().await, path.primary().await);
    all(&mut mine, &["BEGIN", "CREATE TEMPORARY TABLE mine (id INT)", "INSERT INTO mine VALUES (1)"]).await;
    assert_eq!(code(&other.query_drop("SELECT * FROM mine").await.unwrap_err()), 1146);
    mine.query_drop("COMMIT").await.unwrap();
    assert_eq!(code(&other.query_drop("SELECT * FROM mine").await.unwrap_err()), 1146);
    let rows: u64 = mine.query_first("SELECT COUNT(*) FROM mine").await.unwrap().unwrap();
    assert_eq!(rows, 1);
    all(&mut mine, &["DROP TEMPORARY TABLE mine"]).await;
    let got: Option<u8> = mine.query_first("SELECT GET_LOCK('l', 0)").await.unwrap();
    assert_eq!(got, Some(1));
    let got: Option<u8> = other.query_first("SELECT GET_LOCK('l', 0)").await.unwrap();
    assert_eq!(got, Some(0), "another session has the lock");
    drop(mine);
    let freed = timeout(SOON, other.query_first::<u8, _>("SELECT GET_LOCK('l', 9)")).await;
    assert_eq!(freed.expect("the lock is held for ever").unwrap(), Some(1));
}

#[tokio::test]
async fn hidden_state_ends_with_its_session() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 2");
    let mut mine = path.primary().await;
    let procedure = "CREATE PROCEDURE hide() BEGIN SET @hidden = 7; DO GET_LOCK('hidden', 0); END";
    all(&mut mine, &[procedure, "CALL hide()"]).await;
    let kept: Option<u8> = mine.query_first("SELECT @hidden").await.unwrap();
    assert_eq!(kept, Some(7));
    drop(mine);
    let mut other = path.primary().await;
    let freed = timeout(SOON, other.query_first::<u8, _>("SELECT GET_LOCK('hidden', 9)")).await;
    assert_eq!(freed.expect("the lock is held for ever").unwrap(), Some(1));
    let hidden: Option<Option<u8>> = other.query_first("SELECT @hidden").await.unwrap();
    assert_eq!(hidden, Some(None));
}

#[tokio::test]
async fn connections_that_the_server_has_ended_are_not_used() {
    let cluster = one_node().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.primary().await;
    all(&mut conn, &["CREATE TABLE t (id INT)", "SET sql_mode='ANSI_QUOTES'"]).await;
    for round in 0..5 {
        let sql = "SELECT id FROM performance_schema.processlist WHERE user='app'";
        for id in cluster.node(0).rows::<u64>(sql).await.unwrap() {
            cluster.node(0).exec(&format!("KILL {id}")).await.unwrap();
        }
        wait_until("they are gone", SOON, || async { connections(&cluster).await == 0 }).await.unwrap();
        conn.query_drop(format!("INSERT INTO t VALUES ({round})")).await.unwrap();
    }
    let found: (u64, String) = conn.query_first("SELECT COUNT(*), @@sql_mode FROM t").await.unwrap().unwrap();
    assert_eq!(found, (5, "ANSI_QUOTES".to_owned()));
}

#[tokio::test]
async fn a_kill_of_an_idle_session_hits_nobody_else() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 2");
    let (mut idle, mut busy, mut killer) = (path.primary().await, path.primary().await, path.primary().await);
    idle.query_drop("SELECT 1").await.unwrap();
    let id = idle.id();
    let sleeping = tokio::spawn(async move { busy.query_first::<u8, _>("SELECT SLEEP(1)").await });
    for _ in 0..10 {
        killer.query_drop(format!("KILL QUERY {id}")).await.unwrap();
    }
    killer.query_drop(format!("KILL {id}")).await.unwrap();
    assert!(idle.query_drop("SELECT 1").await.is_err());
    assert_eq!(sleeping.await.unwrap().unwrap(), Some(0), "somebody else's statement was killed");
}

#[tokio::test]
async fn thousands_of_prepared_statements_are_bounded_on_the_server() {
    let cluster = one_node().await;
    let path = DataPath::start(&cluster, HOLD);
    let mut conn = path.primary().await;
    let mut statements = Vec::new();
    for number in 0..10_000u64 {
        statements.push(conn.prep(format!("SELECT {number} + ?")).await.unwrap());
    }
    for number in [0u64, 1, 999, 9999, 0] {
        let sum: Option<u64> =
            conn.exec_first(&statements[usize::try_from(number).unwrap()], (1u64,)).await.unwrap();
        assert_eq!(sum, Some(number + 1));
    }
    let open: Vec<(String, u64)> =
        cluster.node(0).rows("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'").await.unwrap();
    assert!(open[0].1 <= 300, "{open:?}");
    // Preparing in a loop.
    for _ in 0..500 {
        let statement = conn.prep("SELECT ? + 1").await.unwrap();
        conn.close(statement).await.unwrap();
    }
    let open: Vec<(String, u64)> =
        cluster.node(0).rows("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'").await.unwrap();
    assert!(open[0].1 <= 300, "{open:?}");
}

#[tokio::test]
async fn prepared_statements_keep_the_schema_they_were_prepared_in() {
    let cluster = one_node().await;
    for sql in [
        "CREATE DATABASE other",
        "GRANT ALL ON other.* TO 'app'@'%'",
        "CREATE TABLE other.t AS SELECT 'other' AS v",
        "CREATE TABLE app.t AS SELECT 'app' AS v",
    ] {
        cluster.node(0).exec(sql).await.unwrap();
    }
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
    let (mut conn, mut thief) = (path.primary().await, path.primary().await);
    let in_app = conn.prep("SELECT v FROM t").await.unwrap();
    conn.query_drop("USE other").await.unwrap();
    let in_other = conn.prep("SELECT /* other */ v FROM t").await.unwrap();
    for _ in 0..3 {
        let value: Option<String> = conn.exec_first(&in_app, ()).await.unwrap();
        assert_eq!(value.as_deref(), Some("app"));
        let value: Option<String> = conn.exec_first(&in_other, ()).await.unwrap();
        assert_eq!(value.as_deref(), Some("other"));
        let value: Option<String> = conn.query_first("SELECT v FROM t").await.unwrap();
        assert_eq!(value.as_deref(), Some("other"));
        // A reset forgets all that was prepared on the connection.
        thief.query_drop("SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_session_has_its_connection_for_itself_where_that_is_asked_for() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "pooling = \"session\"");
    let (mut one, mut other) = (path.primary().await, path.primary().await);
    let mut threads = Vec::new();
    for _ in 0..3 {
        for conn in [&mut one, &mut other] {
            let thread: Option<u64> = conn.query_first("SELECT @@pseudo_thread_id").await.unwrap();
            threads.push(thread.unwrap());
        }
    }
    assert_ne!(threads[0], threads[1]);
    assert!(threads.chunks(2).all(|pair| pair == &threads[..2]), "{threads:?}");
}

#[tokio::test]
async fn settings_of_when_a_statement_was_prepared_are_nobody_elses() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
    let (mut first, mut second) = (path.primary().await, path.primary().await);
    let sql = "SELECT CAST(WEEK('2008-02-20') AS CHAR), CAST(1 / ? AS CHAR)";
    all(&mut first, &["SET default_week_format = 3, div_precision_increment = 8"]).await;
    for _ in 0..2 {
        let own: (String, String) = first.exec_first(sql, (3,)).await.unwrap().unwrap();
        assert_eq!(own, ("8".to_owned(), "0.33333333".to_owned()));
        let own: (String, String) = second.exec_first(sql, (3,)).await.unwrap().unwrap();
        assert_eq!(own, ("7".to_owned(), "0.3333".to_owned()));
    }
}

#[tokio::test]
async fn preparing_again_neither_commits_nor_overwrites() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 2");
    let mut conn = path.primary().await;
    all(&mut conn, &["CREATE TABLE t (id INT)", "SET @x = 'known'"]).await;
    let statement = conn.prep("SELECT COUNT(*), 'a' FROM t").await.unwrap();
    // Another connection, and another mode than when it was prepared.
    all(&mut conn, &["DO 1"]).await;
    let thread: u64 = conn.query_first("SELECT CONNECTION_ID() + 0").await.unwrap().unwrap();
    cluster.node(0).exec(&format!("KILL {thread}")).await.unwrap();
    all(&mut conn, &["SET autocommit = 0", "SET NAMES utf8mb4; SET @x = CONCAT('by ', 'server')"]).await;
    all(&mut conn, &["SET SESSION sql_mode = 'ANSI_QUOTES'", "INSERT INTO t VALUES (1)"]).await;
    let inside: (u64, String) = conn.exec_first(&statement, ()).await.unwrap().unwrap();
    assert_eq!(inside.0, 1);
    let x: String = conn.query_first("SELECT @x").await.unwrap().unwrap();
    assert_eq!(x, "by server");
    conn.query_drop("ROLLBACK").await.unwrap();
    let rows: u64 = conn.query_first("SELECT COUNT(*) FROM t").await.unwrap().unwrap();
    assert_eq!(rows, 0, "it was committed");
}

#[tokio::test]
async fn the_next_insert_id_is_not_for_another_session() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, Duration::from_secs(2), "max_backend = 2");
    let (mut holder, mut first, mut second) =
        (path.primary().await, path.primary().await, path.primary().await);
    let table = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)";
    all(&mut holder, &[table, "BEGIN", "INSERT INTO t (v) VALUES (0)"]).await;
    first.query_drop("SET insert_id = 77").await.unwrap();
    // Only the connection where it waits is left.
    let refused = second.query_drop("INSERT INTO t (v) VALUES (2)").await.unwrap_err();
    assert_eq!(code(&refused), 1053);
    first.query_drop("INSERT INTO t (v) VALUES (1)").await.unwrap();
    assert_eq!(first.last_insert_id(), Some(77));
    holder.query_drop("COMMIT").await.unwrap();
}

#[tokio::test]
async fn what_a_clients_own_trackers_tell_is_no_state_to_carry() {
    let cluster = one_node().await;
    let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
    let (mut first, mut second) = (path.primary().await, path.primary().await);
    all(&mut first, &["SET session_track_system_variables = '*'", "SET group_concat_max_len = 5000"]).await;
    for _ in 0..2 {
        // Among all variables a server tells of statement_id, which nobody can set.
        let sql = "SELECT @@session_track_system_variables, @@group_concat_max_len";
        let own: (String, u64) = first.query_first(sql).await.unwrap().unwrap();
        assert_eq!(own, ("*".to_owned(), 5000));
        all(&mut second, &["SELECT 1"]).await;
    }
}
