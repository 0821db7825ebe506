//! The API as a whole, over real connections, with an invented cluster behind it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use sluice_routing::decide::{Listener, PrimaryReason};
use sluice_routing::topology::{Instance, InstanceId, Reads, Topology};
use sluice_routing::vouched::Vouched;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::controller::api::{
    self, ControllerSeat, InstanceStatus, MarkTerms, OperationState, OperationView, Refusal, RefusalCode,
    Request, Status, StepView,
};
use crate::controller::record::MarkKind;
use crate::feed::gate::Closed;
use crate::feed::registry::{Activity, Open, RouteNote};
use crate::feed::{Publisher, registry};
use crate::lifecycle::Phases;
use crate::reload::Reloaded;

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789abcdef";

struct Stage {
    address: SocketAddr,
    phases: Phases,
    publisher: Publisher,
    seat: ControllerSeat,
    store: tempfile::TempDir,
    _end: oneshot::Sender<()>,
}

async fn stage(face: Face, token: Option<&str>) -> Stage {
    let phases = Phases::default();
    let instances: Vec<Instance> = (0..3)
        .map(|id| Instance::unchecked(InstanceId(id), format!("db{id}"), format!("10.0.0.{id}:3306")))
        .collect();
    let (publisher, feed) = crate::feed::channel(1, Topology::unknown(instances));
    let first = InstanceStatus { name: "db0".into(), ..InstanceStatus::default() };
    let instances = vec![first];
    let status = Status { cluster: "shop".into(), epoch: 3, instances, ..Status::default() };
    let (controller, seat) = api::channel(status);
    let store = tempfile::tempdir().unwrap();
    let state = AdminState {
        controller,
        feed,
        phase: phases.watch(),
        live: Arc::new(|| true),
        connections: Arc::new(|id| ConnectionCount { lent: usize::from(id.0) + 4, idle: 3 }),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        examine: Arc::new(|| Box::pin(std::future::ready(None))),
        reload: Arc::new(|| {
            let none = Reloaded { differences: Vec::new(), certificate: None };
            tokio::spawn(async move { Ok(none) })
        }),
        harmless_functions: Arc::new(|| {
            let mut functions = Vouched::default();
            functions.add("shop.price").unwrap();
            functions
        }),
        history: store.path().join("history.jsonl"),
        token: token.map(|token| Secret::new(token.to_owned())),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    tokio::spawn(serve(listener, state, face, async move {
        let _ = ended.await;
    }));
    Stage { address, phases, publisher, seat, store, _end: end }
}

/// Sends bytes and reads the answer to its end.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn split(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
}

async fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    split(&exchange(address, request.as_bytes()).await)
}

async fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    split(&exchange(address, request.as_bytes()).await)
}

/// Answers the next request of the API.
async fn answer_next(stage: &mut Stage, answer: Result<String, Refusal>) -> Request {
    let asked = timeout(LIMIT, stage.seat.requests.recv()).await.unwrap().unwrap();
    asked.answer.send(answer).unwrap();
    asked.request
}

fn publish(stage: &Stage, primary: Option<u16>) {
    let before = stage.publisher.feed().topology();
    let mut instances = before.instances.to_vec();
    instances[1].reads = Reads::Serving;
    instances[1].lag = Some(Duration::from_millis(1500));
    let next =
        Topology { epoch: 3, primary: primary.map(InstanceId), warm: None, instances: instances.into() };
    drop(before);
    stage.publisher.publish(next);
}

