//! Label and field selectors, as Kubernetes writes them:
//! `a=b,c!=d,e in (x,y),f notin (z),g,!h`.
//!
//! An unknown operator or a broken text is an error and never selects
//! everything: a client that deletes by selector must not delete too much.

use cb_core::types::{check_label_key, check_label_value, shown};
use serde_json::Value;

/// Which objects are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    /// Names that the object must have (`true`) or must not have.
    names: Vec<(String, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads both selectors of a request.
    pub(super) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, String> {
        let mut out = Self::default();
        for part in split(labels.unwrap_or_default())? {
            out.labels.push(requirement(part)?);
        }
        for part in split(fields.unwrap_or_default())? {
            let (field, value, equal) = comparison(part)
                .ok_or_else(|| format!("`{}` is not a field selector", shown(part)))?;
            if field != "metadata.name" {
                return Err(format!(
                    "objects cannot be selected by the field `{}`; metadata.name is the only one",
                    shown(field)
                ));
            }
            out.names.push((value.to_owned(), equal));
        }
        Ok(out)
    }

    /// Whether every object is meant.
    pub(super) fn is_all(&self) -> bool {
        self.labels.is_empty() && self.names.is_empty()
    }

    /// Whether this object is meant.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let label = |key: &str| metadata["labels"].get(key).and_then(Value::as_str);
        self.names
            .iter()
            .all(|(wanted, equal)| (wanted == name) == *equal)
            && self
                .labels
                .iter()
                .all(|requirement| requirement.holds(label(&requirement.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|v| values.iter().any(|w| w == v));
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => among(values),
            // As in Kubernetes, an object without the label is meant too.
            Test::NotIn(values) => !among(values),
        }
    }
}

/// The parts between commas that are not in parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(format!("unexpected `{c}` in `{}`", shown(text))),
            ',' if !inside => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(format!("a `)` is missing in `{}`", shown(text)));
    }
    parts.push(text[start..].trim());
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let (key, test) = if let Some((rest, values)) = part.split_once('(') {
        let Some(values) = values.strip_suffix(')') else {
            return Err(not_a_selector(part));
        };
        let values = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let mut words = rest.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => (key, Test::In(values)),
            (Some(key), Some("notin"), None) => (key, Test::NotIn(values)),
            _ => return Err(not_a_selector(part)),
        }
    } else if let Some((key, value, equal)) = comparison(part) {
        let values = vec![value.to_owned()];
        (
            key,
            if equal {
                Test::In(values)
            } else {
                Test::NotIn(values)
            },
        )
    } else if let Some(key) = part.strip_prefix('!') {
        (key.trim(), Test::Absent)
    } else {
        (part, Test::Exists)
    };
    check_label_key(key).map_err(|error| error.to_string())?;
    if let Test::In(values) | Test::NotIn(values) = &test {
        for value in values.iter().filter(|value| !value.is_empty()) {
            check_label_value(value).map_err(|error| error.to_string())?;
        }
    }
    Ok(Requirement {
        key: key.to_owned(),
        test,
    })
}

fn not_a_selector(part: &str) -> String {
    format!(
        "`{}` is not a selector: write `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key` or `!key`",
        shown(part)
    )
}

fn comparison(part: &str) -> Option<(&str, &str, bool)> {
    let (key, value, equal) = if let Some((key, value)) = part.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = part.split_once("==") {
        (key, value, true)
    } else {
        let (key, value) = part.split_once('=')?;
        (key, value, true)
    };
    Some((key.trim(), value.trim(), equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn selects(labels: &str) -> bool {
        let object =
            json!({"metadata": {"name": "ky04", "labels": {"a": "b", "e": "x", "empty": ""}}});
        Selector::parse(Some(labels), None)
            .unwrap()
            .matches(&object)
    }

    #[test]
    fn every_form_selects_what_it_says() {
        for labels in [
            "",
            "a",
            "a=b",
            "a==b",
            "a = b",
            "a!=c",
            "c!=d",
            "!f",
            "! f",
            "e in (x,y)",
            "e in ( x , y )",
            "e notin (y)",
            "q notin (y)",
            "a=b,c!=d,e in (x,y),!f",
            "empty=",
            "a in (b)",
            "empty in ()",
        ] {
            assert!(selects(labels), "{labels}");
        }
        for labels in [
            "f",
            "a=c",
            "a!=b",
            "!a",
            "e in (y)",
            "e notin (x,y)",
            "q in (x)",
            "a=b,f",
        ] {
            assert!(!selects(labels), "{labels}");
        }
    }

    #[test]
    fn a_broken_selector_is_refused_and_selects_nothing() {
        for labels in [
            ",",
            "a=b,",
            "=b",
            "a in",
            "a in (b",
            "a in b)",
            "a (b)",
            "a not in (b)",
            "a in (b) c",
            "a>1",
            "a b",
            "a=b c",
            "!",
            "a=b=c",
            "a in ((b))",
        ] {
            assert!(Selector::parse(Some(labels), None).is_err(), "{labels}");
        }
        for fields in ["metadata.name", "spec.version=v1", ","] {
            assert!(Selector::parse(None, Some(fields)).is_err(), "{fields}");
        }
    }

    #[test]
    fn a_name_can_be_selected() {
        let object = json!({"metadata": {"name": "ky04"}});
        let selects = |fields| {
            Selector::parse(None, Some(fields))
                .unwrap()
                .matches(&object)
        };
        assert!(selects("metadata.name=ky04") && selects("metadata.name!=oh01"));
        assert!(!selects("metadata.name==oh01") && !selects("metadata.name!=ky04"));
    }

    proptest! {
        #[test]
        fn no_text_panics(labels in "[a-c!=(), in]{0,20}", any in ".{0,20}") {
            let _ = Selector::parse(Some(&labels), Some(&any));
            let _ = Selector::parse(Some(&any), Some(&labels));
        }
    }
}
