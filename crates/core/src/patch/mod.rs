//! Changes of objects that say only what is to be different.
//!
//! A [`Patch`] is read from what a client sent and applied to an object in its
//! JSON form; what the object then means is judged as for every other object.
//! Law 11: no message holds a value of the object or of the patch.

mod fields;
mod managed;
mod merge;
mod provenance;

pub use fields::FieldSet;
pub use managed::{Applied, Apply, Conflict, MANIFEST, Managed, Manager, Operation};
pub use merge::{difference, merge};
pub use provenance::{Author, Provenance, Written};

use serde_json::Value as Json;

/// A change of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// A JSON merge patch (RFC 7396): the fields that are to be different, with
    /// `null` for those that are to go. Lists are replaced whole.
    Merge(Json),
    /// A JSON patch (RFC 6902): a list of operations, done in order and all or
    /// none.
    Json(json_patch::Patch),
}

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is not a patch of this kind.
    #[error("{0}")]
    Malformed(String),
    /// An operation does not go with the object.
    #[error("operation {number}, at `{path}`: {why}")]
    Operation {
        /// Which one, from 0.
        number: usize,
        /// Where in the object.
        path: String,
        /// What is in the way.
        why: String,
    },
}

impl Patch {
    /// Reads a merge patch.
    ///
    /// # Errors
    /// [`PatchError::Malformed`]: it would put something else in the object's
    /// place.
    pub fn merge(patch: Json) -> Result<Self, PatchError> {
        if patch.is_object() {
            Ok(Patch::Merge(patch))
        } else {
            let why = "a merge patch must be an object with the fields that are to be different";
            Err(PatchError::Malformed(why.into()))
        }
    }

    /// Reads a JSON patch.
    ///
    /// # Errors
    /// [`PatchError::Malformed`]: it is no list of operations.
    pub fn json(patch: Json) -> Result<Self, PatchError> {
        let shape = "a JSON patch must be a list of operations, for example \
                     [{\"op\": \"replace\", \"path\": \"/spec/version\", \"value\": \"v0.3.0\"}]";
        // serde's message could repeat a value.
        serde_json::from_value(patch)
            .map(Patch::Json)
            .map_err(|_| PatchError::Malformed(shape.into()))
    }

    /// The object with the change made.
    ///
    /// # Errors
    /// [`PatchError::Operation`]: an operation of a JSON patch does not go with
    /// the object.
    pub fn apply(&self, object: &Json) -> Result<Json, PatchError> {
        let mut out = object.clone();
        match self {
            Patch::Merge(patch) => merge(&mut out, patch),
            Patch::Json(patch) => {
                json_patch::patch(&mut out, patch).map_err(|error| PatchError::Operation {
                    number: error.operation,
                    path: crate::types::shown(error.path.as_str()),
                    why: error.kind.to_string(),
                })?;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_json_patch_is_done_whole_or_not_at_all() {
        let object = json!({"spec": {"version": "v1", "list": ["a"]}});
        let patch = |operations| Patch::json(operations).unwrap().apply(&object);
        let done = patch(json!([
            {"op": "test", "path": "/spec/version", "value": "v1"},
            {"op": "replace", "path": "/spec/version", "value": "v2"},
            {"op": "add", "path": "/spec/list/-", "value": "b"},
        ]));
        let expected = json!({"spec": {"version": "v2", "list": ["a", "b"]}});
        assert_eq!(done, Ok(expected));
        let refused = patch(json!([
            {"op": "replace", "path": "/spec/version", "value": "v2"},
            {"op": "test", "path": "/spec/list/0", "value": "secret"},
        ]));
        let message = refused.unwrap_err().to_string();
        assert!(
            message.starts_with("operation 1, at `/spec/list/0`"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for not in [json!([]), json!("x"), Json::Null] {
            assert!(matches!(Patch::merge(not), Err(PatchError::Malformed(_))));
        }
        for not in [json!({}), json!([{"op": "frob", "path": "/x"}]), json!([1])] {
            assert!(matches!(Patch::json(not), Err(PatchError::Malformed(_))));
        }
    }
}
