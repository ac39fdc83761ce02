//! One booted container: its folder, its processes, its end.
//!
//! Everything belongs to one child process, `keep.sh`, which the kernel asks to
//! end with us and which ends the host gently. `unshare` puts all below it into
//! a PID namespace that dies as a whole, and mounts live in its mount namespace.
//! What can still be left after a SIGKILL of ours is an empty cgroup and a
//! folder; the next boot sweeps those whose lock nobody holds.

use std::fs::{self, File};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self as std_process, Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::tail;
use crate::{HostError, cache, cgroup, process, rootfs};

const KEEP: &str = include_str!("keep.sh");
const LAUNCH: &str = include_str!("launch.sh");

/// Boots take half a second; a machine with many tests at once needs longer.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// Hosts with a thousand services end in a fraction of this.
const END_LIMIT: Duration = Duration::from_secs(120);

/// What a machine is made of.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Options for systemd-nspawn.
    pub(crate) nspawn: Vec<String>,
    /// Whether the disk survives [`Machine::power_cycle`].
    pub(crate) keep_disk: bool,
}

/// A running container. Dropping it kills it and removes its traces.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    spec: Spec,
    folder: PathBuf,
    lock: File,
    child: Child,
    init: u32,
}

impl Machine {
    /// Boots a machine; `hint` becomes part of its name. Returns once systemd
    /// says that start-up has finished.
    pub(crate) fn boot(hint: &str, spec: Spec) -> Result<Machine, HostError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let hint: String = hint
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
            .take(30)
            .collect();
        let name = format!("cbt-{hint}-{}-{number}", std_process::id());
        let rootfs = rootfs::ensure()?;
        let (folder, lock) = claim_folder(&name)?;
        let mut child = match launch(&name, &folder, &lock, &rootfs, &spec) {
            Ok(child) => child,
            Err(error) => {
                remove_traces(&name, &folder)?;
                return Err(error);
            }
        };
        match await_boot(&name, &folder, &mut child.0, &child.1) {
            Ok(init) => Ok(Machine {
                name,
                spec,
                folder,
                lock,
                child: child.0,
                init,
            }),
            Err(error) => {
                stop(&mut child.0);
                remove_traces(&name, &folder)?;
                Err(error)
            }
        }
    }

    /// Its unique name, also its host name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The PID of its systemd, as seen from outside.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }

    /// A folder of this machine's for files about it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Cuts the power, at whatever instruction it is, and boots again.
    pub(crate) fn power_cycle(&mut self) -> Result<(), HostError> {
        stop(&mut self.child);
        cgroup::remove(&self.name)?;
        let rootfs = rootfs::ensure()?;
        let (child, ready) = launch(&self.name, &self.folder, &self.lock, &rootfs, &self.spec)?;
        self.child = child;
        self.init = await_boot(&self.name, &self.folder, &mut self.child, &ready)?;
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        stop(&mut self.child);
        // A failure here is no reason to fail a test; the next sweep tries again.
        if let Err(error) = remove_traces(&self.name, &self.folder) {
            eprintln!("{}: {error}", self.name);
        }
    }
}

/// Removes what dead processes left, and makes the machine's own folder.
fn claim_folder(name: &str) -> Result<(PathBuf, File), HostError> {
    let parent = cache::dir()?.join("hosts");
    fs::create_dir_all(&parent).map_err(HostError::file("create", &parent))?;
    // A folder that was just created and is not locked yet is no leftover.
    let guard = parent.join(".lock");
    let guard_file = File::create(&guard).map_err(HostError::file("create", &guard))?;
    guard_file.lock().map_err(HostError::file("lock", &guard))?;

    for entry in fs::read_dir(&parent).map_err(HostError::file("list", &parent))? {
        let entry = entry.map_err(HostError::file("list", &parent))?;
        let Ok(file) = File::open(entry.path().join("lock")) else {
            continue;
        };
        if file.try_lock().is_ok() {
            // What cannot be swept is in nobody's way; the next boot tries again.
            let name = entry.file_name();
            if let Err(error) = remove_traces(&name.to_string_lossy(), &entry.path()) {
                eprintln!("{}: {error}", name.display());
            }
        }
    }

    let folder = parent.join(name);
    for path in [&folder, &folder.join("root"), &folder.join("disk")] {
        fs::create_dir(path).map_err(HostError::file("create", path))?;
    }
    let path = folder.join("lock");
    let lock = File::create(&path).map_err(HostError::file("create", &path))?;
    lock.lock().map_err(HostError::file("lock", &path))?;
    Ok((folder, lock))
}

