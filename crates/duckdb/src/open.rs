//! The only way to a connection: checks first, limits set, doors closed.
//!
//! Before DuckDB sees a file, its header and its write-ahead log are read here.
//! Before DuckDB opens a file for writing that has a log, the log is replayed
//! in a read-only instance, which changes nothing: one that does not replay is
//! reported, and stays as it is. What cannot be replayed read-only is replayed
//! in a private copy.
//!
//! DuckDB 1.5 cannot replay a column whose default is a function, like `now()`,
//! when it opens the file as its first database, but can when it attaches it to
//! one in memory. That is the second attempt, for this alone.

use std::ops::Deref;
use std::path::Path;

use duckdb::{AccessMode, Config, Connection};

use crate::copy::Copy;
use crate::digest::quoted;
use crate::error::{Error, is_damage, is_no_space, is_out_of_memory};
use crate::files;
use crate::header;
use crate::limits::Watch;
use crate::wal;

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
    /// For reading a private copy, which may change.
    Copy,
}

/// What DuckDB may use.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) memory: String,
    pub(crate) threads: u16,
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    /// Where the copy is, if this is one; removed after the connection is.
    _copy: Option<Copy>,
}

impl Database {
    /// The connection of a database that was opened for writing, which is
    /// never a copy.
    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Opens the existing database at `path`.
pub(crate) fn open(
    path: &Path,
    access: Access,
    limits: &Limits,
    watch: &Watch,
) -> Result<Database, Error> {
    files::require_regular(path)?;
    header::read(path)?;
    // Held for the checks only: closing it would give up DuckDB's own lock. An
    // application that starts in between is met by that lock.
    let unused = files::lock_shared(path)?;
    let sidecars = files::sidecars(path)?;
    for (suffix, _) in &sidecars {
        // The third is written by a recovery and of no account until it ended.
        if *suffix != ".wal.recovery" {
            wal::check(&files::beside(path, suffix), watch)?;
        }
    }
    drop(unused);
    if access == Access::ReadOnly || !sidecars.is_empty() {
        let database = read(path, limits, watch)?;
        // A replay is not interrupted by the watch, so that is asked now.
        watch.check()?;
        if access == Access::ReadOnly {
            return Ok(database);
        }
    }
    Ok(Database {
        connection: connect(path, access, limits, watch)?,
        _copy: None,
    })
}

/// Opens a database for reading, with its log, without changing either.
fn read(path: &Path, limits: &Limits, watch: &Watch) -> Result<Database, Error> {
    match connect(path, Access::ReadOnly, limits, watch) {
        Ok(connection) => Ok(Database {
            connection,
            _copy: None,
        }),
        Err(Error::Wal { detail, .. }) if detail.contains("Could not write file") => {
            let copy = Copy::for_reading(path, watch)?;
            let connection = connect(&copy.path(), Access::Copy, limits, watch).map_err(
                |error| match error {
                    Error::Wal { detail, .. } => Error::Wal {
                        wal: files::beside(path, ".wal"),
                        detail,
                    },
                    other => other,
                },
            )?;
            Ok(Database {
                connection,
                _copy: Some(copy),
            })
        }
        Err(error) => Err(error),
    }
}

/// Opens the database at `path`, which is created if it does not exist and
/// `access` allows it.
pub(crate) fn connect(
    path: &Path,
    access: Access,
    limits: &Limits,
    watch: &Watch,
) -> Result<Connection, Error> {
    if path.to_str().is_none() {
        return Err(Error::Path {
            path: path.to_owned(),
        });
    }
    let connection = match direct(path, access, limits) {
        Err(error) if is_replay_defect(&error) => {
            attach(path, access, limits).map_err(|source| cannot_open(path, source))?
        }
        other => other.map_err(|source| cannot_open(path, source))?,
    };
    watch.guard(&connection);
    prepare(&connection, access).map_err(|source| Error::query("configuring", path, source))?;
    Ok(connection)
}

fn direct(path: &Path, access: Access, limits: &Limits) -> duckdb::Result<Connection> {
    let mode = match access {
        Access::ReadOnly => AccessMode::ReadOnly,
        Access::ReadWrite | Access::Copy => AccessMode::ReadWrite,
    };
    let config = config(limits)?
        .access_mode(mode)?
        .enable_external_access(false)?;
    Connection::open_with_flags(path, config)
}

/// The same, by way of a database in memory that has no part in it.
fn attach(path: &Path, access: Access, limits: &Limits) -> duckdb::Result<Connection> {
    let spill = files::beside(path, ".tmp");
    let config = config(limits)?.with("temp_directory", spill.to_string_lossy())?;
    let connection = Connection::open_in_memory_with_flags(config)?;
    let mode = match access {
        Access::ReadOnly => "(READ_ONLY)",
        Access::ReadWrite | Access::Copy => "",
    };
    let text = path.to_string_lossy().replace('\'', "''");
    connection.execute_batch(&format!("ATTACH '{text}' {mode}"))?;
    // DuckDB gives it the name that it has when it is opened directly.
    let name: String = connection.query_row(
        "SELECT database_name FROM duckdb_databases() WHERE NOT internal AND path IS NOT NULL",
        [],
        |row| row.get(0),
    )?;
    connection.execute_batch(&format!("USE {}", quoted(&name)))?;
    connection.execute_batch("SET enable_external_access = false")?;
    Ok(connection)
}

fn is_replay_defect(error: &duckdb::Error) -> bool {
    let text = error.to_string();
    text.contains("replaying WAL") && text.contains("no default database set")
}

fn prepare(connection: &Connection, access: Access) -> duckdb::Result<()> {
    // Closing must change nothing by itself; who wants a checkpoint says so.
    connection.execute_batch("PRAGMA disable_checkpoint_on_shutdown")?;
    if access != Access::ReadWrite {
        // What is read must not depend on where it is read. A migration sees
        // the zone that the application sees: the environment's.
        let zones: i64 = connection.query_row(
            "SELECT count(*) FROM duckdb_settings() WHERE name = 'TimeZone'",
            [],
            |row| row.get(0),
        )?;
        if zones > 0 {
            connection.execute_batch("SET TimeZone = 'UTC'")?;
        }
    }
    connection.execute_batch("SET lock_configuration = true")
}

fn config(limits: &Limits) -> duckdb::Result<Config> {
    Config::default()
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?
        .with("allow_community_extensions", "false")?
        .with("allow_persistent_secrets", "false")?
        .max_memory(&limits.memory)?
        .threads(i64::from(limits.threads))
}

fn cannot_open(path: &Path, source: duckdb::Error) -> Error {
    let text = source.to_string();
    if text.contains("Could not set lock on file") {
        return Error::Locked {
            path: path.to_owned(),
        };
    }
    // A log that only lacks room to be replayed is a good one.
    if is_no_space(&text) || is_out_of_memory(&text) {
        return Error::query("opening", path, source);
    }
    if text.contains("replaying") && text.contains("WAL") || text.contains("Corrupt WAL") {
        return Error::Wal {
            wal: files::beside(path, ".wal"),
            detail: text,
        };
    }
    let other_version = text.contains("storage version") || text.contains("not a valid DuckDB");
    if other_version {
        return Error::NotADatabase {
            path: path.to_owned(),
            reason: text,
        };
    }
    if is_damage(&text) {
        return Error::Damaged {
            path: path.to_owned(),
            source,
        };
    }
    Error::query("opening", path, source)
}
