//! What a release was when it was installed, to tell what differs now.
//!
//! `.cb-release.sums` in a release has the mode and checksum of every entry,
//! and for files what the file system said of them then. The time of a file's
//! last change in the inode cannot be set by any program, so a file for which
//! the file system says the same has the same content, and only others are
//! read. A file that was touched and is found unchanged is remembered, so it
//! is read once.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tree::open_plain;

/// The file in a release that says what belongs in it.
pub const SUMS: &str = ".cb-release.sums";

/// Something in a release that is not as it was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The entry, relative to the release; empty for the release itself.
    pub path: PathBuf,
    /// How it differs.
    pub change: Change,
}

/// How an entry of a release differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added,
    /// It is gone.
    Removed,
    /// It has another content, target or kind.
    Content,
    /// It has another mode.
    Mode {
        /// As installed.
        expected: u32,
        /// Now.
        found: u32,
    },
    /// It belongs to another user or group.
    Owner {
        /// The user id now.
        uid: u32,
        /// The group id now.
        gid: u32,
    },
    /// It cannot be looked at, so nothing is known of it.
    Unreadable(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_os_str().is_empty() {
            true => f.write_str("the release ")?,
            false => {
                let name = self.path.to_string_lossy();
                write!(f, "`{}` ", cb_core::types::shown(&name))?;
            }
        }
        match &self.change {
            Change::Added => f.write_str("was added"),
            Change::Removed => f.write_str("is gone"),
            Change::Content => f.write_str("has another content"),
            Change::Mode { expected, found } => {
                write!(f, "has mode {found:o} instead of {expected:o}")
            }
            Change::Owner { uid, gid } => write!(f, "belongs to {uid}:{gid} instead of root"),
            Change::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
        }
    }
}

/// What the file system says of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// In seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            bytes: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Entry {
    Folder {
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
    File {
        mode: u32,
        sha256: String,
        stamp: Stamp,
    },
}

/// All entries of a release by their paths in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Sums {
    /// Of a release that is complete but for this. `known` has the checksums
    /// of files that were just written.
    pub(super) fn of(root: &Path, known: &HashMap<PathBuf, String>) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for inside in names(root, &folder)? {
                let path = root.join(&inside);
                let meta = path.symlink_metadata()?;
                let mode = meta.mode() & 0o7777;
                let entry = if meta.is_dir() {
                    folders.push(inside.clone());
                    Entry::Folder { mode }
                } else if meta.is_symlink() {
                    let target = fs::read_link(&path)?;
                    Entry::Link { target }
                } else {
                    let sha256 = match known.get(&inside) {
                        Some(sum) => sum.clone(),
                        None => digest(&path)?,
                    };
                    let stamp = Stamp::of(&meta);
                    Entry::File {
                        mode,
                        sha256,
                        stamp,
                    }
                };
                entries.insert(inside, entry);
            }
        }
        Ok(Self { entries })
    }

    pub(super) fn to_json(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::from)
    }

    fn read(release: &Path) -> io::Result<Self> {
        let file = open_plain(&release.join(SUMS))?;
        serde_json::from_reader(io::BufReader::new(file)).map_err(io::Error::from)
    }
}

/// Files that were touched and read, and found unchanged.
#[derive(Debug, Default)]
pub(super) struct Verified {
    known: Mutex<HashMap<PathBuf, Stamp>>,
    /// How many files were read to tell what differs.
    #[cfg(test)]
    read: std::sync::atomic::AtomicUsize,
}

impl Verified {
    /// What differs from the installation, in the order of paths.
    pub(super) fn differences(&self, release: &Path) -> Vec<Difference> {
        let whole = |change| {
            let path = PathBuf::new();
            vec![Difference { path, change }]
        };
        let meta = match release.symlink_metadata() {
            Ok(meta) if meta.is_dir() => meta,
            Ok(_) => return whole(Change::Content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return whole(Change::Removed);
            }
            Err(error) => return whole(Change::Unreadable(error.to_string())),
        };
        let sums = match Sums::read(release) {
            Ok(sums) => sums,
            Err(error) => {
                let change = match error.kind() {
                    io::ErrorKind::NotFound => Change::Removed,
                    _ => Change::Unreadable(error.to_string()),
                };
                let path = PathBuf::from(SUMS);
                return vec![Difference { path, change }];
            }
        };
        let mut look = Look {
            release,
            verified: self,
            found: Vec::new(),
        };
        look.rights(Path::new(""), &meta, super::tree::FOLDER);
        look.below(&sums);
        look.found.sort_by(|a, b| a.path.cmp(&b.path));
        look.found
    }

