//! Reads the folder once, completely or with the reason why not.
//!
//! A reading is: look at everything and read what is new, look at everything
//! again, and start over if the two looks differ. A file that is renamed over
//! can be missing from one look at its folder; it is not missing from two that
//! agree.
//!
//! Names are resolved one step at a time from an open folder and links are
//! never followed, so that nothing outside is read, whatever is swapped
//! meanwhile. Blocking; the driver calls it on a thread for that.

use super::{FileProblem, FileRead, Filter, ScanProblem};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, stat, statat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the folder, or one file, is looked at before it counts as
/// changing.
const ATTEMPTS: usize = 4;
const MAX_DEPTH: usize = 32;
/// A file that changed less than this before it was read may have changed
/// again within the same tick of the file system's clock, which its times
/// would not show; it is read again next time. Two seconds is the coarsest
/// clock there is.
const SETTLE: Duration = Duration::from_secs(2);

/// Which inode a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    dev: u64,
    ino: u64,
}

/// One reading.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) files: BTreeMap<PathBuf, FileRead>,
    pub(super) problem: Option<ScanProblem>,
    /// The folders that were read, by relative path; the root's is empty.
    pub(super) folders: BTreeMap<PathBuf, Id>,
    /// Something changed to the end; to be read again soon.
    pub(super) unsteady: bool,
}

/// Reads the folder, and remembers the content of files that do not change.
pub(super) struct Reader {
    root: PathBuf,
    filter: Arc<dyn Filter>,
    max_file_size: u64,
    settle: Duration,
    cache: HashMap<PathBuf, Cached>,
    /// How many files were read so far.
    pub(super) reads: u64,
}

struct Cached {
    stamp: Stamp,
    settled: bool,
    read: FileRead,
}

/// What changes when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    id: Id,
    mode: u32,
    size: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

/// One look at everything.
#[derive(Debug, Default, PartialEq)]
struct Look {
    folders: BTreeMap<PathBuf, Id>,
    files: BTreeMap<PathBuf, Stamp>,
    problem: Option<ScanProblem>,
}

impl Reader {
    pub(super) fn new(root: PathBuf, filter: Arc<dyn Filter>, max_file_size: u64) -> Self {
        let cache = HashMap::new();
        Self {
            root,
            filter,
            max_file_size,
            settle: SETTLE,
            cache,
            reads: 0,
        }
    }

    /// Reads everything. `watch` is called with each folder before it is read.
    pub(super) fn read(&mut self, watch: &mut dyn FnMut(&Path, Id)) -> Reading {
        let mut steady_names = false;
        let mut reading = Reading::default();
        for _ in 0..ATTEMPTS {
            let mut files = BTreeMap::new();
            let mut cache = HashMap::new();
            let (root, filter) = (self.root.clone(), Arc::clone(&self.filter));
            let look = Walker {
                root: &root,
                filter: filter.as_ref(),
                on_folder: &mut |path, id| watch(path, id),
                on_file: &mut |folder, name, path, stamp| {
                    let cached = self.file(folder, name, path, stamp);
                    files.insert(path.to_owned(), cached.read.clone());
                    cache.insert(path.to_owned(), cached);
                },
                look: Look::default(),
            }
            .walk();
            let again = Walker {
                root: &root,
                filter: filter.as_ref(),
                on_folder: &mut |_, _| {},
                on_file: &mut |_, _, _, _| {},
                look: Look::default(),
            }
            .walk();
            self.cache = cache;
            steady_names = look.same_names(&again);
            let unsteady = look != again || files.values().any(FileRead::is_changing);
            reading = Reading {
                files,
                problem: look.problem,
                folders: look.folders,
                unsteady,
            };
            if !unsteady {
                return reading;
            }
        }
        if !steady_names {
            reading.problem = Some(ScanProblem::Changing {
                path: self.root.clone(),
            });
        }
        reading
    }

    /// Whether a folder that was read is another one now, or none.
    pub(super) fn moved(&self, folders: &BTreeMap<PathBuf, Id>) -> bool {
        let root_now = stat(&self.root).ok().map(|stat| Stamp::new(&stat).id);
        root_now != folders.get(Path::new("")).copied()
            || folders
                .iter()
                .filter(|(path, _)| !path.as_os_str().is_empty())
                .any(|(path, id)| {
                    let now = statat(CWD, self.root.join(path), AtFlags::SYMLINK_NOFOLLOW);
                    now.ok().map(|stat| Stamp::new(&stat).id) != Some(*id)
                })
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &CStr, path: &Path, stamp: Stamp) -> Cached {
        if let Some(cached) = self.cache.get(path)
            && cached.settled
            && cached.stamp == stamp
        {
            return Cached {
                stamp,
                settled: true,
                read: cached.read.clone(),
            };
        }
        self.reads += 1;
        for _ in 0..ATTEMPTS {
            let begun = SystemTime::now();
            match read_file(folder, name, self.max_file_size) {
                Ok(Some((stamp, read))) => {
                    let settled = stamp.changed_at() + self.settle <= begun;
                    return Cached {
                        stamp,
                        settled,
                        read,
                    };
                }
                Ok(None) => {}
                Err(problem) => {
                    return Cached {
                        stamp,
                        settled: false,
                        read: FileRead::Failed(problem),
                    };
                }
            }
        }
        Cached {
            stamp,
            settled: false,
            read: FileRead::Failed(FileProblem::Changing),
        }
    }
}

