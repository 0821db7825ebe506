//! The real controller, over simulated servers: starting it, killing it, and its way to the servers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice::config::Config;
use sluice::controller::api::{self, ControllerHandle, Status};
use sluice::controller::{self, Pending, Rows, Servers, Session, SqlError};
use sluice::feed::{self, Feed};
use sluice_protocol::GtidSet;
use sluice_routing::topology::{Instance, InstanceId, Topology};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use crate::random::Random;
use crate::server::{Who, address, at_address};
use crate::world::{Arrival, Shared};

/// What a run's configuration says. Every now and then one member may not be the primary, or not acknowledge.
pub(crate) fn config(members: usize, store: &Path, dice: &mut Random) -> Arc<Config> {
    let odd = dice.chance(20).then(|| (dice.below(members), dice.chance(50)));
    let mut text = format!("[cluster]\nname = \"shop\"\nstore = \"file://{}\"\n", store.display());
    for index in 0..members {
        let (host, port) = address(index);
        text += &format!("[[instance]]\nname = \"db{}\"\naddress = \"{host}:{port}\"\n", index + 1);
        text += match odd {
            Some((which, true)) if which == index => "promotion = \"must-not\"\n",
            // Enough others have to be able to acknowledge, whoever is the primary.
            Some((which, false)) if which == index && members > 3 => "acker = false\n",
            Some(_) | None => "",
        };
        // Two and two of them together: a, a, b, b, c.
        text += ["zone = \"a\"\n", "zone = \"b\"\n"].get(index / 2).unwrap_or(&"zone = \"c\"\n");
    }
    text += "[accounts.control]\nuser = \"sluice\"\npassword = \"control-password\"\n\
             [accounts.replication]\nuser = \"repl\"\npassword = \"repl-password\"\n\
             [listen]\nsplit = \"127.0.0.1:3306\"\nadmin = \"127.0.0.1:3380\"\n\
             [tls.instance]\nmode = \"disabled\"\n[rebuild]\nautomatic = false\n";
    Arc::new(Config::parse(&text, Path::new("/")).unwrap())
}

/// A Sluice that runs.
pub(crate) struct Sluice {
    pub(crate) handle: ControllerHandle,
    pub(crate) feed: Arc<Feed>,
    /// Wakes all clients when the shape of the topology changes, always in the same order: the feed's own channel has
    /// dice of its own for that.
    pub(crate) reshaped: Arc<Notify>,
    controller: JoinHandle<()>,
    forwarder: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Sluice {
    /// Starts one, with the store of the one before.
    pub(crate) fn start(world: &Shared, config: &Arc<Config>) -> Self {
        let sluice = Self::second(world, config);
        let mut locked = world.lock();
        locked.sluice = Some(sluice.handle.clone());
        locked.note(|| "sluice: started".into());
        drop(locked);
        sluice
    }

    /// Starts one that is not the one that counts.
    pub(crate) fn second(world: &Shared, config: &Arc<Config>) -> Self {
        let instances =
            config.instances.iter().zip(0..).map(|(instance, id)| {
                Instance::unchecked(InstanceId(id), &*instance.name, &*instance.address)
            });
        let (publisher, feed) = feed::channel(1, Topology::unknown(instances.collect::<Vec<_>>()));
        let (handle, seat) = api::channel(Status::default());
        let (stop, stopped) = watch::channel(false);
        let (config, shared) = (Arc::clone(config), world.clone());
        let controller = tokio::task::spawn_local(async move {
            let ended =
                controller::run_over(Arc::new(shared.clone()), config, publisher, seat, stopped).await;
            if let Err(error) = ended {
                shared.lock().violated(format!("the controller ended: {error}"));
            }
        });
        let reshaped = Arc::new(Notify::new());
        let (mut shape, wake) = (feed.shape_changes(), Arc::clone(&reshaped));
        let forwarder = tokio::task::spawn_local(async move {
            while shape.changed().await.is_ok() {
                wake.notify_waiters();
            }
        });
        Self { handle, feed, reshaped, controller, forwarder, _stop: stop }
    }

    /// SIGKILL.
    pub(crate) fn kill(self) {
        self.controller.abort();
        self.forwarder.abort();
    }
}

static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// A folder for a store, in memory where that is possible.
pub(crate) fn store_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    // Two tests may play the same seed at the same time.
    let number = FOLDERS.fetch_add(1, Ordering::SeqCst);
    base.join(format!("sluice-simulation-{}-{number}", std::process::id()))
}

