//! A release being made, and the copy of a folder.
//!
//! Whatever the source says, an entry becomes one of: a folder with mode 0555,
//! a file with mode 0444 or 0555, a symbolic link that stays inside. Owners are
//! root, special bits are refused, and what it was is noted beside it. All writes go to a folder that only root can
//! enter, whose links are made last, so no write can pass through one.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{
    MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown, symlink,
};
use std::path::{Component, Path, PathBuf};

use cb_core::observed::User;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::sums::{SUMS, Sums};
use super::{Limits, MANIFEST, ReleaseError};
use crate::files::{self, FileError, FileSpec};

/// The mode of every folder.
pub(super) const FOLDER: u32 = 0o555;
/// The mode of every file that is no program.
pub(super) const FILE: u32 = 0o444;
/// The mode of every program.
const PROGRAM: u32 = 0o555;

/// What the name of a release that is being made starts with.
pub(super) const TEMPORARY: &str = ".cb-tmp-";

/// A name in a folder of releases for what is no release (any more).
pub(super) fn temporary(folder: &Path) -> PathBuf {
    let nanos = jiff::Timestamp::now().as_nanosecond();
    folder.join(format!("{TEMPORARY}{}-{nanos:x}", std::process::id()))
}

/// A release being made. Dropped unfinished, it is removed.
pub(super) struct Builder {
    root: PathBuf,
    limits: Limits,
    bytes: u64,
    entries: u64,
    links: Vec<(PathBuf, PathBuf)>,
    /// The checksums of the files, by their paths in the release.
    sums: HashMap<PathBuf, String>,
    finished: bool,
}

impl Builder {
    pub(super) fn begin(parent: &Path, limits: Limits) -> Result<Self, ReleaseError> {
        let root = temporary(parent);
        files::ensure_dir(&root, FileSpec::own(0o700))?;
        Ok(Self {
            root,
            limits,
            bytes: 0,
            entries: 0,
            links: Vec::new(),
            sums: HashMap::new(),
            finished: false,
        })
    }

