//! Who changed a file: the kernel tells which process it was (fanotify(7)).
//!
//! The folders of managed files are marked; each event names folder, file and
//! process, and the process is looked at at once, because it may end. What is
//! not known for certain is not told: an event from before the mark, of a
//! process of another namespace, or of systemd, which acts for somebody else.
//! Where the kernel has no such events (before Linux 5.9, or without the right)
//! nobody is named.
//!
//! Data flow: one thread reads the events as they come; [`Actors::of`] reads what
//! has come since too, so that a pass that a change has woken knows of it.

mod event;
mod process;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cb_core::drift::Actor;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use event::{Event, Handle};

/// `FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME`: events name the
/// folder and the file in it. The crate has no names for these yet.
const REPORT_NAMES: u32 = 0x200 | 0x400 | 0x800;
/// How many files somebody is remembered for.
const MAX_FILES: usize = 16_384;
/// Bytes for one reading of events.
const BUFFER: usize = 64 * 1024;

/// Knows who changed files in the folders that are marked.
#[derive(Debug, Default)]
pub(crate) struct Actors {
    shared: Option<Arc<Shared>>,
    /// The thread that reads ends when this is dropped.
    _running: Option<UnixStream>,
}

#[derive(Debug)]
struct Shared {
    group: Fanotify,
    events: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The marked folders, with the handles that events name them by. Two of
    /// the same handle (on two file systems) have none.
    folders: BTreeMap<PathBuf, Option<Handle>>,
    handles: HashMap<Handle, Option<PathBuf>>,
    /// Who changed a file last.
    files: HashMap<PathBuf, Actor>,
}

impl Actors {
    /// Begins to listen.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self::begin().unwrap_or_else(|error| {
            tracing::info!("who changes files is not known: the kernel does not tell ({error})");
            Self::default()
        })
    }

    fn begin() -> io::Result<Self> {
        let shared = Arc::new(Shared::new()?);
        let (running, stop) = UnixStream::pair()?;
        let of = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("actors".to_owned())
            .spawn(move || read(&of, &stop))?;
        Ok(Self {
            shared: Some(shared),
            _running: Some(running),
        })
    }

    /// Listens to what happens in a folder from now on. One that is not there,
    /// or is listened to already, is left.
    pub(crate) fn watch(&self, folder: &Path) {
        if let Some(shared) = &self.shared {
            shared.watch(folder);
        }
    }

    /// Who changed a file last, if it was not this process.
    #[must_use]
    pub(crate) fn of(&self, paths: impl Iterator<Item = PathBuf>) -> BTreeMap<PathBuf, Actor> {
        let Some(shared) = &self.shared else {
            return BTreeMap::new();
        };
        let mut state = shared.lock();
        shared.drain(&mut state);
        let known = paths.filter_map(|path| Some((path.clone(), state.files.get(&path)?.clone())));
        known.collect()
    }
}

