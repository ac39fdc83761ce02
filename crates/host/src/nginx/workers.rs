//! Whether a reload has taken effect.
//!
//! `nginx -s reload` only sends a signal: the old workers go on serving the old
//! configuration until the master has started new ones, and for good if it
//! cannot (a port that is taken). See "Changing Configuration" in
//! <https://nginx.org/en/docs/control.html>.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Where nginx writes its master's process id unless it is configured.
const PID_FILE: &str = "/run/nginx.pid";
/// How often the processes are looked at: there is no event for them.
const POLL: Duration = Duration::from_millis(5);

/// The workers that ran before a reload.
#[derive(Debug)]
pub(super) struct Workers {
    master: u32,
    before: Vec<u32>,
}

impl Workers {
    /// The workers that run now; `None` if the master cannot be found.
    pub(super) fn now(config: &Path) -> Option<Self> {
        let master = std::fs::read_to_string(pid_file(config))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        Some(Self {
            master,
            before: children(master)?,
        })
    }

    /// Waits until new workers serve and the old ones take no connections any
    /// more. `false` if that does not happen in time.
    pub(super) async fn replaced(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        loop {
            if self.are_replaced() {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            sleep(POLL).await;
        }
    }

    fn are_replaced(&self) -> bool {
        let Some(now) = children(self.master) else {
            return false;
        };
        let (old, new): (Vec<u32>, Vec<u32>) =
            now.iter().partition(|pid| self.before.contains(pid));
        !new.is_empty() && old.into_iter().all(is_leaving)
    }
}

/// The workers that take connections now; `None` if the master cannot be found.
pub(super) fn serving(config: &Path) -> Option<Vec<u32>> {
    let mut workers = Workers::now(config)?.before;
    workers.retain(|pid| !is_leaving(*pid));
    Some(workers)
}

/// What the main configuration says, or nginx's default.
fn pid_file(config: &Path) -> PathBuf {
    directive(config, "pid").map_or_else(|| PathBuf::from(PID_FILE), PathBuf::from)
}

/// The user that nginx's workers run as: what the main configuration says, or
/// nginx's default.
#[must_use]
pub fn user(config: &Path) -> String {
    let named = directive(config, "user");
    let named = named.as_deref().unwrap_or("nobody");
    // A group may follow.
    named.split_whitespace().next().unwrap_or(named).to_owned()
}

/// The value of a directive that has a line of its own in the main
/// configuration.
fn directive(config: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix(name)?;
        let value = rest.strip_prefix([' ', '\t'])?.split(';').next()?;
        Some(value.trim().to_owned())
    })
}

/// The children of a process, see `/proc/PID/task/TID/children` in proc(5).
fn children(pid: u32) -> Option<Vec<u32>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Some(
        text.split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect(),
    )
}

/// A worker that finishes its connections, or has, says so in its title.
fn is_leaving(pid: u32) -> bool {
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(title) => title.is_empty() || String::from_utf8_lossy(&title).contains("shutting down"),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_and_the_user_are_the_configured_ones() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, "user www-data;\n  pid  /run/other.pid ; # x\n").unwrap();
        assert_eq!(pid_file(&config), Path::new("/run/other.pid"));
        assert_eq!(user(&config), "www-data");
        std::fs::write(&config, "pidgeon 1;\nuser  web staff;\n").unwrap();
        assert_eq!(pid_file(&config), Path::new(PID_FILE));
        assert_eq!(user(&config), "web");
        std::fs::write(&config, "").unwrap();
        assert_eq!(user(&config), "nobody");
    }

    /// A process that is gone, or waits to be reaped, counts as leaving.
    #[test]
    fn a_process_is_seen_until_it_ends() {
        use std::io::{Read as _, Write as _};
        use std::process::{Command, Stdio};

        let piped = Stdio::piped;
        let mut child = Command::new("cat")
            .stdin(piped())
            .stdout(piped())
            .spawn()
            .unwrap();
        // Its answer says that it is `cat` by now.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        assert!(!is_leaving(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_leaving(child.id()));
    }
}
