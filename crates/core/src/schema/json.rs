//! JSON Schemas (draft 2020-12) for editors and other tools.

use serde_json::{Map, Value as Json, json};

use super::{Field, Scalar, Shape};
use crate::api::{GROUP, Kind, VERSION};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of a manifest of this kind. It has no `status`: a manifest must
/// not have one.
pub(super) fn schema(kind: Kind) -> Json {
    let mut schema = Map::from_iter([
        ("$schema".to_owned(), DRAFT.into()),
        (
            "$id".to_owned(),
            format!("https://{GROUP}/{VERSION}/{}.json", kind.singular()).into(),
        ),
        ("title".to_owned(), kind.as_str().into()),
    ]);
    schema.extend(body(kind));
    Json::Object(schema)
}

/// One schema for all kinds, for editors that match files by folder.
pub(super) fn all() -> Json {
    let branches: Vec<Json> = Kind::ALL
        .into_iter()
        .map(|kind| {
            json!({
                "if": {"properties": {"kind": {"const": kind.as_str()}}, "required": ["kind"]},
                "then": {"$ref": format!("#/$defs/{}", kind.as_str())},
            })
        })
        .collect();
    let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
    let defs: Map<String, Json> = Kind::ALL
        .into_iter()
        .map(|kind| (kind.as_str().to_owned(), Json::Object(body(kind))))
        .collect();
    // With the kind given, exactly one of the definitions holds; `if` makes
    // an editor show that one's errors instead of those of all three.
    json!({
        "$schema": DRAFT,
        "$id": format!("https://{GROUP}/{VERSION}/all.json"),
        "title": format!("Any object of {GROUP}/{VERSION}"),
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            "kind": {"enum": kinds, "description": "What the object is."},
        },
        "allOf": branches,
        "$defs": defs,
    })
}

fn body(kind: Kind) -> Map<String, Json> {
    let mut root = super::of(kind).clone();
    if let Shape::Object { fields, .. } = &mut root.shape {
        fields.remove("status");
    }
    field(&root)
}

fn field(field: &Field) -> Map<String, Json> {
    let mut json = shape(&field.shape);
    if !field.description.is_empty() {
        json.insert("description".into(), describe(field).into());
    }
    if let Some(default) = &field.default {
        json.insert("default".into(), default.clone());
    }
    json
}

/// The description, with the meaning of each value of an enumeration.
pub(super) fn describe(field: &Field) -> String {
    let mut text = field.description.clone();
    if let Shape::OneOf(values) = &field.shape
        && values.len() > 1
    {
        for (value, meaning) in values {
            text.push_str(&format!(" `{value}`: {meaning}"));
        }
    }
    text
}

fn shape(of: &Shape) -> Map<String, Json> {
    let json = match of {
        Shape::Object { fields, required } => {
            let properties: Map<String, Json> = fields
                .iter()
                .map(|(name, of)| (name.clone(), Json::Object(field(of))))
                .collect();
            let mut json = json!({
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
            });
            if !required.is_empty() {
                json["required"] = json!(required);
            }
            json
        }
        Shape::Map { keys, values } => {
            let mut json = json!({"type": "object", "additionalProperties": shape(values)});
            let names = scalar(keys);
            if !names.is_empty() {
                json["propertyNames"] = Json::Object(names);
            }
            json
        }
        Shape::List { items, min } => {
            let mut json = json!({"type": "array", "items": shape(items)});
            if *min > 0 {
                json["minItems"] = (*min).into();
            }
            json
        }
        Shape::Text(of) => {
            let mut json = json!({"type": "string"});
            json.as_object_mut().expect("an object").extend(scalar(of));
            json
        }
        Shape::Integer { min, max, .. } => {
            let mut json = json!({"type": "integer"});
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
    };
    match json {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

/// The constraints of a text.
pub(super) fn scalar(of: &Scalar) -> Map<String, Json> {
    let mut json = Map::new();
    if let Some(pattern) = &of.pattern {
        json.insert("pattern".into(), pattern.as_str().into());
    }
    for (key, bound) in [("minLength", of.min_length), ("maxLength", of.max_length)] {
        if let Some(bound) = bound {
            json.insert(key.into(), bound.into());
        }
    }
    json
}
