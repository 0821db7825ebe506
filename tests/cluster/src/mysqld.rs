//! Which mysqld to run.
//!
//! Must never pick a server by itself: the choice (and the refusal of MariaDB) is that of `deploy/mysql/fetch`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::ClusterError;

/// The oldest server this harness can steer: it says `source` and `replica`, not the words before 8.0.26.
const OLDEST: Version = Version { major: 8, minor: 0, patch: 26 };

/// A server's version, such as 9.7.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 9 of 9.7.4.
    pub major: u16,
    /// 7 of 9.7.4.
    pub minor: u16,
    /// 4 of 9.7.4.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// Reads the first `Ver a.b.c` of a `--version` line.
    fn from_banner(banner: &str) -> Option<Self> {
        let (_, rest) = banner.split_once("Ver ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

/// A mysqld that fits.
#[derive(Debug, Clone)]
pub struct Mysqld {
    path: PathBuf,
    version: Version,
}

impl Mysqld {
    /// Finds (at the first call on a machine: downloads) the server, by `deploy/mysql/fetch` of this workspace.
    ///
    /// # Errors
    /// [`ClusterError::NoServer`] with that script's own words.
    pub async fn find() -> Result<Self, ClusterError> {
        static FOUND: Mutex<Option<Arc<Mysqld>>> = Mutex::const_new(None);
        let mut found = FOUND.lock().await;
        if let Some(mysqld) = &*found {
            return Ok((**mysqld).clone());
        }
        let mysqld = Self::ask(&workspace().join("deploy/mysql/fetch")).await?;
        *found = Some(Arc::new(mysqld.clone()));
        Ok(mysqld)
    }

    async fn ask(script: &Path) -> Result<Self, ClusterError> {
        let output = Command::new(script).output().await.map_err(ClusterError::path("run", script))?;
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if !output.status.success() {
            return Err(ClusterError::NoServer(words));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let path = text.lines().last().filter(|line| !line.is_empty());
        Self::at(Path::new(path.ok_or(ClusterError::NoServer(words))?)).await
    }

    async fn at(path: &Path) -> Result<Self, ClusterError> {
        let output = Command::new(path).args(["--no-defaults", "--version"]).output().await;
        let output = output.map_err(ClusterError::path("run", path))?;
        let banner = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match Version::from_banner(&banner) {
            Some(version) if version >= OLDEST => Ok(Self { path: path.to_owned(), version }),
            Some(version) => Err(ClusterError::NoServer(format!(
                "the cluster tests need MySQL {OLDEST}, this is {version}"
            ))),
            None => Err(ClusterError::NoServer(format!("{} says: {banner}", path.display()))),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }
}

/// The checkout that this crate was built from.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_banners() {
        let seen = |banner| Version::from_banner(banner).map(|v| v.to_string());
        assert_eq!(seen("/x/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))").as_deref(), Some("9.7.4"));
        assert_eq!(seen("mysqld  Ver 8.0.36-28 for Linux (Percona Server (GPL))").as_deref(), Some("8.0.36"));
        assert_eq!(seen("mysqld  Ver x"), None);
        assert_eq!(seen(""), None);
    }
}
