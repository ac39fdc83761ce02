//! YAML text as a tree that knows where each part stands.
//!
//! Text becomes parser events, events become [`Document`]s of [`Node`]s with a
//! [`Span`] each ([`parse`]); a node becomes JSON ([`Node::to_json`]) for
//! serde, and its spans stay for messages and for edits that keep comments
//! ([`edit`]). Plain scalars follow the core schema of YAML 1.2: `yes`, `on`
//! and `1:30` are text.
//!
//! What is refused here is refused for every kind of object: duplicate keys,
//! keys that are not text, merge keys, tags outside the core schema, control
//! characters, and input beyond the limits below. Nothing here knows what a
//! manifest is.

mod build;
pub mod change;
pub mod edit;
mod path;
mod scalar;
pub mod section;
mod text;

pub use build::parse;
pub use path::{Path, Segment};
pub use text::read as read_text;

/// The largest input, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The most nodes in one text, with aliases counted as what they stand for.
pub const MAX_NODES: usize = 100_000;
/// The most bytes of scalars in one text, with aliases counted as what they
/// stand for.
pub const MAX_SCALAR_BYTES: usize = 4 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 32;
/// The most errors that one text is reported with.
pub const MAX_ERRORS: usize = 50;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character.
    pub const START: Position = Position { line: 1, column: 1 };
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// Where the first byte is.
    pub position: Position,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands. For an alias, where the alias stands.
    pub span: Span,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number, with its text.
    Int(i128, String),
    /// Any other number, with its text.
    Float(f64, String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order it is written.
    Map(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The document's place among the text's documents, from 0.
    pub index: usize,
    /// The root.
    pub root: Node,
}

/// Something in a text that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The document, from 0.
    pub document: usize,
    /// Where.
    pub position: Position,
    /// The path of the node, as far as it is known.
    pub path: Path,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Whether reading ended here. What stands after it was not seen, and what
    /// stands before it may have been meant otherwise.
    pub fatal: bool,
}

/// A text as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The documents. With errors they are what could be read: good enough to
    /// find a name in, not to act on.
    pub documents: Vec<Document>,
    /// Everything that is refused, in the order of the text.
    pub errors: Vec<Error>,
}

impl Node {
    /// The node at `path` below this one.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Node> {
        let mut node = self;
        for segment in path.segments() {
            node = match (segment, &node.value) {
                (Segment::Key(key), Value::Map(_)) => &node.entry(key)?.value,
                (Segment::Index(index), Value::List(items)) => items.get(*index)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The entry of this key, if the node is a mapping that has it.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value of this key as text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.value.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The node as JSON. A number that JSON cannot say becomes its text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::{Number, Value as Json};
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value, text) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => Json::from(value),
                (_, Ok(value)) => Json::from(value),
                _ => Json::from(text.as_str()),
            },
            Value::Float(value, text) => {
                Number::from_f64(*value).map_or_else(|| Json::from(text.as_str()), Json::Number)
            }
            Value::Text(text) => Json::from(text.as_str()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
