//! Every place of an object that a person writes something into.

use std::fmt;

use cb_core::api::Kind;
use cb_core::schema::{self, Scalar, Shape};
use serde_json::{Map, Value as Json, json};

/// Harmless text of every type; the first that a type takes is its sample.
/// What stands beside a place has `wx` instead of `zq`, so that the sample is
/// found in what is rendered of its own place alone.
pub const SAMPLES: [&str; 16] = [
    "zqsample",
    "/zq/sample",
    "zq.example.org",
    "https://zq.example.org/x",
    "http://zq.example.org",
    "512Mi",
    "zq.service",
    "zq.sops.yaml",
    "zq.age",
    "zq@example.org",
    "127.0.0.1:9999",
    "ssh://git@zq.example.org/x",
    "0.125",
    "20200101t000000z-1",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// A place of the objects of one kind. Displayed as `Tenant spec.domains[]`,
/// the key of a map as `spec.env{name}` and its value as `spec.env{}`.
#[derive(Debug, Clone)]
pub struct Place {
    /// The kind of the objects.
    pub kind: Kind,
    /// Whether text may be in it: a number, a truth value or one of a few
    /// words is there otherwise.
    pub free: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Item,
    Key,
    Value,
}

/// What an object has on the way to a place, beside what must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// What the base has.
    AsInBase,
    /// Nothing, from the first field that may be left out on.
    Empty,
}

/// Every place of every kind, in the order of the schemas.
#[must_use]
pub fn all() -> Vec<Place> {
    let mut out = Vec::new();
    for kind in Kind::ALL {
        walk(kind, &schema::of(kind).shape, &mut Vec::new(), &mut out);
    }
    out
}

fn walk(kind: Kind, shape: &Shape, steps: &mut Vec<Step>, out: &mut Vec<Place>) {
    match shape {
        Shape::Object { fields, .. } => {
            for (name, field) in fields {
                // The operator's own; a manifest with it is refused.
                if steps.is_empty() && name == "status" {
                    continue;
                }
                steps.push(Step::Field(name.clone()));
                walk(kind, &field.shape, steps, out);
                steps.pop();
            }
        }
        Shape::List { items, .. } => {
            steps.push(Step::Item);
            walk(kind, items, steps, out);
            steps.pop();
        }
        Shape::Map { values, .. } => {
            steps.push(Step::Key);
            out.push(place(kind, true, steps));
            steps.pop();
            steps.push(Step::Value);
            walk(kind, values, steps, out);
            steps.pop();
        }
        Shape::Text(_) => out.push(place(kind, true, steps)),
        Shape::Integer { .. } | Shape::Bool | Shape::OneOf(_) => {
            out.push(place(kind, false, steps));
        }
    }
}

fn place(kind: Kind, free: bool, steps: &[Step]) -> Place {
    Place {
        kind,
        free,
        steps: steps.to_vec(),
    }
}

impl Place {
    /// The base with `text` in this place; what must be beside it and is not
    /// there gets samples.
    #[must_use]
    pub fn with(&self, base: &Json, start: Start, text: &str) -> Json {
        let shape = &schema::of(self.kind).shape;
        put(shape, Some(base), &self.steps, start, text)
    }

    /// The text in this place of an object; `None` if there is none.
    #[must_use]
    pub fn of<'a>(&self, object: &'a Json) -> Option<&'a str> {
        let mut at = object;
        for step in &self.steps {
            at = match step {
                Step::Field(name) => at.get(name)?,
                Step::Item => at.get(0)?,
                Step::Key => return Some(at.as_object()?.keys().next()?),
                Step::Value => at.as_object()?.values().next()?,
            };
        }
        at.as_str()
    }

    /// Whether what is in this place may be a secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.steps
            .ends_with(&[Step::Field("env".into()), Step::Value])
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        let mut before = " ";
        for step in &self.steps {
            match step {
                Step::Field(name) => write!(f, "{before}{name}")?,
                Step::Item => f.write_str("[]")?,
                Step::Key => f.write_str("{name}")?,
                Step::Value => f.write_str("{}")?,
            }
            before = ".";
        }
        Ok(())
    }
}

fn put(shape: &Shape, base: Option<&Json>, steps: &[Step], start: Start, text: &str) -> Json {
    let Some((step, steps)) = steps.split_first() else {
        return Json::String(text.to_owned());
    };
    let kept = |base: Option<&Json>| base.filter(|_| start == Start::AsInBase).cloned();
    match (shape, step) {
        (Shape::Object { fields, required }, Step::Field(name)) => {
            let mut object = match base {
                Some(Json::Object(object)) => object.clone(),
                _ => samples(shape),
            };
            let was = match required.contains(name) {
                true => object.get(name).cloned(),
                false => kept(object.get(name)),
            };
            let value = put(&fields[name].shape, was.as_ref(), steps, start, text);
            object.insert(name.clone(), value);
            Json::Object(object)
        }
        (Shape::List { items, .. }, Step::Item) => {
            let was = kept(base.and_then(|list| list.get(0)));
            json!([put(items, was.as_ref(), steps, start, text)])
        }
        (Shape::Map { values, .. }, Step::Key) => json!({text: sample(values)}),
        (Shape::Map { keys, values }, Step::Value) => {
            json!({sample_of(keys): put(values, None, steps, start, text)})
        }
        _ => unreachable!("the steps are the schema's"),
    }
}

/// What must be in an object.
fn samples(object: &Shape) -> Map<String, Json> {
    match object {
        Shape::Object { fields, required } => required
            .iter()
            .map(|name| (name.clone(), sample(&fields[name].shape)))
            .collect(),
        _ => Map::new(),
    }
}

fn sample(shape: &Shape) -> Json {
    match shape {
        Shape::Object { .. } => Json::Object(samples(shape)),
        Shape::Map { .. } => json!({}),
        Shape::List { items, min } => (0..*min).map(|_| sample(items)).collect(),
        Shape::Text(scalar) => json!(sample_of(scalar)),
        Shape::Integer { min, .. } => json!(min.unwrap_or(1)),
        Shape::Bool => json!(false),
        Shape::OneOf(words) => json!(words[0].0),
    }
}

/// # Panics
/// If a type takes none of [`SAMPLES`]: it needs one there.
fn sample_of(scalar: &Scalar) -> String {
    let beside = SAMPLES.map(|sample| sample.replace("zq", "wx"));
    beside
        .into_iter()
        .find(|sample| scalar.check(sample).is_ok())
        .unwrap_or_else(|| panic!("no sample is taken by {scalar:?}; add one to SAMPLES"))
}
