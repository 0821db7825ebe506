//! The built `sluice` binary in front of a cluster.
//!
//! Must never look into Sluice: it is configured by its file and spoken to through its ports, as a user would.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use toml::{Table, Value};

use crate::ports::HeldPort;
use crate::supervisor::{Exit, Respawn, State, Supervisor, log_end};
use crate::wait::wait_for;
use crate::{Accounts, Cluster, ClusterError, Login, Response, http_get, http_post};

/// Adoption needs some logins; beside other tests on two cores they take seconds.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// SIGTERM to the end: grace period, drain, close.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// From SIGKILL to the end.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The loopback ports of one Sluice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SluicePorts {
    /// Writes to the primary, harmless reads to replicas.
    pub split: u16,
    /// Everything to the primary.
    pub primary: u16,
    /// Reads only.
    pub replica: u16,
    /// Operations (HTTP).
    pub admin: u16,
    /// Probes and metrics (HTTP).
    pub health: u16,
}

/// What a Sluice is to be like; made by [`SluiceProcess::builder`].
#[derive(Debug, Clone)]
pub struct SluiceBuilder {
    binary: PathBuf,
    accounts: Option<Accounts>,
    store: Option<PathBuf>,
    changes: Vec<String>,
    environment: Vec<(String, String)>,
}

impl SluiceBuilder {
    /// Sluice's accounts; those of [`Cluster::setup_replication`] if not said.
    #[must_use]
    pub fn accounts(mut self, accounts: &Accounts) -> Self {
        self.accounts = Some(accounts.clone());
        self
    }

    /// The store folder; one of its own inside the cluster's folder if not said.
    #[must_use]
    pub fn store(mut self, folder: &Path) -> Self {
        self.store = Some(folder.to_owned());
        self
    }

    /// TOML laid over the generated file: tables are merged, anything else replaces. Later calls win.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.changes.push(text.to_owned());
        self
    }

    /// One environment variable for the process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes the configuration file; nothing runs yet.
    ///
    /// # Errors
    /// If there are no control accounts, the TOML does not parse or a file can't be written.
    pub fn prepare(self, cluster: &Cluster) -> Result<SluiceProcess, ClusterError> {
        let folder = cluster.sluice_folder()?;
        let held = [HeldPort::any()?, HeldPort::any()?, HeldPort::any()?, HeldPort::any()?, HeldPort::any()?];
        let [split, primary, replica, admin, health] = held.each_ref().map(HeldPort::number);
        let ports = SluicePorts { split, primary, replica, admin, health };
        let config = folder.join("sluice.toml");
        let store = self.store.clone().unwrap_or_else(|| folder.join("store"));
        let accounts = self.accounts.as_ref().or_else(|| cluster.accounts.get());
        let mut table = generated(cluster, accounts, &store, ports)?;
        for change in &self.changes {
            merge(&mut table, parse(change)?);
        }
        write_private(&config, &table.to_string())?;
        let log = folder.join("sluice.log");
        let (binary, environment) = (self.binary, self.environment);
        let supervisor = Supervisor::new("sluice", Respawn::OnRequest, {
            let (log, config) = (log.clone(), config.clone());
            move |_| command(&binary, &config, &log, &environment)
        });
        Ok(SluiceProcess { ports, config, store, log, supervisor, _held: held })
    }

    /// Writes the configuration file, starts the process and waits until it is ready.
    ///
    /// # Errors
    /// As [`SluiceBuilder::prepare`] and [`SluiceProcess::start`].
    pub async fn start(self, cluster: &Cluster) -> Result<SluiceProcess, ClusterError> {
        let sluice = self.prepare(cluster)?;
        if let Err(error) = sluice.start().await {
            cluster.keep_logs();
            return Err(error);
        }
        Ok(sluice)
    }
}

/// One Sluice; dropping it kills it.
pub struct SluiceProcess {
    ports: SluicePorts,
    config: PathBuf,
    store: PathBuf,
    log: PathBuf,
    supervisor: Supervisor,
    _held: [HeldPort; 5],
}

