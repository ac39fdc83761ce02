//! The reader on real files. The callback that sets the watches runs in the
//! middle of a reading, so the tests change the folder from there.

use super::*;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Yaml;

impl Filter for Yaml {
    fn file(&self, path: &Path) -> bool {
        path.extension().is_some_and(|end| end == "yaml")
    }

    fn folder(&self, path: &Path) -> bool {
        !path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    }
}

struct Folder {
    dir: tempfile::TempDir,
    reader: Reader,
}

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let reader = Reader::new(dir.path().to_owned(), Arc::new(Yaml), 16);
        let folder = Self { dir, reader };
        for (path, content) in files {
            folder.put(path, content);
        }
        folder
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, content).expect("file");
    }

    fn read(&mut self) -> Reading {
        self.reader.read(&mut |_, _| {})
    }
}

fn content(text: &str) -> FileRead {
    FileRead::Content(text.as_bytes().into())
}

fn names(reading: &Reading) -> Vec<&str> {
    reading
        .files
        .keys()
        .map(|path| path.to_str().expect("text"))
        .collect()
}

#[test]
fn reads_what_the_filter_accepts_and_nothing_else() {
    let mut folder = Folder::with(&[
        ("b.yaml", "b"),
        ("sub/deep/a.yaml", "a"),
        ("b.status", "no"),
        (".git/c.yaml", "no"),
        ("odd.yaml/d.yaml", "d"),
    ]);
    let reading = folder.read();
    assert_eq!(reading.problem, None);
    assert_eq!(
        names(&reading),
        ["b.yaml", "odd.yaml/d.yaml", "sub/deep/a.yaml"]
    );
    assert_eq!(reading.files[Path::new("sub/deep/a.yaml")], content("a"));
    assert_eq!(reading.folders.len(), 4);
}

#[test]
fn each_folder_is_watched_before_it_is_read() {
    let mut folder = Folder::with(&[("a.yaml", "1"), ("sub/b.yaml", "1")]);
    let dir = folder.dir.path().to_owned();
    let mut done = false;
    let reading = folder.reader.read(&mut |path, _| {
        // What happens at the moment of the watch is in the reading.
        if !std::mem::replace(&mut done, true) {
            fs::write(dir.join("late.yaml"), "2").expect("file");
        }
        assert!(dir.join(path).is_dir());
    });
    assert_eq!(names(&reading), ["a.yaml", "late.yaml", "sub/b.yaml"]);
}

/// Law 10 and 4: nothing outside is read, and one bad entry spoils no other.
#[test]
fn odd_entries_are_told_and_never_opened() {
    let mut folder = Folder::with(&[("good.yaml", "good"), ("large.yaml", "12345678901234567")]);
    symlink("/etc/passwd", folder.path("link.yaml")).expect("link");
    rustix::fs::mkfifoat(CWD, folder.path("pipe.yaml"), Mode::RWXU).expect("pipe");
    let socket = std::os::unix::net::UnixListener::bind(folder.path("socket.yaml"));
    let reading = folder.read();
    drop(socket.expect("socket"));
    let not_regular = |kind| FileRead::Failed(FileProblem::NotRegular { kind });
    let read = |name: &str| reading.files[Path::new(name)].clone();
    assert_eq!(read("good.yaml"), content("good"));
    assert_eq!(read("large.yaml"), FileRead::TooLarge { size: 17 });
    assert_eq!(read("link.yaml"), not_regular("a symbolic link"));
    assert_eq!(read("pipe.yaml"), not_regular("a named pipe"));
    assert_eq!(read("socket.yaml"), not_regular("a socket"));
    assert_eq!(reading.problem, None);
}

/// Law 2: whatever hides files makes the reading incomplete.
#[test]
fn what_hides_files_makes_the_reading_incomplete() {
    let mut folder = Folder::with(&[("a.yaml", "a")]);
    let root = folder.dir.path().to_owned();
    let elsewhere = Folder::with(&[("b.yaml", "b")]);

    symlink(elsewhere.dir.path(), folder.path("link")).expect("link");
    let reading = folder.read();
    assert_eq!(
        reading.problem,
        Some(ScanProblem::LinkedFolder {
            path: root.join("link")
        })
    );
    assert_eq!(names(&reading), ["a.yaml"]);

    fs::remove_file(folder.path("link")).expect("remove");
    symlink("/does/not/exist", folder.path("link")).expect("link");
    assert!(matches!(
        folder.read().problem,
        Some(ScanProblem::LinkedFolder { .. })
    ));

    // An editor's lock is a link to nowhere as well, but not by a folder's name;
    // a link to a file that does not matter hides nothing.
    fs::rename(folder.path("link"), folder.path(".#a.yaml.lock")).expect("rename");
    symlink("/etc/passwd", folder.path("file")).expect("link");
    assert_eq!(folder.read().problem, None);

    let deep = (0..=MAX_DEPTH).map(|_| "d").collect::<Vec<_>>().join("/");
    fs::create_dir_all(folder.path(&deep)).expect("folders");
    assert!(matches!(
        folder.read().problem,
        Some(ScanProblem::TooDeep { .. })
    ));
}

