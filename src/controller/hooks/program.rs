//! One run of a hook's program: JSON on its stdin, a hard deadline, its process group killed at the end, and a little
//! of what it said.
//!
//! Never here: when a hook is run, a word about roles.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Hook;

/// Bytes of stdout and of stderr that are kept, each; the rest is read and dropped, so that nobody waits to be read.
const KEPT: usize = 4096;
/// Read at once.
const CHUNK: usize = 8192;
/// How long the pipes of a group that was killed may stay open: a process that left the group may hold them for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// What a program gets of Sluice's environment; passwords may be in the rest.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ran {
    /// In words: `exit code 0`, `killed after 2s`.
    pub(super) how: Result<String, String>,
    /// What it said.
    pub(super) output: String,
}

/// Kills its process group when dropped, whoever is still in it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody may be left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs the program. Returns at its end or soon after its timeout, whatever it does.
pub(super) async fn run(hook: &Hook, input: Vec<u8>) -> Ran {
    let until = Instant::now() + hook.timeout;
    let (mut child, group) = match start(hook) {
        Ok(started) => started,
        Err(error) => return Ran { how: Err(format!("can't be started: {error}")), output: String::new() },
    };
    let told = tokio::spawn(tell(child.stdin.take(), input));
    let said = tokio::spawn(listen(child.stdout.take()));
    let complained = tokio::spawn(listen(child.stderr.take()));
    let ended = timeout_at(until, child.wait()).await;
    // Also those that it has started and left behind.
    drop(group);
    if ended.is_err() {
        // Killed: it only has to be reaped.
        let _ = timeout(LAST_WORDS, child.wait()).await;
    }
    told.abort();
    let last = Instant::now() + LAST_WORDS;
    let mut output = String::new();
    for (name, heard) in [("stdout", said), ("stderr", complained)] {
        let stop = heard.abort_handle();
        match timeout_at(last, heard).await {
            Ok(Ok(heard)) => output.push_str(&heard.words(name)),
            Ok(Err(_)) => {}
            Err(_) => {
                stop.abort();
                output.push_str(&format!("{name} was still open; "));
            }
        }
    }
    let how = match ended {
        Ok(Ok(status)) => ended_with(status),
        Ok(Err(error)) => Err(format!("can't be waited for: {error}")),
        Err(_) => Err(format!("killed after {}", humantime::format_duration(hook.timeout))),
    };
    Ran { how, output: output.trim_end_matches("; ").to_owned() }
}

fn start(hook: &Hook) -> std::io::Result<(Child, Group)> {
    let (program, arguments) = hook.command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let kept = ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(kept)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    Ok((child, Group(pid)))
}

fn ended_with(status: ExitStatus) -> Result<String, String> {
    if status.success() { Ok("exit code 0".into()) } else { Err(status.to_string()) }
}

async fn tell(stdin: Option<ChildStdin>, input: Vec<u8>) {
    let Some(mut stdin) = stdin else { return };
    // Who does not read, or not all of it, does not want it.
    let _ = stdin.write_all(&input).await;
    let _ = stdin.shutdown().await;
}

/// What came through a pipe.
#[derive(Debug, Default)]
struct Heard {
    kept: Vec<u8>,
    bytes: usize,
}

impl Heard {
    fn words(&self, name: &str) -> String {
        if self.bytes == 0 {
            return String::new();
        }
        let text = String::from_utf8_lossy(&self.kept).trim_end().to_owned();
        let more = self.bytes - self.kept.len();
        let more = if more > 0 { format!(" ... and {more} bytes more") } else { String::new() };
        format!("{name}: {text}{more}; ")
    }
}

async fn listen(pipe: Option<impl AsyncRead + Unpin>) -> Heard {
    let mut heard = Heard::default();
    let Some(mut pipe) = pipe else { return heard };
    let mut chunk = vec![0; CHUNK];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        let room = KEPT.saturating_sub(heard.kept.len()).min(read);
        heard.kept.extend(chunk.iter().take(room));
        heard.bytes = heard.bytes.saturating_add(read);
    }
    heard
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn sh(script: &str, timeout: Duration, input: &str) -> (Ran, Duration) {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let began = Instant::now();
        let ran = run(&Hook { command, timeout }, input.as_bytes().to_vec()).await;
        (ran, began.elapsed())
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn it_is_told_and_heard() {
        let (ran, _) = sh("cat; echo no >&2", LONG, "{}").await;
        assert_eq!(ran, Ran { how: Ok("exit code 0".into()), output: "stdout: {}; stderr: no".into() });
        let (ran, _) = sh("exit 3", LONG, "").await;
        assert_eq!(ran.how, Err("exit status: 3".into()));
        let missing = Hook { command: vec!["/nowhere/at/all".into()], timeout: LONG };
        assert!(run(&missing, Vec::new()).await.how.unwrap_err().starts_with("can't be started"));
    }

    #[tokio::test]
    async fn who_hangs_is_killed_with_its_children() {
        let (ran, took) = sh("sleep 1000 & echo $!; sleep 1000", SHORT, "").await;
        assert_eq!(ran.how, Err("killed after 300ms".into()));
        assert!(took < Duration::from_secs(5), "{took:?}");
        let child: i32 = ran.output.strip_prefix("stdout: ").unwrap().parse().unwrap();
        let alive = || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        let until = Instant::now() + LONG;
        while alive() {
            assert!(Instant::now() < until, "{child} lives");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_forks_and_goes_leaves_nobody_behind() {
        let (ran, took) = sh("(sleep 1000; echo late) & echo early", LONG, "").await;
        assert_eq!(ran, Ran { how: Ok("exit code 0".into()), output: "stdout: early".into() });
        assert!(took < Duration::from_secs(5), "{took:?}");
        // One that leaves the group as well keeps the pipe open, and nobody waits for it.
        let (ran, took) = sh("setsid sleep 3 & echo early", LONG, "").await;
        assert!(ran.how.is_ok() && took < Duration::from_secs(3), "{ran:?} {took:?}");
    }

    #[tokio::test]
    async fn megabytes_are_read_and_a_little_is_kept() {
        let (ran, _) = sh("head -c 5000000 /dev/zero | tr '\\0' x", LONG, "").await;
        assert!(ran.how.is_ok(), "{ran:?}");
        assert!(
            ran.output.len() < 2 * KEPT && ran.output.ends_with("... and 4995904 bytes more"),
            "{}",
            ran.output.len()
        );
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_waited_for() {
        let (ran, took) = sh("exec <&-; echo fine", LONG, &"x".repeat(1 << 20)).await;
        assert_eq!(ran.output, "stdout: fine");
        assert!(took < LONG, "{took:?}");
        let (ran, _) = sh("sleep 1000", SHORT, &"x".repeat(1 << 20)).await;
        assert!(ran.how.is_err());
    }
}
