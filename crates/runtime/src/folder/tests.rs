//! The watcher on real folders: every change is awaited by its reading, and
//! polling is set so slow that inotify has to bring it, unless a test is about
//! the poll.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

const GENEROUS: Duration = Duration::from_secs(30);
const NEVER: Duration = Duration::from_secs(3600);

struct Yaml;

impl Filter for Yaml {
    fn file(&self, path: &Path) -> bool {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| {
            name.ends_with(".yaml") && !name.ends_with(".status.yaml") && !name.starts_with('.')
        })
    }

    fn folder(&self, path: &Path) -> bool {
        !path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    }
}

struct Watched {
    dir: tempfile::TempDir,
    handle: FolderHandle,
    scans: watch::Receiver<Arc<Scan>>,
}

impl Watched {
    /// Watches `root` in a folder with the given files, by events only.
    async fn new(files: &[(&str, &str)]) -> Self {
        Self::with(files, NEVER).await
    }

    async fn with(files: &[(&str, &str)], poll: Duration) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        for (path, content) in files {
            put(&dir.path().join(path), content);
        }
        let config = FolderConfig {
            poll,
            rescan_every: NEVER,
            ..FolderConfig::new(dir.path().join("root"), Yaml)
        };
        let (handle, scans) = FolderWatcher::spawn(config);
        let mut watched = Self { dir, handle, scans };
        watched
            .until("the first reading", |scan| scan.sequence > 0)
            .await;
        watched
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, content: &str) {
        put(&self.path(path), content);
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Scan) -> bool) -> Arc<Scan> {
        let waited = timeout(GENEROUS, self.scans.wait_for(|scan| done(scan))).await;
        if let Ok(scan) = waited.map(|scan| Arc::clone(&scan.expect("the watcher lives"))) {
            return scan;
        }
        panic!("waited for {what}; last was {:?}", self.scans.borrow())
    }

    /// Waits for a complete reading with exactly these files.
    async fn has(&mut self, files: &[(&str, &str)]) -> Arc<Scan> {
        let expected: BTreeMap<_, _> = files
            .iter()
            .map(|(path, text)| {
                (
                    PathBuf::from(path),
                    FileRead::Content(text.as_bytes().into()),
                )
            })
            .collect();
        self.until(&format!("{files:?}"), |scan| {
            scan.complete && scan.files == expected
        })
        .await
    }

    /// Waits for an incomplete reading.
    async fn is_missing(&mut self) {
        self.until("the folder to be missing", |scan| {
            matches!(scan.problem, Some(ScanProblem::Missing { .. })) && !scan.complete
        })
        .await;
    }
}

fn put(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    fs::write(path, content).expect("file");
}

#[tokio::test]
async fn before_the_first_reading_nothing_is_complete() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (handle, scans) = FolderWatcher::spawn(FolderConfig::new(dir.path(), Yaml));
    let placeholder = Arc::clone(&scans.borrow());
    assert_eq!((placeholder.sequence, placeholder.complete), (0, false));
    assert!(matches!(
        placeholder.problem,
        Some(ScanProblem::NotReadYet { .. })
    ));
    let first = handle.rescan().await.expect("watcher");
    assert_eq!(
        (first.sequence, first.complete, first.files.len()),
        (1, true, 0)
    );
}

#[tokio::test]
async fn writes_atomic_renames_and_removals_are_seen() {
    let mut test = Watched::new(&[("root/a.yaml", "1")]).await;
    test.has(&[("a.yaml", "1")]).await;
    test.put("root/a.yaml", "2");
    test.has(&[("a.yaml", "2")]).await;
    test.put("root/.a.yaml.swp", "3");
    fs::rename(test.path("root/.a.yaml.swp"), test.path("root/a.yaml")).expect("rename");
    test.has(&[("a.yaml", "3")]).await;
    // As vi does it: the old one is moved away first.
    fs::rename(test.path("root/a.yaml"), test.path("root/a.yaml~")).expect("rename");
    test.put("root/a.yaml", "4");
    test.has(&[("a.yaml", "4")]).await;
    fs::rename(test.path("root/a.yaml"), test.path("root/b.yaml")).expect("rename");
    test.has(&[("b.yaml", "4")]).await;
    fs::remove_file(test.path("root/b.yaml")).expect("remove");
    test.has(&[]).await;
}

