//! The files of rollouts: one each, readable by a person.

use std::path::PathBuf;

use cb_core::rollout::Rollout;
use cb_host::files::{self, FileSpec, chain};

use crate::state::SaveError;

/// Only root reads them, like the records of tenants.
const MODE: u32 = 0o600;

/// The folder of rollouts.
#[derive(Debug, Clone)]
pub struct RolloutFolder(PathBuf);

/// What the folder held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
    /// The files that could not be read, and why. They were set aside as
    /// `NAME.yaml.broken`.
    pub broken: Vec<String>,
}

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
    pub fn load(&self) -> anyhow::Result<Loaded> {
        files::ensure_dir(&self.0, FileSpec::own(0o700))?;
        files::remove_abandoned(&self.0)?;
        let mut loaded = Loaded::default();
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let content = files::FileCache::content(&path).map_err(|error| chain(&error));
            let parsed = content.and_then(|content| {
                serde_yaml::from_slice::<Rollout>(&content).map_err(|error| error.to_string())
            });
            let reason = match parsed {
                // The name is what a person asks for it by.
                Ok(rollout) if path == self.file(&rollout.id) && rollout.number() > 0 => {
                    loaded.rollouts.push(rollout);
                    continue;
                }
                Ok(rollout) => format!("it is the file of `{}`", rollout.id),
                Err(reason) => reason,
            };
            loaded.broken.push(format!("{}: {reason}", path.display()));
            let aside = path.with_extension("yaml.broken");
            files::remove(&aside)?;
            files::move_dir(&path, &aside)?;
        }
        Ok(loaded)
    }

    /// Writes a rollout; it is on disk when this returns.
    pub(super) async fn write(&self, rollout: &Rollout) -> Result<(), SaveError> {
        let text = serde_yaml::to_string(rollout).map_err(|error| SaveError(error.to_string()))?;
        let path = self.file(&rollout.id);
        let work = move || files::write(&path, text.as_bytes(), FileSpec::own(MODE));
        done(tokio::task::spawn_blocking(work).await)
    }

    /// Removes a rollout's file.
    pub(super) async fn remove(&self, id: &str) -> Result<(), SaveError> {
        let path = self.file(id);
        done(tokio::task::spawn_blocking(move || files::remove(&path).map(drop)).await)
    }

    fn file(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.yaml"))
    }
}

fn done(
    result: Result<Result<(), files::FileError>, tokio::task::JoinError>,
) -> Result<(), SaveError> {
    match result {
        Ok(written) => written.map_err(|error| SaveError(chain(&error))),
        Err(error) => Err(SaveError(error.to_string())),
    }
}
