//! The version in a tenant's manifest: the one thing that the operator changes
//! there, when a person asks for it.
//!
//! Everything else stays byte for byte: comments, order, line endings, a byte
//! order mark. A file that somebody changed since it was read is left alone.

use std::path::{Path, PathBuf};

use cb_core::admission::Scan as Manifests;
use cb_core::api::Kind;
use cb_core::manifest::{AnyObject, File, parse};
use cb_core::types::{TenantName, Version, shown};
use cb_core::yaml::{self, edit};
use cb_host::files::{self, FileCache, chain};

use crate::api::{Problem, ProblemKind};

/// A changed manifest that is not written yet.
#[derive(Debug)]
pub(super) struct Edit {
    /// The file, relative to the folder of manifests.
    pub file: String,
    /// What is in it then.
    pub parsed: File,
    /// The tenant in it.
    pub object: AnyObject,
    path: PathBuf,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The tenant and the version that it is to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub tenant: &'a TenantName,
    pub version: &'a Version,
    /// The file that the tenant was last accepted from.
    pub last: &'a str,
}

impl Edit {
    /// Makes the change in the text of the manifest. It blocks.
    ///
    /// # Errors
    /// It cannot be made there, and what to commit where.
    pub(super) fn of(
        root: &Path,
        manifests: &Manifests,
        change: Change<'_>,
    ) -> Result<Self, Problem> {
        let (file, read) = find(root, manifests, change)?;
        let by_hand = |why: String| {
            let Change {
                tenant, version, ..
            } = change;
            conflict(format!(
                "{file}: {why}; commit `version: {version}` to the spec of tenant `{tenant}` there"
            ))
        };
        let is_it = |document: &&cb_core::manifest::Document| {
            document.kind == Some(Kind::Tenant)
                && document.name.as_deref() == Some(change.tenant.as_str())
        };
        let document = read.documents.iter().find(is_it);
        let Some(document) = document.filter(|document| document.object.is_some()) else {
            let error = read.errors.first().map(ToString::to_string);
            let why = error.unwrap_or_else(|| format!("{file} cannot be read"));
            return Err(conflict(format!("{why}; put that file right first")));
        };
        let path = root.join(&file);
        let before = content(&path)?;
        if parse(&file, &before) != *read {
            return Err(conflict(format!("{file} was changed just now; ask again")));
        }
        let text = yaml::read_text(&before).map_err(|error| by_hand(error.message))?;
        let place = yaml::Path::from(["spec", "version"]);
        if is_alias(text, document.index, &place) {
            return Err(by_hand("the version there is an alias".into()));
        }
        let edited = edit::set_scalar(
            text,
            document.index,
            &place,
            &change.version.as_str().into(),
        );
        let edited = edited.map_err(|error| by_hand(error.to_string()))?;
        // A byte order mark is no part of the text.
        let mut after = before[..before.len() - text.len()].to_vec();
        after.extend_from_slice(edited.as_bytes());
        let parsed = parse(&file, &after);
        let object = parsed.documents.iter().find(is_it);
        let object = object.and_then(|document| document.object.clone());
        let object = object.ok_or_else(|| by_hand("it could not be read afterwards".into()))?;
        Ok(Self {
            file,
            parsed,
            object,
            path,
            before,
            after,
        })
    }

    /// The file, what was in it, and what is to be in it.
    pub(super) fn into_change(self) -> (String, Vec<u8>, Vec<u8>) {
        (self.file, self.before, self.after)
    }

    /// Writes it. It blocks.
    ///
    /// # Errors
    /// The file was changed meanwhile, or cannot be written: it is as it was.
    pub(super) fn write(&self) -> Result<(), Problem> {
        let failed = |why: String| Problem::new(ProblemKind::Internal, why);
        let metadata = std::fs::symlink_metadata(&self.path)
            .map_err(|error| failed(format!("{}: {error}", self.path.display())))?;
        if content(&self.path)? != self.before {
            let file = &self.file;
            return Err(conflict(format!("{file} was changed meanwhile; ask again")));
        }
        files::write(&self.path, &self.after, super::same_owner(&metadata))
            .map_err(|error| failed(chain(&error)))
    }
}

/// The one file that has the tenant.
fn find<'a>(
    root: &Path,
    manifests: &'a Manifests,
    change: Change<'_>,
) -> Result<(String, &'a File), Problem> {
    let Change {
        tenant,
        version,
        last,
    } = change;
    let mut found = manifests.files.iter().filter_map(|(path, file)| {
        let file = file.as_ref().ok()?;
        let mut documents = file.documents.iter();
        documents
            .any(|d| d.kind == Some(Kind::Tenant) && d.name.as_deref() == Some(tenant.as_str()))
            .then_some((path.clone(), file))
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some((one, _)), Some((other, _))) => Err(conflict(format!(
            "tenant `{tenant}` is in {one} and in {other}; remove it from all files but one"
        ))),
        (None, _) => Err(conflict(format!(
            "no manifest in {} has tenant `{tenant}` now; it was last accepted from {}: commit it there with `version: {version}`",
            root.display(),
            shown(last)
        ))),
    }
}

/// Whether the value stands elsewhere, where others share it.
fn is_alias(text: &str, document: usize, place: &yaml::Path) -> bool {
    let parsed = yaml::parse(text);
    let node = parsed
        .documents
        .get(document)
        .and_then(|d| d.root.get(place));
    node.is_some_and(|node| text[node.span.start..].starts_with('*'))
}

fn content(path: &Path) -> Result<Vec<u8>, Problem> {
    FileCache::content(path).map_err(|error| conflict(chain(&error)))
}

fn conflict(detail: String) -> Problem {
    Problem::new(ProblemKind::ManifestConflict, detail)
}

#[cfg(test)]
mod tests;
