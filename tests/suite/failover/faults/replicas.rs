//! Replicas that are not all alike when the primary dies.
//!
//! Never here: a primary that survives.

use std::fmt::Write as _;

use mysql_async::prelude::Queryable as _;

use super::*;

const LOCK: &str = "FLUSH LOCAL TABLES WITH READ LOCK";

/// One replica received everything and applied nothing for a while: it acknowledges all the same.
#[tokio::test]
async fn e1_what_only_a_slow_replica_received_is_not_lost() {
    let stage = members(5).await;
    let load = busy(&stage).await;
    let mut lock = stage.cluster.node(1).root_conn().await.unwrap();
    lock.query_drop(LOCK).await.unwrap();
    acknowledged(&stage, &load, WARM).await;
    stage.cluster.node(0).kill().await.unwrap();
    let winner = replaced(&stage, 2).await;
    assert_ne!(winner, 1, "it has the most to apply");
    lock.query_drop("UNLOCK TABLES").await.unwrap();
    judged(&stage, load, &[1, 2, 3, 4]).await;
}

/// Both replicas have much to apply: the failover waits for it, and a replica that is restarted meanwhile is noticed.
async fn e7(restart: bool) {
    let stage = members(3).await;
    let load = busy(&stage).await;
    let mut locks = Vec::new();
    for replica in OTHERS {
        let mut lock = stage.cluster.node(replica).root_conn().await.unwrap();
        lock.query_drop(LOCK).await.unwrap();
        locks.push(lock);
    }
    acknowledged(&stage, &load, WARM).await;
    stage.cluster.node(0).kill().await.unwrap();
    let begun = |status: &Value| {
        let steps = status.pointer("/operation/steps").and_then(Value::as_array);
        steps.into_iter().flatten().any(|step| word(step, "name") == "start appliers")
    };
    let waiting = until(&stage, "the failover to wait for the applier", begun).await;
    assert_eq!(epoch(&waiting), 1, "{waiting:#}");
    if restart {
        stage.cluster.node(2).kill().await.unwrap();
        stage.cluster.node(2).start().await.unwrap();
    }
    for lock in &mut locks {
        // That of a replica which was restarted is gone.
        let _ = lock.query_drop("UNLOCK TABLES").await;
    }
    replaced(&stage, 2).await;
    judged(&stage, load, &OTHERS).await;
}

#[tokio::test]
async fn e7_a_promotion_waits_for_what_is_received_and_not_applied() {
    e7(false).await;
}

#[tokio::test]
async fn a_replica_restarted_between_its_stop_and_the_promotion_costs_nothing() {
    e7(true).await;
}

/// A stage whose instances have these further lines.
async fn with_lines<const MEMBERS: usize>(lines: [&str; MEMBERS]) -> Stage {
    let plan = Cluster::builder().nodes(u32::try_from(MEMBERS).unwrap());
    let stage = stage_of(plan, "", healthy).await;
    let mut text = std::fs::read_to_string(stage.sluice.config()).unwrap();
    for (node, line) in stage.cluster.nodes().iter().zip(lines) {
        let name = format!("name = \"{}\"\n", node.name());
        assert!(text.contains(&name), "{text}");
        let mut more = name.clone();
        let _ = writeln!(more, "{line}");
        text = text.replacen(&name, &more, 1);
    }
    stage.sluice.kill().await.unwrap();
    std::fs::write(stage.sluice.config(), text).unwrap();
    stage.sluice.start().await.unwrap();
    settled(&stage, 1).await;
    stage
}

#[tokio::test]
async fn e2_promotion_rules_decide_among_equals() {
    let stage = with_lines(["", "promotion = \"must-not\"", "promotion = \"prefer-not\""]).await;
    let load = busy(&stage).await;
    stage.cluster.node(0).kill().await.unwrap();
    assert_eq!(replaced(&stage, 2).await, 2);
    judged(&stage, load, &OTHERS).await;
}

/// The one in the primary's zone has not even received the latest when the primary dies: it gets that from the others.
#[tokio::test]
async fn e3_the_zone_of_the_primary_decides_and_what_its_member_lacks_is_fetched() {
    let stage = with_lines(["zone = 'a'", "zone = 'b'", "zone = 'b'", "zone = 'a'", "zone = 'c'"]).await;
    let load = busy(&stage).await;
    let mut db1 = stage.cluster.node(0).root_conn().await.unwrap();
    // On db1 alone: receivers that are attached go on, and that of db4 can't log in again.
    for statement in ["SET SESSION sql_log_bin=0", "ALTER USER repl ACCOUNT LOCK"] {
        db1.query_drop(statement).await.unwrap();
    }
    let db4 = stage.cluster.node(3);
    db4.exec("STOP REPLICA IO_THREAD").await.unwrap();
    acknowledged(&stage, &load, WARM).await;
    let status = status(&stage).await;
    assert_eq!(status.pointer("/failover/winner").and_then(Value::as_str), Some("db4"), "{status:#}");
    stage.cluster.node(0).kill().await.unwrap();
    assert_eq!(replaced(&stage, 2).await, 3);
    let operation = latest(&stage).await.to_string();
    assert!(operation.contains("it is in zone a, as db1"), "{operation}");
    assert!(operation.contains("fetch from others"), "{operation}");
    judged(&stage, load, &[1, 2, 3, 4]).await;
}

