//! Work on a tenant's database file, as plain data.
//!
//! [`Job`] says what is to be done, [`Report`] what came of it. The work is
//! done by a program that runs as the tenant's own user in a sandboxed
//! transient unit with limits in time and memory; root never opens the file
//! (law 9). Every job can be done twice, and cut off at any instruction and
//! done again.

use std::path::PathBuf;
use std::time::Duration;

use crate::api::{Application, Host, ReleaseCommand, TenantSpec};
use crate::backup::{Backup, BackupCause};
use crate::layout::{Layout, user_name};
use crate::types::{BackupId, ObjectName, TableName, TenantName, Version};

/// A tenant's database and how work on it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The tenant.
    pub tenant: TenantName,
    /// The tenant's user, who does the work.
    pub user: String,
    /// The file, in a folder that the tenant owns.
    pub file: PathBuf,
    /// The folder of this tenant's backups, which root owns.
    pub backups: PathBuf,
    /// The tenant's `.env`, kept with each backup.
    pub env_file: PathBuf,
    /// The folder of the tenant's credentials, which the release's own programs
    /// get as its services do.
    pub credentials: PathBuf,
    /// How long one job may take.
    pub timeout: Duration,
    /// How much memory one job may use, in bytes.
    pub memory: u64,
    /// The table that records the schema version, if it is read so.
    pub table: Option<TableName>,
    /// The release's own program that prints the schema version, if it is
    /// read so, and the release folder.
    pub version_command: Option<(PathBuf, ReleaseCommand)>,
}

impl Database {
    /// The database of a tenant. `version` is the release whose program reads
    /// the schema version.
    #[must_use]
    pub fn of(
        tenant: &TenantName,
        application: &Application,
        version: &Version,
        host: &Host,
    ) -> Self {
        let layout = Layout::new(&host.spec);
        let hooks = &application.spec.database;
        let release = layout.release(&application.metadata.name, version);
        let command = hooks
            .schema_version
            .as_ref()
            .and_then(|s| s.command.clone());
        Self {
            tenant: tenant.clone(),
            user: user_name(tenant),
            file: layout
                .database(tenant)
                .join(application.spec.database_file.as_str()),
            backups: layout.backups().join(tenant.as_str()),
            env_file: layout.env_file(tenant),
            credentials: layout.credentials(tenant),
            timeout: Duration::from_secs(hooks.timeout_seconds.into()),
            memory: hooks.memory.bytes(),
            table: hooks.table().cloned(),
            version_command: command.map(|command| (release, command)),
        }
    }
}

/// One piece of work on a database. Nothing else has the file open.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is passed by reference"
)]
pub enum Job {
    /// Judge, while the tenant still serves, whether an upgrade can work:
    /// there is room for a backup and a migrated copy, and the release's
    /// migrations can be read and lead on from the schema version.
    /// Reports `exists`, and `pending` if the schema version is known.
    Check {
        /// How to migrate; `None` if nothing is to be migrated.
        migrate: Option<Migrate>,
        /// The schema version, as far as it is known.
        schema_version: Option<i64>,
        /// Whether room for a backup is needed.
        backup: bool,
    },
    /// Write the log into the database. Reports `exists` and
    /// `schema_version`. A database that is not there is reported as such and
    /// no failure.
    Checkpoint,
    /// Copy the database with its log and the `.env`, and verify the copy.
    /// Reports `backup`. One with this identifier that is whole is left.
    Backup(BackupOrder),
    /// Bring the schema to the release's. Reports `schema_version`.
    Migrate(Migrate),
    /// Put a backup in the place of the database. What is there is moved into
    /// the backups folder's `replaced/NAME`, unless it is equal. Without a
    /// backup the database is only moved away: there was none.
    /// Reports `schema_version` if the backup has one.
    Restore {
        /// The backup.
        backup: Option<BackupId>,
        /// The name of the folder that what is replaced is kept in.
        keep_as: String,
    },
    /// Copy the database and its log, as they are, into the backups folder's
    /// `quarantine/NAME`: they cannot be opened.
    Quarantine {
        /// The name of the folder.
        keep_as: String,
    },
    /// Read a backup whole and compare it with what was recorded of it.
    Verify(BackupId),
    /// Only read the schema version. Reports `schema_version`.
    SchemaVersion,
}

