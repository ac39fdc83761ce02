//! Notices when somebody edits an installed release.
//!
//! The kernel tells that something was written in one of its folders
//! (inotify(7)); what differs is for a look to say. Nothing is told of who reads
//! a release, so a busy service costs nothing here. A release that is written
//! to all the time costs one look in [`CALM`], and one with very many folders is
//! left to the resync, as is what has no event.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Who writes one file writes others too: what comes within this time is one
/// change.
const TOGETHER: Duration = Duration::from_millis(25);
/// The time between two tellings.
const CALM: Duration = Duration::from_secs(1);
/// How many folders of all releases are watched: each takes about a kilobyte
/// of the kernel's memory.
const MAX_FOLDERS: usize = 16_384;

/// What is said where there are no events.
const ALONE: &str = "edited releases are noticed by the resync alone";

/// What changes a release. Not who opens or reads a file.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Watches the folders of releases.
#[derive(Debug)]
pub(super) struct ReleaseWatch {
    watching: Option<Arc<Watching>>,
    /// Wakes the thread that listens; it ends when this is dropped.
    running: Mutex<Option<UnixStream>>,
}

#[derive(Debug)]
struct Watching {
    queue: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the folder's device and inode: another one of the same path is to be
    /// watched anew.
    releases: HashMap<PathBuf, (u64, u64)>,
    folders: HashMap<i32, PathBuf>,
    /// What is to be told.
    changed: BTreeSet<PathBuf>,
}

impl ReleaseWatch {
    /// Watches nothing yet. Without the kernel's watches, the resync alone
    /// notices changes.
    pub(super) fn new() -> Self {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let queue = queue.inspect_err(|error| tracing::warn!("{ALONE}: {error}"));
        let watching = queue.ok().map(|queue| {
            Arc::new(Watching {
                queue,
                state: Mutex::default(),
            })
        });
        Self {
            watching,
            running: Mutex::default(),
        }
    }

    /// Watches a release from now on, if it is not watched already. Returns the
    /// folders that are new. Blocks.
    pub(super) fn watch(&self, release: &Path) -> Vec<PathBuf> {
        let Some(watching) = &self.watching else {
            return Vec::new();
        };
        let mut state = watching.lock();
        watching.take_in(&mut state);
        if !state.changed.is_empty()
            && let Some(mut running) = lock(&self.running).as_ref()
        {
            // The queue is empty now, and there is something to tell. A thread
            // that has ended tells nothing anyway.
            let _ = running.write_all(&[0]);
        }
        let Ok(meta) = release.symlink_metadata() else {
            return Vec::new();
        };
        let identity = (meta.dev(), meta.ino());
        if state.releases.get(release) == Some(&identity) {
            return Vec::new();
        }
        // Also if it cannot be watched: it is said once.
        state.releases.insert(release.to_owned(), identity);
        watching.add(&mut state, release).unwrap_or_else(|error| {
            let release = release.display();
            tracing::info!("changes in {release} are noticed by the resync alone: {error}");
            Vec::new()
        })
    }

    /// Tells of releases that were written to, until this is dropped or nobody
    /// wants to know: `touched` returns false.
    pub(super) fn tell(&self, touched: impl Fn(&Path) -> bool + Send + 'static) {
        let Some(watching) = self.watching.clone() else {
            return;
        };
        let begun = UnixStream::pair().and_then(|(running, stop)| {
            let listen = move || while watching.round(&stop, &touched) {};
            let thread = std::thread::Builder::new().name("releases".to_owned());
            thread.spawn(listen).map(|_| running)
        });
        match begun {
            Ok(running) => *lock(&self.running) = Some(running),
            Err(error) => tracing::warn!("{ALONE}: {error}"),
        }
    }
}

