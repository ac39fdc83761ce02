//! Which fields of an object are meant: sets of paths, and Kubernetes' way to
//! write them (`fieldsV1`).
//!
//! A path leads to a value that is set as a whole: a scalar, a list without
//! keys, an empty mapping. An item of a list with keys is named by its key and
//! has a path of its own beside those of its fields.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use crate::schema::{Shape, list_key};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of a mapping.
    Field(String),
    /// An item of a list, by the name of its key and that key's value.
    Item(String, String),
}

/// A path from the root of an object.
pub(super) type FieldPath = Vec<Step>;

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet(pub(super) BTreeSet<FieldPath>);

impl FieldSet {
    /// Every field that is set in an object of this shape.
    pub(super) fn of(object: &Json, shape: &Shape) -> Self {
        let mut out = Self::default();
        out.collect(object, Some(shape), &mut Vec::new());
        out
    }

    fn collect(&mut self, value: &Json, shape: Option<&Shape>, at: &mut FieldPath) {
        match (value, shape) {
            (Json::Object(map), Some(Shape::Object { .. } | Shape::Map { .. }))
                if !map.is_empty() =>
            {
                for (key, value) in map {
                    at.push(Step::Field(key.clone()));
                    self.collect(value, below(shape, key), at);
                    at.pop();
                }
            }
            (Json::Array(items), Some(Shape::List { items: of, .. })) if !items.is_empty() => {
                let Some(keyed) = keyed(items, of) else {
                    self.0.insert(at.clone());
                    return;
                };
                for (step, item) in keyed {
                    at.push(step);
                    self.0.insert(at.clone());
                    self.collect(item, Some(of), at);
                    at.pop();
                }
            }
            _ => drop(self.0.insert(at.clone())),
        }
    }

    /// Whether no field is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something at or below this path is meant.
    pub(super) fn reaches(&self, path: &FieldPath) -> bool {
        let from = self.0.range(path.clone()..).next();
        from.is_some_and(|found| found.starts_with(path))
    }

    /// Takes out what is at or below any of these paths.
    pub(super) fn without(&mut self, gone: &FieldSet) {
        let under = |path: &FieldPath| (0..=path.len()).any(|n| gone.0.contains(&path[..n]));
        self.0.retain(|path| !under(path));
    }

    fn to_json(&self) -> Json {
        let mut root = Map::new();
        for path in &self.0 {
            let mut at = &mut root;
            for (n, step) in path.iter().enumerate() {
                let below = at
                    .entry(step.written())
                    .or_insert_with(|| Json::Object(Map::new()));
                let Json::Object(below) = below else { break };
                // Deeper paths of this set come later, in their order.
                if n + 1 == path.len() && self.has_below(path) {
                    below.insert(".".into(), Json::Object(Map::new()));
                }
                at = below;
            }
        }
        Json::Object(root)
    }

    fn has_below(&self, path: &FieldPath) -> bool {
        let mut from = self.0.range(path.clone()..);
        from.find(|found| *found != path)
            .is_some_and(|found| found.starts_with(path))
    }

    fn from_json(json: &Json) -> Option<Self> {
        let mut out = Self::default();
        out.read(json, &mut Vec::new())?;
        Some(out)
    }

    fn read(&mut self, json: &Json, at: &mut FieldPath) -> Option<()> {
        let map = json.as_object()?;
        if map.is_empty() && !at.is_empty() {
            self.0.insert(at.clone());
        }
        for (key, below) in map {
            if key == "." {
                self.0.insert(at.clone());
                continue;
            }
            at.push(Step::read(key)?);
            self.read(below, at)?;
            at.pop();
        }
        Some(())
    }
}

impl Step {
    fn written(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Item(key, value) => format!("k:{}", serde_json::json!({key: value})),
        }
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("f:") {
            return Some(Step::Field(name.to_owned()));
        }
        let key: Map<String, Json> = serde_json::from_str(text.strip_prefix("k:")?).ok()?;
        let (key, value) = key.into_iter().next()?;
        Some(Step::Item(key, value.as_str()?.to_owned()))
    }
}

/// As Kubernetes shows a field in messages: `.spec.services[name="api"].port`.
pub(super) fn shown(path: &FieldPath) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Field(name) => out.push_str(&format!(".{}", crate::types::shown(name))),
            Step::Item(key, value) => {
                out.push_str(&format!("[{key}=\"{}\"]", crate::types::shown(value)));
            }
        }
    }
    out
}

/// The shape of a field; none if it is not known.
pub(super) fn below<'s>(shape: Option<&'s Shape>, key: &str) -> Option<&'s Shape> {
    match shape? {
        Shape::Object { fields, .. } => Some(&fields.get(key)?.shape),
        Shape::Map { values, .. } => Some(values),
        _ => None,
    }
}

/// The items of a list by their keys; none if the list has none, or if two
/// items have the same.
pub(super) fn keyed<'v>(items: &'v [Json], of: &Shape) -> Option<Vec<(Step, &'v Json)>> {
    let key = list_key(of)?;
    let mut seen = BTreeSet::new();
    items
        .iter()
        .map(|item| {
            let value = item.get(key)?.as_str()?;
            let step = Step::Item(key.to_owned(), value.to_owned());
            seen.insert(value).then_some((step, item))
        })
        .collect()
}

impl Serialize for FieldSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FieldSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        Self::from_json(&json)
            .ok_or_else(|| serde::de::Error::custom("these are not fields as fieldsV1 has them"))
    }
}
