//! Edits of a text that keep its comments and order.
//!
//! The text around the edited scalar stays byte for byte. The result is read
//! back and compared: an edit that would change anything else is refused.

use super::{Path, Segment, Value, parse, scalar};
use crate::types::shown;

/// Why a text was not edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not valid YAML.
    #[error("line {line}: {message}")]
    Invalid {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The text has no such document or the place for the field is not a
    /// mapping.
    #[error("there is no place for {path} in this document")]
    NoPlace {
        /// The field.
        path: Path,
    },
    /// The text is written in a way that this edit cannot keep.
    #[error("{path} cannot be edited without changing other parts of the file; edit it by hand")]
    ByHand {
        /// The field.
        path: Path,
    },
}

/// A scalar to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// Text, quoted where needed.
    Text(String),
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Scalar::Text(text.to_owned())
    }
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Scalar::Bool(value)
    }
}

/// Sets the scalar at `path` in a document of the text, or adds it as the
/// first field of its mapping if it is not there. The mapping itself must be
/// there.
///
/// # Errors
/// [`EditError`], with nothing changed.
pub fn set_scalar(
    text: &str,
    document: usize,
    path: &Path,
    value: &Scalar,
) -> Result<String, EditError> {
    let by_hand = || EditError::ByHand { path: path.clone() };
    let no_place = || EditError::NoPlace { path: path.clone() };
    let before = checked(text)?;
    let root = &before.get(document).ok_or_else(no_place)?.root;
    let written = value.written();
    let edited = match root.get(path) {
        Some(node) => {
            if matches!(node.value, Value::List(_) | Value::Map(_)) {
                return Err(no_place());
            }
            let span = node.span;
            // A value that is not written at all has an empty span somewhere
            // after its key.
            let space = if span.start == span.end { " " } else { "" };
            format!(
                "{}{space}{written}{}",
                &text[..span.start],
                &text[span.end..]
            )
        }
        None => {
            let (parent, key) = split(path).ok_or_else(no_place)?;
            let Some(Value::Map(entries)) = root.get(&parent).map(|node| &node.value) else {
                return Err(no_place());
            };
            let first = entries.first().ok_or_else(by_hand)?.key_span.start;
            let line = text[..first].rfind('\n').map_or(0, |at| at + 1);
            let indent = &text[line..first];
            if !indent.chars().all(|c| c == ' ') {
                return Err(by_hand());
            }
            format!(
                "{}{indent}{key}: {written}\n{}",
                &text[..line],
                &text[line..]
            )
        }
    };
    let after = checked(&edited).map_err(|_| by_hand())?;
    let mut expected: Vec<_> = before.iter().map(|d| d.root.to_json()).collect();
    place(&mut expected[document], path, value.json());
    if after.iter().map(|d| d.root.to_json()).eq(expected) {
        Ok(edited)
    } else {
        Err(by_hand())
    }
}

pub(super) fn checked(text: &str) -> Result<Vec<super::Document>, EditError> {
    let parsed = parse(text);
    match parsed.errors.into_iter().next() {
        Some(e) => Err(EditError::Invalid {
            line: e.position.line,
            message: e.message,
        }),
        None => Ok(parsed.documents),
    }
}

fn split(path: &Path) -> Option<(Path, &str)> {
    match path.segments().last()? {
        Segment::Key(key) if scalar::is_text(key) => Some((path.parent()?, key)),
        _ => None,
    }
}

fn place(json: &mut serde_json::Value, path: &Path, value: serde_json::Value) {
    let mut at = json;
    for segment in path.segments() {
        at = match segment {
            Segment::Key(key) => match at.as_object_mut() {
                Some(map) => map.entry(key.clone()).or_insert(serde_json::Value::Null),
                None => return,
            },
            Segment::Index(index) => match at.get_mut(*index) {
                Some(item) => item,
                None => return,
            },
        };
    }
    *at = value;
}

impl Scalar {
    fn json(&self) -> serde_json::Value {
        match self {
            Scalar::Bool(value) => (*value).into(),
            Scalar::Text(text) => text.as_str().into(),
        }
    }

    pub(super) fn written(&self) -> String {
        let text = match self {
            Scalar::Bool(value) => return value.to_string(),
            Scalar::Text(text) => text,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
        if starts && text.chars().all(plain) && scalar::is_text(text) {
            return text.clone();
        }
        // JSON's escapes are YAML's in double quotes.
        serde_json::Value::from(text.as_str()).to_string()
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.written()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Häuser\nkind: Tenant  # a kind\nspec:\n  # which one\n  version: v0.2.0   # pinned\n  list: [a, b]\n  text: |\n    x\n---\nb: &b 1\nc: *b\n";

    fn set(path: &Path, value: impl Into<Scalar>) -> Result<String, EditError> {
        set_scalar(TEXT, 0, path, &value.into())
    }

    #[test]
    fn an_edit_changes_the_scalar_and_nothing_else() {
        let edited = set(&Path::from(["spec", "version"]), "v0.3.0").unwrap();
        assert_eq!(edited, TEXT.replace("v0.2.0", "v0.3.0"));
        let edited = set(&Path::from(["spec", "version"]), "1.10").unwrap();
        assert_eq!(edited, TEXT.replace("v0.2.0", "\"1.10\""));
        let edited = set(&Path::from(["spec", "list"]).index(1), "c: #").unwrap();
        assert_eq!(edited, TEXT.replace(", b]", ", \"c: #\"]"));
    }

    #[test]
    fn a_comment_after_a_quoted_scalar_is_kept() {
        for (old, new) in [
            ("a: \"x\\\"#\"  # c\nb: 1\n", "a: y  # c\nb: 1\n"),
            ("a: 'it''s' # c\nb: 1\n", "a: y # c\nb: 1\n"),
            ("a: x # c", "a: y # c"),
            ("{a: 'x', b: 1} # c\n", "{a: y, b: 1} # c\n"),
        ] {
            let edited = set_scalar(old, 0, &Path::from(["a"]), &"y".into());
            assert_eq!(edited.as_deref(), Ok(new), "{old}");
        }
    }

    #[test]
    fn a_missing_field_is_added_to_its_mapping() {
        let edited = set(&Path::from(["spec", "suspend"]), true).unwrap();
        assert_eq!(
            edited,
            TEXT.replace("  version", "  suspend: true\n  version")
        );
    }

    #[test]
    fn what_cannot_be_edited_alone_is_refused() {
        assert!(matches!(
            set(&Path::from(["spec"]), "x"),
            Err(EditError::NoPlace { .. })
        ));
        assert!(matches!(
            set(&Path::from(["spec", "a", "b"]), "x"),
            Err(EditError::NoPlace { .. })
        ));
        let unwritten = set_scalar("a: # c\nb: 1\n", 0, &Path::from(["a"]), &"y".into());
        assert!(
            matches!(unwritten, Err(EditError::ByHand { .. })),
            "{unwritten:?}"
        );
        let aliased = set_scalar(TEXT, 1, &Path::from(["b"]), &"2".into());
        assert!(
            matches!(aliased, Err(EditError::ByHand { .. })),
            "{aliased:?}"
        );
    }
}
