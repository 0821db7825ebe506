//! The child process that cleans up after a cluster, however its owner ended.
//!
//! One `setsid sh` per cluster reads a pipe whose other end only this process holds. The pipe's end of file (the
//! owner is gone: finished, panicked, interrupted, SIGKILLed) makes it kill every process whose command line names
//! a configuration file inside the cluster's folder, frozen ones too, and remove the folder. The orderly end takes
//! the same way, so there is one.
//!
//! Must never kill by a process name or a remembered process id: only by that command line, read at that moment.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::ClusterError;

/// Ends the processes and removes the folder named by `SLUICE_CLUSTER`. Three looks in a row without a process are
/// needed, 0.1 s apart, because one may have been on its way between fork and exec when its parent died.
const END: &str = r#"
end() {
    quiet=0
    rounds=0
    while [ "$quiet" -lt "$1" ] && [ "$rounds" -lt 100 ]; do
        [ "$rounds" -eq 0 ] || sleep 0.1
        rounds=$((rounds + 1))
        quiet=$((quiet + 1))
        for file in $(printf -- '--defaults-file=%s/\n--config=%s/\n' "$SLUICE_CLUSTER" "$SLUICE_CLUSTER" |
            grep -lFf - /proc/[0-9]*/cmdline 2>/dev/null); do
            pid=${file#/proc/}
            kill -KILL "${pid%/cmdline}" 2>/dev/null
            quiet=0
        done
    done
    cd / && rm -rf "$SLUICE_CLUSTER"
}
"#;

/// Waits for the owner's word or end.
const WAIT: &str = r#"
trap '' HUP INT TERM QUIT PIPE
word=lost
while read -r line; do word=$line; done
case $word in
    keep) exit 0 ;;
    done) end 1 ;;
    *) end 3 ;;
esac
"#;

/// The reaper of one cluster. Dropping it ends the cluster's processes and its folder, and waits for that.
#[derive(Debug)]
pub(crate) struct Reaper {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Reaper {
    /// Starts the reaper of `folder`, which must be a cluster's own.
    pub(crate) fn start(folder: &Path) -> Result<Self, ClusterError> {
        let mut child = Command::new("setsid")
            .args(["sh", "-c", &format!("{END}{WAIT}")])
            .env("SLUICE_CLUSTER", folder) // not an argument: it would find itself
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ClusterError::io("start the cluster's reaper (setsid sh)"))?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Lets everything stay and writes a script that ends it: `FOLDER/stop`.
    pub(crate) fn keep(mut self, folder: &Path) -> Result<(), ClusterError> {
        let script = folder.join("stop");
        let text = format!("#!/bin/sh\nSLUICE_CLUSTER='{}'\n{END}end 1\n", folder.display());
        std::fs::write(&script, text).map_err(ClusterError::path("write", &script))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).map_err(ClusterError::path("make executable", &script))?;
        self.finish("keep\n");
        Ok(())
    }

    fn finish(&mut self, word: &str) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(word.as_bytes()); // a reaper that is gone has nothing to be told
        }
        let _ = self.child.wait();
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.finish("done\n");
    }
}
