//! Folders, made and repaired without following symbolic links.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat};

use super::write::set_owner_and_mode;
use super::{FileError, FileSpec};

/// Makes a folder with this mode and owner, or gives them to the folder that is
/// there. Missing parents are made as this process's own with mode 0755. No
/// symbolic link on the way is followed.
///
/// # Errors
/// [`FileError::InTheWay`] if something that is no folder is there.
pub fn ensure_dir(path: &Path, spec: FileSpec) -> Result<(), FileError> {
    let fd = open_or_make(path, spec)?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| FileError::io("look at", path, e))?;
    if is(&stat, spec) {
        return Ok(());
    }
    set_owner_and_mode(&fd, spec).map_err(|e| FileError::io("set the owner of", path, e))
}

fn is(stat: &Stat, spec: FileSpec) -> bool {
    stat.st_mode & 0o7777 == spec.mode && stat.st_uid == spec.uid && stat.st_gid == spec.gid
}

/// Walks from the root: each part is opened relative to the one before, so a
/// folder that is swapped for a link on the way is noticed and not followed.
fn open_or_make(path: &Path, spec: FileSpec) -> Result<OwnedFd, FileError> {
    let mut folder = open(rustix::fs::CWD, Path::new("/"))
        .map_err(|e| FileError::io("open the folder", path, e))?;
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    for (index, name) in parts.iter().enumerate() {
        let failed = |error: rustix::io::Errno| FileError::io("make the folder", path, error);
        folder = match open(&folder, Path::new(name)) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => {
                let last = index + 1 == parts.len();
                let as_made = if last { spec } else { FileSpec::own(0o755) };
                // Closed until it has its owner.
                match rustix::fs::mkdirat(&folder, *name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(failed(error)),
                }
                let made = open(&folder, Path::new(name)).map_err(failed)?;
                set_owner_and_mode(&made, as_made)
                    .map_err(|e| FileError::io("set the owner of", path, e))?;
                rustix::fs::fsync(&folder).map_err(failed)?;
                made
            }
            Err(error) => return Err(failed(error)),
        };
    }
    Ok(folder)
}

fn open(folder: impl std::os::fd::AsFd, name: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat2(
        folder,
        name,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Moves a folder or file within one file system; both parents are synced.
/// Nothing is overwritten. Returns whether there was something to move.
///
/// # Errors
/// The target exists, or is on another file system.
pub fn move_dir(from: &Path, to: &Path) -> Result<bool, FileError> {
    let failed = |e: io::Error| FileError::io("move", from, e);
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    let source = match open(rustix::fs::CWD, &parent(from)) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(error) => return Err(failed(error.into())),
    };
    let target = open(rustix::fs::CWD, &parent(to)).map_err(|e| failed(e.into()))?;
    let name = |path: &Path| {
        path.file_name()
            .map(ToOwned::to_owned)
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))
    };
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(&source, name(from)?, &target, name(to)?, flags) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(error) => return Err(failed(error.into())),
    }
    rustix::fs::fsync(&target)
        .and_then(|()| rustix::fs::fsync(&source))
        .map_err(|e| failed(e.into()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn seen(path: &Path) -> (u32, u32, u32) {
        let meta = path.symlink_metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    }

    #[test]
    fn a_folder_gets_its_mode_and_owner_and_its_parents_are_ours() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        let spec = FileSpec {
            mode: 0o700,
            uid: 4321,
            gid: 4322,
        };
        ensure_dir(&path, spec).unwrap();
        assert_eq!(seen(&path), (0o700, 4321, 4322));
        assert_eq!(seen(path.parent().unwrap()), (0o755, 0, 0));
        let open = FileSpec {
            mode: 0o711,
            ..spec
        };
        ensure_dir(&path, open).unwrap();
        assert_eq!(seen(&path), (0o711, 4321, 4322));
    }

    /// Law 10: a tenant that puts a link where a folder belongs does not get
    /// the link's target.
    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        let before = seen(&victim);
        symlink(&victim, root.path().join("link")).unwrap();
        let spec = FileSpec {
            mode: 0o777,
            uid: 4321,
            gid: 4321,
        };
        for path in ["link", "link/below"] {
            let error = ensure_dir(&root.path().join(path), spec).unwrap_err();
            assert!(matches!(error, FileError::InTheWay { .. }), "{error:?}");
        }
        assert_eq!(seen(&victim), before);
    }

    #[test]
    fn a_move_overwrites_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir(path("a")).unwrap();
        std::fs::create_dir(path("b")).unwrap();
        assert!(move_dir(&path("a"), &path("b")).is_err());
        assert!(move_dir(&path("a"), &path("c")).unwrap());
        assert!(!move_dir(&path("a"), &path("d")).unwrap());
        assert!(path("c").is_dir());
    }
}
