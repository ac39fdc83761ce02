//! The smaller commands, and what all of them share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use duckdb::Connection;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::digest;
use crate::error::Error;
use crate::files;
use crate::header;
use crate::limits::Watch;
use crate::migrate::{self, require_no_wal};
use crate::open::{self, Access, Limits};
use crate::progress::Progress;

/// What every command is given.
pub(crate) struct Context {
    pub(crate) limits: Limits,
    pub(crate) watch: Watch,
    pub(crate) progress: Progress,
}

/// Creates an empty database at `path`, where nothing may be. It is made under
/// another name and gets its own when it is whole and synced.
pub(crate) fn create(path: &Path, context: &Context) -> Result<Value, Error> {
    let exists = || Error::Exists {
        path: path.to_owned(),
    };
    for name in std::iter::once(path.to_owned())
        .chain(files::SIDECARS.map(|suffix| files::beside(path, suffix)))
    {
        if fs::symlink_metadata(&name).is_ok() {
            return Err(Error::Exists { path: name });
        }
    }
    let part = files::beside(path, &format!(".part-{}", std::process::id()));
    let made = (|| {
        let connection = open::connect(&part, Access::ReadWrite, &context.limits, &context.watch)?;
        checkpoint_and_close(connection, &part)?;
        fs::set_permissions(&part, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::File::open(&part)?.sync_all())
            .map_err(|source| Error::io("writing", &part, source))?;
        renameat_with(CWD, &part, CWD, path, RenameFlags::NOREPLACE).map_err(|error| match error {
            rustix::io::Errno::EXIST => exists(),
            other => Error::io("placing", path, other.into()),
        })
    })();
    if made.is_err() {
        // Nothing was ever stored in it.
        let _ = fs::remove_file(&part);
    }
    made?;
    files::sync_folder(path)?;
    Ok(json!({"file": path, "bytes": size(path)?, "header": header::read(path)?}))
}

/// What a database says about itself. Header and sizes can be read while
/// another process writes it; the tables cannot, and are `null` then.
pub(crate) fn info(path: &Path, context: &Context) -> Result<Value, Error> {
    files::require_regular(path)?;
    let header = header::read(path)?;
    let bytes = size(path)?;
    let wal = files::wal_bytes(path)?;
    let tables = match open::open(path, Access::ReadOnly, &context.limits, &context.watch) {
        Ok(connection) => Some(tables(&connection, path, context)?),
        Err(Error::Locked { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(json!({
        "file": path,
        "bytes": bytes,
        "walBytes": wal,
        "header": header,
        "locked": tables.is_none(),
        "tables": tables,
    }))
}

/// Writes the log into the database, after which there is none. With `table`,
/// says the schema version that it records, without opening the database again.
pub(crate) fn checkpoint(
    path: &Path,
    table: Option<&str>,
    context: &Context,
) -> Result<Value, Error> {
    files::require_regular(path)?;
    let (bytes, wal) = (size(path)?, files::wal_bytes(path)?);
    let connection = open::open(path, Access::ReadWrite, &context.limits, &context.watch)?;
    let version = match table {
        Some(table) => migrate::recorded_version(&connection, table, path)?,
        None => None,
    };
    context.watch.commit()?;
    checkpoint_and_close(connection.into_connection(), path)?;
    let mut document = json!({
        "file": path,
        "bytesBefore": bytes,
        "walBytesBefore": wal,
        "bytes": size(path)?,
        "walBytes": 0,
    });
    if table.is_some() {
        document["schemaVersion"] = json!(version);
    }
    Ok(document)
}

/// Checkpoints and closes, and makes sure that no log is left.
pub(crate) fn checkpoint_and_close(connection: Connection, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::query("checkpointing", path, source);
    connection.execute_batch("CHECKPOINT").map_err(failed)?;
    connection
        .close()
        .map_err(|(_, source)| Error::query("closing", path, source))?;
    require_no_wal(path)
}

fn tables(connection: &Connection, path: &Path, context: &Context) -> Result<Vec<Value>, Error> {
    let failed = |source| Error::query("reading", path, source);
    let mut tables = Vec::new();
    for (schema, name) in digest::names(connection).map_err(failed)? {
        context.watch.check()?;
        let rows = digest::count(connection, &schema, &name).map_err(failed)?;
        tables.push(json!({"schema": schema, "name": name, "rows": rows}));
    }
    Ok(tables)
}

fn size(path: &Path) -> Result<u64, Error> {
    fs::metadata(path)
        .map(|metadata| metadata.len())
        .map_err(|source| Error::io("reading", path, source))
}
