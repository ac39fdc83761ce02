//! Releases: one immutable folder per version, shared by all tenants on it.
//!
//! A release is made beside its place (`.cb-tmp-*`), synced, and renamed, so a
//! folder with the version's name is always complete. In it, `.cb-release.json`
//! says where it came from, and `.cb-release.sums` what it was. Everything in
//! it belongs to root and nobody may write to it; it is not changed once it is
//! there.
//!
//! `make` makes one, from a source (`tree`, `archive`, `git`) and by
//! its build commands (`build`); both kinds of programs that are run for it
//! are run by `workers` without rights. `sums` tells what differs later.

mod archive;
mod build;
pub(crate) mod error;
mod git;
mod make;
mod sums;
pub(crate) mod tree;
pub(crate) mod workers;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cb_core::desired::Release;
use cb_core::releases::{Installed, ReleaseId};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use build::Failures;
pub use error::ReleaseError;
use sums::Verified;
pub use sums::{Change, Difference, SUMS};
pub use workers::Workers;

/// The file in a release that says where it came from.
pub const MANIFEST: &str = ".cb-release.json";

/// The most that a release may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes in all files.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
}

impl Default for Limits {
    /// 20 GiB, a million entries.
    fn default() -> Self {
        Self {
            bytes: 20 << 30,
            entries: 1_000_000,
        }
    }
}

/// What `.cb-release.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The Application.
    pub application: String,
    /// The version.
    pub version: String,
    /// The folder, archive or repository it came from.
    pub source: String,
    /// The archive's checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The commit of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When it was installed.
    pub installed: jiff::Timestamp,
}

/// Makes releases, each once however many tenants ask for it.
#[derive(Debug, Clone)]
pub struct Releases {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    workers: Workers,
    failures: Failures,
    verified: Verified,
    under_way: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

impl Inner {
    async fn is_as_installed(self: &Arc<Self>, release: &Path) -> bool {
        let (inner, release) = (Arc::clone(self), release.to_owned());
        let look = move || {
            Ok(Releases::is_installed(&release) && inner.verified.differences(&release).is_empty())
        };
        blocking(look).await.unwrap_or(false)
    }
}

impl Releases {
    /// Releases that these workers fetch and build, within the default's
    /// limits.
    #[must_use]
    pub fn new(workers: Workers) -> Self {
        Self::with_limits(workers, Limits::default())
    }

