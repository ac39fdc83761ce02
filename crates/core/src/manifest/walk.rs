//! A document held against the shape of its kind.
//!
//! Everything that is wrong is found in one walk: unknown and missing fields,
//! wrong types, scalars that their types refuse. The walk also makes the JSON
//! that the object is deserialized from; as in Kubernetes, a field without a
//! value counts as not set.
//!
//! Below an environment (`secret`) no message has a value, and no message
//! anywhere has the text of a value of the wrong type.

use serde_json::{Map, Value as Json};

use super::Finding;
use super::suggest;
use crate::schema::{Field, Scalar, Shape};
use crate::types::shown;
use crate::yaml::{Entry, Node, Path, Value};

/// Walks a document whose root is a mapping.
pub(super) fn walk(root: &Node, of: &Field) -> (Json, Vec<Finding>) {
    let mut walk = Walk {
        root: of,
        findings: Vec::new(),
    };
    let json = walk.value(root, &of.shape, &Path::root(), false);
    (json, walk.findings)
}

struct Walk<'s> {
    root: &'s Field,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn value(&mut self, node: &Node, shape: &Shape, path: &Path, secret: bool) -> Json {
        match (shape, &node.value) {
            (Shape::Object { fields, required }, Value::Map(entries)) => {
                let mut json = Map::new();
                for entry in entries {
                    let below = path.key(&entry.key);
                    match fields.get(&entry.key) {
                        _ if path.segments().is_empty() && entry.key == "status" => {
                            self.find(status(below));
                        }
                        None => self.unknown(entry, shape, path),
                        // A missing field, if it is required.
                        Some(_) if entry.value.value == Value::Null => {}
                        Some(field) => {
                            let value = self.value(&entry.value, &field.shape, &below, secret);
                            json.insert(entry.key.clone(), value);
                        }
                    }
                }
                self.missing(node, required, path);
                return Json::Object(json);
            }
            (Shape::Map { keys, values }, Value::Map(entries)) => {
                return self.map(entries, keys, values, path);
            }
            (Shape::List { items, min }, Value::List(nodes)) => {
                if (nodes.len() as u64) < *min {
                    self.find(Finding::new(
                        path.clone(),
                        format!("at least {min} is needed"),
                    ));
                }
                let each = nodes.iter().enumerate();
                return each
                    .map(|(n, node)| self.value(node, items, &path.index(n), secret))
                    .collect();
            }
            (Shape::Text(scalar), Value::Text(text)) => self.text(text, scalar, path, secret),
            (Shape::OneOf(values), Value::Text(text)) => self.one_of(text, values, path),
            (Shape::Integer { min, max, .. }, Value::Int(value, _)) => {
                self.range(*value, *min, *max, path);
            }
            (Shape::Bool, Value::Bool(_)) => {}
            (_, value) => {
                let secret = secret || is_env(shape);
                self.find(mismatch(shape, value, path, secret));
            }
        }
        node.to_json()
    }

    fn map(&mut self, entries: &[Entry], keys: &Scalar, values: &Shape, path: &Path) -> Json {
        let secret = is_env_name(keys);
        let mut json = Map::new();
        for entry in entries {
            if let Err(error) = keys.check(&entry.key) {
                // The path stops at the map: the key may be `NAME=secret`.
                self.find(at_entry(path, entry, error.to_string()));
                continue;
            }
            let below = path.key(&entry.key);
            if entry.value.value == Value::Null {
                let hint = match values {
                    Shape::Text(_) => "write `\"\"` for an empty text, or remove the line",
                    _ => "write a value, or remove the line",
                };
                self.find(
                    Finding::new(below, "the value is missing")
                        .hint(hint)
                        .on_key(),
                );
                continue;
            }
            json.insert(
                entry.key.clone(),
                self.value(&entry.value, values, &below, secret),
            );
        }
        Json::Object(json)
    }

    fn missing(&mut self, node: &Node, required: &[String], path: &Path) {
        for name in required {
            match node.entry(name).map(|entry| &entry.value.value) {
                None => {
                    let message = format!("`{name}` is missing");
                    self.find(Finding::new(path.clone(), message));
                }
                Some(Value::Null) => {
                    let finding = Finding::new(path.key(name), "the value is missing");
                    self.find(finding.on_key());
                }
                Some(_) => {}
            }
        }
    }

    fn unknown(&mut self, entry: &Entry, shape: &Shape, path: &Path) {
        let Some(fields) = shape.fields() else { return };
        let names = || fields.keys().map(String::as_str);
        let hint = suggest::among(&entry.key, names())
            .map(suggest::did_you_mean)
            .or_else(|| self.elsewhere(&entry.key, path))
            .unwrap_or_else(|| {
                let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                format!("known here: {}", names.join(", "))
            });
        let message = format!("there is no field `{}`", shown(&entry.key));
        self.find(Finding {
            hint: Some(hint),
            ..at_entry(path, entry, message)
        });
    }

    /// A field of another part of the object that has just this name.
    fn elsewhere(&self, name: &str, path: &Path) -> Option<String> {
        let parts = self.root.shape.fields()?;
        ["metadata", "spec"].into_iter().find_map(|part| {
            let known = parts.get(part)?.shape.fields()?.contains_key(name);
            (known && *path != Path::from([part]))
                .then(|| format!("`{name}` belongs under `{part}`; check the indentation"))
        })
    }

    fn text(&mut self, text: &str, scalar: &Scalar, path: &Path, secret: bool) {
        if let Err(error) = scalar.check(text) {
            // The check of an environment's value never shows it.
            debug_assert!(!secret || scalar.kind.as_deref() == Some("EnvValue"));
            self.find(Finding::new(path.clone(), error.to_string()));
        }
    }

    fn one_of(&mut self, text: &str, values: &[(String, String)], path: &Path) {
        let names = || values.iter().map(|(value, _)| value.as_str());
        // The API version and the kind have messages of their own.
        if values.len() < 2 || names().any(|name| name == text) {
            return;
        }
        let all: Vec<_> = names().map(|name| format!("`{name}`")).collect();
        let message = format!("`{}` is not one of {}", shown(text), all.join(", "));
        let finding = Finding::new(path.clone(), message);
        self.find(match suggest::among(text, names()) {
            Some(name) => finding.hint(suggest::did_you_mean(name)),
            None => finding,
        });
    }

    fn range(&mut self, value: i128, min: Option<i64>, max: Option<i64>, path: &Path) {
        let low = min.is_some_and(|min| value < min.into());
        let high = max.is_some_and(|max| value > max.into());
        if !low && !high {
            return;
        }
        let hint = match (min, max) {
            (Some(min), Some(max)) => format!("use {min} to {max}"),
            (Some(min), None) => format!("use {min} or more"),
            (None, Some(max)) => format!("use {max} or less"),
            (None, None) => return,
        };
        let what = if low { "small" } else { "large" };
        self.find(Finding::new(path.clone(), format!("{value} is too {what}")).hint(hint));
    }
}