/// A wish must not keep everybody waiting: whoever was elected for its zone and applies nothing is passed over.
#[tokio::test]
#[ignore = "make test-faults"]
async fn e3_a_member_of_that_zone_that_applies_nothing_is_passed_over() {
    let stage = with_lines(["zone = 'a'", "zone = 'a'", "zone = 'b'", "zone = 'b'"]).await;
    let load = busy(&stage).await;
    let mut lock = stage.cluster.node(1).root_conn().await.unwrap();
    lock.query_drop(LOCK).await.unwrap();
    acknowledged(&stage, &load, WARM).await;
    // Nobody else could have what only db2 has received as long as it is locked.
    let report = load.stop().await.unwrap();
    let executed = stage.cluster.node(0).gtid_executed().await.unwrap();
    for other in [2, 3] {
        let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', {})", SOON.as_secs());
        assert_eq!(stage.cluster.node(other).value::<u8>(&sql).await.unwrap(), 0);
    }
    stage.cluster.node(0).kill().await.unwrap();
    let winner = replaced(&stage, 2).await;
    assert_ne!(winner, 1, "it applies nothing");
    let operation = latest(&stage).await.to_string();
    assert!(operation.contains("another one is tried"), "{operation}");
    lock.query_drop("UNLOCK TABLES").await.unwrap();
    judge_errors(&stage, &report);
    judge_data(&stage, &report, &[1, 2, 3]).await;
}

#[tokio::test]
async fn e4_a_replica_with_transactions_of_its_own_is_out_of_reads_and_never_promoted() {
    let stage = members(5).await;
    let load = busy(&stage).await;
    let own = stage.cluster.node(1);
    for statement in ["SET GLOBAL super_read_only=OFF", "CREATE TABLE app.own (a INT PRIMARY KEY)"] {
        own.exec(statement).await.unwrap();
    }
    let status = until(&stage, "db2 in quarantine", |status| {
        let db2 = instance(status, 1);
        word(db2, "reads") == "quarantined" && db2.get("writable").and_then(Value::as_bool) == Some(false)
    })
    .await;
    assert!(
        status.get("alarms").is_some_and(|alarms| alarms.to_string().contains("transactions of its own"))
    );
    stage.cluster.node(0).kill().await.unwrap();
    let winner = replaced(&stage, 2).await;
    assert_ne!(winner, 1);
    judged(&stage, load, &[2, 3, 4]).await;
}

#[tokio::test]
async fn e5_a_replica_whose_applier_failed_is_not_promoted() {
    let stage = members(3).await;
    let load = busy(&stage).await;
    let mut db2 = stage.cluster.node(1).root_conn().await.unwrap();
    stage.cluster.node(0).exec("CREATE TABLE app.twice (a INT PRIMARY KEY)").await.unwrap();
    stage.cluster.wait_caught_up(0).await.unwrap();
    for statement in [
        "SET GLOBAL super_read_only=OFF",
        "SET SESSION sql_log_bin=0",
        "INSERT INTO app.twice VALUES (1)",
        "SET GLOBAL super_read_only=ON",
    ] {
        db2.query_drop(statement).await.unwrap();
    }
    stage.cluster.node(0).exec("INSERT INTO app.twice VALUES (1)").await.unwrap();
    until(&stage, "an alarm of the applier", |status| {
        status.get("alarms").is_some_and(|alarms| alarms.to_string().contains("db2: the applier failed"))
    })
    .await;
    acknowledged(&stage, &load, WARM).await;
    stage.cluster.node(0).kill().await.unwrap();
    // What only db2 has received is reached through its applier alone: then nobody is promoted before that is mended.
    let only_here = received_by_none_else(&stage, 1, 2).await;
    if only_here {
        for statement in [
            "SET GLOBAL super_read_only=OFF",
            "DELETE FROM app.twice",
            "SET GLOBAL super_read_only=ON",
            "START REPLICA SQL_THREAD",
        ] {
            db2.query_drop(statement).await.unwrap();
        }
    }
    let winner = replaced(&stage, 2).await;
    assert!(winner == 2 || only_here, "the winner is db{}", winner + 1);
    judged(&stage, load, &[winner]).await;
}

/// Whether `node`, whose source is gone, has received something that `other` has not.
async fn received_by_none_else(stage: &Stage, node: usize, other: usize) -> bool {
    let mut sets = Vec::new();
    for index in [node, other] {
        let node = stage.cluster.node(index);
        let gone = || async {
            let sql = "SELECT service_state FROM performance_schema.replication_connection_status";
            node.value::<String>(sql).await.is_ok_and(|state| state != "ON")
        };
        wait_until("the receiver to miss its source", SOON, gone).await.unwrap();
        let sql = "SELECT received_transaction_set FROM performance_schema.replication_connection_status";
        sets.push(node.value::<String>(sql).await.unwrap() + "," + &node.gtid_executed().await.unwrap());
    }
    let sql = format!("SELECT NOT GTID_SUBSET('{}', '{}')", sets[0], sets[1]);
    stage.cluster.node(other).value(&sql).await.unwrap()
}