impl Watching {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits for events and tells of them. Returns whether to go on.
    fn round(&self, stop: &UnixStream, touched: &impl Fn(&Path) -> bool) -> bool {
        let mut sources = [
            PollFd::new(&self.queue, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut sources, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        if !sources[1].revents().is_empty() && !matches!((&mut &*stop).read(&mut [0]), Ok(1)) {
            return false;
        }
        std::thread::sleep(TOGETHER);
        let releases = self.changed();
        if !releases.is_empty() {
            let wanted = releases.iter().all(|release| touched(release));
            std::thread::sleep(CALM);
            return wanted;
        }
        true
    }

    /// All folders of the release, or none. What is added to it is a difference
    /// by itself, so new folders need not be watched.
    fn add(&self, state: &mut State, release: &Path) -> io::Result<Vec<PathBuf>> {
        let mut folders = vec![release.to_owned()];
        let mut at = 0;
        while let Some(folder) = folders.get(at) {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
            }
            if state.folders.len() + folders.len() > MAX_FOLDERS {
                return Err(io::Error::other(format!(
                    "releases have more than {MAX_FOLDERS} folders"
                )));
            }
            at += 1;
        }
        let flags = CHANGES | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        for folder in &folders {
            let watch = inotify::add_watch(&self.queue, folder, flags)?;
            state.folders.insert(watch, release.to_owned());
        }
        Ok(folders)
    }

    /// Takes in all events that have come.
    fn take_in(&self, state: &mut State) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.queue, &mut buffer);
        loop {
            let (watch, what) = match events.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            };
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                state.changed.extend(state.releases.keys().cloned());
                continue;
            }
            let Some(release) = state.folders.get(&watch) else {
                continue;
            };
            state.changed.insert(release.clone());
            if what.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
                // What is in its place now, even of the same number, is another.
                state.releases.remove(release);
            }
            if what.contains(ReadFlags::IGNORED) {
                state.folders.remove(&watch);
            }
        }
    }

    /// The releases that events have come about since the last time.
    fn changed(&self) -> BTreeSet<PathBuf> {
        let mut state = self.lock();
        self.take_in(&mut state);
        std::mem::take(&mut state.changed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::sync::mpsc;

    use super::*;

    /// What changes a release is told, at once and with little noise; reading
    /// it is not.
    #[tokio::test]
    async fn a_change_in_any_folder_is_told_and_reading_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("v1");
        let deep = release.join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "1").unwrap();
        let (sender, mut told) = mpsc::unbounded_channel();
        let watch = ReleaseWatch::new();
        watch.watch(&release);
        watch.watch(&release);
        watch.tell(move |release| sender.send(release.to_owned()).is_ok());

        std::fs::read(deep.join("file")).unwrap();
        assert!(watch.watching.as_ref().unwrap().changed().is_empty());
        for n in 0..100 {
            std::fs::write(deep.join("file"), n.to_string()).unwrap();
        }
        assert_eq!(told.recv().await, Some(release.clone()));
        assert!(told.try_recv().is_err());
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&deep, closed).unwrap();
        assert_eq!(told.recv().await, Some(release.clone()));

        // Another release of the same name is watched as that one was.
        std::fs::rename(&release, folder.path().join("old")).unwrap();
        assert_eq!(told.recv().await, Some(release.clone()));
        std::fs::remove_dir_all(folder.path().join("old")).unwrap();
        std::fs::create_dir(&release).unwrap();
        watch.watch(&release);
        while told.try_recv().is_ok() {}
        std::fs::write(release.join("new"), "1").unwrap();
        assert_eq!(told.recv().await, Some(release));
        let state = watch.watching.as_ref().unwrap().lock();
        assert_eq!(state.folders.len(), 1, "{state:?}");
    }

    #[test]
    fn too_many_folders_are_left_to_the_resync() {
        let folder = tempfile::tempdir().unwrap();
        let watch = ReleaseWatch::new();
        let watching = watch.watching.as_ref().unwrap();
        let full = (0..i32::try_from(MAX_FOLDERS).unwrap()).map(|n| (n, PathBuf::new()));
        watching.lock().folders = full.collect();
        watch.watch(folder.path());
        let state = watching.lock();
        assert_eq!(state.folders.len(), MAX_FOLDERS);
        assert!(state.releases.contains_key(folder.path()));
    }
}
