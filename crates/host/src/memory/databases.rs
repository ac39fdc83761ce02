//! Databases of a host in memory, and the work on them.
//!
//! A database is a file whose text is a [`Content`]; its log is a file of the
//! same name with `.wal` whose text is the rows that are not in the database
//! yet. A text that is none of these is a damaged file. As files they are
//! archived, compared and forked like all others.
//!
//! Every job is made of the effects that a machine does at once, so that the
//! operator can be cut off between any two.

use std::path::{Path, PathBuf};

use cb_core::backup::{Backup, BackupFile, is_bad};
use cb_core::database::{
    BackupOrder, Database, Job, JobError, JobFailure, Migrate, Progress, Report,
};
use cb_core::digest;
use cb_core::types::{BackupId, ObjectName, Version};
use serde::{Deserialize, Serialize};

use super::MemoryHost;
use super::disk::Node;
use super::world::World;
use crate::host::{ActionError, HostError};

type Result<T = (), E = JobError> = std::result::Result<T, E>;

/// What is in a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// The schema version.
    pub schema_version: i64,
    /// The rows.
    pub rows: Vec<String>,
}

impl Content {
    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are JSON")
    }

    /// The content of a file with this text; `None` if it is no database.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// What happens to a job.
#[derive(Debug, Clone)]
pub enum JobFault {
    /// It fails before it has done anything.
    Fail(JobFailure),
    /// It never returns and does nothing; the caller has to drop it.
    Hang,
    /// It does all it should and never returns; the caller has to drop it.
    HangAfter,
}

type Matches = Box<dyn FnMut(&Database, &Job) -> bool + Send>;

#[derive(Default)]
pub(super) struct JobFaults(Vec<(Matches, JobFault)>);

impl JobFaults {
    fn meet(&mut self, database: &Database, job: &Job) -> Option<JobFault> {
        let mut met = None;
        for (matches, fault) in &mut self.0 {
            if matches(database, job) && met.is_none() {
                met = Some(fault.clone());
            }
        }
        met
    }
}

impl MemoryHost {
    /// Puts a database without a log at a path.
    pub fn put_database(&self, file: &Path, content: &Content) {
        self.put(file, Node::file(&content.to_text(), 0o600));
        self.delete(log_of(file));
    }

    /// What is in the database at a path, with its log; `None` if there is
    /// none or it cannot be opened.
    #[must_use]
    pub fn read_database(&self, file: &Path) -> Option<Content> {
        self.with(|world| world.open(file).ok().flatten())
    }

    /// Adds rows to the log of a database, as a service does that is killed
    /// afterwards.
    pub fn log_rows(&self, file: &Path, rows: &[&str]) {
        let log = log_of(file);
        let text = self.content(&log).unwrap_or_else(|| "[]".to_owned());
        let mut all: Vec<String> = serde_json::from_str(&text).unwrap_or_default();
        all.extend(rows.iter().map(|row| (*row).to_owned()));
        let text = serde_json::to_string(&all).expect("strings are JSON");
        self.put(&log, Node::file(&text, 0o600));
    }

    /// Says to which schema version the migrations of a release lead. The
    /// migrations of other releases change nothing.
    pub fn set_schema(&self, application: &ObjectName, version: &Version, schema: i64) {
        let key = (application.clone(), version.clone());
        self.with(|world| world.schemas.insert(key, schema));
    }

    /// Has all matching jobs meet a fault, until
    /// [`MemoryHost::clear_job_faults`].
    pub fn fault_job_when(
        &self,
        matches: impl FnMut(&Database, &Job) -> bool + Send + 'static,
        fault: JobFault,
    ) {
        self.lock().job_faults.0.push((Box::new(matches), fault));
    }

    /// Takes all faults of jobs away.
    pub fn clear_job_faults(&self) {
        self.lock().job_faults.0.clear();
    }

