//! The atomic writer.
//!
//! Guarantee: after [`write()`] returns, the file has the new content, mode and
//! owner, also after a power cut; before that, and after an error, it is as it
//! was. A process that is killed in between leaves at most a temporary file
//! (`.cb-tmp-*`), which [`remove_abandoned`] takes away at the next start.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};

use super::FileError;

/// What a temporary file's name starts with. The leading dot keeps nginx's
/// `*.conf`, systemd and the manifests' scan away from it.
const TEMPORARY: &str = ".cb-tmp-";

/// Mode and owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpec {
    /// Permission bits.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
}

impl FileSpec {
    /// A file of the user that this process runs as (root on a host).
    #[must_use]
    pub fn own(mode: u32) -> Self {
        Self {
            mode,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

/// Writes a file whole; see the module's guarantee.
///
/// # Errors
/// [`FileError::InTheWay`] if something else than a regular file is there or a
/// part of the path is a symbolic link; [`FileError::NoSpace`]; other errors of
/// the system.
pub fn write(path: &Path, content: &[u8], spec: FileSpec) -> Result<(), FileError> {
    let (folder, name) = open_parent(path)?;
    refuse_odd_target(&folder, &name, path)?;
    let temporary = temporary_name();
    let failed = |source: io::Error| FileError::io("write", path, source);
    let result = write_temporary(&folder, &temporary, content, spec).and_then(|()| {
        rustix::fs::renameat(&folder, &temporary, &folder, &name)?;
        rustix::fs::fsync(&folder)?;
        Ok(())
    });
    result.map_err(|error| {
        // Gone already if the rename was done; nothing else can be done here.
        let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
        failed(error)
    })
}

fn write_temporary(folder: &OwnedFd, name: &str, content: &[u8], spec: FileSpec) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    set_owner_and_mode(&file, spec)?;
    file.sync_all()
}

/// Owner first: changing the owner clears setuid and setgid bits.
pub(super) fn set_owner_and_mode(fd: impl AsFd, spec: FileSpec) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid));
    rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(spec.mode))?;
    Ok(())
}

/// Removes a regular file or symbolic link. Returns whether it was there.
///
/// # Errors
/// The system's.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    let (folder, name) = match open_parent(path) {
        Ok(parent) => parent,
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    match rustix::fs::unlinkat(&folder, &name, AtFlags::empty()) {
        Ok(()) => {
            rustix::fs::fsync(&folder).map_err(|e| FileError::io("sync the folder of", path, e))?;
            Ok(true)
        }
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(FileError::io("remove", path, error)),
    }
}

/// Makes a symbolic link, or does nothing if it is there already.
///
/// # Errors
/// [`FileError::InTheWay`] if something else is there.
pub fn link(target: &Path, path: &Path) -> Result<(), FileError> {
    let (folder, name) = open_parent(path)?;
    match rustix::fs::symlinkat(target, &folder, &name) {
        Ok(()) => {
            rustix::fs::fsync(&folder).map_err(|e| FileError::io("sync the folder of", path, e))
        }
        Err(rustix::io::Errno::EXIST) => match std::fs::read_link(path) {
            Ok(there) if there == target => Ok(()),
            _ => Err(FileError::InTheWay {
                path: path.to_owned(),
                found: "there already and not the link that belongs there".to_owned(),
            }),
        },
        Err(error) => Err(FileError::io("link", path, error)),
    }
}

/// Makes a symbolic link, or has the one that is there lead elsewhere, in one
/// step.
///
/// # Errors
/// [`FileError::InTheWay`] if something else is there.
pub fn relink(target: &Path, path: &Path) -> Result<(), FileError> {
    let (folder, name) = open_parent(path)?;
    match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink => {
            return Err(FileError::InTheWay {
                path: path.to_owned(),
                found: "there already and no link".to_owned(),
            });
        }
        _ => {}
    }
    let temporary = temporary_name();
    let failed = |error: rustix::io::Errno| FileError::io("link", path, error);
    rustix::fs::symlinkat(target, &folder, &temporary).map_err(failed)?;
    if let Err(error) = rustix::fs::renameat(&folder, &temporary, &folder, &name) {
        // Nothing else can be done here.
        let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
        return Err(failed(error));
    }
    rustix::fs::fsync(&folder).map_err(failed)
}

