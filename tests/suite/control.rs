//! A controller over a real cluster, without sessions: the test plays the sessions at the gate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice::config::Config;
use sluice::control_login::ControlLogin;
use sluice::controller::api::{
    self, ControllerHandle, OperationState, OperationView, Refusal, Request, Status, SwitchoverRequest,
};
use sluice::controller::{self, grants};
use sluice::feed::{self, Feed};
use sluice_cluster::{Accounts, Cluster, Login, Node, wait_until};
use sluice_routing::topology::{Instance, InstanceId, Topology};
use tokio::sync::{oneshot, watch};

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Control {
    pub(crate) handle: ControllerHandle,
    pub(crate) feed: Arc<Feed>,
    stop: watch::Sender<bool>,
    crash: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

pub(crate) fn config(cluster: &Cluster, store: &Path, more: &str) -> Config {
    let mut text = format!("[cluster]\nname = \"shop\"\nstore = \"file://{}\"\n", store.display());
    for node in cluster.nodes() {
        write!(text, "[[instance]]\nname = \"{}\"\naddress = \"{}\"\n", node.name(), node.address()).unwrap();
    }
    text.push_str(
        "[accounts.control]\nuser = \"sluice\"\npassword = \"control-password\"\n\
         [accounts.replication]\nuser = \"repl\"\npassword = \"repl-password\"\n\
         [listen]\nsplit = \"127.0.0.1:3306\"\nadmin = \"127.0.0.1:3380\"\n",
    );
    text.push_str(more);
    Config::parse(&text, Path::new("/")).unwrap()
}

/// Exactly what `sluice grants` prints.
pub(crate) fn accounts() -> Accounts {
    let secret = |text: &str| sluice::config::Secret::new(text.to_owned());
    let account = |user: &str, password: &str| sluice::config::Account {
        user: user.into(),
        password: secret(password),
    };
    let ours = sluice::config::Accounts {
        control: account("sluice", "control-password"),
        replication: account("repl", "repl-password"),
        clone: None,
    };
    Accounts::new(
        Login::new("sluice", "control-password"),
        Login::new("repl", "repl-password"),
        grants::statements(&ours, None),
    )
}

pub(crate) async fn cluster(nodes: u32) -> Cluster {
    let cluster = Cluster::builder().nodes(nodes).start().await.unwrap();
    cluster.setup_replication(0, &accounts()).await.unwrap();
    cluster
}

impl Control {
    pub(crate) fn start(cluster: &Cluster, store: &Path) -> Self {
        Self::start_with(config(cluster, store, ""))
    }

    pub(crate) fn start_with(config: Config) -> Self {
        let instances: Vec<Instance> = config
            .instances
            .iter()
            .zip(0..)
            .map(|(i, id)| Instance::unchecked(InstanceId(id), Arc::clone(&i.name), Arc::clone(&i.address)))
            .collect();
        let (publisher, feed) = feed::channel(1, Topology::unknown(instances));
        let (handle, seat) = api::channel(Status::default());
        let (stop, stopped) = watch::channel(false);
        let (crash, crashed) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let servers = Arc::new(ControlLogin::new(&config));
            let running = controller::run_over(servers, Arc::new(config), publisher, seat, stopped);
            runtime.block_on(async {
                tokio::select! {
                    ended = running => ended.map_err(|error| error.to_string()),
                    _ = crashed => Ok(()),
                }
            })
        });
        Self { handle, feed, stop, crash: Some(crash), thread: Some(thread) }
    }

    /// Ends it as a crash would, wherever it is.
    pub(crate) fn crash(mut self) {
        drop(self.crash.take());
        joined(self.thread.take().unwrap()).unwrap();
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        self.stop.send_replace(true);
        joined(self.thread.take().unwrap())
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Arc<Status> {
        let mut seen = self.handle.status();
        let look = || {
            seen = self.handle.status();
            std::future::ready(wanted(&seen))
        };
        let waited = wait_until(what, SOON, look).await;
        let operations = self.handle.operations();
        // The operations first: what went wrong is likely to be in them, and the status is long.
        assert!(waited.is_ok(), "never {what}: {:#?}; {seen:#?}", *operations.borrow());
        seen
    }

    /// Healthy, guaranteed, nothing left to do.
    pub(crate) async fn settled(&self, primary: &str) -> Arc<Status> {
        self.until(&format!("settled with {primary}"), |status| {
            let replicas = status.instances.iter().filter(|i| i.role == "replica");
            status.verdict == "healthy"
                && status.primary.as_deref() == Some(primary)
                && status.guarantee.starts_with("every OK")
                && status.gate.state == "open"
                && status.operation.is_none()
                && status.alarms.is_empty()
                && replicas.clone().all(|i| i.reads == "serving" && i.source.as_deref() == Some(primary))
                && replicas.clone().all(|i| i.acker && i.semi_sync.as_deref() == Some("acking"))
        })
        .await
    }

    pub(crate) async fn switchover(&self, request: SwitchoverRequest) -> OperationView {
        let id = self.handle.ask(Request::Switchover(request)).await.unwrap();
        self.ended(&id).await
    }

    pub(crate) async fn ended(&self, id: &str) -> OperationView {
        let mut operations = self.handle.operations();
        let ended = |all: &Arc<Vec<OperationView>>| {
            all.iter().any(|view| view.id == id && view.state != OperationState::Running)
        };
        let all = tokio::time::timeout(SOON, operations.wait_for(ended)).await.unwrap().unwrap().clone();
        all.iter().find(|view| view.id == id).unwrap().clone()
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<String, Refusal> {
        self.handle.ask(request).await
    }

    pub(crate) fn primary(&self) -> Option<String> {
        let topology = self.feed.topology();
        topology.primary().map(|instance| instance.name.to_string())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let ended = joined(thread);
            assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
        }
    }
}

/// What the controller's thread came to. One that never ends is a defect, not a test that goes on for ever.
fn joined(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    let until = Instant::now() + SOON;
    while !thread.is_finished() && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    if !thread.is_finished() {
        return Err("the controller did not end".into());
    }
    thread.join().unwrap_or_else(|_| Err("the controller panicked".into()))
}

pub(crate) async fn writable(node: &Node) -> bool {
    node.value::<u8>("SELECT @@global.read_only").await.unwrap() == 0
}
