//! What the kernel was last given as the table of rules, kept over restarts of
//! the operator: so that what somebody changes meanwhile is told too.
//!
//! It is compared with what is there, and not with what the operator would load
//! now: another version of it may write the rules otherwise. After a boot, and
//! with another `nft`, which may show the same rules in other words, the table
//! says nothing; nothing is told then.

use std::path::{Path, PathBuf};

use cb_core::digest::of_content;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileCache, FileError, FileSpec};

/// The rules that were loaded, as digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memo {
    /// Which boot of the machine, or start of the container, that was.
    boot: String,
    /// The version of the program that showed the table.
    nft: String,
    /// The table, as the kernel showed it.
    table: String,
    /// The file that is loaded at boot.
    file: String,
}

/// What is there now.
#[derive(Debug)]
pub(super) struct Now<'a> {
    /// The version of `nft`.
    pub(super) nft: &'a str,
    /// The table; `None` if there is none.
    pub(super) table: Option<&'a str>,
    /// The file of rules; empty if there is none.
    pub(super) file: &'a [u8],
}

impl Memo {
    /// Of what was just loaded. `None` if there is nothing to compare with
    /// later.
    pub(super) fn of(now: &Now<'_>) -> Option<Self> {
        Some(Self {
            boot: boot()?,
            nft: now.nft.to_owned(),
            table: of_content(now.table?.as_bytes()),
            file: of_content(now.file),
        })
    }

    /// What was kept, if it can be read.
    pub(super) fn read(rules: &Path) -> Option<Self> {
        let content = FileCache::content(&place(rules)).ok()?;
        serde_json::from_slice(&content).ok()
    }

    /// Keeps it beside the file of rules.
    pub(super) fn write(&self, rules: &Path) -> Result<(), FileError> {
        let path = place(rules);
        let content = serde_json::to_vec(self)
            .map_err(|error| FileError::io("write", &path, std::io::Error::from(error)))?;
        files::write(&path, &content, FileSpec::own(0o600))
    }

    /// Forgets it, before other rules are loaded: cut off in between, there is
    /// nothing to compare with.
    pub(super) fn forget(rules: &Path) -> Result<(), FileError> {
        files::remove(&place(rules)).map(drop)
    }

    /// What somebody changed since, in words.
    pub(super) fn difference(&self, now: &Now<'_>, rules: &Path) -> Option<String> {
        if boot().as_ref() == Some(&self.boot) {
            match now.table {
                None => return Some("the table is gone".to_owned()),
                Some(table)
                    if self.nft == now.nft && self.table != of_content(table.as_bytes()) =>
                {
                    return Some("the table has other rules".to_owned());
                }
                Some(_) => {}
            }
        }
        let is_same = self.file == of_content(now.file);
        (!is_same).then(|| format!("{} has other rules", rules.display()))
    }
}

fn place(rules: &Path) -> PathBuf {
    rules.with_extension("loaded.json")
}

/// The kernel's boot, and when its first process was started: a container
/// starts anew without another boot.
fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = std::fs::read_to_string("/proc/1/stat").ok()?;
    // The 22nd field; the second is the name in brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let started = rest.split_ascii_whitespace().nth(19)?;
    Some(format!("{} {started}", id.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<'a>(nft: &'a str, table: Option<&'a str>, file: &'a str) -> Now<'a> {
        let file = file.as_bytes();
        Now { nft, table, file }
    }

    #[test]
    fn what_somebody_changed_is_told_and_what_changed_by_itself_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("network.nft");
        assert_eq!(Memo::read(&rules), None);
        let loaded = now("1.0", Some("table"), "rules");
        Memo::of(&loaded).unwrap().write(&rules).unwrap();
        let memo = Memo::read(&rules).unwrap();
        let told = |memo: &Memo, now: Now<'_>| memo.difference(&now, &rules);
        assert_eq!(told(&memo, loaded), None);
        let gone = told(&memo, now("1.0", None, "rules")).unwrap();
        assert_eq!(gone, "the table is gone");
        let other = told(&memo, now("1.0", Some("other"), "rules")).unwrap();
        assert_eq!(other, "the table has other rules");
        let file = told(&memo, now("1.0", Some("table"), "edited")).unwrap();
        assert!(file.ends_with("network.nft has other rules"), "{file}");
        // Another nft shows the same rules in other words.
        assert_eq!(told(&memo, now("1.1", Some("Table"), "rules")), None);
        // At a boot all tables are gone; what is loaded then can be edited.
        let boot = "another".to_owned();
        let before = Memo { boot, ..memo };
        assert_eq!(told(&before, now("1.0", None, "rules")), None);
        assert!(told(&before, now("1.0", None, "edited")).is_some());

        Memo::forget(&rules).unwrap();
        assert_eq!(Memo::read(&rules), None);
        assert_eq!(Memo::of(&now("1.0", None, "rules")), None);
    }
}
