//! What happens to a session between two of its statements, while its backend connections serve others.
//!
//! Never here: a random order.

use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use sluice_cluster::wait_until;

use super::SESSIONS;
use super::actor::Actor;
use super::client::{Account, Answer, Broken, Client, Counts};
use super::ground::{Front, Ground, SOON, account};
use super::operations::{Begin, Chain, Op, Role, Schema, Text, Value};

/// Account of the tests that change accounts.
const CHANGED: &str = "iso_changed";

/// A client that must get in.
async fn client(ground: &Ground, front: Front, account: &Account) -> Client {
    let port = ground.port(front, 0);
    Client::connect(port, account, Some(Schema::A.name()), Counts::Changed)
        .await
        .unwrap_or_else(|broken| panic!("{broken}"))
}

async fn one(client: &mut Client, sql: &str) -> Answer {
    client.one(sql).await.unwrap_or_else(|broken| panic!("{sql}: {broken}"))
}

async fn say(client: &mut Client, sql: &str) {
    let answer = one(client, sql).await;
    assert_eq!(answer.code(), 0, "{sql}: {answer:?}");
}

/// Makes every idle backend connection somebody else's: sessions of both accounts, in the other schema and with other
/// settings, run a statement on primary and replicas.
async fn bustle(ground: &Ground, front: Front) {
    for index in [0, 1, 0, 1] {
        let mut other = client(ground, front, &account(index)).await;
        for sql in ["USE iso_b", "SET sql_mode = 'ANSI_QUOTES', time_zone = '-03:00'", "SET ROLE iso_r2"] {
            say(&mut other, sql).await;
        }
        let answer = one(&mut other, "SELECT name FROM whereami").await;
        assert_eq!(answer.rows(), [vec![Some("iso_b".into())]]);
        let answer = one(&mut other, "SELECT name FROM whereami FOR SHARE").await;
        assert_eq!(answer.rows(), [vec![Some("iso_b".into())]]);
    }
}

/// A schema dropped behind a session's back: its statements fail as they do directly, and touch no other schema.
pub(super) async fn schema_is_dropped(ground: &Ground) {
    let mut root = ground.root().await;
    let mut codes = Vec::new();
    for front in [Front::Direct, Front::Sluice] {
        for sql in [
            "CREATE DATABASE iso_gone",
            "GRANT SELECT, DELETE, CREATE TEMPORARY TABLES ON iso_gone.* TO iso1@'%'",
            "CREATE TABLE iso_gone.whereami (name VARCHAR(20))",
        ] {
            root.query_drop(sql).await.unwrap();
        }
        let mut session = client(ground, front, &account(0)).await;
        say(&mut session, "USE iso_gone").await;
        say(&mut session, "DELETE FROM whereami").await;
        root.query_drop("DROP DATABASE iso_gone").await.unwrap();
        bustle(ground, front).await;
        let mut seen = Vec::new();
        for sql in
            ["DELETE FROM whereami", "SELECT name FROM whereami", "SELECT name FROM whereami FOR SHARE"]
        {
            let answer = one(&mut session, sql).await;
            assert!(answer.rows().is_empty(), "{front:?} {sql}: {answer:?}");
            seen.push(answer.code());
        }
        assert!(!seen.contains(&0), "{front:?}: {seen:?}");
        say(&mut session, "USE iso_a").await;
        let answer = one(&mut session, "SELECT name FROM whereami").await;
        assert_eq!(answer.rows(), [vec![Some("iso_a".into())]], "{front:?}");
        codes.push(seen);
    }
    assert_eq!(codes[0], codes[1], "directly and through Sluice");
    for schema in Schema::ALL.map(Schema::name) {
        let sql = format!("SELECT name FROM {schema}.whereami");
        assert_eq!(root.query_first::<String, _>(sql).await.unwrap().as_deref(), Some(schema));
    }
}

