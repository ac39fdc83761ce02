//! The body of a webhook with places for a message's parts.

use super::{Message, State, render};

/// A text with `{{name}}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Value),
}

/// What a place is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Id,
    Status,
    Reason,
    Host,
    Summary,
    Text,
    Message,
}

impl Value {
    const ALL: [(&str, Value); 7] = [
        ("id", Value::Id),
        ("status", Value::Status),
        ("reason", Value::Reason),
        ("host", Value::Host),
        ("summary", Value::Summary),
        ("text", Value::Text),
        ("message", Value::Message),
    ];
}

impl std::str::FromStr for Template {
    type Err = String;

    /// Reads a template; the error says what is wrong and what would be right.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                return Err("a `{{` has no `}}`".into());
            };
            let known = Value::ALL
                .into_iter()
                .find(|(known, _)| *known == name.trim());
            let Some((_, value)) = known else {
                let names = Value::ALL.map(|(known, _)| format!("`{{{{{known}}}}}`"));
                let name = crate::types::shown(name.trim());
                return Err(format!(
                    "there is no `{{{{{name}}}}}`; there are {}",
                    names.join(", ")
                ));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Value(value));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }
}

impl Template {
    /// The text with a message in its places.
    #[must_use]
    pub fn fill(&self, message: &Message) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Value(value) => filled(*value, message),
            })
            .collect()
    }
}

fn filled(value: Value, message: &Message) -> String {
    match value {
        Value::Id => quoted(&message.id),
        Value::Status => quoted(match message.status {
            State::Firing => "firing",
            State::Resolved => "resolved",
        }),
        Value::Reason => quoted(&message.reason),
        Value::Host => quoted(&message.host),
        Value::Summary => quoted(&render::summary(message)),
        Value::Text => quoted(&render::text(message)),
        Value::Message => render::webhook(message),
    }
}

/// A text for between the double quotes of JSON.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::String(text.to_owned()).to_string();
    json[1..json.len() - 1].to_owned()
}
