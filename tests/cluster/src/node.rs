//! One mysqld of a cluster: its process, its places, and root's way into it.
//!
//! Must never know a role: primary and replica are what the caller makes of nodes.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, OptsBuilder, SslOpts};
use rustix::process::Signal;

use crate::mysqld::Mysqld;
use crate::options::{Identity, Settings};
use crate::ports::HeldPort;
use crate::supervisor::{Respawn, State, Supervisor, log_end};
use crate::wait::{wait_for, wait_until};
use crate::{ClusterError, Login, template};

/// A start takes about 2 s; crash recovery on a machine with much else to do takes longer.
const START_LIMIT: Duration = Duration::from_secs(90);
/// A stop takes up to 11 s while a client connection is left open.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// From a signal that can't be refused to its effect.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
/// One statement of root's.
const SQL_LIMIT: Duration = Duration::from_secs(60);

/// A handle on one server; clones are the same server.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    name: String,
    identity: Identity,
    supervisor: Supervisor,
    template: PathBuf,
    _ports: [HeldPort; 2],
}

impl Node {
    /// Prepares node `number` (from 1) below the cluster's folder: ports, data directory, defaults file. Blocks.
    pub(crate) fn prepare(
        mysqld: &Mysqld,
        settings: &Settings,
        respawn: Respawn,
        template: &Path,
        cluster: &Path,
        number: u32,
    ) -> Result<Self, ClusterError> {
        let ports = [HeldPort::any()?, HeldPort::any()?];
        let [port, admin_port] = ports.each_ref().map(HeldPort::number);
        let folder = cluster.join(format!("n{number}"));
        let uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let identity = Identity { folder, server_id: number, uuid, port, admin_port };
        fs::create_dir_all(&identity.folder).map_err(ClusterError::path("create", &identity.folder))?;
        template::copy(template, &identity.datadir(), uuid)?;
        let defaults = identity.defaults_file();
        fs::write(&defaults, settings.defaults_file(&identity))
            .map_err(ClusterError::path("write", &defaults))?;
        let name = format!("db{number}");
        let program = mysqld.path().to_owned();
        let places = identity.clone();
        let supervisor = Supervisor::new(&name, respawn, move |respawn| command(&program, &places, respawn));
        Ok(Self(Arc::new(Inner { name, identity, supervisor, template: template.to_owned(), _ports: ports })))
    }

