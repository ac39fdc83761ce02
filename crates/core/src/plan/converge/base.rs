//! What everything else of a tenant needs: ports, user, folders, release.

use super::Planner;
use super::compare::Difference;
use crate::desired::{Folder, FolderOwner};
use crate::observed::Account;
use crate::plan::{Action, Aspect};
use crate::record::Ports;
use crate::status::ProblemReason;

impl Planner<'_> {
    pub(super) fn base(&mut self, ports: &Ports) {
        if self.record.ports != *ports {
            self.step(
                Aspect::Base,
                Action::RecordPorts(ports.clone()),
                "the tenant has no such ports yet",
            );
        }
        self.user();
        for folder in &self.desired.folders {
            if self.is_lost(folder) {
                let message = format!(
                    "{} is gone, and the tenant had data in it: is a file system not mounted? Put it back, or make the folder by hand to start with an empty one",
                    folder.path.display()
                );
                self.block(Aspect::Base, ProblemReason::DataMissing, message);
                continue;
            }
            if let Some(reason) = self.folder_differs(folder) {
                let action = Action::EnsureFolder {
                    folder: folder.clone(),
                    user: self.desired.user.clone(),
                };
                self.step(Aspect::Base, action, reason);
            }
        }
        if !self.observed.release {
            let action = Action::InstallRelease(Box::new(self.desired.release.clone()));
            self.step(Aspect::Base, action, "the release is not installed");
        } else if !self.observed.release_changes.is_empty() {
            let action = Action::InstallRelease(Box::new(self.desired.release.clone()));
            self.step(Aspect::Base, action, "the release was changed");
        }
    }

    fn user(&mut self) {
        let file = &self.desired.sysusers;
        let user = &self.desired.user;
        match self.differs(file) {
            // Before the first pass was complete, a user without a definition
            // of ours was made by somebody else (law 3).
            Difference::Differs(_)
                if self.observed.user.is_some()
                    && self.observed.handmade.is_empty()
                    && !self.observed.paths.contains_key(&file.path)
                    && self.record.applied.is_none()
                    && self.observed.owned_units.is_empty() =>
            {
                let message = format!(
                    "user {user} exists and was not made by the operator; rename it, or choose another tenant name"
                );
                self.block(Aspect::Base, ProblemReason::Conflict, message);
            }
            Difference::Conflict(message) => {
                self.block(Aspect::Base, ProblemReason::Conflict, message)
            }
            Difference::Differs(reason) => self.ensure_user(reason),
            Difference::None if self.observed.user.is_none() => {
                self.ensure_user("the user does not exist".into())
            }
            Difference::None
                if self
                    .observed
                    .account
                    .as_ref()
                    .is_some_and(Account::can_log_in) =>
            {
                self.ensure_user("the user can log in".into());
            }
            Difference::None => {}
        }
    }

    fn ensure_user(&mut self, reason: String) {
        self.make_room(Aspect::Base, &self.desired.sysusers);
        let action = Action::EnsureUser {
            user: self.desired.user.clone(),
            file: self.desired.sysusers.clone(),
        };
        self.step(Aspect::Base, action, reason);
    }

    /// Law 5: a tenant that had a folder for its data must not be started on an
    /// empty one. Units are made after the folders, so they prove it too when
    /// the records are lost.
    fn is_lost(&self, folder: &Folder) -> bool {
        let had = self.record.applied.is_some() || !self.observed.owned_units.is_empty();
        had && folder.owner == FolderOwner::Tenant
            && !self.observed.paths.contains_key(&folder.path)
    }
}
