//! The port range, reserved from the kernel's choice.
//!
//! Without this, an outgoing connection of any process may be given a tenant's
//! port while its service restarts. The setting is one list for the whole host,
//! so what others reserved stays in it.
//!
//! A file with the operator's mark and the range in it says that the range was
//! reserved before: that it is not any more is somebody's doing.

use std::path::{Path, PathBuf};

use cb_core::mark::Owner;

use crate::files::{self, FileCache, FileError, FileSpec};

const NAME: &str = "net.ipv4.ip_local_reserved_ports";
const LIVE: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Why the range is not reserved.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The file for the next boot.
    #[error("cannot reserve the port range for the next boot")]
    File(#[from] FileError),
    /// A file that is not ours is in the place.
    #[error("{} is there without the operator's mark; it is not touched. Move it away or set paths.sysctl in the Host", .0.display())]
    Conflict(PathBuf),
    /// The running kernel's setting.
    #[error(
        "cannot {what} {LIVE}; the port range is not reserved until the next boot (in a container this is the outer host's to do)"
    )]
    Live {
        /// `read` or `write`.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// What somebody changed of a reservation that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What does not reserve the range, in words.
    pub detail: String,
    /// Whether it is reserved again.
    pub put_back: bool,
}

/// Reserves the ports from `first` to `last` now and at every boot; if somebody
/// took that back, only if it is to `correct` that. `made` says that it was
/// reserved since the operator began.
///
/// # Errors
/// A condition of the host and not of any tenant: tenants work without it.
#[expect(
    clippy::disallowed_methods,
    reason = "a setting of the kernel is no file to be replaced"
)]
pub fn reserve(
    file: &Path,
    (first, last): (u16, u16),
    made: bool,
    correct: bool,
) -> Result<Option<Changed>, SysctlError> {
    let live = |what| move |source| SysctlError::Live { what, source };
    let current = std::fs::read_to_string(LIVE).map_err(live("read"))?;
    let changed = changed(file, &current, (first, last), made);
    if changed.is_some() && !correct {
        return Ok(changed);
    }
    let merged = merge(&current, first, last);
    write_file(file, &merged)?;
    if ranges(&current) != ranges(&merged) {
        std::fs::write(LIVE, &merged).map_err(live("write"))?;
    }
    Ok(changed.map(|changed| Changed {
        put_back: true,
        ..changed
    }))
}

/// What somebody changed, seen from the kernel's list and the file.
fn changed(file: &Path, current: &str, range: (u16, u16), made: bool) -> Option<Changed> {
    let in_file = FileCache::content(file).is_ok_and(|there| {
        let text = String::from_utf8_lossy(&there);
        let lists = text.lines().filter_map(|line| line.split_once('='));
        let mut lists = lists.filter(|(name, _)| name.trim() == NAME);
        Owner::of(&there) == Some(Owner::Host) && lists.any(|(_, list)| has(list, range))
    });
    let live = has(current, range);
    if (live && in_file) || !(made || in_file) {
        return None;
    }
    let mut details = Vec::new();
    if !live {
        details.push("the running kernel does not reserve the port range".to_owned());
    }
    if !in_file {
        details.push(format!(
            "{} does not have it for the next boot",
            file.display()
        ));
    }
    Some(Changed {
        detail: details.join("; "),
        put_back: false,
    })
}

/// Whether a list has the whole range.
fn has(list: &str, (first, last): (u16, u16)) -> bool {
    let whole = |(from, to): &(u16, u16)| *from <= first && last <= *to;
    // Ranges beside each other are one.
    join(ranges(list)).iter().any(whole)
}

fn write_file(file: &Path, list: &str) -> Result<bool, SysctlError> {
    let content = format!("{}{NAME} = {list}\n", Owner::Host.header());
    match FileCache::content(file) {
        Ok(there) if there == content.as_bytes() => return Ok(false),
        Ok(there) if Owner::of(&there) != Some(Owner::Host) => {
            return Err(SysctlError::Conflict(file.to_owned()));
        }
        // Missing, or ours with another list.
        _ => {}
    }
    files::write(file, content.as_bytes(), FileSpec::own(0o644))?;
    Ok(true)
}

/// The list with this range in it, in the kernel's notation.
fn merge(current: &str, first: u16, last: u16) -> String {
    let mut all = ranges(current);
    all.push((first, last));
    let text = |(from, to): &(u16, u16)| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    };
    join(all).iter().map(text).collect::<Vec<_>>().join(",")
}

/// In order, with those that touch as one.
fn join(mut all: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    all.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (from, to) in all {
        match joined.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

fn ranges(list: &str) -> Vec<(u16, u16)> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    list.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 3.
    #[test]
    fn what_others_reserved_stays_reserved() {
        assert_eq!(merge("\n", 32300, 42299), "32300-42299");
        assert_eq!(
            merge("8080,9000-9010\n", 32300, 42299),
            "8080,9000-9010,32300-42299"
        );
        assert_eq!(
            merge("32000-32299,42000-43000", 32300, 42299),
            "32000-43000"
        );
        let once = merge("8080", 32300, 42299);
        assert_eq!(merge(&once, 32300, 42299), once);
    }

    #[test]
    fn what_was_made_is_missed_and_what_others_add_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("60-cb.conf");
        let range = (32300, 42299);
        let look = |live: &str, made| {
            let changed = changed(&file, live, range, made);
            changed.map(|changed| changed.detail)
        };
        // Nothing was made yet.
        assert_eq!(look("\n", false), None);
        assert!(look("\n", true).unwrap().contains("; "));
        write_file(&file, "32300-42299").unwrap();
        assert_eq!(look("32300-42299", false), None);
        assert_eq!(look("8080,32000-32299,32300-50000", true), None);
        // Found after a restart too.
        let told = look("8080", false).unwrap();
        assert!(told.contains("kernel") && !told.contains("boot"), "{told}");
        assert!(look("32301-42299", false).is_some());
        write_file(&file, "8080").unwrap();
        let told = look("32300-42299", true).unwrap();
        assert!(told.contains("boot") && !told.contains("kernel"), "{told}");
        // Another range is a change of ours.
        assert_eq!(look("32300-42299", false), None);
    }

    #[test]
    fn a_file_without_the_mark_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("60-cb.conf");
        assert!(write_file(&file, "1-2").unwrap());
        assert!(!write_file(&file, "1-2").unwrap());
        assert!(write_file(&file, "1-3").unwrap());
        std::fs::write(&file, "net.ipv4.ip_forward = 1\n").unwrap();
        let error = write_file(&file, "1-2").unwrap_err();
        assert!(matches!(error, SysctlError::Conflict(_)), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"net.ipv4.ip_forward = 1\n");
    }
}
