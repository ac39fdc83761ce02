//! What is on the disk, read again only when it changed.
//!
//! The key of an entry is what `lstat` says (device, inode, size, both times):
//! a pass with nothing to do costs one `lstat` per file and reads no content.
//! A content that changes twice within the clock's granularity could keep its
//! key, so an entry is only reused once its file has been still for a moment.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cb_core::mark::Owner;
use cb_core::observed::PathState;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::FileError;

/// The largest file that is read. Managed files are a few KB; a tenant's file
/// in a wrong place must not fill the operator's memory.
pub const MAX_READ: u64 = 1 << 20;

/// A file is trusted to be still after this many nanoseconds: coarse kernel
/// clocks tick every 1 to 10 ms.
const SETTLED_NANOS: i128 = 50_000_000;

/// A file that carries an owner's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFile {
    /// Its name in the folder.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
}

type Listed = (Stamp, Arc<Vec<OwnedFile>>);

/// Caches of files and folders.
#[derive(Debug, Default)]
pub struct FileCache {
    files: Mutex<HashMap<PathBuf, (Stamp, PathState)>>,
    folders: Mutex<HashMap<PathBuf, Listed>>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    size: i64,
    mtime: i128,
    ctime: i128,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanos: i128| i128::from(seconds) * 1_000_000_000 + nanos;
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size,
            mtime: time(stat.st_mtime, stat.st_mtime_nsec.into()),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec.into()),
        }
    }

    /// Whether a change from now on would give another key.
    pub(crate) fn is_settled(&self) -> bool {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |d| d.as_nanos());
        i128::try_from(now).unwrap_or(0) - self.ctime > SETTLED_NANOS
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each entry is whole at any time, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileCache {
    /// What is at a path; `None` if nothing is. What cannot be read is
    /// [`PathState::Other`] with the reason.
    #[must_use]
    pub fn state(&self, path: &Path) -> Option<PathState> {
        let stat = match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                lock(&self.files).remove(path);
                return None;
            }
            Err(error) => return Some(PathState::Other(format!("unreadable ({error})"))),
        };
        let mode = stat.st_mode & 0o7777;
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(self.file(path, &stat)),
            FileType::Directory => Some(PathState::Folder { mode, uid, gid }),
            FileType::Symlink => Some(match std::fs::read_link(path) {
                Ok(target) => PathState::Link(target),
                Err(error) => PathState::Other(format!("unreadable ({error})")),
            }),
            kind => Some(PathState::Other(in_words(kind).to_owned())),
        }
    }

    fn file(&self, path: &Path, stat: &Stat) -> PathState {
        let key = Stamp::of(stat);
        if let Some((cached, state)) = lock(&self.files).get(path)
            && *cached == key
        {
            return state.clone();
        }
        let (read, state) = match read(path) {
            Ok((stat, Some(content))) => (
                Stamp::of(&stat),
                PathState::File {
                    digest: cb_core::digest::of_content(&content),
                    owner: Owner::of(&content),
                    mode: stat.st_mode & 0o7777,
                    uid: stat.st_uid,
                    gid: stat.st_gid,
                },
            ),
            Ok((stat, None)) => {
                let megabytes = stat.st_size / 1_000_000;
                let state = PathState::Other(format!("a file of {megabytes} MB"));
                (Stamp::of(&stat), state)
            }
            Err(error) => return PathState::Other(format!("unreadable ({error})")),
        };
        if read.is_settled() {
            lock(&self.files).insert(path.to_owned(), (read, state.clone()));
        }
        state
    }

    /// The content of a file that is not larger than [`MAX_READ`], uncached.
    ///
    /// # Errors
    /// It is not a regular file, too large, or cannot be read.
    pub fn content(path: &Path) -> Result<Vec<u8>, FileError> {
        match read(path) {
            Ok((_, Some(content))) => Ok(content),
            Ok((stat, None)) => Err(FileError::InTheWay {
                path: path.to_owned(),
                found: format!("a file of {} bytes", stat.st_size),
            }),
            Err(error) => Err(FileError::io("read", path, error)),
        }
    }

    /// The files of a folder that carry a mark and whose names end so. Read
    /// from the folder again only when an entry was added, removed or replaced;
    /// the operator and careful people replace files, and a file changed in
    /// place keeps the owner it had until then.
    ///
    /// # Errors
    /// The folder cannot be read. A folder that does not exist has no files.
    pub fn owned(&self, folder: &Path, suffix: &str) -> Result<Arc<Vec<OwnedFile>>, FileError> {
        let failed = |e: std::io::Error| FileError::io("read the folder", folder, e);
        let key = match rustix::fs::stat(folder) {
            Ok(stat) => Stamp::of(&stat),
            Err(rustix::io::Errno::NOENT) => return Ok(Arc::default()),
            Err(error) => return Err(failed(error.into())),
        };
        if let Some((cached, files)) = lock(&self.folders).get(folder)
            && *cached == key
        {
            return Ok(Arc::clone(files));
        }
        let mut names: Vec<OsString> = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        let mut files = Vec::new();
        for name in names.iter().filter_map(|name| name.to_str()) {
            if !name.ends_with(suffix) || name.starts_with('.') {
                continue;
            }
            if let Some(PathState::File {
                owner: Some(owner), ..
            }) = self.state(&folder.join(name))
            {
                let name = name.to_owned();
                files.push(OwnedFile { name, owner });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let files = Arc::new(files);
        // The key is from before the listing: a change since gives another.
        if key.is_settled() {
            lock(&self.folders).insert(folder.to_owned(), (key, Arc::clone(&files)));
        }
        Ok(files)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        lock(&self.files).clear();
        lock(&self.folders).clear();
    }
}

/// The file as it was opened and its content, if that is not too large.
/// `O_NONBLOCK` because a FIFO may have taken the file's place.
fn read(path: &Path) -> std::io::Result<(Stat, Option<Vec<u8>>)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > MAX_READ {
        return Ok((stat, None));
    }
    let mut content = Vec::new();
    File::from(fd)
        .take(MAX_READ + 1)
        .read_to_end(&mut content)?;
    let whole = content.len() as u64 <= MAX_READ;
    Ok((stat, whole.then_some(content)))
}

