//! Folders of small YAML files that a person can read and only root does:
//! manifests and what is said of them can hold what is meant for few.
//!
//! A file that cannot be used is set aside as `NAME.yaml.broken`, in the place
//! of an earlier one of that name, so that it keeps nothing from starting.

use std::path::{Path, PathBuf};

use cb_host::files::{self, FileSpec, chain};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::SaveError;

const MODE: u32 = 0o600;

/// What a folder held.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What its files say.
    pub values: Vec<T>,
    /// The files that could not be read, and why. They were set aside as
    /// `NAME.yaml.broken`.
    pub broken: Vec<String>,
}

impl<T> Default for Loaded<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            broken: Vec::new(),
        }
    }
}

/// Makes the folder and reads what is in it, as [`read_all`].
///
/// # Errors
/// The folder cannot be made or listed.
pub(crate) fn load<T: DeserializeOwned>(
    folder: &Path,
    refuse: impl Fn(&Path, &T) -> Option<String>,
) -> anyhow::Result<Loaded<T>> {
    prepare(folder)?;
    let mut broken = Vec::new();
    let values = read_all(folder, &mut broken, refuse)?;
    Ok(Loaded { values, broken })
}

/// Makes the folder, or clears it of what a killed operator left half written.
///
/// # Errors
/// The folder cannot be made or listed.
pub(crate) fn prepare(folder: &Path) -> anyhow::Result<()> {
    files::ensure_dir(folder, FileSpec::own(0o700))?;
    files::remove_abandoned(folder)?;
    Ok(())
}

/// What the files in a folder say. One that cannot be read, or that `refuse`
/// has a reason against, is set aside and added to `broken` with the reason.
///
/// # Errors
/// The folder cannot be listed, or a file not be set aside.
pub(crate) fn read_all<T: DeserializeOwned>(
    folder: &Path,
    broken: &mut Vec<String>,
    refuse: impl Fn(&Path, &T) -> Option<String>,
) -> anyhow::Result<Vec<T>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let reason = match read(&path) {
            Ok(value) => match refuse(&path, &value) {
                None => {
                    out.push(value);
                    continue;
                }
                Some(reason) => reason,
            },
            Err(reason) => reason,
        };
        broken.push(format!("{}: {reason}", path.display()));
        let aside = path.with_extension("yaml.broken");
        files::remove(&aside)?;
        files::move_dir(&path, &aside)?;
    }
    Ok(out)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let content = files::FileCache::content(path).map_err(|error| chain(&error))?;
    serde_yaml::from_slice(&content).map_err(|error| error.to_string())
}

/// Writes a file; it is on disk when this returns.
///
/// # Errors
/// Why not, with the file.
pub(crate) fn write(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<(), String> {
    let text = serde_yaml::to_string(value).map_err(|error| error.to_string())?;
    files::write(path, text.as_bytes(), FileSpec::own(MODE)).map_err(|error| chain(&error))
}

/// As [`write()`], without keeping a thread of the runtime.
///
/// # Errors
/// As [`write()`].
pub(crate) async fn save(path: PathBuf, value: &impl Serialize) -> Result<(), SaveError> {
    let text = serde_yaml::to_string(value).map_err(|error| SaveError(error.to_string()))?;
    blocking(move || files::write(&path, text.as_bytes(), FileSpec::own(MODE))).await
}

/// Removes a file, if it is there.
///
/// # Errors
/// Why not, with the file.
pub(crate) async fn remove(path: PathBuf) -> Result<(), SaveError> {
    blocking(move || files::remove(&path).map(drop)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<(), files::FileError> + Send + 'static,
) -> Result<(), SaveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| SaveError(chain(&error))),
        Err(error) => Err(SaveError(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 5: a file that breaks once more keeps nothing from starting.
    #[test]
    fn a_file_that_breaks_again_takes_the_place_of_the_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        for content in ["first: [", "second: ["] {
            std::fs::write(&file, content).unwrap();
            let mut broken = Vec::new();
            let read = read_all(folder.path(), &mut broken, |_, _: &Vec<String>| None);
            assert!(read.unwrap().is_empty() && broken.len() == 1);
            let aside = std::fs::read_to_string(file.with_extension("yaml.broken"));
            assert_eq!(aside.unwrap(), content);
        }
    }
}