/// A role revoked behind a session's back: what directly is refused is refused, and nobody else gets the role.
pub(super) async fn role_is_revoked(ground: &Ground) {
    let mut root = ground.root().await;
    for front in [Front::Direct, Front::Sluice] {
        root.query_drop("GRANT iso_r1 TO iso1@'%'").await.unwrap();
        let mut session = client(ground, front, &account(0)).await;
        say(&mut session, "SET ROLE iso_r1").await;
        say(&mut session, "SELECT word FROM iso_role.secret").await;
        root.query_drop("REVOKE iso_r1 FROM iso1@'%'").await.unwrap();
        bustle(ground, front).await;
        for sql in ["SELECT word FROM iso_role.secret", "SELECT word FROM iso_role.secret FOR SHARE"] {
            // Refused as such, or because the role can't be taken again on another connection.
            let answer = one(&mut session, sql).await;
            assert!([1142, 3530].contains(&answer.code()), "{front:?} {sql}: {answer:?}");
        }
        say(&mut session, "SET ROLE NONE").await;
        let answer = one(&mut session, "SELECT name, CURRENT_ROLE() FROM whereami").await;
        assert_eq!(answer.rows(), [vec![Some("iso_a".into()), Some("NONE".into())]], "{front:?}");
        for index in 0..2 {
            let mut other = client(ground, front, &account(index)).await;
            let answer = one(&mut other, "SELECT word FROM iso_role.secret").await;
            assert_eq!(answer.code(), 1142, "{front:?}: {answer:?}");
        }
    }
    root.query_drop("GRANT iso_r1 TO iso1@'%'").await.unwrap();
}

/// A password changed behind a session's back: the session goes on or is told so; only the new password lets in.
pub(super) async fn password_is_changed(ground: &Ground) {
    let mut root = ground.root().await;
    let (old, new) = (Account::new(CHANGED, "old-password"), Account::new(CHANGED, "new-password"));
    for sql in [
        format!("CREATE USER {CHANGED}@'%' IDENTIFIED BY '{}'", old.password),
        format!("GRANT SELECT ON iso_a.* TO {CHANGED}@'%'"),
    ] {
        root.query_drop(sql).await.unwrap();
    }
    let mut session = client(ground, Front::Sluice, &old).await;
    say(&mut session, "SET @u0 = 'mine'").await;
    let sql = format!("ALTER USER {CHANGED}@'%' IDENTIFIED BY '{}'", new.password);
    root.query_drop(sql).await.unwrap();
    bustle(ground, Front::Sluice).await;
    match session.one("SELECT @u0, name FROM whereami FOR SHARE").await {
        Ok(Answer::Rows { rows, .. }) => assert_eq!(rows, [[Some("mine".into()), Some("iso_a".into())]]),
        Ok(other) => assert_eq!(other.code(), 1045, "{other:?}"),
        Err(Broken::Closed) => {}
        Err(other) => panic!("{other}"),
    }
    let mut fresh = client(ground, Front::Sluice, &new).await;
    let answer = one(&mut fresh, "SELECT @u0, name FROM whereami FOR SHARE").await;
    assert_eq!(answer.rows(), [vec![None, Some("iso_a".into())]]);
}

/// A session killed in the middle of everything leaves nothing to whoever gets its connection next.
pub(super) async fn session_is_killed(ground: &Ground) {
    let mut root = ground.root().await;
    let mut actor = Actor::begin(ground, Front::Sluice, 0).await.unwrap();
    let ops = [
        Op::Lock(0),
        Op::CreateTemp(0),
        Op::SetUser { name: 0, value: Value::Computed },
        Op::Set { setting: 0, value: 1 },
        Op::Role(Role::Second),
        Op::Begin(Begin::Plain),
        Op::Insert { rows: 2 },
        Op::PrepareText { name: 0, text: Text::Show },
    ];
    for op in &ops {
        actor.act(ground, &mut root, op, None).await.unwrap();
    }
    let nap = actor.model.nap();
    actor.client.send_query(&nap).await.unwrap_or_else(|broken| panic!("{broken}"));
    let mut killer = client(ground, Front::Sluice, &account(0)).await;
    say(&mut killer, &format!("KILL {}", actor.client.id())).await;
    match actor.client.answers().await {
        Err(Broken::Closed) => {}
        Ok(answers) => assert!([1053, 1317].contains(&answers[0].code()), "{answers:?}"),
        Err(other) => panic!("{other}"),
    }
    actor.model.reset();
    ground.gone(&mut root, 0, &actor.model).await.unwrap();
    look_with_fresh_sessions(ground).await;
}

