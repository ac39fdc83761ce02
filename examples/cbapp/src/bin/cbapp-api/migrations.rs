//! The release's SQL files and the schema version of a database.
//!
//! A migration is a file `NNNN_name.sql` of plain statements, without
//! `BEGIN` or `COMMIT`: whoever applies it does so in a transaction, together
//! with its row in `schema_migrations`. The schema version is the highest
//! number in that table. The api itself migrates new databases only; an
//! existing one is migrated from outside, while the api is stopped.

use std::path::{Path, PathBuf};
use std::{fs, io};

use duckdb::{Connection, OptionalExt, params};

/// One numbered change of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Migration {
    /// The number, from 1.
    pub(crate) version: i64,
    /// The file name without number and ending.
    pub(crate) name: String,
    /// The statements.
    pub(crate) sql: String,
}

/// Why migrations could not be read or applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrationError {
    #[error("cannot read the migrations in {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is no migration: its name must be like 0001_init.sql")]
    Name { path: PathBuf },
    #[error("{folder} has no migrations, so a new database cannot be set up")]
    None { folder: PathBuf },
    #[error("{folder} has two migrations with the number {version}")]
    Twice { folder: PathBuf, version: i64 },
    #[error("migration {version} ({name}) failed")]
    Apply {
        version: i64,
        name: String,
        source: duckdb::Error,
    },
    #[error("cannot record the schema version")]
    Record(#[source] duckdb::Error),
}

/// Reads the migrations of a release, ordered by number. Files that do not end
/// in `.sql` are left alone.
pub(crate) fn load(folder: &Path) -> Result<Vec<Migration>, MigrationError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| MigrationError::Read { path, source }
    };
    let mut migrations = Vec::new();
    for entry in fs::read_dir(folder).map_err(read(folder))? {
        let path = entry.map_err(read(folder))?.path();
        if path.extension().is_none_or(|ending| ending != "sql") {
            continue;
        }
        let (version, name) =
            parse_name(&path).ok_or_else(|| MigrationError::Name { path: path.clone() })?;
        let sql = fs::read_to_string(&path).map_err(read(&path))?;
        migrations.push(Migration { version, name, sql });
    }
    migrations.sort_by_key(|migration| migration.version);
    let folder = || folder.to_owned();
    if migrations.is_empty() {
        return Err(MigrationError::None { folder: folder() });
    }
    if let Some(pair) = migrations
        .windows(2)
        .find(|pair| pair[0].version == pair[1].version)
    {
        return Err(MigrationError::Twice {
            folder: folder(),
            version: pair[0].version,
        });
    }
    Ok(migrations)
}

fn parse_name(path: &Path) -> Option<(i64, String)> {
    let (number, name) = path.file_stem()?.to_str()?.split_once('_')?;
    let digits = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    let version = number
        .parse()
        .ok()
        .filter(|version| digits && *version > 0)?;
    (!name.is_empty()).then(|| (version, name.to_owned()))
}

/// Applies all of `migrations` to a new database: all or none.
pub(crate) fn initialise(
    connection: &mut Connection,
    migrations: &[Migration],
) -> Result<(), MigrationError> {
    let transaction = connection.transaction().map_err(MigrationError::Record)?;
    transaction
        .execute_batch(
            "CREATE TABLE schema_migrations (
                version    BIGINT PRIMARY KEY,
                name       VARCHAR NOT NULL,
                applied_at TIMESTAMP NOT NULL
            )",
        )
        .map_err(MigrationError::Record)?;
    for Migration { version, name, sql } in migrations {
        transaction
            .execute_batch(sql)
            .map_err(|source| MigrationError::Apply {
                version: *version,
                name: name.clone(),
                source,
            })?;
        transaction
            .execute(
                "INSERT INTO schema_migrations VALUES (?, ?, CAST(now() AS TIMESTAMP))",
                params![version, name],
            )
            .map_err(MigrationError::Record)?;
    }
    transaction.commit().map_err(MigrationError::Record)
}

