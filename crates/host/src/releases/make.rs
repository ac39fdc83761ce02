//! Making one release: from its source, by its build, into its place.

use std::path::Path;

use cb_core::api::{GitSource, VersionSource};
use cb_core::desired::Release;

use super::git::Fetched;
use super::tree::Builder;
use super::workers::Workers;
use super::{Limits, Manifest, ReleaseError, archive, blocking, build, git, tree};
use crate::files::{self, FileError, FileSpec};

/// Makes a release that is not there, whose turn the caller holds.
pub(super) async fn make(
    workers: &Workers,
    release: &Release,
    limits: Limits,
) -> Result<(), ReleaseError> {
    if lies_in_place(release) {
        let of = release.clone();
        return blocking(move || {
            let mut manifest = unsourced(&of);
            manifest.source = of.path.display().to_string();
            tree::take(&of.path, &described(&manifest, &of)?)
        })
        .await;
    }
    let fetched = match git_of(&release.source) {
        Some(source) => Some(git::fetch(workers, source, &release.version, limits).await?),
        None => None,
    };
    let of = release.clone();
    let (source, mut manifest) = blocking(move || {
        let mut builder = begin(&of, limits)?;
        let manifest = fill(&of, fetched.as_ref(), &mut builder);
        let manifest = manifest.map_err(|error| of_place(error, builder.root(), &of))?;
        Ok((builder, manifest))
    })
    .await?;
    let made = match &release.build {
        None => source,
        Some(commands) => {
            let root = source.root().to_owned();
            let built = build::run(workers, release, commands, limits, source).await;
            let built = built.map_err(|error| of_place(error, &root, release))?;
            let of = release.clone();
            blocking(move || {
                let mut builder = begin(&of, limits)?;
                let copied = tree::copy(built.root(), &mut builder);
                let copied = copied.map_err(|error| of_build(error, built.root(), &of));
                copied.map_err(|error| of_place(error, builder.root(), &of))?;
                Ok(builder)
            })
            .await?
        }
    };
    let of = release.clone();
    blocking(move || {
        manifest.installed = jiff::Timestamp::now();
        let json = described(&manifest, &of)?;
        let root = made.root().to_owned();
        let finished = made.finish(&json, &of.path);
        finished.map_err(|error| of_place(error, &root, &of))
    })
    .await
}

/// Whether the release was laid by hand where it would be installed, and its
/// source is that place.
fn lies_in_place(release: &Release) -> bool {
    let folder = release.source.folder.as_ref();
    let same = folder.is_some_and(|folder| Path::new(folder.path.as_str()) == release.path);
    same && release.build.is_none()
        && release.path.is_dir()
        && !super::Releases::is_installed(&release.path)
}

fn described(manifest: &Manifest, of: &Release) -> Result<Vec<u8>, FileError> {
    serde_json::to_vec_pretty(manifest).map_err(|error| FileError::Io {
        what: "describe",
        path: of.path.clone(),
        source: error.into(),
    })
}

/// What a manifest says whatever the source is.
fn unsourced(release: &Release) -> Manifest {
    Manifest {
        application: release.application.to_string(),
        version: release.version.to_string(),
        source: String::new(),
        sha256: None,
        commit: None,
        installed: jiff::Timestamp::now(),
    }
}

/// The temporary folder has another name each time, and is gone: a failure in
/// it is told of the release's place.
fn of_place(error: ReleaseError, root: &Path, release: &Release) -> ReleaseError {
    match error {
        ReleaseError::File(error) => error.moved(root, &release.path).into(),
        error => error,
    }
}

/// What is wrong with what a build left is a failure of the build.
fn of_build(error: ReleaseError, root: &Path, release: &Release) -> ReleaseError {
    let reason = match error {
        ReleaseError::Hostile { entry, problem, .. } => format!("left `{entry}`, which {problem}"),
        ReleaseError::TooLarge { limit, .. } => format!("left more than {limit}"),
        ReleaseError::Source { path, source } => {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            let inside = cb_core::types::shown(&inside.to_string_lossy());
            format!("left `{inside}`, which cannot be read: {source}")
        }
        error => return error,
    };
    ReleaseError::Build {
        release: build::name(release),
        reason,
    }
}

fn git_of(source: &VersionSource) -> Option<&GitSource> {
    match source {
        VersionSource {
            folder: None,
            archive: None,
            git,
            ..
        } => git.as_ref(),
        _ => None,
    }
}

fn begin(release: &Release, limits: Limits) -> Result<Builder, ReleaseError> {
    let folder = release.path.parent().unwrap_or(Path::new("/"));
    files::ensure_dir(folder, FileSpec::own(0o755))?;
    Builder::begin(folder, limits)
}

/// Fills a builder from the source.
fn fill(
    release: &Release,
    fetched: Option<&Fetched>,
    builder: &mut Builder,
) -> Result<Manifest, ReleaseError> {
    let mut manifest = unsourced(release);
    let source = &release.source;
    match (&source.folder, &source.archive, &source.git, fetched) {
        (Some(folder), None, None, _) => {
            tree::copy(Path::new(folder.path.as_str()), builder)?;
            manifest.source = folder.path.to_string();
        }
        (None, Some(archive), None, _) => {
            let path = Path::new(archive.path.as_str());
            archive::unpack(path, archive.sha256.as_str(), builder)?;
            manifest.source = archive.path.to_string();
            manifest.sha256 = Some(archive.sha256.to_string());
        }
        (None, None, Some(git), Some(fetched)) => {
            archive::unpack_as_is(&fetched.archive, builder)
                .map_err(|error| in_repository(error, git))?;
            manifest.source = git.repository.to_string();
            manifest.commit = Some(fetched.commit.clone());
        }
        _ => return Err(ReleaseError::NoSource),
    }
    Ok(manifest)
}

/// What is wrong in the packed tree is wrong in the repository.
fn in_repository(mut error: ReleaseError, git: &GitSource) -> ReleaseError {
    if let ReleaseError::Source { path, .. }
    | ReleaseError::Hostile { path, .. }
    | ReleaseError::TooLarge { path, .. } = &mut error
    {
        *path = git.repository.as_str().into();
    }
    error
}
