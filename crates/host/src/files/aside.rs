//! Setting aside: what a person made is taken out of the way and kept.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};

use super::{FileCache, FileError, FileSpec, ensure_dir, link, remove, write};

/// Moves a file or symbolic link into a folder, which is made for root alone if
/// need be, under a name that tells where and when it was. The copy is on the
/// disk before the original goes; cut off in between, the next try makes
/// another copy. Returns the new path; `None` if there was nothing.
///
/// # Errors
/// [`FileError::InTheWay`] if it is neither a file nor a link, or larger than
/// [`super::MAX_READ`]; other errors of the system.
pub fn set_aside(path: &Path, folder: &Path) -> Result<Option<PathBuf>, FileError> {
    let stat = match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(FileError::io("look at", path, error)),
    };
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
    let place = path.display().to_string();
    let name = format!("{}@{now}", place.trim_start_matches('/').replace('/', "-"));
    let kept = folder.join(name);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let content = FileCache::content(path)?;
            ensure_dir(folder, FileSpec::own(0o700))?;
            let spec = FileSpec {
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
            };
            write(&kept, &content, spec)?;
        }
        FileType::Symlink => {
            let target = std::fs::read_link(path)
                .map_err(|error: io::Error| FileError::io("read the link", path, error))?;
            ensure_dir(folder, FileSpec::own(0o700))?;
            link(&target, &kept)?;
        }
        kind => {
            return Err(FileError::InTheWay {
                path: path.to_owned(),
                found: super::cache::in_words(kind).to_owned(),
            });
        }
    }
    remove(path)?;
    Ok(Some(kept))
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
        std::fs::create_dir(&file).unwrap();
        assert!(set_aside(&file, &folder).is_err());
        assert!(file.is_dir());
    }
}
