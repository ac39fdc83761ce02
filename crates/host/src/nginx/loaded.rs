//! Whether the running nginx has read a site since its file was touched.
//!
//! nginx does not tell what it serves. What can be known: its workers have the
//! configuration of the time when they were started. So a file that was touched
//! after the oldest worker began may not be what is served.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::workers;

/// Passes that run together share one look at the workers.
const MAX_AGE: Duration = Duration::from_millis(500);
/// A process's start is known to a hundredth of a second, and the clocks of
/// files tick as slowly.
const TOLERANCE_NANOS: i128 = 100_000_000;
/// The unit of times in `/proc/PID/stat`: USER_HZ, 100 on all of Linux.
const TICKS_PER_SECOND: i128 = 100;

/// Looks at nginx's workers.
#[derive(Debug)]
pub(super) struct Loaded {
    config: PathBuf,
    /// When the workers that serve began, in nanoseconds of Unix time, and when
    /// that was looked at.
    last: Mutex<Option<(Instant, Option<i128>)>>,
}

impl Loaded {
    pub(super) fn new(config: PathBuf) -> Self {
        Self {
            config,
            last: Mutex::default(),
        }
    }

    /// `None` if there is no such file or nginx cannot be looked at.
    pub(super) fn has_read(&self, site: &Path) -> Option<bool> {
        let stat = rustix::fs::lstat(site).ok()?;
        let touched = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
        let is_newer = |began: i128| touched <= began + TOLERANCE_NANOS;
        if is_newer(self.began(MAX_AGE)?) {
            return Some(true);
        }
        // It may have been reloaded since the last look.
        Some(is_newer(self.began(Duration::ZERO)?))
    }

    fn began(&self, max_age: Duration) -> Option<i128> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((at, began)) = *last
            && at + max_age > now
        {
            return began;
        }
        let pids = workers::serving(&self.config);
        let began = pids.and_then(|pids| pids.into_iter().filter_map(began).min());
        *last = Some((now, began));
        began
    }
}

/// When a process began, in nanoseconds of Unix time.
fn began(pid: u32) -> Option<i128> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().ok()?;
    let ticks = start_ticks(&stat)?;
    let hundredths: i128 = uptime
        .split_ascii_whitespace()
        .next()?
        .replace('.', "")
        .parse()
        .ok()?;
    let age = hundredths * 10_000_000 - ticks * (1_000_000_000 / TICKS_PER_SECOND);
    Some(i128::try_from(now.as_nanos()).ok()? - age)
}

/// The 22nd field; the second is the name in brackets and may hold anything.
fn start_ticks(stat: &str) -> Option<i128> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_began_between_two_looks_at_the_clock() {
        let now = || {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            i128::try_from(now.as_nanos()).unwrap()
        };
        let before = now();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let began = began(child.id()).unwrap();
        let after = now();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(before - TOLERANCE_NANOS < began && began < after + TOLERANCE_NANOS);
    }

    #[test]
    fn a_name_with_brackets_is_skipped() {
        let fields = (3..=22)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(start_ticks(&format!("7 (a ) b) {fields} 23")), Some(22));
    }
}
