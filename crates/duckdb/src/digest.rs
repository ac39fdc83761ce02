//! The content of a database as a digest that does not depend on the order of
//! rows or on where they lie in the file.
//!
//! Per table: the number of rows and the sum over DuckDB's own hash of every
//! row, so that rows that occur twice count twice. That reads every value at
//! the speed of the disk, where hashing values as text takes ten times the time
//! of the copy that is verified. It holds values equal that DuckDB holds equal
//! (0.0 and -0.0, a month and 30 days) and differs between versions of DuckDB,
//! so a digest begins with the version that it can be compared in.
//!
//! Definitions (tables, views, indexes, sequences with their position, types,
//! macros) are hashed as text. It tells damage and difference, not a forgery by
//! someone who knows it.

use std::path::Path;

use data_encoding::HEXLOWER;
use duckdb::Connection;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::limits::Watch;

/// The content of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Content {
    /// The version of DuckDB, a colon, and a hash over everything below.
    pub(crate) digest: String,
    /// Over all definitions.
    pub(crate) definitions: String,
    /// All rows together.
    pub(crate) rows: i64,
    /// Every table, by schema and name.
    pub(crate) tables: Vec<Table>,
}

/// The content of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) rows: i64,
    pub(crate) digest: String,
}

/// Everything that is defined, one text a row. Sequences carry their position.
const DEFINITIONS: &str = "
    SELECT 'schema ' || schema_name FROM duckdb_schemas()
        WHERE NOT internal AND database_name = current_database()
    UNION ALL SELECT 'table ' || schema_name || ' ' || sql FROM duckdb_tables()
        WHERE NOT internal AND NOT temporary AND database_name = current_database()
    UNION ALL SELECT 'view ' || schema_name || ' ' || sql FROM duckdb_views()
        WHERE NOT internal AND NOT temporary AND database_name = current_database()
    UNION ALL SELECT 'index ' || schema_name || ' ' || coalesce(sql, index_name) FROM duckdb_indexes()
        WHERE database_name = current_database()
    UNION ALL SELECT 'sequence ' || schema_name || ' ' || sql || ' ' || coalesce(last_value::VARCHAR, '-')
        FROM duckdb_sequences() WHERE NOT temporary AND database_name = current_database()
    UNION ALL SELECT 'type ' || schema_name || ' ' || type_name || ' ' || logical_type || ' ' || coalesce(labels::VARCHAR, '')
        FROM duckdb_types() WHERE NOT internal AND database_name = current_database()
    UNION ALL SELECT 'macro ' || schema_name || ' ' || function_name || parameters::VARCHAR || ' ' || coalesce(macro_definition, '')
        FROM duckdb_functions() WHERE NOT internal AND database_name = current_database()
    ORDER BY 1";

/// Reads the whole content of the database that `connection` has open.
pub(crate) fn content(
    connection: &Connection,
    path: &Path,
    watch: &Watch,
) -> Result<Content, Error> {
    let failed = |source| Error::query("reading", path, source);
    let mut hash = Sha256::new();
    for definition in texts(connection, DEFINITIONS).map_err(failed)? {
        field(&mut hash, &definition);
    }
    let definitions = HEXLOWER.encode(&hash.finalize());

    let mut tables = Vec::new();
    for (schema, name) in names(connection).map_err(failed)? {
        watch.check()?;
        tables.push(table(connection, schema, name).map_err(failed)?);
    }

    let mut hash = Sha256::new();
    field(&mut hash, &definitions);
    for table in &tables {
        for text in [&table.schema, &table.name, &table.digest] {
            field(&mut hash, text);
        }
    }
    let version = version(connection).map_err(failed)?;
    Ok(Content {
        digest: format!("{version}:{}", HEXLOWER.encode(&hash.finalize())),
        definitions,
        rows: tables.iter().map(|table| table.rows).sum(),
        tables,
    })
}

/// The version of DuckDB, like `v1.5.6`.
pub(crate) fn version(connection: &Connection) -> duckdb::Result<String> {
    connection.query_row("SELECT version()", [], |row| row.get(0))
}

/// Schema and name of every table.
pub(crate) fn names(connection: &Connection) -> duckdb::Result<Vec<(String, String)>> {
    connection
        .prepare(
            "SELECT schema_name, table_name FROM duckdb_tables() \
             WHERE NOT internal AND NOT temporary AND database_name = current_database() \
             ORDER BY 1, 2",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The number of rows of one table.
pub(crate) fn count(connection: &Connection, schema: &str, name: &str) -> duckdb::Result<i64> {
    let sql = format!("SELECT count(*) FROM {}.{}", quoted(schema), quoted(name));
    connection.query_row(&sql, [], |row| row.get(0))
}

fn table(connection: &Connection, schema: String, name: String) -> duckdb::Result<Table> {
    let columns: Vec<(String, String)> = connection
        .prepare(
            "SELECT column_name, data_type FROM duckdb_columns() \
             WHERE database_name = current_database() AND schema_name = ? AND table_name = ? \
             ORDER BY column_index",
        )?
        .query_map([&schema, &name], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<duckdb::Result<_>>()?;
    let row: Vec<String> = columns.iter().map(|(name, _)| quoted(name)).collect();
    let sql = format!(
        "SELECT count(*), coalesce(sum(hash({})), 0)::VARCHAR FROM {}.{}",
        row.join(", "),
        quoted(&schema),
        quoted(&name)
    );
    let (rows, sum): (i64, String) =
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut hash = Sha256::new();
    for (name, kind) in &columns {
        field(&mut hash, name);
        field(&mut hash, kind);
    }
    for text in [&rows.to_string(), &sum] {
        field(&mut hash, text);
    }
    Ok(Table {
        schema,
        name,
        rows,
        digest: HEXLOWER.encode(&hash.finalize()),
    })
}

fn texts(connection: &Connection, sql: &str) -> duckdb::Result<Vec<String>> {
    connection
        .prepare(sql)?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn field(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}
