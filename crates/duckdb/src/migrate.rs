//! Applies migrations: all pending ones and their records in one transaction,
//! or none.
//!
//! Read-only first: what is refused never opens the file for writing. After
//! the commit the log is written into the file, so that the next to open it
//! replays nothing.

use std::path::{Path, PathBuf};

use duckdb::{Connection, params};
use serde_json::{Value, json};

use crate::commands::{Context, checkpoint_and_close};
use crate::error::Error;
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
    let unfinished = checkpoint_and_close(connection, path).err();
    Ok(report(&plan, true, unfinished))
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

fn apply(
    connection: &Connection,
    path: &Path,
    wanted: &Wanted,
    plan: &Plan,
    context: &Context,
) -> Result<(), Error> {
    let failed = |source| Error::query("recording the migrations in", path, source);
    let table = &wanted.table;
    let sums = checksums(table);
    connection
        .execute_batch("BEGIN TRANSACTION")
        .map_err(failed)?;
    // Somebody may have been faster between reading and writing.
    let at = records(connection, table, path)?;
    if at.last().map_or(0, |last| last.version) != plan.from {
        return Err(Error::Locked {
            path: path.to_owned(),
        });
    }
    connection
        .execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {table} (
                version    BIGINT PRIMARY KEY,
                name       VARCHAR NOT NULL,
                applied_at TIMESTAMP NOT NULL
            );
            CREATE TABLE IF NOT EXISTS {sums} (
                version BIGINT PRIMARY KEY,
                sha256  VARCHAR NOT NULL
            )"
        ))
        .map_err(failed)?;
    let record_sum = |migration: &Migration| {
        connection
            .execute(
                &format!("INSERT INTO {sums} (version, sha256) VALUES (?, ?)"),
                params![migration.version, migration.sha256],
            )
            .map_err(failed)
    };
    for migration in &plan.adopt {
        record_sum(migration)?;
    }
    for migration in &plan.pending {
        context.watch.check()?;
        context
            .progress
            .say(&json!({"event": "started", "migration": migration.file}));
        run(connection, path, migration)?;
        connection
            .execute(
                &format!(
                    "INSERT INTO {table} (version, name, applied_at) \
                     VALUES (?, ?, CAST(now() AS TIMESTAMP))"
                ),
                params![migration.version, migration.name],
            )
            .map_err(failed)?;
        record_sum(migration)?;
        context
            .progress
            .say(&json!({"event": "applied", "migration": migration.file}));
    }
    context.watch.commit()?;
    connection.execute_batch("COMMIT").map_err(|source| {
        match Error::query("writing", path, source) {
            Error::Query { source, .. } => Error::Commit { source },
            other => other,
        }
    })
}

/// Runs one migration and makes sure that it stayed in the transaction.
fn run(connection: &Connection, path: &Path, migration: &Migration) -> Result<(), Error> {
    let transaction = || connection.query_row("SELECT txid_current()", [], |row| row.get(0));
    let failed = |source| Error::query("writing", path, source);
    let before: i64 = transaction().map_err(failed)?;
    connection.execute_batch(&migration.sql).map_err(|source| {
        match Error::query("writing", path, source) {
            Error::Query { source, .. } => Error::Migration {
                file: migration.file.clone(),
                source,
            },
            other => other,
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
fn check_name(table: &str) -> Result<(), Error> {
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
        "adoptedChecksums": plan.adopt.iter().map(|migration| &migration.file).collect::<Vec<_>>(),
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
