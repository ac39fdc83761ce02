//! The folder that the manifests are read from: one per commit, and a link to
//! the one in effect.
//!
//! A folder is named by its commit and its content, and is whole: it is filled
//! beside, and moved in place. The link is replaced in one step. So a reader finds one commit or the
//! other, also after a power cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cb_core::digest;
use cb_core::types::CommitId;

use crate::files::{self, FileError, FileSpec};

/// What the name of a folder that is being filled starts with.
const TEMPORARY: &str = ".cb-tmp-";

/// The folder that the manifests are read from, in the Host's folder of state.
#[must_use]
pub fn current(state: &Path) -> PathBuf {
    state.join("source/current")
}

/// The commit that is in effect.
#[must_use]
pub fn published(state: &Path) -> Option<CommitId> {
    let target = std::fs::read_link(current(state)).ok()?;
    let folder = state.join("source").join(&target);
    let (commit, _) = target.file_name()?.to_str()?.split_once('.')?;
    commit.parse().ok().filter(|_| folder.is_dir())
}

/// Makes these files what the manifests are read from. It blocks.
///
/// # Errors
/// The commit before is still in effect.
pub fn publish(
    state: &Path,
    commit: &CommitId,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<(), FileError> {
    let revisions = state.join("source/revisions");
    files::ensure_dir(&revisions, FileSpec::own(0o700))?;
    let parts = files
        .iter()
        .flat_map(|(name, content)| [name.as_bytes(), content.as_slice()]);
    // Another folder of the same commit is something else.
    let name = format!("{commit}.{}", &digest::of_parts(parts)[..16]);
    let place = revisions.join(&name);
    let target = Path::new("revisions").join(&name);
    let link = current(state);
    let in_effect = std::fs::read_link(&link).is_ok_and(|now| now == target);
    if !in_effect || !place.is_dir() {
        files::remove_dir(&place)?;
        let beside = revisions.join(format!("{TEMPORARY}{commit}"));
        files::remove_dir(&beside)?;
        files::ensure_dir(&beside, FileSpec::own(0o700))?;
        for (name, content) in files {
            let path = beside.join(name);
            if let Some(folder) = path.parent() {
                files::ensure_dir(folder, FileSpec::own(0o700))?;
            }
            files::write(&path, content, FileSpec::own(0o600))?;
        }
        files::move_dir(&beside, &place)?;
    }
    files::relink(&target, &link)?;
    tidy(&revisions, &name)
}

/// Removes what is not in effect. A reader that is in it reads again.
fn tidy(revisions: &Path, keep: &str) -> Result<(), FileError> {
    let failed = |error| FileError::io("read the folder", revisions, error);
    for entry in std::fs::read_dir(revisions).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() != keep {
            files::remove_dir(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> BTreeMap<String, Vec<u8>> {
        let names = ["a.yaml", "x/b.yaml"];
        let of = |name: &str| (name.to_owned(), text.as_bytes().to_vec());
        names.into_iter().map(of).collect()
    }

    fn commit(letter: &str) -> CommitId {
        letter.repeat(40).parse().unwrap()
    }

    /// Law 5: one commit or the other, and never a mixture.
    #[test]
    fn a_commit_takes_the_place_of_the_one_before() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        assert_eq!(published(state), None);
        for (letter, text) in [("a", "1"), ("b", "2"), ("b", "2"), ("b", "3")] {
            publish(state, &commit(letter), &files(text)).unwrap();
            assert_eq!(published(state), Some(commit(letter)));
            let found = std::fs::read_to_string(current(state).join("x/b.yaml")).unwrap();
            assert_eq!(found, text);
        }
        let left = std::fs::read_dir(state.join("source/revisions")).unwrap();
        assert_eq!(left.count(), 1);
    }

    /// A commit that was begun and not brought into effect is made anew.
    #[test]
    fn a_half_made_commit_is_not_trusted() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let revisions = state.join("source/revisions");
        std::fs::create_dir_all(revisions.join(commit("a").as_str())).unwrap();
        let half = revisions.join(format!("{TEMPORARY}{}", commit("a")));
        std::fs::create_dir_all(&half).unwrap();
        std::fs::write(half.join("old.yaml"), "").unwrap();
        publish(state, &commit("a"), &files("new")).unwrap();
        let names = std::fs::read_dir(current(state)).unwrap().count();
        assert_eq!(names, 2);
    }
}
