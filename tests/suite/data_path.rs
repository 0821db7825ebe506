//! The data path in this process, with the topology in the test's own hand: what a session does when roles
//! change, without a controller in between.
//!
//! Never here: the controller.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::{Conn, OptsBuilder};
use sluice::backend::Dialer;
use sluice::config::Config;
use sluice::feed::{self, Feed, Publisher};
use sluice::lifecycle::{Lifecycle, Phases};
use sluice::session::SessionContext;
use sluice::session::login::LoginContext;
use sluice::session::memory::Memory;
use sluice::workers;
use sluice_cluster::{Accounts, Cluster, HeldPort, Login};
use sluice_protocol::GtidSet;
use sluice_routing::decide::Fallback;
use sluice_routing::topology::{Instance, InstanceId, Reads, Topology};
use tempfile::TempDir;

/// Workers of the data path under test.
const WORKERS: usize = 2;
/// Prepared statements that a client keeps; the driver closes what is beyond.
const STATEMENTS: usize = 12_000;

/// A running data path.
pub(crate) struct DataPath {
    pub(crate) publisher: Publisher,
    pub(crate) feed: Arc<Feed>,
    pub(crate) memory: Arc<Memory>,
    split: SocketAddr,
    primary: SocketAddr,
    replica: SocketAddr,
    phases: Phases,
    workers: Option<workers::Workers>,
    _store: TempDir,
    _ports: [HeldPort; 4],
}

/// Three nodes that replicate, the first being the primary.
pub(crate) async fn three_nodes() -> Cluster {
    Cluster::three_nodes(&Accounts::replication_only()).await.unwrap()
}

impl DataPath {
    /// Starts it in front of `cluster`, with node 0 as the primary and all others serving reads.
    pub(crate) fn start(cluster: &Cluster, hold: Duration) -> Self {
        Self::start_with(cluster, hold, "")
    }

    /// The same with these lines in `[sessions]`.
    pub(crate) fn start_with(cluster: &Cluster, hold: Duration, sessions: &str) -> Self {
        let addresses = cluster.nodes().iter().map(|node| node.address().into());
        Self::start_at(cluster, &addresses.collect::<Vec<_>>(), hold, &format!("[sessions]\n{sessions}"))
    }

    /// The same with the nodes at these addresses, and with these sections of the configuration.
    pub(crate) fn start_at(cluster: &Cluster, at: &[SocketAddr], hold: Duration, sections: &str) -> Self {
        let store = tempfile::tempdir().unwrap();
        let ports = std::array::from_fn(|_| HeldPort::any().unwrap());
        let [split, primary, replica, admin] =
            ports.each_ref().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port.number())));
        let instances: String = cluster
            .nodes()
            .iter()
            .zip(at)
            .map(|(node, at)| format!("[[instance]]\nname = \"{}\"\naddress = \"{at}\"\n", node.name()))
            .collect();
        let text = format!(
            "[cluster]\nname = \"test\"\nstore = \"file://{}\"\n{instances}\
             [accounts.control]\nuser = \"sluice\"\npassword = \"x\"\n\
             [accounts.replication]\nuser = \"sluice_repl\"\npassword = \"x\"\n\
             [listen]\nsplit = \"{split}\"\nprimary = \"{primary}\"\nreplica = \"{replica}\"\n\
             admin = \"{admin}\"\nworkers = {WORKERS}\n{sections}\n",
            store.path().display(),
        );
        let config = Config::parse(&text, store.path()).unwrap();
        let (publisher, feed) = feed::channel(WORKERS, topology(cluster, 1, 0));
        let dialer = Arc::new(Dialer::new(&config).unwrap());
        let login = LoginContext::new(&config, dialer, Arc::clone(&feed)).unwrap();
        let mut context = SessionContext::new(Arc::clone(&feed), login, hold, Fallback::ToPrimary);
        context.pooling = config.sessions.pooling;
        let context = Arc::new(context);
        context.apply(&config.sessions);
        let memory = Arc::clone(context.login.memory());
        let phases = Phases::default();
        let sockets = workers::bind(&config.listen).unwrap();
        let drain = Duration::from_secs(2);
        let workers = workers::start(sockets, &context, &phases.watch(), drain).unwrap();
        Self {
            publisher,
            feed,
            memory,
            split,
            primary,
            replica,
            phases,
            workers: Some(workers),
            _store: store,
            _ports: ports,
        }
    }

    /// Where the split listener is.
    pub(crate) fn split_address(&self) -> SocketAddr {
        self.split
    }

    /// Where the primary listener is.
    pub(crate) fn primary_address(&self) -> SocketAddr {
        self.primary
    }

    /// Where the replica listener is.
    pub(crate) fn replica_address(&self) -> SocketAddr {
        self.replica
    }

    /// A client through the split listener.
    pub(crate) async fn split(&self) -> Conn {
        client(self.split).await
    }

    /// A client through the primary listener.
    pub(crate) async fn primary(&self) -> Conn {
        client(self.primary).await
    }

    /// A client through the replica listener.
    pub(crate) async fn replica(&self) -> Conn {
        client(self.replica).await
    }
}

impl Drop for DataPath {
    fn drop(&mut self) {
        self.phases.enter(Lifecycle::Draining);
        if let Some(workers) = self.workers.take() {
            workers.join();
        }
    }
}

async fn client(address: SocketAddr) -> Conn {
    let app = Login::app();
    let options = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(app.user))
        .pass(Some(app.password))
        .db_name(Some("app"))
        .stmt_cache_size(STATEMENTS)
        .prefer_socket(false);
    Conn::new(options).await.unwrap()
}

/// A topology in which node `primary` is the primary of `epoch` and the others serve reads, whose executed
/// sets are not known yet.
pub(crate) fn topology(cluster: &Cluster, epoch: u64, primary: u16) -> Topology {
    let instances: Vec<Instance> = cluster
        .nodes()
        .iter()
        .zip(0..)
        .map(|(node, id)| {
            let mut instance =
                Instance::unchecked(InstanceId(id), node.name(), node.address().to_string().as_str());
            instance.server_uuid = Some(node.uuid());
            instance.reads = Reads::Serving;
            instance
        })
        .collect();
    Topology { epoch, primary: Some(InstanceId(primary)), ..Topology::unknown(instances) }
}

/// As [`topology`], with the executed sets as they are now.
pub(crate) async fn caught_up_topology(cluster: &Cluster, epoch: u64, primary: u16) -> Topology {
    cluster.wait_caught_up(usize::from(primary)).await.unwrap();
    let mut topology = topology(cluster, epoch, primary);
    let mut instances = topology.instances.to_vec();
    for (instance, node) in instances.iter_mut().zip(cluster.nodes()) {
        let executed: GtidSet = node.gtid_executed().await.unwrap().parse().unwrap();
        instance.executed = Arc::new(executed);
    }
    topology.instances = instances.into();
    topology
}
