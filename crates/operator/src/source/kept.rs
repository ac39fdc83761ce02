//! How far the repository is followed, kept over restarts in
//! `<state>/source/status.yaml`.

use std::path::{Path, PathBuf};

use cb_core::api::GitRepository;
use cb_core::source::SourceStatus;
use cb_host::files::{self, FileCache, FileSpec, chain};

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    path: PathBuf,
}

impl Kept {
    pub(super) fn new(state: &Path) -> Self {
        let path = state.join("source/status.yaml");
        Self { path }
    }

    /// What was kept of this repository; a new status if it is of another one.
    /// One that cannot be read is told and begun anew: the commit that is in
    /// effect stays so, and only its history is not checked once.
    pub(super) fn load(&self, git: &GitRepository) -> SourceStatus {
        if !self.path.exists() {
            return SourceStatus::new(git);
        }
        let read = || -> Result<SourceStatus, String> {
            let content = FileCache::content(&self.path).map_err(|error| chain(&error))?;
            serde_yaml::from_slice(&content)
                .map_err(|error| format!("{}: {error}", self.path.display()))
        };
        match read() {
            Ok(status) if status.is_of(git) => status,
            Ok(_) => SourceStatus::new(git),
            Err(error) => {
                tracing::error!("how far the repository was followed is not known: {error}");
                SourceStatus::new(git)
            }
        }
    }

    /// Writes it whole.
    pub(super) async fn save(&self, status: &SourceStatus) -> Result<(), String> {
        let text = serde_yaml::to_string(status).map_err(|error| error.to_string())?;
        let path = self.path.clone();
        let work = move || {
            if let Some(folder) = path.parent() {
                files::ensure_dir(folder, FileSpec::own(0o711))?;
            }
            files::write(&path, text.as_bytes(), FileSpec::own(0o600))
        };
        let written = tokio::task::spawn_blocking(work).await;
        written
            .map_err(|error| error.to_string())?
            .map_err(|error| chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_status_survives_a_restart_and_not_a_change_of_the_branch() {
        let state = tempfile::tempdir().unwrap();
        let kept = Kept::new(state.path());
        let mut git: GitRepository = serde_yaml::from_str("{repository: /srv/fleet}").unwrap();
        let mut status = kept.load(&git);
        status.accepted = Some("a".repeat(40).parse().unwrap());
        kept.save(&status).await.unwrap();
        assert_eq!(kept.load(&git), status);
        git.reference = "next".parse().unwrap();
        assert_eq!(kept.load(&git), SourceStatus::new(&git));
        let file = state.path().join("source/status.yaml");
        std::fs::write(file, "{").unwrap();
        assert_eq!(kept.load(&git), SourceStatus::new(&git));
    }
}
