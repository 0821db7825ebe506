//! System calls per statement, counted by strace in a turn of their own: it slows the process down so much that nothing
//! else of that turn means anything, and with many clients a slow process finds more to do at once than a fast one. With
//! one client the count is exact.
//!
//! Never here: times.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// Attaching to all threads takes milliseconds.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it is attached.
const PAUSE: Duration = Duration::from_millis(5);

/// Calls of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// Its name.
    pub name: String,
    /// How many per statement.
    pub per_statement: f64,
}

/// Runs `work`, which says how many statements it did, and counts what the process `pid` calls meanwhile.
///
/// # Errors
/// If strace can't be run or attached (it may be forbidden), or the work's.
pub fn count<E: From<io::Error>>(pid: i32, work: impl FnOnce() -> Result<u64, E>) -> Result<Vec<Calls>, E> {
    let output = std::env::temp_dir().join(format!("sluice-bench-{}.strace", std::process::id()));
    let mut strace = Command::new("strace")
        .args(["-c", "-f", "-qq", "-U", "name,calls", "-o"])
        .arg(&output)
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let worked = attached(pid).map_err(E::from).and_then(|()| work());
    let ended = Pid::from_raw(i32::try_from(strace.id()).unwrap_or(0))
        .map_or(Ok(()), |tracer| kill_process(tracer, Signal::INT))
        .map_err(io::Error::from)
        .and_then(|()| strace.wait());
    let text = fs::read_to_string(&output);
    let _ = fs::remove_file(&output); // it may not be there
    let (statements, _) = (worked?, ended?);
    Ok(table(&text?, statements))
}

/// Waits until every thread is traced.
fn attached(pid: i32) -> io::Result<()> {
    let end = Instant::now() + ATTACH_LIMIT;
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    loop {
        let mut all = true;
        for task in fs::read_dir(&tasks)? {
            let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            all &= !status.contains("TracerPid:\t0\n");
        }
        if all {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(io::Error::other("strace did not attach"));
        }
        thread::park_timeout(PAUSE);
    }
}

/// The table that strace writes, as calls per statement, most first.
#[allow(clippy::cast_precision_loss)] // calls of a second
fn table(text: &str, statements: u64) -> Vec<Calls> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, calls) = (words.next()?, words.next()?.parse::<u64>().ok()?);
        let per_statement = calls as f64 / statements.max(1) as f64;
        (name != "total").then(|| Calls { name: name.to_owned(), per_statement })
    };
    let mut all: Vec<Calls> = text.lines().filter_map(row).collect();
    all.sort_by(|one, other| other.per_statement.total_cmp(&one.per_statement));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let text = "syscall              calls\n---------------- ---------\nepoll_wait              10\nsendto                  20\n\
                    ---------------- ---------\ntotal                   30\n";
        let calls = |name: &str, per_statement| Calls { name: name.to_owned(), per_statement };
        assert_eq!(table(text, 10), [calls("sendto", 2.0), calls("epoll_wait", 1.0)]);
        assert_eq!(table("", 0), []);
    }
}