    /// `db1`, `db2`, ...
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The MySQL port on 127.0.0.1, the same after every restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.identity.port
    }

    /// The admin port on 127.0.0.1.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.0.identity.admin_port
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port())
    }

    /// `127.0.0.1:ADMIN_PORT`.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.admin_port())
    }

    /// server_uuid.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        self.0.identity.uuid
    }

    /// server_id.
    #[must_use]
    pub fn server_id(&self) -> u32 {
        self.0.identity.server_id
    }

    /// The Unix socket; root has no password there.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.identity.socket()
    }

    /// The error log's path.
    #[must_use]
    pub fn error_log(&self) -> PathBuf {
        self.0.identity.error_log()
    }

    /// The data directory's path.
    #[must_use]
    pub fn datadir(&self) -> PathBuf {
        self.0.identity.datadir()
    }

    /// The defaults file's path; a change counts from the next start on.
    #[must_use]
    pub fn defaults_file(&self) -> PathBuf {
        self.0.identity.defaults_file()
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.0.supervisor.pid().map(|pid| pid.as_raw_nonzero().get())
    }

    /// How many processes this node has had: 1 after the first start, one more with each restart.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.0.supervisor.lives()
    }

    /// Whether, from now on, it is started again by itself.
    pub fn set_respawn(&self, respawn: Respawn) {
        self.0.supervisor.set_respawn(respawn);
    }

    /// Starts it and waits until root can log in.
    ///
    /// # Errors
    /// If it runs already, ends ([`ClusterError::Died`] with the end of its log) or takes over 90 s.
    pub async fn start(&self) -> Result<(), ClusterError> {
        self.launch()?;
        self.wait_ready().await
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// If it runs already or can't be started at all.
    pub fn launch(&self) -> Result<(), ClusterError> {
        self.0.supervisor.start()
    }

    /// Waits until root can log in.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn wait_ready(&self) -> Result<(), ClusterError> {
        let states = self.0.supervisor.state();
        wait_for(&format!("{} to be ready", self.name()), START_LIMIT, || async {
            let state = *states.borrow();
            match state {
                State::New => Ok(Err("not started".into())),
                State::Down(exit) => Err(ClusterError::Died {
                    name: self.name().into(),
                    exit: exit.to_string(),
                    log: log_end(&self.error_log()),
                }),
                State::Up { .. } => match Conn::new(self.root_options()).await {
                    Ok(conn) => Ok(conn.disconnect().await.map_err(|error| error.to_string())),
                    Err(error) => Ok(Err(error.to_string())),
                },
            }
        })
        .await
    }

    /// SIGTERM, and waits until the process is gone. It is not started again by itself.
    ///
    /// # Errors
    /// If it does not run or is still there after 60 s.
    pub async fn stop(&self) -> Result<(), ClusterError> {
        self.0.supervisor.want_down();
        self.end_by(Signal::TERM, STOP_LIMIT).await
    }

    /// SIGKILL, and waits until the process is gone. With [`Respawn::Always`] it is started again.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&self) -> Result<(), ClusterError> {
        self.end_by(Signal::KILL, SIGNAL_LIMIT).await
    }

    async fn end_by(&self, signal: Signal, limit: Duration) -> Result<(), ClusterError> {
        let life = self.lives();
        self.0.supervisor.signal(signal)?;
        self.0.supervisor.ended(life, limit).await
    }

    /// Sends SIGTERM and does not wait, to look at a server while it stops. It is not started again by itself.
    ///
    /// # Errors
    /// If it does not run.
    pub fn begin_stop(&self) -> Result<(), ClusterError> {
        self.0.supervisor.want_down();
        self.0.supervisor.signal(Signal::TERM)
    }

    /// Waits until the process of life `life` (see [`Node::lives`]) is gone.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] after `limit`.
    pub async fn wait_ended(&self, life: u64, limit: Duration) -> Result<(), ClusterError> {
        self.0.supervisor.ended(life, limit).await
    }

    /// Stops it, empties its data directory and starts it as a new server with a `server_uuid` of its own, which is
    /// returned; [`Node::uuid`] goes on telling the first one.
    ///
    /// # Errors
    /// If it does not stop, start, or its files can't be replaced.
    pub async fn wipe(&self) -> Result<uuid::Uuid, ClusterError> {
        if self.pid().is_some() {
            self.stop().await?;
        }
        let uuid = uuid::Uuid::from_bytes(rand::random());
        let datadir = self.datadir();
        fs::remove_dir_all(&datadir).map_err(ClusterError::path("remove", &datadir))?;
        template::copy(&self.0.template, &datadir, uuid)?;
        self.start().await?;
        Ok(uuid)
    }

    /// [`Node::stop`], then [`Node::start`].
    ///
    /// # Errors
    /// As those two.
    pub async fn restart(&self) -> Result<(), ClusterError> {
        self.stop().await?;
        self.start().await
    }

    /// SIGSTOP: connections stay open, TCP connects are accepted by the kernel, nothing answers.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn freeze(&self) -> Result<(), ClusterError> {
        self.0.supervisor.signal(Signal::STOP)?;
        self.wait_frozen(true).await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn thaw(&self) -> Result<(), ClusterError> {
        self.0.supervisor.signal(Signal::CONT)?;
        self.wait_frozen(false).await
    }

    async fn wait_frozen(&self, frozen: bool) -> Result<(), ClusterError> {
        let what = format!("{} to be {}", self.name(), if frozen { "frozen" } else { "thawed" });
        let pid = self.pid().unwrap_or_default();
        wait_until(&what, SIGNAL_LIMIT, || async {
            // The state follows the command name, which ends with the last parenthesis.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T') == frozen)
        })
        .await
    }

    /// A connection as root over the Unix socket.
    ///
    /// # Errors
    /// [`ClusterError::Sql`] if root can't log in.
    pub async fn root_conn(&self) -> Result<Conn, ClusterError> {
        self.sql("(log in as root)", Conn::new(self.root_options())).await
    }

    /// A TLS connection to the MySQL port as `login`, in `schema` if that is not empty.
    ///
    /// # Errors
    /// [`ClusterError::Sql`] if the server refuses.
    pub async fn conn(&self, login: &Login, schema: &str) -> Result<Conn, ClusterError> {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port())
            .prefer_socket(false)
            .user(Some(&login.user))
            .pass(Some(&login.password))
            .db_name(Some(schema).filter(|schema| !schema.is_empty()))
            .ssl_opts(SslOpts::default().with_danger_accept_invalid_certs(true));
        self.sql(&format!("(log in as {})", login.user), Conn::new(options)).await
    }

    fn root_options(&self) -> OptsBuilder {
        OptsBuilder::default().socket(Some(self.socket().display().to_string())).user(Some("root"))
    }

    /// Runs one statement as root.
    ///
    /// # Errors
    /// [`ClusterError::Sql`] with the server's error, [`ClusterError::Timeout`] after 60 s.
    pub async fn exec(&self, sql: &str) -> Result<(), ClusterError> {
        let mut conn = self.root_conn().await?;
        self.sql(sql, conn.query_drop(sql)).await?;
        let _ = conn.disconnect().await; // the statement is done; RESTART and SHUTDOWN cut the connection
        Ok(())
    }

    /// All rows of one statement, as root.
    ///
    /// # Errors
    /// As [`Node::exec`]; a column that does not fit `T` panics, as the driver does.
    pub async fn rows<T: FromRow + Send + 'static>(&self, sql: &str) -> Result<Vec<T>, ClusterError> {
        let mut conn = self.root_conn().await?;
        let rows = self.sql(sql, conn.query(sql)).await?;
        let _ = conn.disconnect().await; // the statement is done
        Ok(rows)
    }

    /// The first row of one statement, as root; a single column may be taken bare (`value::<u64>`).
    ///
    /// # Errors
    /// As [`Node::rows`], and if there is no row.
    pub async fn value<T: FromRow + Send + 'static>(&self, sql: &str) -> Result<T, ClusterError> {
        let mut rows = self.rows(sql).await?;
        if rows.is_empty() {
            return Err(ClusterError::Misuse(format!("{}: {sql}: no row", self.name())));
        }
        Ok(rows.swap_remove(0))
    }

    /// `@@gtid_executed` without line breaks.
    ///
    /// # Errors
    /// As [`Node::exec`].
    pub async fn gtid_executed(&self) -> Result<String, ClusterError> {
        self.value("SELECT REPLACE(@@gtid_executed, '\\n', '')").await
    }

    async fn sql<T, F>(&self, sql: &str, doing: F) -> Result<T, ClusterError>
    where
        F: Future<Output = mysql_async::Result<T>>,
    {
        match tokio::time::timeout(SQL_LIMIT, doing).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(ClusterError::Sql { node: self.name().into(), sql: sql.into(), source }),
            Err(_) => {
                let what = format!("{}: {sql}", self.name());
                Err(ClusterError::Timeout { what, limit: SQL_LIMIT, detail: String::new() })
            }
        }
    }

    /// Kills it for good and waits until it is reaped. Blocks.
    pub(crate) fn end(&self) {
        self.0.supervisor.end();
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (port {}, pid {:?})", self.name(), self.port(), self.pid())
    }
}

fn command(program: &Path, node: &Identity, respawn: Respawn) -> std::io::Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(node.error_log())?;
    let mut command = Command::new(program);
    command
        .arg(format!("--defaults-file={}", node.defaults_file().display()))
        .current_dir(&node.folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0); // an interrupt from the terminal is not meant for it
    if respawn != Respawn::Never {
        // What tells the server that somebody starts it again: without it RESTART and CLONE end in error 3707.
        command.env("MYSQLD_PARENT_PID", std::process::id().to_string());
    }
    Ok(command)
}
