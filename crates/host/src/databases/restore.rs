//! Putting a backup in the place of a database, and keeping what is replaced or
//! cannot be opened.
//!
//! What a job keeps, it writes where it stays, because it may be the only copy
//! once the job has gone on; root takes the folder when the job has ended. Both
//! can be done again at any point. Nothing that was kept is ever deleted here.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cb_core::backup::{Backup, BackupFile, is_bad};
use cb_core::database::{JobError, JobFailure, Report};
use cb_core::types::BackupId;

use super::error::failed;
use super::store::SIDECARS;
use super::{Work, blocking, store};
use crate::files::{self, FileError, FileSpec};

impl Work<'_> {
    /// Reads a backup whole and compares it with what was recorded of it. One
    /// that is found to be bad loses its mark of being verified, so that nobody
    /// counts on it; it gets the mark back when it is found to be good again.
    pub(super) async fn verify(&self, id: &BackupId) -> Result<Backup, JobError> {
        let mut backup = self.require_backup(id)?;
        let folder = self.database.backups.join(id.as_str());
        lend(&folder, self.user.gid)?;
        // Without a digest it could not be opened when it was made either.
        let could_be_opened = backup.verified || backup.digest.is_some();
        let checked = match could_be_opened {
            true => self.read_whole(&backup, &folder).await,
            false => {
                let (at, all) = (folder.clone(), backup.files.clone());
                blocking(move || store::compare(&at, &all)).await
            }
        };
        if let Err(error) = &checked
            && !is_bad(error.failure)
        {
            return checked.map(|()| backup);
        }
        let verified = could_be_opened && checked.is_ok();
        if verified != backup.verified {
            backup.verified = verified;
            let described = backup.clone();
            blocking(move || Ok(store::describe(&folder, &described)?)).await?;
        }
        checked.map(|()| backup)
    }

    /// Compares the files of a backup with what was recorded of them, and has
    /// DuckDB read every row.
    async fn read_whole(&self, backup: &Backup, folder: &Path) -> Result<(), JobError> {
        let (database, rest) = split(backup)?;
        let path = folder.join(Backup::DATABASE);
        let (at, there) = (folder.to_owned(), path.clone());
        blocking(move || {
            store::require(&there)?;
            store::compare(&at, &rest)
        })
        .await?;
        let call = self.call("verify").path(&path).read_only(folder);
        call.arg("--sha256").arg(database.sha256).run().await?;
        Ok(())
    }

    pub(super) async fn restore(
        &self,
        id: Option<&BackupId>,
        keep_as: &str,
    ) -> Result<Report, JobError> {
        let aside = self.database.backups.join("replaced").join(keep_as);
        let backup = match id {
            Some(id) => Some(self.put(id, &aside).await?),
            None => {
                self.move_away(&aside).await?;
                None
            }
        };
        Ok(Report {
            exists: backup.is_some(),
            schema_version: backup.and_then(|backup| backup.schema_version),
            ..Report::default()
        })
    }

    /// Puts a backup in the place of the database. Its SHA-256 is compared
    /// before anything is replaced.
    async fn put(&self, id: &BackupId, aside: &Path) -> Result<Backup, JobError> {
        let backup = self.require_backup(id)?;
        let folder = self.database.backups.join(id.as_str());
        lend(&folder, self.user.gid)?;
        let (database, rest) = split(&backup)?;
        let at = folder.clone();
        blocking(move || store::compare(&at, &rest)).await?;
        self.open_folder(aside)?;
        let from = folder.join(Backup::DATABASE);
        let call = self.call("restore").path(&from).file().read_only(&folder);
        let call = call.arg("--sha256").arg(database.sha256);
        let call = call.arg("--discard-equal").arg("--aside").path(aside);
        let call = match &backup.digest {
            Some(digest) => call.arg("--digest").arg(digest),
            None => call,
        };
        let result = call.writes(aside).run().await;
        // Also after a failure: what was kept until then is the tenant's data.
        self.close_folder(aside).await?;
        result.map(|_| backup)
    }

    /// Leaves no database: there was none.
    async fn move_away(&self, aside: &Path) -> Result<(), JobError> {
        if self.is_gone() {
            return Ok(());
        }
        self.keep(aside).await?;
        let file = self.database.file.clone();
        blocking(move || {
            // The logs first: one that is left would be taken for the log of
            // the next database.
            for suffix in SIDECARS.into_iter().chain([""]) {
                files::remove(&store::beside(&file, suffix))?;
            }
            Ok(())
        })
        .await
    }

    fn is_gone(&self) -> bool {
        let file = &self.database.file;
        let mut all = SIDECARS.into_iter().chain([""]);
        all.all(|suffix| store::beside(file, suffix).symlink_metadata().is_err())
    }

    /// Copies the database and its log into the quarantine.
    pub(super) async fn quarantine(&self, keep_as: &str) -> Result<Report, JobError> {
        let folder = self.database.backups.join("quarantine").join(keep_as);
        self.keep(&folder).await?;
        Ok(Report {
            exists: true,
            ..Report::default()
        })
    }

    async fn keep(&self, folder: &Path) -> Result<(), JobError> {
        self.open_folder(folder)?;
        let call = self.call("quarantine").file().path(folder);
        let result = call.writes(folder).run().await;
        self.close_folder(folder).await?;
        result.map(drop)
    }

    fn require_backup(&self, id: &BackupId) -> Result<Backup, JobError> {
        let backups = &self.database.backups;
        let none = |reason| failed(JobFailure::NoBackup, reason);
        let found = store::read(backups, id).map_err(none)?;
        found.ok_or_else(|| {
            let words = format!("there is no whole backup {id} in {}", backups.display());
            none(words)
        })
    }

    /// Lets the tenant write a folder of what is kept, in a job's view.
    fn open_folder(&self, folder: &Path) -> Result<(), FileError> {
        let closed = FileSpec::own(0o700);
        files::ensure_dir(&self.database.backups, closed)?;
        if let Some(parent) = folder.parent() {
            files::ensure_dir(parent, closed)?;
        }
        let tenant = FileSpec {
            mode: 0o700,
            uid: self.user.uid,
            gid: self.user.gid,
        };
        files::ensure_dir(folder, tenant)
    }

    /// Takes a folder and what is in it; one that is empty goes.
    async fn close_folder(&self, folder: &Path) -> Result<(), JobError> {
        let (folder, gid) = (folder.to_owned(), self.user.gid);
        blocking(move || Ok(close(&folder, gid)?)).await
    }
}