    fn is_verified(&self, path: &Path, stamp: &Stamp) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path) == Some(stamp)
    }

    fn verified(&self, path: PathBuf, stamp: Stamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path, stamp);
    }

    fn digest(&self, path: &Path) -> io::Result<String> {
        #[cfg(test)]
        self.read.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        digest(path)
    }

    #[cfg(test)]
    pub(super) fn read(&self) -> usize {
        self.read.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A release is gone.
    pub(super) fn forget(&self, release: &Path) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|path, _| !path.starts_with(release));
    }
}

struct Look<'a> {
    release: &'a Path,
    verified: &'a Verified,
    found: Vec<Difference>,
}

impl Look<'_> {
    fn say(&mut self, path: &Path, change: Change) {
        let path = path.to_owned();
        self.found.push(Difference { path, change });
    }

    fn below(&mut self, sums: &Sums) {
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let inside = match names(self.release, &folder) {
                Ok(inside) => inside,
                Err(error) => {
                    self.say(&folder, Change::Unreadable(error.to_string()));
                    continue;
                }
            };
            for path in inside {
                match sums.entries.get(&path) {
                    Some(entry) => {
                        if self.entry(&path, entry) {
                            folders.push(path.clone());
                        }
                        seen.push(path);
                    }
                    None if path == Path::new(SUMS) => self.sums(&path),
                    None => self.say(&path, Change::Added),
                }
            }
        }
        seen.sort();
        let is_seen = |path: &Path| {
            path.as_os_str().is_empty() || seen.binary_search_by(|s| s.as_path().cmp(path)).is_ok()
        };
        for path in sums.entries.keys().filter(|path| !is_seen(path)) {
            // Of a folder that is gone, one word is enough.
            let parent = path.parent().unwrap_or(Path::new(""));
            let parent_was_looked_into = is_seen(parent)
                && self
                    .release
                    .join(parent)
                    .symlink_metadata()
                    .is_ok_and(|meta| meta.is_dir());
            if parent_was_looked_into {
                self.say(path, Change::Removed);
            }
        }
    }

    fn sums(&mut self, path: &Path) {
        match self.release.join(path).symlink_metadata() {
            Ok(meta) => self.rights(path, &meta, super::tree::FILE),
            Err(error) => self.say(path, Change::Unreadable(error.to_string())),
        }
    }

    /// Returns whether it is a folder to look into.
    fn entry(&mut self, inside: &Path, entry: &Entry) -> bool {
        let path = self.release.join(inside);
        let meta = match path.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) => {
                self.say(inside, Change::Unreadable(error.to_string()));
                return false;
            }
        };
        match entry {
            Entry::Folder { mode } if meta.is_dir() => {
                self.rights(inside, &meta, *mode);
                return true;
            }
            Entry::Link { target } if meta.is_symlink() => {
                match fs::read_link(&path) {
                    Ok(found) if found == *target => {}
                    Ok(_) => self.say(inside, Change::Content),
                    Err(error) => self.say(inside, Change::Unreadable(error.to_string())),
                }
                self.owner(inside, &meta);
            }
            Entry::File {
                mode,
                sha256,
                stamp,
            } if meta.is_file() => {
                self.rights(inside, &meta, *mode);
                let now = Stamp::of(&meta);
                if now != *stamp && !self.verified.is_verified(&path, &now) {
                    match self.verified.digest(&path) {
                        Ok(found) if found == *sha256 => self.verified.verified(path, now),
                        Ok(_) => self.say(inside, Change::Content),
                        Err(error) => self.say(inside, Change::Unreadable(error.to_string())),
                    }
                }
            }
            _ => self.say(inside, Change::Content),
        }
        false
    }

    fn rights(&mut self, inside: &Path, meta: &Metadata, expected: u32) {
        let found = meta.mode() & 0o7777;
        if found != expected {
            self.say(inside, Change::Mode { expected, found });
        }
        self.owner(inside, meta);
    }

    fn owner(&mut self, inside: &Path, meta: &Metadata) {
        let (uid, gid) = (meta.uid(), meta.gid());
        let own = rustix::process::geteuid().as_raw() == uid
            && rustix::process::getegid().as_raw() == gid;
        if !own {
            self.say(inside, Change::Owner { uid, gid });
        }
    }
}

/// The entries of a folder of a release, by their paths in the release.
fn names(root: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root.join(folder))?;
    entries
        .map(|entry| Ok(folder.join(entry?.file_name())))
        .collect()
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut open_plain(path)?, &mut hasher)?;
    Ok(HEXLOWER.encode(&hasher.finalize()))
}
