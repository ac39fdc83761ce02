//! Files: what lies beside a database, locks and hashes.
//!
//! DuckDB guards a database with POSIX record locks, which a process loses
//! when it closes any descriptor of the file. So nothing here is called for a
//! file that DuckDB has open in this process.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::limits::Watch;

/// What DuckDB 1.5 keeps beside a database: the write-ahead log, the one that
/// is written during a checkpoint, and one that joins both after a crash.
pub(crate) const SIDECARS: [&str; 3] = [".wal", ".wal.checkpoint", ".wal.recovery"];

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// One file of a database or backup.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileReport {
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// `path` with `suffix` after its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// The sidecars of the database at `path` that exist and are not empty.
pub(crate) fn sidecars(path: &Path) -> Result<Vec<(&'static str, u64)>, Error> {
    let mut found = Vec::new();
    for suffix in SIDECARS {
        let sidecar = beside(path, suffix);
        match fs::symlink_metadata(&sidecar) {
            Ok(metadata) if !metadata.is_file() => return Err(Error::NotRegular { path: sidecar }),
            Ok(metadata) if metadata.len() > 0 => found.push((suffix, metadata.len())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("reading", &sidecar, error)),
        }
    }
    Ok(found)
}

/// How many bytes of write-ahead log the database at `path` has.
pub(crate) fn wal_bytes(path: &Path) -> Result<u64, Error> {
    Ok(sidecars(path)?.iter().map(|(_, bytes)| bytes).sum())
}

/// Checks that `path` is a file of its own and not a link or a device.
pub(crate) fn require_regular(path: &Path) -> Result<(), Error> {
    let metadata =
        fs::symlink_metadata(path).map_err(|source| Error::io("reading", path, source))?;
    match metadata.is_file() {
        true => Ok(()),
        false => Err(Error::NotRegular {
            path: path.to_owned(),
        }),
    }
}

/// Opens the database file at `path` and keeps writers out while the answer lives.
pub(crate) fn lock_shared(path: &Path) -> Result<File, Error> {
    let file = open(path)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => Err(Error::Locked {
            path: path.to_owned(),
        }),
        Err(error) => Err(Error::io("locking", path, error.into())),
    }
}

/// Opens a regular file for reading; follows no link.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    require_regular(path)?;
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|source| Error::io("opening", path, source))
}

/// Size and SHA-256 of the file at `path`.
pub(crate) fn report(path: &Path, watch: &Watch) -> Result<FileReport, Error> {
    report_open(&open(path)?, path, watch)
}

/// Size and SHA-256 of an open file, which is called `path`.
pub(crate) fn report_open(file: &File, path: &Path, watch: &Watch) -> Result<FileReport, Error> {
    let mut hash = Sha256::new();
    let bytes = each_chunk(file, path, watch, |chunk| {
        hash.update(chunk);
        Ok(())
    })?;
    Ok(FileReport {
        file: path.to_owned(),
        bytes,
        sha256: HEXLOWER.encode(&hash.finalize()),
    })
}

/// Whether two open files have the same bytes; `path` is one of them.
pub(crate) fn equal(one: &File, other: &File, path: &Path, watch: &Watch) -> Result<bool, Error> {
    let length = |file: &File| {
        file.metadata()
            .map(|metadata| metadata.len())
            .map_err(|source| Error::io("reading", path, source))
    };
    let end = length(one)?;
    if end != length(other)? {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < end {
        watch.check()?;
        let size = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        one.read_exact_at(&mut ours[..size], at)
            .and_then(|()| other.read_exact_at(&mut theirs[..size], at))
            .map_err(|source| Error::io("reading", path, source))?;
        if ours[..size] != theirs[..size] {
            return Ok(false);
        }
        at += size as u64;
    }
    Ok(true)
}

/// Syncs the folder that `path` is in, so that its name outlives a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::io("syncing", folder, source))
}

/// Gives `take` every byte of `file`, from its begin, wherever it was read up to.
/// How many they were.
pub(crate) fn each_chunk(
    file: &File,
    path: &Path,
    watch: &Watch,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<u64, Error> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        watch.check()?;
        match file.read_at(&mut buffer, total) {
            Ok(0) => return Ok(total),
            Ok(read) => {
                take(&buffer[..read])?;
                total += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading", path, error)),
        }
    }
}