#[test]
fn a_missing_root_and_a_root_that_is_no_folder_are_incomplete() {
    let mut folder = Folder::with(&[("a.yaml", "a")]);
    let path = folder.path("sub");
    folder.reader.root = path.clone();
    assert_eq!(
        folder.read().problem,
        Some(ScanProblem::Missing { path: path.clone() })
    );
    fs::write(&path, "").expect("file");
    assert_eq!(
        folder.read().problem,
        Some(ScanProblem::NotAFolder { path: path.clone() })
    );
    fs::remove_file(&path).expect("remove");
    symlink(folder.dir.path(), &path).expect("link");
    let reading = folder.reader.read(&mut |_, _| {});
    assert!(
        reading.files.contains_key(Path::new("a.yaml")),
        "the root itself may be a link"
    );
}

/// Law 2, for a sub-folder and a file that may not be read. Root may read
/// everything, so this thread gives up the right to.
#[test]
fn a_sub_folder_without_permission_is_incomplete_and_a_file_is_an_error() {
    let mut folder = Folder::with(&[("a.yaml", "a"), ("sub/b.yaml", "b"), ("c.yaml", "c")]);
    let close = |path| fs::set_permissions(path, fs::Permissions::from_mode(0o000));
    close(folder.path("sub")).expect("mode");
    close(folder.path("c.yaml")).expect("mode");
    let mut mine = capabilities(None).expect("capabilities");
    mine.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, mine).expect("fewer capabilities");
    let reading = folder.read();
    let Some(ScanProblem::Unreadable { path, message }) = reading.problem else {
        panic!("{:?}", reading.problem)
    };
    assert_eq!(path, folder.path("sub"));
    assert!(message.contains("Permission denied"), "{message}");
    assert_eq!(reading.files[Path::new("a.yaml")], content("a"));
    assert!(matches!(
        reading.files[Path::new("c.yaml")],
        FileRead::Failed(FileProblem::Unreadable { .. })
    ));
    fs::set_permissions(folder.path("sub"), fs::Permissions::from_mode(0o700)).expect("mode");
}

#[test]
fn unchanged_files_are_not_read_again_once_they_settled() {
    let mut folder = Folder::with(&[("a.yaml", "a"), ("b.yaml", "b")]);
    // Files that were just written may change without their times showing it.
    folder.read();
    folder.read();
    assert_eq!(folder.reader.reads, 4);

    folder.reader.settle = Duration::ZERO;
    folder.read();
    assert_eq!(folder.reader.reads, 6);
    folder.read();
    assert_eq!(folder.reader.reads, 6);
    folder.put("a.yaml", "longer");
    assert_eq!(folder.read().files[Path::new("a.yaml")], content("longer"));
    assert_eq!(folder.reader.reads, 7);
    // Same size, other inode, as an editor's rename leaves it.
    folder.put("tmp", "a");
    fs::rename(folder.path("tmp"), folder.path("b.yaml")).expect("rename");
    assert_eq!(folder.read().files[Path::new("b.yaml")], content("a"));
    assert_eq!(folder.reader.reads, 8);
}

/// Law 2: a file that moves while the folder is read is not missed.
#[test]
fn files_that_move_meanwhile_are_found_by_looking_again() {
    let mut folder = Folder::with(&[("1/a.yaml", "a"), ("2/b.yaml", "b")]);
    let (from, to) = (folder.path("2/b.yaml"), folder.path("1/b.yaml"));
    let reading = folder.reader.read(&mut |path, _| {
        // Folder 1 was read; what moves there now would be missed.
        if path == Path::new("2") && from.exists() {
            fs::rename(&from, &to).expect("rename");
        }
    });
    assert_eq!(names(&reading), ["1/a.yaml", "1/b.yaml"]);
    assert_eq!((reading.problem, reading.unsteady), (None, false));
}

/// Law 2: a root that is replaced while it is read is read again.
#[test]
fn a_root_that_is_replaced_meanwhile_is_read_again() {
    let outer = Folder::with(&[("old/a.yaml", "old"), ("new/a.yaml", "new")]);
    let mut reader = Reader::new(outer.path("old"), Arc::new(Yaml), 16);
    let mut done = false;
    let reading = reader.read(&mut |_, _| {
        if !std::mem::replace(&mut done, true) {
            fs::rename(outer.path("old"), outer.path("older")).expect("rename");
            fs::rename(outer.path("new"), outer.path("old")).expect("rename");
        }
    });
    assert_eq!(reading.files[Path::new("a.yaml")], content("new"));
    assert!(!reader.moved(&reading.folders));
    fs::rename(outer.path("old"), outer.path("new")).expect("rename");
    assert!(reader.moved(&reading.folders));
}

#[test]
fn names_that_never_hold_still_are_incomplete_and_content_is_only_unsteady() {
    let mut folder = Folder::with(&[("1/a.yaml", "a"), ("2/b.yaml", "b")]);
    let dir = folder.dir.path().to_owned();
    let mut n = 0;
    let reading = folder.reader.read(&mut |path, _| {
        if path == Path::new("2") {
            n += 1;
            fs::rename(dir.join("1"), dir.join("0")).expect("rename");
            fs::create_dir(dir.join("1")).expect("folder");
            fs::write(dir.join("1/a.yaml"), format!("{n}")).expect("file");
            fs::remove_dir_all(dir.join("0")).expect("remove");
        }
    });
    assert_eq!(
        reading.problem,
        Some(ScanProblem::Changing { path: dir.clone() })
    );

    let reading = folder.reader.read(&mut |path, _| {
        if path == Path::new("2") {
            n += 1;
            fs::write(dir.join("1/a.yaml"), "x".repeat(n)).expect("file");
        }
    });
    assert_eq!((reading.problem, reading.unsteady), (None, true));
}
