//! What a process used, from /proc.
//!
//! CPU is the run time of all its threads as the scheduler counts it (ns), else utime + stime of the process (ticks of
//! 10 ms). Threads that ended meanwhile are missed by the first.
//!
//! Never here: which processes, and what they are compared with.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

/// What a process used since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// Context switches of all threads, voluntary and not.
    pub switches: u64,
}

impl Usage {
    /// Of a process that runs.
    ///
    /// # Errors
    /// If it is gone, or /proc is not as expected.
    pub fn of(pid: i32) -> io::Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let mut usage = Self::default();
        let mut counted = true;
        for task in fs::read_dir(process.join("task"))? {
            let task = task?.path();
            match fs::read_to_string(task.join("schedstat")).ok().and_then(|text| run_time(&text)) {
                Some(time) => usage.cpu += time,
                None => counted = false,
            }
            // A thread may end between the two looks.
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            usage.switches += switches(&status);
        }
        if !counted {
            let ticks = ticks(&fs::read_to_string(process.join("stat"))?)
                .ok_or_else(|| io::Error::other("/proc/PID/stat is not as expected"))?;
            let per_second = rustix::param::clock_ticks_per_second().max(1);
            usage.cpu = Duration::from_micros(ticks * 1_000_000 / per_second);
        }
        Ok(usage)
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// If it is gone.
pub fn resident(pid: i32) -> io::Result<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let kibibytes = field(&status, "VmRSS:");
    Ok(kibibytes.ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))? * 1024)
}

/// Descriptors that a process has open.
///
/// # Errors
/// If it is gone.
pub fn descriptors(pid: i32) -> io::Result<usize> {
    Ok(fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"))?.count())
}

/// The first field of schedstat: ns on a CPU.
fn run_time(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// utime + stime of /proc/PID/stat. The name of the program may hold anything, also spaces and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn switches(status: &str) -> u64 {
    let of = |name| field(status, name).unwrap_or(0);
    of("voluntary_ctxt_switches:") + of("nonvoluntary_ctxt_switches:")
}

fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 98 0 0 0 123 45 0 0 20 0 1 0 6198560 3133440 396";
        assert_eq!(ticks(stat), Some(168));
        assert_eq!(ticks("42 (cut"), None);
        assert_eq!(run_time("1234567 89 10\n"), Some(Duration::from_nanos(1_234_567)));
        assert_eq!(run_time(""), None);
        let status =
            "Name:\tx\nVmRSS:\t    1964 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n";
        assert_eq!(switches(status), 12);
        assert_eq!(field(status, "VmRSS:"), Some(1964));
    }

    #[test]
    fn this_process_is_measured() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = Usage::of(pid).unwrap();
        let mut sum = 0_u64;
        while Usage::of(pid).unwrap().since(before).cpu < Duration::from_millis(20) {
            sum = sum.wrapping_add(1);
        }
        assert!(sum > 0 && resident(pid).unwrap() > 100_000);
    }
}
