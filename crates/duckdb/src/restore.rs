//! Puts a backup in the place of a database, and keeps a database that is to be
//! looked at later.
//!
//! The order is what makes it safe to kill at any instruction. The backup is
//! copied beside the database and checked; what is there now gets a second name
//! in the folder aside; only then does its first name go, the log before the
//! database; then the copy gets its name, the log before the database. So there
//! never is a database beside a log of another, every byte has a name at any
//! time, and a second run ends where the first would have.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::aside::{self, How, Kept};
use crate::commands::Context;
use crate::copy::{self, AtRest, Copy};
use crate::error::Error;
use crate::files::{self, FileReport, SIDECARS, beside};
use crate::header;
use crate::limits::Watch;
use crate::verify;

/// What to restore.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The database to be replaced; it need not be there.
    pub(crate) file: PathBuf,
    /// Where it is kept.
    pub(crate) aside: PathBuf,
    /// What the backup's database file must have.
    pub(crate) sha256: Option<String>,
    /// Whether nothing is done where the database is the backup already.
    pub(crate) discard_equal: bool,
    /// The content digest of a database that nothing is done to.
    pub(crate) digest: Option<String>,
}

/// Makes `wanted.file` and its log what `backup` and its log are.
pub(crate) fn restore(backup: &Path, wanted: &Wanted, context: &Context) -> Result<Value, Error> {
    let (file, watch) = (&wanted.file, &context.watch);
    files::require_regular(backup)?;
    let header = header::read(backup)?;
    let source = AtRest::lock(backup)?;
    // Also says early that the database is in use.
    let present = AtRest::find(file)?;
    copy::remove_stale(file);
    if wanted.discard_equal && is_equal(&present, &source, watch)? {
        let mut reports = Vec::new();
        for (suffix, open) in &present.files {
            reports.push(files::report_open(open, &beside(file, suffix), watch)?);
        }
        check_sha256(backup, &reports, wanted)?;
        return Ok(document(backup, reports, None, &json!(header)));
    }
    drop(present);
    if has_content(file, wanted, context) {
        let reports = vec![files::report(file, watch)?];
        return Ok(document(backup, reports, None, &json!(header)));
    }
    let copy = Copy::make(&source, file, watch)?;
    let reports = copy.check(backup, file, watch)?;
    check_sha256(backup, &reports, wanted)?;
    copy.sync()?;
    context
        .progress
        .say(&json!({"event": "copied", "file": file}));
    drop(source);

    let present = AtRest::find(file)?;
    let kept = match present.files.is_empty() || is_begun(&present, &copy, watch)? {
        true => None,
        false => Some(aside::keep(&present, &wanted.aside, How::Link, watch)?),
    };
    if let Some(kept) = &kept {
        context
            .progress
            .say(&json!({"event": "kept", "files": kept.files}));
    }
    watch.commit()?;
    swap(&present, copy)?;
    Ok(document(backup, reports, kept, &json!(header)))
}

/// Whether what is there has the content that is wanted: a migration that was
/// undone leaves it so, perhaps in a larger file on a disk with no room for a
/// copy. One that cannot be read has not.
fn has_content(file: &Path, wanted: &Wanted, context: &Context) -> bool {
    let Some(digest) = &wanted.digest else {
        return false;
    };
    verify::content(file, context).is_ok_and(|content| content.digest == *digest)
}

/// Copies the database at `path` and its log whole into `folder`, whatever they
/// are, and leaves them where they are.
pub(crate) fn quarantine(path: &Path, folder: &Path, context: &Context) -> Result<Value, Error> {
    let present = AtRest::find(path)?;
    if present.files.is_empty() {
        files::require_regular(path)?;
    }
    let kept = aside::keep(&present, folder, How::Copy, &context.watch)?;
    let mut reports = Vec::new();
    for file in &kept.files {
        reports.push(files::report(file, &context.watch)?);
    }
    Ok(json!({"file": path, "kept": reports, "added": kept.added}))
}

/// Whether `present` has the files of `source`, byte by byte.
fn is_equal(present: &AtRest, source: &AtRest, watch: &Watch) -> Result<bool, Error> {
    if present.files.len() != source.files.len() {
        return Ok(false);
    }
    for (suffix, file) in &source.files {
        let path = beside(&present.path, suffix);
        match present.file(suffix) {
            Some(other) if files::equal(file, other, &path, watch)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether all that is there is a part of the log that is to come, which a run
/// that was killed placed.
fn is_begun(present: &AtRest, copy: &Copy, watch: &Watch) -> Result<bool, Error> {
    if present.file("").is_some() {
        return Ok(false);
    }
    for (suffix, file) in &present.files {
        let path = beside(&present.path, suffix);
        match copy.file(suffix) {
            Some(other) if files::equal(file, other, &path, watch)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn check_sha256(backup: &Path, reports: &[FileReport], wanted: &Wanted) -> Result<(), Error> {
    let found = reports.last().map(|report| &report.sha256);
    match (&wanted.sha256, found) {
        (Some(expected), Some(found)) if expected != found => Err(Error::Differs {
            backup: backup.to_owned(),
            other: "the recorded SHA-256".to_owned(),
            what: format!("its SHA-256 is {found}"),
        }),
        _ => Ok(()),
    }
}

/// Takes the first names of `present`, which has second ones, away and gives
/// them to `copy`.
fn swap(present: &AtRest, copy: Copy) -> Result<(), Error> {
    // One file can take the place of one at once.
    let at_once = present.file("").is_some() && copy.is_alone();
    for (suffix, file) in &present.files {
        let path = beside(&present.path, suffix);
        let metadata = |source| Error::io("reading", &path, source);
        let open = file.metadata().map_err(metadata)?;
        let named = fs::symlink_metadata(&path).map_err(metadata)?;
        if (open.dev(), open.ino()) != (named.dev(), named.ino()) {
            // Somebody who asks no lock put another there.
            return Err(Error::Locked { path });
        }
        if !(suffix.is_empty() && at_once) {
            remove(&path)?;
        }
    }
    for suffix in SIDECARS {
        let path = beside(&present.path, suffix);
        // An empty log is none.
        if fs::symlink_metadata(&path).is_ok_and(|log| log.is_file() && log.len() == 0) {
            remove(&path)?;
        }
    }
    files::sync_folder(&present.path)?;
    match at_once {
        true => copy.replace(&present.path),
        false => copy.place(&present.path),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("moving", path, error))
        }
        _ => Ok(()),
    }
}

fn document(
    backup: &Path,
    mut reports: Vec<FileReport>,
    kept: Option<Kept>,
    header: &Value,
) -> Value {
    let database = reports.pop();
    json!({
        "backup": backup,
        "restored": database,
        "sidecars": reports,
        "aside": kept.map_or_else(Vec::new, |kept| kept.files),
        "header": header,
    })
}
