//! The content of a database as a digest that does not depend on the order of
//! rows or on where they lie in the file.
//!
//! Per table: the number of rows and two sums over the MD5 of every row, so
//! that rows that occur twice count twice. Definitions (tables, views,
//! indexes, sequences with their position, types, macros) are hashed as text.
//! It tells damage and difference, not a forgery by someone who knows it.

use std::path::Path;

use duckdb::Connection;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files::hex;
use crate::limits::Watch;

/// The content of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Content {
    /// Over everything below.
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
    let definitions = hex(&hash.finalize());

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
    Ok(Content {
        digest: hex(&hash.finalize()),
        definitions,
        rows: tables.iter().map(|table| table.rows).sum(),
        tables,
    })
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
    let row: Vec<String> = columns.iter().map(|(name, _)| value(name)).collect();
    let sql = format!(
        "SELECT count(*), coalesce(sum(md5_number_lower(r)::HUGEINT), 0)::VARCHAR, \
                coalesce(sum(md5_number_upper(r)::HUGEINT), 0)::VARCHAR \
         FROM (SELECT concat({}) AS r FROM {}.{})",
        row.join(", "),
        quoted(&schema),
        quoted(&name)
    );
    let (rows, low, high): (i64, String, String) =
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut hash = Sha256::new();
    for (name, kind) in &columns {
        field(&mut hash, name);
        field(&mut hash, kind);
    }
    for text in [&rows.to_string(), &low, &high] {
        field(&mut hash, text);
    }
    Ok(Table {
        schema,
        name,
        rows,
        digest: hex(&hash.finalize()),
    })
}

/// An expression for one value as text that carries its length, so that two
/// different rows never give the same text.
fn value(name: &str) -> String {
    let text = format!("{}::VARCHAR", quoted(name));
    format!("coalesce(strlen({text})::VARCHAR || ':' || {text}, '-')")
}

fn texts(connection: &Connection, sql: &str) -> duckdb::Result<Vec<String>> {
    connection
        .prepare(sql)?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn field(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}
