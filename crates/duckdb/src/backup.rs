//! Copies a database that nobody writes, with its write-ahead log.
//!
//! DuckDB is not involved: the shared lock that it takes itself keeps writers
//! out, and then files at rest are copied byte by byte or by reflink. The log
//! gets its name first and the database last, so that a backup whose database
//! file exists is whole.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::commands::Context;
use crate::error::Error;
use crate::files::{self, FileReport, Part, SIDECARS, beside};
use crate::header;

/// Copies the database at `path` to `to`, where nothing may be.
pub(crate) fn backup(path: &Path, to: &Path, context: &Context) -> Result<Value, Error> {
    files::require_regular(path)?;
    for name in std::iter::once(to.to_owned()).chain(SIDECARS.map(|suffix| beside(to, suffix))) {
        if fs::symlink_metadata(&name).is_ok() {
            return Err(Error::Exists { path: name });
        }
    }
    let header = header::read(path)?;
    let locked = files::lock_shared(path)?;

    let mut parts = Vec::new();
    for (suffix, _) in files::sidecars(path)? {
        let from = files::open(&beside(path, suffix))?;
        let to = beside(to, suffix);
        let (part, _) = Part::copy(&from, &to, &context.watch)?;
        parts.push((part, to));
    }
    let (part, reflink) = Part::copy(&locked, to, &context.watch)?;
    parts.push((part, to.to_owned()));

    // What is on the disk is read again before it gets its name.
    let mut reports = Vec::new();
    for (part, to) in &parts {
        let file = to.clone();
        reports.push(FileReport {
            file,
            ..part.report(&context.watch)?
        });
        context
            .progress
            .say(&json!({"event": "copied", "file": to}));
    }
    for (part, to) in parts {
        part.place(&to)?;
    }
    drop(locked);
    let database = reports.pop();
    Ok(json!({
        "file": path,
        "backup": database,
        "sidecars": reports,
        "reflink": reflink,
        "header": header,
    }))
}
