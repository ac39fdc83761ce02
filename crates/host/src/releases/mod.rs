//! Releases: one immutable folder per version, shared by all tenants on it.
//!
//! A release is made beside its place (`.cb-tmp-*`), synced, and renamed, so a
//! folder with the version's name is always complete. In it, `.cb-release.json`
//! says where it came from. Everything in it belongs to root and nobody may
//! write to it; it is not changed once it is there.

mod archive;
mod tree;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cb_core::api::VersionSource;
use cb_core::desired::Release;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError, FileSpec};

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

/// Why a release could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The source cannot be read.
    #[error("cannot read the release's source {}", path.display())]
    Source {
        /// The folder or archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is not the one that was meant.
    #[error("archive {} has the checksum {found}, but the Application says {expected}; nothing was installed", path.display())]
    Checksum {
        /// The archive.
        path: PathBuf,
        /// In the Application.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// An entry must not be in a release.
    #[error("{}: `{entry}` {problem}; nothing was installed", path.display())]
    Hostile {
        /// The folder or archive.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The source is larger than the limits.
    #[error("{} holds more than {limit}; nothing was installed", path.display())]
    TooLarge {
        /// The folder or archive.
        path: PathBuf,
        /// In words.
        limit: String,
    },
    /// The Application names no source, or two.
    #[error("the version must have exactly one of `folder` and `archive`")]
    NoSource,
    /// The release cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The work was cut off.
    #[error("installing the release was cut off: {0}")]
    CutOff(String),
}

/// What `.cb-release.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The Application.
    pub application: String,
    /// The version.
    pub version: String,
    /// The folder or archive it came from.
    pub source: String,
    /// The archive's checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was installed.
    pub installed: jiff::Timestamp,
}

/// Makes releases, each once however many tenants ask for it.
#[derive(Debug, Default)]
pub struct Releases {
    limits: Limits,
    under_way: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

impl Releases {
    /// With other limits than the default's.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Whether the release is there; it is complete if so.
    #[must_use]
    pub fn is_installed(path: &Path) -> bool {
        path.join(MANIFEST)
            .symlink_metadata()
            .is_ok_and(|meta| meta.is_file())
    }

    /// Makes the release, unless it is there.
    ///
    /// # Errors
    /// See [`ReleaseError`]; nothing is left behind then.
    pub async fn install(&self, release: &Release) -> Result<(), ReleaseError> {
        if Self::is_installed(&release.path) {
            return Ok(());
        }
        let turn = {
            let mut under_way = self
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(under_way.entry(release.path.clone()).or_default())
        };
        // Held by the work and not by this call: a caller that gives up must
        // not let the next one begin beside it.
        let turn = turn.lock_owned().await;
        let (release, limits) = (release.clone(), self.limits);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            install(&release, limits)
        });
        work.await
            .map_err(|error| ReleaseError::CutOff(error.to_string()))?
    }
}

fn install(release: &Release, limits: Limits) -> Result<(), ReleaseError> {
    if Releases::is_installed(&release.path) {
        return Ok(());
    }
    let folder = release.path.parent().unwrap_or(Path::new("/"));
    files::ensure_dir(folder, FileSpec::own(0o755))?;
    let builder = tree::Builder::begin(folder, limits)?;
    let root = builder.root().to_owned();
    make(release, builder).map_err(|error| match error {
        // The temporary folder has another name each time, and is gone.
        ReleaseError::File(error) => error.moved(&root, &release.path).into(),
        error => error,
    })
}

fn make(release: &Release, mut builder: tree::Builder) -> Result<(), ReleaseError> {
    let (source, sha256) = match &release.source {
        VersionSource {
            folder: Some(folder),
            archive: None,
            ..
        } => {
            let path = Path::new(folder.path.as_str());
            tree::copy(path, &mut builder)?;
            (path, None)
        }
        VersionSource {
            folder: None,
            archive: Some(archive),
            ..
        } => {
            let path = Path::new(archive.path.as_str());
            archive::unpack(path, archive.sha256.as_str(), &mut builder)?;
            (path, Some(archive.sha256.to_string()))
        }
        _ => return Err(ReleaseError::NoSource),
    };
    let manifest = Manifest {
        application: release.application.to_string(),
        version: release.version.to_string(),
        source: source.display().to_string(),
        sha256,
        installed: jiff::Timestamp::now(),
    };
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| FileError::Io {
        what: "describe",
        path: release.path.clone(),
        source: error.into(),
    })?;
    builder.finish(&json, &release.path)
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