/// Fresh sessions of all slots have nothing of anybody's.
async fn look_with_fresh_sessions(ground: &Ground) {
    let mut root = ground.root().await;
    for slot in 0..SESSIONS {
        let mut fresh = Actor::begin(ground, Front::Sluice, slot).await.unwrap();
        for op in [Op::ReadTemp(0), Op::ExecuteText(0), Op::LookAside, Op::Look] {
            fresh.act(ground, &mut root, &op, None).await.unwrap();
        }
    }
}

/// Ends the suite's connections to every server by KILL.
async fn kill_at_servers(ground: &Ground) {
    for node in ground.stage.cluster.nodes() {
        let sql = "SELECT processlist_id FROM performance_schema.threads WHERE processlist_user LIKE 'iso%'";
        let ids: Vec<u64> = node.rows(sql).await.unwrap();
        for id in ids {
            // It may have ended by itself.
            let _ = node.exec(&format!("KILL {id}")).await;
        }
        let ended = || async { node.rows::<u64>(sql).await.unwrap().is_empty() };
        wait_until("killed connections end", SOON, ended).await.unwrap();
    }
}

/// Backend connections killed by a DBA while nothing is under way: sessions go on with all they had.
pub(super) async fn idle_connections_are_killed(ground: &Ground) {
    let mut root = ground.root().await;
    let mut actors = Vec::new();
    for slot in 0..SESSIONS {
        let mut actor = Actor::begin(ground, Front::Sluice, slot).await.unwrap();
        for op in [
            Op::SetUser { name: 0, value: Value::Token },
            Op::Set { setting: 1, value: 1 },
            Op::Use { schema: Schema::B, way: super::operations::Way::Text },
            Op::Insert { rows: 1 },
            Op::Prepare { name: 0, text: Text::Show },
            Op::LookAside,
            Op::Look,
        ] {
            actor.act(ground, &mut root, &op, None).await.unwrap();
        }
        actors.push(actor);
    }
    kill_at_servers(ground).await;
    for actor in &mut actors {
        for op in [Op::LookAside, Op::Look, Op::Execute(0), Op::Insert { rows: 1 }, Op::Read] {
            actor.act(ground, &mut root, &op, None).await.unwrap();
        }
    }
}

/// The same in a transaction: it is rolled back, the session is told so and goes on.
pub(super) async fn borrowed_connections_are_killed(ground: &Ground) {
    let mut root = ground.root().await;
    let mut session = client(ground, Front::Sluice, &account(0)).await;
    say(&mut session, "SET @u0 = 'mine'").await;
    say(&mut session, "BEGIN").await;
    say(&mut session, "INSERT INTO t0 (life, token, v) VALUES (0, 'killed', 0)").await;
    kill_at_servers(ground).await;
    let answer = one(&mut session, "INSERT INTO t0 (life, token, v) VALUES (0, 'never', 0)").await;
    assert_eq!(answer.code(), 1213, "{answer:?}");
    say(&mut session, "ROLLBACK").await;
    let answer = one(&mut session, "SELECT @u0, COUNT(*) FROM t0 WHERE life = 0 FOR SHARE").await;
    assert_eq!(answer.rows(), [vec![Some("mine".into()), Some("0".into())]]);
    let rows: Option<u64> = root.query_first("SELECT COUNT(*) FROM iso_a.t0 WHERE life = 0").await.unwrap();
    assert_eq!(rows, Some(0));
    look_with_fresh_sessions(ground).await;
}

