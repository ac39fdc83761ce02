//! Files with secrets: opened once, and checked on what was opened, as the path
//! may lead to another file by the time it is opened again.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use zeroize::Zeroizing;

use crate::files::{FileError, MAX_READ, Stamp};

/// No link is followed, and a pipe does not keep the operator waiting.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Why a file is not read as a secret. Law 11: quotes nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others can read it.
    #[error(
        "{} is a secret that others than root can read or change; `chown root` and `chmod 600` it",
        path.display()
    )]
    NotPrivate {
        /// The file.
        path: PathBuf,
    },
    /// Nothing is in it but blanks.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// What is in a file that root alone can read, without blanks at its ends.
///
/// # Errors
/// It cannot be read, is empty, or others than root can read it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let file = SecretFile::open(path)?;
    file.check_private()?;
    let content = file.content()?;
    match content.trim_ascii() {
        [] => Err(SecretFileError::Empty {
            path: path.to_owned(),
        }),
        secret => Ok(Zeroizing::new(secret.to_owned())),
    }
}

/// A regular file that is open.
#[derive(Debug)]
pub(crate) struct SecretFile {
    path: PathBuf,
    fd: OwnedFd,
    stat: Stat,
}

impl SecretFile {
    /// # Errors
    /// It cannot be opened, or is no regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let fd = rustix::fs::open(path, FLAGS, Mode::empty());
        Self::of(path.to_owned(), fd)
    }

    /// Opens a file of a folder that others write in: neither the file nor a
    /// folder on the way to it may be a link.
    ///
    /// # Errors
    /// It cannot be opened, or is no regular file.
    pub(super) fn open_below(folder: &Path, below: &Path) -> Result<Self, FileError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = rustix::fs::openat(CWD, folder, flags, Mode::empty())
            .and_then(|root| rustix::fs::openat2(root, below, FLAGS, Mode::empty(), within));
        Self::of(folder.join(below), fd)
    }

    fn of(path: PathBuf, fd: rustix::io::Result<OwnedFd>) -> Result<Self, FileError> {
        let failed = |error: rustix::io::Errno| FileError::io("read", &path, error);
        let fd = fd.map_err(failed)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let error = io::Error::other("it is no regular file");
            return Err(FileError::io("read", &path, error));
        }
        Ok(Self { path, fd, stat })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What tells that it changed.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.stat)
    }

    /// # Errors
    /// Somebody else than its owner, root, can read it.
    pub(crate) fn check_private(&self) -> Result<(), SecretFileError> {
        let own = rustix::process::geteuid().as_raw();
        match self.stat.st_mode & 0o077 == 0 && self.stat.st_uid == own {
            true => Ok(()),
            false => Err(SecretFileError::NotPrivate {
                path: self.path.clone(),
            }),
        }
    }

    /// # Errors
    /// It cannot be read, or is too large.
    pub(super) fn content(self) -> Result<Zeroizing<Vec<u8>>, FileError> {
        let failed = |error: io::Error| FileError::io("read", &self.path, error);
        let mut content = Zeroizing::new(Vec::new());
        File::from(self.fd)
            .take(MAX_READ + 1)
            .read_to_end(&mut content)
            .map_err(failed)?;
        if content.len() as u64 > MAX_READ {
            let message = format!("it has more than {MAX_READ} bytes");
            return Err(failed(io::Error::other(message)));
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Law 11: a secret is read from a file that is its owner's alone, and no
    /// error quotes it.
    #[test]
    fn a_secret_is_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let error = |path: &Path| {
            let error = crate::files::chain(&read_secret(path).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
            error
        };
        assert!(error(&path).contains("secret: No such file"));
        std::fs::write(&path, "hunter2\n").unwrap();
        for (mode, private) in [(0o600, true), (0o400, true), (0o640, false), (0o602, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match private {
                true => assert_eq!(**read_secret(&path).unwrap(), *b"hunter2"),
                false => assert!(error(&path).contains("`chmod 600` it")),
            }
        }
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(error(&link).contains("a symbolic link"));
        assert!(error(folder.path()).contains("no regular file"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, " \n").unwrap();
        assert!(error(&path).contains("secret is empty"));
    }
}
