//! D7: a primary whose disk is full. Its commits hang in the server, it answers everything else, and replicas follow it.
//!
//! The disk is a small file system in memory, for which one has to be allowed to mount: root in most places.
//!
//! Never here: a file system that stays mounted.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::control::{self, Control};

/// Left for what a server writes by itself.
const SPARE: u64 = 12 << 20;

/// A data directory on a disk of its own, with little left on it.
struct SmallDisk {
    at: PathBuf,
}

fn run(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|error| error.to_string())?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }
}

impl SmallDisk {
    /// Moves the data of a server that does not run.
    fn under(datadir: &Path) -> Result<Self, String> {
        let aside = datadir.with_extension("aside");
        let used = run(Command::new("du").args(["-sb", "--apparent-size"]).arg(datadir))?;
        let used: u64 = used.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).ok_or("du")?;
        let size = format!("size={}", used + used / 20 + SPARE);
        std::fs::rename(datadir, &aside).map_err(|error| error.to_string())?;
        std::fs::create_dir(datadir).map_err(|error| error.to_string())?;
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(datadir));
        if let Err(why) = mounted {
            std::fs::remove_dir(datadir).map_err(|error| error.to_string())?;
            std::fs::rename(&aside, datadir).map_err(|error| error.to_string())?;
            return Err(why);
        }
        let disk = Self { at: datadir.to_owned() };
        // Without holes: what a server has allocated is not what it lacks later.
        run(Command::new("cp").args(["-a", "--sparse=never"]).arg(aside.join(".")).arg(datadir))?;
        std::fs::remove_dir_all(aside).map_err(|error| error.to_string())?;
        Ok(disk)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Until nothing more can be written.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            let piece = vec![0; piece];
            while file.write_all(&piece).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

#[tokio::test]
async fn d7_a_primary_with_a_full_disk_is_replaced_after_the_time_that_is_set() {
    let cluster = control::cluster(3).await;
    let (old, store) = (cluster.node(0), tempfile::tempdir().unwrap());
    old.exec("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, text LONGTEXT)").await.unwrap();
    old.kill().await.unwrap();
    let disk = match SmallDisk::under(&old.datadir()) {
        Ok(disk) => disk,
        Err(why) => return println!("SKIPPED: no file system can be mounted here ({why})"),
    };
    old.start().await.unwrap();
    old.exec("SET GLOBAL read_only = OFF").await.unwrap();
    let control =
        Control::start_with(control::config(&cluster, store.path(), "[failover]\nstall = \"4s\"\n"));
    control.settled("db1").await;
    control.until("ready", |status| status.failover.state == "ready").await;
    disk.fill();
    let mut acknowledged = 0;
    // Small ones: they have their place in the table's first pages, and none in the binary log.
    let write = "INSERT INTO app.t (text) VALUES (REPEAT('x', 100))";
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(2), old.exec(write)).await {
        written.unwrap();
        acknowledged += 1;
    }
    println!("{acknowledged} writes fit");
    let stalled = control.until("stalled", |status| status.verdict == "primary_stalled").await;
    assert!(stalled.epoch == 1 && stalled.evidence.contains("answers and can't commit"), "{stalled:#?}");
    let next =
        control.until("replaced", |status| status.epoch == 2 && status.verdict != "primary_stalled").await;
    println!("{}: {}", next.verdict, next.evidence);
    let name = control.until("a primary", |status| status.primary.is_some()).await.primary.clone().unwrap();
    let new = cluster.nodes().iter().find(|node| node.name() == name).unwrap();
    assert_ne!(name, "db1");
    assert!(new.value::<u32>("SELECT COUNT(*) FROM app.t").await.unwrap() >= acknowledged);
    new.exec(write).await.unwrap();
    old.kill().await.unwrap();
}