fn remove_traces(name: &str, folder: &Path) -> Result<(), HostError> {
    cgroup::remove(name)?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HostError::file("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

fn launch(
    name: &str,
    folder: &Path,
    lock: &File,
    rootfs: &Path,
    spec: &Spec,
) -> Result<(Child, UnixDatagram), HostError> {
    let cgroups = cgroup::create(name)?;
    let cgroups: Vec<String> = cgroups
        .iter()
        .map(|cgroup| cgroup.display().to_string())
        .collect();
    let notify = format!("cb-testhost/{name}");
    let ready = SocketAddr::from_abstract_name(&notify)
        .and_then(|address| UnixDatagram::bind_addr(&address))
        .map_err(HostError::file("listen on", format!("@{notify}")))?;
    let path = folder.join("console");
    let console = File::create(&path).map_err(HostError::file("create", &path))?;
    let errors = console
        .try_clone()
        .map_err(HostError::file("write", &path))?;
    let lock = lock
        .try_clone()
        .map_err(HostError::file("hold the lock of", folder))?;

    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", "--"])
        .args(["sh", "-c", KEEP, "keep.sh", &cgroups[0]])
        .args(["unshare", "--fork", "--pid", "--mount-proc"])
        .args(["--kill-child=KILL", "--"])
        .args(["sh", "-c", LAUNCH, "launch.sh"])
        .args([folder, rootfs])
        .arg(if spec.keep_disk { "keep" } else { "forget" })
        .arg(cgroups.join(" "))
        .arg(format!("--machine={name}"))
        .args(&spec.nspawn)
        .env("NOTIFY_SOCKET", format!("@{notify}"))
        // Ctrl-C in a terminal is for the tests; they end the machine.
        .process_group(0)
        .stdin(lock)
        .stdout(console)
        .stderr(errors);
    let child = spawn_for_life(command).map_err(HostError::program("setpriv"))?;
    Ok((child, ready))
}

/// Starts `command` from a thread that lives as long as this process: the
/// kernel takes the end of the *thread* that started a child for its parent's
/// death, and each test has a thread of its own.
fn spawn_for_life(command: Command) -> io::Result<Child> {
    type Request = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, queue) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                // The one who asked waits for it below.
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, result) = mpsc::channel();
    spawner
        .send((command, answer))
        .expect("the spawner waits for requests as long as the process lives");
    result
        .recv()
        .expect("the spawner answers every request before the next")
}

/// Waits for systemd's own word, which nspawn passes on, that it is up.
fn await_boot(
    name: &str,
    folder: &Path,
    child: &mut Child,
    ready: &UnixDatagram,
) -> Result<u32, HostError> {
    let failed = |reason: String| {
        let text = fs::read(folder.join("console")).unwrap_or_default();
        HostError::Boot {
            name: name.to_owned(),
            reason,
            log: tail(&String::from_utf8_lossy(&text), 40),
        }
    };
    let socket = |error: io::Error| failed(format!("its notifications are unreadable: {error}"));
    ready
        .set_read_timeout(Some(Duration::from_millis(100)))
        .map_err(socket)?;
    let deadline = Instant::now() + BOOT_LIMIT;
    let mut message = [0; 4096];
    loop {
        match ready.recv(&mut message) {
            Ok(length) if is_ready(&message[..length]) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(socket(error)),
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(failed(format!("systemd-nspawn ended with {status}")));
        }
        if Instant::now() > deadline {
            return Err(failed(format!("not up after {BOOT_LIMIT:?}")));
        }
    }
    // The first is systemd-nspawn, in the namespace that `unshare` made.
    process::descendants(child.id())
        .into_iter()
        .filter(|pid| process::is_init(*pid))
        .nth(1)
        .ok_or_else(|| failed("its systemd is not among its processes".to_owned()))
}

fn is_ready(message: &[u8]) -> bool {
    String::from_utf8_lossy(message)
        .lines()
        .any(|line| line == "READY=1")
}

/// Has all of the machine killed, gently: see `keep.sh`.
fn stop(child: &mut Child) {
    process::signal(child.id(), Signal::TERM);
    if process::wait(child, END_LIMIT).is_none() {
        // Its end takes all else with it. It cannot have ended: it was just
        // seen alive and is ours to reap.
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::is_ready;

    #[test]
    fn only_the_ready_line_counts() {
        assert!(is_ready(b"READY=1\nSTATUS=up"));
        assert!(!is_ready(b"STATUS=READY=1"));
        assert!(!is_ready(b"X_NSPAWN_LEADER_PID=7"));
    }
}