impl SluiceProcess {
    /// A Sluice from this binary (in the suite: `env!("CARGO_BIN_EXE_sluice")`).
    #[must_use]
    pub fn builder(binary: impl Into<PathBuf>) -> SluiceBuilder {
        SluiceBuilder {
            binary: binary.into(),
            accounts: None,
            store: None,
            changes: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Its ports, the same after a restart.
    #[must_use]
    pub fn ports(&self) -> SluicePorts {
        self.ports
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its store folder.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// What it wrote to stdout and stderr.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.supervisor.pid().map(|pid| pid.as_raw_nonzero().get())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match *self.supervisor.state().borrow() {
            State::Down(exit) => Some(exit),
            State::New | State::Up { .. } => None,
        }
    }

    /// Starts it and waits until `GET /ready` says 200.
    ///
    /// # Errors
    /// If it runs already, ends ([`ClusterError::Died`] with the end of its log) or takes over 60 s.
    pub async fn start(&self) -> Result<(), ClusterError> {
        self.launch()?;
        self.wait_ready().await
    }

    /// Starts it and does not wait: for a Sluice that is expected to refuse.
    ///
    /// # Errors
    /// If it runs already or can't be started at all.
    pub fn launch(&self) -> Result<(), ClusterError> {
        self.supervisor.start()
    }

    /// Waits until `GET /ready` says 200.
    ///
    /// # Errors
    /// As [`SluiceProcess::start`].
    pub async fn wait_ready(&self) -> Result<(), ClusterError> {
        wait_for("sluice to be ready", READY_LIMIT, || async {
            if let Some(exit) = self.exit() {
                let (name, log) = ("sluice".into(), log_end(&self.log));
                return Err(ClusterError::Died { name, exit: exit.to_string(), log });
            }
            Ok(match self.get("/ready").await {
                Ok(Response { status: 200, .. }) => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(error) => Err(error.to_string()),
            })
        })
        .await
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// If it does not run, or still runs after 60 s.
    pub async fn stop(&self) -> Result<Exit, ClusterError> {
        self.end_by(Signal::TERM, STOP_LIMIT).await
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&self) -> Result<(), ClusterError> {
        self.end_by(Signal::KILL, KILL_LIMIT).await.map(drop)
    }

    /// Sends SIGTERM and does not wait.
    ///
    /// # Errors
    /// If it does not run.
    pub fn begin_stop(&self) -> Result<(), ClusterError> {
        self.supervisor.signal(Signal::TERM)
    }

    /// Waits for its end, at most `limit`.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`].
    pub async fn wait_exit(&self, limit: Duration) -> Result<Exit, ClusterError> {
        self.supervisor.ended(self.supervisor.lives(), limit).await?;
        self.exit().ok_or_else(|| ClusterError::Misuse("sluice was started again".into()))
    }

    async fn end_by(&self, signal: Signal, limit: Duration) -> Result<Exit, ClusterError> {
        self.supervisor.want_down();
        self.supervisor.signal(signal)?;
        self.wait_exit(limit).await
    }

    /// GET from the admin port.
    ///
    /// # Errors
    /// As [`http_get`].
    pub async fn get(&self, path: &str) -> Result<Response, ClusterError> {
        http_get(self.ports.admin, path).await
    }

    /// POST a JSON text to the admin port.
    ///
    /// # Errors
    /// As [`http_post`].
    pub async fn post(&self, path: &str, json: &str) -> Result<Response, ClusterError> {
        http_post(self.ports.admin, path, json).await
    }

    /// Lets it run on after this process; with [`Cluster::keep`].
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl std::fmt::Debug for SluiceProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sluice (pid {:?}, {:?})", self.pid(), self.ports)
    }
}

fn command(
    binary: &Path,
    config: &Path,
    log: &Path,
    environment: &[(String, String)],
) -> std::io::Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(binary);
    command
        .arg("run")
        .arg(format!("--config={}", config.display())) // one word: the reaper looks for it
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    Ok(command)
}

fn generated(
    cluster: &Cluster,
    accounts: Option<&Accounts>,
    store: &Path,
    ports: SluicePorts,
) -> Result<Table, ClusterError> {
    let no_accounts = || ClusterError::Misuse("a Sluice needs control and replication accounts".into());
    let accounts = accounts.ok_or_else(no_accounts)?;
    let control = accounts.control.as_ref().ok_or_else(no_accounts)?;
    let mut text = format!(
        "[cluster]\nname = 'test'\nstore = 'file://{}'\n[listen]\nworkers = 2\n\
         split = '127.0.0.1:{}'\nprimary = '127.0.0.1:{}'\nreplica = '127.0.0.1:{}'\n\
         admin = '127.0.0.1:{}'\nhealth = '127.0.0.1:{}'\n",
        store.display(),
        ports.split,
        ports.primary,
        ports.replica,
        ports.admin,
        ports.health
    );
    for (role, Login { user, password }) in [("control", control), ("replication", &accounts.replication)] {
        text += &format!("[accounts.{role}]\nuser = '{user}'\npassword = '{password}'\n");
    }
    for node in cluster.nodes() {
        text += &format!(
            "[[instance]]\nname = '{}'\naddress = '{}'\nadmin = '{}'\n",
            node.name(),
            node.address(),
            node.admin_address()
        );
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Table, ClusterError> {
    text.parse().map_err(|error| ClusterError::Misuse(format!("not TOML: {error}\n{text}")))
}

fn merge(table: &mut Table, changes: Table) {
    for (key, change) in changes {
        match (table.get_mut(&key), change) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, change) => {
                table.insert(key, change);
            }
        }
    }
}

/// Sluice refuses a file with passwords that others can read.
fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    fs::write(path, "").map_err(ClusterError::path("create", path))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(path, mode).map_err(ClusterError::path("protect", path))?;
    fs::write(path, text).map_err(ClusterError::path("write", path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn changes_merge_into_tables_and_replace_values() {
        let mut table = parse("[listen]\nsplit = 'a'\nworkers = 2\n[[instance]]\nname = 'db1'").unwrap();
        merge(&mut table, parse("[listen]\nworkers = 4\n[switchover]\nhold = '1s'").unwrap());
        merge(&mut table, parse("[[instance]]\nname = 'db2'").unwrap());
        let wanted =
            "[listen]\nsplit = 'a'\nworkers = 4\n[switchover]\nhold = '1s'\n[[instance]]\nname = 'db2'";
        assert_eq!(table, parse(wanted).unwrap());
    }
}
