//! What services use of the processor and of memory, from their control groups.
//!
//! One walk over the slices finds the groups of all services, whichever slice
//! they are in. Both layouts of the kernel are read: the one hierarchy of
//! version 2, and the hierarchies by controller of version 1. What a kernel or
//! a container does not account for is absent, and never zero.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// What one service used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the service was started, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Memory in bytes, without the page cache that can be dropped.
    pub memory_bytes: Option<u64>,
}

/// What the services of these units use, by unit. One that does not run, or
/// has no control group below `root`, is not listed. It blocks.
#[must_use]
pub fn of_units(root: &Path, units: &BTreeSet<String>) -> BTreeMap<String, Usage> {
    let mut out: BTreeMap<String, Usage> = BTreeMap::new();
    if root.join("cgroup.controllers").exists() {
        for (unit, group) in groups(root, units) {
            let usage = Usage {
                cpu_micros: field(&group.join("cpu.stat"), "usage_usec"),
                memory_bytes: memory(&group, "memory.current", "inactive_file"),
            };
            out.insert(unit, usage);
        }
        return out;
    }
    for (unit, group) in groups(&root.join("cpuacct"), units) {
        let nanos = number(&group.join("cpuacct.usage"));
        out.entry(unit).or_default().cpu_micros = nanos.map(|nanos| nanos / 1000);
    }
    for (unit, group) in groups(&root.join("memory"), units) {
        let bytes = memory(&group, "memory.usage_in_bytes", "total_inactive_file");
        out.entry(unit).or_default().memory_bytes = bytes;
    }
    out
}

/// The folders of the units' groups, in the slices below `root`.
fn groups(root: &Path, units: &BTreeSet<String>) -> Vec<(String, PathBuf)> {
    let (mut out, mut left) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = left.pop() {
        // A slice may go while its parent is read.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if units.contains(&name) {
                out.push((name, entry.path()));
            } else if name.ends_with(".slice") {
                left.push(entry.path());
            }
        }
    }
    out
}

/// Memory that is in use, as Kubernetes counts it.
fn memory(group: &Path, total: &str, cache: &str) -> Option<u64> {
    let total = number(&group.join(total))?;
    let cache = field(&group.join("memory.stat"), cache).unwrap_or_default();
    Some(total.saturating_sub(cache))
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A value of a file of `NAME VALUE` lines.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    value.parse().ok()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files of a test")]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn usage(root: &tempfile::TempDir) -> BTreeMap<String, Usage> {
        let units = ["a-api.service", "b-api.service", "c-api.service"];
        of_units(root.path(), &units.map(str::to_owned).into())
    }

    fn used(cpu_micros: Option<u64>, memory_bytes: Option<u64>) -> Usage {
        Usage {
            cpu_micros,
            memory_bytes,
        }
    }

    #[test]
    fn version_2_is_one_tree() {
        let root = tree(&[
            ("cgroup.controllers", "cpu memory\n"),
            (
                "system.slice/a-api.service/cpu.stat",
                "usage_usec 70\nuser_usec 1\n",
            ),
            ("system.slice/a-api.service/memory.current", "1000\n"),
            (
                "system.slice/a-api.service/memory.stat",
                "anon 1\ninactive_file 400\n",
            ),
            ("system.slice/x.slice/b-api.service/cpu.stat", "nothing\n"),
            ("system.slice/other.service/memory.current", "9\n"),
        ]);
        let found = usage(&root);
        assert_eq!(found["a-api.service"], used(Some(70), Some(600)));
        assert_eq!(found["b-api.service"], used(None, None));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn version_1_has_a_tree_for_each_controller() {
        let root = tree(&[
            (
                "cpuacct/system.slice/a-api.service/cpuacct.usage",
                "5000000\n",
            ),
            (
                "memory/system.slice/a-api.service/memory.usage_in_bytes",
                "8\n",
            ),
            (
                "memory/system.slice/c-api.service/memory.usage_in_bytes",
                "7\n",
            ),
        ]);
        let found = usage(&root);
        assert_eq!(found["a-api.service"], used(Some(5000), Some(8)));
        assert_eq!(found["c-api.service"], used(None, Some(7)));
    }

    #[test]
    fn where_nothing_is_accounted_nothing_is_said() {
        assert!(usage(&tree(&[("systemd/x", "")])).is_empty());
    }
}
