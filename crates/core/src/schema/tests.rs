use std::path::Path;

use serde_json::Value as Json;

use super::*;

fn each_property(json: &Json, path: &str, see: &mut impl FnMut(&str, &Json)) {
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                let below = format!("{path}/{key}");
                if key == "properties" {
                    for (name, property) in value.as_object().expect("properties") {
                        see(&format!("{below}/{name}"), property);
                    }
                }
                each_property(value, &below, see);
            }
        }
        Json::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                each_property(item, &format!("{path}/{n}"), see);
            }
        }
        _ => {}
    }
}

fn json(path: &str, text: &str) -> Json {
    if path.ends_with(".yaml") {
        serde_yaml::from_str(text).expect("YAML")
    } else {
        serde_json::from_str(text).expect("JSON")
    }
}

fn schemas() -> Vec<(String, Json)> {
    files()
        .into_iter()
        .filter(|(path, _)| !path.ends_with(".md"))
        .map(|(path, text)| (path.clone(), json(&path, &text)))
        .collect()
}

#[test]
fn every_property_of_every_schema_has_a_description() {
    let mut seen = 0;
    for (file, schema) in schemas() {
        each_property(&schema, &file, &mut |path, property| {
            // Kubernetes describes `metadata` itself; an `if` tests a value.
            if path.ends_with("/openAPIV3Schema/properties/metadata") || path.contains("/if/") {
                return;
            }
            seen += 1;
            let about = property["description"].as_str().unwrap_or_default();
            assert!(about.len() > 5, "{path} has no description");
        });
    }
    assert!(seen > 300, "{seen}");
}

#[test]
fn every_checked_scalar_has_its_check() {
    fn walk(shape: &Shape, seen: &mut usize) {
        let mut scalar = |scalar: &Scalar| {
            if let Some(kind) = &scalar.kind {
                *seen += 1;
                assert!(crate::types::check_scalar(kind, "").is_some(), "{kind}");
            }
        };
        match shape {
            Shape::Object { fields, .. } => fields.values().for_each(|f| walk(&f.shape, seen)),
            Shape::Map { keys, values } => {
                scalar(keys);
                walk(values, seen);
            }
            Shape::List { items, .. } => walk(items, seen),
            Shape::Text(text) => scalar(text),
            Shape::Integer { .. } | Shape::Bool | Shape::OneOf(_) => {}
        }
    }
    let mut seen = 0;
    Kind::ALL
        .into_iter()
        .for_each(|kind| walk(&of(kind).shape, &mut seen));
    assert!(seen > 40, "{seen}");
}

/// The rules of structural schemas: see the module.
#[test]
fn definitions_are_structural() {
    fn check(schema: &Json, path: &str) {
        let map = schema.as_object().expect("a schema is an object");
        assert!(
            map.get("type").is_some_and(Json::is_string),
            "{path} has no type"
        );
        for key in map.keys() {
            let known = [
                "type",
                "description",
                "properties",
                "additionalProperties",
                "items",
                "required",
                "default",
                "enum",
                "pattern",
                "minLength",
                "maxLength",
                "minimum",
                "maximum",
                "minItems",
                "format",
                "x-kubernetes-list-type",
                "x-kubernetes-list-map-keys",
            ];
            assert!(known.contains(&key.as_str()), "{path} has {key}");
        }
        assert!(!(map.contains_key("properties") && map.contains_key("additionalProperties")));
        if let Some(properties) = map.get("properties").and_then(Json::as_object) {
            properties
                .iter()
                .for_each(|(name, s)| check(s, &format!("{path}.{name}")));
            for name in map
                .get("required")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
            {
                let name = name.as_str().expect("a name");
                assert!(properties.contains_key(name), "{path} requires {name}");
                // A default would make it optional.
                assert!(properties[name].get("default").is_none(), "{path}.{name}");
            }
        }
        for key in ["additionalProperties", "items"] {
            if let Some(below) = map.get(key) {
                check(below, &format!("{path}.{key}"));
            }
        }
        if let Some(keys) = map.get("x-kubernetes-list-map-keys") {
            let key = keys[0].as_str().expect("a key");
            assert!(
                map["items"]["required"]
                    .as_array()
                    .unwrap()
                    .contains(&key.into()),
                "{path}"
            );
        }
    }
    for (file, definition) in schemas() {
        if !file.starts_with("crds/") {
            continue;
        }
        assert_eq!(
            format!(
                "crds/{}.yaml",
                definition["metadata"]["name"].as_str().unwrap()
            ),
            file
        );
        assert_eq!(definition["spec"]["scope"], "Cluster");
        let version = &definition["spec"]["versions"][0];
        check(&version["schema"]["openAPIV3Schema"], &file);
        let tenant = definition["spec"]["names"]["kind"] == "Tenant";
        assert_eq!(version["subresources"]["status"].is_object(), tenant);
    }
}

#[test]
fn a_manifest_schema_has_no_status() {
    for (file, schema) in schemas() {
        if file.starts_with("schemas/") {
            assert!(schema["properties"].get("status").is_none(), "{file}");
        }
    }
    assert!(
        of(Kind::Tenant)
            .shape
            .fields()
            .unwrap()
            .contains_key("status")
    );
}

/// Set `UPDATE_GENERATED=1` to write the files instead.
#[test]
fn the_files_in_the_tree_are_those_generated() {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
    for (path, text) in files() {
        let file = manifests.join(&path);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            there == text,
            "{path} is stale; run this test with UPDATE_GENERATED=1"
        );
    }
}
