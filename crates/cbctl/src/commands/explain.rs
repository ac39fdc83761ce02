//! `cbctl explain`: what a kind and its fields are, from the schemas that
//! manifests are checked with. It needs no operator.

use std::fmt::Write as _;

use cb_core::api::{GROUP, VERSION};
use cb_core::manifest::nearest;
use cb_core::schema::{self, Field, Scalar, Shape};
use cb_core::types::shown;
use serde_json::Value;

use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::output::Format;
use crate::resource::{self, Wanted};

/// How long lines of text become.
const WIDTH: usize = 78;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl explain tenant
  cbctl explain tenant.spec.database
  cbctl explain app.spec.services --recursive")]
pub(crate) struct Args {
    /// KIND or KIND.FIELD.FIELD
    #[arg(value_name = "KIND[.FIELD]")]
    what: String,
    /// Show the names and types of all fields below
    #[arg(long)]
    recursive: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[])?;
    let (kind_word, path) = args.what.split_once('.').unwrap_or((&args.what, ""));
    let wanted = resource::parse(&[kind_word.to_owned()])?;
    let [Wanted { kind, names: None }] = wanted.as_slice() else {
        return Err(CommandError::usage("explain takes one kind and no name")
            .hint("write KIND or KIND.FIELD, for example tenant.spec"));
    };
    let mut found = At {
        field: schema::of(*kind),
        required: false,
    };
    for name in path.split('.').filter(|_| !path.is_empty()) {
        found = below(found.field, name)?;
    }
    let mut out = format!("GROUP:      {GROUP}\nKIND:       {kind}\nVERSION:    {VERSION}\n\n");
    if let Some(name) = path.rsplit('.').next().filter(|name| !name.is_empty()) {
        let _ = writeln!(out, "FIELD: {}\n", title(name, &found));
    }
    out.push_str("DESCRIPTION:\n");
    about(&mut out, found.field, 4);
    if let Shape::Object { fields, .. } = innermost(&found.field.shape) {
        out.push_str("\nFIELDS:\n");
        if args.recursive {
            names(&mut out, found.field, 2);
        } else {
            for name in fields.keys() {
                let at = below(found.field, name)?;
                let _ = writeln!(out, "  {}", title(name, &at));
                about(&mut out, at.field, 4);
                out.push('\n');
            }
        }
    }
    context.ui.line(out.trim_end());
    Ok(0)
}

/// A field, and whether it must be set.
struct At<'a> {
    field: &'a Field,
    required: bool,
}

/// The field of this name in an object, or in the objects of a list or map.
fn below<'a>(of: &'a Field, name: &str) -> Result<At<'a>, CommandError> {
    let unknown = || CommandError::failed(format!("field \"{}\" does not exist", shown(name)));
    let Shape::Object { fields, required } = innermost(&of.shape) else {
        return Err(unknown().hint(format!("{} has no fields", of.shape.what())));
    };
    match fields.get(name) {
        Some(field) => Ok(At {
            field,
            required: required.iter().any(|of| of == name),
        }),
        None => {
            let names = || fields.keys().map(String::as_str);
            Err(unknown().hint(match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
            }))
        }
    }
}

/// What a list or a map is of.
fn innermost(shape: &Shape) -> &Shape {
    match shape {
        Shape::List { items, .. } => innermost(items),
        Shape::Map { values, .. } => innermost(values),
        other => other,
    }
}

/// All fields below, one to a line.
fn names(out: &mut String, of: &Field, indent: usize) {
    let Shape::Object { fields, required } = innermost(&of.shape) else {
        return;
    };
    for (name, field) in fields {
        let required = required.contains(name);
        let title = title(name, &At { field, required });
        let _ = writeln!(out, "{:indent$}{title}", "");
        names(out, field, indent + 2);
    }
}

/// `services <[]Object> -required-`
fn title(name: &str, at: &At<'_>) -> String {
    let required = if at.required { " -required-" } else { "" };
    format!("{name} <{}>{required}", type_of(&at.field.shape))
}

fn type_of(shape: &Shape) -> String {
    match shape {
        Shape::Object { .. } => "Object".into(),
        Shape::Map { values, .. } => format!("map[string]{}", type_of(values)),
        Shape::List { items, .. } => format!("[]{}", type_of(items)),
        Shape::Text(_) | Shape::OneOf(_) => "string".into(),
        Shape::Integer { .. } => "integer".into(),
        Shape::Bool => "boolean".into(),
    }
}

/// What a field is for, and what its value may be.
fn about(out: &mut String, field: &Field, indent: usize) {
    let mut lines = wrapped(&field.description, WIDTH - indent);
    if let Some(default) = &field.default {
        let text = match default {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        lines.push(format!("DEFAULT: {text}"));
    }
    limits(&mut lines, &field.shape, WIDTH - indent);
    if lines.is_empty() {
        lines.push("<empty>".into());
    }
    for line in lines {
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
}

/// What values a shape takes.
fn limits(lines: &mut Vec<String>, shape: &Shape, width: usize) {
    match shape {
        // Of a single one the description tells.
        Shape::OneOf(values) if values.len() == 1 => {}
        Shape::OneOf(values) => {
            lines.push("ENUM:".into());
            for (value, meaning) in values {
                let text = format!("{value}: {meaning}");
                let text = text.trim_end().trim_end_matches(':');
                let wrapped = wrapped(text, width - 4);
                lines.extend(wrapped.iter().enumerate().map(|(n, line)| {
                    let indent = if n == 0 { 2 } else { 4 };
                    format!("{:indent$}{line}", "")
                }));
            }
        }
        Shape::Integer { min, max, .. } => {
            lines.extend(min.map(|min| format!("MINIMUM: {min}")));
            lines.extend(max.map(|max| format!("MAXIMUM: {max}")));
        }
        Shape::Text(of) => scalar(lines, of, ""),
        Shape::List { items, min } => {
            if *min > 0 {
                lines.push(format!("AT LEAST: {min}"));
            }
            limits(lines, items, width);
        }
        Shape::Map { keys, values } => {
            scalar(lines, keys, "KEY ");
            limits(lines, values, width);
        }
        Shape::Object { .. } | Shape::Bool => {}
    }
}

fn scalar(lines: &mut Vec<String>, of: &Scalar, whose: &str) {
    let length = of.max_length.map(|max| format!("{whose}MAX LENGTH: {max}"));
    lines.extend(length);
    let pattern = of.pattern.as_ref();
    lines.extend(pattern.map(|pattern| format!("{whose}PATTERN: {pattern}")));
}

/// A text in lines of at most this many letters, unless a word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use cb_core::api::Kind;

    /// Every field of every kind can be asked for, and says what it is for.
    #[test]
    fn every_field_is_found_and_described() {
        fn walk(of: &Field, path: &str) {
            if let Shape::Object { fields, .. } = innermost(&of.shape) {
                for name in fields.keys() {
                    let at = below(of, name).unwrap();
                    let mut text = String::new();
                    about(&mut text, at.field, 0);
                    assert!(!text.starts_with("<empty>"), "{path}.{name}");
                    walk(at.field, &format!("{path}.{name}"));
                }
            }
        }
        for kind in Kind::ALL {
            walk(schema::of(kind), kind.singular());
        }
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("unbreakable", 4), ["unbreakable"]);
        assert!(wrapped(" ", 4).is_empty());
    }
}