/// Removes temporary files that a killed process left in a folder.
///
/// # Errors
/// The folder cannot be read; that it does not exist is no error.
pub fn remove_abandoned(folder: &Path) -> Result<(), FileError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("read the folder", folder, error)),
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// As [`remove_abandoned`], in the folders below too, without following links
/// and without those whose name starts with a dot.
///
/// # Errors
/// A folder cannot be read; that it does not exist is no error.
pub fn remove_abandoned_below(folder: &Path) -> Result<(), FileError> {
    remove_abandoned(folder)?;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_abandoned_below(&entry.path())?;
        }
    }
    Ok(())
}

/// The folder of a path, opened without following symbolic links anywhere on
/// the way (a state folder on another disk is mounted there, not linked), and
/// the path's last part.
fn open_parent(path: &Path) -> Result<(OwnedFd, PathBuf), FileError> {
    let invalid = || FileError::io("open", path, io::Error::from(io::ErrorKind::InvalidInput));
    let name = path.file_name().ok_or_else(invalid)?;
    let folder = path.parent().ok_or_else(invalid)?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat2(
        rustix::fs::CWD,
        folder,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
    .map_err(|error| FileError::io("open the folder", folder, error))?;
    Ok((fd, PathBuf::from(name)))
}

fn refuse_odd_target(folder: &OwnedFd, name: &Path, path: &Path) -> Result<(), FileError> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(()),
            kind => Err(FileError::InTheWay {
                path: path.to_owned(),
                found: super::cache::in_words(kind).to_owned(),
            }),
        },
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(FileError::io("look at", path, error)),
    }
}

/// Unique in this process and over its restarts as far as O_EXCL needs it.
pub(super) fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let nanos = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |d| d.as_nanos());
    format!("{TEMPORARY}{}-{count}-{nanos:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Law 5.
    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"one", FileSpec::own(0o644)).unwrap();
        write(&path, b"two", FileSpec::own(0o600)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(folder.path()), ["a"]);
    }

    /// Law 10.
    #[test]
    fn links_are_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        std::fs::write(&target, "safe").unwrap();
        let link = folder.path().join("link");
        symlink(&target, &link).unwrap();
        let error = write(&link, b"x", FileSpec::own(0o644)).unwrap_err();
        assert!(error.to_string().contains("a symbolic link"), "{error}");
        let real = folder.path().join("real");
        std::fs::create_dir(&real).unwrap();
        symlink(&real, folder.path().join("dir")).unwrap();
        let error = write(&folder.path().join("dir/x"), b"x", FileSpec::own(0o644)).unwrap_err();
        assert!(matches!(error, FileError::InTheWay { .. }), "{error:?}");
        assert_eq!(std::fs::read(&target).unwrap(), b"safe");
        assert_eq!(names(&real), Vec::<String>::new());
    }

    #[test]
    fn what_is_gone_already_counts_as_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
        assert!(!remove(&folder.path().join("b/c")).unwrap());
    }

    #[test]
    fn a_link_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current");
        for target in ["a", "b"] {
            relink(Path::new(target), &path).unwrap();
            assert_eq!(std::fs::read_link(&path).unwrap(), Path::new(target));
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        relink(Path::new("a"), &file).unwrap_err();
        assert_eq!(names(folder.path()), ["current", "file"]);
    }

    #[test]
    fn files_of_a_killed_writer_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(temporary_name()), "half").unwrap();
        std::fs::write(folder.path().join("kept"), "").unwrap();
        remove_abandoned(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["kept"]);
        let below = folder.path().join("ky04");
        std::fs::create_dir(&below).unwrap();
        std::fs::write(below.join(temporary_name()), "half a secret").unwrap();
        symlink(&below, folder.path().join("link")).unwrap();
        remove_abandoned_below(folder.path()).unwrap();
        assert_eq!(names(&below), Vec::<String>::new());
    }

    /// A full disk leaves the old file.
    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_beside() {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        let folder = tempfile::tempdir().unwrap();
        let data = c"size=64k";
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), data)
            .expect("the tests run as root and can mount");
        let path = folder.path().join("a");
        let outcome = std::panic::catch_unwind(|| {
            write(&path, b"old", FileSpec::own(0o644)).unwrap();
            let error = write(&path, &[b'x'; 1 << 20], FileSpec::own(0o644)).unwrap_err();
            assert!(error.is_no_space(), "{error:?}");
            let path = path.display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
            assert_eq!(names(folder.path()), ["a"]);
        });
        unmount(folder.path(), UnmountFlags::DETACH).unwrap();
        outcome.unwrap();
    }
}
