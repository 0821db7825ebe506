//! The proxies that Sluice is compared with, started with the settings that fit the comparison: as many threads as
//! Sluice has workers, no logging, no limit in the way.
//!
//! Each one's command line names a file in the cluster's folder as `--config=`, by which the cluster's reaper finds it,
//! however this program ends.
//!
//! Never here: the installation of a peer.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sluice_cluster::{ClusterError, HeldPort, wait_until};
use thiserror::Error;

use crate::connection::{Account, Connection};
use crate::target::{Site, Target};
use crate::wire::Channel;

/// From the start of a peer to its first login.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// As many as Sluice gets workers from the harness.
const THREADS: u32 = 2;
/// More than is ever asked for.
const MAX_CONNECTIONS: u32 = 12_000;

/// A peer can't be started.
#[derive(Debug, Error)]
pub enum PeerError {
    /// Its files or its process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Its port, or its readiness.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The folder that its program was unpacked to lacks something.
    #[error("{0} is not in {1}")]
    Missing(&'static str, PathBuf),
}

/// A peer that runs; dropping it kills it.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    site: Site,
    log: PathBuf,
    _port: HeldPort,
}

impl Peer {
    /// HAProxy in TCP mode.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn haproxy(program: &Path, folder: &Path, server: SocketAddr) -> Result<Self, PeerError> {
        let port = HeldPort::any()?;
        let text = format!(
            "global\n  nbthread {THREADS}\n  maxconn {MAX_CONNECTIONS}\n  no strict-limits\n\
             defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n\
             listen mysql\n  bind 127.0.0.1:{}\n  server db1 {server}\n",
            port.number()
        );
        let config = folder.join("haproxy.cfg");
        let mut command = Command::new(program);
        // The name of the local peer has no meaning without peers: it is there for the reaper.
        command.args(["-db", "-L"]).arg(format!("--config={}", config.display())).arg("-f").arg(&config);
        Self::start(Target::HaProxy, command, &config, &text, port)
    }

    /// The relay of bytes.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn byte_relay(program: &Path, folder: &Path, server: SocketAddr) -> Result<Self, PeerError> {
        let port = HeldPort::any()?;
        let text = format!("listen 127.0.0.1:{}\nserver {server}\n", port.number());
        let config = folder.join("byte-relay.conf");
        let mut command = Command::new(program);
        command.arg(format!("--config={}", config.display()));
        Self::start(Target::ByteRelay, command, &config, &text, port)
    }

    /// MySQL Router; sharing server connections among clients, if `target` says so.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn router(
        target: Target,
        program: &Path,
        folder: &Path,
        server: SocketAddr,
        certificates: &Path,
    ) -> Result<Self, PeerError> {
        let port = HeldPort::any()?;
        let plugins = plugin_folder(program)?;
        let home = folder.join(if target == Target::RouterSharing { "router-sharing" } else { "router" });
        fs::create_dir_all(&home)
            .map_err(|source| PeerError::Io { what: home.display().to_string(), source })?;
        let mode = if target == Target::RouterSharing {
            // A password to share connections with is only told over TLS or under RSA, so there has to be a key.
            format!(
                "client_ssl_mode = PREFERRED\nserver_ssl_mode = DISABLED\nconnection_sharing = 1\n\
                 client_ssl_cert = {0}/server-cert.pem\nclient_ssl_key = {0}/server-key.pem\n",
                certificates.display()
            )
        } else {
            "client_ssl_mode = PASSTHROUGH\nserver_ssl_mode = AS_CLIENT\n".to_owned()
        };
        let pool = if target == Target::RouterSharing {
            "[connection_pool]\nmax_idle_server_connections = 64\n"
        } else {
            ""
        };
        let text = format!(
            "[DEFAULT]\nplugin_folder = {}\nruntime_folder = {home}\ndata_folder = {home}\nlogging_folder =\n\
             max_total_connections = {MAX_CONNECTIONS}\n\
             [logger]\nlevel = WARNING\n[io]\nthreads = {THREADS}\n{pool}\
             [routing:mysql]\nbind_address = 127.0.0.1\nbind_port = {}\ndestinations = {server}\n\
             routing_strategy = first-available\nprotocol = classic\nmax_connections = {MAX_CONNECTIONS}\n\
             max_connect_errors = 4294967295\n{mode}",
            plugins.display(),
            port.number(),
            home = home.display()
        );
        let config = home.join("router.conf");
        let mut command = Command::new(program);
        command.arg(format!("--config={}", config.display()));
        Self::start(target, command, &config, &text, port)
    }

    fn start(
        target: Target,
        mut command: Command,
        config: &Path,
        text: &str,
        port: HeldPort,
    ) -> Result<Self, PeerError> {
        let log = config.with_extension("log");
        let failed =
            |source| PeerError::Io { what: format!("{} with {}", target.name(), config.display()), source };
        fs::write(config, text).map_err(failed)?;
        let output = fs::File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        let child = command.spawn().map_err(failed)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        // The wrapper that runs it becomes it.
        let pid = i32::try_from(child.id()).ok();
        Ok(Self { child, site: Site { target, address, channel: Channel::Plain, pid }, log, _port: port })
    }

    /// Waits until a login through it succeeds.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] with the last failure and the end of its log.
    pub async fn ready(&self, account: &Account) -> Result<(), ClusterError> {
        wait_until(self.site.target.name(), READY_LIMIT, || async {
            let (site, account) = (self.site, account.clone());
            let login = tokio::task::spawn_blocking(move || Connection::open(&site, &account));
            match login.await {
                Ok(Ok(connection)) => connection.quit().is_ok(),
                Ok(Err(_)) | Err(_) => false,
            }
        })
        .await
        .inspect_err(|_| eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default()))
    }

    /// Where it is.
    #[must_use]
    pub const fn site(&self) -> Site {
        self.site
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Router looks for its plugins beside its program, which for it is the loader.
fn plugin_folder(program: &Path) -> Result<PathBuf, PeerError> {
    let root = program.parent().and_then(Path::parent).unwrap_or(program).join("root");
    let folder = root.join("usr/lib/mysqlrouter/plugin");
    if folder.join("routing.so").exists() {
        Ok(folder)
    } else {
        Err(PeerError::Missing("routing.so", folder))
    }
}
