//! The store folder: the record, the history and a lock, for one Sluice.
//!
//! A record is written to a temporary file, synced, renamed, and the folder synced. Losing the store freezes
//! what is recorded and stops operations; it never stops traffic.
//!
//! Never here: a decision, a statement.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::events::KnownEvents;
use super::record::Record;

const RECORD: &str = "record.json";
const LOCK: &str = "lock";
const HISTORY: &str = "history.jsonl";
const FLOOR: &str = "floor.json";
const EVENTS: &str = "events.json";
/// Transactions that only one member had, from before its data were replaced.
const TAILS: &str = "tails";
/// Only for the account that runs Sluice.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {0} is in use by another Sluice on this machine")]
    InUse(PathBuf),
    /// The file system said no.
    #[error("the store {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// What is there is not a record.
    #[error("the record {path} can't be read: {error}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// The folder belongs to another cluster.
    #[error("the store {path} is of the cluster {found}, not of {expected}")]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// Cluster in the record.
        found: String,
        /// Cluster in the configuration.
        expected: String,
    },
    /// The record was changed by somebody else.
    #[error("the record was changed by somebody else (version {found} instead of {expected})")]
    Changed {
        /// Version in the store.
        found: u64,
        /// Version it should have.
        expected: u64,
    },
}

/// What was last seen of a primary that kept its promise; a Sluice that starts after both were killed has to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// Its `server_uuid`.
    pub primary: Uuid,
    /// A GTID set that it had committed while every commit waited for its acknowledgements.
    pub committed: String,
    /// Commits without an acknowledgement since its start, while it waited; `None`: it did not.
    pub unacknowledged: Option<u64>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |error| StoreError::Io { path: path.to_owned(), error }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Held as long as the store is open.
    _lock: File,
}

/// A record that is on disk but not in force yet.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    record: Record,
    expected: Option<u64>,
}

impl Prepared {
    /// What will be in force.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

impl Store {
    /// Opens the folder, making it if missing, and locks it against a second Sluice on this machine.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(at(folder))?;
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options
            .create(true)
            .write(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(at(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(folder.to_owned())),
            Err(errno) => Err(at(&path)(errno.into())),
        }
    }

    /// The record in force; `None` in a new store.
    pub fn load(&self) -> Result<Option<Record>, StoreError> {
        self.read(RECORD)
    }

    /// Writes a record beside the one in force, so that [`Store::commit`] has little left to do. `expected`
    /// is the version that it replaces, `None` for the first.
    pub fn prepare(&self, record: Record, expected: Option<u64>) -> Result<Prepared, StoreError> {
        // By epoch: the record of a coming epoch lies ready while the current one may still change.
        let path = self.folder.join(format!("record.epoch-{}", record.epoch));
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| StoreError::Unreadable { path: path.clone(), error })?;
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).write(true).truncate(true).mode(FILE_MODE).open(&path).map_err(at(&path))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(at(&path))?;
        Ok(Prepared { path, record, expected })
    }

    /// Puts a prepared record in force, if the one in force is still the expected one.
    pub fn commit(&self, prepared: Prepared) -> Result<Record, StoreError> {
        let found = self.load()?.map(|record| record.version);
        if found != prepared.expected {
            let (found, expected) = (found.unwrap_or(0), prepared.expected.unwrap_or(0));
            return Err(StoreError::Changed { found, expected });
        }
        fs::rename(&prepared.path, self.folder.join(RECORD)).map_err(at(&self.folder))?;
        // From the rename on the new record is what everybody reads, so there is no way back from here.
        if let Err(error) = File::open(&self.folder).and_then(|folder| folder.sync_all()) {
            tracing::error!(%error, folder = %self.folder.display(), "the store folder can't be synced");
        }
        Ok(prepared.record)
    }

    /// What was last seen of the primary; `None` if nothing was.
    pub fn floor(&self) -> Result<Option<Floor>, StoreError> {
        self.read(FLOOR)
    }

    /// Replaces it, as a whole: after a crash it is the one before or this one.
    pub fn keep_floor(&self, floor: &Floor) -> Result<(), StoreError> {
        self.replace(FLOOR, floor)
    }

    /// What was last known of scheduled events; `None` if nothing was.
    pub fn events(&self) -> Result<Option<KnownEvents>, StoreError> {
        self.read(EVENTS)
    }

    /// Replaces it, as a whole.
    pub fn keep_events(&self, events: &KnownEvents) -> Result<(), StoreError> {
        self.replace(EVENTS, events)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.folder.join(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| StoreError::Unreadable { path, error })
    }

    fn replace(&self, name: &str, content: &impl Serialize) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        let text = serde_json::to_vec(content)
            .map_err(|error| StoreError::Unreadable { path: path.clone(), error })?;
        let beside = self.folder.join(format!("{name}.new"));
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&beside)
            .map_err(at(&beside))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(at(&beside))?;
        fs::rename(&beside, &path).map_err(at(&path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at(&self.folder))
    }

    /// A new file for transactions that only one member has. It is never overwritten or removed by Sluice.
    pub fn tail(&self, member: &str, id: &str) -> Result<(File, PathBuf), StoreError> {
        let folder = self.folder.join(TAILS);
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder).map_err(at(&folder))?;
        // A name may hold anything; a path must stay in its folder.
        let plain = |one: char| if one.is_ascii_alphanumeric() || one == '-' { one } else { '_' };
        let name: String = member.chars().map(plain).collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let path = folder.join(format!("{name}-{id}-{}.binlog", now.as_secs()));
        let mut options = OpenOptions::new();
        let file = options.create_new(true).write(true).mode(FILE_MODE).open(&path).map_err(at(&path))?;
        Ok((file, path))
    }

    /// Adds a line to the history.
    pub fn remember(&self, event: &impl Serialize) -> Result<(), StoreError> {
        let path = self.folder.join(HISTORY);
        let mut line = serde_json::to_vec(event)
            .map_err(|error| StoreError::Unreadable { path: path.clone(), error })?;
        line.push(b'\n');
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).mode(FILE_MODE).open(&path).map_err(at(&path))?;
        file.write_all(&line).map_err(at(&path))
    }
}

#[cfg(test)]
mod tests;
