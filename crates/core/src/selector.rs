//! Label selectors, as Kubernetes writes them:
//! `a=b,c!=d,e in (x,y),f notin (z),g,!h`
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).
//!
//! A broken selector is an error and never selects everything: a client that
//! deletes by selector must not delete too much.

use crate::types::{check_label_key, check_label_value, shown};

/// Which labels an object must have. The default selects every object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// The values; `None` asks only whether the label is there.
    values: Option<Vec<String>>,
    /// Whether the requirement is turned around.
    not: bool,
}

impl std::str::FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parts(text)?
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Selector {
    /// Whether every object is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object is meant; `label` gives the value of its label of a
    /// key.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|Requirement { key, values, not }| {
            let holds = match (label(key), values) {
                (Some(value), Some(values)) => values.iter().any(|wanted| wanted == value),
                (found, _) => found.is_some(),
            };
            // As in Kubernetes, `!=` and `notin` mean an object without the
            // label too.
            holds != *not
        })
    }
}

/// The parts between commas that are not in parentheses.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let (mut out, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(broken(text)),
            ',' if !inside => {
                out.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(broken(text));
    }
    out.push(text[start..].trim());
    Ok(out)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let (key, values, not) = if let Some((head, list)) = part.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(|| broken(part))?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let (key, not) = match words.as_slice() {
            [key, "in"] => (*key, false),
            [key, "notin"] => (*key, true),
            _ => return Err(broken(part)),
        };
        (key, Some(list.split(',').map(str::trim).collect()), not)
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Some(vec![value.trim()]), true)
    } else if let Some((key, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        (key, Some(vec![value.trim()]), false)
    } else if let Some(key) = part.strip_prefix('!') {
        (key, None, true)
    } else {
        (part, None, false)
    };
    let key = key.trim();
    check_label_key(key).map_err(|why| format!("{} ({why})", broken(part)))?;
    for value in values.iter().flatten() {
        check_label_value(value).map_err(|why| format!("{} ({why})", broken(part)))?;
    }
    Ok(Requirement {
        key: key.to_owned(),
        values: values.map(|values: Vec<&str>| values.into_iter().map(str::to_owned).collect()),
        not,
    })
}

fn broken(text: &str) -> String {
    format!("`{}` is not a label selector", shown(text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = BTreeMap::from([("ring", "canary"), ("state", "ky")]);
        let selector: Selector = selector.parse().unwrap();
        selector.matches(|key| labels.get(key).copied())
    }

    #[test]
    fn selectors_are_those_of_kubernetes() {
        for yes in [
            "ring=canary",
            "ring==canary,state = ky",
            "ring!=stable",
            "team!=a",
            "ring in (stable, canary)",
            "team notin (a)",
            "ring",
            "!team",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "ring=stable",
            "ring=canary,state=oh",
            "ring!=canary",
            "ring in (stable)",
            "ring notin (canary,stable)",
            "team",
            "!ring",
            "team in (a)",
        ] {
            assert!(!matches(no), "{no}");
        }
    }

    /// A mistake must not select everything.
    #[test]
    fn a_broken_selector_is_an_error() {
        for broken in [
            "",
            ",",
            "a=b,",
            "a in b",
            "a in (b",
            "a)",
            "a like (b)",
            "a=b=c",
            "-a",
            "a b",
        ] {
            assert!(broken.parse::<Selector>().is_err(), "{broken}");
        }
    }
}
