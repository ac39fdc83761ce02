//! Which file an object is in, or is to be written to.

use cb_core::admission::Scan as Manifests;
use cb_core::api::Kind;
use cb_core::manifest::AnyObject;

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
}

/// Finds the file of an object.
///
/// # Errors
/// The object shares its file with others, is in several files, or its new
/// file would be somebody else's.
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
                }),
                // A file of this name that nothing can be read from is taken
                // for the object's own.
                Some(Ok(file)) if file.documents.is_empty() => Ok(Target {
                    path,
                    current: None,
                    refused: true,
                }),
                Some(_) => Err(Refusal::Conflict(format!(
                    "{path} exists and holds something else; move it away"
                ))),
            }
        }
        [(path, file, document)] => {
            if file.documents.len() > 1 {
                return Err(Refusal::Conflict(format!(
                    "{kind} `{name}` is in {path} together with other objects; edit that file instead"
                )));
            }
            Ok(Target {
                path: (*path).clone(),
                current: document.object.clone(),
                refused: document.object.is_none(),
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
