//! Copies a database that nobody writes, with its write-ahead log, and verifies
//! the copy in the same run.
//!
//! A backup is made while its tenant waits, so bytes are read as seldom as is
//! safe: the source once while it is copied, the copy once for its SHA-256,
//! which must be that of what was read, and once by DuckDB, which opens it and
//! reads every row. As copy and source have the same bytes and the source is
//! locked throughout, the content that is read from the copy is the source's.

use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::ScopedJoinHandle;

use serde_json::{Value, json};

use crate::commands::Context;
use crate::copy::{AtRest, Copy};
use crate::digest::{self, Content};
use crate::error::Error;
use crate::files::{self, FileReport, SIDECARS, beside};
use crate::header;
use crate::migrate;
use crate::open::{Access, open};

/// What is read from the copy before it gets its name.
#[derive(Debug)]
pub(crate) struct Read {
    /// The table with the schema version.
    pub(crate) table: Option<String>,
}

/// What was read.
struct Found {
    content: Content,
    version: Option<i64>,
}

/// Copies the database at `path` to `to`, where nothing may be.
pub(crate) fn backup(
    path: &Path,
    to: &Path,
    read: Option<&Read>,
    context: &Context,
) -> Result<Value, Error> {
    files::require_regular(path)?;
    if let Some(table) = read.and_then(|read| read.table.as_ref()) {
        migrate::check_name(table)?;
    }
    for name in std::iter::once(to.to_owned()).chain(SIDECARS.map(|suffix| beside(to, suffix))) {
        if fs::symlink_metadata(&name).is_ok() {
            return Err(Error::Exists { path: name });
        }
    }
    let header = header::read(path)?;
    let source = AtRest::lock(path)?;
    let wal_bytes = source.wal_bytes()?;
    let copy = Copy::make(&source, to, &context.watch)?;
    let reflink = copy.reflink;
    let (mut reports, found) = finish(copy, path, to, read, context)?;
    drop(source);

    let database = reports.pop();
    let mut document = json!({
        "file": path,
        "backup": database,
        "sidecars": reports,
        "walBytes": wal_bytes,
        "reflink": reflink,
        "header": header,
    });
    if let Some(found) = found {
        document["content"] = json!(found.content);
        if read.is_some_and(|read| read.table.is_some()) {
            document["schemaVersion"] = json!(found.version);
        }
    }
    Ok(document)
}

/// Checks `copy`, a copy of the database at `path`, and places it at `to`.
fn finish(
    copy: Copy,
    path: &Path,
    to: &Path,
    read: Option<&Read>,
    context: &Context,
) -> Result<(Vec<FileReport>, Option<Found>), Error> {
    // The disk writes while the copy is read.
    let (synced, reports, found) = std::thread::scope(|scope| {
        let sync = scope.spawn(|| copy.sync());
        let check = scope.spawn(|| copy.check(path, to, &context.watch));
        let found = read.map(|read| contents(&copy.path(), read, context));
        (joined(sync), joined(check), found)
    });
    synced?;
    // A copy with other bytes is the copy's fault, whatever DuckDB says of it.
    // One with the same is as good as its source, which is told instead.
    let reports = reports?;
    let found = found
        .transpose()
        .map_err(|error| error.moved(&copy.path(), path))?;
    for report in &reports {
        context
            .progress
            .say(&json!({"event": "copied", "file": report.file}));
    }
    if let Some(found) = &found {
        context
            .progress
            .say(&json!({"event": "read", "file": to, "rows": found.content.rows}));
    }
    context.watch.commit()?;
    copy.place(to)?;
    Ok((reports, found))
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn contents(copy: &Path, read: &Read, context: &Context) -> Result<Found, Error> {
    let connection = open(copy, Access::ReadOnly, &context.limits, &context.watch)?;
    let version = match &read.table {
        Some(table) => migrate::recorded_version(&connection, table, copy)?,
        None => None,
    };
    let content = digest::content(&connection, copy, &context.watch)?;
    Ok(Found { content, version })
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::FileExt;

    use duckdb::Connection;

    use super::*;
    use crate::error::Code;
    use crate::limits::Watch;
    use crate::open::Limits;
    use crate::progress::Progress;

    /// Law 5: what the disk made of a backup is found before it has its name.
    #[test]
    fn a_copy_that_comes_out_corrupt_gets_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.duckdb");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA disable_checkpoint_on_shutdown; CREATE TABLE t AS FROM range(300000);
                 CHECKPOINT; INSERT INTO t SELECT 1",
            )
            .unwrap();
        connection.close().unwrap();
        let context = Context {
            limits: Limits {
                memory: "256MB".to_owned(),
                threads: 1,
            },
            watch: Watch::start(path.clone(), None),
            progress: Progress { wanted: false },
        };
        let to = folder.path().join("copy.duckdb");
        let read = Read { table: None };
        // A bit in a row, one in what no row is in, the end, one in the log.
        let length = fs::metadata(&path).unwrap().len();
        for (suffix, at) in [("", length / 2), ("", 300), ("", length - 1), (".wal", 70)] {
            let source = AtRest::lock(&path).unwrap();
            let copy = Copy::make(&source, &to, &context.watch).unwrap();
            flip(&beside(&copy.path(), suffix), at);
            let error = finish(copy, &path, &to, Some(&read), &context)
                .err()
                .unwrap();
            assert_eq!(error.code(), Code::Differs, "{at}: {error}");
            drop(source);
            let mut names: Vec<_> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            assert_eq!(names, ["t.duckdb", "t.duckdb.wal"]);
        }
        let done = backup(&path, &to, Some(&read), &context).unwrap();
        assert_eq!(done["content"]["rows"], 300_001);
    }

    fn flip(path: &Path, at: u64) {
        let mut byte = [0];
        File::open(path)
            .unwrap()
            .read_exact_at(&mut byte, at)
            .unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }
}
