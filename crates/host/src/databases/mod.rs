//! Work on tenants' databases, and their backups.
//!
//! A database is opened by a program that runs as the tenant's user in a
//! sandboxed transient unit: `cb-duckdb` ([`helper`]) or the release's own
//! ([`release`]). This process only moves whole files, and only where no tenant
//! can reach them ([`stage`]), and never looks into them (law 9). The folder of
//! a tenant's backups is described in `docs/backups.md`; [`store`] reads and
//! changes it.
//!
//! Cut off at any instruction, a job can be done again: what a killed process
//! left running is ended first, and what it left half made is removed.

mod backup;
mod error;
mod helper;
mod release;
mod restore;
mod space;
mod stage;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cb_core::database::{
    Database, Job, JobError, JobFailure, Migrate, MigrateWith, Progress, Report,
};
use cb_core::observed::User;
use cb_core::types::TenantName;

use crate::systemd::{Systemd, Transient};
pub(crate) use store::{delete, list};

/// How much longer than the helper's own limit its unit may take: it says
/// itself what it could not do in time.
const GRACE: Duration = Duration::from_secs(20);

/// The variable that names the helper, for tests and unusual installations.
const HELPER: &str = "CB_DUCKDB";

/// How this machine works on databases.
#[derive(Debug)]
pub(crate) struct Databases {
    systemd: Systemd,
    helper: PathBuf,
    /// One job at a time for a tenant: a job ends what runs of an earlier one.
    turns: Mutex<BTreeMap<TenantName, Arc<tokio::sync::Mutex<()>>>>,
}

/// A tenant's database on this machine, and how to work on it now.
pub(crate) struct Work<'a> {
    systemd: &'a Systemd,
    helper: &'a Path,
    database: &'a Database,
    /// The tenant's folder of databases, which alone a job may write.
    folder: PathBuf,
    /// The tenant's user.
    user: User,
    progress: &'a Progress,
}

impl Databases {
    /// Works with `cb-duckdb` beside this program.
    pub(crate) fn new(systemd: Systemd) -> Self {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("cb-duckdb"));
        let set = std::env::var_os(HELPER).map(PathBuf::from);
        let helper = set.or_else(beside);
        Self {
            systemd,
            helper: helper.unwrap_or_else(|| PathBuf::from("/usr/bin/cb-duckdb")),
            turns: Mutex::default(),
        }
    }

    fn turn(&self, tenant: &TenantName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(tenant.clone()).or_default())
    }

    /// Does a job, after one that is under way. `folder` is the tenant's folder
    /// of databases; without a user there is no database that could be worked
    /// on.
    pub(crate) async fn run(
        &self,
        database: &Database,
        folder: PathBuf,
        user: Option<User>,
        job: &Job,
        progress: &Progress,
    ) -> Result<Report, JobError> {
        let user = user.ok_or_else(|| error::no_user(database))?;
        let work = Work {
            systemd: &self.systemd,
            helper: &self.helper,
            database,
            folder,
            user,
            progress,
        };
        let turn = self.turn(&database.tenant);
        let _turn = turn.lock().await;
        // Before anything that it may be writing is touched.
        work.systemd.end(&work.unit()).await?;
        stage::clear(&database.backups)?;
        work.job(job).await
    }
}

