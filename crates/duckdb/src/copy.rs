//! Copies of a database with its log, made in a private folder and given their
//! names when they are whole.
//!
//! DuckDB is not involved: the shared lock that it takes itself keeps writers
//! out, and then files at rest are copied, by reflink where the file system
//! can. What was written is read again before it is used, and must have the
//! SHA-256 of what was read at first: a copy is equal to its source byte by
//! byte, or it does not get its name.
//!
//! The folder lies beside where the copies go. Who uses one holds a lock on it;
//! one without belongs to a run that was killed, and the next run takes it away.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use data_encoding::HEXLOWER;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, ioctl_ficlone, renameat, renameat_with};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::error::Error;
use crate::files::{self, FileReport, beside, each_chunk};
use crate::limits::Watch;

/// A database, and the sidecars that are not empty, that no DuckDB writes while
/// this lives. Nothing else may open its files in this process meanwhile: to
/// close one would give up the lock.
#[derive(Debug)]
pub(crate) struct AtRest {
    pub(crate) path: PathBuf,
    /// What comes after the name, and the open file; the database last.
    pub(crate) files: Vec<(&'static str, File)>,
}

impl AtRest {
    /// Locks the database at `path`.
    pub(crate) fn lock(path: &Path) -> Result<AtRest, Error> {
        let database = files::lock_shared(path)?;
        let mut files = sidecars(path)?;
        files.push(("", database));
        Ok(AtRest {
            path: path.to_owned(),
            files,
        })
    }

    /// Locks what there is of a database at `path`: its file may be missing, and
    /// need not be one that DuckDB can read.
    pub(crate) fn find(path: &Path) -> Result<AtRest, Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(AtRest {
                path: path.to_owned(),
                files: sidecars(path)?,
            }),
            _ => AtRest::lock(path),
        }
    }

    /// The open file that has `suffix` after the database's name.
    pub(crate) fn file(&self, suffix: &str) -> Option<&File> {
        self.files
            .iter()
            .find(|(name, _)| *name == suffix)
            .map(|(_, file)| file)
    }

    /// Bytes of all sidecars.
    pub(crate) fn wal_bytes(&self) -> Result<u64, Error> {
        let mut total = 0;
        for (suffix, file) in &self.files {
            if !suffix.is_empty() {
                let metadata = file.metadata();
                total += metadata
                    .map_err(|source| Error::io("reading", &beside(&self.path, suffix), source))?
                    .len();
            }
        }
        Ok(total)
    }
}

fn sidecars(path: &Path) -> Result<Vec<(&'static str, File)>, Error> {
    files::sidecars(path)?
        .into_iter()
        .map(|(suffix, _)| Ok((suffix, files::open(&beside(path, suffix))?)))
        .collect()
}

/// Copies in a folder of their own; removed with this unless placed.
#[derive(Debug)]
pub(crate) struct Copy {
    folder: TempDir,
    _lock: File,
    /// The name of the database, that of its source: DuckDB names the catalog
    /// after it.
    name: OsString,
    files: Vec<Copied>,
    /// Whether the database shares its blocks with the source.
    pub(crate) reflink: bool,
}

#[derive(Debug)]
struct Copied {
    suffix: &'static str,
    /// Kept open, so that reading it again gives up no lock of DuckDB's.
    file: File,
    /// Of what was read from the source; a reflink reads nothing.
    expected: Option<String>,
}

impl Copy {
    /// Copies `source`, to be placed at `to`.
    pub(crate) fn make(source: &AtRest, to: &Path, watch: &Watch) -> Result<Copy, Error> {
        let all: Vec<&str> = source.files.iter().map(|(suffix, _)| *suffix).collect();
        Copy::some(source, &all, to, watch)
    }

    /// Copies the files of `source` that have one of `suffixes`.
    pub(crate) fn some(
        source: &AtRest,
        suffixes: &[&str],
        to: &Path,
        watch: &Watch,
    ) -> Result<Copy, Error> {
        remove_stale(to);
        let parent = parent(to);
        let folder = folder(parent, &prefix(to))
            .map_err(|error| Error::io("making a folder in", parent, error))?;
        Copy::fill(folder, source, suffixes, watch)
    }

    /// A copy for reading what cannot be read in place. It lies beside the
    /// database, where a reflink costs nothing, or in the folder for temporary
    /// files if nothing can be written there.
    pub(crate) fn for_reading(path: &Path, watch: &Watch) -> Result<Copy, Error> {
        remove_stale(path);
        let (parent, prefix) = (parent(path), prefix(path));
        let folder = folder(parent, &prefix)
            .or_else(|_| folder(&std::env::temp_dir(), &prefix))
            .map_err(|error| Error::io("making a folder in", parent, error))?;
        let source = AtRest::lock(path)?;
        let all: Vec<&str> = source.files.iter().map(|(suffix, _)| *suffix).collect();
        Copy::fill(folder, &source, &all, watch)
    }

