//! An object as the API shows it.
//!
//! It stays the JSON that came, so that `-o yaml` shows what this version does
//! not know of.

use cb_core::api::{GROUP, Kind, TenantStatus};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The annotation that names the manifest.
const MANIFEST_ANNOTATION: &str = "campaignbrain.io/manifest";

/// An object of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object(Value);

impl Object {
    /// An object from an answer.
    pub(crate) fn new(value: Value) -> Self {
        Self(value)
    }

    /// The object as it came.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// `metadata.name`.
    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    /// The text at a JSON pointer, if there is some.
    pub(crate) fn text(&self, pointer: &str) -> Option<&str> {
        let text = self.0.pointer(pointer)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    /// The texts of a list at a JSON pointer.
    pub(crate) fn texts(&self, pointer: &str) -> Vec<&str> {
        let list = self.0.pointer(pointer).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// The items of a list at a JSON pointer.
    pub(crate) fn items(&self, pointer: &str) -> &[Value] {
        let list = self.0.pointer(pointer).and_then(Value::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    /// The keys and texts of a mapping at a JSON pointer.
    pub(crate) fn entries(&self, pointer: &str) -> Vec<(&str, String)> {
        let map = self.0.pointer(pointer).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .map(|(key, value)| match value {
                Value::String(text) => (key.as_str(), text.clone()),
                other => (key.as_str(), other.to_string()),
            })
            .collect()
    }

    /// The labels as `a=b,c=d`.
    pub(crate) fn labels(&self) -> Option<String> {
        let labels = self.entries("/metadata/labels");
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        (!labels.is_empty()).then(|| labels.join(","))
    }

    /// The annotations that a person wrote.
    pub(crate) fn annotations(&self) -> Vec<(&str, String)> {
        let mut all = self.entries("/metadata/annotations");
        all.retain(|(key, _)| *key != MANIFEST_ANNOTATION);
        all
    }

    /// The manifest's file, relative to the folder of manifests.
    pub(crate) fn file(&self) -> Option<&str> {
        self.0["metadata"]["annotations"][MANIFEST_ANNOTATION].as_str()
    }

    /// `metadata.generation`.
    pub(crate) fn generation(&self) -> u64 {
        self.0["metadata"]["generation"]
            .as_u64()
            .unwrap_or_default()
    }

    /// The time at a JSON pointer, if there is one.
    pub(crate) fn time(&self, pointer: &str) -> Option<Timestamp> {
        self.text(pointer)?.parse().ok()
    }

    /// When it was created.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.time("/metadata/creationTimestamp")
    }

    /// Whether it is being deleted.
    pub(crate) fn is_deleting(&self) -> bool {
        self.text("/metadata/deletionTimestamp").is_some()
    }

    /// The status of a tenant; an empty one if there is none yet.
    pub(crate) fn tenant_status(&self) -> TenantStatus {
        serde_json::from_value(self.0["status"].clone()).unwrap_or_default()
    }

    /// What a person wrote: labels, annotations and spec. Two objects mean the
    /// same if this is equal.
    pub(crate) fn essence(&self) -> Value {
        let annotations: serde_json::Map<String, Value> = self
            .annotations()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let labels = match &self.0["metadata"]["labels"] {
            Value::Null => json!({}),
            labels => labels.clone(),
        };
        json!({"labels": labels, "annotations": annotations, "spec": self.0["spec"]})
    }
}

/// `tenant.campaignbrain.io`: a kind as kubectl's results name it.
pub(crate) fn kind_word(kind: Kind) -> String {
    format!("{}.{GROUP}", kind.singular())
}

/// `tenant.campaignbrain.io/ky04`.
pub(crate) fn full_name(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind_word(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_adds_is_not_what_a_person_wrote() {
        let live = Object::new(json!({
            "kind": "Tenant",
            "metadata": {"name": "a", "uid": "u", "generation": 3,
                         "annotations": {(MANIFEST_ANNOTATION): "a.yaml"}},
            "spec": {"version": "v1"}, "status": {},
        }));
        let written = Object::new(json!({
            "kind": "Tenant", "metadata": {"name": "a"}, "spec": {"version": "v1"},
        }));
        assert_eq!(live.essence(), written.essence());
        assert_eq!(live.file(), Some("a.yaml"));
        assert_eq!(live.labels(), None);
    }
}
