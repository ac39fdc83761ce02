//! Lists in pages: `limit` and `continue`.
//!
//! Objects are listed in the order of their names, so a place in a list is the
//! name of the last object that was given. Every page has the revision of the
//! first: what changes in between, a watch from there tells.

use serde_json::{Value, json};

use super::query::Place;
use super::request::Options;
use super::status::Failure;

/// The part of a list that is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The most objects; `None` for all.
    limit: Option<usize>,
    /// Where the page before ended.
    after: Option<Place>,
}

impl Page {
    pub(super) fn of(options: &Options) -> Result<Self, Failure> {
        let limit = options.number("limit")?.filter(|limit| *limit > 0);
        let after = options.get("continue")?;
        let after = after.map(|text| Place::read(text).map_err(Failure::bad_request));
        Ok(Self {
            limit: limit.and_then(|limit| limit.try_into().ok()),
            after: after.transpose()?,
        })
    }

    /// The revision of the pages before.
    pub(super) fn revision(&self) -> Option<u64> {
        self.after.as_ref().map(|place| place.revision)
    }

    /// Cuts the page out of a list whose items are in order.
    pub(super) fn cut(&self, list: &mut Value, counts: bool) {
        let name = |item: &Value| {
            let name = item["metadata"]["name"].as_str();
            name.unwrap_or_default().to_owned()
        };
        let revision = match &self.after {
            Some(place) => place.revision.to_string(),
            None => {
                let revision = list["metadata"]["resourceVersion"].as_str();
                revision.unwrap_or_default().to_owned()
            }
        };
        let Some(items) = list["items"].as_array_mut() else {
            return;
        };
        if let Some(place) = &self.after {
            items.retain(|item| name(item) > place.name);
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let rest = items.len().saturating_sub(limit);
        items.truncate(limit);
        let last = items.last().map(name).unwrap_or_default();
        list["metadata"]["resourceVersion"] = revision.as_str().into();
        if rest > 0 {
            list["metadata"]["continue"] = format!("{revision}.{last}").into();
            if counts {
                list["metadata"]["remainingItemCount"] = json!(rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Failure> {
        Page::of(&Options::of(&format!("/x?{query}").parse().unwrap()).unwrap())
    }

    fn list(names: &[&str], revision: u64) -> Value {
        let items: Vec<Value> = names
            .iter()
            .map(|n| json!({"metadata": {"name": n}}))
            .collect();
        json!({"metadata": {"resourceVersion": revision.to_string()}, "items": items})
    }

    #[test]
    fn pages_follow_one_another_at_one_revision() {
        let mut first = list(&["a", "b", "c"], 7);
        page("limit=2").unwrap().cut(&mut first, true);
        assert_eq!(first["items"].as_array().unwrap().len(), 2);
        assert_eq!(
            first["metadata"],
            json!({"resourceVersion": "7", "continue": "7.b", "remainingItemCount": 1})
        );
        // One came and one went in between.
        let mut second = list(&["a", "bb", "d"], 9);
        page("limit=2&continue=7.b").unwrap().cut(&mut second, true);
        assert_eq!(second, list(&["bb", "d"], 7));
        let mut whole = list(&["a", "b"], 7);
        page("limit=0").unwrap().cut(&mut whole, true);
        assert_eq!(whole, list(&["a", "b"], 7));
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        for wrong in ["x", "x.y", "1"] {
            assert!(page(&format!("continue={wrong}")).is_err(), "{wrong}");
        }
    }
}
