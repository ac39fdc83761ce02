//! The root file system that all test hosts share, read-only.
//!
//! Built once by debootstrap (half a minute), kept in the cache folder under
//! the hash of its recipe, built beside and renamed, so that it is complete or
//! absent; a lock makes concurrent runs wait for the one that builds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

use crate::HostError;
use crate::cache::{self, short_hash};
use crate::error::tail;

const SCRIPT: &str = include_str!("rootfs.sh");
const DEFAULT_SUITE: &str = "bookworm";
/// An empty mirror lets debootstrap take its own.
const DEFAULT_MIRROR: &str = "";

/// The root file system's folder, built first if need be. `CB_DEBIAN_MIRROR`
/// names another mirror than Debian's own.
///
/// # Errors
/// The cache cannot be written, or debootstrap fails.
pub fn ensure() -> Result<PathBuf, HostError> {
    let parent = cache::dir()?.join("rootfs");
    let suite = suite();
    let key = short_hash(&[SCRIPT.as_bytes(), suite.as_bytes()]);
    let target = parent.join(format!("{suite}-{key}"));
    if target.exists() {
        return Ok(target);
    }
    fs::create_dir_all(&parent).map_err(HostError::file("create", &parent))?;
    let lock = parent.join("lock");
    let file = File::create(&lock).map_err(HostError::file("create", &lock))?;
    file.lock().map_err(HostError::file("lock", &lock))?;
    if !target.exists() {
        build(&parent, &suite, &target)?;
    }
    Ok(target)
}

fn build(parent: &Path, suite: &str, target: &Path) -> Result<(), HostError> {
    // Nobody else builds while the lock is held: these are leftovers.
    for entry in fs::read_dir(parent).map_err(HostError::file("list", parent))? {
        let path = entry.map_err(HostError::file("list", parent))?.path();
        if path.extension().is_some_and(|ending| ending == "part") {
            fs::remove_dir_all(&path).map_err(HostError::file("remove", &path))?;
        }
    }
    let part = parent.join(format!("{}.part", process::id()));
    let log = target.with_extension("log");
    let output = File::create(&log).map_err(HostError::file("create", &log))?;
    let errors = output.try_clone().map_err(HostError::file("write", &log))?;
    let mirror = env::var("CB_DEBIAN_MIRROR").unwrap_or_else(|_| DEFAULT_MIRROR.to_owned());
    let status = Command::new("sh")
        .args(["-c", SCRIPT, "rootfs.sh"])
        .arg(&part)
        .args([suite, &mirror])
        .stdout(output)
        .stderr(errors)
        .status()
        .map_err(HostError::program("sh"))?;
    if !status.success() {
        let text = fs::read_to_string(&log).unwrap_or_default();
        return Err(HostError::Rootfs {
            log,
            tail: tail(&text, 20),
        });
    }
    fs::rename(&part, target).map_err(HostError::file("create", target))
}

/// This machine's own Debian release, so that programs built here run there.
fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    suite_of(&text).unwrap_or(DEFAULT_SUITE).to_owned()
}

fn suite_of(os_release: &str) -> Option<&str> {
    let value = |key: &str| {
        os_release.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name == key).then(|| value.trim_matches('"'))
        })
    };
    (value("ID") == Some("debian"))
        .then(|| value("VERSION_CODENAME"))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::suite_of;

    #[test]
    fn only_debian_names_a_suite() {
        let debian = "ID=debian\nVERSION_CODENAME=trixie\n";
        assert_eq!(suite_of(debian), Some("trixie"));
        assert_eq!(suite_of("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(suite_of("ID=debian\n"), None);
    }
}