/// A backup to make, with what is to be recorded of it.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupOrder {
    /// Its identifier.
    pub id: BackupId,
    /// Why it is made.
    pub cause: BackupCause,
    /// The spec that the tenant runs with.
    pub spec: TenantSpec,
    /// The schema version, if it is known.
    pub schema_version: Option<i64>,
    /// Whether a database that cannot be opened is copied all the same, as it
    /// is (before a restore, which is to mend it).
    pub even_damaged: bool,
}

/// How to bring a database to a release's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrate {
    /// The Application.
    pub application: ObjectName,
    /// The release's version.
    pub version: Version,
    /// The release folder.
    pub release: PathBuf,
    /// The SQL files or the program.
    pub with: MigrateWith,
}

/// What brings a database to a release's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrateWith {
    /// SQL files in this folder, recorded in this table.
    Files {
        /// The folder.
        folder: PathBuf,
        /// The table.
        table: TableName,
    },
    /// The release's own program.
    Command(ReleaseCommand),
}

impl Migrate {
    /// How to migrate to a version; `None` if its Application does not say.
    #[must_use]
    pub fn of(application: &Application, version: &Version, host: &Host) -> Option<Self> {
        let migrations = application.spec.database.migrations.as_ref()?;
        let release = Layout::new(&host.spec).release(&application.metadata.name, version);
        let with = match (&migrations.folder, &migrations.command) {
            (Some(folder), _) => MigrateWith::Files {
                folder: release.join(folder.as_str()),
                table: migrations.table.clone(),
            },
            (None, command) => MigrateWith::Command(command.clone()?),
        };
        Some(Self {
            application: application.metadata.name.clone(),
            version: version.clone(),
            release,
            with,
        })
    }
}

/// What came of a job. What the job does not report stays empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Whether there is a database.
    pub exists: bool,
    /// The schema version, if it is known.
    pub schema_version: Option<i64>,
    /// How many migrations are to be applied, if it is known.
    pub pending: Option<u64>,
    /// The backup that was made or was there.
    pub backup: Option<Backup>,
}

/// Why a job failed. The database is as it was before, unless the kind says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    /// What kind of failure.
    pub failure: JobFailure,
    /// What failed, with the file, why, and what would help. Never a row of
    /// the tenant's data.
    pub message: String,
    /// The last lines that the job wrote for its log.
    pub log: Vec<String>,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobFailure {
    /// There is not enough space, or it ran out.
    NoSpace,
    /// The migrations cannot be read, were edited, or do not lead on from the
    /// database's schema; a release that is older than the database is one of
    /// these.
    MigrationsRefused,
    /// A migration failed.
    MigrationFailed,
    /// The time was over.
    TimedOut,
    /// The memory was not enough.
    OutOfMemory,
    /// Something else has the database open.
    Locked,
    /// The log does not replay.
    WalDoesNotReplay,
    /// It is not a database, is damaged, or another version of DuckDB wrote
    /// it.
    NotADatabase,
    /// A copy is not equal to what it was made of, or to what was recorded.
    Differs,
    /// There is no such backup, or it is not whole.
    NoBackup,
    /// The connection to systemd was lost, or the like: it is tried again.
    Transient,
    /// Anything else.
    Failed,
}

impl JobFailure {
    /// The word for conditions and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            JobFailure::NoSpace => "NoSpace",
            JobFailure::MigrationsRefused => "MigrationsRefused",
            JobFailure::MigrationFailed => "MigrationFailed",
            JobFailure::TimedOut => "TimedOut",
            JobFailure::OutOfMemory => "OutOfMemory",
            JobFailure::Locked => "DatabaseLocked",
            JobFailure::WalDoesNotReplay => "WalDoesNotReplay",
            JobFailure::NotADatabase => "NotADatabase",
            JobFailure::Differs => "BackupDiffers",
            JobFailure::NoBackup => "NoSuchBackup",
            JobFailure::Transient => "HostUnreachable",
            JobFailure::Failed => "DatabaseJobFailed",
        }
    }
}

/// How far a job is, in words: `3 of 7 migrations: 0009_notes.sql`.
pub type Progress = std::sync::Arc<dyn Fn(String) + Send + Sync>;
