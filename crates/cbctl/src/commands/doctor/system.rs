//! The checks of the machine: user, systemd, D-Bus, control groups, clock and
//! file system.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{ioctl_ficlone, statvfs};

use super::Finding;
use crate::error::plain;

/// What a full disk is near at.
const LITTLE_SPACE: u64 = 2 << 30;

/// The first line that a program says of itself; nothing if it cannot be run.
pub(super) fn program(name: &str, arguments: &[&str]) -> Option<String> {
    let path = find(name)?;
    let output = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    // nginx says its version to standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Some(text.lines().next().unwrap_or(name).trim().to_owned())
}

/// Where a program is: in PATH or where root has its programs.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    let roots = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/sbin"];
    let mut all = folders.chain(roots.map(PathBuf::from));
    all.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
}

pub(super) fn user() -> Finding {
    const CHECK: &str = "user";
    if rustix::process::geteuid().is_root() {
        Finding::ok(CHECK, "root")
    } else {
        let found = "not root: some of what follows cannot be seen";
        Finding::warn(CHECK, found, "sudo cbctl doctor")
    }
}

pub(super) fn systemd() -> Finding {
    const CHECK: &str = "systemd";
    let mend = "the operator needs a machine that systemd started";
    if !Path::new("/run/systemd/system").is_dir() {
        return Finding::fail(CHECK, "it does not run here", mend);
    }
    let Some(text) = program("systemctl", &["--version"]) else {
        return Finding::fail(CHECK, "systemctl cannot be run", mend);
    };
    let version = text
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    match version {
        Some(version @ 0..250_u32) => Finding::fail(
            CHECK,
            format!("version {version} is too old for what units use"),
            "systemd 250 or newer, as in Debian 12",
        ),
        _ => Finding::ok(CHECK, text),
    }
}

pub(super) fn dbus() -> Finding {
    const CHECK: &str = "D-Bus";
    let path = "/run/dbus/system_bus_socket";
    match UnixStream::connect(path) {
        Ok(_) => Finding::ok(CHECK, "the system bus answers"),
        Err(error) => Finding::fail(
            CHECK,
            format!("{path}: {}", plain(&error)),
            "apt install dbus && systemctl start dbus",
        ),
    }
}

pub(super) fn cgroups() -> Finding {
    const CHECK: &str = "control groups";
    match std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        Ok(text) => {
            let known: Vec<&str> = text.split_whitespace().collect();
            let missing: Vec<&str> = ["cpu", "memory", "pids"]
                .into_iter()
                .filter(|name| !known.contains(name))
                .collect();
            if missing.is_empty() {
                return Finding::ok(CHECK, "version 2");
            }
            let found = format!("version 2 without {}", missing.join(", "));
            Finding::warn(
                CHECK,
                found,
                "limits of these are not enforced; see the kernel's cgroup_disable=",
            )
        }
        Err(_) => Finding::warn(
            CHECK,
            "version 1: limits and `cbctl top` may not work for all of them",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ),
    }
}

/// Each service of a tenant has a namespace of users of its own.
pub(super) fn namespaces() -> Finding {
    const CHECK: &str = "user namespaces";
    let most = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
    match most.ok().and_then(|most| most.trim().parse::<u64>().ok()) {
        Some(0) => Finding::fail(
            CHECK,
            "user.max_user_namespaces is 0: tenants' services do not start",
            "take it out of /etc/sysctl.d, and restart the machine",
        ),
        Some(most) => Finding::ok(CHECK, format!("up to {most}")),
        None => Finding::fail(
            CHECK,
            "this kernel has none: tenants' services do not start",
            "use a kernel with CONFIG_USER_NS, as the distribution's",
        ),
    }
}

pub(super) fn clock() -> Finding {
    const CHECK: &str = "clock";
    let synchronized = "--property=NTPSynchronized";
    match program("timedatectl", &["show", synchronized, "--value"]).as_deref() {
        Some("yes") => Finding::ok(CHECK, "synchronized"),
        Some(_) => Finding::warn(
            CHECK,
            "not synchronized: times of backups and certificates may be wrong",
            "apt install systemd-timesyncd, or chrony",
        ),
        None => Finding::warn(
            CHECK,
            "it cannot be told whether it is synchronized",
            "is systemd-timedated there? `timedatectl` tells",
        ),
    }
}

/// The folder itself, or the nearest above it that is there.
fn existing(folder: &Path) -> PathBuf {
    let mut above = folder.ancestors();
    let found = above.find(|path| path.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

pub(super) fn space(state: &Path) -> Finding {
    const CHECK: &str = "disk space";
    let folder = existing(state);
    let shown = folder.display();
    match statvfs(&folder) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let text = format!("{} MiB are free in {shown}", free >> 20);
            if free < LITTLE_SPACE {
                let mend = "make room: each upgrade keeps a copy of a database";
                Finding::warn(CHECK, text, mend)
            } else {
                Finding::ok(CHECK, text)
            }
        }
        Err(error) => {
            let found = format!("cannot look at {shown}: {error}");
            Finding::fail(CHECK, found, "is the file system mounted?")
        }
    }
}

/// Whether a copy of a file can share its blocks.
pub(super) fn reflinks(state: &Path) -> Finding {
    const CHECK: &str = "reflinks";
    let folder = existing(state);
    let tried = || -> std::io::Result<bool> {
        let from = tempfile::NamedTempFile::new_in(&folder)?;
        std::io::Write::write_all(&mut from.as_file(), b"cbctl doctor")?;
        let to: File = tempfile::tempfile_in(&folder)?;
        Ok(ioctl_ficlone(&to, from.as_file()).is_ok())
    };
    let shown = folder.display();
    match tried() {
        Ok(true) => Finding::ok(CHECK, format!("{shown} has them: backups take no time")),
        Ok(false) => Finding::warn(
            CHECK,
            format!("{shown} has none: a backup copies the whole database"),
            "btrfs, or xfs with reflink=1, if databases are large",
        ),
        Err(error) => {
            let found = format!("cannot write to {shown}: {}", plain(&error));
            Finding::warn(CHECK, found, "run it as root")
        }
    }
}
