//! The load generator: one thread over epoll, many connections, one statement at a time on each.
//!
//! In the closed loop a client sends its next statement when the last one was answered. At a fixed rate statements have
//! an intended start, whether a client is free or not, and latency counts from there: a stall is seen by every statement
//! that would have come during it (no coordinated omission).
//!
//! Never here: what statements say, or what a proxy used meanwhile.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use thiserror::Error;

use crate::answer::{Answer, AnswerError};
use crate::connection::{Account, Connection, ConnectionError};
use crate::target::Site;
use crate::wire::Wire;
use crate::workload::{Statements, Workload};

/// A load to which nothing is answered for so long has met a broken proxy.
const STUCK: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// Bytes per read(): what a server writes at once, and more.
const READ: usize = 256 << 10;
/// A statement of so many bytes fits into a socket's empty buffer. A larger one is waited for: those are sent by a single
/// client.
const AT_ONCE: usize = 16 << 10;
/// Events per epoll_wait.
const EVENTS: usize = 64;
/// The timer's mark among the events; the others are indices of clients.
const TIMER: u64 = u64::MAX;
/// Highest latency that is told apart: 100 s, in ns.
const HIGHEST: u64 = 100_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// The load broke.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An answer is not one.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A client could not be made.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Nothing was answered for a minute.
    #[error("nothing was answered for {} s", STUCK.tv_sec)]
    Stuck,
    /// A client was cut off.
    #[error("a connection was closed under load")]
    Closed,
    /// A histogram can't be made: a fault of this program.
    #[error("histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

impl From<rustix::io::Errno> for LoadError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// How statements follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The next one when the last one was answered.
    Closed,
    /// So many per second over all clients.
    Rate(f64),
}

/// What a load saw.
#[derive(Debug)]
pub struct Seen {
    /// Statements that were answered.
    pub statements: u64,
    /// Bytes of their answers.
    pub bytes: u64,
    /// From the first statement to the last answer.
    pub elapsed: Duration,
    /// In ns.
    pub latency: Histogram<u64>,
}

/// One connection under load.
#[derive(Debug)]
struct Client {
    stream: Wire,
    statements: Statements,
    answer: Answer,
    /// The (intended) start of the statement under way.
    begun: Instant,
}

/// Clients of one target, logged in.
#[derive(Debug)]
pub struct Load {
    clients: Vec<Client>,
    epoll: OwnedFd,
    timer: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// One run in progress.
struct Run {
    seen: Seen,
    start: Instant,
    end: Instant,
    free: VecDeque<usize>,
    busy: usize,
    /// At a fixed rate: the time between starts, and how many there were.
    interval: Option<Duration>,
    started: u32,
}

impl Load {
    /// Logs in so many clients.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn new(
        site: &Site,
        account: &Account,
        workload: Workload,
        clients: usize,
    ) -> Result<Self, LoadError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        let mut load = Self { clients: Vec::new(), epoll, timer, input: vec![0; READ], output: Vec::new() };
        for number in 0..clients {
            let mut connection = Connection::open(site, account)?;
            let number = u64::try_from(number).unwrap_or(0);
            let statements = Statements::new(workload, &mut connection, number + 1)?;
            let stream = connection.into_stream();
            stream.socket().set_nonblocking(true)?;
            let mark = epoll::EventData::new_u64(number);
            epoll::add(&load.epoll, stream.socket(), mark, epoll::EventFlags::IN)?;
            load.clients.push(Client { stream, statements, answer: Answer::new(), begun: Instant::now() });
        }
        Ok(load)
    }

    /// Runs it for so long; statements that were begun by then are waited for.
    ///
    /// # Errors
    /// [`LoadError`]; the load is of no use then.
    pub fn run(&mut self, pace: Pace, time: Duration) -> Result<Seen, LoadError> {
        let latency = Histogram::new_with_bounds(1, HIGHEST, DIGITS)?;
        let start = Instant::now();
        let interval = match pace {
            Pace::Closed => None,
            Pace::Rate(rate) => Some(Duration::from_secs_f64(1.0 / rate.max(1.0))),
        };
        let mut run = Run {
            seen: Seen { statements: 0, bytes: 0, elapsed: Duration::ZERO, latency },
            start,
            end: start + time,
            free: (0..self.clients.len()).collect(),
            busy: 0,
            interval,
            started: 0,
        };
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let more = self.begin(&mut run)?;
            if run.busy == 0 && !more {
                break;
            }
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&STUCK)).or_else(retry)?;
            if events.is_empty() && run.start.elapsed() > time + PATIENCE {
                return Err(LoadError::Stuck);
            }
            for event in events.drain(..) {
                if event.data.u64() == TIMER {
                    // What it read is of no interest: the clock says which statements are due.
                    let _ = rustix::io::read(&self.timer, &mut [0_u8; 8][..]);
                } else {
                    self.ready(&mut run, usize::try_from(event.data.u64()).unwrap_or(usize::MAX))?;
                }
            }
        }
        run.seen.elapsed = run.start.elapsed();
        Ok(run.seen)
    }

    /// Sends what is due on clients that are free. Whether there will be more.
    fn begin(&mut self, run: &mut Run) -> Result<bool, LoadError> {
        let Some(interval) = run.interval else {
            let now = Instant::now();
            if now >= run.end {
                return Ok(false);
            }
            while let Some(client) = run.free.pop_front() {
                self.send(run, client, now)?;
            }
            return Ok(true);
        };
        loop {
            let due = run.start + interval * run.started;
            if due >= run.end {
                return Ok(false);
            }
            let now = Instant::now();
            if due > now {
                self.wake_in(due - now)?;
                return Ok(true);
            }
            let Some(client) = run.free.pop_front() else { return Ok(true) };
            run.started += 1;
            self.send(run, client, due)?;
        }
    }

    fn send(&mut self, run: &mut Run, number: usize, begun: Instant) -> Result<(), LoadError> {
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        client.statements.next(&mut self.output);
        client.begun = begun;
        client.answer = Answer::new();
        if self.output.len() <= AT_ONCE {
            client.stream.write_all(&self.output)?;
        } else {
            client.stream.socket().set_nonblocking(false)?;
            client.stream.write_all(&self.output)?;
            client.stream.socket().set_nonblocking(true)?;
        }
        run.busy += 1;
        Ok(())
    }

    /// A client's socket has something to read.
    fn ready(&mut self, run: &mut Run, number: usize) -> Result<(), LoadError> {
        self.read(run, number)?;
        while self.clients.get_mut(number).is_some_and(|client| client.stream.holds_input()) {
            self.read(run, number)?;
        }
        Ok(())
    }

    fn read(&mut self, run: &mut Run, number: usize) -> Result<(), LoadError> {
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        let read = match client.stream.read(&mut self.input) {
            Ok(0) => return Err(LoadError::Closed),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        run.seen.bytes += u64::try_from(read).unwrap_or(0);
        if !client.answer.feed(self.input.get(..read).unwrap_or_default())? {
            return Ok(());
        }
        let now = Instant::now();
        let taken = now.saturating_duration_since(client.begun).as_nanos();
        run.seen.latency.saturating_record(u64::try_from(taken).unwrap_or(HIGHEST));
        run.seen.statements += 1;
        run.busy -= 1;
        if run.interval.is_none() && now < run.end {
            return self.send(run, number, now);
        }
        run.free.push_back(number);
        Ok(())
    }

    fn wake_in(&self, time: Duration) -> Result<(), LoadError> {
        let it_value = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos().max(1)),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        Ok(())
    }
}

