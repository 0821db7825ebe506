//! The initialised data directory that every node starts as a copy of.
//!
//! Kept in `.mysql/` of the checkout, one per server version and per shape of the template. Must never be
//! started: a started server would put its identity into it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::ClusterError;
use crate::mysqld::{Mysqld, workspace};
use crate::options::{INNODB, run_as};

/// Counted up when what is initialised changes, so that old templates are not used any more.
const EDITION: u32 = 1;

/// Gives the template for this server, making it if it does not exist. Blocks (about 2 s the first time).
pub(crate) fn ensure(mysqld: &Mysqld) -> Result<PathBuf, ClusterError> {
    let home = workspace().join(".mysql");
    fs::create_dir_all(&home).map_err(ClusterError::path("create", &home))?;
    let template = home.join(format!("template-{}-{EDITION}", mysqld.version()));
    let lock_file = home.join("template.lock");
    let lock = File::create(&lock_file).map_err(ClusterError::path("create", &lock_file))?;
    lock.lock().map_err(ClusterError::path("lock", &lock_file))?;
    if !template.exists() {
        make(mysqld, &template)?;
    }
    Ok(template)
}

fn make(mysqld: &Mysqld, template: &Path) -> Result<(), ClusterError> {
    let building = template.with_extension("building");
    remove(&building)?;
    fs::create_dir_all(&building).map_err(ClusterError::path("create", &building))?;
    let data = building.join("data");
    let defaults = building.join("my.cnf");
    // No binlog, so that every node begins with an empty GTID set.
    let text = format!("[mysqld]\n{}{INNODB}datadir = {}\ndisable_log_bin\n", run_as(), data.display());
    fs::write(&defaults, text).map_err(ClusterError::path("write", &defaults))?;
    let mut command = Command::new(mysqld.path());
    command.arg(format!("--defaults-file={}", defaults.display())).arg("--initialize-insecure");
    run("initialise the template data directory", command)?;
    let identity = data.join("auto.cnf");
    fs::remove_file(&identity).map_err(ClusterError::path("remove", &identity))?;
    fs::rename(&data, template).map_err(ClusterError::path("create", template))?;
    remove(&building)
}

/// Makes `datadir` a copy of the template with an identity of its own. Blocks (about 0.1 s).
pub(crate) fn copy(template: &Path, datadir: &Path, uuid: uuid::Uuid) -> Result<(), ClusterError> {
    let mut command = Command::new("cp");
    command.args(["-a", "--reflink=auto", "--sparse=always"]).arg(template).arg(datadir);
    run("copy the template data directory", command)?;
    let identity = datadir.join("auto.cnf");
    fs::write(&identity, format!("[auto]\nserver-uuid={uuid}\n"))
        .map_err(ClusterError::path("write", identity))
}

fn run(what: &str, mut command: Command) -> Result<(), ClusterError> {
    let output = command.stdin(Stdio::null()).output().map_err(ClusterError::io(what))?;
    if output.status.success() {
        return Ok(());
    }
    let Output { status, stdout, stderr } = output;
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Err(ClusterError::Program { what: what.into(), output: format!("{status}\n{text}") })
}

fn remove(folder: &Path) -> Result<(), ClusterError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ClusterError::path("remove", folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
