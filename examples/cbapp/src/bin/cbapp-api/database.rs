//! The tenant's DuckDB file, held open read-write for the process's life.
//!
//! All calls block and run one at a time behind a mutex: call them from
//! `spawn_blocking`. A file that cannot be opened (another process holds it,
//! it is damaged) is tried again by the next call, so that the service says
//! why it is unhealthy and recovers by itself. Knows nothing of HTTP.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cbapp::messages::Contact;
use duckdb::{Config, Connection, params};

use crate::migrations::{self, MigrationError};

/// How many contacts [`Database::contacts`] gives at most.
pub(crate) const MAX_CONTACTS: i64 = 1000;

/// Hundreds of tenants share a host: one thread each, a small buffer pool, and
/// nothing fetched from the network.
const THREADS: i64 = 1;
const MEMORY_LIMIT: &str = "128MB";

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("cannot open the database {path}")]
    Open {
        path: PathBuf,
        source: duckdb::Error,
    },
    #[error("cannot set up the new database {path}")]
    Initialise {
        path: PathBuf,
        source: MigrationError,
    },
    #[error("the database {path} failed")]
    Query {
        path: PathBuf,
        source: duckdb::Error,
    },
    #[error("cannot read the voter database {path}")]
    Voters {
        path: PathBuf,
        source: duckdb::Error,
    },
    #[error("the service is stopping")]
    Stopping,
}

/// The tenant's database. See the module's header.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    migrations: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    NotOpen,
    Open(Connection),
    Stopped,
}

impl Database {
    /// The database at `path`, not yet opened. A new one is set up with the
    /// SQL files in `migrations`.
    pub(crate) fn new(path: PathBuf, migrations: PathBuf) -> Database {
        Database {
            path,
            migrations,
            state: Mutex::new(State::NotOpen),
        }
    }

    /// The schema version, which is also the proof that the database works.
    pub(crate) fn schema_version(&self) -> Result<i64, DatabaseError> {
        self.query(|connection| migrations::schema_version(connection))
    }

    /// The contacts, newest first, at most [`MAX_CONTACTS`].
    pub(crate) fn contacts(&self) -> Result<Vec<Contact>, DatabaseError> {
        self.query(|connection| {
            connection
                .prepare(
                    "SELECT id, name, strftime(created_at, '%Y-%m-%dT%H:%M:%SZ') \
                     FROM contacts ORDER BY id DESC LIMIT ?",
                )?
                .query_map([MAX_CONTACTS], contact)?
                .collect()
        })
    }

    /// How many contacts there are.
    pub(crate) fn count_contacts(&self) -> Result<i64, DatabaseError> {
        self.query(|connection| {
            connection.query_row("SELECT count(*) FROM contacts", [], |row| row.get(0))
        })
    }

    /// Adds a contact, whose name was checked, and returns it.
    pub(crate) fn add_contact(&self, name: &str) -> Result<Contact, DatabaseError> {
        self.query(|connection| {
            connection.query_row(
                "INSERT INTO contacts (name, created_at) VALUES (?, CAST(now() AS TIMESTAMP)) \
                 RETURNING id, name, strftime(created_at, '%Y-%m-%dT%H:%M:%SZ')",
                params![name],
                contact,
            )
        })
    }

    /// How many rows the table `voters` of the shared database at `path` has;
    /// `None` if there is no such table. It is opened read-only and only for
    /// this question, so that it can be replaced at any time.
    pub(crate) fn count_voters(&self, path: &Path) -> Result<Option<i64>, DatabaseError> {
        self.with(|connection| {
            count_voters(connection, path).map_err(|source| DatabaseError::Voters {
                path: path.to_owned(),
                source,
            })
        })
    }

