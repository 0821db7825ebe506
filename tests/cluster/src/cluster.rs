//! A cluster: its folder, its nodes, its end.
//!
//! Must never return from its end (drop) before its processes and its folder are gone.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::{env, fs};

use tokio::task::{JoinSet, spawn_blocking};

use crate::mysqld::{Mysqld, workspace};
use crate::options::Settings;
use crate::reaper::Reaper;
use crate::{Accounts, Boot, ClusterError, Durability, NameResolution, Node, Respawn, Storage, template};

/// Longest folder name that leaves room for `/n99/s`: a Unix socket's path ends at 107 bytes.
const FOLDER_LIMIT: usize = 90;

/// Room that one node may need: 0.2 GB to begin with, then its binlogs and tables.
const NODE_BYTES: u64 = 1 << 30;

/// What a cluster is to be like; made by [`Cluster::builder`].
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    nodes: u32,
    respawn: Respawn,
    settings: Settings,
}

impl ClusterBuilder {
    /// How many servers; 3 if not said.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// Whether servers boot as packaged (if not said) or fenced as Sluice wants them.
    #[must_use]
    pub fn boot(mut self, boot: Boot) -> Self {
        self.settings.boot = boot;
        self
    }

    /// What a commit survives; everything if not said.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// Where data lies; in memory if not said.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.settings.storage = storage;
        self
    }

    /// Whether servers resolve names and keep a host cache; off if not said.
    #[must_use]
    pub fn name_resolution(mut self, names: NameResolution) -> Self {
        self.settings.names = names;
        self
    }

    /// When a server that ended is started again; only on RESTART and CLONE if not said.
    #[must_use]
    pub fn respawn(mut self, respawn: Respawn) -> Self {
        self.respawn = respawn;
        self
    }

    /// `bind_address`; 127.0.0.1 if not said. Loopback addresses only.
    #[must_use]
    pub fn bind_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.settings.bind_address);
        self
    }

    /// `max_connections`; 400 if not said.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// One more line for every node's defaults file, such as `max_connect_errors=5`; it wins over ours.
    #[must_use]
    pub fn option(mut self, line: &str) -> Self {
        self.settings.extra.push(line.to_owned());
        self
    }

    /// Starts the servers side by side and waits until root can log in to each.
    ///
    /// # Errors
    /// If there is no MySQL ([`ClusterError::NoServer`]) or a server does not start.
    pub async fn start(self) -> Result<Cluster, ClusterError> {
        let mysqld = Mysqld::find().await?;
        let template = blocking({
            let mysqld = mysqld.clone();
            move || template::ensure(&mysqld)
        })
        .await?;
        let folder = make_folder(self.settings.storage, self.nodes)?;
        let reaper = Reaper::start(&folder)?;
        let mut cluster = Cluster {
            folder,
            mysqld,
            nodes: Vec::new(),
            accounts: OnceLock::new(),
            sluices: AtomicU32::new(0),
            keep_logs: AtomicBool::new(false),
            reaper: Some(reaper),
        };
        if let Err(error) = cluster.start_nodes(&self, &template).await {
            cluster.keep_logs();
            return Err(error);
        }
        Ok(cluster)
    }
}

/// Running servers that end with this value.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    mysqld: Mysqld,
    nodes: Vec<Node>,
    pub(crate) accounts: OnceLock<Accounts>,
    sluices: AtomicU32,
    keep_logs: AtomicBool,
    reaper: Option<Reaper>,
}

/// What stays after [`Cluster::keep`].
#[derive(Debug, Clone)]
pub struct Kept {
    /// Everything of the cluster.
    pub folder: PathBuf,
    /// A script that ends its processes and removes the folder.
    pub stop: PathBuf,
}

