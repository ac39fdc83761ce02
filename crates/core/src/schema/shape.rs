//! A schema as a tree of few cases, read from what schemars generates.
//!
//! Reading is strict: a Rust type that gives anything not known here fails the
//! tests instead of being published half understood.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use crate::types::{InvalidValue, SCALAR, check_scalar};

/// A field: what it is for and what its value looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// What it is for.
    pub description: String,
    /// The value it has when it is not set, if that is a constant.
    pub default: Option<Json>,
    /// What its value looks like.
    pub shape: Shape,
}

/// What a value looks like.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A mapping with known fields.
    Object {
        /// The fields by name.
        fields: BTreeMap<String, Field>,
        /// The names of those that must be set.
        required: Vec<String>,
    },
    /// A mapping with any keys.
    Map {
        /// What its keys look like.
        keys: Scalar,
        /// What its values look like.
        values: Box<Shape>,
    },
    /// A list.
    List {
        /// What its items look like.
        items: Box<Shape>,
        /// How many it has at least.
        min: u64,
    },
    /// Text.
    Text(Scalar),
    /// A whole number.
    Integer {
        /// The smallest.
        min: Option<i64>,
        /// The largest.
        max: Option<i64>,
        /// The OpenAPI format, `int32` or `int64`.
        format: &'static str,
    },
    /// `true` or `false`.
    Bool,
    /// One of these texts, each with its meaning.
    OneOf(Vec<(String, String)>),
}

/// What a text looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scalar {
    /// The type that checks it, for [`check_scalar`].
    pub(crate) kind: Option<String>,
    /// A regular expression that it matches.
    pub pattern: Option<String>,
    /// Its shortest length.
    pub min_length: Option<u64>,
    /// Its longest length.
    pub max_length: Option<u64>,
}

impl Scalar {
    /// Checks a text as the type would. Text of no type of its own is always
    /// right.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn check(&self, text: &str) -> Result<(), InvalidValue> {
        let kind = self.kind.as_deref();
        kind.and_then(|kind| check_scalar(kind, text))
            .unwrap_or(Ok(()))
    }
}

impl Shape {
    /// The fields of an object; none for anything else.
    #[must_use]
    pub fn fields(&self) -> Option<&BTreeMap<String, Field>> {
        match self {
            Shape::Object { fields, .. } => Some(fields),
            _ => None,
        }
    }

    /// What a person would call it: `a mapping`, `text`.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Shape::Object { .. } | Shape::Map { .. } => "a mapping",
            Shape::List { .. } => "a list",
            Shape::Text(_) | Shape::OneOf(_) => "text",
            Shape::Integer { .. } => "a whole number",
            Shape::Bool => "true or false",
        }
    }
}

/// The field that tells a list's items apart: the first of these that every
/// item must have. Such a list is merged by it in server-side apply; any other
/// is replaced whole.
#[must_use]
pub fn list_key(items: &Shape) -> Option<&'static str> {
    let Shape::Object { required, .. } = items else {
        return None;
    };
    let is_required = |key: &&str| required.iter().any(|name| name == key);
    ["type", "name", "path"].into_iter().find(is_required)
}

/// Reads the schema of a type.
///
/// # Panics
/// If schemars generates something that is not known here; a test reads all
/// types.
pub(super) fn read<T: JsonSchema>() -> Field {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    field(
        settings
            .into_generator()
            .into_root_schema_for::<T>()
            .as_value(),
    )
}

fn field(json: &Json) -> Field {
    Field {
        description: text(json, "description")
            .unwrap_or_default()
            .replace('\n', " "),
        // An empty mapping says nothing that its fields do not.
        default: json
            .get("default")
            .filter(|d| !d.is_object() && !d.is_null())
            .cloned(),
        shape: shape(json),
    }
}

fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get(key).and_then(Json::as_str)
}

fn shape(json: &Json) -> Shape {
    if let Some(variants) = json.get("anyOf").and_then(Json::as_array) {
        // `Option<T>` of a type with a schema of its own.
        return match variants.as_slice() {
            [inner, null] if text(null, "type") == Some("null") => shape(inner),
            _ => panic!("unknown schema: {json}"),
        };
    }
    if let Some(variants) = json.get("oneOf").and_then(Json::as_array) {
        return Shape::OneOf(variants.iter().map(variant).collect());
    }
    let kind = match json.get("type") {
        Some(Json::String(kind)) => kind.as_str(),
        Some(Json::Array(kinds)) => match kinds.as_slice() {
            [Json::String(kind), Json::String(null)] if null == "null" => kind.as_str(),
            _ => panic!("unknown schema: {json}"),
        },
        _ => panic!("unknown schema: {json}"),
    };
    match kind {
        "object" => object(json),
        "array" => Shape::List {
            items: Box::new(shape(&json["items"])),
            min: json.get("minItems").and_then(Json::as_u64).unwrap_or(0),
        },
        "string" => Shape::Text(scalar(json)),
        "integer" => Shape::Integer {
            min: json.get("minimum").and_then(Json::as_i64),
            max: json.get("maximum").and_then(Json::as_i64),
            format: match text(json, "format") {
                None | Some("uint8" | "uint16" | "int32") => "int32",
                _ => "int64",
            },
        },
        "boolean" => Shape::Bool,
        _ => panic!("unknown schema: {json}"),
    }
}

fn variant(json: &Json) -> (String, String) {
    let value = text(json, "const").unwrap_or_else(|| panic!("unknown schema: {json}"));
    let meaning = text(json, "description")
        .unwrap_or_default()
        .replace('\n', " ");
    (value.to_owned(), meaning)
}

fn object(json: &Json) -> Shape {
    if let Some(properties) = json.get("properties").and_then(Json::as_object) {
        let required = json.get("required").and_then(Json::as_array);
        return Shape::Object {
            fields: properties
                .iter()
                .map(|(name, json)| (name.clone(), field(json)))
                .collect(),
            required: required
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        };
    }
    // A map: with checked keys schemars writes one pattern for them.
    let patterns = json.get("patternProperties").and_then(Json::as_object);
    if let Some((pattern, values)) = patterns.and_then(|patterns| patterns.iter().next()) {
        return Shape::Map {
            keys: key(pattern),
            values: Box::new(shape(values)),
        };
    }
    Shape::Map {
        keys: Scalar::default(),
        values: Box::new(shape(&json["additionalProperties"])),
    }
}

/// The type of a map's keys: schemars keeps only its pattern.
fn key(pattern: &str) -> Scalar {
    use crate::types::{EnvName, ObjectName};
    [
        schemars::schema_for!(EnvName),
        schemars::schema_for!(ObjectName),
    ]
    .iter()
    .map(|schema| scalar(schema.as_value()))
    .find(|scalar| scalar.pattern.as_deref() == Some(pattern))
    .unwrap_or_else(|| panic!("no type of keys has the pattern {pattern}"))
}

fn scalar(json: &Json) -> Scalar {
    Scalar {
        kind: text(json, SCALAR).map(str::to_owned),
        pattern: text(json, "pattern").map(str::to_owned),
        min_length: json.get("minLength").and_then(Json::as_u64),
        max_length: json.get("maxLength").and_then(Json::as_u64),
    }
}
