//! Going through all that is in a tenant's folder.
//!
//! The tenant may change it meanwhile in any way that its user can: so every
//! step is from an open folder to a name in it, no link is followed, nothing of
//! another file system is entered, and there is an end to it.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::{Errno, Result};

/// How many files and folders are counted, and how deep folders may be. No
/// application comes near; who does is to be stopped, not counted for hours.
const MOST: Bounds = Bounds {
    entries: 5_000_000,
    depth: 128,
};
/// What a file or folder counts at least: without, empty ones would be free
/// until there are no inodes left for anybody.
pub(super) const LEAST: u64 = 4096;

#[derive(Debug, Clone, Copy)]
struct Bounds {
    entries: u64,
    depth: usize,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Bytes on the disk; a file with several names counts once.
    pub bytes: u64,
    /// Whether all of it was counted.
    pub whole: bool,
}

/// Opens the folder that a walk begins at. `None` if there is none, or
/// something else is in its place.
pub(super) fn open(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is shown each folder and file, open.
pub(super) type Visit<'a> = dyn FnMut(BorrowedFd<'_>, FileType) -> Result<()> + 'a;

/// Counts a folder with all that is in it, and shows each folder and each
/// regular file to `visit`, open. A folder is shown before what is in it.
///
/// # Errors
/// The first of the system's or of `visit`; what vanishes meanwhile is none.
pub(super) fn walk<'a>(folder: &OwnedFd, visit: Option<&'a mut Visit<'a>>) -> Result<Counted> {
    bounded(folder, visit, MOST)
}

fn bounded<'a>(
    folder: &OwnedFd,
    visit: Option<&'a mut Visit<'a>>,
    most: Bounds,
) -> Result<Counted> {
    let stat = look(folder, c"")?;
    let mut walk = Walk {
        visit,
        mount: stat.stx_mnt_id,
        linked: HashSet::new(),
        left: most.entries,
        counted: Counted {
            bytes: size(&stat),
            whole: true,
        },
    };
    walk.folder(folder, most.depth)?;
    Ok(walk.counted)
}

struct Walk<'a> {
    visit: Option<&'a mut Visit<'a>>,
    /// The mount that the walk is on. Not the device: on an overlay, as in a
    /// container, files have others than their folders.
    mount: u64,
    /// The files with several names that were counted.
    linked: HashSet<Identity>,
    left: u64,
    counted: Counted,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &OwnedFd, depth: usize) -> Result<()> {
        if let Some(visit) = &mut self.visit {
            visit(folder.as_fd(), FileType::Directory)?;
        }
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.left == 0 {
                self.counted.whole = false;
                return Ok(());
            }
            self.left -= 1;
            match self.entry(folder, name, depth) {
                // It went away, or is another thing now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CStr, depth: usize) -> Result<()> {
        let stat = look(folder, name)?;
        if stat.stx_mnt_id != self.mount {
            return Ok(());
        }
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        if kind == FileType::Directory {
            self.counted.bytes = self.counted.bytes.saturating_add(size(&stat));
            if depth == 0 {
                self.counted.whole = false;
                return Ok(());
            }
            return self.folder(&enter(folder, name, OFlags::DIRECTORY)?, depth - 1);
        }
        if stat.stx_nlink <= 1 || self.linked.insert(identity(&stat)) {
            self.counted.bytes = self.counted.bytes.saturating_add(size(&stat));
        }
        let Some(visit) = self
            .visit
            .as_mut()
            .filter(|_| kind == FileType::RegularFile)
        else {
            return Ok(());
        };
        // A FIFO that took its place does not hold this up.
        let file = enter(folder, name, OFlags::NONBLOCK)?;
        if identity(&look(&file, c"")?) == identity(&stat) {
            visit(file.as_fd(), kind)?;
        }
        Ok(())
    }
}

fn enter(folder: &OwnedFd, name: &CStr, more: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(folder, name, flags, Mode::empty(), within)
}

/// What is there by this name; without a name, what is open.
fn look(at: &OwnedFd, name: &CStr) -> Result<Statx> {
    let how = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let what = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    rustix::fs::statx(at, name, how, what)
}

/// Device and number of an inode.
type Identity = (u32, u32, u64);

fn identity(stat: &Statx) -> Identity {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}

fn size(stat: &Statx) -> u64 {
    // Blocks of statx(2) have 512 bytes, whatever the file system's have.
    stat.stx_blocks.saturating_mul(512).max(LEAST)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn count(path: &Path, most: Bounds) -> Counted {
        bounded(&open(path).unwrap().unwrap(), None, most).unwrap()
    }

    #[test]
    fn what_is_there_counts_once_and_what_is_elsewhere_does_not() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("big"), vec![1; 1 << 20]).unwrap();
        let at = root.path();
        let empty = count(at, MOST);
        assert!(empty.whole);
        std::fs::create_dir_all(at.join("a/b")).unwrap();
        std::fs::write(at.join("a/b/file"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(at.join("a/b/file"), at.join("again")).unwrap();
        symlink(elsewhere.path(), at.join("out")).unwrap();
        symlink(elsewhere.path().join("big"), at.join("big")).unwrap();
        symlink("loop", at.join("loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at.join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        // Much room on paper, none on the disk.
        let sparse = std::fs::File::create(at.join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let full = count(at, MOST);
        let grown = full.bytes - empty.bytes;
        assert!(full.whole);
        assert!(
            (1 << 20..(1 << 20) + 32 * LEAST).contains(&grown),
            "{grown}"
        );
        // Each of these counts, though it may hold nothing.
        for n in 0..10 {
            std::fs::write(at.join(format!("empty-{n}")), "").unwrap();
        }
        assert!(count(at, MOST).bytes >= full.bytes + 10 * LEAST);
    }

    #[test]
    fn a_tree_without_end_is_not_counted_to_its_end() {
        let root = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(6);
        std::fs::create_dir_all(root.path().join(deep)).unwrap();
        let most = |entries, depth| count(root.path(), Bounds { entries, depth }).whole;
        assert!(most(6, 6));
        assert!(!most(5, 6));
        assert!(!most(6, 5));
    }

    #[test]
    fn every_folder_and_file_is_shown_and_no_link() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        std::fs::write(root.path().join("a/file"), "").unwrap();
        symlink("a/file", root.path().join("link")).unwrap();
        let mut seen = Vec::new();
        let mut visit = |_: BorrowedFd<'_>, kind: FileType| {
            seen.push(kind);
            Ok(())
        };
        walk(&open(root.path()).unwrap().unwrap(), Some(&mut visit)).unwrap();
        use FileType::{Directory, RegularFile};
        assert_eq!(seen, [Directory, Directory, RegularFile]);
        assert!(open(&root.path().join("link")).unwrap().is_none());
        assert!(open(&root.path().join("none")).unwrap().is_none());
    }
}