/// Law 8: no loop on our own writes.
#[tokio::test]
async fn files_that_do_not_matter_cause_no_reading() {
    let mut test = Watched::new(&[("root/a.yaml", "1"), ("root/sub/b.yaml", "1")]).await;
    let before = test.handle.stats().events;
    for n in 0..50 {
        for folder in ["root", "root/sub"] {
            test.put(&format!("{folder}/.tmp"), &n.to_string());
            let status = test.path(&format!("{folder}/a.status.yaml"));
            fs::rename(test.path(&format!("{folder}/.tmp")), status).expect("rename");
        }
        test.put(&format!("root/.git/objects/{n}"), "x");
    }
    fs::remove_file(test.path("root/a.status.yaml")).expect("remove");
    // Events come in order, so those above were judged when this one is seen.
    test.put("root/sub/b.yaml", "2");
    test.has(&[("a.yaml", "1"), ("sub/b.yaml", "2")]).await;
    // Truncated, written, closed.
    let events = test.handle.stats().events - before;
    assert!(
        (1..=3).contains(&events),
        "{events} events called for a reading"
    );
}

#[tokio::test]
async fn an_equal_reading_is_not_emitted_and_a_request_is_answered_all_the_same() {
    let mut test = Watched::new(&[("root/a.yaml", "1")]).await;
    test.scans.mark_unchanged();
    let first = Arc::clone(&test.scans.borrow());
    let again = test.handle.rescan().await.expect("watcher");
    assert!(Arc::ptr_eq(&first, &again));
    assert!(!test.scans.has_changed().expect("watcher"));
    assert_eq!(
        (test.handle.stats().scans, test.handle.stats().emitted),
        (2, 1)
    );
    // A request sees what was written before it, without waiting for events.
    test.put("root/a.yaml", "2");
    let third = test.handle.rescan().await.expect("watcher");
    assert_eq!(
        third.files[Path::new("a.yaml")],
        FileRead::Content(b"2".as_slice().into())
    );
}

#[tokio::test]
async fn folders_that_come_go_and_are_swapped_are_followed() {
    let mut test = Watched::new(&[("root/a.yaml", "1"), ("outside/x/b.yaml", "1")]).await;
    test.put("root/n/e/s/t/c.yaml", "1");
    test.has(&[("a.yaml", "1"), ("n/e/s/t/c.yaml", "1")]).await;
    test.put("root/n/e/s/t/c.yaml", "2");
    test.has(&[("a.yaml", "1"), ("n/e/s/t/c.yaml", "2")]).await;
    fs::rename(test.path("outside/x"), test.path("root/n/x")).expect("rename");
    test.has(&[
        ("a.yaml", "1"),
        ("n/e/s/t/c.yaml", "2"),
        ("n/x/b.yaml", "1"),
    ])
    .await;
    fs::rename(test.path("root/n"), test.path("outside/n")).expect("rename");
    test.has(&[("a.yaml", "1")]).await;
    // What happens outside is nothing to us, and a folder of an old name is new.
    test.put("outside/n/x/b.yaml", "3");
    test.put("root/n/x/b.yaml", "4");
    test.has(&[("a.yaml", "1"), ("n/x/b.yaml", "4")]).await;
    fs::remove_dir_all(test.path("root/n")).expect("remove");
    test.put("root/n/x/b.yaml", "5");
    test.has(&[("a.yaml", "1"), ("n/x/b.yaml", "5")]).await;
    test.put("root/n/x/b.yaml", "6");
    test.has(&[("a.yaml", "1"), ("n/x/b.yaml", "6")]).await;
}