/// Temporary tables come and go inside of transactions as they do directly.
pub(super) async fn temporary_tables_in_transactions(ground: &Ground) {
    let mut root = ground.root().await;
    for front in [Front::Direct, Front::Sluice] {
        let mut actor = Actor::begin(ground, front, 0).await.unwrap();
        for end in [Op::Commit(Chain::No), Op::Rollback(Chain::No)] {
            for op in [
                Op::Begin(Begin::Plain),
                Op::Insert { rows: 1 },
                Op::CreateTemp(0),
                Op::InsertTemp(0),
                Op::CreateTemp(1),
                Op::Savepoint(0),
                Op::InsertTemp(0),
                Op::DropTemp { name: 1, temporary: true },
                Op::RollbackTo(0),
                Op::ReadTemp(0),
                Op::ReadTemp(1),
                Op::Insert { rows: 2 },
                end,
                Op::ReadTemp(0),
                Op::Read,
                Op::Begin(Begin::Plain),
                Op::DropTemp { name: 0, temporary: true },
                Op::Insert { rows: 1 },
                Op::Rollback(Chain::No),
                Op::ReadTemp(0),
                Op::Read,
                Op::CreateTempSelect(2),
                Op::ReadTemp(2),
                Op::DropTemp { name: 2, temporary: true },
            ] {
                actor.act(ground, &mut root, &op, None).await.unwrap();
            }
        }
    }
}

/// Far more sessions than connections, at once and without anything that ties: all are served.
pub(super) async fn few_connections_serve_many(ground: &Arc<Ground>) {
    let mut sessions = tokio::task::JoinSet::new();
    for slot in 0..SESSIONS * 2 {
        let ground = Arc::clone(ground);
        sessions.spawn(async move {
            let mut client = client(&ground, Front::Sluice, &account(slot % 2)).await;
            say(&mut client, &format!("SET @u0 = 's{slot}', time_zone = '+0{}:00'", slot % 10)).await;
            for round in 0..50 {
                let sql = format!("SELECT 'r{round}', @u0, @@session.time_zone");
                let due = [format!("r{round}"), format!("s{slot}"), format!("+0{}:00", slot % 10)].map(Some);
                let answer = one(&mut client, &sql).await;
                assert_eq!(answer.rows(), [due]);
                say(&mut client, &format!("UPDATE t{} SET v = v WHERE id = 0", slot % SESSIONS)).await;
            }
        });
    }
    sessions.join_all().await;
}

/// Sessions that vanish in the middle of a long answer: nobody else gets a byte of it.
pub(super) async fn answers_reach_nobody_else(ground: &Arc<Ground>) {
    let mut sessions = tokio::task::JoinSet::new();
    for slot in 0..SESSIONS {
        let ground = Arc::clone(ground);
        sessions.spawn(async move {
            for round in 0..20 {
                let mut client = client(&ground, Front::Sluice, &account(slot % 2)).await;
                let prepared =
                    client.prepare("SELECT ?, REPEAT(?, 3)").await.unwrap_or_else(|e| panic!("{e}"));
                let prepared = prepared.unwrap_or_else(|error| panic!("{error:?}"));
                for n in 0..5 {
                    let token = format!("s{slot}r{round}n{n}");
                    let answer =
                        one(&mut client, &format!("SELECT '{token}', REPEAT('{token}', 2000)")).await;
                    let due = [token.clone(), token.repeat(2000)].map(Some);
                    assert_eq!(answer.rows(), [due]);
                    let answer = client.execute(prepared, &[&token, &token]).await;
                    let answer = answer.unwrap_or_else(|broken| panic!("{broken}"));
                    assert_eq!(answer.rows(), [[token.clone(), token.repeat(3)].map(Some)]);
                }
                // Several megabytes that nobody takes, in the middle of a text of several statements.
                let long = format!("SELECT '{slot}'; SELECT REPEAT('s{slot}', 2000000); SELECT 'after'");
                client.send_query(&long).await.unwrap_or_else(|broken| panic!("{broken}"));
            }
        });
    }
    sessions.join_all().await;
}
