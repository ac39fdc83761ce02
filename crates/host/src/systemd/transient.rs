//! What a program that runs once is allowed: the limits and the sandbox of a
//! transient unit. [`Systemd::run`](super::Systemd::run) runs it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zbus::{Fd, Variant};

/// How long a program may take to end after SIGTERM; then it is killed.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Recursive, as systemd names it in bind mounts.
const MS_REC: u64 = 16384;

/// Gets each line that the program writes to standard error, without control
/// characters and cut to a bounded length.
pub type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// A program to run once in a unit of its own.
///
/// Without further words it runs as root, without a terminal, with an empty
/// standard input and systemd's own environment.
#[derive(Clone)]
#[must_use]
pub struct Transient {
    pub(super) name: String,
    pub(super) timeout: Duration,
    properties: Vec<(&'static str, Variant<'static>)>,
    arguments: Vec<String>,
    environment: Vec<String>,
    binds: Vec<Bind>,
    read_only_binds: Vec<Bind>,
    tmpfs: Vec<(String, String)>,
    pub(super) stdout_limit: usize,
    pub(super) on_line: Option<OnLine>,
}

/// Source, destination, whether a missing source is ignored, flags.
type Bind = (String, String, bool, u64);

impl Transient {
    /// A program with the unit's full name, for example `cb_job_ky04.service`,
    /// and the time it may take. A name of a kind that no other unit has (`_`
    /// cannot be part of a tenant's unit) belongs to one caller alone: a unit
    /// of that name is ended first.
    pub fn new(name: &str, program: &Path, timeout: Duration) -> Self {
        let properties = vec![
            // The program's end is the end of the start job.
            ("Type", Variant::from("oneshot")),
            ("TimeoutStartUSec", micros(timeout)),
            ("TimeoutStopUSec", micros(STOP_TIMEOUT)),
            // Loaded until its end was read, and no longer, failed or not.
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("AddRef", Variant::from(true)),
            ("StandardInput", Variant::from("null")),
        ];
        Self {
            name: name.to_owned(),
            timeout,
            properties,
            arguments: vec![program.to_string_lossy().into_owned()],
            environment: Vec::new(),
            binds: Vec::new(),
            read_only_binds: Vec::new(),
            tmpfs: Vec::new(),
            stdout_limit: 1 << 20,
            on_line: None,
        }
    }

    /// Any property of systemd's D-Bus interface, with its D-Bus type.
    pub fn property(mut self, name: &'static str, value: impl Into<Variant<'static>>) -> Self {
        self.properties.push((name, value.into()));
        self
    }

    /// What `systemctl status` calls it.
    pub fn description(self, text: &str) -> Self {
        self.property("Description", text.to_owned())
    }

    /// An argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The user, with its groups.
    pub fn user(self, name: &str) -> Self {
        self.property("User", name.to_owned())
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// A file of environment variables that systemd reads; none if it is
    /// missing. Its values win over [`Transient::env`].
    pub fn env_file(self, path: &Path) -> Self {
        let optional = true;
        let files = vec![(path.to_string_lossy().into_owned(), optional)];
        self.property("EnvironmentFiles", files)
    }

    /// The folder it runs in.
    pub fn folder(self, path: &Path) -> Self {
        self.property("WorkingDirectory", path.to_string_lossy().into_owned())
    }

    /// Confines it: nothing on the disk can be written, homes, temporary files,
    /// devices and the network are not there, and no privilege can be gained.
    /// [`Transient::bind`] gives back what it needs.
    pub fn sandbox(self) -> Self {
        self.property("NoNewPrivileges", true)
            .property("CapabilityBoundingSet", 0_u64)
            .property("AmbientCapabilities", 0_u64)
            .property("ProtectSystem", "strict")
            .property("PrivateTmp", true)
            .property("PrivateDevices", true)
            .property("PrivateNetwork", true)
            .property("UMask", 0o077_u32)
            // As `ProtectHome=tmpfs` is meant to be; that of systemd 252 is
            // open for all to write.
            .hide(Path::new("/home"))
            .hide(Path::new("/root"))
            .hide(Path::new("/run/user"))
    }

    /// A folder or file that it may write, as far as its user may.
    pub fn bind(mut self, path: &Path) -> Self {
        self.binds.push(bind(path));
        self
    }

    /// A folder or file that is shown read-only, whatever hides it otherwise.
    pub fn bind_read_only(mut self, path: &Path) -> Self {
        self.read_only_binds.push(bind(path));
        self
    }

    /// Puts an empty folder, read-only and open to all, in the place of one.
    /// With [`Transient::bind`] of something below it, its user gets there
    /// without being let into the folder itself.
    pub fn hide(mut self, folder: &Path) -> Self {
        let options = "ro,mode=0755".to_owned();
        self.tmpfs
            .push((folder.to_string_lossy().into_owned(), options));
        self
    }

    /// How much memory it may use, in bytes, without swap.
    pub fn memory_max(self, bytes: u64) -> Self {
        self.property("MemoryMax", bytes)
            .property("MemorySwapMax", 0_u64)
    }

    /// How many processes and threads it may have.
    pub fn tasks_max(self, count: u64) -> Self {
        self.property("TasksMax", count)
    }

    /// How many bytes of standard output are kept. Default 1 MiB; the rest is
    /// read and forgotten.
    pub fn stdout_limit(mut self, bytes: usize) -> Self {
        self.stdout_limit = bytes;
        self
    }

    /// Who gets the lines of standard error as they come.
    pub fn on_line(mut self, on_line: OnLine) -> Self {
        self.on_line = Some(on_line);
        self
    }

    /// What systemd is told of it, with where its output goes.
    pub(super) fn properties<'a>(
        &self,
        stdout: &'a OwnedFd,
        stderr: &'a OwnedFd,
    ) -> Properties<'a> {
        let program = self.arguments[0].clone();
        // Arguments are taken as they are: no `$` in them is a variable.
        let flags = vec!["no-env-expand".to_owned()];
        let command = vec![(program, self.arguments.clone(), flags)];
        let mut all: Properties<'a> = self.properties.clone();
        all.push(("ExecStartEx", command.into()));
        all.push(("StandardOutputFileDescriptor", Fd::from(stdout).into()));
        all.push(("StandardErrorFileDescriptor", Fd::from(stderr).into()));
        if !self.environment.is_empty() {
            all.push(("Environment", self.environment.clone().into()));
        }
        for (name, binds) in [
            ("BindPaths", &self.binds),
            ("BindReadOnlyPaths", &self.read_only_binds),
        ] {
            if !binds.is_empty() {
                all.push((name, binds.clone().into()));
            }
        }
        if !self.tmpfs.is_empty() {
            all.push(("TemporaryFileSystem", self.tmpfs.clone().into()));
        }
        all
    }
}

/// Names and values of a unit's properties.
pub(super) type Properties<'a> = Vec<(&'static str, Variant<'a>)>;

fn micros(time: Duration) -> Variant<'static> {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

fn bind(path: &Path) -> Bind {
    let path = path.to_string_lossy().into_owned();
    (path.clone(), path, false, MS_REC)
}
