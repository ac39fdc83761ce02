//! The port range, reserved from the kernel's choice.
//!
//! Without this, an outgoing connection of any process may be given a tenant's
//! port while its service restarts. The setting is one list for the whole host,
//! so what others reserved stays in it.

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

/// Reserves the ports from `first` to `last` now and at every boot. Returns
/// whether anything had to be changed.
///
/// # Errors
/// A condition of the host and not of any tenant: tenants work without it.
#[expect(
    clippy::disallowed_methods,
    reason = "a setting of the kernel is no file to be replaced"
)]
pub fn reserve(file: &Path, first: u16, last: u16) -> Result<bool, SysctlError> {
    let live = |what| move |source| SysctlError::Live { what, source };
    let current = std::fs::read_to_string(LIVE).map_err(live("read"))?;
    let merged = merge(&current, first, last);
    let mut changed = write_file(file, &merged)?;
    if ranges(&current) != ranges(&merged) {
        std::fs::write(LIVE, &merged).map_err(live("write"))?;
        changed = true;
    }
    Ok(changed)
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
    all.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (from, to) in all {
        match merged.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            _ => merged.push((from, to)),
        }
    }
    let text = |(from, to): &(u16, u16)| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    };
    merged.iter().map(text).collect::<Vec<_>>().join(",")
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
