//! Which files `-f` means.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cb_core::types::is_sealed_file;
use cb_core::yaml::MAX_BYTES;
use clap::Args;

use super::Source;
use crate::error::{CommandError, plain};

/// The options that name files.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A file or folder of manifests, or `-` for standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Read folders with the folders in them
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

/// Which files of a folder are manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folders {
    /// As kubectl: `*.yaml`, `*.yml` and `*.json`; folders in it with `-R`.
    Kubectl,
    /// As the operator reads its own: `*.yaml` and `*.yml`, with all folders.
    Operator,
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Files {
    /// The files, in the order of the command line and sorted in each folder.
    pub(crate) fn find(&self, folders: Folders) -> Result<Vec<Found>, CommandError> {
        let mut out = Vec::new();
        for path in &self.filename {
            if path.as_os_str() == "-" {
                if !out.contains(&Found::Stdin) {
                    out.push(Found::Stdin);
                }
                continue;
            }
            let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    CommandError::failed(format!("the path \"{}\" does not exist", path.display()))
                }
                _ => unreadable(path, &error),
            })?;
            if meta.is_dir() {
                let before = out.len();
                let deep = self.recursive || folders == Folders::Operator;
                list(path, folders, deep, &mut out)?;
                if out.len() == before {
                    let message = format!("there is no manifest in {}", path.display());
                    let error = CommandError::failed(message);
                    let kinds = "manifests end in .yaml, .yml or .json";
                    return Err(if deep {
                        error.hint(kinds)
                    } else {
                        error.hint(format!("{kinds}; -R reads folders in it too"))
                    });
                }
            } else {
                out.push(Found::File(path.clone()));
            }
        }
        // A file that is named twice is one file.
        let mut seen = BTreeSet::new();
        out.retain(|found| match found {
            Found::Stdin => true,
            Found::File(path) => {
                seen.insert(std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
            }
        });
        Ok(out)
    }
}

impl Found {
    /// Reads the file and what is in it.
    pub(super) fn read(&self) -> Source {
        match self {
            Found::Stdin => Source::of("<stdin>", limited(io::stdin().lock())),
            Found::File(path) => {
                let shown = path.display().to_string();
                let content = std::fs::File::open(path)
                    .map_err(|error| why(&error))
                    .and_then(limited);
                Source::of(&shown, content)
            }
        }
    }
}

/// The content, and a little more than the limit of one that is too large.
fn limited(from: impl io::Read) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    from.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| why(&error))?;
    Ok(content)
}

fn why(error: &io::Error) -> String {
    format!("the file cannot be read: {}", plain(error))
}

fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::failed(format!("cannot read {}: {}", path.display(), plain(error)))
}

fn list(
    folder: &Path,
    folders: Folders,
    deep: bool,
    out: &mut Vec<Found>,
) -> Result<(), CommandError> {
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| unreadable(folder, &error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        // A link to a folder is not followed: it may lead in circles.
        let kind = entry
            .file_type()
            .map_err(|error| unreadable(&path, &error))?;
        if kind.is_dir() {
            if deep {
                list(&path, folders, deep, out)?;
            }
        } else if is_manifest(&name, folders) && !path.is_dir() {
            out.push(Found::File(path));
        }
    }
    Ok(())
}

fn is_manifest(name: &str, folders: Folders) -> bool {
    if is_sealed_file(name) {
        return false;
    }
    let yaml = |stem: &str| !stem.ends_with(".status");
    if let Some(stem) = name.strip_suffix(".yaml").or(name.strip_suffix(".yml")) {
        return yaml(stem);
    }
    folders == Folders::Kubectl && name.ends_with(".json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "files of a test")]
    fn a_folder_gives_its_manifests_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        for name in [
            "b.yaml",
            "a.yml",
            "c.json",
            "b.status.yaml",
            "b.sops.yaml",
            ".hidden.yaml",
            "b.yaml~",
            "notes.md",
            "deep/d.yaml",
            ".git/e.yaml",
        ] {
            make(name);
        }
        let found = |recursive, folders| {
            let files = Files {
                filename: vec![folder.path().into(), folder.path().join("b.yaml")],
                recursive,
            };
            let found = files.find(folders).unwrap();
            let names = found.into_iter().map(|found| match found {
                Found::File(path) => {
                    let path = path.strip_prefix(folder.path()).unwrap();
                    path.display().to_string()
                }
                Found::Stdin => unreachable!(),
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            found(false, Folders::Kubectl),
            ["a.yml", "b.yaml", "c.json"]
        );
        assert_eq!(
            found(true, Folders::Kubectl),
            ["a.yml", "b.yaml", "c.json", "deep/d.yaml"]
        );
        assert_eq!(
            found(false, Folders::Operator),
            ["a.yml", "b.yaml", "deep/d.yaml"]
        );
    }
}
