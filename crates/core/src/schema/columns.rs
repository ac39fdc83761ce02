//! The columns that tools show of each kind, beside the name.

use serde_json::Value as Json;

use crate::api::Kind;

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its header.
    pub name: &'static str,
    /// `string` or `date`.
    pub kind: &'static str,
    /// Where its value is, in the form of JSONPath that
    /// CustomResourceDefinitions have.
    pub path: &'static str,
    /// What it says.
    pub about: &'static str,
    /// Whether it is shown only when more is asked for (`-o wide`).
    pub wide: bool,
}

const fn text(name: &'static str, path: &'static str, about: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        path,
        about,
        wide: false,
    }
}

const AGE: Column = Column {
    kind: "date",
    ..text(
        "Age",
        ".metadata.creationTimestamp",
        "How long ago the object was first accepted.",
    )
};

const TENANT: [Column; 7] = [
    text(
        "Application",
        ".spec.application",
        "The Application that the tenant runs.",
    ),
    text(
        "Version",
        ".spec.version",
        "The version that it should run.",
    ),
    text("Running", ".status.version", "The version that runs."),
    text(
        "Ready",
        ".status.conditions[?(@.type==\"Ready\")].status",
        "Whether all is as it should be.",
    ),
    text(
        "Reason",
        ".status.conditions[?(@.type==\"Ready\")].reason",
        "Why it is ready or not, in a word.",
    ),
    AGE,
    Column {
        wide: true,
        ..text(
            "Message",
            ".status.conditions[?(@.type==\"Ready\")].message",
            "Why it is ready or not.",
        )
    },
];

const HOST: [Column; 2] = [
    text(
        "Manifests",
        ".spec.paths.manifests",
        "The folder of manifests.",
    ),
    AGE,
];

/// The columns of a kind.
#[must_use]
pub fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Tenant => &TENANT,
        Kind::Application => &[AGE],
        Kind::Host => &HOST,
    }
}

impl Column {
    /// The value of an object in this column.
    #[must_use]
    pub fn value<'v>(&self, object: &'v Json) -> Option<&'v Json> {
        let (mut at, mut rest) = (object, self.path);
        while let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            at = at.get(&after[..end])?;
            rest = &after[end..];
            if let Some(filter) = rest.strip_prefix("[?(@.") {
                let (filter, after) = filter.split_once("\")]")?;
                let (field, wanted) = filter.split_once("==\"")?;
                let is_it = |item: &&Json| item[field].as_str() == Some(wanted);
                at = at.as_array()?.iter().find(is_it)?;
                rest = after;
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_column_finds_its_value() {
        let object = json!({
            "spec": {"version": "v2"},
            "status": {"conditions": [
                {"type": "Drifted", "status": "False"},
                {"type": "Ready", "status": "True", "reason": "Ready"},
            ]},
        });
        let values: Vec<_> = columns(Kind::Tenant)
            .iter()
            .map(|column| column.value(&object).and_then(Json::as_str))
            .collect();
        let expected = [
            None,
            Some("v2"),
            None,
            Some("True"),
            Some("Ready"),
            None,
            None,
        ];
        assert_eq!(values, expected);
    }
}