#[tokio::test]
async fn probes_follow_the_feed_and_the_phase() {
    let stage = stage(Face::Operations, None).await;
    let at = stage.address;
    assert_eq!(get(at, "/live").await.0, 200);
    assert_eq!(get(at, "/ready").await.0, 503);
    assert_eq!(get(at, "/primary").await.0, 503);
    assert_eq!(get(at, "/replica").await.0, 503);

    stage.phases.enter(Lifecycle::Serving);
    publish(&stage, Some(0));
    assert_eq!(get(at, "/ready").await.0, 200);
    assert_eq!(get(at, "/primary").await, (200, json!({"ok": true, "reason": "writes go to db0"})));
    assert_eq!(get(at, "/replica").await.0, 200);
    assert_eq!(get(at, "/replica?max_lag=1s").await.0, 503);
    assert_eq!(get(at, "/replica?max_lag=2s").await.0, 200);
    assert_eq!(get(at, "/replica?max_lag=soon").await.0, 400);
    assert_eq!(get(at, "/instances/db0/primary").await.0, 200);
    assert_eq!(get(at, "/instances/db1/primary").await.0, 503);
    assert_eq!(get(at, "/instances/db1/replica?max_lag=2s").await.0, 200);
    assert_eq!(get(at, "/instances/db0/replica").await.0, 503);
    assert_eq!(get(at, "/instances/db2/replica").await.1["reason"], "serves no reads: not_yet_checked");
    assert_eq!(get(at, "/instances/db9/replica").await.0, 404);

    // A lost primary changes /primary but not readiness.
    stage.publisher.feed().gate().close(Closed::NoPrimary);
    assert_eq!((get(at, "/primary").await.0, get(at, "/ready").await.0), (503, 200));
    stage.publisher.feed().gate().close(Closed::Switchover);
    assert_eq!(get(at, "/primary").await.0, 200);
    stage.phases.enter(Lifecycle::NotReady);
    assert_eq!((get(at, "/ready").await.0, get(at, "/live").await.0), (503, 200));
}

#[tokio::test]
async fn status_sessions_and_history_are_shown() {
    let stage = stage(Face::Operations, None).await;
    let at = stage.address;
    assert_eq!(get(at, "/status").await.1["cluster"], "shop");
    assert_eq!(get(at, "/instances").await.1[0]["connections"], 7);
    assert_eq!(get(at, "/metrics").await.0, 200);
    assert_eq!(get(at, "/history").await, (200, json!([])));
    std::fs::write(stage.store.path().join("history.jsonl"), "{\"n\":1}\n{\"n\":2}\n").unwrap();
    assert_eq!(get(at, "/history?limit=1").await.1, json!([{"n": 2}]));

    let feed = Arc::clone(stage.publisher.feed());
    let session = registry::register(&feed, "10.0.0.9:4000".parse().unwrap(), Listener::Split);
    session.entry().set_user("app");
    session.entry().set_pins(1 << (sluice_routing::pin::PinReason::NamedLock as u32));
    session.entry().set_backend(Some((InstanceId(1), 88)));
    let (status, sessions) = get(at, "/sessions").await;
    assert_eq!((status, sessions.as_array().unwrap().len()), (200, 1));
    let shown = &sessions[0];
    assert_eq!(shown["id"], session.entry().id);
    assert_eq!(
        (&shown["user"], &shown["instance"], &shown["thread"]),
        (&json!("app"), &json!("db1"), &json!(88))
    );
    assert_eq!(shown["pins"][0]["reason"], "named_lock");
    assert_eq!((&shown["state"], &shown["route"]), (&json!("login"), &json!(null)));
    session.entry().set_activity(Activity::Held);
    session.entry().set_route(RouteNote::Primary(PrimaryReason::Statement));
    session.entry().set_transaction(Open::OnServer);
    let shown = get(at, "/sessions").await.1[0].clone();
    assert_eq!((&shown["state"], &shown["route"]), (&json!("held"), &json!("primary")));
    assert_eq!(shown["route_sentence"], "The statement is not proved harmless.");
    assert_eq!(
        (&shown["pins"][0]["reason"], shown["pins"].as_array().unwrap().len()),
        (&json!("open_transaction"), 2)
    );
}

