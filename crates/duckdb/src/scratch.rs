//! A private copy of a database with its log, for replaying what DuckDB cannot
//! replay read-only: some entries (an index, an altered column) make it write
//! into the file.
//!
//! The copy lies beside the database, where a reflink costs nothing, or in the
//! folder for temporary files if nothing can be written there. Who uses one
//! holds a lock on its folder; one without belongs to a run that was killed,
//! and the next run takes it away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::error::Error;
use crate::files::{self, Part, beside};
use crate::limits::Watch;

/// A folder with a copy; removed with this.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Copies the database at `path` and what lies beside it. Not to be called
    /// while DuckDB has it open in this process.
    pub(crate) fn copy(path: &Path, watch: &Watch) -> Result<Scratch, Error> {
        let prefix = format!("{}.scratch-", name(path).display());
        let parent = path.parent().unwrap_or(Path::new("/"));
        remove_stale(parent, &prefix);
        let make = |folder: &Path| {
            let folder = tempfile::Builder::new()
                .prefix(&prefix)
                .tempdir_in(folder)?;
            let lock = File::open(folder.path())?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Scratch {
                folder,
                _lock: lock,
            })
        };
        let scratch = make(parent)
            .or_else(|_| make(&std::env::temp_dir()))
            .map_err(|source| Error::io("copying", path, source))?;

        let locked = files::lock_shared(path)?;
        let copy = scratch.path(path);
        for (suffix, _) in files::sidecars(path)? {
            let from = files::open(&beside(path, suffix))?;
            let to = beside(&copy, suffix);
            Part::copy(&from, &to, watch)?.0.place(&to)?;
        }
        Part::copy(&locked, &copy, watch)?.0.place(&copy)?;
        Ok(scratch)
    }

    /// Where the copy of the database at `path` is.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.folder.path().join(name(path))
    }
}

fn name(path: &Path) -> PathBuf {
    path.file_name().map(PathBuf::from).unwrap_or_default()
}

/// Removes the copies in `parent` that nobody uses any more. What cannot be
/// removed is left: it is in nobody's way.
fn remove_stale(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours
            && let Ok(folder) = File::open(entry.path())
            && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
