//! The folder of a tenant's backups.
//!
//! A backup is a folder with a `backup.yaml`, which is written last and removed
//! first: without it, what is there is no backup.

use std::io;
use std::path::Path;

use cb_core::backup::Backup;
use cb_core::types::BackupId;

use crate::files::{self, FileCache, FileError, chain};

/// What DuckDB keeps beside a database.
pub(super) const SIDECARS: [&str; 3] = [".wal", ".wal.checkpoint", ".wal.recovery"];

/// The whole backups, oldest first.
pub(crate) fn list(backups: &Path) -> Result<Vec<Backup>, FileError> {
    let failed = |error| FileError::io("read the folder", backups, error);
    let entries = match std::fs::read_dir(backups) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // `replaced`, `quarantine` and the like have no description.
        let id = name.to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.filter(|_| backups.join(&name).join(Backup::DESCRIPTION).exists()) else {
            continue;
        };
        match read(backups, &id) {
            Ok(backup) => found.extend(backup),
            Err(reason) => {
                let folder = backups.join(&name);
                tracing::warn!(folder = %folder.display(), reason, "a backup is left out");
            }
        }
    }
    found.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    Ok(found)
}

/// One backup; `None` if there is none that is whole. The error says in words
/// why its description cannot be used.
pub(super) fn read(backups: &Path, id: &BackupId) -> Result<Option<Backup>, String> {
    let path = backups.join(id.as_str()).join(Backup::DESCRIPTION);
    let content = match FileCache::content(&path) {
        Ok(content) => content,
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(chain(&error)),
    };
    let backup: Backup =
        serde_yaml::from_slice(&content).map_err(|error| format!("{}: {error}", path.display()))?;
    if backup.id != *id {
        let words = format!("{} is the description of {}", path.display(), backup.id);
        return Err(words);
    }
    Ok(Some(backup))
}

/// Deletes a backup, its description first. Returns whether it was there. A
/// file that does not belong to a backup keeps the folder, and is an error.
pub(crate) fn delete(backups: &Path, id: &BackupId) -> Result<bool, FileError> {
    let folder = backups.join(id.as_str());
    if folder.symlink_metadata().is_err() {
        return Ok(false);
    }
    for name in [Backup::DESCRIPTION, Backup::ENV, Backup::DATABASE] {
        files::remove(&folder.join(name))?;
    }
    for sidecar in SIDECARS {
        files::remove(&folder.join(format!("{}{sidecar}", Backup::DATABASE)))?;
    }
    files::remove_abandoned(&folder)?;
    match std::fs::remove_dir(&folder) {
        Ok(()) => Ok(true),
        Err(error) => Err(FileError::io("remove the folder", &folder, error)),
    }
}
