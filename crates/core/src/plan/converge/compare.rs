//! A managed file or folder beside what was seen in its place.

use std::path::Path;

use super::Planner;
use crate::desired::{Folder, FolderOwner, ManagedFile};
use crate::observed::PathState;
use crate::plan::{Action, Aspect, Cause};

/// How a file on the host differs from the desired one.
pub(super) enum Difference {
    None,
    Differs(String),
    Conflict(String),
}

impl Planner<'_> {
    pub(super) fn folder_differs(&self, folder: &Folder) -> Option<String> {
        let (mode, uid, gid) = match self.observed.paths.get(&folder.path) {
            None => return Some("the folder does not exist".into()),
            Some(PathState::Folder { mode, uid, gid }) => (*mode, *uid, *gid),
            // The action fails with what is there; nothing is overwritten.
            Some(PathState::File { .. }) => return Some("a file is in its place".into()),
            Some(other) => return Some(format!("{other} is in its place")),
        };
        let owner = match (folder.owner, self.observed.user) {
            (FolderOwner::Root, _) => (0, 0),
            (FolderOwner::Tenant, Some(user)) => (user.uid, user.gid),
            (FolderOwner::Tenant, None) => return Some("its owner does not exist yet".into()),
        };
        if (uid, gid) != owner {
            return Some(format!(
                "it belongs to {uid}:{gid} instead of {}:{}",
                owner.0, owner.1
            ));
        }
        (mode != folder.mode).then(|| format!("its mode is {mode:o} instead of {:o}", folder.mode))
    }

    /// How the file on the host differs from the desired one.
    pub(super) fn differs(&self, file: &ManagedFile) -> Difference {
        let (digest, owner, mode, uid, gid) = match self.observed.paths.get(&file.path) {
            None => return Difference::Differs("the file does not exist".into()),
            Some(PathState::File {
                digest,
                owner,
                mode,
                uid,
                gid,
            }) => (digest, owner, *mode, *uid, *gid),
            // Put there since the file was ours: it can be kept elsewhere.
            Some(PathState::Link(_)) if self.cause == Cause::Drift => {
                return Difference::Differs("a symbolic link is in its place".into());
            }
            Some(other) => return conflict(&file.path, &other.to_string()),
        };
        match owner {
            Some(owner) if *owner == self.owner => {}
            Some(owner) => return conflict(&file.path, &format!("a file of {owner}")),
            None if self.takes_over(&file.path) => {
                return Difference::Differs("it was made by hand and is taken over".into());
            }
            None => return conflict(&file.path, "a file without the operator's mark"),
        }
        if *digest != file.digest() {
            return Difference::Differs("its content differs".into());
        }
        if mode != file.mode {
            return Difference::Differs(format!("its mode is {mode:o} instead of {:o}", file.mode));
        }
        if (uid, gid) != (0, 0) {
            return Difference::Differs(format!("it belongs to {uid}:{gid} instead of root"));
        }
        Difference::None
    }

    /// Moves a link, or what is taken over, out of the place of a file that is
    /// about to be written.
    pub(super) fn make_room(&mut self, aspect: Aspect, file: &ManagedFile) {
        if self.takes_over(&file.path) {
            let action = Action::Adopt(file.path.clone());
            self.step(aspect, action, "it was made by hand");
        } else if let Some(PathState::Link(_)) = self.observed.paths.get(&file.path) {
            let action = Action::SetAside(file.path.clone());
            self.step(
                aspect,
                action,
                "a symbolic link is in the place of the file",
            );
        }
    }
}

pub(super) fn conflict(path: &Path, what: &str) -> Difference {
    Difference::Conflict(format!(
        "{} is {what}, not one that the operator wrote for this tenant; move it away, or choose another tenant name",
        path.display()
    ))
}