/// Law 2: while a checkout rewrites the folder, no complete reading is without
/// the file that is renamed over again and again.
#[tokio::test]
async fn a_checkout_that_rewrites_many_files_ends_in_one_whole_reading() {
    let mut test = Watched::new(&[("root/kept.yaml", "main")]).await;
    let mut seen = test.scans.clone();
    let observer = tokio::spawn(async move {
        let mut observed = 0;
        while seen.changed().await.is_ok() {
            let scan = Arc::clone(&seen.borrow_and_update());
            assert!(!scan.complete || scan.files.contains_key(Path::new("kept.yaml")));
            observed += 1;
        }
        observed
    });
    for branch in ["one", "two", "three"] {
        for n in 0..300 {
            let path = test.path(&format!("root/{:03}/{n:03}.yaml", n % 7));
            let _ = fs::remove_file(&path);
            put(&path, branch);
            test.put("root/.tmp", branch);
            fs::rename(test.path("root/.tmp"), test.path("root/kept.yaml")).expect("rename");
            tokio::task::yield_now().await;
            // Readings also begin in the middle of it.
            if n % 50 == 0 {
                let handle = test.handle.clone();
                tokio::spawn(async move { handle.rescan().await });
            }
        }
        let scan = test
            .until(branch, |scan| {
                let of_branch = FileRead::Content(branch.as_bytes().into());
                scan.files
                    .values()
                    .filter(|read| **read == of_branch)
                    .count()
                    == 301
            })
            .await;
        assert!(scan.complete);
    }
    test.handle.stop();
    assert!(observer.await.expect("every reading has the file") >= 3);
}

/// Law 2: a folder that is gone is not an empty one.
#[tokio::test]
async fn a_root_that_is_deleted_is_missing_and_is_followed_when_it_is_back() {
    let mut test = Watched::new(&[("root/a.yaml", "1")]).await;
    for round in ["2", "3"] {
        fs::remove_dir_all(test.path("root")).expect("remove");
        test.is_missing().await;
        test.put("root/a.yaml", round);
        test.has(&[("a.yaml", round)]).await;
        test.put("root/sub/b.yaml", round);
        test.has(&[("a.yaml", round), ("sub/b.yaml", round)]).await;
    }
}

#[tokio::test]
async fn a_root_that_is_replaced_by_a_rename_is_followed() {
    let mut test = Watched::new(&[("root/a.yaml", "1"), ("next/a.yaml", "2")]).await;
    fs::rename(test.path("root"), test.path("old")).expect("rename");
    fs::rename(test.path("next"), test.path("root")).expect("rename");
    test.has(&[("a.yaml", "2")]).await;
    test.put("old/a.yaml", "no");
    test.put("root/a.yaml", "3");
    test.has(&[("a.yaml", "3")]).await;
}

#[tokio::test]
async fn a_root_may_come_later_with_the_folders_it_is_in() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let root = dir.path().join("not/yet/there/root");
    let config = FolderConfig {
        poll: NEVER,
        rescan_every: NEVER,
        ..FolderConfig::new(&root, Yaml)
    };
    let (handle, scans) = FolderWatcher::spawn(config);
    let mut test = Watched { dir, handle, scans };
    test.is_missing().await;
    test.put("not/yet/there/root/a.yaml", "1");
    test.has(&[("a.yaml", "1")]).await;
    test.put("not/yet/there/root/a.yaml", "2");
    test.has(&[("a.yaml", "2")]).await;
}

/// A link is switched without any event in the folders that are watched.
#[tokio::test]
async fn a_root_that_is_a_link_is_followed_when_the_link_is_switched() {
    let mut test = Watched::with(
        &[("one/a.yaml", "1"), ("two/a.yaml", "2")],
        Duration::from_millis(20),
    )
    .await;
    test.is_missing().await;
    symlink("one", test.path("root")).expect("link");
    test.has(&[("a.yaml", "1")]).await;
    symlink("two", test.path("next")).expect("link");
    fs::rename(test.path("next"), test.path("root")).expect("rename");
    test.has(&[("a.yaml", "2")]).await;
    test.put("two/a.yaml", "3");
    test.has(&[("a.yaml", "3")]).await;
    // The link stays, what it leads to is replaced: only the poll can tell.
    fs::rename(test.path("two"), test.path("three")).expect("rename");
    fs::rename(test.path("one"), test.path("two")).expect("rename");
    test.has(&[("a.yaml", "1")]).await;
}

#[tokio::test]
async fn a_problem_that_was_put_right_without_an_event_is_noticed() {
    let mut test = Watched::with(&[("root/a.yaml", "1")], Duration::from_millis(20)).await;
    fs::create_dir(test.path("other")).expect("folder");
    symlink("../other", test.path("root/sub")).expect("link");
    test.until("an incomplete reading", |scan| !scan.complete)
        .await;
    fs::remove_dir(test.path("other")).expect("remove");
    put(&test.path("other"), "a file");
    test.has(&[("a.yaml", "1")]).await;
}

