//! The reference of all fields, for people.

use std::fmt::Write;

use super::{Field, Scalar, Shape, json::describe};
use crate::api::{API_VERSION, Kind};

/// The reference as Markdown.
pub(super) fn text() -> String {
    let mut out = format!(
        "<!-- Generated from the objects' types; do not edit. -->\n\n# Objects\n\n\
         All objects have `apiVersion: {API_VERSION}`. Fields in **bold** must be set. A field \
         without a value (`domains:`) counts as not set. Unknown fields are errors.\n"
    );
    for kind in Kind::ALL {
        let root = super::of(kind);
        let _ = write!(out, "\n## {kind}\n\n{}\n\n", root.description);
        let status = root.shape.fields().and_then(|fields| fields.get("status"));
        table(&mut out, root, |path| {
            path != "status" && !path.starts_with("status.")
        });
        if status.is_some() {
            let _ = write!(
                out,
                "\n### Status of a {kind}\n\nWritten by the operator; refused in a manifest.\n\n"
            );
            table(&mut out, root, |path| path.starts_with("status."));
        }
    }
    out
}

fn table(out: &mut String, root: &Field, wanted: impl Fn(&str) -> bool) {
    out.push_str("| Field | Type | Default | What it is |\n|---|---|---|---|\n");
    let mut rows = Vec::new();
    walk(&root.shape, "", &mut rows);
    for (path, field, required) in rows {
        if !wanted(&path) {
            continue;
        }
        let name = if required {
            format!("**`{path}`**")
        } else {
            format!("`{path}`")
        };
        let default = field
            .default
            .as_ref()
            .map_or_else(String::new, |d| match d.as_str() {
                Some(text) => format!("`{text}`"),
                None => format!("`{d}`"),
            });
        let about = cell(&describe(field));
        let _ = writeln!(
            out,
            "| {name} | {} | {default} | {about} |",
            cell(&kind(&field.shape))
        );
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The fields below a shape, required ones first.
fn walk<'a>(shape: &'a Shape, path: &str, rows: &mut Vec<(String, &'a Field, bool)>) {
    match shape {
        Shape::Object { fields, required } => {
            let is_required = |name: &String| required.contains(name);
            let (first, rest): (Vec<_>, Vec<_>) =
                fields.iter().partition(|(name, _)| is_required(name));
            for (name, field) in first.into_iter().chain(rest) {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{name}");
                rows.push((path.clone(), field, is_required(name)));
                walk(&field.shape, &path, rows);
            }
        }
        Shape::List { items, .. } => walk(items, &format!("{path}[]"), rows),
        Shape::Map { values, .. } => walk(values, &format!("{path}.*"), rows),
        Shape::Text(_) | Shape::Integer { .. } | Shape::Bool | Shape::OneOf(_) => {}
    }
}

fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Object { .. } => "mapping".into(),
        Shape::Map { keys, values } => {
            format!("mapping of {} to {}", scalar(keys), kind(values))
        }
        Shape::List { items, min: 0 } => format!("list of {}", kind(items)),
        Shape::List { items, min } => format!("list of {}, at least {min}", kind(items)),
        Shape::Text(of) => scalar(of),
        Shape::Integer {
            min: Some(min),
            max: Some(max),
            ..
        } => format!("number {min} to {max}"),
        Shape::Integer { min: Some(min), .. } => format!("number from {min}"),
        Shape::Integer { max: Some(max), .. } => format!("number up to {max}"),
        Shape::Integer { .. } => "number".into(),
        Shape::Bool => "`true` or `false`".into(),
        Shape::OneOf(values) => values
            .iter()
            .map(|(value, _)| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

fn scalar(of: &Scalar) -> String {
    let mut text = "text".to_owned();
    if let Some(max) = of.max_length {
        let _ = write!(text, " up to {max}");
    }
    if let Some(pattern) = &of.pattern {
        let _ = write!(text, " like `{pattern}`");
    }
    text
}
