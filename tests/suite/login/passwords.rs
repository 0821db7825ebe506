//! How long a password is good, and what a wrong one costs.
//!
//! Never here: a wait for time to pass; only for what has to happen within it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sluice::config::{Config, Retention};
use sluice::session::login::LoginEnd;
use sluice_cluster::{Cluster, Node, wait_until};
use tokio::time::Instant;

use super::front::{CLIENT, Front, Place, attempt, configuration};
use super::{FAST, FULL, one_node};

pub(super) fn setting(
    cluster: &Cluster,
    store: &Path,
    change: impl FnOnce(&mut Config),
) -> (Config, [Place; 1]) {
    let places = [Place::of(cluster.node(0))];
    let mut config = configuration(&places, store);
    change(&mut config);
    (config, places)
}

async fn lets_in(address: SocketAddr, password: &str) -> bool {
    attempt(address, "app", password, None, CLIENT).await.result.is_ok()
}

async fn steps(address: SocketAddr, password: &str) -> Vec<u16> {
    attempt(address, "app", password, None, CLIENT).await.steps
}

async fn status(node: &Node, name: &str) -> u64 {
    let row: (String, u64) = node.value(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).await.unwrap();
    row.1
}

/// Logins at the server so far.
pub(super) async fn connections(node: &Node) -> u64 {
    status(node, "Connections").await
}

#[tokio::test]
async fn both_passwords_of_an_account_are_good_until_one_is_discarded() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (config, places) =
        setting(&cluster, store.path(), |config| config.login.max_age = Duration::from_secs(2));
    let front = Front::start(&config, &places).await;
    let address = front.address;
    assert!(lets_in(address, "right").await);
    let rotate = "ALTER USER app@'%' IDENTIFIED BY 'newer' RETAIN CURRENT PASSWORD";
    cluster.node(0).exec(rotate).await.unwrap();
    assert_eq!(steps(address, "right").await, FAST);
    assert_eq!(steps(address, "newer").await, FULL);
    for _ in 0..2 {
        assert_eq!(
            (steps(address, "right").await, steps(address, "newer").await),
            (FAST.into(), FAST.into())
        );
    }
    cluster.node(0).exec("ALTER USER app@'%' DISCARD OLD PASSWORD").await.unwrap();
    let refused = || async { !lets_in(address, "right").await };
    wait_until("the old one to be refused", config.login.max_age, refused).await.unwrap();
    assert_eq!(steps(address, "newer").await, FAST, "the other one is not forgotten");
}

#[tokio::test]
async fn a_changed_password_dies_in_memory_within_max_age_though_nobody_logs_in() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (config, places) =
        setting(&cluster, store.path(), |config| config.login.max_age = Duration::from_secs(2));
    let front = Front::start(&config, &places).await;
    let address = front.address;
    // Proved once more after a server accepted it: in use, so it is asked about.
    assert!(lets_in(address, "right").await && lets_in(address, "right").await);
    cluster.node(0).exec("ALTER USER app@'%' IDENTIFIED BY 'newer'").await.unwrap();
    let changed = Instant::now();
    let refused = || async { status(cluster.node(0), "Aborted_connects").await > 0 };
    wait_until("the old password to be asked about", config.login.max_age, refused).await.unwrap();
    assert!(changed.elapsed() <= config.login.max_age, "{:?}", changed.elapsed());
    let old = attempt(address, "app", "right", None, CLIENT).await;
    assert_eq!((old.steps.clone(), old.error().0), (FULL[..2].to_vec(), 1045), "not remembered any more");
    assert!(!lets_in(address, "right").await && lets_in(address, "newer").await);
}

#[tokio::test]
async fn nothing_is_kept_that_the_retention_forbids() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (config, places) =
        setting(&cluster, store.path(), |config| config.login.retention = Retention::Session);
    let front = Front::start(&config, &places).await;
    for _ in 0..2 {
        assert_eq!(steps(front.address, "right").await, FULL, "session: told at every login");
    }

    let (config, places) = setting(&cluster, store.path(), |config| config.login.retention = Retention::None);
    let front = Front::start(&config, &places).await;
    assert_eq!(steps(front.address, "right").await, FULL);
    assert_eq!(steps(front.address, "right").await, FAST, "none: the server remembers, so the hash will do");
    cluster.node(0).exec("FLUSH LOCAL PRIVILEGES").await.unwrap();
    assert_eq!(steps(front.address, "right").await, FULL, "it does not any more");
    assert_eq!(steps(front.address, "right").await, FAST);
    assert!(!lets_in(front.address, "wrong").await);
}

#[tokio::test]
async fn a_storm_of_wrong_passwords_costs_the_server_little_and_locks_nobody_out() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (config, places) = setting(&cluster, store.path(), |_| {});
    let mut front = Front::start(&config, &places).await;
    assert!(lets_in(front.address, "right").await);
    let before = connections(cluster.node(0)).await;
    for _ in 0..100 {
        assert_eq!(attempt(front.address, "app", "guess", None, CLIENT).await.error().0, 1045);
    }
    let asked = connections(cluster.node(0)).await - before;
    assert!(asked <= 8, "{asked} logins for one wrong password tried a hundred times");
    for number in 0..100 {
        let guess = format!("guess {number}");
        let (code, state, _) = attempt(front.address, "app", &guess, None, CLIENT).await.error();
        assert_eq!((code, &*state), (1045, "28000"));
    }
    let asked = connections(cluster.node(0)).await - before;
    assert!(asked <= 40, "{asked} logins for two hundred wrong passwords");
    let throttled = attempt(front.address, "app", "guess", None, CLIENT).await;
    assert!(throttled.steps.is_empty(), "not even asked for its password");
    assert_eq!(steps(front.address, "right").await, FAST, "who proves the right one is let in");
    assert!(attempt(front.address, "nobody", "", None, CLIENT).await.result.is_ok(), "so are others");
    let mut ends = Vec::new();
    while let Ok(end) = front.ends.try_recv() {
        ends.push(end);
    }
    assert!(ends.contains(&LoginEnd::Refused) && ends.contains(&LoginEnd::Throttled), "{ends:?}");
}

#[tokio::test]
async fn probes_that_only_connect_never_count() {
    let cluster = one_node().await;
    let store = tempfile::tempdir().unwrap();
    let (config, places) = setting(&cluster, store.path(), |_| {});
    let mut front = Front::start(&config, &places).await;
    for _ in 0..100 {
        drop(tokio::net::TcpStream::connect(front.address).await.unwrap());
        assert!(matches!(front.end().await, LoginEnd::Closed | LoginEnd::Network));
    }
    assert_eq!(steps(front.address, "right").await, FULL);
}
