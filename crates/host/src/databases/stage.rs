//! Where a job writes what root keeps.
//!
//! `BACKUPS/.staging` is closed to all but root. A folder in it belongs to the
//! tenant, who reaches it only through the job's own view of the file system.
//! When the job has ended, root takes the folder and the files that belong in
//! it, and gives it its name.

use std::path::{Path, PathBuf};

use cb_core::database::{JobError, JobFailure};
use cb_core::observed::User;

use super::error::failed;
use super::store::SIDECARS;
use crate::files::{self, FileError, FileSpec};

/// A folder that a job writes.
#[derive(Debug)]
pub(super) struct Stage {
    path: PathBuf,
    user: User,
}

/// A file that was taken: its name and size.
pub(super) type Taken = (String, u64);

/// Removes what a killed process left. No job of the tenant may run.
pub(super) fn clear(backups: &Path) -> Result<(), FileError> {
    files::remove_dir(&folder(backups)).map(drop)
}

fn folder(backups: &Path) -> PathBuf {
    backups.join(".staging")
}

impl Stage {
    /// An empty folder that is to become `BACKUPS/NAME`.
    pub(super) fn make(backups: &Path, name: &str, user: User) -> Result<Self, FileError> {
        let closed = FileSpec::own(0o700);
        files::ensure_dir(backups, closed)?;
        files::ensure_dir(&folder(backups), closed)?;
        let path = folder(backups).join(name);
        let tenant = FileSpec {
            mode: 0o700,
            uid: user.uid,
            gid: user.gid,
        };
        files::ensure_dir(&path, tenant)?;
        Ok(Self { path, user })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the folder, and the database of this name with what lies beside
    /// it; everything else in the folder goes. The tenant may still read them,
    /// where a job shows them to it.
    pub(super) fn take(&self, database: &str) -> Result<Vec<Taken>, JobError> {
        let spec = |mode| FileSpec {
            gid: self.user.gid,
            ..FileSpec::own(mode)
        };
        files::take_dir(&self.path, spec(0o750))?;
        let mut taken = Vec::new();
        for suffix in std::iter::once("").chain(SIDECARS) {
            let name = format!("{database}{suffix}");
            if let Some(bytes) = files::take_file(&self.path.join(&name), spec(0o640))? {
                taken.push((name, bytes));
            }
        }
        let failed_to = |error| FileError::io("read the folder", &self.path, error);
        for entry in std::fs::read_dir(&self.path).map_err(failed_to)? {
            let entry = entry.map_err(failed_to)?;
            let belongs =
                |name: &std::ffi::OsStr| taken.iter().any(|(taken, _)| name == taken.as_str());
            if !belongs(&entry.file_name()) {
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => files::remove_dir(&entry.path())?,
                    false => files::remove(&entry.path())?,
                };
            }
        }
        Ok(taken)
    }

    /// Gives the folder its name, which must be free.
    pub(super) fn place(self, to: &Path) -> Result<(), JobError> {
        if let Some(parent) = to.parent() {
            files::ensure_dir(parent, FileSpec::own(0o700))?;
        }
        if files::move_dir(&self.path, to)? {
            return Ok(());
        }
        let words = format!("{} is gone", self.path.display());
        Err(failed(JobFailure::Failed, words))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const USER: User = User {
        uid: 4321,
        gid: 4322,
    };

    #[test]
    fn what_belongs_is_taken_and_the_rest_goes() {
        let root = tempfile::tempdir().unwrap();
        let backups = root.path().join("ky04");
        let stage = Stage::make(&backups, "b1", USER).unwrap();
        let at = |name: &str| stage.path().join(name);
        assert_eq!(stage.path().metadata().unwrap().uid(), 4321);
        std::fs::write(at("d.duckdb"), "1234").unwrap();
        std::fs::write(at("d.duckdb.wal"), "1").unwrap();
        std::fs::write(at("other"), "").unwrap();
        std::fs::create_dir(at("d.duckdb.scratch-1")).unwrap();
        let taken = stage.take("d.duckdb").unwrap();
        let expected = [("d.duckdb".to_owned(), 4), ("d.duckdb.wal".to_owned(), 1)];
        assert_eq!(taken, expected);
        let to = backups.join("b1");
        stage.place(&to).unwrap();
        let meta = to.join("d.duckdb").metadata().unwrap();
        assert_eq!(
            (meta.uid(), meta.gid(), meta.mode() & 0o777),
            (0, 4322, 0o640)
        );
        assert_eq!(std::fs::read_dir(&to).unwrap().count(), 2);
        assert_eq!(backups.metadata().unwrap().mode() & 0o777, 0o700);
        clear(&backups).unwrap();
        clear(&backups).unwrap();
    }

    /// Laws 9 and 10: a tenant that puts another's file there gets nothing.
    #[test]
    fn tricks_in_the_staging_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        std::fs::write(&victim, "secret").unwrap();
        let stage = Stage::make(&root.path().join("ky04"), "b1", USER).unwrap();
        let file = stage.path().join("d.duckdb");
        symlink(&victim, &file).unwrap();
        assert!(stage.take("d.duckdb").unwrap_err().message.contains("link"));
        std::fs::remove_file(&file).unwrap();
        std::fs::hard_link(&victim, &file).unwrap();
        let error = stage.take("d.duckdb").unwrap_err();
        assert!(error.message.contains("another name"), "{error}");
        assert_eq!(victim.metadata().unwrap().gid(), 0);
    }
}
