//! A cgroup per host, in the hierarchies that systemd uses.
//!
//! systemd-nspawn with `--keep-unit` puts its payload below the cgroup it was
//! started in: without one of their own, two hosts would share one, and each
//! systemd would kill the other's services.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;

use crate::{HostError, process};

const MOUNT: &str = "/sys/fs/cgroup";

/// Creates the host's cgroups; a process that is to live in them writes itself
/// into their `cgroup.procs`.
pub(crate) fn create(name: &str) -> Result<Vec<PathBuf>, HostError> {
    let folders = folders(name);
    for folder in &folders {
        fs::create_dir_all(folder).map_err(HostError::file("create", folder))?;
    }
    Ok(folders)
}

/// Kills what runs in the host's cgroups and removes them.
pub(crate) fn remove(name: &str) -> Result<(), HostError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    for folder in folders(name).iter().filter(|folder| folder.exists()) {
        loop {
            for pid in processes(folder) {
                process::signal(pid, Signal::KILL);
            }
            match remove_tree(folder) {
                Ok(()) => break,
                // Killed processes take a moment to leave.
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(HostError::file("remove", folder)(error)),
            }
        }
    }
    Ok(())
}

fn folders(name: &str) -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    let roots = if mount.join("cgroup.controllers").exists() {
        vec![mount.to_owned()]
    } else {
        // With cgroup v1: systemd's own hierarchy, and its hybrid companion.
        vec![mount.join("systemd"), mount.join("unified")]
    };
    roots
        .into_iter()
        .filter(|root| root.join("cgroup.procs").exists())
        .map(|root| root.join(name))
        .collect()
}

fn processes(folder: &Path) -> Vec<u32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut found = process::parse(&own);
    for child in child_folders(folder) {
        found.extend(processes(&child));
    }
    found
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for child in child_folders(folder) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn child_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
