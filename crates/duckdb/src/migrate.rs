//! Applies migrations: all pending ones and their records in one transaction,
//! or none.
//!
//! DuckDB cannot do everything in one transaction (alter a table whose rows
//! were changed in it, for one). Whoever has a backup can have every migration
//! in a transaction of its own; a failure then leaves those before it applied,
//! and says so.
//!
//! Read-only first: what is refused never opens the file for writing. After
//! the commit the log is written into the file, so that the next to open it
//! replays nothing.

use std::path::{Path, PathBuf};

use duckdb::{Connection, params};
use serde_json::{Value, json};

use crate::commands::{Context, checkpoint_and_close};
use crate::error::{Error, is_damage};
use crate::files;
use crate::migrations::{self, Applied, Migration, Plan, Refused};
use crate::open::{Access, open};

/// What to apply.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) folder: PathBuf,
    pub(crate) table: String,
    pub(crate) target: Option<i64>,
    pub(crate) dry_run: bool,
    /// Whether every migration has a transaction of its own.
    pub(crate) one_by_one: bool,
}

/// The table with the checksums, beside the application's own.
fn checksums(table: &str) -> String {
    format!("{table}_checksums")
}

/// Brings the database at `path` to the version wanted.
pub(crate) fn migrate(path: &Path, wanted: &Wanted, context: &Context) -> Result<Value, Error> {
    check_name(&wanted.table)?;
    let files = migrations::load(&wanted.folder)?;
    let reader = open(path, Access::ReadOnly, &context.limits, &context.watch)?;
    let plan = migrations::plan(
        &files,
        &records(&reader, &wanted.table, path)?,
        wanted.target,
    )?;
    drop(reader);
    context.progress.say(&json!({
        "event": "planned", "from": plan.from, "to": plan.to, "pending": plan.pending.len(),
    }));
    let nothing_to_do = plan.pending.is_empty() && plan.adopt.is_empty();
    if wanted.dry_run || nothing_to_do {
        return Ok(report(&plan, !wanted.dry_run, None));
    }

    let connection = open(path, Access::ReadWrite, &context.limits, &context.watch)?;
    if let Err(error) = apply(&connection, path, wanted, &plan, context) {
        // A failed transaction cannot be committed by closing either.
        let _ = connection.execute_batch("ROLLBACK");
        return Err(error);
    }
    // The migrations are in the log, synced; a failure from here on is told
    // and undoes nothing.
    let unfinished = checkpoint_and_close(connection.into_connection(), path).err();
    Ok(report(&plan, true, unfinished))
}

/// Checks the migrations in `folder` as far as that goes without a database;
/// with `at`, for a database at that version.
pub(crate) fn check(folder: &Path, at: Option<i64>) -> Result<Value, Error> {
    let files = migrations::load(folder)?;
    let pending = migrations::pending(&files, folder, at.unwrap_or(0))?;
    let mut document = json!({
        "folder": folder,
        "migrations": files,
        "top": files.last().map_or(0, |last| last.version),
    });
    if let Some(at) = at {
        document["at"] = json!(at);
        document["pending"] = json!(names(pending));
    }
    Ok(document)
}

/// The version that is recorded in the database, and all records.
pub(crate) fn schema_version(path: &Path, table: &str, context: &Context) -> Result<Value, Error> {
    check_name(table)?;
    let connection = open(path, Access::ReadOnly, &context.limits, &context.watch)?;
    let exists = has_table(&connection, table).map_err(|e| Error::query("reading", path, e))?;
    let records = records(&connection, table, path)?;
    Ok(json!({
        "file": path,
        "table": table,
        "recorded": exists,
        "schemaVersion": records.last().map_or(0, |last| last.version),
        "applied": records,
    }))
}

/// The version that is recorded in `table`, 0 where it has no row, `None` where
/// it is not there.
pub(crate) fn recorded_version(
    connection: &Connection,
    table: &str,
    path: &Path,
) -> Result<Option<i64>, Error> {
    check_name(table)?;
    let exists = has_table(connection, table).map_err(|e| Error::query("reading", path, e))?;
    let records = records(connection, table, path)?;
    Ok(exists.then(|| records.last().map_or(0, |last| last.version)))
}