/// Reads events until the other end of `stop` is gone.
fn read(shared: &Shared, stop: &UnixStream) {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        let mut sources = [
            PollFd::new(&shared.events, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut sources, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if !sources[1].revents().is_empty() {
            return;
        }
        shared.drain(&mut shared.lock());
    }
}

impl Shared {
    fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::from_bits_retain(REPORT_NAMES);
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?;
        let events = group.as_fd().try_clone_to_owned()?;
        Ok(Self {
            group,
            events,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, folder: &Path) {
        let mut state = self.lock();
        if state.folders.contains_key(folder) {
            return;
        }
        // Also what is still being written: it is looked at at once.
        let mask = MaskFlags::FAN_MODIFY
            | MaskFlags::FAN_CLOSE_WRITE
            | MaskFlags::FAN_ATTRIB
            | MaskFlags::FAN_CREATE
            | MaskFlags::FAN_DELETE
            | MaskFlags::FAN_MOVED_FROM
            | MaskFlags::FAN_MOVED_TO
            | MaskFlags::FAN_DELETE_SELF
            | MaskFlags::FAN_MOVE_SELF
            | MaskFlags::FAN_EVENT_ON_CHILD
            | MaskFlags::FAN_ONDIR;
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
        let marked = self
            .group
            .mark(flags, mask, nix::fcntl::AT_FDCWD, Some(folder));
        if let Err(error) = marked {
            // It is not there yet, or its file system has no such events.
            tracing::debug!(
                "who changes files in {} is not known: {error}",
                folder.display()
            );
            return;
        }
        let handle = self.new_handle(&state);
        if let Some(handle) = &handle {
            let place = state
                .handles
                .entry(handle.clone())
                .or_insert_with(|| Some(folder.to_owned()));
            if place.as_deref() != Some(folder) {
                *place = None;
            }
        }
        state.folders.insert(folder.to_owned(), handle);
    }

    /// The handle of the mark that was added last: the kernel lists all marks
    /// of a group, newest first.
    fn new_handle(&self, state: &State) -> Option<Handle> {
        use std::io::BufRead as _;
        let info = format!("/proc/self/fdinfo/{}", self.events.as_raw_fd());
        let info = std::io::BufReader::new(std::fs::File::open(info).ok()?);
        let handles = info
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| Handle::of_mark(&line));
        let mut new = handles.filter(|handle| !state.handles.contains_key(handle));
        new.next()
    }

    /// Takes in all events that have come.
    fn drain(&self, state: &mut State) {
        let mut buffer = vec![0; BUFFER];
        loop {
            match rustix::io::read(&self.events, buffer.as_mut_slice()) {
                Ok(0) => return,
                Ok(length) => {
                    for event in event::parse(&buffer[..length]) {
                        state.take_in(event);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                // No more for now.
                Err(_) => return,
            }
        }
    }
}

impl State {
    fn take_in(&mut self, event: Event) {
        if event.overflow {
            // Somebody else may have been the last.
            self.files.clear();
            return;
        }
        let Some(folder) = event.folder.as_ref().and_then(|it| self.handles.get(it)) else {
            return;
        };
        let Some(folder) = folder.clone() else {
            return;
        };
        let own = event.is_self();
        if own && event.is_gone() {
            // The mark went with it; one of the same path is another folder.
            if let Some(Some(handle)) = self.folders.remove(&folder) {
                self.handles.remove(&handle);
            }
        }
        let path = match &event.name {
            Some(name) if !own => folder.join(name),
            _ => folder,
        };
        match process::look(event.pid) {
            Some(actor) => {
                if self.files.len() >= MAX_FILES {
                    self.files.clear();
                }
                self.files.insert(path, actor);
            }
            None => drop(self.files.remove(&path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Needs the right to listen, as the operator has it.
    #[test]
    fn the_process_that_changed_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let actors = Actors::start();
        assert!(
            actors.shared.is_some(),
            "run as root, on Linux 5.9 or later"
        );
        actors.watch(folder.path());
        let path = folder.path().join("a");
        let of = |path: &Path| actors.of(std::iter::once(path.to_owned())).remove(path);
        let mut sh = Command::new("sh")
            .args(["-c", "echo x >\"$0\"; echo done; read line"])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut answer = [0; 5];
        std::io::Read::read_exact(sh.stdout.as_mut().unwrap(), &mut answer).unwrap();
        let actor = of(&path).unwrap();
        assert_eq!(actor.pid, sh.id());
        assert_eq!(actor.command.as_deref(), Some("sh"));
        assert!(actor.executable.unwrap().starts_with('/'));
        assert_eq!(actor.uid, Some(rustix::process::getuid().as_raw()));
        drop(sh.stdin.take());
        sh.wait().unwrap();
        // What this process does itself takes the name away.
        std::fs::write(&path, "y").unwrap();
        assert_eq!(of(&path), None);
        let pid = Command::new("chmod")
            .args(["600"])
            .arg(&path)
            .spawn()
            .map(|mut child| {
                let pid = child.id();
                child.wait().unwrap();
                pid
            });
        assert_eq!(of(&path).unwrap().pid, pid.unwrap());
        assert_eq!(of(&folder.path().join("b")), None);
    }

    #[test]
    fn a_folder_that_comes_back_is_listened_to_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("d");
        let actors = Actors::start();
        for _ in 0..2 {
            std::fs::create_dir(&folder).unwrap();
            actors.watch(&folder);
            let path = folder.join("a");
            let touched = Command::new("touch").arg(&path).status().unwrap();
            assert!(touched.success());
            assert!(actors.of(std::iter::once(path.clone())).contains_key(&path));
            std::fs::remove_dir_all(&folder).unwrap();
            assert!(actors.of(std::iter::once(path)).is_empty());
        }
    }
}
