//! Merge patches (RFC 7396), both ways.

use serde_json::{Map, Value as Json};

/// Applies a merge patch to a value.
pub fn merge(target: &mut Json, patch: &Json) {
    json_patch::merge(target, patch);
}

/// The merge patch that makes `to` of `from`. Neither may hold a `null` in a
/// mapping: a merge patch has no word for one.
#[must_use]
pub fn difference(from: &Json, to: &Json) -> Json {
    let (Json::Object(old), Json::Object(new)) = (from, to) else {
        return to.clone();
    };
    let mut out = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        out.insert(key.clone(), Json::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            // Between mappings alone a patch is a patch: anything else is
            // replaced whole.
            Some(before @ Json::Object(_)) if value.is_object() => {
                out.insert(key.clone(), difference(before, value));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    Json::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(depth: u32) -> BoxedStrategy<Json> {
        let leaf = prop_oneof![(0..3_i64).prop_map(Json::from), Just(Json::from("x"))];
        if depth == 0 {
            return leaf.boxed();
        }
        prop_oneof![
            leaf,
            prop::collection::vec(value(depth - 1), 0..3).prop_map(Json::from),
            object(depth),
        ]
        .boxed()
    }

    fn object(depth: u32) -> BoxedStrategy<Json> {
        prop::collection::btree_map("[a-c]", value(depth - 1), 0..4)
            .prop_map(|map| Json::Object(map.into_iter().collect()))
            .boxed()
    }

    proptest! {
        #[test]
        fn a_difference_makes_the_one_of_the_other(from in object(3), to in object(3)) {
            let mut made = from.clone();
            merge(&mut made, &difference(&from, &to));
            prop_assert_eq!(made, to);
            prop_assert_eq!(difference(&from, &from), serde_json::json!({}));
        }
    }
}