    /// Where it is being made.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Counts an entry and checks its place; the path is inside the release.
    fn admit(&mut self, source: &Path, entry: &Path) -> Result<PathBuf, ReleaseError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ReleaseError::TooLarge {
                path: source.to_owned(),
                limit: format!("{} entries", self.limits.entries),
            });
        }
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !entry.components().all(plain) {
            return Err(hostile(source, entry, "leads out of the release"));
        }
        if entry.to_str().is_none() {
            return Err(hostile(source, entry, "has a name that is not UTF-8"));
        }
        if [MANIFEST, SUMS].map(Path::new).contains(&entry) {
            return Err(hostile(source, entry, "is a name that the operator uses"));
        }
        Ok(self.root.join(entry))
    }

    /// Refuses bits that give a program another user's rights.
    pub(super) fn check_mode(source: &Path, entry: &Path, mode: u32) -> Result<(), ReleaseError> {
        match mode & 0o6000 {
            0 => Ok(()),
            _ => Err(hostile(source, entry, "has the setuid or setgid bit")),
        }
    }

    pub(super) fn folder(&mut self, source: &Path, entry: &Path) -> Result<(), ReleaseError> {
        let path = self.admit(source, entry)?;
        fs::create_dir_all(&path).map_err(|e| FileError::io("make the folder", &path, e))?;
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        source: &Path,
        entry: &Path,
        mode: u32,
        content: &mut dyn Read,
    ) -> Result<(), ReleaseError> {
        let path = self.admit(source, entry)?;
        let failed = |e: io::Error| FileError::io("write", &path, e);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => hostile(source, entry, "is there twice"),
                _ => failed(error).into(),
            })?;
        let mut buffer = vec![0; 256 << 10];
        let mut hasher = Sha256::new();
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(source, error)),
            };
            self.bytes += count as u64;
            if self.bytes > self.limits.bytes {
                return Err(ReleaseError::TooLarge {
                    path: source.to_owned(),
                    limit: format!("{} bytes", self.limits.bytes),
                });
            }
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        let mode = if mode & 0o111 == 0 { FILE } else { PROGRAM };
        let permissions = fs::Permissions::from_mode(mode);
        file.set_permissions(permissions).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        self.sums
            .insert(entry.to_owned(), HEXLOWER.encode(&hasher.finalize()));
        Ok(())
    }

    /// Notes a link, to be made at the end.
    pub(super) fn link(
        &mut self,
        source: &Path,
        entry: &Path,
        target: &Path,
    ) -> Result<(), ReleaseError> {
        let path = self.admit(source, entry)?;
        let folder = entry.parent().unwrap_or(Path::new(""));
        if !stays_inside(folder, target) {
            let problem = format!(
                "is a link to `{}`, which leads out of the release",
                cb_core::types::shown(&target.to_string_lossy())
            );
            return Err(hostile(source, entry, &problem));
        }
        self.links.push((path, target.to_owned()));
        Ok(())
    }

    fn make_links(&mut self) -> Result<(), ReleaseError> {
        for (path, target) in std::mem::take(&mut self.links) {
            let failed = |e: io::Error| FileError::io("link", &path, e);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            symlink(&target, &path).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the links and gives everything to a user, to change it.
    pub(super) fn hand_over(&mut self, user: User) -> Result<(), ReleaseError> {
        self.make_links()?;
        hand_over(&self.root, user).map_err(|e| FileError::io("hand over", &self.root, e))?;
        Ok(())
    }

    /// Makes the links, notes what everything is, closes and syncs it, and
    /// moves it in place, in the place of what was there.
    pub(super) fn finish(mut self, manifest: &[u8], place: &Path) -> Result<(), ReleaseError> {
        self.make_links()?;
        files::write(&self.root.join(MANIFEST), manifest, FileSpec::own(FILE))?;
        let failed = |e: io::Error| FileError::io("sync", &self.root, e);
        close(&self.root).map_err(failed)?;
        let sums = Sums::of(&self.root, &self.sums).and_then(|sums| sums.to_json());
        let sums = sums.map_err(failed)?;
        files::write(&self.root.join(SUMS), &sums, FileSpec::own(FILE))?;
        let aside = temporary(place.parent().unwrap_or(Path::new("/")));
        let replaces = files::move_dir(place, &aside)?;
        let moved = files::move_dir(&self.root, place);
        if replaces {
            match &moved {
                Ok(_) => {
                    mark_placed(place);
                    remove_all(&aside);
                }
                Err(_) => drop(files::move_dir(&aside, place)?),
            }
        }
        self.finished = moved?;
        Ok(())
    }
}

/// Has the time of [`SUMS`] be now: until now, what was started was started
/// from what this release replaces.
fn mark_placed(place: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let now = Timestamps {
        last_access: now,
        last_modification: now,
    };
    // Otherwise it is the time when it was made, a moment ago.
    if let Err(error) = utimensat(CWD, place.join(SUMS), &now, AtFlags::SYMLINK_NOFOLLOW) {
        tracing::debug!(%error, "the time of a release is not set");
    }
}

/// Takes a release as it is that lies in its place already: what runs from it
/// goes on.
pub(super) fn take(place: &Path, manifest: &[u8]) -> Result<(), ReleaseError> {
    let failed = |e: io::Error| FileError::io("take over", place, e);
    close(place).map_err(failed)?;
    files::write(&place.join(MANIFEST), manifest, FileSpec::own(FILE))?;
    let sums = Sums::of(place, &HashMap::new()).and_then(|sums| sums.to_json());
    let sums = sums.map_err(failed)?;
    files::write(&place.join(SUMS), &sums, FileSpec::own(FILE))?;
    Ok(())
}

impl Drop for Builder {
    fn drop(&mut self) {
        if !self.finished {
            remove_all(&self.root);
        }
    }
}

/// Lexically: a link never passes through another one on its way, because
/// `..` after a link could lead anywhere; what it names is inside the release.
fn stays_inside(folder: &Path, target: &Path) -> bool {
    let mut depth = folder.components().count();
    let mut below = false;
    for part in target.components() {
        match part {
            Component::Normal(_) => {
                below = true;
                depth += 1;
            }
            Component::CurDir => {}
            // Only leading `..`: their way is through real folders.
            Component::ParentDir if !below && depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

/// Copies a folder.
pub(super) fn copy(source: &Path, builder: &mut Builder) -> Result<(), ReleaseError> {
    let meta = source.metadata().map_err(|e| unreadable(source, e))?;
    if !meta.is_dir() {
        return Err(unreadable(source, io::ErrorKind::NotADirectory.into()));
    }
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(source.join(&folder)).map_err(|e| unreadable(source, e))?;
        for entry in entries {
            let name = entry.map_err(|e| unreadable(source, e))?.file_name();
            let inside = folder.join(name);
            // A release that was installed elsewhere can be a source.
            let ours = [MANIFEST, SUMS].map(Path::new).contains(&inside.as_path());
            if !ours && copy_entry(source, &inside, builder)? {
                folders.push(inside);
            }
        }
    }
    Ok(())
}

/// Returns whether the entry is a folder.
fn copy_entry(source: &Path, inside: &Path, builder: &mut Builder) -> Result<bool, ReleaseError> {
    let path = source.join(inside);
    let failed = |error: io::Error| unreadable(&path, error);
    let meta = path.symlink_metadata().map_err(failed)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        builder.folder(source, inside)?;
    } else if kind.is_file() {
        Builder::check_mode(source, inside, meta.mode())?;
        let mut file = open_plain(&path).map_err(failed)?;
        builder.file(source, inside, meta.mode(), &mut file)?;
    } else if kind.is_symlink() {
        let target = fs::read_link(&path).map_err(failed)?;
        builder.link(source, inside, &target)?;
    } else {
        return Err(hostile(source, inside, "is no file, folder or link"));
    }
    Ok(kind.is_dir())
}

/// Opens a regular file and nothing else, following no link.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(nofollow.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Gives a tree to a user, with the right to write. Nobody else can be in it.
fn hand_over(path: &Path, user: User) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), user)?;
        }
    }
    if !meta.is_symlink() {
        let mode = meta.mode() & 0o777 | 0o200;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    lchown(path, Some(user.uid), Some(user.gid))
}

/// Takes the right to write from every folder, and syncs it.
fn close(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            close(&entry.path())?;
        }
    }
    let handle = File::open(folder)?;
    handle.set_permissions(fs::Permissions::from_mode(FOLDER))?;
    handle.sync_all()
}

/// Removes a folder whose rights may have been taken already; root may anyway.
pub(super) fn remove_all(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot remove an unfinished release");
    }
}

pub(super) fn hostile(source: &Path, entry: &Path, problem: &str) -> ReleaseError {
    ReleaseError::Hostile {
        path: source.to_owned(),
        entry: cb_core::types::shown(&entry.to_string_lossy()),
        problem: problem.to_owned(),
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> ReleaseError {
    ReleaseError::Source {
        path: path.to_owned(),
        source,
    }
}
