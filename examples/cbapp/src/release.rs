//! Which release this program was started from.
//!
//! A release is a folder with `bin`, `lib`, `migrations` and a `VERSION` file.
//! The running executable's real path names it, so a service that was started
//! before an upgrade keeps telling the truth about itself, whatever its
//! environment or a link to the current release says by now.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The folder and version of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The release folder; in a development build, the package's own folder,
    /// which has the `migrations` too.
    pub folder: PathBuf,
    /// The version, for example `v0.1.0`; the package's own if the release has
    /// no `VERSION` file.
    pub version: String,
}

/// Why the release is not known.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The operating system does not say where the executable is.
    #[error("cannot find out which executable is running")]
    Executable(#[source] io::Error),
    /// The version file exists but cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The version file has no usable version.
    #[error("{path} must hold one version such as v0.1.0, but holds `{text}`")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}

impl Release {
    /// The release that the running executable belongs to.
    ///
    /// # Errors
    /// The executable's path is unknown, or `VERSION` is unreadable or wrong.
    pub fn of_this_program() -> Result<Release, ReleaseError> {
        let executable = env::current_exe().map_err(ReleaseError::Executable)?;
        Release::of(&executable)
    }

    fn of(executable: &Path) -> Result<Release, ReleaseError> {
        let bin = executable.parent().filter(|folder| folder.ends_with("bin"));
        let folder = match bin.and_then(Path::parent) {
            Some(release) => release.to_owned(),
            None => PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        };
        let path = folder.join("VERSION");
        let version = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).ok_or_else(|| ReleaseError::Version {
                path,
                text: text.trim().to_owned(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                concat!("v", env!("CARGO_PKG_VERSION")).to_owned()
            }
            Err(source) => return Err(ReleaseError::Read { path, source }),
        };
        Ok(Release { folder, version })
    }

    /// The folder with the release's SQL migrations.
    #[must_use]
    pub fn migrations(&self) -> PathBuf {
        self.folder.join("migrations")
    }
}

fn parse(text: &str) -> Option<String> {
    let version = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    (!version.is_empty() && version.len() <= 64 && version.bytes().all(plain))
        .then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_above_the_bin_folder() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("bin/cbapp-api");
        fs::write(folder.path().join("VERSION"), "v7.8.9\n").unwrap();
        let release = Release::of(&executable).unwrap();
        assert_eq!(release.version, "v7.8.9");
        assert_eq!(release.migrations(), folder.path().join("migrations"));

        fs::remove_file(folder.path().join("VERSION")).unwrap();
        let fallback = Release::of(&executable).unwrap();
        assert_eq!(fallback.version, concat!("v", env!("CARGO_PKG_VERSION")));
        assert_eq!(fallback.folder, folder.path());
    }

    #[test]
    fn a_version_file_without_a_version_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("VERSION"), "v1 and more").unwrap();
        let error = Release::of(&folder.path().join("bin/cbapp-api")).unwrap_err();
        assert!(matches!(error, ReleaseError::Version { .. }), "{error}");
    }
}
