//! Files that `cbctl` writes: beside, synced, renamed, so that a file is there
//! whole or not at all.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file with these permission bits in the place of what is there.
/// Missing folders are made.
///
/// # Errors
/// It cannot be written; what was there stays.
pub(crate) fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    staged(path, content, mode)?.persist(path)?;
    sync(path)
}

/// As [`write`], for a file that must not be there yet.
///
/// # Errors
/// It cannot be written, or is there ([`io::ErrorKind::AlreadyExists`]).
pub(crate) fn create(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    staged(path, content, mode)?.persist_noclobber(path)?;
    sync(path)
}

fn staged(path: &Path, content: &str, mode: u32) -> io::Result<NamedTempFile> {
    let folder = folder(path);
    std::fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content.as_bytes())?;
    let permissions = std::fs::Permissions::from_mode(mode);
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// A renamed file is safe when its folder is.
fn sync(path: &Path) -> io::Result<()> {
    std::fs::File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_or_created_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        create(&path, "one", 0o600).unwrap();
        let again = create(&path, "two", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        write(&path, "three", 0o640).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }
}
