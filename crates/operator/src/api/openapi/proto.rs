//! An OpenAPI 2 document as protobuf: the messages of `openapi.v2`, as far as
//! our document has them.
//!
//! Field numbers are those of the published definition
//! (<https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto>);
//! kubectl reads nothing else up to version 1.26.

use prost::Message;
use serde_json::{Map, Value};

/// The document as protobuf.
pub(super) fn encoded(document: &Value) -> Vec<u8> {
    let info = &document["info"];
    let paths = named(&document["paths"]).map(|(name, item)| NamedPathItem {
        name,
        value: Some(path_item(item)),
    });
    let message = Document {
        swagger: text(document, "swagger"),
        info: Some(Info {
            title: text(info, "title"),
            version: text(info, "version"),
        }),
        paths: Some(Paths {
            path: paths.collect(),
        }),
        definitions: Some(Schemas {
            additional_properties: schemas(&document["definitions"]),
        }),
    };
    message.encode_to_vec()
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

fn named(of: &Value) -> impl Iterator<Item = (String, &Value)> {
    let fields = of.as_object().into_iter().flat_map(Map::iter);
    fields.map(|(name, value)| (name.clone(), value))
}

fn texts(of: &Value) -> Vec<String> {
    let items = of.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// A value that has no message of its own: YAML, of which JSON is a part.
fn any(value: &Value) -> Any {
    Any {
        yaml: value.to_string(),
    }
}

fn extensions(of: &Value) -> Vec<NamedAny> {
    named(of)
        .filter(|(name, _)| name.starts_with("x-"))
        .map(|(name, value)| NamedAny {
            name,
            value: Some(any(value)),
        })
        .collect()
}

fn path_item(of: &Value) -> PathItem {
    let one = |method: &str| of.get(method).map(operation);
    PathItem {
        get: one("get"),
        put: one("put"),
        post: one("post"),
        delete: one("delete"),
        patch: one("patch"),
        parameters: parameters(&of["parameters"]),
    }
}

fn operation(of: &Value) -> Operation {
    let responses = named(&of["responses"]).map(|(name, response)| NamedResponse {
        name,
        value: Some(ResponseValue {
            response: Some(Response {
                description: text(response, "description"),
            }),
        }),
    });
    Operation {
        description: text(of, "description"),
        operation_id: text(of, "operationId"),
        parameters: parameters(&of["parameters"]),
        responses: Some(Responses {
            response_code: responses.collect(),
        }),
        vendor_extension: extensions(of),
    }
}

fn parameters(of: &Value) -> Vec<ParametersItem> {
    let items = of.as_array().into_iter().flatten();
    items
        .map(|of| {
            let (required, place) = (of["required"].as_bool().unwrap_or_default(), text(of, "in"));
            let (about, name) = (text(of, "description"), text(of, "name"));
            let of = match place.as_str() {
                "path" => PlainParameter {
                    path: Some(PathParameter {
                        required,
                        place,
                        description: about,
                        name,
                        kind: "string".into(),
                    }),
                    query: None,
                },
                _ => PlainParameter {
                    query: Some(QueryParameter {
                        required,
                        place,
                        description: about,
                        name,
                        kind: "string".into(),
                    }),
                    path: None,
                },
            };
            ParametersItem {
                parameter: Some(Parameter { plain: Some(of) }),
            }
        })
        .collect()
}

fn schemas(of: &Value) -> Vec<NamedSchema> {
    named(of)
        .map(|(name, value)| NamedSchema {
            name,
            value: Some(schema(value)),
        })
        .collect()
}

fn schema(of: &Value) -> Schema {
    let number = |key: &str| of[key].as_i64().unwrap_or_default();
    Schema {
        reference: text(of, "$ref"),
        format: text(of, "format"),
        description: text(of, "description"),
        default: of.get("default").map(any),
        maximum: of["maximum"].as_f64().unwrap_or_default(),
        minimum: of["minimum"].as_f64().unwrap_or_default(),
        max_length: number("maxLength"),
        min_length: number("minLength"),
        pattern: text(of, "pattern"),
        min_items: number("minItems"),
        required: texts(&of["required"]),
        values: of["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .map(any)
            .collect(),
        additional_properties: of.get("additionalProperties").map(|value| {
            Box::new(AdditionalProperties {
                schema: Some(Box::new(schema(value))),
            })
        }),
        kind: of.get("type").map(|kind| Kinds {
            value: kind.as_str().map(str::to_owned).into_iter().collect(),
        }),
        items: of.get("items").map(|items| Items {
            schema: vec![schema(items)],
        }),
        properties: of.get("properties").map(|properties| Schemas {
            additional_properties: schemas(properties),
        }),
        vendor_extension: extensions(of),
    }
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<Info>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "9")]
    definitions: Option<Schemas>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Paths {
    #[prost(message, repeated, tag = "2")]
    path: Vec<NamedPathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedPathItem {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<PathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct PathItem {
    #[prost(message, optional, tag = "2")]
    get: Option<Operation>,
    #[prost(message, optional, tag = "3")]
    put: Option<Operation>,
    #[prost(message, optional, tag = "4")]
    post: Option<Operation>,
    #[prost(message, optional, tag = "5")]
    delete: Option<Operation>,
    #[prost(message, optional, tag = "8")]
    patch: Option<Operation>,
    #[prost(message, repeated, tag = "9")]
    parameters: Vec<ParametersItem>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "5")]
    operation_id: String,
    #[prost(message, repeated, tag = "8")]
    parameters: Vec<ParametersItem>,
    #[prost(message, optional, tag = "9")]
    responses: Option<Responses>,
    #[prost(message, repeated, tag = "13")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct ParametersItem {
    #[prost(message, optional, tag = "1")]
    parameter: Option<Parameter>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(message, optional, tag = "2")]
    plain: Option<PlainParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct PlainParameter {
    #[prost(message, optional, tag = "3")]
    query: Option<QueryParameter>,
    #[prost(message, optional, tag = "4")]
    path: Option<PathParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryParameter {
    #[prost(bool, tag = "1")]
    required: bool,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "6")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct PathParameter {
    #[prost(bool, tag = "1")]
    required: bool,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "5")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Responses {
    #[prost(message, repeated, tag = "1")]
    response_code: Vec<NamedResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedResponse {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ResponseValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseValue {
    #[prost(message, optional, tag = "1")]
    response: Option<Response>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    description: String,
}

/// `Definitions` and `Properties`, which look the same.
#[derive(Clone, PartialEq, Message)]
struct Schemas {
    #[prost(message, repeated, tag = "1")]
    additional_properties: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(message, optional, tag = "5")]
    default: Option<Any>,
    #[prost(double, tag = "7")]
    maximum: f64,
    #[prost(double, tag = "9")]
    minimum: f64,
    #[prost(int64, tag = "11")]
    max_length: i64,
    #[prost(int64, tag = "12")]
    min_length: i64,
    #[prost(string, tag = "13")]
    pattern: String,
    #[prost(int64, tag = "15")]
    min_items: i64,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, repeated, tag = "20")]
    values: Vec<Any>,
    #[prost(message, optional, boxed, tag = "21")]
    additional_properties: Option<Box<AdditionalProperties>>,
    #[prost(message, optional, tag = "22")]
    kind: Option<Kinds>,
    #[prost(message, optional, tag = "23")]
    items: Option<Items>,
    #[prost(message, optional, tag = "25")]
    properties: Option<Schemas>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct AdditionalProperties {
    #[prost(message, optional, boxed, tag = "1")]
    schema: Option<Box<Schema>>,
}

#[derive(Clone, PartialEq, Message)]
struct Kinds {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}
