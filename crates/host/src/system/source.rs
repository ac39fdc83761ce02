//! The repository of manifests, followed by a user of this machine.

use std::path::Path;
use std::sync::Arc;

use super::SystemHost;
use crate::releases::Workers;
use crate::source::Repository;

impl SystemHost {
    /// The repository that this Host follows; `name` is the Host's.
    #[must_use]
    pub fn repository(&self, name: &str) -> Option<Repository> {
        let git = self.spec.source.git.clone()?;
        let state = Path::new(self.spec.paths.state.as_str());
        let sysusers = Path::new(self.spec.paths.sysusers.as_str());
        let (systemd, users) = (self.systemd.clone(), Arc::clone(&self.users));
        let workers = Workers::new(state, sysusers, systemd, users);
        Some(Repository::new(workers, git, state, name))
    }
}
