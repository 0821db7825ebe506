//! P10: scheduled events run at the primary, whoever it is, and nowhere else.
//!
//! Never here: what is to run (that is tested without servers).

use mysql_async::prelude::Queryable;

use super::*;

/// As they are at a server: everything that enabling one must not change.
type Shown = (String, String, String, String, String, String, String);

async fn shown(stage: &Stage, node: usize, status: &str) -> Vec<Shown> {
    let sql = format!(
        "SELECT event_name, definer, sql_mode, time_zone, character_set_client, collation_connection, event_comment \
         FROM information_schema.events WHERE event_schema='app' AND status='{status}' ORDER BY event_name"
    );
    stage.cluster.node(node).rows(&sql).await.unwrap()
}

fn names(events: &[Shown]) -> Vec<&str> {
    events.iter().map(|event| &*event.0).collect()
}

/// The servers at which an event has run after the latest row of before.
async fn ran_at(stage: &Stage, node: usize, event: &str, since: u64) -> Vec<u32> {
    let sql = format!("SELECT DISTINCT server FROM app.ran WHERE event='{event}' AND id > {since}");
    stage.cluster.node(node).rows(&sql).await.unwrap()
}

/// Waits until the event runs at this node, and sees that it ran at no other since.
async fn runs(stage: &Stage, node: usize, event: &str, since: u64) {
    let here = [stage.cluster.node(node).server_id()];
    let waited = wait_until(event, SOON, || async { ran_at(stage, node, event, since).await == here }).await;
    assert!(
        waited.is_ok(),
        "{event}: {:?}, {:#}",
        ran_at(stage, node, event, since).await,
        status(stage).await
    );
}

async fn latest_row(stage: &Stage, node: usize) -> u64 {
    stage.cluster.node(node).value("SELECT COALESCE(MAX(id), 0) FROM app.ran").await.unwrap()
}

fn alarmed(status: &Value, words: &str) -> bool {
    let alarms = status.get("alarms").and_then(Value::as_array).into_iter().flatten();
    alarms.filter_map(Value::as_str).any(|alarm| alarm.contains(words))
}

async fn make_events(stage: &Stage) {
    let mut conn = stage.cluster.node(0).root_conn().await.unwrap();
    let event = |name: &str, definer: &str, state: &str| {
        format!(
            "CREATE DEFINER={definer} EVENT app.{name} ON SCHEDULE EVERY 1 SECOND {state} COMMENT 'it''s' \
             DO INSERT INTO app.ran (event, server) VALUES ('{name}', @@server_id)"
        )
    };
    for sql in [
        "CREATE TABLE app.ran (id BIGINT AUTO_INCREMENT PRIMARY KEY, event VARCHAR(20), server INT)"
            .to_owned(),
        "SET sql_mode='ANSI_QUOTES', time_zone='+03:00', character_set_client=latin1".to_owned(),
        "SET collation_connection=latin1_swedish_ci".to_owned(),
        event("runs", "app@'%'", ""),
        event("rests", "app@'%'", "DISABLE"),
        event("of_root", "root@localhost", ""),
    ] {
        conn.query_drop(sql).await.unwrap();
    }
}

#[tokio::test]
async fn p10_events_run_at_the_primary_whoever_it_is() {
    let stage = stage("").await;
    make_events(&stage).await;
    runs(&stage, 0, "runs", 0).await;
    let made = shown(&stage, 0, "ENABLED").await;
    assert_eq!(names(&made), ["of_root", "runs"]);
    // Somebody whose scheduler is off: it is switched with the role.
    stage.cluster.node(1).exec("SET GLOBAL event_scheduler=OFF").await.unwrap();
    let known = || async {
        std::fs::read_to_string(stage.sluice.store().join("events.json"))
            .is_ok_and(|text| text.contains("of_root"))
    };
    wait_until("the events to be known", SOON, known).await.unwrap();

    let switched = crate::process::verb(&stage.sluice, &["switchover", "--to", "db2", "--wait", "30s"]);
    assert!(switched.status.success(), "{switched:?}");
    let since = latest_row(&stage, 1).await;
    runs(&stage, 1, "runs", since).await;
    assert_eq!(shown(&stage, 1, "ENABLED").await, made[1..], "as it was made");
    // Sluice's account is not mighty enough for root's.
    let statement = "ALTER DEFINER=`root`@`localhost` EVENT `app`.`of_root` ENABLE";
    until(&stage, "told what is missing", |status| alarmed(status, statement)).await;
    stage.cluster.node(1).exec(statement).await.unwrap();
    until(&stage, "well", |status| !alarmed(status, "of_root")).await;
    settled(&stage, 2).await;
    runs(&stage, 1, "of_root", since).await;

    stage.cluster.node(1).kill().await.unwrap();
    until(&stage, "failed over", |status| {
        healthy(status) && status.get("epoch").and_then(Value::as_u64) == Some(3)
    })
    .await;
    let new = primary(&stage, &status(&stage).await);
    let since = latest_row(&stage, new).await;
    runs(&stage, new, "runs", since).await;
    assert!(ran_at(&stage, new, "rests", 0).await.is_empty(), "it was disabled by hand");
    stage.cluster.node(1).start().await.unwrap();
    settled(&stage, 3).await;
    // Root's event is enabled nowhere else yet: the former primary may have it enabled, and is read-only.
    let alone = || async { !names(&shown(&stage, 1, "ENABLED").await).contains(&"runs") };
    wait_until("the former primary to have it as a replica", SOON, alone).await.unwrap();
    let since = latest_row(&stage, new).await;
    runs(&stage, new, "runs", since).await;
}
