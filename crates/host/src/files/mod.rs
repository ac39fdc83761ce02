//! Files and folders, the only place where the operator changes them.
//!
//! [`write()`], [`remove`], [`set_aside`] and [`ensure_dir`] change; [`FileCache`] looks.
//! Every path is opened without following symbolic links, because tenants own
//! some of the folders (law 10), and every change is on the disk when the call
//! returns (law 5).

mod aside;
mod cache;
mod dirs;
mod take;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub use aside::set_aside;
pub(crate) use cache::Stamp;
pub use cache::{FileCache, MAX_READ, OwnedFile};
pub use dirs::{ensure_dir, move_dir};
pub use take::{remove_dir, take_dir, take_file};
pub use write::{FileSpec, link, relink, remove, remove_abandoned, remove_abandoned_below, write};

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
    ///
    /// Says nothing of how much is left: that changes all the time, and a
    /// condition must not (law 8).
    #[error("no space left to {what} {}; make room on its file system, nothing was changed", path.display())]
    NoSpace {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
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
                FileError::NoSpace { what, path, source }
            }
            io::ErrorKind::NotADirectory => FileError::InTheWay {
                path,
                found: "not a folder, or below something that is not".to_owned(),
            },
            _ => FileError::Io { what, path, source },
        }
    }

    /// The same error, told of the place where `path` was to be moved.
    #[must_use]
    pub(crate) fn moved(mut self, from: &Path, to: &Path) -> Self {
        let (FileError::Io { path, .. }
        | FileError::NoSpace { path, .. }
        | FileError::InTheWay { path, .. }) = &mut self;
        if let Ok(below) = path.strip_prefix(from) {
            *path = to.join(below);
        }
        self
    }

    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, FileError::NoSpace { .. })
    }

    /// Whether there is nothing at the path.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
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