/// Reads one file; nothing if it changed meanwhile.
fn read_file(
    folder: BorrowedFd<'_>,
    name: &CStr,
    limit: u64,
) -> Result<Option<(Stamp, FileRead)>, FileProblem> {
    let before = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    // Only what is a regular file is opened, and the open neither follows a
    // link nor waits for a pipe if it was swapped in between.
    if let Some(kind) = irregular(&before) {
        return Err(FileProblem::NotRegular { kind });
    }
    let before = Stamp::new(&before);
    if before.size > limit {
        return Ok(Some((before, FileRead::TooLarge { size: before.size })));
    }
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if fstat(&file).map(|stat| Stamp::new(&stat)) != Ok(before) {
        return Ok(None);
    }
    let mut content = Vec::with_capacity(usize::try_from(before.size).unwrap_or(0));
    (&file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| FileProblem::Unreadable {
            message: error.to_string(),
        })?;
    let after = fstat(&file)
        .map(|stat| Stamp::new(&stat))
        .map_err(unreadable)?;
    if after != before || content.len() as u64 != before.size {
        return Ok(None);
    }
    Ok(Some((after, FileRead::Content(content.into()))))
}

type OnFolder<'a> = dyn FnMut(&Path, Id) + 'a;
type OnFile<'a> = dyn FnMut(BorrowedFd<'_>, &CStr, &Path, Stamp) + 'a;

/// Looks at everything once, and calls back for each folder and file.
struct Walker<'a> {
    root: &'a Path,
    filter: &'a dyn Filter,
    on_folder: &'a mut OnFolder<'a>,
    on_file: &'a mut OnFile<'a>,
    look: Look,
}

impl Walker<'_> {
    fn walk(mut self) -> Look {
        // The root may be a link: deployments switch folders that way.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = self.root.to_owned();
        match openat(CWD, self.root, flags, Mode::empty()) {
            Ok(folder) => self.folder(&folder, Path::new("")),
            Err(Errno::NOENT) => self.look.problem(ScanProblem::Missing { path }),
            Err(Errno::NOTDIR) => self.look.problem(ScanProblem::NotAFolder { path }),
            Err(error) => self.look.unreadable(path, error),
        }
        self.look
    }

    fn folder(&mut self, folder: &OwnedFd, path: &Path) {
        let listed = fstat(folder).and_then(|stat| {
            let id = Stamp::new(&stat).id;
            self.look.folders.insert(path.to_owned(), id);
            // Watched first: what happens from here on is told.
            (self.on_folder)(path, id);
            names(folder)
        });
        match listed {
            Ok(names) => {
                for name in names {
                    self.entry(folder, path, &name);
                }
            }
            Err(error) => self.look.unreadable(self.root.join(path), error),
        }
    }

    fn entry(&mut self, folder: &OwnedFd, path: &Path, name: &CStr) {
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        let (as_file, as_folder) = (self.filter.file(&path), self.filter.folder(&path));
        if !as_file && !as_folder {
            return;
        }
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // If it was removed just now, the next look will not agree.
            Err(error) => return self.look.unreadable(self.root.join(&path), error),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if as_folder => self.sub_folder(folder, name, &path),
            FileType::Directory => {}
            _ if as_file => {
                let stamp = Stamp::new(&stat);
                self.look.files.insert(path.clone(), stamp);
                (self.on_file)(folder.as_fd(), name, &path, stamp);
            }
            FileType::Symlink if may_be_folder(folder, name) => {
                let path = self.root.join(&path);
                self.look.problem(ScanProblem::LinkedFolder { path });
            }
            _ => {}
        }
    }

    fn sub_folder(&mut self, parent: &OwnedFd, name: &CStr, path: &Path) {
        if path.components().count() > MAX_DEPTH {
            let path = self.root.join(path);
            return self.look.problem(ScanProblem::TooDeep {
                path,
                limit: MAX_DEPTH,
            });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(parent, name, flags, Mode::empty()) {
            Ok(folder) => self.folder(&folder, path),
            Err(error) => self.look.unreadable(self.root.join(path), error),
        }
    }
}

/// The names in a folder, sorted.
fn names(folder: &OwnedFd) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a link could stand for a folder: it leads to one, or nowhere now.
fn may_be_folder(folder: &OwnedFd, name: &CStr) -> bool {
    statat(folder, name, AtFlags::empty()).map_or(true, |stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory
    })
}

fn irregular(stat: &Stat) -> Option<&'static str> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return None,
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Directory => "a folder",
        _ => "something unknown",
    })
}

fn unreadable(error: Errno) -> FileProblem {
    FileProblem::Unreadable {
        message: message(error),
    }
}

fn message(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}

impl Look {
    fn problem(&mut self, problem: ScanProblem) {
        self.problem.get_or_insert(problem);
    }

    fn unreadable(&mut self, path: PathBuf, error: Errno) {
        self.problem(ScanProblem::Unreadable {
            path,
            message: message(error),
        });
    }

    /// Whether the same files were there, whatever was written into them.
    fn same_names(&self, other: &Self) -> bool {
        self.folders == other.folders
            && self.problem == other.problem
            && self.files.len() == other.files.len()
            && self
                .files
                .iter()
                .zip(&other.files)
                .all(|(one, two)| one.0 == two.0 && one.1.id == two.1.id)
    }
}

impl Stamp {
    fn new(stat: &Stat) -> Self {
        Self {
            id: Id {
                dev: stat.st_dev,
                ino: stat.st_ino,
            },
            mode: stat.st_mode,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    fn changed_at(&self) -> SystemTime {
        UNIX_EPOCH
            + Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(0))
            + Duration::from_nanos(self.changed.1)
    }
}

impl FileRead {
    fn is_changing(&self) -> bool {
        matches!(self, Self::Failed(FileProblem::Changing))
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
