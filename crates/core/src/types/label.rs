//! Labels and annotations, as Kubernetes has them.

use super::name::check_label;
use super::{InvalidValue, shown};

/// Checks the key of a label or annotation, as Kubernetes does: an optional
/// DNS prefix and `/`, then a name.
///
/// # Errors
/// What is wrong with it and what would be right.
pub fn check_label_key(text: &str) -> Result<(), InvalidValue> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let prefix_ok = prefix.is_none_or(|prefix| {
        prefix.len() <= 253
            && prefix
                .split('.')
                .all(|part| check_label(part, 63, "").is_ok())
    });
    if prefix_ok && !name.is_empty() && is_label_text(name) {
        return Ok(());
    }
    Err(InvalidValue(format!(
        "`{}` is not a label key: write an optional DNS name and `/`, then at most 63 letters, digits, `-`, `_` and `.`, starting and ending with a letter or digit (for example example.org/team)",
        shown(text)
    )))
}

/// Checks the value of a label, as Kubernetes does.
///
/// # Errors
/// What is wrong with it and what would be right.
pub fn check_label_value(text: &str) -> Result<(), InvalidValue> {
    if is_label_text(text) {
        return Ok(());
    }
    Err(InvalidValue(format!(
        "`{}` is not a label value: use at most 63 letters, digits, `-`, `_` and `.`, and start and end with a letter or digit",
        shown(text)
    )))
}

fn is_label_text(text: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= 63
            && text.starts_with(end)
            && text.ends_with(end)
            && text.chars().all(|c| end(c) || "-_.".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_kubernetes() {
        for key in ["a", "A_b.c-1", "example.org/team"] {
            assert!(check_label_key(key).is_ok(), "{key}");
        }
        let long = "a".repeat(64);
        for key in [
            "",
            "/a",
            "a/",
            "a b",
            "-a",
            "A.org/x",
            "a/b/c",
            long.as_str(),
        ] {
            assert!(check_label_key(key).is_err(), "{key}");
        }
        assert!(check_label_value("").is_ok() && check_label_value("v0.3_a").is_ok());
        for value in ["a/b", "a b", "-", "é", long.as_str()] {
            assert!(check_label_value(value).is_err(), "{value}");
        }
    }
}