    /// With other limits than the default's.
    #[must_use]
    pub fn with_limits(workers: Workers, limits: Limits) -> Self {
        let inner = Inner {
            limits,
            workers,
            failures: Failures::default(),
            verified: Verified::default(),
            under_way: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Whether the release is there; it is complete if so.
    #[must_use]
    pub fn is_installed(path: &Path) -> bool {
        path.join(MANIFEST)
            .symlink_metadata()
            .is_ok_and(|meta| meta.is_file())
    }

    /// When the release was put in its place, as far as that is known.
    #[must_use]
    pub fn placed(path: &Path) -> Option<std::time::SystemTime> {
        path.join(SUMS).symlink_metadata().ok()?.modified().ok()
    }

    /// Makes the release, unless it is there as it was installed; one that
    /// somebody changed is replaced. A build that failed is not tried again for
    /// a while; its error is given again meanwhile.
    ///
    /// # Errors
    /// See [`ReleaseError`]; nothing is left behind then.
    pub async fn install(&self, release: &Release) -> Result<(), ReleaseError> {
        // Held by the work and not by this call: a caller that gives up must
        // not let the next one begin beside it.
        let turn = self.turn(&release.path).lock_owned().await;
        let (inner, release) = (Arc::clone(&self.inner), release.clone());
        let work = tokio::spawn(async move {
            let _turn = turn;
            if inner.is_as_installed(&release.path).await {
                return Ok(());
            }
            if let Some(error) = inner.failures.recent(&release) {
                return Err(error);
            }
            let begun = tokio::time::Instant::now();
            let result = make::make(&inner.workers, &release, inner.limits).await;
            inner.failures.note(&release, &result, begun.elapsed());
            inner.verified.forget(&release.path);
            result
        });
        work.await
            .map_err(|error| ReleaseError::CutOff(error.to_string()))?
    }

    /// What in a release is not as it was installed, in the order of paths;
    /// empty if nothing. Reads only files that the file system says were
    /// touched. Blocks.
    #[must_use]
    pub fn differences(&self, release: &Path) -> Vec<Difference> {
        self.inner.verified.differences(release)
    }

    /// Removes a release that nobody needs, as `is_unneeded` says: asked
    /// before, and again when nobody can find the release any more, so that
    /// one who came to need it in between either keeps it or installs it anew.
    /// One that is being installed is left. Returns whether it was removed.
    ///
    /// # Errors
    /// It cannot be moved aside; it is as it was then.
    pub async fn remove(
        &self,
        release: &Path,
        is_unneeded: impl Fn() -> bool,
    ) -> Result<bool, FileError> {
        let Ok(_turn) = self.turn(release).try_lock_owned() else {
            return Ok(false);
        };
        if !is_unneeded() {
            return Ok(false);
        }
        let folder = release.parent().unwrap_or(Path::new("/"));
        let aside = tree::temporary(folder);
        files::move_dir(release, &aside)?;
        if !is_unneeded() {
            files::move_dir(&aside, release)?;
            return Ok(false);
        }
        self.inner.verified.forget(release);
        // What a killed process leaves of it is removed at the next start.
        let removal = tokio::task::spawn_blocking(move || tree::remove_all(&aside));
        if let Err(error) = removal.await {
            tracing::warn!(%error, "the removal of a release was cut off");
        }
        Ok(true)
    }

    fn turn(&self, release: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let under_way = &self.inner.under_way;
        let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(under_way.entry(release.to_owned()).or_default())
    }
}

/// The releases in a folder of releases. One that is being made or removed,
/// and what is none, is not among them.
///
/// # Errors
/// A folder cannot be read.
pub fn installed(releases: &Path) -> Result<Vec<Installed>, FileError> {
    let mut out = Vec::new();
    for application in folders(releases)? {
        for release in folders(&application)? {
            if let Some(found) = look_at(&application, &release) {
                out.push(found);
            }
        }
    }
    Ok(out)
}

fn look_at(application: &Path, release: &Path) -> Option<Installed> {
    let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let id = ReleaseId {
        application: name(application)?.parse().ok()?,
        version: name(release)?.parse().ok()?,
    };
    let manifest = std::fs::read(release.join(MANIFEST)).ok()?;
    let manifest: Manifest = serde_json::from_slice(&manifest).ok()?;
    let at = manifest.installed;
    Some(Installed { id, at })
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |error: io::Error| FileError::io("read the folder", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let temporary = entry
            .file_name()
            .to_string_lossy()
            .starts_with(tree::TEMPORARY);
        if !temporary && entry.file_type().map_err(failed)?.is_dir() {
            out.push(entry.path());
        }
    }
    Ok(out)
}

/// File work does not hold up what else runs.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
) -> Result<T, ReleaseError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ReleaseError::CutOff(error.to_string())),
    }
}

/// Removes what a killed process left half done. Called before anything is
/// installed.
///
/// # Errors
/// The folder cannot be read.
pub fn remove_abandoned(releases: &Path) -> Result<(), FileError> {
    let failed = |error: io::Error| FileError::io("read the folder", releases, error);
    let applications = match std::fs::read_dir(releases) {
        Ok(applications) => applications,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for application in applications.flatten().filter(|e| e.path().is_dir()) {
        for entry in std::fs::read_dir(application.path())
            .map_err(failed)?
            .flatten()
        {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(tree::TEMPORARY)
            {
                tree::remove_all(&entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
