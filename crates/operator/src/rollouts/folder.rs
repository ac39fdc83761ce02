//! The files of rollouts: one each, readable by a person.

use std::path::PathBuf;

use cb_core::rollout::Rollout;

use crate::state::SaveError;
use crate::yaml_folder::{self, Loaded};

/// The folder of rollouts.
#[derive(Debug, Clone)]
pub struct RolloutFolder(PathBuf);

impl RolloutFolder {
    /// The rollouts in this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Makes the folder and reads what is in it.
    ///
    /// # Errors
    /// The folder cannot be made or listed.
    pub fn load(&self) -> anyhow::Result<Loaded<Rollout>> {
        yaml_folder::load(&self.0, |path, rollout: &Rollout| {
            // The name is what a person asks for it by.
            let is_its = path == self.file(&rollout.id) && rollout.number() > 0;
            (!is_its).then(|| format!("it is the file of `{}`", rollout.id))
        })
    }

    /// Writes a rollout; it is on disk when this returns.
    pub(super) async fn write(&self, rollout: &Rollout) -> Result<(), SaveError> {
        yaml_folder::save(self.file(&rollout.id), rollout).await
    }

    /// Removes a rollout's file.
    pub(super) async fn remove(&self, id: &str) -> Result<(), SaveError> {
        yaml_folder::remove(self.file(id)).await
    }

    fn file(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.yaml"))
    }
}
