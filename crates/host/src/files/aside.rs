//! Setting aside: what a person made is taken out of the way and kept.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Stat};

use super::{FileCache, FileError, FileSpec, Stamp, ensure_dir, link, move_dir, remove, write};

/// Moves a file or symbolic link into a folder, which is made for root alone if
/// need be, under a name that tells where and when it was. It is renamed, so
/// that what is just being written to it is kept too. From another file system
/// it is copied; the copy is on the disk before the original goes, and cut off
/// in between, the next try makes another one. Returns the new path; `None` if
/// there was nothing.
///
/// # Errors
/// [`FileError::InTheWay`] if it is neither a file nor a link, or has to be
/// copied and is larger than [`super::MAX_READ`]; other errors of the system.
pub fn set_aside(path: &Path, folder: &Path) -> Result<Option<PathBuf>, FileError> {
    let Some(stat) = look(path)? else {
        return Ok(None);
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
        return Err(FileError::InTheWay {
            path: path.to_owned(),
            found: super::cache::in_words(kind).to_owned(),
        });
    }
    ensure_dir(folder, FileSpec::own(0o700))?;
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
    let place = path.display().to_string();
    let name = format!("{}@{now}", place.trim_start_matches('/').replace('/', "-"));
    let kept = folder.join(name);
    match move_dir(path, &kept) {
        Ok(moved) => Ok(moved.then_some(kept)),
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::CrossesDevices => {
            copy(path, stat, &kept)?;
            remove(path)?;
            Ok(Some(kept))
        }
        Err(error) => Err(error),
    }
}

fn look(path: &Path) -> Result<Option<Stat>, FileError> {
    match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(FileError::io("look at", path, error)),
    }
}

/// Copies until the file did not change meanwhile.
fn copy(path: &Path, mut stat: Stat, kept: &Path) -> Result<(), FileError> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = std::fs::read_link(path)
            .map_err(|error: io::Error| FileError::io("read the link", path, error))?;
        return link(&target, kept);
    }
    loop {
        let content = FileCache::content(path)?;
        let spec = FileSpec {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        };
        write(kept, &content, spec)?;
        match look(path)? {
            Some(now) if Stamp::of(&now) != Stamp::of(&stat) => stat = now,
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_set_aside_is_kept_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("aside");
        let file = root.path().join("x.conf");
        std::fs::write(&file, "[Service]\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let kept = set_aside(&file, &folder).unwrap().unwrap();
        assert!(!file.exists());
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "[Service]\n");
        assert_eq!(kept.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(kept.to_str().unwrap().contains("x.conf@"));
        symlink("/dev/null", &file).unwrap();
        let mask = set_aside(&file, &folder).unwrap().unwrap();
        assert_eq!(std::fs::read_link(&mask).unwrap(), Path::new("/dev/null"));
        assert!(file.symlink_metadata().is_err());
        assert_eq!(set_aside(&file, &folder).unwrap(), None);
        // What somebody still writes is kept too.
        let mut writer = std::fs::File::create(&file).unwrap();
        let kept = set_aside(&file, &folder).unwrap().unwrap();
        std::io::Write::write_all(&mut writer, b"late").unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), b"late");
        // From another file system.
        std::fs::write(&file, "x").unwrap();
        let copied = root.path().join("copied");
        copy(&file, look(&file).unwrap().unwrap(), &copied).unwrap();
        assert_eq!(std::fs::read(&copied).unwrap(), b"x");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(set_aside(&file, &folder).is_err());
        assert!(file.is_dir());
    }
}