    pub(super) async fn run_job(
        &self,
        database: &Database,
        job: &Job,
        progress: &Progress,
    ) -> Result<Report> {
        let (fault, slow) = {
            let mut inner = self.lock();
            (inner.job_faults.meet(database, job), inner.slow)
        };
        if let Some(each) = slow {
            tokio::time::sleep(each).await;
        }
        match fault {
            Some(JobFault::Hang) => return std::future::pending().await,
            Some(JobFault::Fail(failure)) => {
                let words = format!("a fault was asked for: {}", failure.as_str());
                return Err(failed(failure, words));
            }
            Some(JobFault::HangAfter) | None => {}
        }
        let result = self.with(|world| {
            let result = world.job(database, job, progress);
            // Who was cut off does not hear of it.
            if world.is_dead() {
                Err(cut_off())
            } else {
                result
            }
        });
        match fault {
            Some(JobFault::HangAfter) => std::future::pending().await,
            _ => result,
        }
    }
}

fn failed(failure: JobFailure, message: impl Into<String>) -> JobError {
    JobError {
        failure,
        message: message.into(),
        log: Vec::new(),
    }
}

fn cut_off() -> JobError {
    failed(JobFailure::Transient, super::world::died().message)
}

fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".wal");
    name.into()
}

fn file_of(name: &str, text: &str) -> BackupFile {
    BackupFile {
        name: name.to_owned(),
        bytes: text.len() as u64,
        sha256: digest::of_content(text.as_bytes()),
    }
}

impl World {
    fn job(&mut self, database: &Database, job: &Job, progress: &Progress) -> Result<Report> {
        if self.is_dead() {
            return Err(cut_off());
        }
        let file = &database.file;
        let needs_lock = !matches!(job, Job::Check { .. } | Job::Verify(_));
        if needs_lock && let Some(unit) = self.running_as(&database.tenant).first() {
            let words = format!("{unit} has {} open", file.display());
            return Err(failed(JobFailure::Locked, words));
        }
        let exists = self.disk.get(file).is_some();
        match job {
            Job::Verify(id) => {
                let checked = self.verified(&database.backups, id);
                if checked.as_ref().is_err_and(|error| is_bad(error.failure)) {
                    self.not_verified(&database.backups.join(id.as_str()));
                }
                let backup = checked?;
                Ok(Report {
                    exists,
                    schema_version: backup.schema_version,
                    backup: Some(backup),
                    pending: None,
                })
            }
            Job::Restore { backup, keep_as } => self.restore(database, backup.as_ref(), keep_as),
            _ if !exists => Ok(Report::default()),
            Job::Check {
                migrate,
                schema_version,
                ..
            } => {
                let steps = migrate.as_ref().zip(*schema_version);
                let pending = steps.map(|(migrate, at)| self.steps(migrate, at));
                Ok(Report {
                    exists,
                    pending: pending.transpose()?,
                    ..Report::default()
                })
            }
            Job::Checkpoint => {
                let content = self.require(file)?;
                self.job_effect(format!("checkpoint {}", file.display()))?;
                self.store(file, &content);
                Ok(report(database, &content))
            }
            Job::SchemaVersion => Ok(report(database, &self.require(file)?)),
            Job::Backup(order) => self.back_up(database, order),
            Job::Migrate(migrate) => {
                let mut content = self.require(file)?;
                let steps = self.steps(migrate, content.schema_version)?;
                for step in 1..=steps {
                    progress(format!("{step} of {steps} migrations"));
                    content.schema_version += 1;
                }
                self.job_effect(format!("migrate {}", file.display()))?;
                self.store(file, &content);
                Ok(report(database, &content))
            }
            Job::Quarantine { keep_as } => {
                let folder = database.backups.join("quarantine").join(keep_as);
                for from in [file.clone(), log_of(file)] {
                    let Some(text) = self.disk.content(&from).map(str::to_owned) else {
                        continue;
                    };
                    self.job_effect(format!("copy {} into quarantine", from.display()))?;
                    self.disk.make_folders(&folder);
                    let name = from.file_name().unwrap_or_default();
                    let node = Node::file(&text, 0o600);
                    self.disk.0.insert(folder.join(name), node);
                }
                Ok(Report {
                    exists,
                    ..Report::default()
                })
            }
        }
    }

    fn job_effect(&mut self, what: String) -> Result {
        self.effect(what).map_err(|_| cut_off())
    }

