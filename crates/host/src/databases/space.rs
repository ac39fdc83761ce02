//! Whether there is room for what a job writes.

use std::collections::BTreeMap;
use std::path::Path;

use cb_core::database::{Database, JobError, JobFailure};

use super::error::failed;
use super::store::{SIDECARS, beside};

/// What is to be left, besides the files: folders, descriptions, and what a
/// service writes meanwhile.
const MARGIN: u64 = 16 << 20;

/// Requires room for a copy of the database in the backups, and for one beside
/// it: a migration can write every block anew.
pub(super) fn require(database: &Database, backup: bool, migrate: bool) -> Result<(), JobError> {
    let bytes = bytes_of(&database.file);
    let mut wanted = Vec::new();
    if backup && bytes > 0 {
        wanted.push((existing(&database.backups), bytes));
    }
    if migrate && bytes > 0 {
        wanted.push((existing(&database.file), bytes));
    }
    check(&wanted)
}

/// The size of a database with its log; links count for nothing.
fn bytes_of(file: &Path) -> u64 {
    let size = |path: &Path| {
        let metadata = path.symlink_metadata().ok().filter(|m| m.is_file());
        metadata.map_or(0, |metadata| metadata.len())
    };
    let logs = SIDECARS.iter().map(|suffix| size(&beside(file, suffix)));
    size(file) + logs.sum::<u64>()
}

/// The nearest folder above a path that is there.
fn existing(path: &Path) -> &Path {
    let there = path.ancestors().find(|folder| folder.is_dir());
    there.unwrap_or(Path::new("/"))
}

/// Requires these bytes in these folders, added up by file system.
fn check(wanted: &[(&Path, u64)]) -> Result<(), JobError> {
    let mut by_device: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
    let unreadable = |folder: &Path, error: rustix::io::Errno| {
        let words = format!("cannot look at {}: {error}", folder.display());
        failed(JobFailure::Failed, words)
    };
    for (folder, bytes) in wanted {
        let stat = rustix::fs::stat(*folder).map_err(|error| unreadable(folder, error))?;
        by_device.entry(stat.st_dev).or_insert((folder, 0)).1 += bytes;
    }
    for (folder, bytes) in by_device.into_values() {
        let stat = rustix::fs::statvfs(folder).map_err(|error| unreadable(folder, error))?;
        // What a user other than root may use.
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed = bytes.saturating_add(MARGIN);
        if free < needed {
            let words = format!(
                "the file system of {} has not the {needed} bytes free that are needed; make \
                 room on it",
                folder.display()
            );
            return Err(failed(JobFailure::NoSpace, words));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_required_by_file_system() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check(&[(folder.path(), 0)]), Ok(()));
        let half = rustix::fs::statvfs(folder.path()).unwrap();
        let half = half.f_bavail * half.f_frsize / 3 * 2;
        let error = check(&[(folder.path(), half), (folder.path(), half)]).unwrap_err();
        assert_eq!(error.failure, JobFailure::NoSpace);
        let shown = folder.path().display().to_string();
        assert!(error.message.contains(&shown), "{error}");
    }

    #[test]
    fn the_log_counts_and_a_link_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.duckdb");
        std::fs::write(&file, "1234").unwrap();
        std::fs::write(folder.path().join("t.duckdb.wal"), "12").unwrap();
        assert_eq!(bytes_of(&file), 6);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(bytes_of(&link), 0);
        assert_eq!(existing(&folder.path().join("a/b")), folder.path());
    }
}