impl Cluster {
    /// A cluster of three to be adjusted and started.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder { nodes: 3, respawn: Respawn::default(), settings: Settings::default() }
    }

    /// Three servers, the first is the primary of the others, semi-sync on.
    ///
    /// # Errors
    /// As [`ClusterBuilder::start`] and [`Cluster::setup_replication`].
    pub async fn three_nodes(accounts: &Accounts) -> Result<Self, ClusterError> {
        let cluster = Self::builder().start().await?;
        cluster.setup_replication(0, accounts).await?;
        Ok(cluster)
    }

    async fn start_nodes(&mut self, plan: &ClusterBuilder, template: &Path) -> Result<(), ClusterError> {
        let mut starting = JoinSet::new();
        for number in 1..=plan.nodes {
            let (mysqld, settings, respawn) = (self.mysqld.clone(), plan.settings.clone(), plan.respawn);
            let (template, folder) = (template.to_owned(), self.folder.clone());
            starting.spawn(blocking(move || {
                let node = Node::prepare(&mysqld, &settings, respawn, &template, &folder, number)?;
                node.launch()?;
                Ok(node)
            }));
        }
        for node in starting.join_all().await {
            self.nodes.push(node?);
        }
        self.nodes.sort_by_key(Node::server_id);
        for node in &self.nodes {
            node.wait_ready().await?;
        }
        Ok(())
    }

    /// The servers, in order: db1, db2, ...
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The server at `index` (from 0). Panics where there is none.
    #[must_use]
    #[allow(clippy::indexing_slicing)] // a test that asks for a node it did not start is wrong
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The server program in use.
    #[must_use]
    pub fn mysqld(&self) -> &Mysqld {
        &self.mysqld
    }

    /// The cluster's folder; whatever is put there ends with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder of its own for the next Sluice in front of this cluster.
    pub(crate) fn sluice_folder(&self) -> Result<PathBuf, ClusterError> {
        let number = self.sluices.fetch_add(1, Ordering::Relaxed) + 1;
        let folder = self.folder.join(format!("sluice{number}"));
        fs::create_dir_all(&folder).map_err(ClusterError::path("create", &folder))?;
        Ok(folder)
    }

    /// Keeps the logs at the end although no test panics (a panic keeps them by itself).
    pub fn keep_logs(&self) {
        self.keep_logs.store(true, Ordering::Relaxed);
    }

    /// Lets the servers and their folder stay beyond this process. Nobody restarts them then.
    ///
    /// # Errors
    /// If the script that ends them can't be written; then everything ends now.
    pub fn keep(mut self) -> Result<Kept, ClusterError> {
        let kept = Kept { folder: self.folder.clone(), stop: self.folder.join("stop") };
        if let Some(reaper) = self.reaper.take() {
            reaper.keep(&self.folder)?;
        }
        for node in self.nodes.drain(..) {
            std::mem::forget(node); // its supervisor would kill it
        }
        Ok(kept)
    }

    /// Copies logs and configurations to where they outlive the cluster, and says where.
    fn save_logs(&self) {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("cluster").replace("::", "-");
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
        let place = target.join("cluster-logs").join(format!("{test}-{}", std::process::id()));
        for folder in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let copies = place.join(folder.file_name());
            let _ = fs::create_dir_all(&copies);
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let name = file.file_name();
                let path = Path::new(&name);
                if path
                    .extension()
                    .is_some_and(|ending| ending == "log" || ending == "cnf" || ending == "toml")
                {
                    let _ = fs::copy(file.path(), copies.join(path));
                }
            }
        }
        eprintln!("cluster: logs and configurations are in {}", place.display());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.reaper.is_none() {
            return; // kept
        }
        if std::thread::panicking() || self.keep_logs.load(Ordering::Relaxed) {
            self.save_logs();
        }
        for node in &self.nodes {
            node.end(); // also clones that a test still holds
        }
        drop(self.reaper.take());
    }
}

fn make_folder(storage: Storage, nodes: u32) -> Result<PathBuf, ClusterError> {
    let room = |folder: &Path| {
        let seen = rustix::fs::statvfs(folder);
        seen.is_ok_and(|seen| seen.f_bavail * seen.f_frsize >= u64::from(nodes) * NODE_BYTES)
    };
    let memory = Some(Path::new("/dev/shm")).filter(|folder| storage == Storage::Memory && room(folder));
    let disk = || Some(env::temp_dir()).filter(|folder| folder.as_os_str().len() + 20 <= FOLDER_LIMIT);
    let parent = memory.map(PathBuf::from).or_else(disk).unwrap_or_else(|| PathBuf::from("/tmp"));
    let folder = tempfile::Builder::new().prefix("sluice-").tempdir_in(&parent);
    Ok(folder.map_err(ClusterError::path("create a folder in", parent))?.keep()) // the reaper removes it
}

async fn blocking<T, F>(work: F) -> Result<T, ClusterError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ClusterError> + Send + 'static,
{
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ClusterError::Misuse(format!("a helper thread ended: {error}"))),
    }
}