impl Servers for Shared {
    fn log_in<'a>(&'a self, address: &'a str) -> Pending<'a, Box<dyn Session>> {
        Box::pin(async move {
            let connection = Connection::open(self, address, Who::Control).await?;
            Ok(Box::new(connection) as Box<dyn Session>)
        })
    }

    fn copy_transactions<'a>(
        &'a self,
        address: &'a str,
        skip: &'a GtidSet,
        file: &'a mut (dyn Write + Send),
    ) -> Pending<'a, u64> {
        Box::pin(async move {
            let host = address.split(':').next().unwrap_or_default();
            let server = at_address(host).ok_or(SqlError::Answer("no such address"))?;
            // As whoever reads a binary log; the way takes no time.
            let _login = Connection::open(self, address, Who::Control).await?;
            let world = self.lock();
            let own = world.servers[server].log.iter().filter(|trx| !skip.contains(&trx.gtid));
            let own: Vec<String> = own.map(|trx| format!("{trx:?}")).collect();
            file.write_all(own.join("\n").as_bytes())
                .map_err(|_| SqlError::Answer("the file can't be written"))?;
            Ok(own.len() as u64)
        })
    }
}

/// A login of Sluice or of a client of it. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    world: Shared,
    server: usize,
    boot: u64,
    id: u64,
}

impl Connection {
    /// Logs in.
    pub(crate) async fn open(world: &Shared, address: &str, who: Who) -> Result<Self, SqlError> {
        let host = address.split(':').next().unwrap_or_default();
        let server = at_address(host).ok_or(SqlError::Answer("no such address"))?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut locked = world.lock();
            let sluice = locked.sluice_machine();
            locked.send_to_server(sluice, server, None, move |world, arrival| {
                let stopping = world.servers[server].run == crate::server::Run::Stopping;
                let outcome = match arrival {
                    Arrival::Met if who == Who::Client && world.servers[server].offline => {
                        Err(SqlError::Server { code: 3032, message: "in offline mode".into() })
                    }
                    Arrival::Met if !stopping => Ok((world.servers[server].boot, world.log_in(server, who))),
                    Arrival::Met | Arrival::Reset => Err(SqlError::Refused),
                };
                world.send(server, sluice, move |world| {
                    if let Err(Ok((boot, id))) = sender.send(outcome) {
                        world.hang_up(server, boot, id);
                    }
                });
            });
        }
        let (boot, id) = receiver.await.map_err(|_| SqlError::Lost("connection reset".into()))??;
        Ok(Self { world: world.clone(), server, boot, id })
    }

    /// Whether the server has neither ended nor begun to since the login.
    pub(crate) fn is_to_who_runs(&self) -> bool {
        let server = &self.world.lock().servers[self.server];
        server.is_alive() && server.boot == self.boot
    }

    /// Sends a write and returns where its answer will come.
    pub(crate) fn write(&self, write: usize) -> oneshot::Receiver<Result<Rows, SqlError>> {
        let (reply, answer) = oneshot::channel();
        let (server, id) = (self.server, self.id);
        self.world.lock().ask(server, self.boot, reply, move |world, reply| {
            world.client_write(server, id, write, reply);
        });
        answer
    }
}

impl Session for Connection {
    fn query<'a>(&'a mut self, sql: &'a str) -> Pending<'a, Rows> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let (server, id, sql) = (self.server, self.id, sql.to_owned());
            {
                let mut world = self.world.lock();
                world.statements += 1;
                if world.kill_at == Some(world.statements) {
                    world.killed.notify_one();
                }
                world.ask(server, self.boot, reply, move |world, reply| {
                    world.statement(server, id, &sql, reply)
                });
            }
            answer.await.unwrap_or_else(|_| Err(SqlError::Lost("connection reset".into())))
        })
    }

    fn close(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.world.lock().hang_up(self.server, self.boot, self.id);
    }
}

impl crate::world::World {
    /// Sluice's side closes a connection.
    fn hang_up(&mut self, server: usize, boot: u64, id: u64) {
        let sluice = self.sluice_machine();
        self.send_to_server(sluice, server, Some(boot), move |world, arrival| {
            if arrival == Arrival::Met {
                world.end_session(server, id);
            }
        });
    }
}