#[tokio::test]
async fn requests_reach_the_controller_and_refusals_come_back() {
    let mut stage = stage(Face::Operations, None).await;
    let at = stage.address;
    let asked =
        tokio::spawn(async move { post(at, "/switchover", "", r#"{"to":"db1","drain_ms":2000}"#).await });
    let request = answer_next(&mut stage, Ok("3-1".into())).await;
    let Request::Switchover(switchover) = request else { panic!("{request:?}") };
    assert_eq!((switchover.to.as_deref(), switchover.drain_ms), (Some("db1"), Some(2000)));
    assert_eq!(asked.await.unwrap(), (202, json!({"operation": "3-1"})));

    let asked = tokio::spawn(async move {
        post(at, "/instances/db2/drain", "", r#"{"reason":"disk","for_ms":60000}"#).await
    });
    let request = answer_next(&mut stage, Ok("3-2".into())).await;
    let minute = Some(Duration::from_secs(60));
    let terms =
        MarkTerms { reason: Some("disk".into()), duration: minute, who: "somebody from 127.0.0.1".into() };
    assert_eq!(request, Request::Mark { kind: MarkKind::Drain, name: "db2".into(), terms: terms.clone() });
    assert_eq!(asked.await.unwrap().0, 202);

    let asked =
        tokio::spawn(async move { post(at, "/adopt", "sluice-who: ann\r\n", r#"{"primary":"db9"}"#).await });
    let refusal = Refusal { code: RefusalCode::UnknownInstance, reason: "no db9".into(), hint: None };
    let request = answer_next(&mut stage, Err(refusal.clone())).await;
    assert_eq!(request, Request::Adopt { primary: "db9".into(), who: "ann from 127.0.0.1".into() });
    let (status, body) = asked.await.unwrap();
    assert_eq!((status, serde_json::from_value::<Refusal>(body).unwrap()), (404, refusal));

    let asked = tokio::spawn(async move { post(at, "/instances/db2/undrain", "", "").await });
    let who = terms.who;
    let unmark = Request::Unmark { kind: Some(MarkKind::Drain), name: "db2".into(), who: who.clone() };
    assert_eq!(answer_next(&mut stage, Ok("3-3".into())).await, unmark);
    assert_eq!(asked.await.unwrap().0, 202);
    let asked = tokio::spawn(async move { post(at, "/pause", "", r#"{"for_ms":60000}"#).await });
    let terms = MarkTerms { reason: None, duration: minute, who };
    assert_eq!(answer_next(&mut stage, Ok("3-4".into())).await, Request::Pause(terms));
    assert_eq!(asked.await.unwrap().0, 202);
    assert_eq!(post(at, "/instances/db2/shrink", "", "").await.0, 404);

    assert_eq!(post(at, "/switchover", "", "{").await.0, 400);
    assert_eq!(post(at, "/adopt", "", "").await.0, 400);
    assert_eq!(post(at, "/adopt", "origin: http://evil\r\n", r#"{"primary":"db1"}"#).await.0, 403);
    assert_eq!(post(at, "/switchover", "", &" ".repeat(70_000)).await.0, 413);
    assert_eq!(post(at, "/status", "", "").await.0, 405);
    drop(stage.seat);
    assert_eq!(post(at, "/switchover", "", "").await.0, 429);
}

#[tokio::test]
async fn an_operation_is_followed_by_long_polls() {
    let stage = stage(Face::Operations, None).await;
    let at = stage.address;
    assert_eq!(get(at, "/operations/3-1?wait=1s").await.0, 404);
    let mut operation =
        OperationView { id: "3-1".into(), kind: "switchover".into(), ..OperationView::default() };
    stage.seat.operations.send_replace(Arc::new(vec![operation.clone()]));
    assert_eq!(get(at, "/operations").await.1[0]["id"], "3-1");
    assert_eq!(get(at, "/operations/3-1").await.1["state"], "running");
    assert_eq!(get(at, "/operations/3-1?wait=10ms&seen=0").await.0, 200);

    let follower = tokio::spawn(async move { get(at, "/operations/3-1?wait=30s&seen=0").await });
    operation.steps.push(StepView { name: "preflight".into(), ..StepView::default() });
    stage.seat.operations.send_replace(Arc::new(vec![operation.clone()]));
    let (status, news) = timeout(LIMIT, follower).await.unwrap().unwrap();
    assert_eq!((status, &news["steps"][0]["name"]), (200, &json!("preflight")));

    operation.state = OperationState::Done;
    stage.seat.operations.send_replace(Arc::new(vec![operation]));
    assert_eq!(get(at, "/operations/3-1?wait=30s&seen=1").await.1["state"], "done");
}

#[tokio::test]
async fn a_configured_token_is_asked_for() {
    let stage = stage(Face::Operations, Some(TOKEN)).await;
    let at = stage.address;
    assert_eq!(get(at, "/status").await.0, 401);
    assert_eq!(get(at, "/metrics").await.0, 401);
    assert_eq!(get(at, "/live").await.0, 200);
    let with = |value: String| async move {
        let request =
            format!("GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {value}\r\n\r\n");
        split(&exchange(at, request.as_bytes()).await).0
    };
    assert_eq!(with(format!("Bearer {TOKEN}")).await, 200);
    assert_eq!(with("Bearer 0123456789abcdeX".into()).await, 401);
    assert_eq!(with(TOKEN.into()).await, 401);
    assert_eq!(post(at, "/switchover", "", "").await.0, 401);
}

#[tokio::test]
async fn the_health_listener_only_answers_probes() {
    let stage = stage(Face::Health, Some(TOKEN)).await;
    let at = stage.address;
    assert_eq!(get(at, "/live").await.0, 200);
    assert_eq!(get(at, "/metrics").await.0, 200);
    assert_eq!(get(at, "/instances/db0/primary").await.0, 503);
    for path in ["/status", "/sessions", "/operations", "/switchover", "/openapi.json"] {
        assert_eq!(get(at, path).await.0, 404, "{path}");
    }
    assert_eq!(post(at, "/switchover", "", "").await.0, 404);
}

#[tokio::test]
async fn garbage_is_turned_away_and_disturbs_nobody() {
    let stage = stage(Face::Operations, None).await;
    let at = stage.address;
    let silent = TcpStream::connect(at).await.unwrap();
    for garbage in
        [&b"\x00\x01\x02\r\n\r\n"[..], b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n"]
    {
        let answer = exchange(at, garbage).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let long = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 100_000]].concat();
    let answer = exchange(at, &long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(get(at, "/live").await.0, 200);
    drop(silent);
}

#[tokio::test]
async fn a_route_is_explained() {
    let stage = stage(Face::Operations, None).await;
    let at = stage.address;
    let body = r#"{"statement": "CREATE TEMPORARY TABLE x (a INT)"}"#;
    let (status, shown) = post(at, "/explain/route", "", body).await;
    assert_eq!((status, &shown["intent"]), (200, &json!("write:temporary_table")));
    assert_eq!((&shown["pins"][0]["name"], &shown["pins"][0]["begins"]), (&json!("x"), &json!(true)));
    let routes = shown["routes"].as_array().unwrap();
    let places: Vec<_> =
        routes.iter().map(|route| (&route["listener"], &route["situation"], &route["to"])).collect();
    assert_eq!(places.len(), 6);
    assert_eq!(places[0], (&json!("split"), &json!("autocommit"), &json!("primary")));
    let quoted = r#"{"statement": "SELECT \"ä\" FROM t", "sql_mode": "ANSI_QUOTES", "charset": "gbk"}"#;
    assert_eq!(post(at, "/explain/route", "", quoted).await.1["intent"], "primary:charset");
    assert_eq!(post(at, "/explain/route", "", "{}").await.0, 400);
    for (schema, intent) in [("shop", "read"), ("", "primary:unknown_function")] {
        let body = json!({ "statement": "SELECT PRICE(a) FROM t", "schema": schema }).to_string();
        let (_, shown) = post(at, "/explain/route", "", &body).await;
        assert_eq!(shown["intent"], intent);
        assert_eq!(shown["sentence"].as_str().unwrap().contains("vouches"), intent == "read");
    }
}
