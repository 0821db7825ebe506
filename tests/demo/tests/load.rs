//! The load and its verification against a real server, without Sluice: what they report must be true, or nothing
//! that is measured with them means anything.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that can't go on must stop

use std::time::Duration;

use sluice_cluster::{Accounts, Cluster, wait_until};
use sluice_demo::load::{Kind, Load, LoadConfig, Outcome, Role, Style};
use sluice_demo::login::Login;
use sluice_demo::stage::SCHEMA;
use sluice_demo::tables;
use sluice_demo::verify::{Server, verify};

const SOON: Duration = Duration::from_secs(60);

async fn one_server() -> (Cluster, Login) {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    cluster.setup_replication(0, &Accounts::replication_only()).await.unwrap(); // makes the account
    let app = sluice_cluster::Login::app();
    let login = Login::local(cluster.node(0).port(), &app.user, &app.password).in_database(SCHEMA);
    tables::create(&login, SCHEMA).await.unwrap();
    (cluster, login)
}

fn servers(login: &Login) -> Vec<Server> {
    vec![Server { name: "db1".into(), login: login.clone() }]
}

#[tokio::test]
async fn a_quiet_server_keeps_every_promise_and_a_lost_row_is_found() {
    let (cluster, login) = one_server().await;
    let load = Load::start(LoadConfig::mixed(login.clone(), 16)).unwrap();
    wait_until("the load to write", SOON, || async { load.live().acknowledged() > 200 }).await.unwrap();
    let report = load.stop().await.unwrap();
    assert_eq!(report.error_count, 0, "{:?}", report.errors);
    assert!(report.anomalies.is_empty(), "{:?}", report.anomalies);
    assert_eq!(report.timing.count(Kind::Connect), 16);
    assert!(report.timing.count(Kind::Commit) > 0 && report.timing.count(Kind::Read) > 0);
    let verdict = verify(&report.ledger, SCHEMA, &servers(&login)).await.unwrap();
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!(verdict.rows, report.ledger.totals().acknowledged);

    let node = cluster.node(0);
    node.exec(&format!("DELETE FROM {SCHEMA}.ledger ORDER BY id LIMIT 1")).await.unwrap();
    node.exec(&format!(
        "INSERT INTO {SCHEMA}.ledger SELECT NULL, writer, seq, amount, note, server, at FROM {SCHEMA}.ledger LIMIT 1"
    ))
    .await
    .unwrap();
    node.exec(&format!("UPDATE {SCHEMA}.account SET balance = balance + 1 LIMIT 1")).await.unwrap();
    let findings = verify(&report.ledger, SCHEMA, &servers(&login)).await.unwrap().findings;
    assert_eq!(findings.len(), 3, "{findings:?}");
}

#[tokio::test]
async fn a_killed_server_gives_unknown_outcomes_and_loses_nothing_it_acknowledged() {
    let (cluster, login) = one_server().await;
    let mut config = LoadConfig::mixed(login.clone(), 0);
    config.clients = [Role::Writer(Style::Text), Role::Transfer(Style::Prepared)].repeat(8);
    config.pace = Duration::ZERO;
    let load = Load::start(config).unwrap();
    wait_until("the load to write", SOON, || async { load.live().acknowledged() > 500 }).await.unwrap();
    let node = cluster.node(0);
    node.kill().await.unwrap();
    node.start().await.unwrap();
    let before = load.live().acknowledged();
    wait_until("the load to go on", SOON, || async { load.live().acknowledged() > before + 200 })
        .await
        .unwrap();
    let report = load.stop().await.unwrap();
    assert!(report.error_count > 0);
    let refused = report.errors.iter().filter(|failure| failure.kind == Kind::Connect).count();
    assert!(refused > 0, "a dead server refuses connections");
    let verdict = verify(&report.ledger, SCHEMA, &servers(&login)).await.unwrap();
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    let unknown = report.ledger.units().filter(|(_, _, outcome)| *outcome == Outcome::Unknown).count();
    assert_eq!(u64::try_from(unknown).unwrap(), verdict.unknown_present + verdict.unknown_absent);
}