/// Whether the database has no tables, as one that was just created.
pub(crate) fn is_new(connection: &Connection) -> duckdb::Result<bool> {
    let tables: i64 = connection.query_row(
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database()",
        [],
        |row| row.get(0),
    )?;
    Ok(tables == 0)
}

/// The database's schema version; 0 if nothing was ever recorded.
pub(crate) fn schema_version(connection: &Connection) -> duckdb::Result<i64> {
    let recorded: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() \
             AND schema_name = 'main' AND table_name = 'schema_migrations'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if recorded.is_none() {
        return Ok(0);
    }
    connection.query_row(
        "SELECT coalesce(max(version), 0) FROM schema_migrations",
        [],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<Migration> {
        load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap()
    }

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "SELECT 1").unwrap();
        }
        folder
    }

    #[test]
    fn the_own_migrations_are_numbered_without_gaps_and_apply() {
        let migrations = own();
        let numbers: Vec<i64> = migrations
            .iter()
            .map(|migration| migration.version)
            .collect();
        assert_eq!(
            numbers,
            (1..=i64::try_from(numbers.len()).unwrap()).collect::<Vec<_>>()
        );

        let mut connection = Connection::open_in_memory().unwrap();
        assert!(is_new(&connection).unwrap());
        assert_eq!(schema_version(&connection).unwrap(), 0);
        initialise(&mut connection, &migrations).unwrap();
        assert!(!is_new(&connection).unwrap());
        assert_eq!(
            schema_version(&connection).unwrap(),
            *numbers.last().unwrap()
        );
    }

    #[test]
    fn later_migrations_apply_to_a_database_with_rows() {
        let (first, later) = (&own()[..1], &own()[1..]);
        let mut connection = Connection::open_in_memory().unwrap();
        initialise(&mut connection, first).unwrap();
        connection
            .execute(
                "INSERT INTO contacts (name, created_at) VALUES ('Ada', now()::TIMESTAMP)",
                [],
            )
            .unwrap();
        for migration in later {
            let transaction = connection.transaction().unwrap();
            transaction.execute_batch(&migration.sql).unwrap();
            transaction.commit().unwrap();
        }
        let count: i64 = connection
            .query_row("SELECT count(*) FROM contacts", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 1);
    }

    #[test]
    fn a_failing_migration_leaves_a_new_database_new() {
        let mut migrations = own();
        migrations[1].sql = "ALTER TABLE nowhere ADD COLUMN x INTEGER".to_owned();
        let mut connection = Connection::open_in_memory().unwrap();
        let error = initialise(&mut connection, &migrations).unwrap_err();
        assert!(
            error.to_string().contains("migration 2 (contact_email)"),
            "{error}"
        );
        assert!(is_new(&connection).unwrap());
    }

    #[test]
    fn names_and_numbers_are_checked() {
        let folder = folder_with(&["0002_b.sql", "0001_a.sql", "README"]);
        let names: Vec<String> = load(folder.path())
            .unwrap()
            .into_iter()
            .map(|migration| migration.name)
            .collect();
        assert_eq!(names, ["a", "b"]);

        for wrong in [
            "1_a.sql",
            "0000_a.sql",
            "0001.sql",
            "0001_.sql",
            "+001_a.sql",
        ] {
            let folder = folder_with(&[wrong]);
            let error = load(folder.path()).unwrap_err();
            assert!(
                matches!(error, MigrationError::Name { .. }),
                "{wrong}: {error}"
            );
        }
        let folder = folder_with(&["0001_a.sql", "0001_b.sql"]);
        assert!(matches!(
            load(folder.path()),
            Err(MigrationError::Twice { version: 1, .. })
        ));
        let folder = folder_with(&[]);
        assert!(matches!(
            load(folder.path()),
            Err(MigrationError::None { .. })
        ));
    }
}