fn apply(
    connection: &Connection,
    path: &Path,
    wanted: &Wanted,
    plan: &Plan,
    context: &Context,
) -> Result<(), Error> {
    let work = Work {
        connection,
        path,
        table: &wanted.table,
        context,
    };
    let size = match wanted.one_by_one {
        true => 1,
        false => plan.pending.len().max(1),
    };
    work.begin()?;
    // Somebody may have been faster between reading and writing.
    let at = records(connection, &wanted.table, path)?;
    if at.last().map_or(0, |last| last.version) != plan.from {
        return Err(Error::Locked {
            path: path.to_owned(),
        });
    }
    work.create_tables()?;
    for migration in &plan.adopt {
        work.record_checksum(migration)?;
    }
    if plan.pending.is_empty() {
        return work.commit(&plan.adopt, &[]);
    }
    for (number, group) in plan.pending.chunks(size).enumerate() {
        if number > 0 {
            work.begin()?;
        }
        let before = &plan.pending[..number * size];
        for migration in group {
            work.apply(migration, before)?;
        }
        // Only the last commit is the point from which there is no way back.
        if number * size + group.len() == plan.pending.len() {
            context.watch.commit()?;
        }
        work.commit(group, before)?;
    }
    Ok(())
}

/// A database that migrations are applied to.
struct Work<'a> {
    connection: &'a Connection,
    path: &'a Path,
    table: &'a str,
    context: &'a Context,
}

impl Work<'_> {
    fn begin(&self) -> Result<(), Error> {
        self.connection
            .execute_batch("BEGIN TRANSACTION")
            .map_err(|source| self.failed(source))
    }

    fn create_tables(&self) -> Result<(), Error> {
        let (table, sums) = (self.table, checksums(self.table));
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {table} (
                version    BIGINT PRIMARY KEY,
                name       VARCHAR NOT NULL,
                applied_at TIMESTAMP NOT NULL
            );
            CREATE TABLE IF NOT EXISTS {sums} (
                version BIGINT PRIMARY KEY,
                sha256  VARCHAR NOT NULL
            )"
        );
        self.connection
            .execute_batch(&sql)
            .map_err(|source| self.failed(source))
    }

    fn apply(&self, migration: &Migration, before: &[Migration]) -> Result<(), Error> {
        self.context.watch.check()?;
        self.say("started", migration);
        run(self.connection, self.path, migration, before)?;
        let sql = format!(
            "INSERT INTO main.{} (version, name, applied_at) \
             VALUES (?, ?, CAST(now() AS TIMESTAMP))",
            self.table
        );
        self.connection
            .execute(&sql, params![migration.version, migration.name])
            .map_err(|source| self.failed(source))?;
        self.record_checksum(migration)?;
        self.say("applied", migration);
        Ok(())
    }

    fn record_checksum(&self, migration: &Migration) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO main.{} (version, sha256) VALUES (?, ?)",
            checksums(self.table)
        );
        self.connection
            .execute(&sql, params![migration.version, migration.sha256])
            .map(|_| ())
            .map_err(|source| self.failed(source))
    }

    fn commit(&self, group: &[Migration], before: &[Migration]) -> Result<(), Error> {
        self.connection.execute_batch("COMMIT").map_err(|source| {
            if is_damage(&source.to_string()) {
                return Error::query("writing", self.path, source);
            }
            Error::Commit {
                file: group
                    .last()
                    .map_or_else(String::new, |last| last.file.clone()),
                before: names(before),
                source,
            }
        })
    }

    fn say(&self, event: &str, migration: &Migration) {
        self.context
            .progress
            .say(&json!({"event": event, "migration": migration.file}));
    }

    fn failed(&self, source: duckdb::Error) -> Error {
        Error::query("recording the migrations in", self.path, source)
    }
}

fn names(migrations: &[Migration]) -> Vec<String> {
    migrations
        .iter()
        .map(|migration| migration.file.clone())
        .collect()
}