    /// What is in a database with its log; `None` if there is no database.
    fn open(&self, file: &Path) -> Result<Option<Content>> {
        let Some(text) = self.disk.content(file) else {
            return Ok(None);
        };
        let mut content = Content::of_text(text).ok_or_else(|| {
            let words = format!("{} is damaged", file.display());
            failed(JobFailure::NotADatabase, words)
        })?;
        let log = log_of(file);
        if let Some(text) = self.disk.content(&log) {
            let rows: Vec<String> = serde_json::from_str(text).map_err(|_| {
                let words = format!("the write-ahead log {} does not replay", log.display());
                failed(JobFailure::WalDoesNotReplay, words)
            })?;
            content.rows.extend(rows);
        }
        Ok(Some(content))
    }

    fn require(&self, file: &Path) -> Result<Content> {
        let gone = || {
            let words = format!("there is no database {}", file.display());
            failed(JobFailure::Failed, words)
        };
        self.open(file)?.ok_or_else(gone)
    }

    /// Writes a database whole; it has no log then.
    fn store(&mut self, file: &Path, content: &Content) {
        let text = content.to_text();
        match self.disk.0.get_mut(file) {
            Some(Node::File { content, .. }) => *content = text,
            _ => drop(
                self.disk
                    .0
                    .insert(file.to_owned(), Node::file(&text, 0o600)),
            ),
        }
        self.disk.remove(&log_of(file));
        self.changed(file);
    }

    /// How many migrations lead from a schema version to a release's.
    fn steps(&self, migrate: &Migrate, at: i64) -> Result<u64> {
        let key = (migrate.application.clone(), migrate.version.clone());
        let to = self.schemas.get(&key).copied().unwrap_or(at);
        u64::try_from(to - at).map_err(|_| {
            let words = format!(
                "the database has schema {at}, which {} does not know: it ends at {to}",
                migrate.version
            );
            failed(JobFailure::MigrationsRefused, words)
        })
    }

    fn back_up(&mut self, database: &Database, order: &BackupOrder) -> Result<Report> {
        let done = |backup| Report {
            exists: true,
            backup: Some(backup),
            ..Report::default()
        };
        let folder = database.backups.join(order.id.as_str());
        if let Some(backup) = self.described(&folder) {
            return Ok(done(backup));
        }
        let content = self.open(&database.file);
        if !order.even_damaged {
            content.clone()?;
        }
        let staging = database.backups.join(".staging");
        self.job_effect(format!("copy {}", database.file.display()))?;
        self.disk.remove(&staging);
        self.disk.make_folders(&staging);
        let log = log_of(Path::new(Backup::DATABASE));
        let mut files = Vec::new();
        for (from, name) in [
            (database.file.clone(), Path::new(Backup::DATABASE)),
            (log_of(&database.file), &log),
            (database.env_file.clone(), Path::new(Backup::ENV)),
        ] {
            if let Some(text) = self.disk.content(&from).map(str::to_owned) {
                files.push(file_of(&name.display().to_string(), &text));
                self.disk
                    .0
                    .insert(staging.join(name), Node::file(&text, 0o600));
            }
        }
        let verified = content.is_ok();
        let backup = Backup {
            id: order.id.clone(),
            tenant: database.tenant.clone(),
            cause: order.cause,
            created: created(&order.id),
            application: order.spec.application.clone(),
            version: order.spec.version.clone(),
            schema_version: order.schema_version,
            storage_version: None,
            spec: order.spec.clone(),
            files,
            verified,
            digest: None,
        };
        let description = serde_yaml::to_string(&backup)
            .map_err(|error| failed(JobFailure::Failed, error.to_string()))?;
        let node = Node::file(&description, 0o600);
        self.disk.0.insert(staging.join(Backup::DESCRIPTION), node);
        self.job_effect(format!("put backup {} in place", order.id))?;
        self.disk.remove(&folder);
        self.disk.rename(&staging, &folder);
        Ok(done(backup))
    }

    fn described(&self, folder: &Path) -> Option<Backup> {
        let text = self.disk.content(&folder.join(Backup::DESCRIPTION))?;
        serde_yaml::from_str(text).ok()
    }

