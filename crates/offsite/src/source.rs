//! A backup on the host, read to be copied.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use cb_core::backup::Backup;
use rustix::fs::OFlags;

use crate::error::Error;
use crate::sums::{FileName, Hasher, SUMS, Sums};

/// The files of a backup on the host, with their sizes and checksums.
pub(crate) struct Source {
    folder: PathBuf,
    /// The name of its description, which is one of the files.
    pub(crate) description: FileName,
    pub(crate) files: BTreeMap<FileName, SourceFile>,
}

pub(crate) struct SourceFile {
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Source {
    /// Reads all files of the folder once.
    ///
    /// # Errors
    /// [`Error::NotABackup`] if there is something else than regular files with
    /// plain names, or no description; [`Error::Local`].
    pub(crate) async fn read(folder: &Path) -> Result<Self, Error> {
        let folder = folder.to_owned();
        blocking(move || Self::read_now(folder)).await
    }

    fn read_now(folder: PathBuf) -> Result<Self, Error> {
        let not = |problem: String| Error::NotABackup {
            path: folder.clone(),
            problem,
        };
        let listed = |error| Error::local("list", &folder)(error);
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(listed)? {
            let entry = entry.map_err(listed)?;
            let written = entry.file_name();
            let name = written.to_str().and_then(FileName::new);
            let name = name
                .filter(|name| name.as_str() != SUMS)
                .ok_or_else(|| not(format!("{} is no name of a file of one", written.display())))?;
            let path = entry.path();
            let file = open(&path).map_err(Error::local("open", &path))?;
            let metadata = file.metadata().map_err(Error::local("look at", &path))?;
            if !metadata.is_file() {
                return Err(not(format!("{name} is not a regular file")));
            }
            let (size, sha256) = sum(file).map_err(Error::local("read", &path))?;
            files.insert(name, SourceFile { size, sha256 });
        }
        let mut names = files.keys();
        let description = names.find(|name| name.as_str() == Backup::DESCRIPTION);
        let missing = || not(format!("it has no {}", Backup::DESCRIPTION));
        let description = description.cloned().ok_or_else(missing)?;
        Ok(Self {
            folder,
            description,
            files,
        })
    }

    pub(crate) fn sums(&self) -> Sums {
        let sum = |(name, file): (&FileName, &SourceFile)| (name.clone(), file.sha256.clone());
        Sums(self.files.iter().map(sum).collect())
    }

    pub(crate) fn path(&self, name: &FileName) -> PathBuf {
        self.folder.join(name.as_str())
    }
}

/// Opens a file for reading; a symbolic link is refused, and a pipe does not
/// block.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
}

fn sum(mut file: File) -> io::Result<(u64, String)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1024 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((size, hasher.finish()));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

/// Runs work that blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being shut down cancels blocking work; its
            // tasks are not polled again.
            Err(_) => std::future::pending().await,
        },
    }
}
