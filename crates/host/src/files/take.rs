//! Files and folders that a tenant's process made, taken over by root.
//!
//! They are made where no other process can reach them, but their maker may
//! have been talked into anything: nothing but a regular file with one name is
//! taken, and no link is followed (law 10).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::cache::in_words;
use super::write::set_owner_and_mode;
use super::{FileError, FileSpec};

/// Gives a regular file this owner and mode, and syncs it. Returns its size, or
/// `None` if it is not there.
///
/// # Errors
/// [`FileError::InTheWay`] if it is anything else than a regular file with one
/// name.
pub fn take_file(path: &Path, spec: FileSpec) -> Result<Option<u64>, FileError> {
    let failed = |error: io::Error| FileError::io("take over", path, error);
    // `NONBLOCK` because it may be a FIFO.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match open(path, flags) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink == 1 => None,
        FileType::RegularFile => Some("a file that has another name too"),
        kind => Some(in_words(kind)),
    };
    if let Some(found) = found {
        return Err(FileError::InTheWay {
            path: path.to_owned(),
            found: found.to_owned(),
        });
    }
    set_owner_and_mode(&fd, spec).map_err(failed)?;
    rustix::fs::fsync(&fd).map_err(|e| failed(e.into()))?;
    Ok(Some(u64::try_from(stat.st_size).unwrap_or(0)))
}

/// Gives a folder this owner and mode, so that nobody else changes what is in
/// it, and syncs it.
///
/// # Errors
/// It is not there, or is no folder.
pub fn take_dir(path: &Path, spec: FileSpec) -> Result<(), FileError> {
    let failed = |error: io::Error| FileError::io("take over", path, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = open(path, flags).map_err(|e| failed(e.into()))?;
    set_owner_and_mode(&fd, spec).map_err(failed)?;
    rustix::fs::fsync(&fd).map_err(|e| failed(e.into()))
}

fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)
}

/// Removes a folder with all that is in it, following no link. Returns whether
/// it was there.
///
/// # Errors
/// The system's.
pub fn remove_dir(path: &Path) -> Result<bool, FileError> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::io("remove the folder", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const SPEC: FileSpec = FileSpec {
        mode: 0o640,
        uid: 0,
        gid: 4322,
    };

    #[test]
    fn a_file_is_taken_with_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(take_file(&path, SPEC).unwrap(), None);
        std::fs::write(&path, "four").unwrap();
        std::os::unix::fs::chown(&path, Some(4321), Some(4321)).unwrap();
        assert_eq!(take_file(&path, SPEC).unwrap(), Some(4));
        let meta = path.metadata().unwrap();
        let seen = (meta.mode() & 0o7777, meta.uid(), meta.gid());
        assert_eq!(seen, (0o640, 0, 4322));
    }

    /// Law 10.
    #[test]
    fn what_is_no_file_of_its_own_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "").unwrap();
        let before = victim.metadata().unwrap();
        let path = folder.path().join("a");
        let refused = |what: &str| {
            let error = take_file(&path, SPEC).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            std::fs::remove_file(&path).unwrap();
        };
        symlink(&victim, &path).unwrap();
        refused("a symbolic link");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        refused("a FIFO");
        std::fs::hard_link(&victim, &path).unwrap();
        refused("another name");
        let after = victim.metadata().unwrap();
        assert_eq!((before.mode(), before.gid()), (after.mode(), after.gid()));
        symlink(folder.path(), folder.path().join("link")).unwrap();
        assert!(take_dir(&folder.path().join("link"), SPEC).is_err());
    }
}
