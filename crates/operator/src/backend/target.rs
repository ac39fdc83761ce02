//! Which file an object is in, or is to be written to.

use cb_core::admission::Scan as Manifests;
use cb_core::api::Kind;
use cb_core::manifest::{AnyObject, File};

use super::new_path;
use crate::api::Refusal;

/// The file of an object.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Its path, relative to the folder of manifests.
    pub path: String,
    /// The object that is in it now.
    pub current: Option<AnyObject>,
    /// Whether the file has the object in a form that cannot be used.
    pub refused: bool,
    /// The file with all that is in it, if it has other objects too.
    pub shared: Option<File>,
}

impl Target {
    /// The file as it would be with the one document of `new` for the object.
    pub(super) fn with(&self, new: &File) -> File {
        let (Some(shared), Some(object)) = (&self.shared, &self.current) else {
            return new.clone();
        };
        let mut whole = shared.clone();
        let place = whole.documents.iter_mut();
        for place in place.filter(|document| document.object.as_ref() == Some(object)) {
            let index = place.index;
            if let Some(document) = new.documents.first() {
                place.clone_from(document);
            }
            place.index = index;
        }
        whole
    }
}

/// Finds the file of an object.
///
/// # Errors
/// The object shares its file with something that cannot be read, is in several
/// files, or its new file would be somebody else's.
pub(super) fn find(manifests: &Manifests, kind: Kind, name: &str) -> Result<Target, Refusal> {
    let mut found = Vec::new();
    for (path, file) in &manifests.files {
        let Ok(file) = file else { continue };
        let document = file
            .documents
            .iter()
            .find(|d| d.kind == Some(kind) && d.name.as_deref() == Some(name));
        if let Some(document) = document {
            found.push((path, file, document));
        }
    }
    match found.as_slice() {
        [] => {
            let path = new_path(kind, name).to_string_lossy().into_owned();
            match manifests.files.get(&path) {
                None => Ok(Target {
                    path,
                    current: None,
                    refused: false,
                    shared: None,
                }),
                // A file of this name that nothing can be read from is taken
                // for the object's own.
                Some(Ok(file)) if file.documents.is_empty() => Ok(Target {
                    path,
                    current: None,
                    refused: true,
                    shared: None,
                }),
                Some(_) => Err(Refusal::Conflict(format!(
                    "{path} exists and holds something else; move it away"
                ))),
            }
        }
        [(path, file, document)] => {
            let shared = file.documents.len() > 1;
            if shared && let Some(error) = file.errors.first() {
                return Err(Refusal::Conflict(format!(
                    "{kind} `{name}` is in {path} together with other objects, and {error}; put that file right first"
                )));
            }
            Ok(Target {
                path: (*path).clone(),
                current: document.object.clone(),
                refused: document.object.is_none(),
                shared: shared.then(|| (*file).clone()),
            })
        }
        several => {
            let paths: Vec<&str> = several.iter().map(|(path, ..)| path.as_str()).collect();
            Err(Refusal::Conflict(format!(
                "{kind} `{name}` is in several files ({}); remove it from all but one",
                paths.join(", ")
            )))
        }
    }
}