impl Work<'_> {
    async fn job(&self, job: &Job) -> Result<Report, JobError> {
        // Whether there is a file is all that root looks at.
        let exists = self.database.file.symlink_metadata().is_ok();
        match job {
            Job::Restore { backup, keep_as } => self.restore(backup.as_ref(), keep_as).await,
            Job::Verify(id) => {
                let backup = self.verify(id).await?;
                Ok(Report {
                    exists,
                    schema_version: backup.schema_version,
                    backup: Some(backup),
                    pending: None,
                })
            }
            Job::Check {
                migrate,
                schema_version,
                backup,
            } => {
                space::require(self.database, *backup, migrate.is_some())?;
                let pending = match migrate {
                    Some(migrate) => self.check(migrate, *schema_version).await?,
                    None => None,
                };
                Ok(Report {
                    exists,
                    pending: pending.filter(|_| exists),
                    ..Report::default()
                })
            }
            _ if !exists => Ok(Report::default()),
            Job::Checkpoint => self.checkpoint().await,
            Job::SchemaVersion => self.report(self.schema_version().await?),
            Job::Backup(order) => self.back_up(order).await,
            Job::Migrate(migrate) => self.migrate(migrate).await,
            Job::Quarantine { keep_as } => self.quarantine(keep_as).await,
        }
    }

    async fn checkpoint(&self) -> Result<Report, JobError> {
        let mut call = self.call("checkpoint").file();
        if let Some(table) = &self.database.table {
            call = call.arg("--table").arg(table.as_str());
        }
        let document = call.run().await?;
        match self.database.table {
            Some(_) => self.report(document["schemaVersion"].as_i64()),
            None => self.report(self.schema_version().await?),
        }
    }

    /// The schema version, by the way the Application declares.
    async fn schema_version(&self) -> Result<Option<i64>, JobError> {
        if let Some(table) = &self.database.table {
            let call = self.call("schema-version").file();
            let document = call.arg("--table").arg(table.as_str()).run().await?;
            // A database without the table was never migrated by files.
            let recorded = document["recorded"].as_bool() == Some(true);
            return Ok(document["schemaVersion"].as_i64().filter(|_| recorded));
        }
        match &self.database.version_command {
            Some((release, command)) => self.version_by(release, command).await.map(Some),
            None => Ok(None),
        }
    }

    /// How many migrations are pending for a database at a schema version.
    async fn check(&self, migrate: &Migrate, at: Option<i64>) -> Result<Option<u64>, JobError> {
        match &migrate.with {
            MigrateWith::Files { folder, .. } => {
                let mut call = self.call("check-migrations").path(folder).read_only(folder);
                if let Some(at) = at {
                    call = call.arg("--at").arg(at.to_string());
                }
                let document = call.run().await?;
                let pending = document["pending"].as_array();
                Ok(pending.map(|pending| pending.len() as u64))
            }
            MigrateWith::Command(command) => {
                release::require(&migrate.release, command)?;
                Ok(None)
            }
        }
    }

    async fn migrate(&self, migrate: &Migrate) -> Result<Report, JobError> {
        match &migrate.with {
            MigrateWith::Files { folder, table } => {
                let call = self.call("migrate").file().arg("--migrations");
                let call = call.path(folder).read_only(folder);
                let document = call.arg("--table").arg(table.as_str()).run().await?;
                self.report(document["to"].as_i64())
            }
            MigrateWith::Command(command) => {
                self.migrate_by(&migrate.release, command).await?;
                self.report(self.schema_version().await?)
            }
        }
    }

    fn report(&self, schema_version: Option<i64>) -> Result<Report, JobError> {
        Ok(Report {
            exists: true,
            schema_version,
            ..Report::default()
        })
    }

    /// `_` cannot be part of a tenant's unit.
    fn unit(&self) -> String {
        format!("cb_job_{}.service", self.database.tenant)
    }

    /// A program that may do nothing but work on the tenant's database.
    fn confined(&self, program: &Path, timeout: Duration) -> Transient {
        let database = self.database;
        // Nobody's backups are there but those that are bound.
        let all_backups = database.backups.parent().unwrap_or(Path::new("/"));
        Transient::new(&self.unit(), program, timeout)
            .description(&format!("Work on the database of {}", database.tenant))
            .user(&database.user)
            .sandbox()
            .hide(all_backups)
            .bind(&self.folder)
            .memory_max(database.memory)
            .tasks_max(64)
    }
}

/// File work does not hold up the other tenants' passes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(error::failed(JobFailure::Failed, error.to_string())),
    }
}
