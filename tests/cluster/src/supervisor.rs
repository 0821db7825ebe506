//! One thread that watches one process and starts it again where that is asked for.
//!
//! A thread and not a task: a test's runtime dies with the test, the process must not be forgotten with it. Must
//! never signal a process id that it has already reaped.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use crate::ClusterError;

/// mysqld ends with this to be started again: the RESTART statement and the end of CLONE.
const RESTART_WANTED: i32 = 16;
/// A process that lived shorter than this was not worth starting again...
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// ...and after so many of them in a row it is left down.
const SHORT_LIVES: u32 = 5;

/// When a process that ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Respawn {
    /// Never, and the server is told so: RESTART and the end of CLONE leave it down (error 3707).
    Never,
    /// Only when the server asks for it (RESTART, CLONE: exit code 16).
    #[default]
    OnRequest,
    /// Also after any other end that was not asked for by `stop()`, as systemd or Kubernetes would.
    Always,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal's number.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or_default()), Self::Code)
    }
}

/// What is known of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not started yet.
    New,
    /// Running, as the n-th process of this supervisor (from 1).
    Up { pid: Pid, life: u64 },
    /// Ended, and not to be started again by itself.
    Down(Exit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Up,
    Down,
}

struct Inner {
    child: Option<Child>,
    wanted: Wanted,
    respawn: Respawn,
    lives: u64,
}

/// Watches one process. Dropping it kills the process and waits for its end.
pub(crate) struct Supervisor {
    name: String,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    inner: Mutex<Inner>,
    state: watch::Sender<State>,
    command: Box<dyn Fn(Respawn) -> std::io::Result<Command> + Send + Sync>,
}

impl Supervisor {
    /// A supervisor that starts processes from `command`; nothing runs yet.
    pub(crate) fn new(
        name: impl Into<String>,
        respawn: Respawn,
        command: impl Fn(Respawn) -> std::io::Result<Command> + Send + Sync + 'static,
    ) -> Self {
        let inner = Inner { child: None, wanted: Wanted::Down, respawn, lives: 0 };
        let shared = Shared {
            inner: Mutex::new(inner),
            state: watch::Sender::new(State::New),
            command: Box::new(command),
        };
        Self { name: name.into(), shared: Arc::new(shared), thread: Mutex::new(None) }
    }

    /// Starts the process. An error if it runs already.
    pub(crate) fn start(&self) -> Result<(), ClusterError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut inner = self.shared.lock();
            if inner.child.is_some() {
                return Err(ClusterError::Misuse(format!("{} runs already", self.name)));
            }
            inner.wanted = Wanted::Up;
        }
        if let Some(ended) = thread.take() {
            let _ = ended.join();
        }
        self.shared.spawn().map_err(ClusterError::io(format!("start {}", self.name)))?;
        let shared = Arc::clone(&self.shared);
        let watching = thread::Builder::new().name(self.name.clone()).spawn(move || shared.watch());
        *thread = Some(watching.map_err(ClusterError::io("start a supervisor thread"))?);
        Ok(())
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match *self.shared.state.borrow() {
            State::Up { pid, .. } => Some(pid),
            State::New | State::Down(_) => None,
        }
    }

    /// What is known now and from now on.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// From now on started again in these cases.
    pub(crate) fn set_respawn(&self, respawn: Respawn) {
        self.shared.lock().respawn = respawn;
    }

    /// From now on not started again, whatever happens.
    pub(crate) fn want_down(&self) {
        self.shared.lock().wanted = Wanted::Down;
    }

    /// Signals the process. An error if it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), ClusterError> {
        let inner = self.shared.lock(); // held, so that the child can't be reaped in between
        let pid = inner.child.as_ref().map(Pid::from_child);
        let pid = pid.ok_or_else(|| ClusterError::Misuse(format!("{} does not run", self.name)))?;
        kill_process(pid, signal)
            .map_err(|errno| ClusterError::io(format!("signal {}", self.name))(errno.into()))
    }

    /// Waits until the process of life `life` is gone, be it replaced by another or not.
    pub(crate) async fn ended(&self, life: u64, limit: Duration) -> Result<(), ClusterError> {
        let mut states = self.state();
        let gone = states.wait_for(|state| match state {
            State::New | State::Down(_) => true,
            State::Up { life: now, .. } => *now > life,
        });
        match tokio::time::timeout(limit, gone).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let what = format!("{} to end", self.name);
                Err(ClusterError::Timeout { what, limit, detail: String::new() })
            }
        }
    }

    /// How many processes have been started so far.
    pub(crate) fn lives(&self) -> u64 {
        self.shared.lock().lives
    }

    /// Kills the process, if any, for good and waits until it is reaped. Blocks.
    pub(crate) fn end(&self) {
        self.want_down();
        let _ = self.signal(Signal::KILL);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> std::io::Result<()> {
        let mut inner = self.lock();
        let child = (self.command)(inner.respawn)?.spawn()?;
        let pid = Pid::from_child(&child);
        inner.child = Some(child);
        inner.lives += 1;
        self.state.send_replace(State::Up { pid, life: inner.lives });
        Ok(())
    }

    /// The thread: until the process is down for good.
    fn watch(&self) {
        let mut short_lives = 0;
        loop {
            let born = Instant::now();
            let exit = self.wait();
            short_lives = if born.elapsed() < SHORT_LIFE { short_lives + 1 } else { 0 };
            let again = {
                let inner = self.lock();
                inner.wanted == Wanted::Up
                    && short_lives < SHORT_LIVES
                    && match inner.respawn {
                        Respawn::Never => false,
                        Respawn::OnRequest => exit == Exit::Code(RESTART_WANTED),
                        Respawn::Always => true,
                    }
            };
            if !again || self.spawn().is_err() {
                self.state.send_replace(State::Down(exit));
                return;
            }
        }
    }

    /// Waits without the lock, reaps with it.
    fn wait(&self) -> Exit {
        let pid = self.lock().child.as_ref().map(Pid::from_child);
        if let Some(pid) = pid {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
        }
        let mut inner = self.lock();
        let status = inner.child.take().map(|mut child| child.wait());
        status.and_then(Result::ok).map_or(Exit::Code(-1), Exit::from)
    }
}

/// The end of a log, for error messages.
pub(crate) fn log_end(path: &PathBuf) -> String {
    const LINES: usize = 15;
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}", path.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}