    /// Writes everything into the database file and closes it for good.
    pub(crate) fn close(&self) -> Result<(), DatabaseError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Open(connection) = std::mem::replace(&mut *state, State::Stopped) else {
            return Ok(());
        };
        let checkpoint = connection.execute_batch("CHECKPOINT");
        let close = connection.close().map_err(|(_, error)| error);
        checkpoint.and(close).map_err(|source| self.failed(source))
    }

    fn query<T>(
        &self,
        run: impl FnOnce(&mut Connection) -> duckdb::Result<T>,
    ) -> Result<T, DatabaseError> {
        self.with(|connection| run(connection).map_err(|source| self.failed(source)))
    }

    fn with<T>(
        &self,
        run: impl FnOnce(&mut Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        // A panic in another call cannot leave the connection half-changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::NotOpen) {
            *state = State::Open(self.open()?);
        }
        match &mut *state {
            State::Open(connection) => run(connection),
            State::NotOpen | State::Stopped => Err(DatabaseError::Stopping),
        }
    }

    fn open(&self) -> Result<Connection, DatabaseError> {
        let path = || self.path.clone();
        let mut connection = connect(&self.path).map_err(|source| DatabaseError::Open {
            path: path(),
            source,
        })?;
        if migrations::is_new(&connection).map_err(|source| self.failed(source))? {
            migrations::load(&self.migrations)
                .and_then(|migrations| migrations::initialise(&mut connection, &migrations))
                .map_err(|source| DatabaseError::Initialise {
                    path: path(),
                    source,
                })?;
        }
        Ok(connection)
    }

    fn failed(&self, source: duckdb::Error) -> DatabaseError {
        DatabaseError::Query {
            path: self.path.clone(),
            source,
        }
    }
}

fn connect(path: &Path) -> duckdb::Result<Connection> {
    let config = Config::default()
        .threads(THREADS)?
        .max_memory(MEMORY_LIMIT)?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?;
    Connection::open_with_flags(path, config)
}

fn contact(row: &duckdb::Row<'_>) -> duckdb::Result<Contact> {
    Ok(Contact {
        id: row.get(0)?,
        name: row.get(1)?,
        created_at: row.get(2)?,
    })
}

fn count_voters(connection: &Connection, path: &Path) -> duckdb::Result<Option<i64>> {
    // ATTACH takes no parameters, so the path is quoted as a SQL string.
    let quoted = path.to_string_lossy().replace('\'', "''");
    connection.execute_batch(&format!("ATTACH '{quoted}' AS i360 (READ_ONLY)"))?;
    let count = (|| {
        let tables: i64 = connection.query_row(
            "SELECT count(*) FROM duckdb_tables() \
             WHERE database_name = 'i360' AND schema_name = 'main' AND table_name = 'voters'",
            [],
            |row| row.get(0),
        )?;
        if tables == 0 {
            return Ok(None);
        }
        connection
            .query_row("SELECT count(*) FROM i360.main.voters", [], |row| {
                row.get(0)
            })
            .map(Some)
    })();
    connection.execute_batch("DETACH i360")?;
    count
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn database(path: PathBuf) -> Database {
        Database::new(
            path,
            Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations"),
        )
    }

    #[test]
    fn contacts_outlive_the_connection_and_no_wal_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenant.duckdb");
        let first = database(path.clone());
        let added = first
            .add_contact("Robert'); DROP TABLE contacts;--")
            .unwrap();
        assert!(added.created_at.ends_with('Z'), "{added:?}");
        first.close().unwrap();
        assert!(matches!(
            first.count_contacts(),
            Err(DatabaseError::Stopping)
        ));
        assert!(!folder.path().join("tenant.duckdb.wal").exists());

        let second = database(path);
        assert_eq!(second.contacts().unwrap(), [added]);
        assert_eq!(second.count_contacts().unwrap(), 1);
    }

    #[test]
    fn an_existing_database_is_not_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenant.duckdb");
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("CREATE TABLE something (id INTEGER)")
            .unwrap();
        other.close().unwrap();
        assert_eq!(database(path).schema_version().unwrap(), 0);
    }

    #[test]
    fn a_file_that_becomes_usable_is_opened_by_the_next_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenant.duckdb");
        fs::write(&path, "this is no database, as anyone can see".repeat(500)).unwrap();
        let database = database(path.clone());
        assert!(matches!(
            database.schema_version(),
            Err(DatabaseError::Open { .. })
        ));
        fs::remove_file(&path).unwrap();
        assert!(database.schema_version().unwrap() > 0);
    }

    #[test]
    fn voters_are_counted_again_and_again_without_keeping_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let voters = folder.path().join("i360's.duckdb");
        let database = database(folder.path().join("tenant.duckdb"));
        assert!(matches!(
            database.count_voters(&voters),
            Err(DatabaseError::Voters { .. })
        ));
        assert!(!voters.exists());

        for rows in [None, Some(3), Some(5)] {
            let writer = Connection::open(&voters).unwrap();
            if let Some(rows) = rows {
                let sql = format!("CREATE OR REPLACE TABLE voters AS FROM range({rows})");
                writer.execute_batch(&sql).unwrap();
            }
            writer.close().unwrap();
            assert_eq!(database.count_voters(&voters).unwrap(), rows);
        }
    }
}
