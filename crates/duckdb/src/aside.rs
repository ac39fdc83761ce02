//! Keeps what a database is now in a folder: the file and its log together,
//! under names that were free.
//!
//! The first goes in under its own name, the next as `t.duckdb.1`, with its log
//! as `t.duckdb.1.wal`. What is in the folder already, byte by byte, is not put
//! there again; so a run that was killed is taken up where it stopped, and a
//! database is never put beside the log of another.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::copy::{self, AtRest, Copy};
use crate::error::Error;
use crate::files::{self, SIDECARS, beside};
use crate::limits::Watch;

/// How files come into the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As another name of the same file where that can be, to be taken away
    /// from where it was; else as a copy.
    Link,
    /// As a copy, which stays as it is whatever becomes of the database.
    Copy,
}

/// What is in the folder now.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The files, the database last.
    pub(crate) files: Vec<PathBuf>,
    /// Whether any of them was not there before.
    pub(crate) added: bool,
}

/// Keeps every file of `source` in `folder`, which is made if it is not there.
/// Names and content are synced when this returns.
pub(crate) fn keep(source: &AtRest, folder: &Path, how: How, watch: &Watch) -> Result<Kept, Error> {
    prepare(folder, &source.path)?;
    let name = source.path.file_name().unwrap_or_default();
    let first = folder.join(name);
    let mut base = first.clone();
    let mut number = 0_u32;
    let missing = loop {
        if let Some(missing) = missing(source, &base, how, watch)? {
            break missing;
        }
        number += 1;
        base = beside(&first, &format!(".{number}"));
    };
    copy::remove_stale(&base);
    add(source, &missing, &base, how, watch)?;
    Ok(Kept {
        files: source
            .files
            .iter()
            .map(|(suffix, _)| beside(&base, suffix))
            .collect(),
        added: !missing.is_empty(),
    })
}

fn prepare(folder: &Path, database: &Path) -> Result<(), Error> {
    let metadata = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .mode(0o700)
                .create(folder)
                .map_err(|source| Error::io("making", folder, source))?;
            files::sync_folder(folder)?;
            fs::symlink_metadata(folder)
        }
        other => other,
    }
    .map_err(|source| Error::io("reading", folder, source))?;
    if !metadata.is_dir() {
        return Err(Error::NotAFolder {
            path: folder.to_owned(),
        });
    }
    let own = database.parent().unwrap_or(Path::new("/"));
    let own = fs::metadata(own).map_err(|source| Error::io("reading", own, source))?;
    // Its own files would be taken for what is kept of them.
    if (own.dev(), own.ino()) == (metadata.dev(), metadata.ino()) {
        return Err(Error::OwnFolder {
            path: folder.to_owned(),
        });
    }
    Ok(())
}

/// Which files of `source` are not at `base` yet; `None` if something else is.
fn missing(
    source: &AtRest,
    base: &Path,
    how: How,
    watch: &Watch,
) -> Result<Option<Vec<&'static str>>, Error> {
    let mut missing = Vec::new();
    let mut others = false;
    for suffix in SIDECARS.into_iter().chain([""]) {
        let path = beside(base, suffix);
        let kept = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.map_err(|source| Error::io("reading", &path, source))?),
        };
        match (source.file(suffix), kept) {
            (None, None) => {}
            (Some(_), None) => missing.push(suffix),
            (None, Some(_)) => others = true,
            (Some(file), Some(kept)) => {
                if !kept.is_file() {
                    return Ok(None);
                }
                let metadata = file
                    .metadata()
                    .map_err(|source| Error::io("reading", &path, source))?;
                let equal = match (metadata.dev(), metadata.ino()) == (kept.dev(), kept.ino()) {
                    true => how == How::Link,
                    // Only a file of another inode may be opened and closed
                    // without giving up the lock.
                    false => files::equal(file, &files::open(&path)?, &path, watch)?,
                };
                if !equal {
                    return Ok(None);
                }
            }
        }
    }
    // Some of these and some that are not: two states, not one that was begun.
    Ok((missing.is_empty() || !others).then_some(missing))
}

fn add(
    source: &AtRest,
    missing: &[&'static str],
    base: &Path,
    how: How,
    watch: &Watch,
) -> Result<(), Error> {
    let mut rest = missing;
    while how == How::Link
        && let Some((suffix, others)) = rest.split_first()
        && link(&beside(&source.path, suffix), &beside(base, suffix))?
    {
        rest = others;
    }
    if !rest.is_empty() {
        let copy = Copy::some(source, rest, base, watch)?;
        copy.check(&source.path, base, watch)?;
        copy.place(base)?;
    }
    // Also after a run that was killed before it came to this.
    files::sync_folder(base)
}

/// Gives a file a second name, which must be free. Whether that can be here.
fn link(from: &Path, to: &Path) -> Result<bool, Error> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists {
            path: to.to_owned(),
        }),
        Err(error) => match error.kind() {
            // Another file system or mount, one without links, a file with too
            // many, or of another owner.
            io::ErrorKind::CrossesDevices
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied => Ok(false),
            _ => Err(Error::io("placing", to, error)),
        },
    }
}
