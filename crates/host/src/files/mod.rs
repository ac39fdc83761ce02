//! Files and folders, the only place where the operator changes them.
//!
//! [`write()`], [`remove`] and [`ensure_dir`] change; [`FileCache`] looks.
//! Every path is opened without following symbolic links, because tenants own
//! some of the folders (law 10), and every change is on the disk when the call
//! returns (law 5).

mod cache;
mod dirs;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use cache::Stamp;
pub use cache::{FileCache, MAX_READ, OwnedFile};
pub use dirs::{ensure_dir, move_dir};
pub use write::{FileSpec, link, remove, remove_abandoned, write};

/// Why a file or folder could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A system call failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The disk or a quota is full.
    #[error("no space left to {what} {}: {free} bytes are free on its file system; free some, nothing was changed", path.display())]
    NoSpace {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What is left.
        free: u64,
        /// Why it failed.
        source: io::Error,
    },
    /// Something other than a regular file or folder is in the way.
    #[error("{} is {found}; it is not touched. Remove it or move it away", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
    },
}

impl FileError {
    pub(crate) fn io(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        // openat2 says this for a symbolic link anywhere in the path.
        if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            return FileError::InTheWay {
                path,
                found: "a symbolic link, or below one".to_owned(),
            };
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let free = free_space(&path);
                FileError::NoSpace {
                    what,
                    path,
                    free,
                    source,
                }
            }
            io::ErrorKind::NotADirectory => FileError::InTheWay {
                path,
                found: "not a folder, or below something that is not".to_owned(),
            },
            _ => FileError::Io { what, path, source },
        }
    }

    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, FileError::NoSpace { .. })
    }
}

/// The bytes free at the nearest folder that exists.
fn free_space(path: &Path) -> u64 {
    path.ancestors()
        .find_map(|folder| rustix::fs::statvfs(folder).ok())
        .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// An error with all of its sources in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
