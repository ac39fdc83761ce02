//! What tenants have on disk, and their project quotas.
//!
//! Where the file system of a tenant's folder holds projects to their limits,
//! the folder belongs to a project of the tenant's own: one call to the kernel
//! tells what it has. Elsewhere the folder is gone through. Nothing is decided
//! here: what a use means is `cb_core::disk`'s.

mod walk;

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cb_core::disk::{DiskUse, Enforcement};
use cb_quota::{Limit, Membership};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::files::FileError;

/// Added to a user id, it is the project of that user's tenant. Lower numbers
/// are those that people give to projects of their own.
const FIRST_PROJECT: u32 = 0x4342_0000;
/// How often it is made sure that all of a tenant's files belong to its
/// project. New ones do by themselves; what a person moved there may not.
const JOIN_EVERY: Duration = Duration::from_secs(600);

/// Which folders belong to their projects, and since when for certain.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    joined: Mutex<HashMap<PathBuf, (u32, Instant)>>,
}

impl Disks {
    /// Looks at what is in a tenant's folder, and has the file system hold the
    /// tenant to its limit in bytes if it can. It may take long, and blocks.
    pub(crate) fn look(
        &self,
        path: &Path,
        uid: Option<u32>,
        limit: Option<u64>,
    ) -> Result<DiskUse, FileError> {
        let failed = |error: Errno| FileError::io("count what is in", path, error);
        let Some(folder) = walk::open(path).map_err(failed)? else {
            return Ok(DiskUse {
                bytes: 0,
                enforcement: Enforcement::Watched,
                counted: true,
            });
        };
        if cb_quota::is_enforced(&folder)
            && let Some(project) = uid.and_then(|uid| FIRST_PROJECT.checked_add(uid))
        {
            match self.hold(path, &folder, project, limit.unwrap_or(0)) {
                Ok(found) => return Ok(found),
                // Watched, a tenant is held to its limit all the same.
                Err(error) => tracing::warn!(
                    folder = %path.display(),
                    "the file system's quota cannot be used: {error}"
                ),
            }
        }
        let counted = walk::walk(&folder, None).map_err(failed)?;
        Ok(DiskUse {
            bytes: counted.bytes,
            enforcement: Enforcement::Watched,
            counted: counted.whole,
        })
    }

    fn hold(
        &self,
        path: &Path,
        folder: &OwnedFd,
        project: u32,
        bytes: u64,
    ) -> std::io::Result<DiskUse> {
        // A limit of inodes too: they are as finite as blocks.
        let limit = cb_quota::rounded(Limit {
            bytes,
            inodes: bytes.div_ceil(walk::LEAST),
        });
        let wanted = Membership {
            project,
            inherits: true,
        };
        if cb_quota::membership(folder)? != wanted || !self.is_joined(path, project) {
            join(folder, project)?;
            let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
            joined.insert(path.to_owned(), (project, Instant::now()));
        }
        // After its files are in it: ext4 takes no more of them than the limit.
        let usage = cb_quota::usage(folder, project)?;
        if usage.limit != limit {
            cb_quota::set_limit(folder, project, limit)?;
        }
        // What is near the limit of inodes is as near its end as what is near
        // that of bytes.
        Ok(DiskUse {
            bytes: usage.bytes.max(usage.inodes.saturating_mul(walk::LEAST)),
            enforcement: Enforcement::Quota,
            counted: true,
        })
    }

    fn is_joined(&self, path: &Path, project: u32) -> bool {
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let known = joined.get(path);
        known.is_some_and(|(of, since)| *of == project && since.elapsed() < JOIN_EVERY)
    }
}

/// Has a folder and all that is in it belong to a project; folders hand it
/// down, before what is in them is looked at.
fn join(folder: &OwnedFd, project: u32) -> Result<(), Errno> {
    let mut visit = |file: BorrowedFd<'_>, kind: FileType| {
        let wanted = Membership {
            project,
            inherits: kind == FileType::Directory && project != 0,
        };
        let joined = cb_quota::join(file, wanted).map(drop);
        joined.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    walk::walk(folder, Some(&mut visit)).map(drop)
}

/// Takes a folder, which is no tenant's any more, out of its project, so that
/// it does not count as that of whoever has the user id next. A file system
/// without projects has nothing to do.
pub(crate) fn leave(path: &Path) -> Result<(), FileError> {
    let failed = |error: Errno| FileError::io("take out of its quota", path, error);
    let Some(folder) = walk::open(path).map_err(failed)? else {
        return Ok(());
    };
    match cb_quota::membership(&folder) {
        Ok(Membership { project, .. }) if project >= FIRST_PROJECT => {
            join(&folder, 0).map_err(failed)
        }
        _ => Ok(()),
    }
}

/// The bytes that are free for others than root on a path's file system; if a
/// smaller share of its inodes is free, that share of its bytes: without
/// inodes, bytes are of no use.
pub(crate) fn free(path: &Path) -> Result<u64, FileError> {
    let failed = |error: Errno| FileError::io("look at the file system of", path, error);
    let stat = rustix::fs::statvfs(path).map_err(failed)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(usable(
        (bytes(stat.f_bavail), bytes(stat.f_blocks)),
        (stat.f_favail, stat.f_files),
    ))
}

/// Of free and all bytes, and of free and all inodes. A file system that makes
/// inodes as it needs them has none to count.
fn usable((free, bytes): (u64, u64), (left, inodes): (u64, u64)) -> u64 {
    let product = u128::from(bytes) * u128::from(left);
    let share = product.checked_div(inodes.into());
    let share = share.and_then(|share| u64::try_from(share).ok());
    share.map_or(free, |share| share.min(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_quotas_a_folder_is_counted() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), vec![1; 1 << 20]).unwrap();
        let disks = Disks::default();
        let found = disks.look(root.path(), Some(4321), Some(1)).unwrap();
        assert!(found.bytes >= 1 << 20 && found.counted);
        let none = disks
            .look(&root.path().join("none"), Some(4321), None)
            .unwrap();
        assert_eq!((none.bytes, none.counted), (0, true));
        leave(root.path()).unwrap();
        leave(&root.path().join("none")).unwrap();
        assert!(free(root.path()).unwrap() > 0);
    }

    #[test]
    fn without_inodes_bytes_are_of_no_use() {
        assert_eq!(usable((50, 100), (90, 100)), 50);
        assert_eq!(usable((50, 100), (3, 1000)), 0);
        assert_eq!(usable((50, 100), (30, 100)), 30);
        assert_eq!(usable((50, 100), (0, 0)), 50);
        assert_eq!(usable((7, u64::MAX), (u64::MAX, 1)), 7);
    }
}
