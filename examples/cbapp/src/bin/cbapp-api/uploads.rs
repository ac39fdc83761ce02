//! The tenant's folder of uploads.
//!
//! Flat: every name is checked before it gets here or is checked here, so a
//! path never leaves the folder. A file appears whole or not at all: it is
//! written beside, under a name that no upload can have, synced and renamed.
//! All calls block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cbapp::messages::Upload;
use cbapp::names::{NameError, check_upload_name};

/// The largest upload, in bytes.
pub(crate) const MAX_UPLOAD: usize = 10 * 1024 * 1024;

/// Why an upload could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("there is no upload {0}")]
    NotFound(String),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
}

/// The folder. It is created by the first upload.
#[derive(Debug)]
pub(crate) struct Uploads {
    folder: PathBuf,
    counter: AtomicU64,
}

impl Uploads {
    /// The uploads in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Uploads {
        Uploads {
            folder,
            counter: AtomicU64::new(0),
        }
    }

    /// Stores `content` under `name`, replacing what was there.
    pub(crate) fn store(&self, name: &str, content: &[u8]) -> Result<Upload, UploadError> {
        check_upload_name(name)?;
        let target = self.folder.join(name);
        // Valid names start with a letter or digit, so a dot is out of the way.
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let part = self
            .folder
            .join(format!(".part-{}-{number}", std::process::id()));
        let written = self.write(&part, &target, content);
        if let Err(source) = written {
            // It may never have been created.
            let _ = fs::remove_file(&part);
            return Err(UploadError::Write {
                path: target,
                source,
            });
        }
        Ok(Upload {
            name: name.to_owned(),
            size: content.len() as u64,
        })
    }

    fn write(&self, part: &Path, target: &Path, content: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(part, target)?;
        File::open(&self.folder)?.sync_all()
    }

    /// All uploads, ordered by name.
    pub(crate) fn list(&self) -> Result<Vec<Upload>, UploadError> {
        let read = |source| UploadError::Read {
            path: self.folder.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(read)?,
        };
        let mut uploads = Vec::new();
        for entry in entries {
            let entry = entry.map_err(read)?;
            let metadata = entry.metadata().map_err(read)?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if metadata.is_file() && check_upload_name(&name).is_ok() {
                uploads.push(Upload {
                    name,
                    size: metadata.len(),
                });
            }
        }
        uploads.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(uploads)
    }

    /// The content of an upload.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, UploadError> {
        check_upload_name(name)?;
        let path = self.folder.join(name);
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        // A link or a pipe that someone left in the folder is no upload.
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(UploadError::NotFound(name.to_owned())),
            Err(error) if missing(&error) => return Err(UploadError::NotFound(name.to_owned())),
            Err(source) => return Err(UploadError::Read { path, source }),
        }
        let mut content = Vec::new();
        // Limited, as the file may have come here by other ways than `store`.
        File::open(&path)
            .and_then(|file| file.take(MAX_UPLOAD as u64).read_to_end(&mut content))
            .map_err(|source| UploadError::Read { path, source })?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_listed_and_read() {
        let parent = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(parent.path().join("uploads"));
        assert_eq!(uploads.list().unwrap(), []);
        uploads.store("b.csv", b"old").unwrap();
        uploads.store("b.csv", b"newer").unwrap();
        uploads.store("a.csv", b"").unwrap();
        let sizes: Vec<(String, u64)> = uploads
            .list()
            .unwrap()
            .into_iter()
            .map(|upload| (upload.name, upload.size))
            .collect();
        assert_eq!(sizes, [("a.csv".to_owned(), 0), ("b.csv".to_owned(), 5)]);
        assert_eq!(uploads.read("b.csv").unwrap(), b"newer");
        assert!(matches!(
            uploads.read("c.csv"),
            Err(UploadError::NotFound(_))
        ));
    }

    #[test]
    fn nothing_outside_the_folder_is_reached() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("uploads");
        fs::create_dir(&folder).unwrap();
        fs::write(parent.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        let uploads = Uploads::new(folder.clone());
        assert!(matches!(
            uploads.read("../secret"),
            Err(UploadError::Name(_))
        ));
        assert!(matches!(
            uploads.store("../x", b""),
            Err(UploadError::Name(_))
        ));
        assert!(matches!(
            uploads.read("link"),
            Err(UploadError::NotFound(_))
        ));
        assert_eq!(uploads.list().unwrap(), []);
        // Storing replaces the link itself and not what it points to.
        uploads.store("link", b"new").unwrap();
        assert_eq!(fs::read(parent.path().join("secret")).unwrap(), b"s");
        assert_eq!(uploads.read("link").unwrap(), b"new");
    }
}
