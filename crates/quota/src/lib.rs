//! Project quotas of Linux file systems: xfs and ext4 that are mounted with
//! `prjquota`.
//!
//! A file belongs to a project, by a number; a file that is made in a folder
//! that hands its project down belongs to the same one. The file system counts
//! what a project has, and stores no more than its limit. Everything here is
//! asked of an open file, so a path that somebody exchanges meanwhile changes
//! nothing. It needs Linux 5.14.
//!
//! The system calls are in `kernel`, the only module of the project with
//! `unsafe` in it. What must not live here: which project a tenant has.

mod kernel;

use std::io;
use std::os::fd::AsFd;

/// What a project has, and may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, folders and everything else that takes an inode.
    pub inodes: u64,
    /// What it may have.
    pub limit: Limit,
}

/// What a project may have; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Bytes on the disk, in whole KiB.
    pub bytes: u64,
    /// Files, folders and everything else that takes an inode.
    pub inodes: u64,
}

/// What project a file belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Membership {
    /// The project; 0 is none.
    pub project: u32,
    /// Whether what is made in this folder belongs to it too.
    pub inherits: bool,
}

/// Whether the file system of an open file holds projects to their limits.
pub fn is_enforced(file: impl AsFd) -> bool {
    kernel::quota_state(file.as_fd()).is_ok_and(kernel::projects_are_held)
}

/// What a project has on the file system of an open file.
///
/// # Errors
/// The file system has no project quotas, or the caller may not ask.
pub fn usage(file: impl AsFd, project: u32) -> io::Result<Usage> {
    match kernel::get_quota(file.as_fd(), project) {
        Ok(found) => Ok(Usage {
            bytes: found.dqb_curspace,
            inodes: found.dqb_curinodes,
            limit: Limit {
                bytes: found.dqb_bhardlimit.saturating_mul(BLOCK),
                inodes: found.dqb_ihardlimit,
            },
        }),
        // xfs knows nothing of a project that has nothing and no limit.
        Err(rustix::io::Errno::NOENT) => Ok(Usage::default()),
        Err(error) => Err(error.into()),
    }
}

/// Holds a project to a limit. A part of a KiB is left out, and a limit of less
/// is one KiB.
///
/// # Errors
/// As [`usage`].
pub fn set_limit(file: impl AsFd, project: u32, limit: Limit) -> io::Result<()> {
    let limit = rounded(limit);
    let blocks = limit.bytes / BLOCK;
    kernel::set_limits(file.as_fd(), project, blocks, limit.inodes).map_err(Into::into)
}

/// What of a limit the kernel keeps.
#[must_use]
pub fn rounded(limit: Limit) -> Limit {
    let bytes = match limit.bytes {
        0 => 0,
        bytes => (bytes / BLOCK).max(1) * BLOCK,
    };
    Limit { bytes, ..limit }
}

/// What limits are counted in.
const BLOCK: u64 = 1024;

/// What project a file or folder belongs to.
///
/// # Errors
/// The file system knows no projects.
pub fn membership(file: impl AsFd) -> io::Result<Membership> {
    let attributes = kernel::get_attributes(file.as_fd())?;
    Ok(Membership {
        project: attributes.project(),
        inherits: attributes.inherits(),
    })
}

/// Has a file or folder belong to a project. Returns whether it did not yet.
///
/// # Errors
/// As [`membership`]; the caller may not; or the disk is full.
pub fn join(file: impl AsFd, wanted: Membership) -> io::Result<bool> {
    let file = file.as_fd();
    let mut attributes = kernel::get_attributes(file)?;
    let before = attributes;
    attributes.set(wanted.project, wanted.inherits);
    if attributes == before {
        return Ok(false);
    }
    kernel::set_attributes(file, attributes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system without project quotas says so, and is no error to ask.
    #[test]
    fn what_has_no_quotas_is_not_enforced() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(!is_enforced(&proc));
        assert!(usage(&proc, 1).is_err());
        assert!(set_limit(&proc, 1, Limit::default()).is_err());
        assert!(membership(&proc).is_err());
    }

    #[test]
    fn a_limit_is_kept_in_whole_blocks_and_never_becomes_none() {
        let kept = |bytes| rounded(Limit { bytes, inodes: 7 });
        assert_eq!(
            [0, 1, 1024, 2047, 4096].map(|b| kept(b).bytes),
            [0, 1024, 1024, 1024, 4096]
        );
        assert_eq!(kept(5).inodes, 7);
    }
}
