//! `/openapi`: what the objects look like, for tools that check and explain
//! them before they send any.
//!
//! Version 2 in JSON and in the protobuf form that kubectl asks for, version 3
//! in JSON, by group. Both are written from the schemas of `cb_core::schema`.

mod proto;

use std::sync::LazyLock;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use cb_core::api::{API_VERSION, GROUP, Kind, VERSION};
use cb_core::{digest, schema};
use serde_json::{Map, Value, json};

use super::query;
use super::request;
use super::routes::no_such_path;
use super::status::Failure;

/// The names by which clients ask for the protobuf form. Only the first is a
/// media type: with the other as the answer's, older clients read nothing.
const PROTO: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];

static V2: LazyLock<Value> = LazyLock::new(v2);
static V2_PROTO: LazyLock<Vec<u8>> = LazyLock::new(|| proto::encoded(&V2));
static V3: LazyLock<Value> = LazyLock::new(v3);

/// `/openapi/v2`.
pub(super) async fn version_2(headers: HeaderMap) -> Result<Response, Failure> {
    let ranges = request::ranges(&headers);
    let named = |range: &String, name: &str| range.split(';').next() == Some(name);
    let is_proto = |range: &String| PROTO.iter().any(|name| named(range, name));
    let is_json = |range: &String| range.split(';').next().is_some_and(query::is_json);
    match ranges
        .iter()
        .find(|range| is_proto(range) || is_json(range))
    {
        Some(range) if is_proto(range) => {
            let media = [(header::CONTENT_TYPE, PROTO[0])];
            Ok((media, V2_PROTO.clone()).into_response())
        }
        None if !ranges.is_empty() => Err(Failure::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            "the document is given as application/json or in kubectl's protobuf form",
        )),
        _ => Ok(Json(&*V2).into_response()),
    }
}

/// `/openapi/v3`: where the documents of the groups are.
pub(super) async fn version_3() -> Json<Value> {
    let hash = digest::of_parts([V3.to_string().as_bytes()]);
    let path = format!("apis/{API_VERSION}");
    let url = format!("/openapi/v3/{path}?hash={hash}");
    Json(json!({"paths": {path: {"serverRelativeURL": url}}}))
}

/// `/openapi/v3/apis/GROUP/VERSION`.
pub(super) async fn version_3_of(
    path: Path<(String, String)>,
    uri: Uri,
) -> Result<Json<&'static Value>, Failure> {
    let Path((group, version)) = path;
    if (group.as_str(), version.as_str()) == (GROUP, VERSION) {
        Ok(Json(&V3))
    } else {
        Err(no_such_path(uri.path()))
    }
}

fn info() -> Value {
    json!({"title": "Campaign Brain operator", "version": env!("CARGO_PKG_VERSION")})
}

/// The name of a kind's definition.
fn name(kind: Kind) -> String {
    format!("io.campaignbrain.{VERSION}.{kind}")
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn identity(kind: Kind) -> Value {
    json!({"group": GROUP, "kind": kind.as_str(), "version": VERSION})
}

/// The definitions of all kinds; `at` is where references lead.
fn definitions(at: &str) -> Map<String, Value> {
    let mut out = Map::new();
    for kind in Kind::ALL {
        let mut definition = schema::structural(kind);
        let about = "Standard metadata of an object.";
        let metadata = json!({"description": about, "$ref": format!("{at}{OBJECT_META}")});
        definition["properties"]["metadata"] = metadata;
        definition["x-kubernetes-group-version-kind"] = json!([identity(kind)]);
        out.insert(name(kind), definition);
    }
    out.insert(OBJECT_META.into(), object_meta());
    out
}

/// What clients may send as `metadata`, and what they get back.
fn object_meta() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    let texts = |about: &str| {
        let value = json!({"type": "string"});
        json!({"type": "object", "additionalProperties": value, "description": about})
    };
    let managers = json!({
        "type": "array",
        "items": {"type": "object"},
        "description": "Which manager set which fields.",
    });
    let generation = json!({
        "type": "integer",
        "format": "int64",
        "description": "Counts the changes of the spec.",
    });
    json!({
        "description": "What every object has.",
        "type": "object",
        "properties": {
            "name": text("The object's name. It never changes."),
            "labels": texts("Labels, for selecting objects."),
            "annotations": texts("Annotations: notes for people and tools."),
            "uid": text("Tells the object from one of its name that was there before."),
            "resourceVersion": text("Changes with every change of the object."),
            "generation": generation,
            "creationTimestamp": text("When the object was first accepted."),
            "deletionTimestamp": text("When its removal began."),
            "managedFields": managers,
        },
    })
}

/// The requests that change objects of a kind. kubectl looks here for whether
/// a server takes dry runs.
fn paths(kind: Kind, parameter: impl Fn(&str, &str, &str, bool) -> Value) -> Map<String, Value> {
    let plural = kind.plural();
    let operation = |id: &str, action: &str| {
        let answers = json!({"200": {"description": "OK"}});
        let mut parameters = Vec::new();
        if action != "get" && action != "list" {
            let about = "`All`: say what would be done, and do nothing.";
            parameters.push(parameter("query", "dryRun", about, false));
        }
        json!({
            "operationId": format!("{id}{kind}"),
            "description": format!("{id} {plural}"),
            "parameters": parameters,
            "responses": answers,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": identity(kind),
        })
    };
    let mut all = json!({"get": operation("list", "list")});
    let mut one = json!({
        "get": operation("read", "get"),
        "parameters": [parameter("path", "name", "The object's name.", true)],
    });
    if kind != Kind::Host {
        all["post"] = operation("create", "post");
        one["put"] = operation("replace", "put");
        one["patch"] = operation("patch", "patch");
        one["delete"] = operation("delete", "delete");
    }
    let base = format!("/apis/{API_VERSION}/{plural}");
    Map::from_iter([(format!("{base}/{{name}}"), one), (base, all)])
}

fn v2() -> Value {
    let parameter = |place: &str, name: &str, about: &str, required: bool| {
        json!({
            "in": place, "name": name, "description": about,
            "required": required, "type": "string",
        })
    };
    let paths: Map<String, Value> = Kind::ALL
        .into_iter()
        .flat_map(|kind| paths(kind, parameter))
        .collect();
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths,
        "definitions": definitions("#/definitions/"),
    })
}

fn v3() -> Value {
    let parameter = |place: &str, name: &str, about: &str, required: bool| {
        let schema = json!({"type": "string"});
        json!({
            "in": place, "name": name, "description": about,
            "required": required, "schema": schema,
        })
    };
    let paths: Map<String, Value> = Kind::ALL
        .into_iter()
        .flat_map(|kind| paths(kind, parameter))
        .collect();
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {"schemas": definitions("#/components/schemas/")},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reference that leads nowhere makes tools give up on all of it.
    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, see: &mut impl FnMut(&str)) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(to)) = map.get("$ref") {
                        see(to);
                    }
                    map.values().for_each(|value| walk(value, see));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, see)),
                _ => {}
            }
        }
        for document in [&*V2, &*V3] {
            let mut seen = 0;
            walk(document, &mut |to| {
                seen += 1;
                let pointer = to.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{to}");
            });
            assert_eq!(seen, 3);
        }
    }
}