/// A kind of file in words.
pub(super) fn in_words(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(state: Option<PathState>) -> String {
        match state {
            Some(PathState::File { digest, .. }) => digest,
            other => panic!("not a file: {other:?}"),
        }
    }

    /// Law 1: what is seen is what is there, also right after a change of the
    /// same size.
    #[test]
    fn a_change_is_seen_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let cache = FileCache::default();
        for n in 0..50 {
            let content = format!("{n:04}");
            std::fs::write(&path, &content).unwrap();
            let expected = cb_core::digest::of_content(content.as_bytes());
            assert_eq!(digest(cache.state(&path)), expected, "{n}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(cache.state(&path), None);
    }

    #[test]
    fn a_file_that_is_still_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "x").unwrap();
        let cache = FileCache::default();
        while !Stamp::of(&rustix::fs::lstat(&path).unwrap()).is_settled() {
            std::thread::yield_now();
        }
        let seen = cache.state(&path);
        assert!(lock(&cache.files).contains_key(&path));
        assert_eq!(cache.state(&path), seen);
    }

    #[test]
    fn what_is_no_file_is_said_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FileCache::default();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(3_000_000).unwrap();
        let other = |text: &str| Some(PathState::Other(text.to_owned()));
        assert_eq!(
            cache.state(&link),
            Some(PathState::Link("/etc/passwd".into()))
        );
        assert_eq!(cache.state(&fifo), other("a FIFO"));
        assert_eq!(cache.state(&large), other("a file of 3 MB"));
        assert!(FileCache::content(&link).is_err());
        assert!(FileCache::content(&fifo).is_err());
    }

    /// Law 3: only the mark makes a file ours.
    #[test]
    fn owned_files_of_a_folder_are_those_with_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FileCache::default();
        let mark = Owner::Tenant("ky04".to_owned());
        std::fs::write(folder.path().join("a.service"), mark.header()).unwrap();
        std::fs::write(folder.path().join("b.service"), "[Service]\n").unwrap();
        std::fs::write(folder.path().join("c.conf"), mark.header()).unwrap();
        let owned = cache.owned(folder.path(), ".service").unwrap();
        assert_eq!(owned.len(), 1);
        assert_eq!(
            (owned[0].name.as_str(), &owned[0].owner),
            ("a.service", &mark)
        );
        std::fs::remove_file(folder.path().join("a.service")).unwrap();
        assert!(cache.owned(folder.path(), ".service").unwrap().is_empty());
        let missing = folder.path().join("missing");
        assert!(cache.owned(&missing, ".service").unwrap().is_empty());
    }
}
