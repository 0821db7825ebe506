//! Statements that are not what their text says.

use std::net::SocketAddr;
use std::path::Path;

use sluice_cluster::Cluster;
use sluice_demo::stage::Stage;
use sluice_protocol::{Answer, Capabilities};

use super::raw::Raw;

/// The value of a metric with this label.
async fn metric(stage: &Stage, name: &str, label: &str) -> f64 {
    let text = stage.admin().get_text("/metrics").await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name) && line.contains(label));
    let line = line.unwrap_or_else(|| panic!("no {name} {label} in:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_read_that_writes_is_repeated_on_the_primary_and_counted() {
    let plan = Cluster::builder().option("log_bin_trust_function_creators=ON");
    let stage = Stage::start(Path::new(env!("CARGO_BIN_EXE_sluice")), plan, "").await.unwrap();
    let primary = stage.cluster.node(0);
    for sql in [
        "CREATE TABLE app.log (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
        "CREATE FUNCTION app.note(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
         BEGIN INSERT INTO app.log (n) VALUES (n); RETURN n; END",
        "CREATE VIEW app.innocent AS SELECT app.note(1) AS a FROM DUAL",
    ] {
        primary.exec(sql).await.unwrap();
    }
    stage.cluster.wait_caught_up(0).await.unwrap();
    let split = SocketAddr::from(([127, 0, 0, 1], stage.sluice.ports().split));
    let mut client = Raw::connect(split, Capabilities::empty()).await;
    assert_eq!(client.value("SELECT a FROM innocent").await.as_deref(), Some("1"));
    assert_eq!(client.value("SELECT COUNT(*) FROM log").await.as_deref(), Some("1"));
    let kind = |kind: &str| metric_of(&stage, kind.to_owned());
    // On a replica it is refused; on the primary it shows that it wrote.
    assert_eq!((kind("read_refused").await, kind("write_unseen").await), (1.0, 0.0));
    client.query("BEGIN").await;
    let id = client.value("SELECT CONNECTION_ID()").await.unwrap();
    let sessions: serde_json::Value =
        serde_json::from_str(&stage.admin().get_text("/sessions").await.unwrap()).unwrap();
    let sessions = sessions.as_array().unwrap();
    let own = sessions.iter().find(|session| session["id"] == id.parse::<u64>().unwrap()).unwrap();
    assert_eq!((&own["state"], &own["route"]), (&"idle".into(), &"primary".into()));
    assert_eq!(own["pins"][0]["reason"], "open_transaction");
    assert!(own["in_transaction_ms"].is_u64());
    assert_eq!(metric(&stage, "sluice_pins", "open_transaction").await, 1.0);
    assert!(matches!(client.query("COMMIT").await, Answer::Ok(_)));
}

async fn metric_of(stage: &Stage, kind: String) -> f64 {
    metric(stage, "sluice_classifier_mispredict_total", &format!("\"{kind}\"")).await
}