fn status(path: Path) -> Finding {
    Finding::new(path, "a manifest must not have a status: the operator writes what it saw to the `.status.yaml` beside the manifest")
        .hint("remove `status`")
        .on_key()
}

/// A finding about a key that must not be shown in the path.
fn at_entry(path: &Path, entry: &Entry, message: String) -> Finding {
    Finding {
        at: Some(entry.key_span.position),
        ..Finding::new(path.clone(), message)
    }
}

fn is_env_name(keys: &Scalar) -> bool {
    keys.kind.as_deref() == Some("EnvName")
}

fn is_env(shape: &Shape) -> bool {
    matches!(shape, Shape::Map { keys, .. } if is_env_name(keys))
}

fn mismatch(shape: &Shape, value: &Value, path: &Path, secret: bool) -> Finding {
    let what = match value {
        // A number or a truth value is no secret unless it is meant as text.
        Value::Int(..) | Value::Float(..) | Value::Bool(_) if !secret => value.what(),
        _ => value.kind().to_owned(),
    };
    let finding = Finding::new(
        path.clone(),
        format!("this must be {}, but it is {what}", shape.what()),
    );
    let hint = match (shape, value) {
        (Shape::Text(_), Value::Int(_, text) | Value::Float(_, text)) if !secret => {
            format!("put it in quotes: \"{}\"", shown(text))
        }
        (Shape::Text(_), Value::Int(..) | Value::Float(..) | Value::Bool(_)) => {
            "put it in quotes".into()
        }
        (Shape::Integer { .. }, Value::Text(text)) if !secret && text.parse::<i64>().is_ok() => {
            "remove the quotes".into()
        }
        (Shape::Bool, Value::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => "write `true`".into(),
            "no" | "off" | "n" | "false" => "write `false`".into(),
            _ => return finding,
        },
        (Shape::List { .. }, Value::Text(_)) => {
            "write each item on a line that starts with `- `".into()
        }
        (Shape::List { .. }, Value::Map(_)) => "start each item with `- `".into(),
        (Shape::Map { .. }, Value::List(_)) => "write `NAME: value` lines without `- `".into(),
        (Shape::Map { .. } | Shape::Object { .. }, Value::Text(_)) => {
            "write `name: value` lines, with a blank after the colon".into()
        }
        _ => return finding,
    };
    finding.hint(hint)
}