fn close(folder: &Path, gid: u32) -> Result<(), FileError> {
    let spec = |mode| FileSpec {
        gid,
        ..FileSpec::own(mode)
    };
    files::take_dir(folder, spec(0o750))?;
    let failed_to = |error| FileError::io("read the folder", folder, error);
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed_to)? {
        let entry = entry.map_err(failed_to)?;
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // The helper's: a copy that was not finished.
            true => drop(files::remove_dir(&entry.path())?),
            false => paths.push(entry.path()),
        }
    }
    for path in &paths {
        files::take_file(path, spec(0o640))?;
    }
    if paths.is_empty() {
        files::remove_dir(folder)?;
    }
    Ok(())
}

/// Lets the tenant's jobs read a database among the backups, as one that was
/// made here lets them: it may have been fetched from off the host, or made
/// when the tenant's group had another id.
fn lend(folder: &Path, gid: u32) -> Result<(), FileError> {
    let spec = |mode| FileSpec {
        gid,
        ..FileSpec::own(mode)
    };
    files::ensure_dir(folder, spec(0o750))?;
    for suffix in std::iter::once("").chain(SIDECARS) {
        let path = folder.join(format!("{}{suffix}", Backup::DATABASE));
        let lent = path
            .symlink_metadata()
            .is_ok_and(|meta| (meta.uid(), meta.gid(), meta.mode() & 0o7777) == (0, gid, 0o640));
        if !lent {
            files::take_file(&path, spec(0o640))?;
        }
    }
    Ok(())
}

/// The database of a backup, and its other files.
fn split(backup: &Backup) -> Result<(BackupFile, Vec<BackupFile>), JobError> {
    let (database, rest): (Vec<_>, Vec<_>) = backup
        .files
        .iter()
        .cloned()
        .partition(|file| file.name == Backup::DATABASE);
    let database = database.into_iter().next().ok_or_else(|| {
        let words = format!("backup {} holds no database", backup.id);
        failed(JobFailure::NoBackup, words)
    })?;
    Ok((database, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &Path) -> (u32, u32, u32) {
        let meta = path.metadata().unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o777)
    }

    /// Law 11: the `.env` of a backup stays root's alone.
    #[test]
    fn a_database_that_was_fetched_is_lent_to_its_tenant() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("b1");
        std::fs::create_dir(&folder).unwrap();
        let closed = |mode| std::fs::Permissions::from_mode(mode);
        for name in [Backup::DATABASE, "database.duckdb.wal", Backup::ENV] {
            std::fs::write(folder.join(name), "rows").unwrap();
            std::fs::set_permissions(folder.join(name), closed(0o600)).unwrap();
        }
        std::fs::set_permissions(&folder, closed(0o700)).unwrap();
        lend(&folder, 4322).unwrap();
        assert_eq!(seen(&folder), (0, 4322, 0o750));
        for name in [Backup::DATABASE, "database.duckdb.wal"] {
            assert_eq!(seen(&folder.join(name)), (0, 4322, 0o640));
        }
        assert_eq!(seen(&folder.join(Backup::ENV)), (0, 0, 0o600));
        // One that is right is not touched, whatever other name it has.
        std::fs::hard_link(folder.join(Backup::DATABASE), root.path().join("copy")).unwrap();
        lend(&folder, 4322).unwrap();
    }

    #[test]
    fn what_was_kept_becomes_roots_and_an_empty_folder_goes() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("kept");
        std::fs::create_dir(&folder).unwrap();
        close(&folder, 4322).unwrap();
        assert!(!folder.exists());
        std::fs::create_dir_all(folder.join("t.duckdb.part-1")).unwrap();
        let file = folder.join("t.duckdb");
        std::fs::write(&file, "rows").unwrap();
        std::os::unix::fs::chown(&file, Some(4321), Some(4321)).unwrap();
        close(&folder, 4322).unwrap();
        close(&folder, 4322).unwrap();
        assert_eq!(seen(&file), (0, 4322, 0o640));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
}
