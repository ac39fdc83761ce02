//! Watches a folder of small files and gives whole readings of it.
//!
//! ```text
//! inotify ─▶ Signals (filter) ─▶ driver (debounce, poll) ─▶ Reader ─▶ Scan
//!                                      ▲                       │
//!                                      └── watch, then read ◀──┘
//! ```
//!
//! Events only say *when* to read; what is there comes from a complete reading
//! each time. A reading says whether it is complete, so that nobody takes a
//! missing mount for a thousand deleted files.
//!
//! Guarantees:
//! - each folder is watched before it is read, so that no change falls between;
//! - a reading is made twice where files come and go meanwhile, until two
//!   looks agree; [`Scan::complete`] means that they did;
//! - an event may be lost (overflow, a mount, a file system without inotify):
//!   the identity of every folder is polled, and everything is read again from
//!   time to time, at the price of one `lstat` a file;
//! - no error ends the watcher.
//!
//! What must not live here: what the files mean, and which names matter (the
//! caller's [`Filter`]).

mod driver;
mod reader;
mod signals;
mod watches;

pub use driver::{FolderHandle, FolderStats, FolderWatcher, WatcherStopped};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Which paths matter. Paths are relative to the folder.
pub trait Filter: Send + Sync + 'static {
    /// Whether the file is part of the reading. Other files are neither read
    /// nor do they wake the watcher.
    fn file(&self, path: &Path) -> bool;

    /// Whether the sub-folder is part of the reading, with what is in it.
    fn folder(&self, path: &Path) -> bool {
        let _ = path;
        true
    }
}

/// The settings of a watcher.
#[derive(Clone)]
pub struct FolderConfig {
    /// The folder. It may be a symbolic link; links inside are not followed.
    pub root: PathBuf,
    /// Which paths matter.
    pub filter: Arc<dyn Filter>,
    /// Files above this size are not read.
    pub max_file_size: u64,
    /// A reading begins when nothing happened for this long.
    pub quiet: Duration,
    /// A reading begins at the latest this long after the first event.
    pub max_delay: Duration,
    /// How often the identity of the folders is checked, and a reading that
    /// was not complete is tried again.
    pub poll: Duration,
    /// How often everything is read again although nothing happened.
    pub rescan_every: Duration,
}

impl FolderConfig {
    /// Files up to 1 MiB; 50 ms of quiet, at most 500 ms; a poll every 5 s and
    /// a whole reading every minute.
    pub fn new(root: impl Into<PathBuf>, filter: impl Filter) -> Self {
        Self {
            root: root.into(),
            filter: Arc::new(filter),
            max_file_size: 1024 * 1024,
            quiet: Duration::from_millis(50),
            max_delay: Duration::from_millis(500),
            poll: Duration::from_secs(5),
            rescan_every: Duration::from_secs(60),
        }
    }
}

/// One whole reading of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Grows by one with each reading that differs from the one before. 0 is
    /// the placeholder before the first reading.
    pub sequence: u64,
    /// What was found, by relative path.
    pub files: BTreeMap<PathBuf, FileRead>,
    /// Whether `files` has an entry for every file there is. Only then does
    /// the lack of a file mean that it is gone.
    pub complete: bool,
    /// Why it is not complete: the first problem in the order of the paths.
    pub problem: Option<ScanProblem>,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRead {
    /// Its content, read while it did not change.
    Content(Arc<[u8]>),
    /// It is above the limit and was not read.
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// It is there but could not be read.
    Failed(FileProblem),
}

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// The system refused.
    #[error("cannot be read: {message}")]
    Unreadable {
        /// What the system said.
        message: String,
    },
    /// It is a symbolic link, a pipe, a device or a socket.
    #[error("is {kind}, not a regular file; only regular files are read here")]
    NotRegular {
        /// What it is, with its article.
        kind: &'static str,
    },
    /// It changed each time it was read; it is read again soon.
    #[error("changed while it was read")]
    Changing,
}

/// Why a reading is not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanProblem {
    /// The first reading has not ended.
    #[error("{} was not read yet", path.display())]
    NotReadYet {
        /// The folder.
        path: PathBuf,
    },
    /// The folder does not exist.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// There is something else in its place.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The folder, a sub-folder or an entry could not be read.
    #[error("{} cannot be read: {message}", path.display())]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A link stands where a sub-folder could be.
    #[error(
        "{} is a symbolic link to a folder, or leads nowhere; links are not followed here: \
         put a real folder (or a bind mount) in its place, or move the link out",
        path.display()
    )]
    LinkedFolder {
        /// The link.
        path: PathBuf,
    },
    /// The folders are nested too deeply.
    #[error("{} is nested too deeply: at most {limit} levels are read", path.display())]
    TooDeep {
        /// The folder that was not read.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Files came and went as often as it was read.
    #[error("{} kept changing while it was read", path.display())]
    Changing {
        /// The folder.
        path: PathBuf,
    },
    /// A fault of the program.
    #[error("{} could not be read because of a fault of this program: {message}", path.display())]
    Internal {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
}

impl std::fmt::Debug for FolderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FolderConfig")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
