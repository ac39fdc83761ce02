//! CustomResourceDefinitions, for tools that read them and for clusters that
//! keep these objects.
//!
//! They follow the rules of structural schemas
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>):
//! a type everywhere, no references, no patterns on keys, `additionalProperties`
//! only on maps, nothing about `metadata` but its name. An API server prunes
//! unknown fields, so "unknown fields are errors" holds in the operator only.

use serde_json::{Map, Value as Json, json};

use super::columns::{self, Column};
use super::{Field, Shape, json::describe, json::scalar, list_key};
use crate::api::{GROUP, Kind, VERSION};

/// The definition of this kind as YAML.
pub(super) fn text(kind: Kind) -> String {
    let yaml = serde_yaml::to_string(&definition(kind)).expect("JSON values are YAML values");
    format!("# Generated from the objects' types; do not edit.\n{yaml}")
}

fn definition(kind: Kind) -> Json {
    let version = json!({
        "name": VERSION,
        "served": true,
        "storage": true,
        "schema": {"openAPIV3Schema": root(kind)},
        "additionalPrinterColumns": columns(kind),
    });
    let mut version = version;
    if kind == Kind::Tenant {
        version["subresources"] = json!({"status": {}});
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", kind.plural())},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": kind.as_str(),
                "listKind": format!("{kind}List"),
                "plural": kind.plural(),
                "singular": kind.singular(),
                "shortNames": kind.short_names(),
            },
            "versions": [version],
        },
    })
}

fn columns(kind: Kind) -> Json {
    let column = |column: &Column| {
        let mut json = json!({
            "name": column.name,
            "type": column.kind,
            "jsonPath": column.path,
            "description": column.about,
        });
        if column.wide {
            json["priority"] = 1.into();
        }
        json
    };
    columns::columns(kind).iter().map(column).collect()
}

/// The structural schema of this kind, with its status.
pub(super) fn root(kind: Kind) -> Json {
    let of = super::of(kind);
    let mut root = field(of);
    let text = |about: &str| json!({"type": "string", "description": about});
    root["properties"]["apiVersion"] = text("The version of the object's schema.");
    root["properties"]["kind"] = text("What the object is.");
    let mut metadata = json!({"type": "object"});
    let name = of
        .shape
        .fields()
        .and_then(|fields| fields["metadata"].shape.fields());
    if let Some(name) = name.and_then(|fields| fields.get("name")) {
        // The only parts of `metadata` that a definition may restrict.
        metadata["properties"] = json!({"name": field(name)});
    }
    root["properties"]["metadata"] = metadata;
    root["required"] = if kind == Kind::Host {
        json!(["metadata"])
    } else {
        json!(["metadata", "spec"])
    };
    root
}

fn field(of: &Field) -> Json {
    let mut json = shape(&of.shape);
    if !of.description.is_empty() {
        json["description"] = describe(of).into();
    }
    if let Some(default) = &of.default {
        json["default"] = default.clone();
    }
    json
}

fn shape(of: &Shape) -> Json {
    match of {
        Shape::Object { fields, required } => {
            let properties: Map<String, Json> = fields
                .iter()
                .map(|(name, of)| (name.clone(), field(of)))
                .collect();
            let mut json = json!({"type": "object", "properties": properties});
            if !required.is_empty() {
                json["required"] = json!(required);
            }
            json
        }
        Shape::Map { values, .. } => {
            json!({"type": "object", "additionalProperties": shape(values)})
        }
        Shape::List { items, min } => list(items, *min),
        Shape::Text(of) => {
            let mut json = json!({"type": "string"});
            json.as_object_mut().expect("an object").extend(scalar(of));
            json
        }
        Shape::Integer { min, max, format } => {
            let mut json = json!({"type": "integer", "format": format});
            for (key, bound) in [("minimum", min), ("maximum", max)] {
                if let Some(bound) = bound {
                    json[key] = (*bound).into();
                }
            }
            json
        }
        Shape::Bool => json!({"type": "boolean"}),
        Shape::OneOf(values) => {
            let values: Vec<&str> = values.iter().map(|(value, _)| value.as_str()).collect();
            json!({"type": "string", "enum": values})
        }
    }
}

/// A list says how it is merged in server-side apply.
fn list(items: &Shape, min: u64) -> Json {
    let mut json = json!({"type": "array", "items": shape(items)});
    if min > 0 {
        json["minItems"] = min.into();
    }
    if let Some(key) = list_key(items) {
        json["x-kubernetes-list-type"] = "map".into();
        json["x-kubernetes-list-map-keys"] = json!([key]);
    } else if matches!(items, Shape::Text(_)) {
        json["x-kubernetes-list-type"] = "atomic".into();
    }
    json
}
