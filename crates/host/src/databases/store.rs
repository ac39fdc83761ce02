//! The folder of a tenant's backups.
//!
//! A backup is a folder with a `backup.yaml`, which is written last and removed
//! first: without it, what is there is no backup.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cb_core::backup::{Backup, BackupFile};
use cb_core::database::{JobError, JobFailure};
use cb_core::types::BackupId;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::error::failed;
use crate::files::{self, FileCache, FileError, FileSpec, chain};

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

/// A path with something after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes the description of a backup into its folder.
pub(super) fn describe(folder: &Path, backup: &Backup) -> Result<(), FileError> {
    let text = serde_yaml::to_string(backup).expect("a backup is YAML");
    let path = folder.join(Backup::DESCRIPTION);
    files::write(&path, text.as_bytes(), FileSpec::own(0o600))
}

/// Requires that a file of a backup is there.
pub(super) fn require(path: &Path) -> Result<(), JobError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let words = format!("{} is gone", path.display());
            Err(failed(JobFailure::Differs, words))
        }
        _ => Ok(()),
    }
}

/// Requires that files of a backup are what was recorded of them.
pub(super) fn compare(folder: &Path, files: &[BackupFile]) -> Result<(), JobError> {
    for file in files {
        let path = folder.join(&file.name);
        let read = |error| FileError::io("read", &path, error);
        require(&path)?;
        let found = File::open(&path).map_err(read)?;
        let sha256 = sha256(found).map_err(read)?;
        if sha256 != file.sha256 {
            let words = format!("{} is not what was recorded of it", path.display());
            return Err(failed(JobFailure::Differs, words));
        }
    }
    Ok(())
}

/// The SHA-256 of all there is to read, 64 hexadecimal digits.
pub(super) fn sha256(mut from: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut from, &mut hasher)?;
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(id: &str, created: &str) -> Backup {
        Backup {
            id: id.parse().unwrap(),
            tenant: "ky04".parse().unwrap(),
            cause: cb_core::backup::BackupCause::Request,
            created: created.to_owned(),
            application: "cbapp".parse().unwrap(),
            version: "v1".parse().unwrap(),
            schema_version: None,
            storage_version: None,
            spec: serde_yaml::from_str("{application: cbapp, version: v1}").unwrap(),
            files: Vec::new(),
            verified: true,
            digest: None,
        }
    }

    fn put(folder: &Path, backup: &Backup) {
        let at = folder.join(backup.id.as_str());
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join(Backup::DATABASE), "rows").unwrap();
        let text = serde_yaml::to_string(backup).unwrap();
        std::fs::write(at.join(Backup::DESCRIPTION), text).unwrap();
    }

    #[test]
    fn whole_backups_are_listed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert_eq!(list(&at.join("none")).unwrap(), []);
        let (a, b) = (
            backup("b", "2026-11-01T00:00:00Z"),
            backup("a", "2026-11-02T00:00:00Z"),
        );
        put(at, &a);
        put(at, &b);
        // Moved there by hand, broken, half deleted, and what is no backup.
        put(at, &backup("c", "2026-11-03T00:00:00Z"));
        std::fs::rename(at.join("c"), at.join("d")).unwrap();
        put(at, &backup("e", "2026-11-04T00:00:00Z"));
        std::fs::write(at.join("e").join(Backup::DESCRIPTION), "{").unwrap();
        std::fs::create_dir_all(at.join("replaced/x")).unwrap();
        std::fs::create_dir(at.join(".staging")).unwrap();
        assert_eq!(list(at).unwrap(), [a, b]);
    }

    #[test]
    fn a_backup_is_deleted_and_nothing_that_is_not_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        put(at, &backup("a", "2026-11-01T00:00:00Z"));
        let id = "a".parse().unwrap();
        assert!(delete(at, &id).unwrap());
        assert!(!delete(at, &id).unwrap());
        std::fs::create_dir_all(at.join("replaced/x")).unwrap();
        assert!(delete(at, &"replaced".parse().unwrap()).is_err());
        assert!(at.join("replaced/x").is_dir());
    }

    #[test]
    fn a_file_that_changed_or_went_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = BackupFile {
            name: "env".to_owned(),
            bytes: 3,
            sha256: sha256(&b"A=1"[..]).unwrap(),
        };
        let check = || compare(folder.path(), std::slice::from_ref(&file));
        assert!(check().unwrap_err().message.ends_with("is gone"));
        std::fs::write(folder.path().join("env"), "A=1").unwrap();
        assert_eq!(check(), Ok(()));
        std::fs::write(folder.path().join("env"), "A=2").unwrap();
        assert_eq!(check().unwrap_err().failure, JobFailure::Differs);
    }
}