#[tokio::test]
async fn a_filter_that_panics_does_not_end_the_watcher() {
    struct Picky;
    impl Filter for Picky {
        fn file(&self, path: &Path) -> bool {
            assert!(path != Path::new("bad.yaml"), "picky");
            true
        }
    }
    let dir = tempfile::tempdir().expect("temporary folder");
    put(&dir.path().join("root/bad.yaml"), "");
    let (handle, _scans) = FolderWatcher::spawn(FolderConfig::new(dir.path().join("root"), Picky));
    let scan = handle.rescan().await.expect("watcher");
    assert!(!scan.complete);
    assert!(
        matches!(&scan.problem, Some(ScanProblem::Internal { message, .. }) if message == "picky")
    );
    fs::remove_file(dir.path().join("root/bad.yaml")).expect("remove");
    put(&dir.path().join("root/good.yaml"), "");
    assert!(handle.rescan().await.expect("watcher").complete);
}

#[tokio::test]
async fn it_ends_when_it_is_stopped_or_nobody_listens() {
    let test = Watched::new(&[("root/a.yaml", "1")]).await;
    test.handle.stop();
    let mut scans = test.scans.clone();
    scans.mark_unchanged();
    assert!(
        timeout(GENEROUS, scans.changed())
            .await
            .expect("in time")
            .is_err()
    );
    assert_eq!(test.handle.rescan().await, Err(WatcherStopped));

    let Watched {
        handle,
        scans,
        dir: _dir,
    } = Watched::new(&[("root/a.yaml", "1")]).await;
    drop(scans);
    timeout(GENEROUS, handle.ended()).await.expect("in time");
    assert_eq!(handle.rescan().await, Err(WatcherStopped));
}

/// Law 2, with a real mount: what is under the mount must not be taken for the
/// manifests, nor their absence for deletion. It needs a mount namespace of its
/// own, so it runs in a process of its own.
#[test]
fn an_unmounted_root_is_told_from_an_empty_one_and_is_followed_when_it_is_back() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let child = unshare
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "folder::tests::in_its_own_mount_namespace",
        ])
        .output()
        .expect("unshare of util-linux");
    let [out, err] = [&child.stdout, &child.stderr].map(|text| String::from_utf8_lossy(text));
    let output = format!("{out}{err}");
    assert!(
        child.status.success() && output.contains("1 passed"),
        "{output}"
    );
}

#[tokio::test]
#[ignore = "run by the test above, in a mount namespace"]
async fn in_its_own_mount_namespace() {
    fn mount(arguments: &[&str], path: &Path) {
        let (command, options) = arguments.split_first().expect("command");
        let status = Command::new(command)
            .args(options)
            .arg(path)
            .status()
            .expect("mount");
        assert!(status.success(), "{arguments:?}");
    }
    let poll = Duration::from_millis(20);
    let mut test = Watched::with(&[("root/under.yaml", "under")], poll).await;
    mount(&["mount", "-t", "tmpfs", "tmpfs"], &test.path("root"));
    test.has(&[]).await;
    test.put("root/a.yaml", "1");
    test.has(&[("a.yaml", "1")]).await;
    mount(&["umount", "--lazy"], &test.path("root"));
    test.has(&[("under.yaml", "under")]).await;
    test.put("root/under.yaml", "seen");
    test.has(&[("under.yaml", "seen")]).await;

    // A mount over a sub-folder sends no event either.
    test.put("root/sub/b.yaml", "1");
    test.has(&[("sub/b.yaml", "1"), ("under.yaml", "seen")])
        .await;
    mount(&["mount", "-t", "tmpfs", "tmpfs"], &test.path("root/sub"));
    test.has(&[("under.yaml", "seen")]).await;
    test.put("root/sub/c.yaml", "1");
    test.has(&[("sub/c.yaml", "1"), ("under.yaml", "seen")])
        .await;
    mount(&["umount", "--lazy"], &test.path("root/sub"));
    test.has(&[("sub/b.yaml", "1"), ("under.yaml", "seen")])
        .await;
}