/// How long after its time a run may still wait for answers without an event.
const PATIENCE: Duration = Duration::from_secs(59);

/// A signal is no failure.
fn retry(errno: rustix::io::Errno) -> Result<usize, rustix::io::Errno> {
    if errno == rustix::io::Errno::INTR { Ok(0) } else { Err(errno) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A server that knows no logins: the load is given to it as it is after one.
    fn load(clients: usize, answer_after: Duration) -> Load {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).unwrap();
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN).unwrap();
        let mut load = Load { clients: Vec::new(), epoll, timer, input: vec![0; READ], output: Vec::new() };
        for number in 0..clients {
            let stream = TcpStream::connect(address).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            std::thread::spawn(move || {
                let mut input = [0; 256];
                while server.read(&mut input).is_ok_and(|read| read > 0) {
                    std::thread::park_timeout(answer_after);
                    if server.write_all(&[7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]).is_err() {
                        return;
                    }
                }
            });
            stream.set_nonblocking(true).unwrap();
            let mark = epoll::EventData::new_u64(u64::try_from(number).unwrap());
            epoll::add(&load.epoll, &stream, mark, epoll::EventFlags::IN).unwrap();
            let statements = Statements::without_a_server(Workload::PointText);
            let stream = Wire::Plain(stream);
            load.clients.push(Client { stream, statements, answer: Answer::new(), begun: Instant::now() });
        }
        load
    }

    #[test]
    fn the_closed_loop_sends_when_it_was_answered() {
        let mut load = load(3, Duration::ZERO);
        for _ in 0..2 {
            let seen = load.run(Pace::Closed, Duration::from_millis(100)).unwrap();
            assert!(seen.statements >= 3, "{}", seen.statements);
            assert_eq!(seen.bytes, seen.statements * 11);
            assert_eq!(seen.latency.len(), seen.statements);
        }
    }

    #[test]
    fn at_a_fixed_rate_latency_counts_from_the_intended_start() {
        // One client that needs 20 ms can't keep up with 500 statements per second: each one waits for those before it.
        let mut load = load(1, Duration::from_millis(20));
        let seen = load.run(Pace::Rate(500.0), Duration::from_millis(100)).unwrap();
        assert_eq!(seen.statements, 50);
        assert!(seen.latency.max() > 800_000_000, "{} ns", seen.latency.max());
    }

    #[test]
    fn a_rate_that_can_be_kept_is_kept() {
        let mut load = load(4, Duration::ZERO);
        let seen = load.run(Pace::Rate(200.0), Duration::from_millis(200)).unwrap();
        assert_eq!(seen.statements, 40);
    }
}
