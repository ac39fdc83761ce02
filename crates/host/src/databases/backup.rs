//! Making a backup.
//!
//! The job copies the database into a folder that it alone sees; root takes the
//! files, adds the `.env` and, last, the description, and gives the folder its
//! name. So a folder of a backup's name with a description is whole, and a
//! process that is killed leaves at most a folder that the next job removes.

use std::path::Path;

use cb_core::backup::{Backup, BackupFile};
use cb_core::database::{BackupOrder, JobError, JobFailure, Report};
use serde_json::Value;

use super::error::failed;
use super::stage::{Stage, Taken};
use super::{Work, blocking, space, store};
use crate::files::{self, FileCache, FileError, FileSpec};

/// What the job found out about the copy.
struct Copied {
    /// Whether DuckDB read every row of it.
    verified: bool,
    schema_version: Option<i64>,
    storage_version: Option<u64>,
    digest: Option<String>,
    files: Vec<BackupFile>,
}

impl Work<'_> {
    pub(super) async fn back_up(&self, order: &BackupOrder) -> Result<Report, JobError> {
        let backups = &self.database.backups;
        let found = store::read(backups, &order.id);
        let unreadable = |reason| failed(JobFailure::Failed, reason);
        if let Some(backup) = found.map_err(unreadable)? {
            return Ok(report(backup));
        }
        // What is left of one that was being deleted.
        store::delete(backups, &order.id)?;
        space::require(self.database, true, false)?;
        let stage = Stage::make(backups, order.id.as_str(), self.user)?;
        let copied = match self.copy(&stage).await {
            Err(error) if order.even_damaged && may_be_damage(error.failure) => {
                self.copy_as_it_is(&stage).await?
            }
            result => result?,
        };
        let backup = Backup {
            id: order.id.clone(),
            tenant: self.database.tenant.clone(),
            cause: order.cause,
            created: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            application: order.spec.application.clone(),
            version: order.spec.version.clone(),
            schema_version: copied.schema_version.or(order.schema_version),
            storage_version: copied.storage_version,
            spec: order.spec.clone(),
            files: copied.files,
            verified: copied.verified,
            digest: copied.digest,
        };
        let env_file = self.database.env_file.clone();
        let to = backups.join(order.id.as_str());
        let name = self.file_name();
        blocking(move || finish(stage, backup, &name, &env_file, &to).map(report)).await
    }

    /// Copies the database and has DuckDB read every row of the copy.
    async fn copy(&self, stage: &Stage) -> Result<Copied, JobError> {
        let to = stage.path().join(Backup::DATABASE);
        let mut call = self.call("backup").file().path(&to).writes(stage.path());
        call = call.arg("--verify");
        if let Some(table) = &self.database.table {
            call = call.arg("--table").arg(table.as_str());
        }
        let document = call.run().await?;
        let sidecars = document["sidecars"].as_array().cloned();
        let mut files = vec![reported(&document["backup"])?];
        for sidecar in sidecars.unwrap_or_default() {
            files.push(reported(&sidecar)?);
        }
        Ok(Copied {
            verified: true,
            schema_version: document["schemaVersion"].as_i64(),
            storage_version: document["header"]["storageVersion"].as_u64(),
            digest: document["content"]["digest"].as_str().map(str::to_owned),
            files,
        })
    }

    /// Copies files that cannot be opened.
    async fn copy_as_it_is(&self, stage: &Stage) -> Result<Copied, JobError> {
        let call = self.call("quarantine").file().path(stage.path());
        let document = call.writes(stage.path()).run().await?;
        let mut files = Vec::new();
        for kept in document["kept"].as_array().into_iter().flatten() {
            let mut file = reported(kept)?;
            // In a backup it has a name that does not depend on the source's.
            if let Some(suffix) = file.name.strip_prefix(&self.file_name()) {
                file.name = format!("{}{suffix}", Backup::DATABASE);
            }
            files.push(file);
        }
        Ok(Copied {
            verified: false,
            schema_version: None,
            storage_version: None,
            digest: None,
            files,
        })
    }

    /// The name of the database file.
    pub(super) fn file_name(&self) -> String {
        let name = self.database.file.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

fn report(backup: Backup) -> Report {
    Report {
        exists: true,
        backup: Some(backup),
        ..Report::default()
    }
}

/// Whether a plain copy can still be had. A damaged database can fail in any
/// way, a crash of DuckDB among them.
fn may_be_damage(failure: JobFailure) -> bool {
    !matches!(
        failure,
        JobFailure::Locked | JobFailure::NoSpace | JobFailure::Transient
    )
}

/// Makes a backup of what the job has written. `name` is what a plain copy of
/// the database is called.
fn finish(
    stage: Stage,
    mut backup: Backup,
    name: &str,
    env_file: &Path,
    to: &Path,
) -> Result<Backup, JobError> {
    let taken = match backup.verified {
        true => stage.take(Backup::DATABASE)?,
        false => take_renamed(&stage, name)?,
    };
    require_same(&taken, &backup.files, stage.path())?;
    if let Some(env) = content(env_file)? {
        let copy = stage.path().join(Backup::ENV);
        files::write(&copy, &env, FileSpec::own(0o600))?;
        backup.files.push(BackupFile {
            name: Backup::ENV.to_owned(),
            bytes: env.len() as u64,
            sha256: store::sha256(&env[..]).map_err(|e| FileError::io("read", env_file, e))?,
        });
    }
    store::describe(stage.path(), &backup)?;
    stage.place(to)?;
    Ok(backup)
}

/// Takes a database of this name, with its log, as a backup's.
fn take_renamed(stage: &Stage, name: &str) -> Result<Vec<Taken>, JobError> {
    let mut renamed = Vec::new();
    for (from, bytes) in stage.take(name)? {
        let suffix = from.strip_prefix(name).unwrap_or_default();
        let to = format!("{}{suffix}", Backup::DATABASE);
        if to != from {
            files::move_dir(&stage.path().join(&from), &stage.path().join(&to))?;
        }
        renamed.push((to, bytes));
    }
    Ok(renamed)
}

/// Requires that what was taken is what the job has reported. Its content is
/// compared with its SHA-256 when it is used.
fn require_same(taken: &[Taken], files: &[BackupFile], folder: &Path) -> Result<(), JobError> {
    let mut found: Vec<_> = taken.iter().map(|(name, bytes)| (name, *bytes)).collect();
    let mut told: Vec<_> = files.iter().map(|file| (&file.name, file.bytes)).collect();
    found.sort();
    told.sort();
    match found == told {
        true => Ok(()),
        false => {
            let words = format!(
                "the files in {} are not those that the job has reported",
                folder.display()
            );
            Err(failed(JobFailure::Differs, words))
        }
    }
}

/// A file in the helper's document, by its name alone.
fn reported(file: &Value) -> Result<BackupFile, JobError> {
    let read = || {
        let path = Path::new(file["file"].as_str()?);
        Some(BackupFile {
            name: path.file_name()?.to_str()?.to_owned(),
            bytes: file["bytes"].as_u64()?,
            sha256: file["sha256"].as_str()?.to_owned(),
        })
    };
    let words = "the document of cb-duckdb does not say which file it has written";
    read().ok_or_else(|| failed(JobFailure::Failed, words))
}

fn content(env_file: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match env_file.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => FileCache::content(env_file).map(Some),
    }
}
