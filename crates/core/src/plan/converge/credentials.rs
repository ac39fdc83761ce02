//! The files that services load credentials from.
//!
//! They have no mark: their bytes are the services'. What makes them the
//! operator's is the folder they are in, which is root's and made by the
//! operator for nothing else.

use std::path::PathBuf;

use super::Planner;
use super::compare::{Difference, conflict};
use crate::desired::{Credential, Desired};
use crate::observed::{Observed, PathState};
use crate::plan::{Action, Aspect, Cause};
use crate::status::ProblemReason;

impl Planner<'_> {
    /// Blocks the services while something else is in the place of a
    /// credential.
    pub(super) fn credentials_are_ours(&mut self) {
        for credential in &self.desired.credentials {
            if let Difference::Conflict(message) = self.credential_differs(credential) {
                self.block(Aspect::Services, ProblemReason::Conflict, message);
            }
        }
    }

    /// Before the units that name them.
    pub(super) fn credentials(&mut self) {
        for credential in &self.desired.credentials {
            let Difference::Differs(reason) = self.credential_differs(credential) else {
                continue;
            };
            if let Some(PathState::Link(_)) = self.observed.paths.get(&credential.path) {
                let action = Action::SetAside(credential.path.clone());
                let why = "a symbolic link is in the place of the file";
                self.step(Aspect::Services, action, why);
            }
            let action = Action::WriteCredential(credential.clone());
            self.step(Aspect::Services, action, reason);
        }
    }

    /// After the services no longer load them.
    pub(super) fn old_credentials(&mut self) {
        let old: Vec<PathBuf> = left_over(self.observed, self.desired).cloned().collect();
        for path in old {
            let reason = "no secret of the tenant is delivered by it";
            self.step(Aspect::Services, Action::RemoveCredential(path), reason);
        }
    }

    /// Whether any is not as the services are to find it.
    pub(super) fn credentials_differ(&self) -> bool {
        let differs = |credential| {
            let difference = self.credential_differs(credential);
            matches!(difference, Difference::Differs(_))
        };
        self.desired.credentials.iter().any(differs)
    }

    fn credential_differs(&self, credential: &Credential) -> Difference {
        match self.observed.paths.get(&credential.path) {
            None => Difference::Differs("the file does not exist".into()),
            Some(PathState::Link(_)) if self.cause == Cause::Drift => {
                Difference::Differs("a symbolic link is in its place".into())
            }
            Some(PathState::File {
                digest, mode, uid, ..
            }) => {
                if *digest != credential.digest() {
                    Difference::Differs("its content differs".into())
                } else if *mode != Credential::MODE {
                    let wanted = Credential::MODE;
                    Difference::Differs(format!("its mode is {mode:o} instead of {wanted:o}"))
                } else if *uid != 0 {
                    Difference::Differs(format!("it belongs to {uid} instead of root"))
                } else {
                    Difference::None
                }
            }
            Some(other) => conflict(&credential.path, &other.to_string()),
        }
    }
}

/// The files and links in the folder of credentials that deliver none.
pub(crate) fn left_over<'a>(
    observed: &'a Observed,
    desired: &'a Desired,
) -> impl Iterator<Item = &'a PathBuf> {
    let folder = desired.credentials_folder.as_path();
    let entries = observed.paths.iter().filter(move |(path, state)| {
        let is_file = matches!(state, PathState::File { .. } | PathState::Link(_));
        let wanted = |path: &PathBuf| desired.credentials.iter().any(|c| c.path == *path);
        is_file && path.parent() == Some(folder) && !wanted(path)
    });
    entries.map(|(path, _)| path)
}