    fn fill(
        (folder, lock): (TempDir, File),
        source: &AtRest,
        suffixes: &[&str],
        watch: &Watch,
    ) -> Result<Copy, Error> {
        let mut copy = Copy {
            folder,
            _lock: lock,
            name: source.path.file_name().unwrap_or_default().to_owned(),
            files: Vec::new(),
            reflink: false,
        };
        let wanted = |(suffix, _): &&(&'static str, File)| suffixes.contains(suffix);
        for (suffix, from) in source.files.iter().filter(wanted) {
            let to = beside(&copy.path(), suffix);
            let from_path = beside(&source.path, suffix);
            let (file, expected) = copy_file(from, &from_path, &to, watch)?;
            copy.reflink = expected.is_none();
            copy.files.push(Copied {
                suffix,
                file,
                expected,
            });
        }
        Ok(copy)
    }

    /// Where the copy of the database is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// The copy of the file that has `suffix` after the database's name.
    pub(crate) fn file(&self, suffix: &str) -> Option<&File> {
        self.files
            .iter()
            .find(|copied| copied.suffix == suffix)
            .map(|copied| &copied.file)
    }

    /// Whether there is the database and no log.
    pub(crate) fn is_alone(&self) -> bool {
        self.files.iter().all(|copied| copied.suffix.is_empty())
    }

    /// Reads the copies again: what they are, under the names that they will
    /// have at `to`, the database last. An error if one is not what was read
    /// from `source`.
    pub(crate) fn check(
        &self,
        source: &Path,
        to: &Path,
        watch: &Watch,
    ) -> Result<Vec<FileReport>, Error> {
        let mut reports = Vec::new();
        for copied in &self.files {
            let file = beside(to, copied.suffix);
            let report = files::report_open(&copied.file, &file, watch)?;
            if copied
                .expected
                .as_ref()
                .is_some_and(|expected| *expected != report.sha256)
            {
                return Err(Error::Differs {
                    backup: file,
                    other: beside(source, copied.suffix).display().to_string(),
                    what: "what was written is not what was read".to_owned(),
                });
            }
            reports.push(report);
        }
        Ok(reports)
    }

    /// Waits until the disk has the copies. Who has to read them can do so
    /// meanwhile; none gets its name before.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        for copied in &self.files {
            let synced = copied.file.sync_all();
            let path = beside(&self.path(), copied.suffix);
            synced.map_err(|source| Error::io("writing", &path, source))?;
        }
        Ok(())
    }

    /// Gives the copies their names, which must be free: the log first and the
    /// database last, so that a copy whose database file exists is whole.
    pub(crate) fn place(self, to: &Path) -> Result<(), Error> {
        self.sync()?;
        for copied in &self.files {
            let name = beside(to, copied.suffix);
            let from = beside(&self.path(), copied.suffix);
            place(&from, &name)?;
        }
        files::sync_folder(to)
    }

    /// Gives the copy of a database without a log the name `to`, and takes it
    /// from the file that has it, at once.
    pub(crate) fn replace(self, to: &Path) -> Result<(), Error> {
        self.sync()?;
        renameat(CWD, self.path(), CWD, to)
            .map_err(|error| Error::io("placing", to, error.into()))?;
        files::sync_folder(to)
    }
}

/// Gives the file at `from` the name `to`, which must be free.
pub(crate) fn place(from: &Path, to: &Path) -> Result<(), Error> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|error| match error {
        rustix::io::Errno::EXIST => Error::Exists {
            path: to.to_owned(),
        },
        other => Error::io("placing", to, other.into()),
    })
}

/// Copies the open file `from` to `to`, where nothing is. The copy, and the
/// SHA-256 of what was read, `None` if that was left to a reflink.
fn copy_file(
    from: &File,
    from_path: &Path,
    to: &Path,
    watch: &Watch,
) -> Result<(File, Option<String>), Error> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|source| Error::io("creating", to, source))?;
    if ioctl_ficlone(&file, from).is_ok() {
        return Ok((file, None));
    }
    // Hashing takes as long as writing, so each has a thread.
    let (sender, chunks) = sync_channel::<Vec<u8>>(4);
    let (copied, read) = thread::scope(|scope| {
        let hash = scope.spawn(move || {
            let mut hash = Sha256::new();
            chunks.iter().for_each(|chunk| hash.update(chunk));
            HEXLOWER.encode(&hash.finalize())
        });
        let copied = each_chunk(from, from_path, watch, |chunk| {
            // It only ends when this does.
            let _ = sender.send(chunk.to_vec());
            file.write_all(chunk)
                .map_err(|source| Error::io("writing", to, source))
        });
        drop(sender);
        (
            copied,
            hash.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    copied?;
    Ok((file, Some(read)))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    format!("{}.scratch-", name.display())
}

fn folder(parent: &Path, prefix: &str) -> io::Result<(TempDir, File)> {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
    let lock = File::open(folder.path())?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok((folder, lock))
}

/// Removes what killed runs left of copies that were to be placed at `to`. What
/// cannot be removed is left: it is in nobody's way.
pub(crate) fn remove_stale(to: &Path) {
    let prefix = prefix(to);
    for entry in fs::read_dir(parent(to)).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(&prefix)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours
            && let Ok(folder) = File::open(entry.path())
            && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