    /// Takes the mark of being verified from a backup that is bad.
    fn not_verified(&mut self, folder: &Path) {
        let Some(mut backup) = self.described(folder) else {
            return;
        };
        backup.verified = false;
        let text = serde_yaml::to_string(&backup).expect("a backup is YAML");
        let node = Node::file(&text, 0o600);
        self.disk.0.insert(folder.join(Backup::DESCRIPTION), node);
    }

    fn verified(&self, backups: &Path, id: &BackupId) -> Result<Backup> {
        let folder = backups.join(id.as_str());
        let backup = self.described(&folder).ok_or_else(|| {
            let words = format!("there is no backup {id} in {}", backups.display());
            failed(JobFailure::NoBackup, words)
        })?;
        for file in &backup.files {
            let path = folder.join(&file.name);
            let text = self.disk.content(&path).unwrap_or_default();
            if file_of(&file.name, text) != *file {
                let words = format!("{} is not what was recorded of it", path.display());
                return Err(failed(JobFailure::Differs, words));
            }
        }
        Ok(backup)
    }

    fn restore(
        &mut self,
        database: &Database,
        id: Option<&BackupId>,
        keep_as: &str,
    ) -> Result<Report> {
        let backup = id.map(|id| self.verified(&database.backups, id));
        let backup = backup.transpose()?;
        let wanted = backup.as_ref().and_then(|backup| {
            let folder = database.backups.join(backup.id.as_str());
            let text = self
                .disk
                .content(&folder.join(Backup::DATABASE))?
                .to_owned();
            let log = log_of(&folder.join(Backup::DATABASE));
            Some((text, self.disk.content(&log).map(str::to_owned)))
        });
        let file = &database.file;
        let log = log_of(file);
        let there = self.disk.content(file).map(str::to_owned);
        let there = there.map(|text| (text, self.disk.content(&log).map(str::to_owned)));
        if there != wanted {
            let replaced = database.backups.join("replaced").join(keep_as);
            // The log first: the other one's must never lie beside a database.
            for from in [&log, file] {
                if self.disk.get(from).is_some() {
                    self.job_effect(format!("move {} away", from.display()))?;
                    self.disk.make_folders(&replaced);
                    let name = from.file_name().unwrap_or_default();
                    self.disk.rename(from, &replaced.join(name));
                    self.changed(from);
                }
            }
            if let Some((text, log_text)) = wanted {
                self.job_effect(format!("put {} in place", file.display()))?;
                self.disk.0.insert(file.clone(), Node::file(&text, 0o600));
                if let Some(text) = log_text {
                    self.disk.0.insert(log, Node::file(&text, 0o600));
                }
                self.changed(file);
            }
        }
        Ok(Report {
            exists: backup.is_some(),
            schema_version: backup.and_then(|backup| backup.schema_version),
            ..Report::default()
        })
    }

    /// The whole backups of a tenant, oldest first.
    pub(super) fn backups(&self, folder: &Path) -> Result<Vec<Backup>, HostError> {
        if self.is_dead() {
            return Err(HostError(super::world::died().message));
        }
        let folders = self.disk.0.keys().filter(|at| at.parent() == Some(folder));
        let mut backups: Vec<Backup> = folders.filter_map(|at| self.described(at)).collect();
        backups.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        Ok(backups)
    }

    /// Deletes a backup: its description first.
    pub(super) fn delete_backup(
        &mut self,
        folder: &Path,
        id: &BackupId,
    ) -> Result<bool, ActionError> {
        let folder = folder.join(id.as_str());
        if self.disk.get(&folder).is_none() {
            return Ok(false);
        }
        self.effect(format!("remove the description of backup {id}"))?;
        self.disk.remove(&folder.join(Backup::DESCRIPTION));
        self.effect(format!("remove backup {id}"))?;
        self.disk.remove(&folder);
        Ok(true)
    }
}

fn report(database: &Database, content: &Content) -> Report {
    let known = database.table.is_some() || database.version_command.is_some();
    Report {
        exists: true,
        schema_version: known.then_some(content.schema_version),
        ..Report::default()
    }
}

/// The time in a backup's identifier: a host in memory has no clock.
fn created(id: &BackupId) -> String {
    let time = id.as_str().split('-').next().unwrap_or_default();
    jiff::civil::DateTime::strptime("%Y%m%dt%H%M%Sz", time).map_or_else(
        |_| id.to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests;