/// Runs one migration and makes sure that it stayed in the transaction.
fn run(
    connection: &Connection,
    path: &Path,
    migration: &Migration,
    done: &[Migration],
) -> Result<(), Error> {
    let transaction = || connection.query_row("SELECT txid_current()", [], |row| row.get(0));
    let failed = |source| Error::query("writing", path, source);
    let before: i64 = transaction().map_err(failed)?;
    connection.execute_batch(&migration.sql).map_err(|source| {
        if is_damage(&source.to_string()) {
            return Error::query("writing", path, source);
        }
        Error::Migration {
            file: migration.file.clone(),
            before: names(done),
            source,
        }
    })?;
    let after: i64 = transaction().map_err(failed)?;
    if before != after {
        return Err(Error::EndedTransaction {
            file: migration.file.clone(),
        });
    }
    Ok(())
}

/// What the database records, ordered by version.
fn records(connection: &Connection, table: &str, path: &Path) -> Result<Vec<Applied>, Error> {
    let failed = |source| Error::query("reading the schema version of", path, source);
    if !has_table(connection, table).map_err(failed)? {
        return Ok(Vec::new());
    }
    let has = |column: &str| -> duckdb::Result<bool> {
        connection
            .query_row(
                "SELECT count(*) FROM duckdb_columns() WHERE database_name = current_database() \
                 AND schema_name = 'main' AND table_name = ? AND column_name = ?",
                [table, column],
                |row| row.get::<_, i64>(0),
            )
            .map(|count| count == 1)
    };
    for column in ["version", "name", "applied_at"] {
        if !has(column).map_err(failed)? {
            return Err(Error::Refused(Refused::Table {
                table: table.to_owned(),
                reason: format!("it has no column `{column}`"),
            }));
        }
    }
    let sums = checksums(table);
    let sql = match has_table(connection, &sums).map_err(failed)? {
        true => format!(
            "SELECT version, name, sha256 FROM main.{table} LEFT JOIN main.{sums} \
             USING (version) ORDER BY version"
        ),
        false => format!("SELECT version, name, NULL::VARCHAR FROM main.{table} ORDER BY version"),
    };
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let rows = statement
        .query_map([], |row| {
            Ok(Applied {
                version: row.get(0)?,
                name: row.get(1)?,
                sha256: row.get(2)?,
            })
        })
        .map_err(failed)?;
    rows.collect::<duckdb::Result<_>>().map_err(failed)
}

fn has_table(connection: &Connection, table: &str) -> duckdb::Result<bool> {
    connection
        .query_row(
            "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() \
             AND schema_name = 'main' AND table_name = ?",
            [table],
            |row| row.get::<_, i64>(0),
        )
        .map(|count| count == 1)
}

/// The table's name goes into SQL as it is.
pub(crate) fn check_name(table: &str) -> Result<(), Error> {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let is_plain = table.starts_with(plain)
        && table.len() <= 63
        && table
            .chars()
            .all(|letter| plain(letter) || letter.is_ascii_digit());
    match is_plain {
        true => Ok(()),
        false => Err(Error::Refused(Refused::Table {
            table: table.to_owned(),
            reason: "its name must be of a-z, 0-9 and _, and begin with a letter".to_owned(),
        })),
    }
}

fn report(plan: &Plan, done: bool, unfinished: Option<Error>) -> Value {
    json!({
        "from": plan.from,
        "to": plan.to,
        "dryRun": !done,
        "migrations": plan.pending,
        "adoptedChecksums": names(&plan.adopt),
        "checkpointed": done && unfinished.is_none(),
        "checkpointError": unfinished.map(|error| error.document()["error"].clone()),
    })
}

/// Whether anything lies beside the database that a checkpoint takes away.
pub(crate) fn require_no_wal(path: &Path) -> Result<(), Error> {
    match files::wal_bytes(path)? {
        0 => Ok(()),
        bytes => Err(Error::WalLeft {
            path: path.to_owned(),
            bytes,
        }),
    }
}
