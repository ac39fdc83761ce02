//! The label and field selectors of a request.

use std::sync::Arc;

use cb_core::access::Token;
use cb_core::selector::Selector as Labels;
use cb_core::types::{TenantName, shown};
use cb_runtime::store::Store;
use serde_json::Value;

use crate::state::PublishedTenant;

/// Which objects are meant.
#[derive(Clone, Default)]
pub(super) struct Selector {
    labels: Labels,
    /// Fields with the value that the object must have (`true`) or must not.
    fields: Vec<(String, String, bool)>,
    /// What of them is given to whoever asks; all without.
    within: Option<Within>,
}

/// What is given to whoever asks.
#[derive(Clone)]
pub(super) enum Within {
    /// Of tenants, those that a token is for.
    Tenants(Arc<Token>),
    /// Of events, those of the tenants that it is for while they happen.
    Events(Arc<Token>, Store<TenantName, PublishedTenant>),
}

impl Within {
    fn has(&self, object: &Value) -> bool {
        match self {
            Within::Tenants(token) => {
                let metadata = &object["metadata"];
                let label = |key: &str| metadata["labels"].get(key).and_then(Value::as_str);
                let name = metadata["name"].as_str().unwrap_or_default();
                token.scope.has(name, label)
            }
            Within::Events(token, tenants) => {
                let of = object.get("regarding").or(object.get("involvedObject"));
                let of = of.unwrap_or(&Value::Null);
                let name = of["name"].as_str().unwrap_or_default();
                let tenant = name.parse().ok().and_then(|name| tenants.get(&name));
                let labels = tenant.map(|known| known.value.tenant.metadata.labels.clone());
                let labels = labels.unwrap_or_default();
                let label = |key: &str| labels.get(key).map(String::as_str);
                of["kind"] == "Tenant" && token.scope.has(name, label)
            }
        }
    }
}

/// What every object can be selected by.
const NAME: &str = "metadata.name";

impl Selector {
    /// Reads both selectors of a request.
    pub(super) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, String> {
        Self::parse_among(labels, fields, &[NAME])
    }

    /// As [`Selector::parse`], for objects that can be selected by these
    /// fields.
    pub(super) fn parse_among(
        labels: Option<&str>,
        fields: Option<&str>,
        known: &[&str],
    ) -> Result<Self, String> {
        let mut out = Self::default();
        if let Some(labels) = labels.filter(|text| !text.trim().is_empty()) {
            out.labels = labels.parse()?;
        }
        let fields = fields.filter(|text| !text.trim().is_empty());
        for part in fields.into_iter().flat_map(|text| text.split(',')) {
            let (field, value, equal) = comparison(part)
                .ok_or_else(|| format!("`{}` is not a field selector", shown(part)))?;
            if !known.contains(&field) {
                return Err(format!(
                    "objects cannot be selected by the field `{}`; they can by {}",
                    shown(field),
                    known.join(", ")
                ));
            }
            out.fields.push((field.to_owned(), value.to_owned(), equal));
        }
        Ok(out)
    }

    /// Only what of it is within a token's scope.
    pub(super) fn within(self, within: Option<Within>) -> Self {
        Self { within, ..self }
    }

    /// Whether every object is meant.
    pub(super) fn is_all(&self) -> bool {
        self.labels.is_all() && self.fields.is_empty() && self.within.is_none()
    }

    /// Whether this object is meant.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |key: &str| labels.get(key).and_then(Value::as_str);
        let holds = |(field, wanted, equal): &(String, String, bool)| {
            let value = field.split('.').fold(object, |value, key| &value[key]);
            (value.as_str().unwrap_or_default() == wanted) == *equal
        };
        let given = |within: &Within| within.has(object);
        self.fields.iter().all(holds)
            && self.labels.matches(label)
            && self.within.as_ref().is_none_or(given)
    }
}

/// A field selector's field and value, and whether they are to be equal.
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
